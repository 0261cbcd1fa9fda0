//! Character recognition: text out of pages that show something and give no words, by the program `tesseract`, where the operator turned it on.
//!
//! ```text
//!  child: reads the file ──▶ which pages are silent ──▶ for each, one at a time:
//!      child: draws it ──scratch file──▶ launcher: confines itself, becomes tesseract ──its words, into a file──┐
//!  child: reads the file again, with those words: they stand at their pages before words are counted and chunks cut ◀┘
//! ```
//!
//! - tesseract sees nothing that a stranger made but dots: pages and pictures are decoded in the extraction child, and drawn in grey.
//! - What tesseract says is parsed in the extraction child, too. The worker's own process passes both on unseen.
//! - tesseract runs under limits of its own and can read files, nothing else (see `launch`); it dies with its time, its job and its worker.
//! - A page that cannot be read is a warning. Each page is drawn by a child of its own, so that one that kills its child costs no other.
//!
//! The same bytes give the same text, as long as time is enough: tesseract is one thread, and what it is given does not depend on anything else.

mod draw;
mod launch;
mod program;
mod recogniser;
mod recognition;
mod words;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub(super) use draw::{PICTURE_BYTES, draw, page_count};
pub(super) use launch::Launch;
pub use launch::{LAUNCH_COMMAND, launch_main};
pub use program::OcrUnavailable;
pub(super) use recogniser::{Recognised, Recogniser};
pub(super) use recognition::{Recognition, Silence, read_page, warn_of_silence};

/// How pages are recognised. `OcrLimits::find` makes one that is known to work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OcrLimits {
    /// The program `tesseract`, by an absolute path.
    pub program: PathBuf,
    /// What is handed to it as `TESSDATA_PREFIX`.
    pub tessdata: Option<PathBuf>,
    /// What the texts are written in, as tesseract names it.
    pub languages: Vec<String>,
    /// Whether it can tell by itself how a page was laid on the scanner (it has the data `osd`).
    pub tells_orientation: bool,
    /// How long one page may take, drawing it included (`MILLRACE_OCR_PAGE_TIMEOUT`).
    pub page_limit: Duration,
    /// Most pages of one document (`MILLRACE_OCR_MAX_PAGES`).
    pub max_pages: u32,
    /// Dots per inch at which pages are drawn (`MILLRACE_OCR_DPI`).
    pub dpi: u32,
    /// Address space of tesseract, in bytes (`MILLRACE_OCR_MEMORY_BYTES`).
    pub memory_limit_bytes: u64,
}

/// A page that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Picture {
    /// Dots per inch, where that is known.
    pub dpi: Option<u32>,
}

/// A page that recognition was asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PageRead {
    page: u32,
    result: PageResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PageResult {
    /// Where what tesseract said of it stands.
    Said { offset: u64, length: u64 },
    /// Why nothing was said, as the end of a sentence.
    Failed(String),
}
