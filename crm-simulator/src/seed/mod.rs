//! Makes an account's records from a number: the same number, the same records.
//!
//! What is made is awkward on purpose. Ids begin where they get one more digit; spans of records were all changed in the same moment, as an
//! import does it; fields are missing; names are of many scripts; a few notes are long.

mod fields;
mod people;
mod words;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::provider::{Object, Provider};
use crate::rows::{Row, Store};

pub(crate) use fields::{custom_fields, pipelines};
pub(crate) use people::touch;

/// How many records of each kind an account begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// People.
    pub contacts: u64,
    /// Companies.
    pub companies: u64,
    /// Deals.
    pub deals: u64,
    /// Notes.
    pub notes: u64,
    /// Salesforce's tasks.
    pub tasks: u64,
    /// Users.
    pub owners: u64,
    /// Of every three times so many records, so many were changed in the same moment.
    pub burst: u64,
    /// All were changed before this time (milliseconds of Unix time), within 400 days.
    pub before_ms: i64,
    /// The id of the first record of each kind, less one.
    pub ids_after: u64,
}

impl Default for Seed {
    fn default() -> Self {
        Self {
            contacts: 0,
            companies: 0,
            deals: 0,
            notes: 0,
            tasks: 0,
            owners: 5,
            burst: 300,
            // 2026-01-01T00:00:00Z: whatever the clock of the machine says, it is over.
            before_ms: 1_767_225_600_000,
            ids_after: 9_990,
        }
    }
}

impl Seed {
    fn count(&self, object: Object) -> u64 {
        match object {
            Object::Contacts => self.contacts,
            Object::Companies => self.companies,
            Object::Deals => self.deals,
            Object::Notes => self.notes,
            Object::Tasks => self.tasks,
            Object::Owners => self.owners,
        }
    }
}

/// Fills an empty store.
pub(crate) fn fill(store: &mut Store, seed: &Seed, number: u64) {
    store.pipelines = pipelines(store.provider);
    store.custom_fields = custom_fields(store.provider);
    for (place, object) in Object::ALL.into_iter().enumerate() {
        let mut dice = Dice::new(number.wrapping_mul(31).wrapping_add(place as u64));
        let (mut times, count) = (Times::new(seed, store.provider), seed.count(object));
        let mut rows = Vec::new();
        for index in 0..count {
            let mut row = people::row(store, object, &mut dice);
            row.id = seed.ids_after + 1 + index;
            (row.created_at_ms, row.updated_at_ms) = times.next(index, &mut dice);
            rows.push(row);
        }
        store.table_mut(object).begin_ids_after(seed.ids_after);
        store.fill(object, rows);
    }
}

/// A record as `fill` makes them, with the time and the id still to be given.
pub(crate) fn row(store: &Store, object: Object, dice: &mut Dice) -> Row {
    people::row(store, object, dice)
}

const DAY_MS: u64 = 86_400_000;

struct Times<'a> {
    seed: &'a Seed,
    provider: Provider,
    burst_at: i64,
}

impl<'a> Times<'a> {
    fn new(seed: &'a Seed, provider: Provider) -> Self {
        Self { seed, provider, burst_at: 0 }
    }

    fn next(&mut self, index: u64, dice: &mut Dice) -> (i64, i64) {
        let burst = self.seed.burst;
        let back = |dice: &mut Dice| i64::try_from(1000 + dice.below(400 * DAY_MS)).unwrap_or(0);
        if burst > 0 && index.is_multiple_of(3 * burst) {
            self.burst_at = self.seed.before_ms - back(dice);
        }
        let is_in_burst = burst > 0 && index % (3 * burst) < burst;
        let updated = if is_in_burst { self.burst_at } else { self.seed.before_ms - back(dice) };
        let created = if dice.percent(50) { updated } else { updated - back(dice) };
        (self.provider.round(created), self.provider.round(updated))
    }
}
