//! When handlers start, noted by the worker: 16 bytes a start, the job's number and the time on the machine's monotonic clock.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::clock;

pub(crate) const NOTE_BYTES: usize = 16;
const WRITE_EVERY: Duration = Duration::from_millis(10);

/// Notes starts. There is one in a process, because handlers of some peers are bare functions.
pub(crate) struct Recorder {
    notes: Mutex<Vec<u8>>,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();

impl Recorder {
    /// From now on starts are appended to `path`.
    pub(crate) fn install(path: &Path) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path).context("the file of starts")?;
        let recorder = RECORDER.get_or_init(|| Self { notes: Mutex::default() });
        thread::spawn(move || {
            loop {
                thread::sleep(WRITE_EVERY);
                let gathered = std::mem::take(&mut *recorder.notes.lock().unwrap_or_else(PoisonError::into_inner));
                if file.write_all(&gathered).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

/// Notes that the handler of this job starts.
pub(crate) fn started(number: u64) {
    let now = clock::now_ns();
    if let Some(recorder) = RECORDER.get() {
        let mut notes = recorder.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.extend_from_slice(&number.to_le_bytes());
        notes.extend_from_slice(&now.to_le_bytes());
    }
}

/// How many starts are noted.
pub(crate) fn count(path: &Path) -> usize {
    fs::metadata(path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(0) / NOTE_BYTES)
}

/// The first start of each job, in ns.
pub(crate) fn read(path: &Path) -> HashMap<u64, u64> {
    let mut starts = HashMap::new();
    for note in fs::read(path).unwrap_or_default().chunks_exact(NOTE_BYTES) {
        let (number, time) = note.split_at(8);
        if let (Ok(number), Ok(time)) = (number.try_into(), time.try_into()) {
            starts.entry(u64::from_le_bytes(number)).or_insert(u64::from_le_bytes(time));
        }
    }
    starts
}
