//! What one extraction may use. Every setting has a default that a laptop and a small container both bear.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ocr::{OcrLimits, PICTURE_BYTES};

/// The limits of one extraction, and the size of chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestLimits {
    /// Address space of the child, in bytes (`MILLRACE_EXTRACT_MEMORY_BYTES`, 1 GiB). Past it: `limit_memory`.
    /// Address space is more than what is resident: the program itself takes some 10 MiB of it.
    pub memory_limit_bytes: u64,
    /// Processor time of the child, rounded up to whole seconds (`MILLRACE_EXTRACT_CPU_SECONDS`, 60 s).
    /// Past it: `limit_time`.
    pub cpu_limit: Duration,
    /// Time from start to end, waiting included (`MILLRACE_EXTRACT_WALL_SECONDS`, 120 s). Past it: `limit_time`.
    pub wall_limit: Duration,
    /// Characters of text that one document may give (`MILLRACE_EXTRACT_MAX_CHARS`, 20 million). Past it: `too_large`.
    pub max_text_chars: usize,
    /// Bytes that a compressed file may expand to while it is read (512 MiB). Past it: `too_large`.
    pub max_expanded_bytes: u64,
    /// Pages that one document may have (50,000). Past it: `too_large`.
    pub max_pages: u32,
    /// How many documents are unpacked from one (`MILLRACE_PARTS_MAX`, 200). What is beyond is left out, with a warning.
    pub max_parts: u32,
    /// How many bytes they may have together (`MILLRACE_PARTS_MAX_BYTES`, 200 MiB); also the most that a child may write.
    pub max_parts_bytes: u64,
    /// The most characters of one chunk (`MILLRACE_CHUNK_CHARS`, 1,000). A hundred is the least that makes sense.
    pub chunk_chars: usize,
    /// The most characters that a chunk repeats of the one before (`MILLRACE_CHUNK_OVERLAP_CHARS`, none); half a chunk at most.
    pub chunk_overlap_chars: usize,
    /// How many children wait for their file, started ahead of it (`MILLRACE_EXTRACT_WARM`, 2). Each takes some 4 MiB.
    pub warm_children: usize,
    /// Character recognition, where it is on (`MILLRACE_OCR_LANGUAGES`).
    pub ocr: Option<OcrLimits>,
    /// The program that is started as the child: the worker's own binary unless a test says otherwise.
    #[serde(skip)]
    pub program: PathBuf,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 1 << 30,
            cpu_limit: Duration::from_secs(60),
            wall_limit: Duration::from_secs(120),
            max_text_chars: 20_000_000,
            max_expanded_bytes: 512 << 20,
            max_pages: 50_000,
            max_parts: 200,
            max_parts_bytes: 200 << 20,
            chunk_chars: 1_000,
            chunk_overlap_chars: 0,
            warm_children: 2,
            ocr: None,
            program: own_program(),
        }
    }
}

/// `/proc/self/exe` names the running program itself, so a binary that was replaced on disk by a deploy does not start
/// a child of another version.
fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

impl IngestLimits {
    /// The CPU limit as the kernel takes it.
    pub(super) fn cpu_seconds(&self) -> u64 {
        let seconds = self.cpu_limit.as_secs() + u64::from(self.cpu_limit.subsec_nanos() > 0);
        seconds.max(1)
    }

    /// How much a child may write: the parts of a document, or the picture of a page.
    pub(super) fn scratch_bytes(&self) -> u64 {
        self.max_parts_bytes.max(if self.ocr.is_some() { PICTURE_BYTES } else { 0 })
    }
}
