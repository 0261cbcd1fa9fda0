//! A job in full, for `jobs show` and `dlq show`.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use millrace_shared::wire::{Attempt, AttemptOutcome, ErrorText, Job, JobDetail};
use serde_json::Value;

use crate::{
    app::Output,
    ui::{self, Cell, Column, Table, Tone},
};

/// Where values begin.
const INDENT: usize = 14;
/// JSON up to this length stands on one line.
const SHORT_JSON: usize = 80;

/// Everything about a job.
pub fn detail(out: Output, detail: &JobDetail) -> Result<()> {
    if out.json {
        return out.document(detail);
    }
    for (name, value) in fields(detail) {
        out.line(&format!("{}{value}", Tone::Faint.paint(&format!("{name:INDENT$}"))))?;
    }
    if detail.job.attempts.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.table(&attempts(&detail.job.attempts))
}

fn fields(detail: &JobDetail) -> Vec<(&'static str, String)> {
    let job = &detail.job;
    let mut fields = vec![
        ("id", job.id.to_string()),
        ("kind", ui::one_line(&job.kind)),
        ("queue", format!("{} ({})", ui::one_line(&job.queue), job.priority.as_str())),
        ("organisation", job.org_id.to_string()),
        ("state", state(detail)),
        ("attempt", format!("{} of {}", job.attempt, job.max_attempts)),
        ("accepted", time(job.created_at)),
    ];
    let mut optional = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    optional("due", (!job.state.is_final()).then(|| time(job.run_at)));
    optional("started", job.started_at.map(time));
    optional("finished", job.finished_at.map(|finished| finish(job, finished)));
    let limit = Duration::from_millis(u64::try_from(detail.timeout_ms).unwrap_or(0));
    optional("time limit", Some(ui::duration(limit)));
    optional("unique key", detail.unique_key.as_deref().map(ui::one_line));
    let progress = job.progress.as_ref();
    optional("progress", progress.map(|now| format!("{}% {}", now.percent, ui::one_line(&now.message))));
    optional("snoozed", (detail.snoozes > 0).then(|| format!("{}×", detail.snoozes)));
    optional("replayed", (detail.replays > 0).then(|| format!("{}×", detail.replays)));
    optional("error", job.error.as_ref().map(error_block));
    optional("dead because", job.dead_reason.as_deref().map(|reason| ui::block(reason, INDENT)));
    optional("payload", Some(json_block(&detail.payload)));
    optional("result", job.result.as_ref().map(json_block));
    fields
}

fn state(detail: &JobDetail) -> String {
    let state = Tone::of_state(detail.job.state).paint(detail.job.state.as_str());
    match detail.blocked_by {
        Some(job) => format!("{state}, waits for {job} of the same unique key"),
        None => state,
    }
}

fn finish(job: &Job, finished: DateTime<Utc>) -> String {
    let took = job.started_at.map(|started| format!(", took {}", took(started, finished))).unwrap_or_default();
    format!("{}{took}", time(finished))
}

fn attempts(attempts: &[Attempt]) -> Table {
    let mut table = Table::new(&[
        Column::Right("ATTEMPT"),
        Column::Left("OUTCOME"),
        Column::Left("STARTED"),
        Column::Right("TOOK"),
        Column::Left("WORKER"),
        Column::Cut("ERROR"),
    ]);
    for attempt in attempts {
        let tone = match attempt.outcome {
            AttemptOutcome::Running => Tone::Busy,
            AttemptOutcome::Succeeded => Tone::Good,
            AttemptOutcome::Ended(_) => Tone::Bad,
        };
        let length = attempt.started_at.map(|start| took(start, attempt.ended_at.unwrap_or_else(Utc::now)));
        table.row(vec![
            Cell::new(attempt.attempt.to_string()),
            Cell::toned(attempt.outcome.as_str(), tone),
            Cell::maybe(attempt.started_at.map(ui::stamp)),
            Cell::maybe(length),
            Cell::maybe(attempt.worker.as_deref()),
            Cell::maybe(attempt.error.as_ref().map(|error| format!("{}: {}", error.class, error.message))),
        ]);
    }
    table
}

/// How long it took from `start` to `end`.
pub fn took(start: DateTime<Utc>, end: DateTime<Utc>) -> String {
    ui::duration((end - start).to_std().unwrap_or_default())
}

fn error_block(error: &ErrorText) -> String {
    format!("{}: {}", Tone::Bad.paint(&ui::one_line(&error.class)), ui::block(&error.message, INDENT))
}

/// JSON, on one line where it is short.
pub fn json_block(value: &Value) -> String {
    let line = value.to_string();
    if line.len() <= SHORT_JSON {
        return line;
    }
    let pretty = serde_json::to_string_pretty(value).unwrap_or(line);
    ui::block(&pretty, INDENT)
}

/// A time, and how far off it is.
pub fn time(time: DateTime<Utc>) -> String {
    format!("{} ({})", ui::stamp(time), ui::ago(time))
}
