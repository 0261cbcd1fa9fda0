use millrace_shared::jobs::Priority;
use millrace_shared::schedules::{Change, Draft};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A schedule that is to be made. It has either `every` or `cron`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Weir, workdays", "kind": "probe", "payload": { "sleep_ms": 50 }, "cron": "*/5 8-18 * * mon-fri", "time_zone": "Europe/Berlin"
}))]
pub struct NewSchedule {
    /// A label, at most 255 characters.
    name: String,
    /// The kind of its jobs: one of `GET /v1/kinds`, those aside that Millrace alone submits.
    kind: String,
    /// What the kind's schema asks for.
    #[serde(default = "empty_object")]
    #[schema(value_type = Object)]
    payload: Value,
    /// How urgent its jobs are; `normal` unless told otherwise.
    priority: Option<Priority>,
    /// Whether a tick makes no job while the one before has not ended; so it is unless told otherwise. A kind with a unique key of its own
    /// keeps it either way.
    #[schema(default = true)]
    unique: Option<bool>,
    /// An interval: a whole number and one of s, m, h and d.
    #[schema(example = "15m")]
    every: Option<String>,
    /// Minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(example = "*/5 8-18 * * mon-fri")]
    cron: Option<String>,
    /// The time zone of the IANA database that the cron expression is read in; `UTC` unless told otherwise.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

impl From<NewSchedule> for Draft {
    fn from(body: NewSchedule) -> Self {
        Self {
            name: body.name,
            kind: body.kind,
            payload: body.payload,
            priority: body.priority.unwrap_or_default(),
            unique: body.unique.unwrap_or(true),
            every: body.every,
            cron: body.cron,
            time_zone: body.time_zone,
        }
    }
}

/// What is to be changed of a schedule; what is left out stays. `every` takes the place of a cron expression, and `cron` that of an interval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "paused": true }))]
pub struct ScheduleChange {
    /// A label, at most 255 characters.
    name: Option<String>,
    /// What the kind's schema asks for.
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
    /// How urgent its jobs are.
    priority: Option<Priority>,
    /// Whether a tick makes no job while the one before has not ended.
    unique: Option<bool>,
    /// Whether it makes no jobs for now. What would have ticked meanwhile is not caught up.
    paused: Option<bool>,
    /// An interval: a whole number and one of s, m, h and d. The next tick is one interval from now.
    every: Option<String>,
    /// Minute, hour, day of month, month, day of week.
    cron: Option<String>,
    /// The time zone that the cron expression is read in.
    time_zone: Option<String>,
}

impl From<ScheduleChange> for Change {
    fn from(body: ScheduleChange) -> Self {
        Self {
            name: body.name,
            payload: body.payload,
            priority: body.priority,
            unique: body.unique,
            paused: body.paused,
            every: body.every,
            cron: body.cron,
            time_zone: body.time_zone,
        }
    }
}
