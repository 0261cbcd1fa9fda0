//! `scale`: whether drains stay as fast with longer backlogs, more organisations, more workers, and a ledger full of what is done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DurationRound as _, TimeDelta, Utc};
use millrace_shared::db::partitions;
use sqlx::{Connection as _, PgConnection};

use crate::{
    Options,
    report::{Params, Report},
    site::{Form, Site},
};

/// A short backlog is drained so often that as many jobs are done as this.
const AT_LEAST: usize = 50_000;
const BACKLOG: usize = 100_000;
const FINISHED: usize = 10_000_000;
const FINISHED_BATCH: usize = 250_000;
/// Over how many days finished jobs are spread: fewer than workers keep them for.
const DAYS: i64 = 28;
/// As many as workers make themselves, and one more.
const DAYS_AHEAD: i64 = 6;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for form in Form::BOTH {
        let mut site = Site::start(form, options).await?;
        site.start_workers(1, None).await?;
        let backlogs =
            [1_000, BACKLOG, 1_000_000].map(|count| Case { backlog: count, orgs: 1, workers: 1, finished: 0 });
        axis(&site, options, report, ("with longer backlogs", &backlogs)).await?;
        let orgs = [1, 100, 10_000].map(|orgs| Case { backlog: BACKLOG, orgs, workers: 1, finished: 0 });
        axis(&site, options, report, ("with more organisations", &orgs)).await?;
        let mut first = None;
        for workers in [1, 2, 4] {
            site.start_workers(workers - site.worker_pids().len(), None).await?;
            let case = Case { backlog: BACKLOG, orgs: 100, workers, finished: 0 };
            measure(&site, options, report, (&case, &mut first)).await?;
        }
        report.flush(&format!("{}: drain with more workers", form.as_str()));
        site.stop().await?;
    }
    full_ledger(options, report).await
}

/// What a drain is measured with.
struct Case {
    backlog: usize,
    orgs: usize,
    workers: usize,
    finished: usize,
}

async fn axis(site: &Site, options: &Options, report: &mut Report, (title, cases): (&str, &[Case])) -> Result<()> {
    let mut first = None;
    for case in cases {
        measure(site, options, report, (case, &mut first)).await?;
    }
    report.flush(&format!("{}: drain {title}", site.form().as_str()));
    Ok(())
}

/// Drains, and compares with the first case of its axis.
async fn measure(
    site: &Site,
    options: &Options,
    report: &mut Report,
    (case, first): (&Case, &mut Option<f64>),
) -> Result<()> {
    let backlog = options.count(case.backlog, 100);
    let params = Params::default()
        .with("form", site.form().as_str())
        .with("backlog", backlog)
        .with("orgs", case.orgs)
        .with("workers", case.workers)
        .with("finished", options.count(case.finished, 0));
    let drains = options.count(AT_LEAST, 1).div_ceil(backlog);
    // A long backlog takes long, and its rate varies less.
    let rounds = if backlog > BACKLOG { 1 } else { options.rounds };
    for round in 1..=rounds {
        report.say(&format!("{params}, round {round}"));
        let mut elapsed = Duration::ZERO;
        for _ in 0..drains {
            elapsed += site.drain(backlog, case.orgs).await?.0;
        }
        report.rate("drain", &params, (backlog * drains, elapsed));
    }
    let rate = report.value("drain", &params).context("a figure is missing")?;
    report.add("ratio", &params, rate / *first.get_or_insert(rate), "to the first");
    Ok(())
}

async fn full_ledger(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = Site::start(Form::Durable, options).await?;
    age(&site).await.context("partitions of the past cannot be made")?;
    site.start_workers(1, None).await?;
    let mut first = None;
    let case = |finished| Case { backlog: BACKLOG, orgs: 100, workers: 1, finished };
    measure(&site, options, report, (&case(0), &mut first)).await?;
    report.say("filling the ledger with finished jobs");
    fill_with_finished(site.stack()?.database_url(), options.count(FINISHED, 1_000)).await?;
    let mut connection = site.ledger()?.acquire().await?;
    let astray = partitions::default_count(&mut connection, 1).await?;
    ensure!(astray == 0, "finished jobs have found no partition of their time");
    drop(connection);
    measure(&site, options, report, (&case(FINISHED), &mut first)).await?;
    report.flush("durable: drain beside finished jobs of the past weeks");
    site.stop().await
}

/// Gives a ledger that is new the partitions that it would have after weeks: one for each day.
async fn age(site: &Site) -> Result<()> {
    let mut connection = site.ledger()?.acquire().await?;
    // The table that the ledger was before it had partitions; it holds all of the past, and in a new ledger nothing.
    for statement in ["DROP TABLE jobs_first", "DROP TABLE job_attempts_first"] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    let today = Utc::now().duration_trunc(TimeDelta::days(1))?;
    for day in -DAYS - 1..DAYS_AHEAD {
        let from = today + TimeDelta::days(day);
        partitions::make(&mut connection, &partitions::between(from, from + TimeDelta::days(1))).await?;
    }
    Ok(())
}

/// Makes rows of jobs that ended well during the past [`DAYS`] days, the oldest first, of 100 organisations.
async fn fill_with_finished(url: &str, count: usize) -> Result<()> {
    // A connection of its own, because those of the pool give no statement as much time as this takes.
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query("SET synchronous_commit = off").execute(&mut connection).await?;
    let mut made = 0;
    while made < count {
        let until = (made + FINISHED_BATCH).min(count);
        sqlx::query(FINISHED_ROWS)
            .bind(i64::try_from(made)?)
            .bind(i64::try_from(until)?)
            .bind(i64::try_from(count)?)
            .bind(DAYS)
            .execute(&mut connection)
            .await
            .context("finished jobs cannot be made")?;
        made = until;
    }
    // As autovacuum would have done in those days; or it would do it now, while drains are measured.
    sqlx::query("VACUUM (ANALYZE) jobs").execute(&mut connection).await?;
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Rows `$1` to `$2` of `$3`, over `$4` days. An id is a UUIDv7 of the row's time: 48 bits of milliseconds, version, randomness, variant, randomness.
const FINISHED_ROWS: &str = "\
INSERT INTO jobs (id, org_id, kind, queue, priority, state, payload, attempt, max_attempts, attempt_budget, timeout_ms, run_at, \
                  created_at, started_at, finished_at, worker, result) \
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(random, 1, 3) || '8' || substr(random, 4, 15))::uuid, \
       ('00000000-0000-7000-8000-' || lpad((row % 100)::text, 12, '0'))::uuid, 'probe', 'probe', 2, 'succeeded', \
       '{\"bytes\": 0, \"effect\": false, \"outcome\": \"succeed\", \"snoozes\": 0, \"sleep_ms\": 0, \"snooze_ms\": 0, \"fail_attempts\": 0}', \
       1, 5, 5, 60000, at, at, at, at, 'bench', '{\"attempt\": 1, \"remaining_ms\": 60000}' \
FROM (SELECT row, md5(row::text) AS random, now() - $4 * interval '1 day' * (1 - row / $3::float8) AS at \
      FROM generate_series($1::bigint + 1, $2::bigint) AS row) AS made";
