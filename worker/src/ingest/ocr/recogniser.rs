//! The worker's side: has each silent page drawn and recognised, one at a time, and keeps what came of it for the child that reads the file again.
//!
//! There is one picture at a time, in a file without a name. What tesseract says of all pages goes into one more, and behind it the list of what
//! stands where.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{Launch, OcrLimits, PICTURE_BYTES, PageRead, PageResult, Picture, launch::EXIT_NOT_LAUNCHED};
use crate::ingest::{
    document::Document,
    error::ExtractError,
    sandbox::{Exit, Extractor, Until, no_answer},
    spawner::{Errand, Run},
    wire::{Answer, Task},
};

const TIME_IS_OVER: &str = "the job's time was over";

/// Recognises pages of one file.
pub(crate) struct Recogniser<'a> {
    pub extractor: &'a Extractor,
    pub limits: &'a OcrLimits,
    pub file: &'a File,
    pub until: Until<'a>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Recognised {
    pub file: File,
    /// Where in the file the list begins.
    pub list_at: u64,
}

/// Why a page has no words: `Page` is about the page alone, `Job` about everything.
enum Trouble {
    Page(ExtractError),
    Job(ExtractError),
}

impl From<ExtractError> for Trouble {
    fn from(error: ExtractError) -> Self {
        if error.is_retryable() { Self::Job(error) } else { Self::Page(error) }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Job(ExtractError::Io(error))
    }
}

impl Recogniser<'_> {
    /// Reads these pages of the document, as far as is allowed. A page that fails is noted; an error is one of everything, or of a picture that is
    /// the whole document.
    pub async fn recognise(&self, document: &Document, silent: &[u32]) -> Result<Recognised, ExtractError> {
        let mut file = tempfile::tempfile().map_err(ExtractError::Io)?;
        let mut list = Vec::with_capacity(silent.len());
        for (&page, before) in silent.iter().zip(0..) {
            let result = match self.left_out(before) {
                Some(why) => PageResult::Failed(why),
                None => match self.read_page(page, document.pages.len() as u32, &file).await {
                    Ok(result) => result,
                    Err(Trouble::Page(error)) if document.media_type.is_picture() && document.pages.len() == 1 => {
                        return Err(error);
                    }
                    Err(Trouble::Page(error)) => PageResult::Failed(self.reason(&error)),
                    Err(Trouble::Job(error)) => return Err(error),
                },
            };
            list.push(PageRead { page, result });
        }
        let list_at = file.seek(io::SeekFrom::End(0)).map_err(ExtractError::Io)?;
        let list = serde_json::to_vec(&list).map_err(|error| ExtractError::Io(error.into()))?;
        file.write_all(&list).map_err(ExtractError::Io)?;
        Ok(Recognised { file, list_at })
    }

    /// Why a page is not even tried.
    fn left_out(&self, before: u32) -> Option<String> {
        if before >= self.limits.max_pages {
            return Some(format!("MILLRACE_OCR_MAX_PAGES allows {} pages of a document", self.limits.max_pages));
        }
        self.is_over().then(|| TIME_IS_OVER.to_owned())
    }

    fn is_over(&self) -> bool {
        self.until.recognising.is_some_and(|end| Instant::now() >= end)
    }

    /// What a page failed for, as the end of a sentence.
    fn reason(&self, error: &ExtractError) -> String {
        match error {
            ExtractError::LimitTime { .. } if self.is_over() => TIME_IS_OVER.to_owned(),
            ExtractError::LimitTime { limit_seconds, kind } => {
                format!("it took longer than {limit_seconds} seconds of {kind} time")
            }
            ExtractError::LimitMemory { limit_mib } => format!("drawing it took more than {limit_mib} MiB of memory"),
            error => format!("it cannot be drawn ({error})"),
        }
    }

    async fn read_page(&self, page: u32, pages: u32, said: &File) -> Result<PageResult, Trouble> {
        let start = Instant::now();
        let mut limit = self.limits.page_limit;
        if let Some(end) = self.until.recognising {
            limit = limit.min(end.saturating_duration_since(start));
        }
        let picture = tempfile::tempfile()?;
        let drawn = self.draw(Task::Draw { page, pages }, picture.try_clone()?, limit).await?;
        if picture.metadata()?.len() > PICTURE_BYTES {
            return Err(Trouble::Page(no_answer()));
        }
        self.run_tesseract(drawn, (picture, said), limit.saturating_sub(start.elapsed())).await
    }

    async fn draw(&self, task: Task, scratch: File, limit: Duration) -> Result<Picture, Trouble> {
        let errand = Errand { file: self.file.try_clone()?, scratch, recognised: None, task };
        match self.extractor.have_done(errand, limit, self.until.cancel).await?.0? {
            Answer::Drawn(picture) => Ok(picture),
            Answer::Document(_) => Err(Trouble::Page(no_answer())),
        }
    }

    /// Has tesseract read the picture from its beginning, and write what it has to say to the end of `said`.
    async fn run_tesseract(
        &self,
        drawn: Picture,
        (mut picture, said): (File, &File),
        limit: Duration,
    ) -> Result<PageResult, Trouble> {
        picture.seek(io::SeekFrom::Start(0))?;
        let mut into = said.try_clone()?;
        let offset = into.seek(io::SeekFrom::End(0))?;
        let launch = Launch::recognise(self.limits, drawn.dpi, offset);
        let run = Run { launch, from: picture, into };
        let mut running = self.extractor.spawner.run(run).await?;
        let ended = running.end_within(limit, 0, self.until.cancel).await;
        let length = said.metadata()?.len() - offset;
        let result = self.judge(&ended?)?;
        Ok(result.map_or(PageResult::Said { offset, length }, PageResult::Failed))
    }

    /// What tesseract's end means: nothing, or why the page failed.
    fn judge(&self, exit: &Exit) -> Result<Option<String>, Trouble> {
        let said = String::from_utf8_lossy(&exit.stderr);
        // What leptonica and the C++ library say where there is no memory; the former may go on, and find an empty page.
        if said.contains("malloc fail") || said.contains("bad_alloc") || said.contains("cannot allocate memory") {
            let mib = self.limits.memory_limit_bytes >> 20;
            return Ok(Some(format!("it took more than {mib} MiB of memory")));
        }
        if exit.status.success() {
            return Ok(None);
        }
        if exit.status.code() == Some(i32::from(EXIT_NOT_LAUNCHED)) {
            return Err(io::Error::other(said.trim().to_owned()).into());
        }
        let is_by = |signal: Signal| exit.status.signal() == Some(signal.as_raw());
        if is_by(Signal::XCPU) {
            return Err(self.too_long().into());
        }
        if [Signal::KILL, Signal::TERM, Signal::HUP, Signal::INT].into_iter().any(is_by) {
            return Err(io::Error::other("tesseract was killed from outside").into());
        }
        Ok(Some(format!("tesseract ended with {}", exit.status)))
    }

    fn too_long(&self) -> ExtractError {
        ExtractError::LimitTime { limit_seconds: self.limits.page_limit.as_secs(), kind: "processor" }
    }
}
