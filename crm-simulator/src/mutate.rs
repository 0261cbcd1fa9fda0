//! Changes that a test asks for: now, or in the middle of a scan.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::account::State;
use crate::provider::Object;
use crate::rows::{EditError, Row, Selected, read_id, set};
use crate::seed;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// New records.
    Create,
    /// The fields as given; where none are given, some field as if a person had changed it.
    Update,
    /// They are deleted, and can be restored.
    Delete,
    /// They are there again.
    Restore,
    /// They are gone for good, and no list of deleted records has them.
    Purge,
}

/// A change of some records of a kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// What is to be done.
    pub op: Verb,
    /// To records of this kind.
    pub object: Object,
    /// Those with these ids, as the client sees them.
    #[serde(default)]
    pub ids: Vec<String>,
    /// So many: new ones, or any live ones.
    #[serde(default)]
    pub count: Option<usize>,
    /// With `count`: only such as a list has served (true) or has not served (false).
    #[serde(default)]
    pub served: Option<bool>,
    /// The fields and their values, by the names of the truth.
    #[serde(default)]
    pub fields: Map<String, Value>,
}

/// Operations that wait for requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    /// They are carried out before the request after so many others is answered. Requests of tokens do not count.
    pub after_requests: u64,
    /// So many times, each after as many requests; once unless given.
    #[serde(default = "once")]
    pub times: u64,
    /// What is done.
    pub operations: Vec<Operation>,
}

fn once() -> u64 {
    1
}

/// A mutation that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) mutation: Mutation,
    pub(crate) requests: u64,
}

/// Why an operation cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error("{0:?} is no id of a record of this kind")]
    BadId(String),
    #[error("an operation needs ids or a count")]
    NothingSelected,
    #[error(transparent)]
    Field(#[from] EditError),
}

impl State {
    /// Carries out what waits for this request.
    pub(crate) fn mutate_before_request(&mut self, now_ms: i64) {
        let mut due = Vec::new();
        for waiting in &mut self.waiting {
            let every = waiting.mutation.after_requests;
            if every == 0 || (waiting.requests > 0 && waiting.requests.is_multiple_of(every)) {
                waiting.mutation.times = waiting.mutation.times.saturating_sub(1);
                due.extend(waiting.mutation.operations.iter().cloned());
            }
            waiting.requests += 1;
        }
        self.waiting.retain(|waiting| waiting.mutation.times > 0);
        for operation in due {
            // It was checked when it was told, as far as that can be.
            let applied = self.apply(&operation, now_ms);
            self.applied.extend(applied.unwrap_or_default());
        }
    }

    /// Carries out an operation; gives what it did to which records.
    ///
    /// # Errors
    /// When it names no records, or fields that there are not.
    pub(crate) fn apply(&mut self, operation: &Operation, now_ms: i64) -> Result<Vec<Value>, OperationError> {
        let object = operation.object;
        let ids = match (operation.op, operation.count) {
            (Verb::Create, count) => self.create(operation, count.unwrap_or(1), now_ms)?,
            (_, count) => {
                let selected = self.selected(operation, count)?;
                let ids = self.store.select(object, &selected, &mut self.dice);
                let mut done = Vec::new();
                for id in ids {
                    if self.change(operation, id, now_ms)? {
                        done.push(id);
                    }
                }
                done
            }
        };
        Ok(ids
            .iter()
            .map(|id| json!({"op": operation.op, "object": object, "id": self.store.id(object, *id)}))
            .collect())
    }

    fn selected(&self, operation: &Operation, count: Option<usize>) -> Result<Selected, OperationError> {
        if let (Some(count), []) = (count, operation.ids.as_slice()) {
            return Ok(Selected::Random { count, served: operation.served });
        }
        if operation.ids.is_empty() {
            return Err(OperationError::NothingSelected);
        }
        let read = |id: &String| {
            read_id(self.store.provider, operation.object, id).ok_or_else(|| OperationError::BadId(id.clone()))
        };
        Ok(Selected::Ids(operation.ids.iter().map(read).collect::<Result<_, _>>()?))
    }

    fn create(&mut self, operation: &Operation, count: usize, now_ms: i64) -> Result<Vec<u64>, OperationError> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let mut row = if operation.fields.is_empty() {
                seed::row(&self.store, operation.object, &mut self.dice)
            } else {
                Row::default()
            };
            for (field, value) in &operation.fields {
                set(&mut row, self.store.provider, field, value)?;
            }
            ids.push(self.store.create(operation.object, row, now_ms));
        }
        Ok(ids)
    }

    fn change(&mut self, operation: &Operation, id: u64, now_ms: i64) -> Result<bool, OperationError> {
        let object = operation.object;
        let done = match operation.op {
            Verb::Update if operation.fields.is_empty() => {
                let fields = seed::touch(&self.store, object, &mut self.dice);
                self.store.update(object, id, &fields, now_ms)?
            }
            Verb::Update => self.store.update(object, id, &operation.fields, now_ms)?,
            Verb::Delete => self.store.delete(object, id, now_ms),
            Verb::Restore => self.store.restore(object, id, now_ms),
            Verb::Purge => self.store.purge(object, id, now_ms),
            Verb::Create => None,
        };
        Ok(done.is_some())
    }
}
