//! What holds for single organisations: their weights, and limits of their own.

use anyhow::Result;
use millrace_shared::{
    control,
    db::{org_settings, organisations},
    ids::OrgId,
    jobs::QueueName,
    queue::OrgSettings,
    wire,
};
use serde_json::json;

use crate::{
    app::App,
    args::{Limit, OrgsArgs, OrgsCommand, Weight},
    exit::{Exit, Failure},
    ui::{Cell, Column, Table},
};

pub async fn run(app: &App, args: OrgsArgs) -> Result<()> {
    match args.command {
        None => list(app).await,
        Some(OrgsCommand::Limit { org, queue, weight, concurrency }) => {
            let limit = |settings: &mut OrgSettings| {
                settings.weight = weight.map_or(settings.weight, Weight::number);
                settings.concurrency = concurrency.map_or(settings.concurrency, Limit::number);
            };
            change(app, (org, queue), limit).await
        }
    }
}

async fn change(
    app: &App,
    (org, queue): (OrgId, Option<QueueName>),
    change: impl FnOnce(&mut OrgSettings) + Send,
) -> Result<()> {
    let mut connection = app.connection().await?;
    if !organisations::exists(&mut connection, org).await? {
        return Err(Failure::of(Exit::NotFound, format!("there is no organisation {org}")));
    }
    let settings = control::change_org_settings(&mut connection, &app.queues, (org, queue), change).await?;
    if app.out.json {
        return app.out.document(&wire::org_limits(&mut connection, org).await?);
    }
    let place = queue.map_or("all queues".to_owned(), |queue| queue.to_string());
    let weight = settings.weight.map_or("as everybody's".to_owned(), |weight| weight.to_string());
    let concurrency = settings.concurrency.map_or("as everybody's".to_owned(), |limit| limit.to_string());
    app.out.line(&format!("{org} in {place} (weight: {weight}; jobs at once: {concurrency})"))
}

async fn list(app: &App) -> Result<()> {
    let made = org_settings::list(&mut *app.connection().await?, None).await?;
    if app.out.json {
        return made.iter().try_for_each(|one| {
            let OrgSettings { weight, concurrency } = one.settings;
            app.out.document(
                &json!({ "org_id": one.org, "queue": one.queue, "weight": weight, "concurrency": concurrency }),
            )
        });
    }
    if made.is_empty() {
        app.out.note("no organisation has a weight or limits of its own");
        return Ok(());
    }
    let columns =
        [Column::Left("ORGANISATION"), Column::Left("QUEUE"), Column::Right("WEIGHT"), Column::Right("AT ONCE")];
    let mut table = Table::new(&columns);
    for one in &made {
        table.row(vec![
            Cell::new(one.org.to_string()),
            Cell::new(one.queue.map_or("all", QueueName::as_str)),
            Cell::maybe(one.settings.weight.map(|weight| weight.to_string())),
            Cell::maybe(one.settings.concurrency.map(|limit| limit.to_string())),
        ]);
    }
    app.out.table(&table)
}
