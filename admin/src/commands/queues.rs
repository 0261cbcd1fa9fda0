//! What the queues hold, and how they are held back.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result};
use console::{Term, truncate_str};
use millrace_shared::{
    db,
    jobs::QueueName,
    ledger::{self, SettingsChange},
    view::{self, LimitsView, QueueView},
};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::{
    app::App,
    args::{QueuesArgs, QueuesCommand},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, args: QueuesArgs) -> Result<()> {
    match (args.command, args.watch) {
        (None, None) => show(app).await,
        (None, Some(every)) => watch(app, every).await,
        (Some(QueuesCommand::Pause { queue }), _) => change(app, queue, SettingsChange::PAUSE).await,
        (Some(QueuesCommand::Resume { queue }), _) => change(app, queue, SettingsChange::RESUME).await,
        (Some(QueuesCommand::Limit { queue, concurrency, org_concurrency }), _) => {
            let limits = SettingsChange {
                paused: None,
                concurrency: concurrency.map(|limit| limit.0),
                org_concurrency: org_concurrency.map(|limit| limit.0),
            };
            change(app, queue, limits).await
        }
    }
}

async fn change(app: &App, queue: QueueName, change: SettingsChange) -> Result<()> {
    let mut transaction = app.transaction().await?;
    let settings = ledger::set_settings(&mut transaction, queue, change).await?;
    transaction.commit().await.context("the settings were not stored")?;
    let otherwise = format!("the settings of {queue} are stored, and hold once they are in Redis");
    app.tell_redis(&otherwise, ledger::publish_settings(&app.queues, queue, settings)).await;
    if app.out.json {
        let limits = LimitsView { concurrency: settings.concurrency, org_concurrency: settings.org_concurrency };
        return app.out.document(&json!({ "queue": queue, "paused": settings.paused, "limits": limits }));
    }
    let state = if settings.paused { "is paused; what runs goes on" } else { "is open" };
    let limit = |limit: Option<u32>| limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    let (whole, each) = (limit(settings.concurrency), limit(settings.org_concurrency));
    app.out.line(&format!("{queue} {state} (jobs at once: {whole}; of each organisation: {each})"))
}

async fn views(app: &App) -> Result<Vec<QueueView>> {
    Ok(view::queues(&mut *app.connection().await?, &app.queues).await?)
}

async fn show(app: &App) -> Result<()> {
    let views = views(app).await?;
    if app.out.json {
        return views.iter().try_for_each(|view| app.out.document(view));
    }
    frame(&views).iter().try_for_each(|line| app.out.line(line))
}

/// Shows the queues until it is interrupted: in place on a terminal, one frame after another elsewhere.
async fn watch(app: &App, every: Duration) -> Result<()> {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terminal = Some(Term::buffered_stdout()).filter(|_| std::io::stdout().is_terminal() && !app.out.json);
    let mut drawn = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        let lines = match views(app).await {
            Ok(views) if app.out.json => {
                views.iter().try_for_each(|view| app.out.document(view))?;
                continue;
            }
            Ok(views) => frame(&views),
            // Whoever watches wants to see it come back.
            Err(error) if error.downcast_ref().is_some_and(db::is_unavailable) => {
                vec![Tone::Bad.paint("Postgres is away; trying again")]
            }
            Err(error) => return Err(error),
        };
        match &terminal {
            Some(terminal) => drawn = redraw(terminal, drawn, &lines)?,
            None => lines.iter().try_for_each(|line| app.out.line(line))?,
        }
    }
}

/// Draws over the `drawn` lines of the frame before. Gives how many lines this one has.
fn redraw(terminal: &Term, drawn: usize, lines: &[String]) -> Result<usize> {
    let width = usize::from(terminal.size().1);
    terminal.clear_last_lines(drawn)?;
    for line in lines {
        // A line that wraps would be two to clear.
        terminal.write_line(&truncate_str(line, width, "…"))?;
    }
    terminal.flush()?;
    Ok(lines.len())
}

fn frame(views: &[QueueView]) -> Vec<String> {
    let mut table = Table::new(&[
        Column::Left("QUEUE"),
        Column::Right("READY"),
        Column::Right("CRITICAL"),
        Column::Right("HIGH"),
        Column::Right("NORMAL"),
        Column::Right("LOW"),
        Column::Right("OLDEST"),
        Column::Right("DELAYED"),
        Column::Right("RUNNING"),
        Column::Right("DONE/MIN"),
        Column::Right("DEAD"),
        Column::Left("LIMIT"),
        Column::Left("STATE"),
    ]);
    for view in views {
        let live = |number: u64| if view.live { Cell::number(number) } else { Cell::toned("?", Tone::Faint) };
        let oldest = view.oldest_ready_age_ms.map(|age| ui::age(Duration::from_millis(age)));
        let dead = if view.dead > 0 { Cell::toned(ui::count(view.dead), Tone::Bad) } else { Cell::number(0) };
        table.row(vec![
            Cell::new(view.queue.as_str()),
            Cell::number(view.ready.total()),
            Cell::number(view.ready.critical),
            Cell::number(view.ready.high),
            Cell::number(view.ready.normal),
            Cell::number(view.ready.low),
            Cell::maybe(oldest),
            Cell::number(view.delayed),
            live(view.running),
            live(view.finished_last_minute),
            dead,
            Cell::maybe(limits(view.limits)),
            if view.paused { Cell::toned("paused", Tone::Doubtful) } else { Cell::toned("open", Tone::Good) },
        ]);
    }
    let mut lines = table.lines();
    if views.iter().any(|view| !view.live) {
        lines
            .push(Tone::Doubtful.paint("Redis is away: these are the ledger's figures, and what runs counts as ready"));
    }
    lines
}

/// `8`, `2/org` or `8, 2/org`.
fn limits(limits: LimitsView) -> Option<String> {
    let whole = limits.concurrency.map(|limit| limit.to_string());
    let each = limits.org_concurrency.map(|limit| format!("{limit}/org"));
    let parts: Vec<String> = whole.into_iter().chain(each).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
