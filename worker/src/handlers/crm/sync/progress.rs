//! How far a sync is: what its job keeps from page to page.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::Written;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crm::{Page, Pass};

/// More records of one time than this are not looked through for those that are gone.
const MOST_CARRIED: usize = 20_000;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// What is being read.
    pub(super) object: Option<Object>,
    /// From when on; nothing: everything.
    pub(super) since: Option<DateTime<Utc>>,
    /// Which pass over it.
    pub(super) pass: usize,
    /// Where that is.
    pub(super) cursor: Option<String>,
    /// Up to when it will have been read, by the provider's clock.
    pub(super) read_until: Option<DateTime<Utc>>,
    /// Pages that were written.
    #[serde(default)]
    pub(super) pages: u64,
    /// Ids on the pages that go with the next one, if that is continued; nothing where there are too many.
    carried: Option<Vec<String>>,
    /// What has been read.
    through: BTreeSet<Object>,
    counts: BTreeMap<Object, Counts>,
}

/// What was met.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Counts {
    read: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    deleted: u64,
    stale: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Progress {
    pub(super) fn is_through(&self, object: Object) -> bool {
        self.through.contains(&object)
    }

    pub(super) fn begin(&mut self, object: Object, since: Option<DateTime<Utc>>) {
        (self.object, self.since, self.pass, self.cursor, self.read_until) = (Some(object), since, 0, None, None);
        self.counts.entry(object).or_default();
    }

    /// Notes the time of a scan's first page: whatever changes later is for the next sync. Without the provider's clock, the last change that was met.
    pub(super) fn met(&mut self, page: &Page, pass: Pass) {
        if pass == Pass::Live && self.read_until.is_none() {
            self.read_until = page.answered_at.or_else(|| page.seen.iter().map(|record| record.updated_at).max());
        }
    }

    /// Ids that are there, of all pages that go together with this one; nothing where these were too many to keep.
    pub(super) fn carry(&mut self, page: &Page) -> Option<&[String]> {
        let here = page.seen.iter().map(|record| record.external_id.clone());
        self.carried = match self.carried.take().filter(|_| page.continued) {
            Some(mut carried) => {
                carried.extend(here);
                Some(carried)
            }
            None if page.continued => None,
            None => Some(here.collect()),
        };
        self.carried = self.carried.take().filter(|ids| ids.len() <= MOST_CARRIED);
        self.carried.as_deref()
    }

    /// Where it will be when a page has been written after which `next` comes.
    pub(super) fn place(&self, next: Option<String>, is_last: bool) -> Self {
        let mut place = self.clone();
        place.pages += 1;
        if next.is_none() {
            place.pass += 1;
        }
        place.cursor = next;
        if is_last {
            place.through.extend(self.object);
        }
        place
    }

    pub(super) fn count(&mut self, read: u64, written: &Written, deleted: u64) {
        let Some(object) = self.object else { return };
        let counts = self.counts.entry(object).or_default();
        counts.read += read;
        counts.created += written.created;
        counts.updated += written.updated;
        counts.unchanged += written.unchanged;
        counts.stale += written.stale;
        counts.deleted += deleted;
    }

    pub(super) fn refuse(&mut self, object: Object, why: &str) {
        self.through.insert(object);
        self.counts.entry(object).or_default().error = Some(why.to_owned());
    }

    pub(super) fn counts(&self) -> Value {
        serde_json::to_value(&self.counts).unwrap_or_default()
    }

    /// What could not be read because the CRM refused it.
    pub(super) fn refused(&self) -> Option<String> {
        let told =
            |(object, counts): (&Object, &Counts)| counts.error.as_ref().map(|error| format!("{object}: {error}"));
        let all: Vec<String> = self.counts.iter().filter_map(told).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
