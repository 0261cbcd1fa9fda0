//! Ticks in the ledger: each counts once, what was missed is caught up once, and nobody stops the others.

mod ticks;
mod trouble;
mod writing;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::{
    config::ScheduleLimits,
    db::{jobs::JobState, schedules as rows, schedules::ScheduleRow},
    ids::{AssetId, JobId, OrgId, ScheduleId},
    jobs::{KindSet, Kinds, Priority},
    schedules::{self, Change, ChangeError, CreateError, Draft, Outcome, Round},
};
use serde_json::json;
use sqlx::Connection as _;

use crate::support::*;

const LIMITS: ScheduleLimits = ScheduleLimits { min_interval: SECOND, most: 100 };

fn draft(name: &str) -> Draft {
    Draft {
        name: name.to_owned(),
        kind: "probe".to_owned(),
        payload: json!({ "echo": name }),
        priority: Priority::High,
        unique: false,
        every: Some("10m".to_owned()),
        cron: None,
        time_zone: None,
    }
}

async fn org(db: &Db) -> OrgId {
    let org = OrgId::new();
    sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(&db.pool).await.unwrap();
    org
}

async fn try_create(db: &Db, org: OrgId, draft: Draft) -> Result<ScheduleRow, CreateError> {
    let mut transaction = db.pool.begin().await.unwrap();
    let made = schedules::create(&mut transaction, org, draft, (&db.kinds, &LIMITS)).await?;
    transaction.commit().await.unwrap();
    Ok(made)
}

async fn create(db: &Db, org: OrgId, draft: Draft) -> ScheduleRow {
    try_create(db, org, draft).await.unwrap()
}

async fn change(db: &Db, org: OrgId, id: ScheduleId, change: Change) -> Result<ScheduleRow, ChangeError> {
    let mut transaction = db.pool.begin().await.unwrap();
    let changed = schedules::change(&mut transaction, (org, id), change, (&db.kinds, &LIMITS)).await?;
    transaction.commit().await.unwrap();
    Ok(changed)
}

/// Makes the tick of a schedule due since so long, as if no worker had been there; or of all.
async fn overdue(db: &Db, id: Option<ScheduleId>, by: TimeDelta) {
    let statement = "UPDATE schedules SET next_run_at = now() - $2 * interval '1 second' WHERE $1 IS NULL OR id = $1";
    sqlx::query(statement).bind(id).bind(by.num_seconds() as f64).execute(&db.pool).await.unwrap();
}

async fn fire(db: &Db, limit: u32) -> Round {
    let mut transaction = db.pool.begin().await.unwrap();
    let round = schedules::fire_due(&mut transaction, &db.kinds, limit).await.unwrap();
    transaction.commit().await.unwrap();
    round
}

async fn row(db: &Db, made: &ScheduleRow) -> ScheduleRow {
    rows::get(&mut db.connection().await, made.org_id, made.id).await.unwrap().unwrap()
}

fn fields(error: CreateError) -> Vec<String> {
    match error {
        CreateError::Invalid(fields) => fields.into_iter().map(|field| field.field).collect(),
        other => panic!("{other:?}"),
    }
}
