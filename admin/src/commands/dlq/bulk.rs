//! Work on many dead letters: counted and confirmed first, then done in batches of one transaction each.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use millrace_shared::{
    db::dead_letters::{self, DeadLetterFilter},
    ids::JobId,
    ledger::{self, Pace, ReplayError},
};
use serde_json::json;

use crate::{
    app::App,
    args::{BulkArgs, PayloadSource},
    commands::{jobs, payload},
    exit::{Exit, Failure},
    ui,
};

/// Dead letters that one transaction takes.
const BATCH: u32 = 250;

/// Replays one dead letter with another payload.
pub async fn replay_edited(app: &App, ids: &[JobId], source: &PayloadSource) -> Result<()> {
    let [id] = ids else {
        return Err(Failure::of(Exit::Usage, "--payload replays one job: give its id and no filter"));
    };
    let payload = payload::read(source)?;
    let mut transaction = app.transaction().await?;
    let replayed = ledger::replay(&mut transaction, &app.kinds(), None, *id, Some(payload)).await;
    let row = replayed.map_err(|error| match error {
        ReplayError::NotFound => Failure::of(Exit::NotFound, no_such(*id)),
        ReplayError::UniqueKeyTaken(_) => Failure::of(Exit::Refused, error.to_string()),
        ReplayError::Payload(fields) => jobs::refused(&fields),
        ReplayError::Database(error) => error.into(),
    })?;
    transaction.commit().await.context("the replay was not stored")?;
    app.publish(&[row]).await;
    Summary { matched: 1, done: 1, ..Summary::new(Verb::Replay) }.tell(app)
}

/// Replays what was named or matches.
pub async fn replay(app: &App, which: BulkArgs, rate_per_s: Option<f64>) -> Result<()> {
    let Some(mut work) = Work::begin(app, which, Verb::Replay).await? else { return Ok(()) };
    let (mut pace, mut after) = (Pace { rate_per_s, already: 0 }, None);
    while work.left() > 0 {
        let mut transaction = app.transaction().await?;
        let page = ledger::replay_page(&mut transaction, &work.filter, after, work.batch(), pace).await?;
        transaction.commit().await.context("the replay was not stored")?;
        app.publish(&page.replayed).await;
        let replayed = page.replayed.len() as u64;
        pace.already += replayed;
        work.advance(replayed, page.skipped);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    work.end(app)
}

/// Discards what was named or matches.
pub async fn discard(app: &App, which: BulkArgs) -> Result<()> {
    let Some(mut work) = Work::begin(app, which, Verb::Discard).await? else { return Ok(()) };
    while work.left() > 0 {
        let limit = work.batch();
        let mut transaction = app.transaction().await?;
        let discarded = ledger::discard_page(&mut transaction, &work.filter, limit).await?;
        transaction.commit().await.context("the discarding was not stored")?;
        work.advance(discarded, 0);
        if discarded < u64::from(limit) {
            break;
        }
    }
    work.end(app)
}

/// Bulk work under way. It never does more than what was counted, and so confirmed.
struct Work {
    filter: DeadLetterFilter,
    /// Named, but no dead letters.
    missing: Vec<JobId>,
    summary: Summary,
    bar: ProgressBar,
}

impl Work {
    /// Counts and asks; `None` where there is nothing to do, or only the count was wanted.
    async fn begin(app: &App, which: BulkArgs, verb: Verb) -> Result<Option<Self>> {
        let (yes, dry_run) = (which.yes, which.dry_run);
        let ids = which.ids;
        let mut filter = DeadLetterFilter::from(which.filter);
        filter.ids = (!ids.is_empty()).then(|| ids.clone());
        let mut connection = app.connection().await?;
        let matched = u64::try_from(dead_letters::count(&mut connection, &filter).await?).unwrap_or(0);
        let mut missing = Vec::new();
        if matched < ids.len() as u64 {
            let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            let found = dead_letters::list(&mut connection, &filter, None, limit).await?;
            let found: HashSet<JobId> = found.iter().map(|row| row.id).collect();
            missing.extend(ids.iter().filter(|id| !found.contains(id)));
        }
        drop(connection);
        let summary = Summary { matched, dry_run, ..Summary::new(verb) };
        let work = Self { filter, missing, summary, bar: ui::progress(matched) };
        if dry_run || matched == 0 {
            work.end(app)?;
            return Ok(None);
        }
        // Whoever names jobs one by one has counted them.
        if !yes && work.filter.ids.is_none() {
            ui::confirm(&format!("{} {}", verb.question(), letters(matched)))?;
        }
        Ok(Some(work))
    }

    fn left(&self) -> u64 {
        self.summary.matched.saturating_sub(self.summary.done + self.summary.skipped)
    }

    fn batch(&self) -> u32 {
        u32::try_from(self.left()).unwrap_or(BATCH).min(BATCH)
    }

    fn advance(&mut self, done: u64, skipped: u64) {
        self.summary.done += done;
        self.summary.skipped += skipped;
        self.bar.set_position(self.summary.done + self.summary.skipped);
    }

    fn end(self, app: &App) -> Result<()> {
        self.bar.finish_and_clear();
        self.summary.tell(app)?;
        for id in &self.missing {
            app.out.note(&no_such(*id));
        }
        if !self.missing.is_empty() {
            return Err(Failure::told(Exit::NotFound));
        }
        // A filter takes what it can; jobs that were named were all meant.
        if self.filter.ids.is_some() && self.summary.skipped > 0 {
            return Err(Failure::told(Exit::Refused));
        }
        Ok(())
    }
}

fn no_such(id: JobId) -> String {
    format!("there is no dead letter {id}")
}

fn letters(count: u64) -> String {
    format!("{} {}", ui::count(count), if count == 1 { "dead letter" } else { "dead letters" })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Replay,
    Discard,
}

impl Verb {
    fn question(self) -> &'static str {
        match self {
            Self::Replay => "Replay",
            Self::Discard => "Discard",
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Discard => "discarded",
        }
    }
}

/// What bulk work came to.
struct Summary {
    verb: Verb,
    matched: u64,
    done: u64,
    skipped: u64,
    dry_run: bool,
}

impl Summary {
    fn new(verb: Verb) -> Self {
        Self { verb, matched: 0, done: 0, skipped: 0, dry_run: false }
    }

    fn tell(&self, app: &App) -> Result<()> {
        let past = self.verb.past();
        if app.out.json {
            return app.out.document(&json!({
                "matched": self.matched, past: self.done, "skipped": self.skipped, "dry_run": self.dry_run,
            }));
        }
        if self.dry_run {
            return app.out.line(&format!("{} would be {past}", letters(self.matched)));
        }
        app.out.line(&format!("{past} {}", letters(self.done)))?;
        if self.skipped > 0 {
            let skipped = letters(self.skipped);
            app.out.note(&format!("left alone: {skipped}, because other jobs hold the same unique keys"));
        }
        Ok(())
    }
}
