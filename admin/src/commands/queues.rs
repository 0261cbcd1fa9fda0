//! What the queues hold, and how they are held back.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Result;
use console::{Term, truncate_str};
use millrace_shared::{
    control, db,
    jobs::QueueName,
    queue::Settings,
    wire::{self, Limits, Queue},
};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::{
    app::App,
    args::{Limit, QueuesArgs, QueuesCommand, RateLimit},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, args: QueuesArgs) -> Result<()> {
    match (args.command, args.watch) {
        (None, None) => show(app).await,
        (None, Some(every)) => tokio::select! {
            // Listens all the time: an interrupt in the middle of a frame counts, too.
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            ended = watch(app, every) => ended,
        },
        (Some(QueuesCommand::Pause { queue }), _) => change(app, queue, |settings| settings.paused = true).await,
        (Some(QueuesCommand::Resume { queue }), _) => change(app, queue, |settings| settings.paused = false).await,
        (Some(QueuesCommand::Limit { queue, concurrency, org_concurrency, rate, org_rate }), _) => {
            let limit = |settings: &mut Settings| {
                settings.concurrency = concurrency.map_or(settings.concurrency, Limit::number);
                settings.org_concurrency = org_concurrency.map_or(settings.org_concurrency, Limit::number);
                settings.rate = rate.map_or(settings.rate, RateLimit::rate);
                settings.org_rate = org_rate.map_or(settings.org_rate, RateLimit::rate);
            };
            change(app, queue, limit).await
        }
    }
}

async fn change(app: &App, queue: QueueName, change: impl FnOnce(&mut Settings) + Send) -> Result<()> {
    let settings = control::change_settings(&mut *app.connection().await?, &app.queues, queue, change).await?;
    if app.out.json {
        let limits = Limits::from(settings);
        return app.out.document(&json!({ "queue": queue, "paused": settings.paused, "limits": limits }));
    }
    let state = if settings.paused { "is paused; what runs goes on" } else { "is open" };
    let limits = limits(settings.into()).unwrap_or_else(|| "no limits".to_owned());
    app.out.line(&format!("{queue} {state} ({limits})"))
}

async fn queues(app: &App) -> Result<Vec<Queue>> {
    Ok(wire::queues(&mut *app.connection().await?, &app.queues).await?)
}

async fn show(app: &App) -> Result<()> {
    let queues = queues(app).await?;
    if app.out.json {
        return queues.iter().try_for_each(|queue| app.out.document(queue));
    }
    frame(&queues).iter().try_for_each(|line| app.out.line(line))
}

/// Shows the queues again and again: in place on a terminal, one frame after another elsewhere.
async fn watch(app: &App, every: Duration) -> Result<()> {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terminal = Some(Term::buffered_stdout()).filter(|_| std::io::stdout().is_terminal() && !app.out.json);
    let mut drawn = 0;
    loop {
        ticks.tick().await;
        let lines = match queues(app).await {
            Ok(queues) if app.out.json => {
                queues.iter().try_for_each(|queue| app.out.document(queue))?;
                continue;
            }
            Ok(queues) => frame(&queues),
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

fn frame(queues: &[Queue]) -> Vec<String> {
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
    for queue in queues {
        let live = |number: u64| if queue.live { Cell::number(number) } else { Cell::toned("?", Tone::Faint) };
        let oldest = queue.oldest_ready_age_ms.map(|age| ui::age(Duration::from_millis(age)));
        let dead = if queue.dead > 0 { Cell::toned(ui::count(queue.dead), Tone::Bad) } else { Cell::number(0) };
        table.row(vec![
            Cell::new(queue.queue.as_str()),
            Cell::number(queue.ready.total()),
            Cell::number(queue.ready.critical),
            Cell::number(queue.ready.high),
            Cell::number(queue.ready.normal),
            Cell::number(queue.ready.low),
            Cell::maybe(oldest),
            Cell::number(queue.delayed),
            live(queue.running),
            live(queue.finished_last_minute),
            dead,
            Cell::maybe(limits(queue.limits)),
            if queue.paused { Cell::toned("paused", Tone::Doubtful) } else { Cell::toned("open", Tone::Good) },
        ]);
    }
    let mut lines = table.lines();
    if queues.iter().any(|queue| !queue.live) {
        lines
            .push(Tone::Doubtful.paint("Redis is away: these are the ledger's figures, and what runs counts as ready"));
    }
    lines
}

/// `8 at once`, `2 at once per org`, `10/1s`, `5/1s per org`, or several of them.
fn limits(limits: Limits) -> Option<String> {
    let parts = [
        limits.concurrency.map(|limit| format!("{limit} at once")),
        limits.org_concurrency.map(|limit| format!("{limit} at once per org")),
        limits.rate.map(|rate| rate.to_string()),
        limits.org_rate.map(|rate| format!("{rate} per org")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
