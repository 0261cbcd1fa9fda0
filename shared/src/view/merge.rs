use std::collections::HashMap;

use sqlx::PgConnection;

use super::{AttemptOutcome, AttemptView, ErrorView, JobDetail, JobView, ProgressView, ViewState, in_time};
use crate::{
    db::{
        attempts::{self, AttemptRow},
        jobs::{self as rows, JobFilter, JobRow, JobState},
    },
    ids::JobId,
    jobs::QueueName,
    queue::{Live, LiveState, Queues},
};

/// The views of these rows, parallel to them. Where Redis is away, running jobs show as queued.
///
/// # Errors
/// Those of the database.
pub async fn jobs(connection: &mut PgConnection, queues: &Queues, rows: Vec<JobRow>) -> sqlx::Result<Vec<JobView>> {
    let merged = merge(connection, queues, rows).await?;
    Ok(merged.into_iter().map(|(row, live, attempts)| view(&row, live.as_ref(), attempts)).collect())
}

/// As [`jobs`], with payloads.
///
/// # Errors
/// Those of the database.
pub async fn details(
    connection: &mut PgConnection,
    queues: &Queues,
    rows: Vec<JobRow>,
) -> sqlx::Result<Vec<JobDetail>> {
    let merged = merge(connection, queues, rows).await?;
    let detail = |(row, live, attempts): (JobRow, Option<Live>, Vec<AttemptRow>)| JobDetail {
        job: view(&row, live.as_ref(), attempts),
        payload: row.payload,
        timeout_ms: row.timeout_ms,
        unique_key: row.unique_key,
        blocked_by: row.blocked_by,
        snoozes: row.snoozes,
        replays: row.replays,
    };
    Ok(merged.into_iter().map(detail).collect())
}

type Merged = (JobRow, Option<Live>, Vec<AttemptRow>);

async fn merge(connection: &mut PgConnection, queues: &Queues, mut rows: Vec<JobRow>) -> sqlx::Result<Vec<Merged>> {
    let mut live = live_of(queues, &rows).await;
    // A job that ended after its row was read is gone from Redis; shown as queued it would seem to go backwards.
    let is_gone = |row: &&JobRow| {
        row.to_queue().is_some() && live.get(&row.id).is_some_and(|live| live.state == LiveState::Unknown)
    };
    let gone: Vec<JobId> = rows.iter().filter(is_gone).map(|row| row.id).collect();
    if !gone.is_empty() {
        let limit = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        let filter = JobFilter { among: Some(gone), ..JobFilter::default() };
        let again = rows::list(connection, &filter, None, limit).await?;
        let mut again: HashMap<JobId, JobRow> = again.into_iter().map(|row| (row.id, row)).collect();
        for row in &mut rows {
            if let Some(newer) = again.remove(&row.id) {
                *row = newer;
            }
        }
    }
    let ids: Vec<JobId> = rows.iter().map(|row| row.id).collect();
    let mut history: HashMap<JobId, Vec<AttemptRow>> = HashMap::new();
    for attempt in attempts::of_jobs(connection, &ids).await? {
        history.entry(attempt.job_id).or_default().push(attempt);
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let (live, attempts) = (live.remove(&row.id), history.remove(&row.id).unwrap_or_default());
            (row, live, attempts)
        })
        .collect())
}

/// The live view of those that have not ended; empty where Redis is away.
async fn live_of(queues: &Queues, rows: &[JobRow]) -> HashMap<JobId, Live> {
    let mut by_queue: HashMap<QueueName, Vec<JobId>> = HashMap::new();
    for row in rows.iter().filter(|row| row.state == JobState::Queued) {
        if let Ok(queue) = row.queue.parse() {
            by_queue.entry(queue).or_default().push(row.id);
        }
    }
    let mut found = HashMap::new();
    for (queue, ids) in by_queue {
        match in_time(queues.live(queue, &ids)).await {
            Ok(live) => found.extend(ids.into_iter().zip(live)),
            Err(error) => {
                tracing::debug!(error = %error, "Redis is away; jobs are shown as the ledger has them");
                break;
            }
        }
    }
    found
}

fn view(row: &JobRow, live: Option<&Live>, history: Vec<AttemptRow>) -> JobView {
    let used = count(row.attempt);
    let running = live.and_then(|live| match &live.state {
        // The ledger knows of the attempt's end before Redis does.
        LiveState::Running { since, worker } if row.state == JobState::Queued && live.meta.attempt >= used => {
            Some((live.meta.attempt + 1, *since, worker.clone()))
        }
        _ => None,
    });
    let state = match row.state {
        JobState::Succeeded => ViewState::Succeeded,
        JobState::Dead => ViewState::Dead,
        JobState::Cancelled => ViewState::Cancelled,
        JobState::Queued if running.is_some() => ViewState::Running,
        JobState::Queued if live.is_some_and(|live| live.state == LiveState::Ready) => ViewState::Queued,
        JobState::Queued if row.delay_ms > 0 => ViewState::Delayed,
        JobState::Queued => ViewState::Queued,
    };
    let mut attempts: Vec<AttemptView> = history.into_iter().map(AttemptView::from).collect();
    if let Some((attempt, since, worker)) = &running {
        attempts.push(AttemptView {
            attempt: *attempt,
            started_at: Some(*since),
            ended_at: None,
            outcome: AttemptOutcome::Running,
            error: None,
            worker: Some(worker.clone()),
        });
    } else if row.state == JobState::Succeeded {
        attempts.push(AttemptView {
            attempt: used,
            started_at: row.started_at,
            ended_at: row.finished_at,
            outcome: AttemptOutcome::Succeeded,
            error: None,
            worker: row.worker.clone(),
        });
    }
    let last_start = attempts.last().and_then(|attempt| attempt.started_at);
    JobView {
        id: row.id,
        org_id: row.org_id,
        kind: row.kind.clone(),
        queue: row.queue.clone(),
        state,
        priority: row.priority(),
        attempt: running.map_or(used, |(attempt, _, _)| attempt),
        max_attempts: count(row.max_attempts),
        run_at: row.run_at,
        created_at: row.created_at,
        started_at: last_start.or(row.started_at.filter(|_| state.is_final())),
        finished_at: row.finished_at,
        progress: row
            .progress_percent
            .map(|percent| ProgressView { percent, message: row.progress_message.clone().unwrap_or_default() }),
        result: row.result.clone(),
        error: error(row.error_class.as_deref(), row.error.as_deref()),
        dead_reason: row.dead_reason.clone(),
        attempts,
    }
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: count(row.attempt),
            started_at: Some(row.started_at),
            ended_at: Some(row.ended_at),
            outcome: AttemptOutcome::Ended(row.outcome),
            error: error(Some(&row.error_class), Some(&row.error)),
            worker: Some(row.worker),
        }
    }
}

fn error(class: Option<&str>, message: Option<&str>) -> Option<ErrorView> {
    let class = class?;
    Some(ErrorView { class: class.to_owned(), message: message.unwrap_or_default().to_owned() })
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{TimeDelta, Utc};

    use super::*;
    use crate::{ids::OrgId, queue::Meta};

    fn row() -> JobRow {
        JobRow {
            id: JobId::new(),
            org_id: OrgId::new(),
            kind: "probe".to_owned(),
            queue: "probe".to_owned(),
            priority: 2,
            state: JobState::Queued,
            payload: serde_json::json!({}),
            revision: 0,
            attempt: 0,
            max_attempts: 5,
            snoozes: 0,
            timeout_ms: 1_000,
            run_at: Utc::now(),
            delay_ms: 0,
            created_at: Utc::now(),
            started_at: None,
            finished_at: None,
            unique_key: None,
            blocked_by: None,
            trace_context: None,
            worker: None,
            progress_percent: None,
            progress_message: None,
            result: None,
            error: None,
            error_class: None,
            dead_reason: None,
            replays: 0,
        }
    }

    fn failed(attempt: i32) -> AttemptRow {
        let now = Utc::now();
        AttemptRow {
            job_id: JobId::new(),
            attempt,
            started_at: now - TimeDelta::from_std(Duration::from_secs(1)).expect("in range"),
            ended_at: now,
            outcome: "failed".to_owned(),
            error: "no".to_owned(),
            error_class: "refused".to_owned(),
            worker: "w1".to_owned(),
        }
    }

    fn running(used: u32) -> Live {
        let state = LiveState::Running { since: Utc::now(), worker: "w2".to_owned() };
        Live { state, meta: Meta { attempt: used, ..Meta::default() } }
    }

    #[test]
    fn a_running_job_shows_the_attempt_that_goes_on() {
        let seen = view(&JobRow { attempt: 1, ..row() }, Some(&running(1)), vec![failed(1)]);
        assert_eq!((seen.state, seen.attempt, seen.attempts.len()), (ViewState::Running, 2, 2));
        assert_eq!((&seen.attempts[1].outcome, seen.attempts[1].ended_at), (&AttemptOutcome::Running, None));
        assert_eq!(seen.started_at, seen.attempts[1].started_at);
    }

    #[test]
    fn an_attempt_that_the_ledger_knows_to_have_ended_does_not_run() {
        let row = JobRow { attempt: 1, delay_ms: 500, ..row() };
        let seen = view(&row, Some(&running(0)), vec![failed(1)]);
        assert_eq!((seen.state, seen.attempt, seen.attempts.len()), (ViewState::Delayed, 1, 1));
    }

    #[test]
    fn the_attempt_that_succeeded_ends_the_history() {
        let now = Utc::now();
        let row = JobRow {
            state: JobState::Succeeded,
            attempt: 2,
            started_at: Some(now),
            finished_at: Some(now),
            worker: Some("w2".to_owned()),
            ..row()
        };
        // Not settled yet: Redis still has it, and the ledger is right.
        let seen = view(&row, Some(&running(1)), vec![failed(1)]);
        assert_eq!((seen.state, seen.attempt, seen.attempts.len()), (ViewState::Succeeded, 2, 2));
        let outcomes: Vec<&str> = seen.attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
        assert_eq!(outcomes, ["failed", "succeeded"]);
    }

    #[test]
    fn without_redis_the_time_decides() {
        assert_eq!(view(&row(), None, Vec::new()).state, ViewState::Queued);
        assert_eq!(view(&JobRow { delay_ms: 1, ..row() }, None, Vec::new()).state, ViewState::Delayed);
    }

    #[test]
    fn outcomes_are_plain_words_in_json() {
        for outcome in [AttemptOutcome::Running, AttemptOutcome::Succeeded, AttemptOutcome::Ended("failed".to_owned())]
        {
            assert_eq!(serde_json::to_value(&outcome).expect("a word"), outcome.as_str());
        }
    }
}
