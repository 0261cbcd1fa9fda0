//! Extraction as the worker does it: real files, real child processes of the real binary.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod confinement;
mod containers;
mod documents;
mod headings;
mod hostile;
mod make;
mod ocr;
mod ocr_limits;
mod office;
mod outlook;
mod packages;
mod pdf;

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_worker::ingest::{Document, ExtractError, Extractor, IngestLimits};
use tokio_util::sync::CancellationToken;

fn limits() -> IngestLimits {
    IngestLimits {
        // Less than a worker gives, so that what goes beyond it is soon told.
        memory_limit_bytes: 512 << 20,
        cpu_limit: Duration::from_secs(30),
        program: PathBuf::from(env!("CARGO_BIN_EXE_millrace-worker")),
        ..IngestLimits::default()
    }
}

async fn extract(file: &Path, limits: IngestLimits) -> Result<Document, ExtractError> {
    let extractor = Extractor::new(limits).unwrap();
    extractor.extract(file, &CancellationToken::new()).await
}

/// Extracts bytes that no fixture holds.
async fn extract_bytes(bytes: &[u8], limits: IngestLimits) -> Result<Document, ExtractError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    extract(file.path(), limits).await
}

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(folder);
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)
}

fn code(result: &Result<Document, ExtractError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}
