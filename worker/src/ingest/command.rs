//! `millrace-worker extract [--json] FILE`: the same extraction as a job's, at the terminal.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{Document, ExtractError, Extractor, IngestLimits};

/// Prints the text of one file (or the whole [`Document`] as JSON). Exit codes: 0, 1 the file gave no document,
/// 2 wrong arguments, 3 it could not be tried.
pub fn run(arguments: &[OsString], limits: IngestLimits) -> ExitCode {
    let (as_json, file) = match arguments {
        [file] if file != "--json" => (false, PathBuf::from(file)),
        [flag, file] if flag == "--json" => (true, PathBuf::from(file)),
        _ => {
            let _ = writeln!(io::stderr(), "usage: millrace-worker extract [--json] FILE");
            return ExitCode::from(2);
        }
    };
    match extract(limits, &file) {
        Ok(document) => print(&document, as_json),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}: {error}", error.code());
            if let ExtractError::Io(source) = &error {
                let _ = writeln!(io::stderr(), "  {source}");
            }
            ExitCode::from(if error.is_retryable() { 3 } else { 1 })
        }
    }
}

fn extract(limits: IngestLimits, file: &Path) -> Result<Document, ExtractError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExtractError::Io)?;
    let extractor = Extractor::new(IngestLimits { warm_children: 0, ..limits }).map_err(ExtractError::Io)?;
    runtime.block_on(extractor.extract(file, &CancellationToken::new()))
}

fn print(document: &Document, as_json: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    let printed = if as_json {
        serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from)
    } else {
        out.write_all(document.text.as_bytes())
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = printed.and_then(|()| writeln!(out));
    ExitCode::SUCCESS
}
