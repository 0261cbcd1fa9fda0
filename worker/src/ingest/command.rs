//! `millrace-worker extract [--json] [--ocr LANGUAGES] FILE`: the same extraction as a job's, at the terminal.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use millrace_shared::config::OcrConfig;
use tokio_util::sync::CancellationToken;

use super::{Document, ExtractError, Extractor, IngestLimits, OcrLimits};

const USAGE: &str = "usage: millrace-worker extract [--json] [--ocr LANGUAGES] FILE";

/// Prints the text of one file (or the whole [`Document`] as JSON); `--ocr` turns character recognition on. Exit codes: 0, 1 the file gave no
/// document, 2 wrong arguments, 3 it could not be tried.
pub fn run(arguments: &[OsString], limits: IngestLimits) -> ExitCode {
    let Some(wanted) = Wanted::of(arguments) else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    let ocr = wanted.languages.map(|languages| find_ocr(&languages, &limits)).transpose();
    let ocr = match ocr {
        Ok(ocr) => ocr,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            return ExitCode::from(3);
        }
    };
    match extract(IngestLimits { ocr, ..limits }, &wanted.file) {
        Ok(document) => print(&document, wanted.as_json),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}: {error}", error.code());
            if let ExtractError::Io(source) = &error {
                let _ = writeln!(io::stderr(), "  {source}");
            }
            ExitCode::from(if error.is_retryable() { 3 } else { 1 })
        }
    }
}

/// What the arguments ask for.
struct Wanted {
    as_json: bool,
    languages: Option<String>,
    file: PathBuf,
}

impl Wanted {
    fn of(arguments: &[OsString]) -> Option<Self> {
        let (file, options) = arguments.split_last()?;
        let mut wanted = Self { as_json: false, languages: None, file: PathBuf::from(file) };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_str()? {
                "--json" => wanted.as_json = true,
                "--ocr" => wanted.languages = Some(options.next()?.to_str()?.to_owned()),
                _ => return None,
            }
        }
        let is_file = !matches!(wanted.file.to_str(), Some("--json" | "--ocr"));
        is_file.then_some(wanted)
    }
}

/// Recognition as a worker has it that is told nothing but languages.
fn find_ocr(languages: &str, limits: &IngestLimits) -> anyhow::Result<OcrLimits> {
    let config = OcrConfig::of_languages(languages).with_context(|| format!("--ocr {languages}"))?;
    Ok(OcrLimits::find(&config, &limits.program)?)
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
