//! What an account was asked, how fast, and how its tokens were refreshed: for tests that judge a client's manners.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::rate::Window;

/// What was seen since the account was made or its numbers were last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// All requests, those of tokens included.
    pub requests: u64,
    /// Requests by method, path (ids as `{id}`) and status (`reset` where the connection was reset).
    pub by_path: BTreeMap<String, BTreeMap<String, u64>>,
    /// The most requests that came within any second.
    pub max_in_one_second: usize,
    /// The most requests that were under way at the same time.
    pub max_at_once: u64,
    /// How many were refused because of a rate, by the simulator's own count.
    pub rate_refusals: u64,
    /// How many were refused because the address was blocked.
    pub block_refusals: u64,
    /// Refreshes that gave tokens.
    pub refreshes: u64,
    /// Refreshes that were refused.
    pub refreshes_refused: u64,
    /// The most refreshes that were under way at the same time.
    pub max_refreshes_at_once: u64,
    /// Codes that were exchanged for tokens.
    pub codes_redeemed: u64,
    /// Writes that were carried out.
    pub writes: u64,
    /// Records in lists, searches and batches.
    pub rows_served: u64,
}

/// The numbers, and what they are counted with.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) stats: Stats,
    pub(crate) under_way: u64,
    pub(crate) refreshing: u64,
    last_second: Window,
}

impl Counters {
    pub(crate) fn arrived(&mut self) {
        self.stats.requests += 1;
        let within = self.last_second.count(Instant::now(), Duration::from_secs(1));
        self.stats.max_in_one_second = self.stats.max_in_one_second.max(within);
        self.under_way += 1;
        self.stats.max_at_once = self.stats.max_at_once.max(self.under_way);
    }

    pub(crate) fn refresh_began(&mut self) {
        self.refreshing += 1;
        self.stats.max_refreshes_at_once = self.stats.max_refreshes_at_once.max(self.refreshing);
    }

    pub(crate) fn answered(&mut self, method: &str, path: &str, outcome: String) {
        let by_outcome = self.stats.by_path.entry(format!("{method} {}", template(path))).or_default();
        *by_outcome.entry(outcome).or_default() += 1;
    }

    pub(crate) fn reset(&mut self) {
        *self = Self { under_way: self.under_way, refreshing: self.refreshing, ..Self::default() };
    }
}

/// A path with its ids taken out, so that there are few of them.
fn template(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_long = part.len() >= 15 && part.bytes().any(|byte| byte.is_ascii_digit());
        if is_number || is_long { "{id}" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_out_of_paths() {
        assert_eq!(template("/api/v4/leads/123/notes"), "/api/v4/leads/{id}/notes");
        assert_eq!(template("/services/data/v60.0/query/01g5g00000abcde-2000"), "/services/data/v60.0/query/{id}");
        assert_eq!(template("/crm/v3/objects/contacts"), "/crm/v3/objects/contacts");
    }
}
