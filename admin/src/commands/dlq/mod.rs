//! Dead letters: looking at them, putting them back into work, putting them away.

mod bulk;

use anyhow::Result;
use chrono::Utc;
use millrace_shared::{
    db::{
        Page,
        dead_letters::{self, DeadLetterFilter},
        jobs::JobRow,
    },
    ids::JobId,
    views::JobView,
    wire::{self, Job},
};

use super::{jobs, show};
use crate::{
    app::App,
    args::{DlqCommand, FilterArgs, PageArgs},
    exit::{Exit, Failure},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, command: DlqCommand) -> Result<()> {
    match command {
        DlqCommand::List { filter, page } => list(app, filter, &page).await,
        DlqCommand::Show { id } => show_one(app, id).await,
        DlqCommand::Replay { which, payload: Some(payload), .. } => {
            bulk::replay_edited(app, &which.ids, &payload).await
        }
        DlqCommand::Replay { which, rate, payload: None } => bulk::replay(app, which, rate).await,
        DlqCommand::Discard { which } => bulk::discard(app, which).await,
    }
}

impl From<FilterArgs> for DeadLetterFilter {
    fn from(args: FilterArgs) -> Self {
        Self { org: args.org, ids: None, queue: args.queue, kind: args.kind, error: args.error, since: args.since }
    }
}

async fn list(app: &App, filter: FilterArgs, page: &PageArgs) -> Result<()> {
    let mut connection = app.connection().await?;
    let request = page.request();
    let limit = u32::from(page.limit) + 1;
    let rows = dead_letters::list(&mut connection, &filter.into(), page.before, limit).await?;
    let Page { items, next } = request.page(rows, |row| row.id.0);
    let jobs = wire::jobs(&mut connection, dead(items)).await?;
    if app.out.json {
        jobs.iter().try_for_each(|job| app.out.document(job))?;
    } else if !jobs.is_empty() {
        app.out.table(&table(&jobs, page.wide))?;
    }
    jobs::page_note(app, jobs.len(), next.map(|cursor| JobId(cursor.id())), "dead letter");
    Ok(())
}

/// Views of what has ended, of which Redis knows nothing.
fn dead(rows: Vec<JobRow>) -> Vec<JobView> {
    rows.into_iter().map(JobView::from_ledger).collect()
}

fn table(jobs: &[Job], wide: bool) -> Table {
    let mut columns = vec![Column::Left("ID"), Column::Left("KIND"), Column::Right("ATTEMPT"), Column::Right("DIED")];
    if wide {
        columns.extend(["QUEUE", "PRIORITY", "ORGANISATION"].map(Column::Left));
    }
    columns.extend([Column::Left("CLASS"), Column::Cut("ERROR")]);
    let mut table = Table::new(&columns);
    for job in jobs {
        let died = job.finished_at.map(|time| ui::age((Utc::now() - time).to_std().unwrap_or_default()));
        let mut cells = vec![
            Cell::new(job.id.to_string()),
            Cell::new(&job.kind),
            Cell::new(format!("{}/{}", job.attempt, job.max_attempts)),
            Cell::maybe(died),
        ];
        if wide {
            cells.extend([Cell::new(&job.queue), Cell::new(job.priority.as_str()), Cell::new(job.org_id.to_string())]);
        }
        cells.push(job.error.as_ref().map_or_else(Cell::nothing, |error| Cell::toned(&error.class, Tone::Bad)));
        cells.push(Cell::maybe(job.error.as_ref().map(|error| &error.message)));
        table.row(cells);
    }
    table
}

async fn show_one(app: &App, id: JobId) -> Result<()> {
    let mut connection = app.connection().await?;
    let filter = DeadLetterFilter { ids: Some(vec![id]), ..DeadLetterFilter::default() };
    let rows = dead_letters::list(&mut connection, &filter, None, 1).await?;
    if rows.is_empty() {
        return Err(Failure::of(Exit::NotFound, format!("there is no dead letter {id}")));
    }
    let details = wire::details(&mut connection, dead(rows)).await?;
    details.iter().try_for_each(|detail| show::detail(app.out, detail))
}
