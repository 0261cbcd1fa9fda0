//! A directory for one run: unique, removed at the end, and swept by a later run if this one was killed.
//!
//! The owner holds a lock on `.lock` inside it for as long as it lives. A lock goes away with its process, however that
//! ended, so "nobody holds it" is proof that the owner is dead; a pid in the name would not be, since pids come back.
//! Creating and sweeping happen under a lock on the base, so that no directory is swept between its creation and its lock.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use crate::place::{create_private_dir, target_dir};

const LOCK: &str = ".lock";

/// A unique directory, owned until it is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    keep: bool,
    _lock: File,
}

impl RunDir {
    /// A new one in `target/run`.
    ///
    /// # Errors
    /// When it cannot be created or locked.
    pub fn create() -> Result<Self> {
        Self::create_in(&target_dir().join("run"))
    }

    /// A new one in `base`, which is made if it is missing. Sweeps what dead runs left there.
    ///
    /// # Errors
    /// When it cannot be created or locked.
    pub fn create_in(base: &Path) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(base).with_context(|| format!("cannot create {}", base.display()))?;
        let gate = lock_file(&base.join(LOCK))?;
        sweep(base);
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{}-{}-{count}", process::id(), since_epoch.as_millis()));
        create_private_dir(&path)?;
        let lock = lock_file(&path.join(LOCK))?;
        drop(gate);
        Ok(Self { path, keep: false, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory in place when dropped, for whoever wants to read the logs. The next run sweeps it.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
        }
    }
}

/// Opens (or makes) `path` and waits for its exclusive lock, which ends with the returned file.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && owner_is_dead(&path) {
            remove(&path);
        }
    }
}

fn owner_is_dead(run: &Path) -> bool {
    match File::options().write(true).open(run.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        // Its owner made it under the base's lock, which we hold: a missing lock means a half removed directory.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes a directory in which an ending server may still write for a moment. What resists is left for the next sweep.
fn remove(path: &Path) {
    for _ in 0..5 {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_directory_is_left_alone_and_a_dead_one_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let live = RunDir::create_in(base.path()).unwrap();
        let mut dead = RunDir::create_in(base.path()).unwrap();
        dead.keep();
        let dead_path = dead.path().to_owned();
        drop(dead);
        assert!(dead_path.is_dir(), "kept for its reader");
        let next = RunDir::create_in(base.path()).unwrap();
        assert!(!dead_path.exists(), "swept by the next run");
        assert!(live.path().is_dir());
        assert_ne!(live.path(), next.path());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
