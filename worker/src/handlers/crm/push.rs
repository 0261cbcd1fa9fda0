//! `crm.push_record`: writes a change of ours back.
//!
//! The record is read first. A field that is as wanted needs no writing, so that a change whose answer was lost is not made twice. A field that is as the
//! change knew it may be written. Anything else is a conflict, of which the connection's policy decides. The change is written whole or not at all, and
//! what the CRM made of it is read afterwards. Between reading and writing somebody may still change the record: no provider's interface can be asked
//! to write only if nobody did.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_shared::crm::{ConflictPolicy, Object};
use millrace_shared::db::crm::conflicts;
use millrace_shared::db::crm::records::{self, Record, Seen};
use millrace_shared::ids::RecordId;
use millrace_shared::jobs::{CrmPushRecord, FieldChange};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;

use super::record::Found;
use crate::crm::{Api, Clients, CrmError, open};
use crate::handler::{Effects, Handler, JobContext, JobError, Write};

pub(crate) struct PushHandler {
    pub(crate) clients: Arc<Clients>,
}

/// What is to be done with a change.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// Nothing: the record is as wanted.
    Done,
    /// Write these fields.
    Write(BTreeMap<String, Value>),
    /// Nothing: the CRM's side stays.
    Dropped,
    /// Somebody has to say, of the whole change: by field, as it was known, as it is, as it is wanted.
    Ask(Value),
}

fn judge(
    fields: &BTreeMap<String, FieldChange>,
    current: impl Fn(&str) -> Value,
    policy: ConflictPolicy,
    (made_at, changed_at): (DateTime<Utc>, DateTime<Utc>),
) -> Verdict {
    let mut write = BTreeMap::new();
    let (mut asked, mut met) = (Map::new(), false);
    for (name, FieldChange { from, to }) in fields {
        let is = current(name);
        if is == *to {
            continue;
        }
        met |= is != *from;
        asked.insert(name.clone(), json!([from, is, to]));
        write.insert(name.clone(), to.clone());
    }
    if write.is_empty() {
        return Verdict::Done;
    }
    if !met {
        return Verdict::Write(write);
    }
    match policy {
        ConflictPolicy::CrmWins => Verdict::Dropped,
        ConflictPolicy::NewestWins if changed_at >= made_at => Verdict::Dropped,
        ConflictPolicy::LocalWins | ConflictPolicy::NewestWins => Verdict::Write(write),
        ConflictPolicy::Manual => Verdict::Ask(Value::Object(asked)),
    }
}

/// A conflict that waits for somebody.
struct Waiting {
    record: RecordId,
    fields: Value,
}

#[async_trait]
impl Write for Waiting {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        conflicts::insert(connection, job.org, self.record, job.id, &self.fields).await
    }
}

#[async_trait]
impl Handler for PushHandler {
    type Payload = CrmPushRecord;

    async fn run(&self, job: &JobContext, payload: CrmPushRecord) -> Result<Effects, JobError> {
        let copy = async { records::get(&mut *job.pool.acquire().await?, job.org, payload.record_id).await };
        let copy = copy.await.map_err(|error| job.database(error))?;
        let copy = copy.ok_or_else(|| JobError::fail("crm_record_gone", "the organisation has no such record"))?;
        let object: Object = copy
            .object
            .parse()
            .map_err(|_| JobError::fail("crm_record_gone", "the record is of a sort not known here"))?;
        let api = open(job, &self.clients, copy.connection_id).await?;
        let change = Push { job, api: &api, copy: &copy, object };
        let (read, current) = change.read().await.map_err(|error| error.of_job(job))?;
        let Some(current) = current else {
            return Err(JobError::fail("crm_deleted", "the record was deleted in the CRM"));
        };
        let policy = payload.policy.unwrap_or(api.connection().conflict_policy());
        let made_at = DateTime::from_timestamp_millis(payload.made_at_ms).unwrap_or_default();
        let as_is = |field: &str| current.fields.value(field, api.connection().provider(), &current.raw);
        let verdict = judge(&payload.fields, as_is, policy, (made_at, current.updated_at));
        let found = |read, seen| Box::new(Found::of(&copy, object, read, seen));
        Ok(match verdict {
            Verdict::Done => ended("already", vec![found(read, Some(current))]),
            Verdict::Dropped => ended("crm_won", vec![found(read, Some(current))]),
            Verdict::Ask(fields) => {
                ended("conflict", vec![found(read, Some(current)), Box::new(Waiting { record: copy.id, fields })])
            }
            Verdict::Write(fields) => {
                let written = api.provider().write(&api, object, &copy.external_id, &fields).await;
                written.map_err(|error| error.of_job(job))?;
                let (read, after) = change.read().await.map_err(|error| error.of_job(job))?;
                ended("written", vec![found(read, after)])
            }
        })
    }
}

fn ended(outcome: &str, writes: Vec<Box<dyn Write>>) -> Effects {
    Effects { result: Some(json!({ "outcome": outcome })), writes, ..Effects::default() }
}

/// A change that is under way.
struct Push<'a> {
    job: &'a JobContext,
    api: &'a Api<'a>,
    copy: &'a Record,
    object: Object,
}

impl Push<'_> {
    async fn read(&self) -> Result<(i64, Option<Seen>), CrmError> {
        let read = records::next_read(&mut *self.job.pool.acquire().await?).await?;
        Ok((read, self.api.provider().record(self.api, self.object, &self.copy.external_id).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(policy: ConflictPolicy, is: &Value, later_there: bool) -> Verdict {
        let change = FieldChange { from: json!("old"), to: json!("new") };
        let fields = BTreeMap::from([("name".to_owned(), change)]);
        let made_at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let changed_at = made_at + chrono::TimeDelta::seconds(if later_there { 5 } else { -5 });
        judge(&fields, |_| is.clone(), policy, (made_at, changed_at))
    }

    #[test]
    fn a_change_that_meets_no_other_is_written_once() {
        let write = Verdict::Write(BTreeMap::from([("name".to_owned(), json!("new"))]));
        for policy in ConflictPolicy::ALL {
            assert_eq!(verdict(*policy, &json!("old"), true), write, "nobody else changed the field");
            assert_eq!(verdict(*policy, &json!("new"), true), Verdict::Done, "it is as wanted already");
        }
    }

    #[test]
    fn of_a_conflict_the_policy_decides() {
        let write = Verdict::Write(BTreeMap::from([("name".to_owned(), json!("new"))]));
        let theirs = json!("theirs");
        assert_eq!(verdict(ConflictPolicy::CrmWins, &theirs, false), Verdict::Dropped);
        assert_eq!(verdict(ConflictPolicy::LocalWins, &theirs, true), write);
        assert_eq!(verdict(ConflictPolicy::NewestWins, &theirs, true), Verdict::Dropped);
        assert_eq!(verdict(ConflictPolicy::NewestWins, &theirs, false), write);
        let asked = Verdict::Ask(json!({ "name": ["old", "theirs", "new"] }));
        assert_eq!(verdict(ConflictPolicy::Manual, &theirs, false), asked);
    }

    #[test]
    fn a_conflict_in_one_field_keeps_back_the_others() {
        let change = |from: &str| FieldChange { from: json!(from), to: json!("new") };
        let fields = BTreeMap::from([("name".to_owned(), change("old")), ("stage".to_owned(), change("is"))]);
        let now = Utc::now();
        let verdict = judge(&fields, |_| json!("is"), ConflictPolicy::CrmWins, (now, now));
        assert_eq!(verdict, Verdict::Dropped, "a change is written whole or not at all");
    }
}
