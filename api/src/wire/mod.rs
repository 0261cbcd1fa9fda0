//! The shapes of requests and answers. They are a contract with clients and change only by addition, whatever happens inside. Those
//! that the command line prints too are in [`millrace_shared::wire`].

mod asset;
mod connection;
mod job;
mod organisation;
mod params;
mod queue;
mod record;
mod schedule;
mod search;
mod webhook;

pub use asset::{Asset, AssetPart, AssetState, Chunk, Uploaded};
pub use connection::{
    Connection, ConnectionChange, Drift, NewAuth, NewConnection, NewCredentials, NewSync, OauthStart, Sync,
};
pub use job::{Accepted, BatchBody, DeadLetter, KindInfo, SubmitBody};
pub use organisation::OrgLimitsBody;
pub use params::{IdempotencyKey, Limit, PageParams, Timestamp, Wait, page_request};
pub use queue::{QueueLimits, QueueSettings};
pub use record::{ChangeAccepted, Conflict, Record, RecordChange, Resolution, Side};
pub use schedule::{NewSchedule, ScheduleChange};
pub use search::{SearchPage, SearchText};
pub use webhook::{NewWebhookSecret, NewWebhookSource, WebhookSource, WebhookTest, WebhookVerdict};

use serde::Serialize;
use utoipa::ToSchema;

/// A page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The page.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of rows as a page of what clients see.
    pub fn of<R>(page: millrace_shared::db::Page<R>, show: impl FnMut(R) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(show).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        }
    }
}
