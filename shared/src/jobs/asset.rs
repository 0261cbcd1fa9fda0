//! `asset.process`: turn a document into text and chunks, fetching it first if it is one of a URL.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobPayload, Policy, QUEUES, QueueName};
use crate::ids::AssetId;

/// When a document of a URL is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// Where its bytes are not there yet; otherwise those are processed again.
    #[default]
    IfMissing,
    /// Always: the source is asked whether its bytes have changed, and nothing is done where they have not.
    IfChanged,
}

/// Which asset to process. Uploading submits it; submitting it again processes the asset again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetProcess {
    /// The asset, which must belong to the organisation that submits.
    pub asset_id: AssetId,
    /// When a document of a URL is fetched; of no meaning for an upload.
    #[serde(default, skip_serializing_if = "Fetch::is_default")]
    pub fetch: Fetch,
}

impl AssetProcess {
    /// Processes an asset by the bytes that are there.
    #[must_use]
    pub fn new(asset_id: AssetId) -> Self {
        Self { asset_id, fetch: Fetch::default() }
    }
}

impl Fetch {
    /// Left out of payloads, so that a worker of the version before takes those of uploads.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl JobPayload for AssetProcess {
    const KIND: &'static str = "asset.process";
    const QUEUE: QueueName = QUEUES[0];
    const DESCRIPTION: &'static str =
        "Extracts a document's text and cuts it into chunks, fetching it by its URL first where it was not uploaded.";
    const POLICY: Policy = Policy { timeout: Duration::from_secs(300), max_attempts: 5, ..Policy::DEFAULT };

    /// One job an asset at a time: two would do the same work on the same rows.
    fn unique_by(&self) -> Option<String> {
        Some(self.asset_id.to_string())
    }
}
