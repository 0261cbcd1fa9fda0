//! The child's side: confine itself, read the file, answer, end.
//!
//! It runs before any runtime or thread exists, on the main thread alone: every further thread would reserve address
//! space that counts against the memory limit. Limits are set by the child on itself, which needs no code between fork
//! and exec; it is our own binary, so it can be trusted to do so before it looks at the file.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::set_no_new_privs;

use super::chunk::chunk;
use super::formats::{self, Input};
use super::limits::IngestLimits;
use super::sink::TextSink;
use super::wire::{ChildSettings, Failure, Outline, Reply, write_reply};

/// The arguments were not those of the parent, or the limits could not be set.
pub(super) const EXIT_NOT_CONFINED: u8 = 70;
/// The answer could not be written: the parent is gone.
const EXIT_NO_READER: u8 = 71;

/// Standard streams, one copy of standard input, and some slack for the standard library.
const OPEN_FILES: u64 = 16;

/// Runs the child. Its arguments are the subcommand's name and the settings; its standard input is the file.
pub fn child_main() -> ExitCode {
    let settings = match confine() {
        Ok(settings) => settings,
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
    let result = catch_unwind(AssertUnwindSafe(|| read_document(&settings.limits)));
    let (reply, text) = match result {
        Ok(Ok((outline, text))) => (Reply::Document(outline), text),
        Ok(Err(failure)) => (Reply::Failed(failure), String::new()),
        Err(_) => {
            let failure = Failure::malformed("the parser met something it did not expect");
            (Reply::Failed(failure), String::new())
        }
    };
    match write_reply(&mut io::stdout().lock(), &reply, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_NO_READER),
    }
}

fn confine() -> io::Result<ChildSettings> {
    let settings =
        std::env::args_os().nth(2).ok_or_else(|| io::Error::other("no settings: this command is the worker's own"))?;
    let settings: ChildSettings = serde_json::from_slice(settings.as_encoded_bytes())?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the parent died before the call above, no signal will come: its place was taken by another process.
    let parent = getppid().map(Pid::as_raw_nonzero);
    if parent.map(std::num::NonZero::get) != i32::try_from(settings.parent).ok() {
        return Err(io::Error::other("the worker is gone"));
    }
    set_no_new_privs(true)?;
    let cpu = settings.limits.cpu_seconds();
    for (resource, soft, hard) in [
        (Resource::As, settings.limits.memory_limit_bytes, settings.limits.memory_limit_bytes),
        // The soft limit sends SIGXCPU, which names the reason; the hard one kills what ignores it.
        (Resource::Cpu, cpu, cpu + 1),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, OPEN_FILES, OPEN_FILES),
        (Resource::Core, 0, 0),
    ] {
        // Where the worker itself was given less, that stays the bound.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(soft.min(allowed)), maximum: Some(hard.min(allowed)) };
        setrlimit(resource, limit)?;
    }
    Ok(settings)
}

fn read_document(limits: &IngestLimits) -> Result<(Outline, String), Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let input = stdin.and_then(|descriptor| Input::new(descriptor.into())).map_err(|error| Failure::from_io(&error))?;
    let mut sink = TextSink::new(limits.max_text_chars, limits.max_pages);
    let media_type = formats::extract(&input, limits, &mut sink)?;
    let collected = sink.finish()?;
    let chunks = chunk(&collected.text, &collected.pages, limits.chunk_chars);
    let outline = Outline {
        media_type,
        title: collected.title,
        pages: collected.pages,
        words: collected.words,
        chunks,
        warnings: collected.warnings,
    };
    Ok((outline, collected.text))
}
