//! What is sealed in the database: with which keys, and anew with the current one.

use anyhow::{Context as _, Result};
use millrace_shared::{
    db::sealed::SEALED_COLUMNS,
    reseal::{self, KeyUse, Mode, Unopened},
    seal::{Keyring, Standing},
};
use serde_json::{Value, json};

use crate::{
    app::App,
    args::SecretsCommand,
    exit::{Exit, Failure},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, command: SecretsCommand) -> Result<()> {
    match command {
        SecretsCommand::Status => status(app).await,
        SecretsCommand::Rotate { dry_run } => rotate(app, if dry_run { Mode::Count } else { Mode::Reseal }).await,
    }
}

async fn status(app: &App) -> Result<()> {
    let uses = reseal::uses(&mut *app.connection().await?, app.config.common.keyring.as_ref()).await?;
    if app.out.json {
        return uses.iter().try_for_each(|one| {
            let standing = word(one).0;
            app.out
                .document(&json!({ "key_id": one.key, "key": standing, "sealed": one.total(), "columns": one.counts }))
        });
    }
    if uses.is_empty() {
        app.out.note("nothing is sealed, and MILLRACE_ENCRYPTION_KEYS is not set");
        return Ok(());
    }
    let columns = [Column::Left("KEY"), Column::Left("STATE"), Column::Right("SEALED"), Column::Cut("WHERE")];
    let mut table = Table::new(&columns);
    for one in &uses {
        let (standing, tone) = word(one);
        let places: Vec<String> =
            one.counts.iter().map(|(name, count)| format!("{name} {}", ui::count(*count))).collect();
        table.row(vec![
            Cell::maybe(one.key.as_deref()),
            Cell::toned(standing, tone),
            Cell::number(one.total()),
            Cell::maybe(Some(places.join(", ")).filter(|places| !places.is_empty())),
        ]);
    }
    app.out.table(&table)
}

fn word(one: &KeyUse) -> (&'static str, Tone) {
    match (&one.key, one.standing) {
        (None, _) => ("unreadable", Tone::Bad),
        (_, Standing::Current) => ("current", Tone::Good),
        (_, Standing::Old) => ("old", if one.total() == 0 { Tone::Faint } else { Tone::Doubtful }),
        (_, Standing::Missing) => ("missing", Tone::Bad),
    }
}

async fn rotate(app: &App, mode: Mode) -> Result<()> {
    let keyring = app.config.common.keyring.as_ref().ok_or_else(|| {
        Failure::of(Exit::Configuration, "MILLRACE_ENCRYPTION_KEYS is not set, so that nothing can be opened or sealed")
    })?;
    let total = reseal::uses(&mut *app.connection().await?, Some(keyring)).await?.iter().map(KeyUse::total).sum();
    let bar = ui::progress(total);
    let mut sum = Sum::default();
    for column in SEALED_COLUMNS {
        let mut after = None;
        loop {
            let mut transaction = app.transaction().await?;
            let page = reseal::page(&mut transaction, keyring, column, after, mode).await?;
            transaction.commit().await.context("what was sealed anew was not stored")?;
            sum.resealed += page.resealed;
            sum.fine += page.fine;
            sum.unopened.extend(page.unopened);
            bar.set_position(sum.resealed + sum.fine + sum.unopened.len() as u64);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    bar.finish_and_clear();
    sum.tell(app, keyring, mode)
}

/// What became of all of them.
#[derive(Default)]
struct Sum {
    resealed: u64,
    fine: u64,
    unopened: Vec<Unopened>,
}

impl Sum {
    fn tell(&self, app: &App, keyring: &Keyring, mode: Mode) -> Result<()> {
        let (current, resealed, fine) = (keyring.current(), ui::count(self.resealed), ui::count(self.fine));
        if app.out.json {
            app.out.document(&json!({
                "key_id": current,
                "resealed": self.resealed,
                "fine": self.fine,
                "unopened": self.unopened.iter().map(shown).collect::<Vec<_>>(),
                "dry_run": mode == Mode::Count,
            }))?;
        } else {
            app.out.line(&match mode {
                Mode::Reseal => {
                    format!("sealed anew with the key {current}: {resealed}; sealed with it before: {fine}")
                }
                Mode::Count => {
                    format!("would be sealed anew with the key {current}: {resealed}; sealed with it: {fine}")
                }
            })?;
        }
        if self.unopened.is_empty() {
            return Ok(());
        }
        for Unopened { column, id, org, problem, .. } in &self.unopened {
            app.out.note(&format!("{column} {id} of {org}: {problem}"));
        }
        let unopened = ui::count(self.unopened.len() as u64);
        Err(Failure::of(Exit::Failed, format!("{unopened} could not be opened, and are as they were")))
    }
}

fn shown(one: &Unopened) -> Value {
    json!({
        "column": one.column,
        "id": one.id,
        "org_id": one.org,
        "key_id": one.key,
        "problem": one.problem.to_string(),
    })
}
