//! Whether somebody keeps the ledger's partitions: there are some ahead, nothing is left without one, and what is over is dropped.

use chrono::TimeDelta;
use millrace_shared::{
    config::RetentionConfig,
    ledger::keeping::{self, Kept},
};
use sqlx::PgConnection;

use super::Check;
use crate::ui;

/// Workers make partitions days ahead, so that less than this means that none has run for days.
const LEAST_AHEAD: TimeDelta = TimeDelta::hours(12);
/// Partitions are dropped within minutes, unless locks or a large copy are in the way.
const MOST_LAG: TimeDelta = TimeDelta::hours(2);

pub async fn checks(connection: &mut PgConnection, retention: Option<&RetentionConfig>) -> Vec<Check> {
    let kept = match keeping::look(connection).await {
        Ok(kept) => kept,
        Err(error) => return vec![Check::failed("ledger partitions", error.to_string(), "look at Postgres' log")],
    };
    let mut checks = vec![ahead(&kept), default(&kept)];
    checks.extend(retention.map(|retention| over(&kept, retention)));
    checks
}

fn ahead(kept: &Kept) -> Check {
    const NAME: &str = "ledger partitions";
    let ahead = kept.until.map_or(TimeDelta::zero(), |until| until - kept.now);
    let found = format!("{}, until {} from now", kept.partitions, text(ahead));
    if ahead < LEAST_AHEAD {
        let fix = "start a worker, which makes partitions ahead: without one, jobs go to the default partition";
        return Check::warning(NAME, found, fix);
    }
    Check::ok(NAME, found)
}

fn default(kept: &Kept) -> Check {
    const NAME: &str = "ledger default partition";
    if kept.in_default == 0 {
        return Check::ok(NAME, "empty");
    }
    let more = if kept.in_default == i64::from(Kept::MOST_COUNTED) { " or more" } else { "" };
    let found = format!("{}{more} jobs have no partition of their time", ui::count(kept.in_default.unsigned_abs()));
    let fix = "start a worker, which moves them; if they stay, the clock of an API host was far ahead when they were accepted";
    Check::warning(NAME, found, fix)
}

fn over(kept: &Kept, retention: &RetentionConfig) -> Check {
    const NAME: &str = "ledger retention";
    match (kept.lag(retention), retention.jobs) {
        (_, None) => Check::ok(NAME, "off: jobs are kept for ever"),
        (Some(lag), _) if lag > MOST_LAG => {
            let found = format!("the oldest partition should have been dropped {} ago", text(lag));
            let fix =
                "start a worker, or end what keeps it from its locks: a dump, or a transaction that is open for long";
            Check::warning(NAME, found, fix)
        }
        (_, Some(jobs)) => Check::ok(NAME, format!("{} after jobs have ended", ui::duration(jobs))),
    }
}

fn text(time: TimeDelta) -> String {
    ui::duration(time.to_std().unwrap_or_default())
}
