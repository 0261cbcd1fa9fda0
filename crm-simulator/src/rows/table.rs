//! The records of one kind, in the orders in which vendors list them.
//!
//! Sorted vectors rather than trees: a page that begins at the hundred-thousandth record is as quick as the first, and how many
//! records changed in a span of time is known without counting them. A change moves some bytes for that.

use std::collections::{HashMap, HashSet};

use super::Row;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: HashMap<u64, Row>,
    live: Vec<u64>,
    live_by_update: Vec<(i64, u64)>,
    deleted_by_update: Vec<(i64, u64)>,
    served: HashSet<u64>,
    last_id: u64,
}

impl Table {
    /// The record, deleted or not.
    pub(crate) fn get(&self, id: u64) -> Option<&Row> {
        self.rows.get(&id)
    }

    pub(crate) fn live(&self, id: u64) -> Option<&Row> {
        self.get(id).filter(|row| row.is_live())
    }

    /// Ids of what is not deleted, ascending.
    pub(crate) fn live_ids(&self) -> &[u64] {
        &self.live
    }

    /// Times of change and ids of what is not deleted, ascending.
    pub(crate) fn by_update(&self) -> &[(i64, u64)] {
        &self.live_by_update
    }

    /// Times of deletion and ids of what is deleted and can be restored, ascending.
    pub(crate) fn deleted_by_update(&self) -> &[(i64, u64)] {
        &self.deleted_by_update
    }

    /// Ids of what is deleted and can be restored, ascending.
    pub(crate) fn deleted_ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.deleted_by_update.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// What of the live ones changed at `from` or later and before `end`, in order.
    pub(crate) fn updated_between(&self, from: i64, end: i64) -> &[(i64, u64)] {
        let first = self.live_by_update.partition_point(|(at, _)| *at < from);
        let last = self.live_by_update.partition_point(|(at, _)| *at < end);
        &self.live_by_update[first..last.max(first)]
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The smallest id that the next record may have.
    pub(crate) fn begin_ids_after(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    /// Adds records at once.
    pub(crate) fn fill(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.begin_ids_after(row.id);
            if row.is_live() {
                self.live.push(row.id);
                self.live_by_update.push((row.updated_at_ms, row.id));
            } else {
                self.deleted_by_update.push((row.updated_at_ms, row.id));
            }
            self.rows.insert(row.id, row);
        }
        self.live.sort_unstable();
        self.live_by_update.sort_unstable();
        self.deleted_by_update.sort_unstable();
    }

    /// Adds a record, or puts it in the place of the one with its id, which it gives back.
    pub(crate) fn put(&mut self, row: Row) -> Option<Row> {
        self.begin_ids_after(row.id);
        let (id, change, is_live) = (row.id, (row.updated_at_ms, row.id), row.is_live());
        let before = self.rows.insert(id, row);
        let was_live = before.as_ref().is_some_and(Row::is_live);
        if let Some(before) = &before {
            let updates = if was_live { &mut self.live_by_update } else { &mut self.deleted_by_update };
            remove_sorted(updates, &(before.updated_at_ms, id));
        }
        insert_sorted(if is_live { &mut self.live_by_update } else { &mut self.deleted_by_update }, change);
        match (was_live, is_live) {
            (false, true) => insert_sorted(&mut self.live, id),
            (true, false) => remove_sorted(&mut self.live, &id),
            _ => {}
        }
        before
    }

    /// Removes a record without a trace.
    pub(crate) fn take(&mut self, id: u64) -> Option<Row> {
        let row = self.rows.remove(&id)?;
        let change = (row.updated_at_ms, id);
        if row.is_live() {
            remove_sorted(&mut self.live, &id);
            remove_sorted(&mut self.live_by_update, &change);
        } else {
            remove_sorted(&mut self.deleted_by_update, &change);
        }
        Some(row)
    }

    /// Notes that a list has given these out.
    pub(crate) fn mark_served(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.served.extend(ids);
    }

    pub(crate) fn forget_served(&mut self) {
        self.served.clear();
    }

    pub(crate) fn was_served(&self, id: u64) -> bool {
        self.served.contains(&id)
    }
}

fn insert_sorted<T: Ord>(all: &mut Vec<T>, one: T) {
    let place = all.partition_point(|other| *other < one);
    all.insert(place, one);
}

fn remove_sorted<T: Ord>(all: &mut Vec<T>, one: &T) {
    if let Ok(place) = all.binary_search(one) {
        all.remove(place);
    }
}
