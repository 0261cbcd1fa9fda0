//! Documents in, text out: the one place where bytes from outside are parsed.
//!
//! Nothing a stranger uploads is parsed in the worker's own process. [`Extractor::extract`] starts the worker's binary
//! again as a child that gets the file as an open, read-only descriptor and nothing else (see `sandbox`), and takes
//! back a bounded, checked [`Document`]. A bomb, an endless loop or a crash ends that child and becomes a typed
//! [`ExtractError`]; the worker lives.
//!
//! ```text
//!  Extractor ──spawn──▶ child: limits ▶ detect ▶ formats::<one> ▶ TextSink ▶ chunk ──wire──▶ Extractor ▶ Document
//! ```
//!
//! Where character recognition is on, pages without words are read by it in between (see `ocr`).
//!
//! A format is one file in `formats/` and one line in its registry. What a document holds of others goes through `parts`.

mod child;
mod chunk;
pub mod command;
mod confine;
mod document;
mod error;
mod formats;
mod headings;
mod hyphens;
mod limits;
mod metadata;
mod ocr;
mod parts;
mod sandbox;
mod sink;
mod spawner;
mod wire;

pub use child::child_main;
pub use document::{Chunk, Document, Heading, Page, Warning, WarningCode};
pub use error::ExtractError;
pub use limits::IngestLimits;
pub use metadata::Metadata;
pub use ocr::{LAUNCH_COMMAND, OcrLimits, OcrUnavailable, launch_main};
pub use parts::{Contents, LeftOut, Part, PartContent, Unpack};
pub use sandbox::{CHILD_COMMAND, Extractor, Unpacked, Until};
pub use wire::Usage;
