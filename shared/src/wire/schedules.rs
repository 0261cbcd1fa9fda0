use chrono::{DateTime, FixedOffset, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    db::schedules::ScheduleRow,
    ids::{JobId, OrgId, ScheduleId},
    jobs::Priority,
    schedules::{Timing, timing_of},
};

/// How many ticks ahead are told.
const UPCOMING: usize = 5;

/// A schedule.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "org_id": "0193e4a8-1c2d-7b3a-8e4f-5a6b7c8d9e0f", "name": "Weir, workdays",
    "kind": "probe", "payload": { "sleep_ms": 50 }, "priority": "normal", "unique": true, "every": null,
    "cron": "*/5 8-18 * * mon-fri", "time_zone": "Europe/Berlin", "paused": false, "next_run_at": "2026-01-30T17:55:00Z",
    "upcoming": ["2026-01-30T18:55:00+01:00", "2026-02-02T08:00:00+01:00"], "last_run_at": "2026-01-30T17:50:00Z",
    "last_job_id": "0193e4a8-7a11-7c3a-9d55-0f6a3c1b2d7e", "fired": 1204, "skipped": 3, "missed": 0, "last_error": null,
    "created_at": "2026-01-12T08:00:00Z", "updated_at": "2026-01-12T08:00:00Z"
}))]
pub struct Schedule {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: ScheduleId,
    /// Whose it is.
    #[schema(value_type = uuid::Uuid)]
    pub org_id: OrgId,
    /// A label.
    pub name: String,
    /// The kind of its jobs.
    pub kind: String,
    /// What its jobs are to do. Only where one schedule is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Value>,
    /// How urgent its jobs are.
    pub priority: Priority,
    /// Whether a tick makes no job while the one before has not ended.
    pub unique: bool,
    /// The interval, if it has one.
    pub every: Option<String>,
    /// The cron expression, if it has one.
    pub cron: Option<String>,
    /// The time zone that the cron expression is read in.
    pub time_zone: Option<String>,
    /// Whether it makes no jobs at the moment.
    pub paused: bool,
    /// Its next tick; null while it is paused.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The next ticks, by the clocks of its time zone.
    #[schema(value_type = Vec<DateTime<Utc>>)]
    pub upcoming: Vec<DateTime<FixedOffset>>,
    /// When it last submitted a job, or found the one before not ended.
    pub last_run_at: Option<DateTime<Utc>>,
    /// That job.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub last_job_id: Option<JobId>,
    /// Ticks that made a job.
    pub fired: i64,
    /// Ticks that made none, because the job before had not ended.
    pub skipped: i64,
    /// Ticks that passed while no worker was there; the first one after them caught them up.
    pub missed: i64,
    /// Why the last tick made no job, until one does.
    pub last_error: Option<ScheduleError>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Why a tick made no job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ScheduleError {
    /// `refused`: the kind does not take the payload, or that names what is gone. `unknown_kind`: no worker knows the kind, and the tick
    /// waits for one that does. `timing`, `database`.
    pub class: String,
    /// Why, in words.
    pub message: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Whether a schedule is told with its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// It is.
    Shown,
    /// It is left out.
    LeftOut,
}

impl Schedule {
    /// A row as it is told.
    #[must_use]
    pub fn of(row: ScheduleRow, payload: Payload) -> Self {
        let timing = timing_of(&row).ok();
        let every = match &timing {
            Some(Timing::Every(every)) => Some(every.to_string()),
            _ => None,
        };
        let ticks = timing.filter(|_| !row.paused).map(|timing| timing.upcoming(row.next_run_at, UPCOMING));
        let error = |class| ScheduleError {
            class,
            message: row.error.clone().unwrap_or_default(),
            at: row.failed_at.unwrap_or(row.updated_at),
        };
        Self {
            id: row.id,
            org_id: row.org_id,
            priority: row.priority(),
            last_error: row.error_class.clone().map(error),
            every,
            upcoming: ticks.unwrap_or_default(),
            next_run_at: Some(row.next_run_at).filter(|_| !row.paused),
            name: row.name,
            kind: row.kind,
            payload: Some(row.payload).filter(|_| payload == Payload::Shown),
            unique: row.is_unique,
            cron: row.cron,
            time_zone: row.time_zone,
            paused: row.paused,
            last_run_at: row.last_run_at,
            last_job_id: row.last_job_id,
            fired: row.fired,
            skipped: row.skipped,
            missed: row.missed,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
