//! Jobs: looking at them, cancelling them, submitting one.

use anyhow::{Context as _, Result};
use chrono::Utc;
use millrace_shared::{
    db::{
        Page,
        jobs::{self as rows, JobFilter, JobRow},
        organisations,
    },
    ids::JobId,
    intake::{self, IntakeError, within_patience},
    jobs::{FieldError, JobRequest},
    ledger::{self, Accepted, Ended},
    views::{self, State, ViewError},
    wire::{self, Job},
};

use super::{payload, show};
use crate::{
    app::App,
    args::{JobsCommand, ListJobs, SubmitJob},
    exit::{Exit, Failure},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, command: JobsCommand) -> Result<()> {
    match command {
        JobsCommand::List(args) => list(app, &args).await,
        JobsCommand::Show { id } => show_one(app, id).await,
        JobsCommand::Cancel { ids } => cancel(app, &ids).await,
        JobsCommand::Submit(args) => submit(app, args).await,
    }
}

async fn list(app: &App, args: &ListJobs) -> Result<()> {
    let filter = JobFilter {
        org: args.org,
        kind: args.kind.clone(),
        queue: args.queue,
        since: args.since,
        ..JobFilter::default()
    };
    let mut connection = app.connection().await?;
    let listed = views::list_jobs(&mut connection, &app.queues, filter, args.state, &args.page.request()).await;
    let Page { items, next } = listed.map_err(|error| match error {
        ViewError::Redis(error) => {
            Failure::of(Exit::Unavailable, format!("Redis, which alone knows what runs, is away: {error}"))
        }
        ViewError::Database(error) => error.into(),
    })?;
    let jobs = wire::jobs(&mut connection, items).await?;
    if app.out.json {
        jobs.iter().try_for_each(|job| app.out.document(job))?;
    } else if !jobs.is_empty() {
        app.out.table(&table(&jobs, args.page.wide))?;
    }
    page_note(app, jobs.len(), next.map(|cursor| JobId(cursor.id())), "job");
    Ok(())
}

/// How a list goes on, or that it is empty.
pub fn page_note(app: &App, shown: usize, next_before: Option<JobId>, what: &str) {
    if let Some(last) = next_before {
        app.out.note(&format!("{shown} shown; older ones: --before {last}"));
    } else if shown == 0 && !app.out.json {
        app.out.note(&format!("no {what} matches"));
    }
}

fn table(jobs: &[Job], wide: bool) -> Table {
    let mut columns = vec![
        Column::Left("ID"),
        Column::Left("KIND"),
        Column::Left("STATE"),
        Column::Right("ATTEMPT"),
        Column::Right("AGE"),
        Column::Right("TOOK"),
    ];
    if wide {
        columns.extend(["QUEUE", "PRIORITY", "ORGANISATION", "WORKER"].map(Column::Left));
    }
    let mut table = Table::new(&columns);
    for job in jobs {
        let mut cells = vec![
            Cell::new(job.id.to_string()),
            Cell::new(&job.kind),
            Cell::toned(job.state.as_str(), Tone::of_state(job.state)),
            Cell::new(format!("{}/{}", job.attempt, job.max_attempts)),
            Cell::new(ui::age((Utc::now() - job.created_at).to_std().unwrap_or_default())),
            Cell::maybe(time_taken(job)),
        ];
        if wide {
            cells.extend([
                Cell::new(&job.queue),
                Cell::new(job.priority.as_str()),
                Cell::new(job.org_id.to_string()),
                Cell::maybe(job.attempts.last().and_then(|attempt| attempt.worker.as_deref())),
            ]);
        }
        table.row(cells);
    }
    table
}

/// How long the run took that ended the job, or has been taking.
fn time_taken(job: &Job) -> Option<String> {
    let end = if job.state == State::Running { Some(Utc::now()) } else { job.finished_at };
    Some(show::took(job.started_at?, end?))
}

async fn show_one(app: &App, id: JobId) -> Result<()> {
    let mut connection = app.connection().await?;
    let row = rows::find_any(&mut connection, id).await?;
    let row = row.ok_or_else(|| Failure::of(Exit::NotFound, format!("there is no job {id}")))?;
    let views = views::current(&mut connection, &app.queues, vec![row]).await?;
    let details = wire::details(&mut connection, views).await?;
    details.iter().try_for_each(|detail| show::detail(app.out, detail))
}

async fn cancel(app: &App, ids: &[JobId]) -> Result<()> {
    let mut refused = None;
    for id in ids {
        match cancel_one(app, *id).await {
            Ok(job) if app.out.json => app.out.document(&job)?,
            Ok(_) => app.out.line(&format!("cancelled {id}"))?,
            // One that cannot be cancelled does not keep the others from it.
            Err(error) => {
                let failure = error.downcast::<Failure>()?;
                app.out.note(&format!("{id}: {failure}"));
                refused = Some(failure.exit());
            }
        }
    }
    refused.map_or(Ok(()), |exit| Err(Failure::told(exit)))
}

async fn cancel_one(app: &App, id: JobId) -> Result<Job> {
    let mut transaction = app.transaction().await?;
    let row = rows::find_any(&mut transaction, id).await?;
    let row = row.ok_or_else(|| Failure::of(Exit::NotFound, "there is no such job"))?;
    let ended = ledger::cancel(&mut transaction, row.org_id, id).await?;
    let Ended { row, unblocked } = ended.ok_or_else(|| Failure::of(Exit::Refused, "has ended already"))?;
    transaction.commit().await.context("the cancellation was not stored")?;
    let tell = async {
        if let Ok(queue) = row.queue.parse()
            && let Err(error) = app.queues.cancel(queue, &[id]).await
        {
            app.out.note(&format!("warning: a worker that runs it hears of it late, because Redis is away: {error}"));
        }
        ledger::publish(&app.queues, unblocked.as_slice()).await;
    };
    within_patience(tell).await;
    describe(app, row).await
}

/// A job as it is told to programs.
async fn describe(app: &App, row: JobRow) -> Result<Job> {
    let mut connection = app.connection().await?;
    let views = views::current(&mut connection, &app.queues, vec![row]).await?;
    wire::jobs(&mut connection, views).await?.into_iter().next().context("a row gave no view")
}

async fn submit(app: &App, args: SubmitJob) -> Result<()> {
    let org = args.org;
    let request = request(args)?;
    let job = request.check(&app.kinds()).map_err(|error| refused(&error.0))?;
    let mut transaction = app.transaction().await?;
    if !organisations::exists(&mut transaction, org).await? {
        return Err(Failure::of(Exit::NotFound, format!("there is no organisation {org}")));
    }
    let accepted = intake::accept(&mut transaction, org, &[job], |_| String::new()).await;
    let accepted = accepted.map_err(|error| match error {
        IntakeError::Invalid(fields) => refused(&fields),
        IntakeError::Database(error) => error.into(),
    })?;
    transaction.commit().await.context("the job was not stored")?;
    intake::publish(&app.queues, &accepted).await;
    let accepted = accepted.first().context("a submission gave no job")?;
    app.out.note(match accepted {
        Accepted::New(_) => "accepted:",
        Accepted::Existing(_) => "a job with this unique key waits already, and stays as it is:",
        Accepted::Replaced(_) => "a job with this unique key waits already, and got the new payload:",
        Accepted::Successor(_) => "accepted; it waits for the job with this unique key that runs:",
    });
    if !app.out.json {
        return app.out.line(&accepted.row().id.to_string());
    }
    app.out.document(&describe(app, accepted.row().clone()).await?)
}

fn request(args: SubmitJob) -> Result<JobRequest> {
    let millis = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Ok(JobRequest {
        priority: args.priority.unwrap_or_default(),
        run_at: args.run_at,
        delay_ms: args.delay.map(millis),
        max_attempts: args.max_attempts,
        timeout_ms: args.timeout.map(millis),
        unique_key: args.unique_key,
        ..JobRequest::new(&args.kind, payload::read(&args.payload)?)
    })
}

/// A job or a payload that its kind does not take, with every field that is wrong.
pub fn refused(fields: &[FieldError]) -> anyhow::Error {
    let lines: Vec<String> = fields.iter().map(|field| format!("\n  {field}")).collect();
    Failure::of(Exit::Usage, format!("the job was refused:{}", lines.concat()))
}
