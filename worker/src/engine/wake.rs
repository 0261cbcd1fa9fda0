//! Waking up: one subscription for all queues of a worker.
//!
//! A message may get lost with its connection, so a worker that finds nothing claims again after a few seconds anyway; and after every
//! reconnect all queues are asked once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use millrace_shared::{ids::JobId, jobs::QueueName, queue::Queues};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;

/// How long to wait before subscribing again.
const RECONNECT: Duration = Duration::from_millis(250);

/// What wakes the claimers, by queue.
pub(crate) type Bells = HashMap<QueueName, Arc<Notify>>;

/// Listens until `end`.
pub(crate) async fn listen(queues: Queues, bells: Bells, keeper: Keeper, end: CancellationToken) {
    let names: Vec<QueueName> = bells.keys().copied().collect();
    let mut away = false;
    while !end.is_cancelled() {
        match end.run_until_cancelled(queues.subscribe(&names)).await {
            None => return,
            Some(Ok(mut subscription)) => {
                if std::mem::take(&mut away) {
                    tracing::info!("Redis is back");
                }
                bells.values().for_each(|bell| bell.notify_one());
                let mut messages = subscription.on_message();
                while let Some(Some(message)) = end.run_until_cancelled(messages.next()).await {
                    let queue = queue_of(message.get_channel_name());
                    hear(message.get_payload_bytes(), queue.and_then(|queue| bells.get(&queue)), &keeper);
                }
            }
            Some(Err(error)) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(error = %error, "Redis is away; waiting for it");
                }
            }
        }
        end.run_until_cancelled(tokio::time::sleep(RECONNECT)).await;
    }
}

fn hear(message: &[u8], bell: Option<&Arc<Notify>>, keeper: &Keeper) {
    match message.split_first() {
        Some((b'w', _)) => {
            if let Some(bell) = bell {
                bell.notify_one();
            }
        }
        Some((b'c', id)) => {
            if let Ok(id) = JobId::try_from(id) {
                keeper.cancel(id);
            }
        }
        _ => {}
    }
}

fn queue_of(channel: &str) -> Option<QueueName> {
    channel.split_once('{')?.1.split_once('}')?.0.parse().ok()
}
