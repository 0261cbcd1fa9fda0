//! Millrace's own reading of the files.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use millrace_harness::Binaries;
use millrace_worker::ingest::{Document, ExtractError, Extractor, IngestLimits, Usage};
use tokio_util::sync::CancellationToken;

/// What became of one file.
pub(crate) struct Reading {
    /// Its path in the folder.
    pub(crate) name: PathBuf,
    pub(crate) result: Result<Document, ExtractError>,
    pub(crate) took: Duration,
    /// What the child told of itself; none if it did not live to.
    pub(crate) usage: Option<Usage>,
}

impl Reading {
    pub(crate) fn outcome(&self) -> &'static str {
        self.result.as_ref().map_or_else(ExtractError::code, |_| "ok")
    }
}

/// All files below a folder, by their paths in it, in order.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        let entries = path.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.with_context(|| format!("cannot read {}", path.display()))? {
            let name = inner.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
            } else {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the files, one after another.
pub(crate) async fn read_all(folder: &Path, names: Vec<PathBuf>) -> Result<Vec<Reading>> {
    let program = Binaries::for_tests().await?.worker();
    let extractor = Extractor::new(IngestLimits { program, ..IngestLimits::default() })?;
    let cancel = CancellationToken::new();
    let mut readings = Vec::with_capacity(names.len());
    for name in names {
        let start = Instant::now();
        let measured = extractor.measure(&folder.join(&name), &cancel).await;
        let took = start.elapsed();
        let (result, usage) = match measured {
            Ok((result, usage)) => (result, Some(usage)),
            Err(error) => (Err(error), None),
        };
        readings.push(Reading { name, result, took, usage });
    }
    Ok(readings)
}
