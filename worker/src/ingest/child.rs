//! The child's side: confine itself, read the file, answer, end.
//!
//! It runs before any runtime or thread exists, on the main thread alone: every further thread would reserve address
//! space that counts against the memory limit. Limits are set by the child on itself, which needs no code between fork
//! and exec; it is our own binary, so it can be trusted to do so before it looks at the file.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rustix::time::{ClockId, clock_gettime};

use super::chunk::{ChunkSizes, chunk};
use super::confine::{self, Bounds, Received};
use super::formats::{self, Input};
use super::limits::IngestLimits;
use super::ocr::{Recognition, draw};
use super::parts::PartSink;
use super::sink::TextSink;
use super::wire::{ChildSettings, Failure, Header, Outline, Reply, Task, Usage, write_reply};

/// The arguments were not those of the parent, or the limits could not be set.
pub(super) const EXIT_NOT_CONFINED: u8 = 70;
/// The answer could not be written: the parent is gone.
const EXIT_NO_READER: u8 = 71;

/// Runs the child. Its arguments are the subcommand's name and the settings; its standard input is a socket, by which it gets the file.
pub fn child_main() -> ExitCode {
    let Prepared { settings, work, status } = match prepare() {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot confine the extraction child: {error}");
            return ExitCode::from(EXIT_NOT_CONFINED);
        }
    };
    // The default hook prints the panic's message, which may hold words of the document.
    std::panic::set_hook(Box::new(|info| {
        let _ = writeln!(io::stderr(), "panicked at {:?}", info.location());
    }));
    // All state is local to the closure, so nothing half-changed is seen after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| perform(work, &settings.limits)));
    let (reply, text) = match result {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => (Reply::Failed(failure), String::new()),
        Err(_) => {
            let failure = Failure::malformed("the parser met something it did not expect");
            (Reply::Failed(failure), String::new())
        }
    };
    let header = Header { reply, usage: usage(&status) };
    match write_reply(&mut io::stdout().lock(), &header, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_NO_READER),
    }
}

struct Prepared {
    settings: ChildSettings,
    work: Work,
    /// The process' view of itself, which could not be opened any more.
    status: File,
}

/// What is to be done, and by which files.
struct Work {
    /// The document, or why it is none that can be read.
    input: io::Result<Input>,
    scratch: File,
    recognised: Option<File>,
    task: Task,
}

/// Gives up what can be given up before there is a file, waits for it, and gives up the rest. `None` if no file will come.
fn prepare() -> io::Result<Option<Prepared>> {
    let settings =
        std::env::args_os().nth(2).ok_or_else(|| io::Error::other("no settings: this command is the worker's own"))?;
    let settings: ChildSettings = serde_json::from_slice(settings.as_encoded_bytes())?;
    confine::limit_resources(settings.parent, Bounds::of_extraction(&settings.limits))?;
    let status = File::open("/proc/self/status")?;
    let Some(Received { file, scratch, recognised, task }) = confine::receive()? else { return Ok(None) };
    let (scratch, recognised) = (File::from(scratch), recognised.map(File::from));
    let work = Work { input: Input::new(file.into()), scratch, recognised, task };
    confine::forbid_system_calls()?;
    Ok(Some(Prepared { settings, work, status }))
}

fn usage(status: &File) -> Usage {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Usage {
        cpu_micros: u64::try_from(cpu.tv_sec * 1_000_000 + cpu.tv_nsec / 1_000).unwrap_or(0),
        peak_memory_kib: confine::peak_memory_kib(status).unwrap_or(0),
    }
}

/// Does what the child is there for.
fn perform(work: Work, limits: &IngestLimits) -> Result<(Reply, String), Failure> {
    let io_failure = |error: io::Error| Failure::from_io(&error);
    let Work { input, scratch, recognised, task } = work;
    let input = input.map_err(io_failure)?;
    match task {
        Task::Draw { page, pages } => Ok((Reply::Drawn(draw(&input, (page, pages), limits, scratch)?), String::new())),
        Task::Read { unpack, recognised: list_at } => {
            let mut sink = TextSink::new(limits.max_text_chars, limits.max_pages);
            sink.parts = PartSink::new(scratch, unpack);
            sink.recognition = Recognition::new(limits.ocr.is_some(), recognised.zip(list_at)).map_err(io_failure)?;
            let (outline, text) = read_document(&input, sink, limits)?;
            Ok((Reply::Document(Box::new(outline)), text))
        }
    }
}

fn read_document(input: &Input, mut sink: TextSink, limits: &IngestLimits) -> Result<(Outline, String), Failure> {
    let media_type = formats::extract(input, limits, &mut sink)?;
    let mut collected = sink.finish()?;
    collected.metadata.tell_language(&collected.text, collected.words);
    let sizes = ChunkSizes::new(limits.chunk_chars, limits.chunk_overlap_chars);
    let chunks = chunk(&collected.text, &collected.pages, &collected.marks, sizes);
    let outline = Outline {
        media_type,
        metadata: collected.metadata,
        pages: collected.pages,
        marks: collected.marks,
        words: collected.words,
        chunks,
        warnings: collected.warnings,
        parts: collected.parts,
        silent: collected.silent,
    };
    Ok((outline, collected.text))
}
