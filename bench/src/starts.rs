//! When handlers start: noted within the worker's process, read by the one that submits.
//!
//! The handler of `probe` says so itself, by a trace event that is off anywhere else. A note is 24 bytes: the job's id and the time on the
//! machine's monotonic clock. Notes are gathered in memory and written every few milliseconds, so that noting costs the worker next
//! to nothing.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use millrace_shared::ids::JobId;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
};

use crate::clock;

const NOTE_BYTES: usize = 24;
const WRITE_EVERY: Duration = Duration::from_millis(10);

/// The target of the event that a starting probe gives.
const PROBE: &str = "millrace_worker::handlers::probe";

/// Notes starts in a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    notes: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// One that appends to `path` from now on, as long as the process lives.
    pub(crate) fn append_to(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file: File = file.with_context(|| format!("cannot open {}", path.display()))?;
        let recorder = Self::default();
        let notes = Arc::clone(&recorder.notes);
        let write = move || {
            loop {
                thread::sleep(WRITE_EVERY);
                let gathered = std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner));
                if !gathered.is_empty() && file.write_all(&gathered).is_err() {
                    // Who waits for the notes will miss them, and say so.
                    return;
                }
            }
        };
        thread::Builder::new().name("starts".into()).spawn(write).context("cannot start the thread that writes")?;
        Ok(recorder)
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = clock::now_ns();
        let mut visitor = JobIdOf(None);
        event.record(&mut visitor);
        let Some(id) = visitor.0 else { return };
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.extend_from_slice(id.as_bytes());
        notes.extend_from_slice(&now.to_le_bytes());
    }
}

/// Lets the starts of probes through and nothing else.
#[derive(Debug)]
pub(crate) struct OnlyStarts;

impl<S> Filter<S> for OnlyStarts {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_event() && metadata.target() == PROBE
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        if metadata.is_event() && metadata.target() == PROBE {
            tracing::subscriber::Interest::always()
        } else {
            tracing::subscriber::Interest::never()
        }
    }
}

struct JobIdOf(Option<JobId>);

impl Visit for JobIdOf {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "job.id" {
            self.0 = format!("{value:?}").parse().ok();
        }
    }
}

/// The starts noted in `path`, in ns, once those of all of `ids` are there. Of a job that ran twice, the first start counts.
pub(crate) async fn read(path: &Path, ids: &[JobId], patience: Duration) -> Result<HashMap<JobId, u64>> {
    let deadline = Instant::now() + patience;
    loop {
        let starts = parse(&fs::read(path).unwrap_or_default());
        let missing = ids.iter().filter(|id| !starts.contains_key(*id)).count();
        if missing == 0 {
            return Ok(starts);
        }
        if Instant::now() > deadline {
            bail!("{missing} of {} jobs have not started after {patience:?}", ids.len());
        }
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

fn parse(notes: &[u8]) -> HashMap<JobId, u64> {
    let mut starts = HashMap::with_capacity(notes.len() / NOTE_BYTES);
    for note in notes.chunks_exact(NOTE_BYTES) {
        let (id, time) = note.split_at(16);
        if let (Ok(id), Ok(time)) = (JobId::try_from(id), time.try_into()) {
            starts.entry(id).or_insert(u64::from_le_bytes(time));
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[tokio::test]
    async fn a_probes_start_is_noted_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("millrace-starts-{}", std::process::id()));
        let recorder = Recorder::append_to(&dir).unwrap();
        let subscriber = tracing_subscriber::registry().with(recorder.with_filter(OnlyStarts));
        let (id, other) = (JobId::new(), JobId::new());
        let before = clock::now_ns();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: PROBE, { job.id = %id }, "probe begins");
            tracing::trace!(job.id = %other, "something else");
        });
        let starts = read(&dir, &[id], Duration::from_secs(30)).await.unwrap();
        fs::remove_file(&dir).unwrap();
        assert_eq!(starts.len(), 1);
        assert!((before..=clock::now_ns()).contains(&starts[&id]));
    }
}
