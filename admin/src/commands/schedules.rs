//! Schedules: looking at them, pausing, deleting and running them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Utc};
use millrace_shared::{
    config::ScheduleLimits,
    db::{Page, schedules as rows},
    ids::{OrgId, ScheduleId},
    intake::{self, IntakeError},
    ledger::Accepted,
    schedules::{self, Change, ChangeError},
    wire::{self, Payload, Schedule},
};
use serde_json::json;
use sqlx::PgConnection;

use super::{jobs::refused, show};
use crate::{
    app::App,
    args::{ListSchedules, SchedulesCommand},
    exit::{Exit, Failure},
    ui::{self, Cell, Column, Table, Tone},
};

/// Where values begin.
const INDENT: usize = 14;
/// What the API asks of new timings. Pausing and going on make none.
const NO_LIMITS: ScheduleLimits = ScheduleLimits { min_interval: Duration::ZERO, most: u32::MAX };

pub async fn run(app: &App, command: SchedulesCommand) -> Result<()> {
    match command {
        SchedulesCommand::List(args) => list(app, &args).await,
        SchedulesCommand::Show { id } => show_one(app, id).await,
        SchedulesCommand::Pause { ids } => each(app, &ids, Deed::Pause).await,
        SchedulesCommand::Resume { ids } => each(app, &ids, Deed::Resume).await,
        SchedulesCommand::Delete { ids } => each(app, &ids, Deed::Delete).await,
        SchedulesCommand::Run { id } => run_one(app, id).await,
    }
}

async fn list(app: &App, args: &ListSchedules) -> Result<()> {
    let page = args.request();
    let mut connection = app.connection().await?;
    let found = rows::list(&mut connection, args.org, args.before, page.fetch_limit()).await?;
    let Page { items, next } = page.page(found, |row| row.id.0);
    let schedules: Vec<Schedule> = items.into_iter().map(|row| Schedule::of(row, Payload::LeftOut)).collect();
    if app.out.json {
        schedules.iter().try_for_each(|schedule| app.out.document(schedule))?;
    } else if !schedules.is_empty() {
        app.out.table(&table(&schedules, args.wide))?;
    }
    if let Some(last) = next {
        app.out.note(&format!("{} shown; older ones: --before {}", schedules.len(), ScheduleId(last.id())));
    } else if schedules.is_empty() && !app.out.json {
        app.out.note("no schedules");
    }
    Ok(())
}

fn table(schedules: &[Schedule], wide: bool) -> Table {
    let mut columns = vec![
        Column::Left("ID"),
        Column::Left("KIND"),
        Column::Left("WHEN"),
        Column::Left("NEXT"),
        Column::Left("LAST"),
        Column::Left("STATE"),
    ];
    if wide {
        columns.extend(["FIRED", "SKIPPED", "MISSED"].map(Column::Right));
        columns.extend(["LAST JOB", "ORGANISATION"].map(Column::Left));
    }
    columns.push(Column::Cut("NAME"));
    let mut table = Table::new(&columns);
    for schedule in schedules {
        let (state, tone) = state(schedule);
        let mut cells = vec![
            Cell::new(schedule.id.to_string()),
            Cell::new(&schedule.kind),
            Cell::new(when(schedule)),
            Cell::maybe(schedule.next_run_at.map(ui::ago)),
            Cell::maybe(schedule.last_run_at.map(ui::ago)),
            Cell::toned(state, tone),
        ];
        if wide {
            let number = |number: i64| Cell::number(u64::try_from(number).unwrap_or(0));
            cells.extend([number(schedule.fired), number(schedule.skipped), number(schedule.missed)]);
            cells.push(Cell::maybe(schedule.last_job_id.map(|id| id.to_string())));
            cells.push(Cell::new(schedule.org_id.to_string()));
        }
        cells.push(Cell::new(&schedule.name));
        table.row(cells);
    }
    table
}

/// How a schedule does, in a word.
fn state(schedule: &Schedule) -> (&'static str, Tone) {
    let overdue = || schedule.next_run_at.is_some_and(|next| Utc::now() - next > TimeDelta::minutes(1));
    match &schedule.last_error {
        _ if schedule.paused => ("paused", Tone::Doubtful),
        Some(_) => ("failing", Tone::Bad),
        // No worker is there, or the one that is does not know the kind.
        None if overdue() => ("overdue", Tone::Bad),
        None => ("open", Tone::Good),
    }
}

/// `every 15m`, or the cron expression with its time zone.
fn when(schedule: &Schedule) -> String {
    match (&schedule.every, &schedule.cron, &schedule.time_zone) {
        (Some(every), ..) => format!("every {every}"),
        (None, Some(cron), Some(zone)) => format!("{cron} {zone}"),
        _ => "unreadable".to_owned(),
    }
}

async fn show_one(app: &App, id: ScheduleId) -> Result<()> {
    let mut connection = app.connection().await?;
    let org = owner(&mut connection, id).await?;
    let row = rows::get(&mut connection, org, id).await?.ok_or_else(|| no_such(id))?;
    let schedule = Schedule::of(row, Payload::Shown);
    if app.out.json {
        return app.out.document(&schedule);
    }
    for (name, value) in fields(&schedule) {
        app.out.line(&format!("{}{value}", Tone::Faint.paint(&format!("{name:INDENT$}"))))?;
    }
    Ok(())
}

fn fields(schedule: &Schedule) -> Vec<(&'static str, String)> {
    let (state, tone) = state(schedule);
    let mut fields = vec![
        ("id", schedule.id.to_string()),
        ("name", ui::one_line(&schedule.name)),
        ("organisation", schedule.org_id.to_string()),
        ("kind", format!("{} ({})", ui::one_line(&schedule.kind), schedule.priority.as_str())),
        ("when", ui::one_line(&when(schedule))),
        ("state", tone.paint(state)),
        ("unique", if schedule.unique { "one job at a time" } else { "jobs may pile up" }.to_owned()),
    ];
    let local = |time: &DateTime<FixedOffset>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let ahead = schedule.upcoming.iter().map(local).collect::<Vec<_>>().join(&format!("\n{:INDENT$}", ""));
    let mut optional = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    optional("next", Some(ahead).filter(|ahead| !ahead.is_empty()));
    optional("last", schedule.last_run_at.map(show::time));
    optional("last job", schedule.last_job_id.map(|id| id.to_string()));
    let count = |number: i64| ui::count(u64::try_from(number).unwrap_or(0));
    let ticks = [count(schedule.fired), count(schedule.skipped), count(schedule.missed)];
    optional("ticks", Some(format!("{} fired, {} skipped, {} missed", ticks[0], ticks[1], ticks[2])));
    let error = schedule.last_error.as_ref().map(|error| {
        let message = ui::block(&error.message, INDENT);
        format!("{}: {message} ({})", Tone::Bad.paint(&ui::one_line(&error.class)), ui::ago(error.at))
    });
    optional("error", error);
    optional("made", Some(show::time(schedule.created_at)));
    optional("payload", schedule.payload.as_ref().map(show::json_block));
    fields
}

/// What is done to schedules one by one.
#[derive(Clone, Copy)]
enum Deed {
    Pause,
    Resume,
    Delete,
}

impl Deed {
    const fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Delete => "deleted",
        }
    }
}

async fn each(app: &App, ids: &[ScheduleId], deed: Deed) -> Result<()> {
    let mut refused = None;
    for id in ids {
        match one(app, *id, deed).await {
            Ok(Some(schedule)) if app.out.json => app.out.document(&schedule)?,
            Ok(None) if app.out.json => app.out.document(&json!({ "id": id, "deleted": true }))?,
            Ok(_) => app.out.line(&format!("{} {id}", deed.done()))?,
            // One that is not there does not keep the others from it.
            Err(error) => {
                let failure = error.downcast::<Failure>()?;
                app.out.note(&failure.to_string());
                refused = Some(failure.exit());
            }
        }
    }
    refused.map_or(Ok(()), |exit| Err(Failure::told(exit)))
}

/// The schedule as it is then, unless it is deleted.
async fn one(app: &App, id: ScheduleId, deed: Deed) -> Result<Option<Schedule>> {
    let mut transaction = app.transaction().await?;
    let org = owner(&mut transaction, id).await?;
    let paused = match deed {
        Deed::Pause => true,
        Deed::Resume => false,
        Deed::Delete => {
            let deleted = rows::delete(&mut transaction, org, id).await?;
            transaction.commit().await.context("the deletion was not stored")?;
            return if deleted { Ok(None) } else { Err(no_such(id)) };
        }
    };
    let change = Change { paused: Some(paused), ..Change::default() };
    let changed = schedules::change(&mut transaction, (org, id), change, (&app.kinds(), &NO_LIMITS)).await;
    let row = changed.map_err(|error| match error {
        ChangeError::NotFound => no_such(id),
        ChangeError::Invalid(fields) => refused(&fields),
        ChangeError::Database(error) => error.into(),
    })?;
    transaction.commit().await.context("the change was not stored")?;
    Ok(Some(Schedule::of(row, Payload::LeftOut)))
}

async fn run_one(app: &App, id: ScheduleId) -> Result<()> {
    let mut transaction = app.transaction().await?;
    let org = owner(&mut transaction, id).await?;
    let accepted = schedules::run_now(&mut transaction, (org, id), &app.kinds(), None).await;
    let accepted = accepted.map_err(|error| match error {
        IntakeError::Invalid(fields) => refused(&fields),
        IntakeError::Database(error) => error.into(),
    })?;
    let accepted = accepted.ok_or_else(|| no_such(id))?;
    transaction.commit().await.context("the job was not stored")?;
    intake::publish(&app.queues, std::slice::from_ref(&accepted)).await;
    app.out.note(match accepted {
        Accepted::Existing(_) => "its job before has not ended, and stays as it is:",
        _ => "accepted:",
    });
    if app.out.json {
        return app.out.document(&wire::accepted(accepted.into_row()));
    }
    app.out.line(&accepted.row().id.to_string())
}

async fn owner(connection: &mut PgConnection, id: ScheduleId) -> Result<OrgId> {
    rows::owner(connection, id).await?.ok_or_else(|| no_such(id))
}

fn no_such(id: ScheduleId) -> anyhow::Error {
    Failure::of(Exit::NotFound, format!("there is no schedule {id}"))
}
