//! The child's side: which pages are silent, and what was recognised of them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek as _},
    os::unix::fs::FileExt as _,
};

use super::{PageRead, PageResult, words, words::Sure};
use crate::ingest::{
    document::{Warning, WarningCode},
    sink::TextSink,
    wire::Failure,
};

/// How many reasons are told; there are only so many that a page can fail for.
const MAX_REASONS: usize = 10;

/// What is known of the silent pages of a document.
#[derive(Debug, Default)]
pub(crate) enum Recognition {
    /// It is off.
    #[default]
    Off,
    /// The pages are listed.
    Listing(Vec<u32>),
    /// They were recognised.
    Done(Done),
}

#[derive(Debug)]
pub(crate) struct Done {
    said: File,
    results: BTreeMap<u32, PageResult>,
    read: Vec<u32>,
    sure: Sure,
    failed: BTreeMap<String, Vec<u32>>,
}

/// What is left of a page's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It has words now.
    Broken,
    /// Nobody has looked.
    Unheard,
    /// There are none.
    Confirmed,
    /// It could not be read, which is told.
    Failed,
}

impl Recognition {
    /// `given` is the file with what was recognised, and where its list begins.
    pub fn new(is_on: bool, given: Option<(File, u64)>) -> io::Result<Self> {
        let Some((mut said, list_at)) = given else {
            return Ok(if is_on { Self::Listing(Vec::new()) } else { Self::Off });
        };
        // A confined child cannot ask for the length in another way.
        let length = said.seek(io::SeekFrom::End(0))?;
        let list = read_range(&said, list_at, length.saturating_sub(list_at))?;
        let list: Vec<PageRead> = serde_json::from_slice(&list)?;
        let results = list.into_iter().map(|read| (read.page, read.result)).collect();
        Ok(Self::Done(Done { said, results, read: Vec::new(), sure: Sure::default(), failed: BTreeMap::new() }))
    }

    /// The pages that are to be recognised, and what a reader should know of those that were.
    pub fn finish(self) -> (Vec<u32>, Vec<Warning>) {
        match self {
            Self::Off => (Vec::new(), Vec::new()),
            Self::Listing(pages) => (pages, Vec::new()),
            Self::Done(done) => (Vec::new(), done.warnings()),
        }
    }
}

impl Done {
    fn warnings(self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(percent) = self.sure.percent() {
            let (pages, were) = (named(&self.read), if self.read.len() == 1 { "was" } else { "were" });
            let message =
                format!("{pages} {were} read by character recognition, with a mean confidence of {percent:.0} %");
            warnings.push(Warning { code: WarningCode::ReadByOcr, page: only(&self.read), message });
        }
        for (why, pages) in self.failed.into_iter().take(MAX_REASONS) {
            let message = format!("character recognition of {} failed: {why}", named(&pages));
            warnings.push(Warning { code: WarningCode::OcrFailed, page: only(&pages), message });
        }
        warnings
    }
}

/// Deals with the page that is being written, which shows something and has no words: writes what was recognised, or lists it.
pub(crate) fn read_page(sink: &mut TextSink) -> Result<Silence, Failure> {
    let page = sink.page_number();
    let mut recognition = std::mem::take(&mut sink.recognition);
    let silence = match &mut recognition {
        Recognition::Off => Silence::Unheard,
        Recognition::Listing(pages) => {
            pages.push(page);
            Silence::Unheard
        }
        Recognition::Done(done) => write_page(done, page, sink)?,
    };
    sink.recognition = recognition;
    Ok(silence)
}

fn write_page(done: &mut Done, page: u32, sink: &mut TextSink) -> Result<Silence, Failure> {
    match done.results.get(&page) {
        None => Ok(Silence::Unheard),
        Some(PageResult::Failed(why)) => {
            done.failed.entry(why.clone()).or_default().push(page);
            Ok(Silence::Failed)
        }
        Some(&PageResult::Said { offset, length }) => {
            let said = read_range(&done.said, offset, length).map_err(|error| Failure::from_io(&error))?;
            let Some(sure) = words::write(&String::from_utf8_lossy(&said), sink)? else {
                return Ok(Silence::Confirmed);
            };
            done.read.push(page);
            done.sure.join(sure);
            Ok(Silence::Broken)
        }
    }
}

/// Tells of pages that stay silent: each with its number, what is known of it and a message. `is_needed` says whether a document without any
/// words is a case for recognition.
pub(crate) fn warn_of_silence(pages: &[(u32, Silence, &str)], is_needed: bool, sink: &mut TextSink) {
    if !sink.has_text() && is_needed {
        let is_confirmed = pages.iter().any(|(_, silence, _)| *silence == Silence::Confirmed);
        let message = match &sink.recognition {
            Recognition::Done(_) if is_confirmed => {
                "the pages have no text, and character recognition found no words in their pictures"
            }
            Recognition::Done(_) => {
                "the pages have no text, only pictures of it, and character recognition of them failed"
            }
            _ => "the pages have no text, only pictures of it: it takes character recognition to read them",
        };
        sink.warn(WarningCode::NeedsOcr, None, message);
        return;
    }
    for &(page, silence, message) in pages {
        match silence {
            Silence::Broken | Silence::Failed => {}
            Silence::Unheard => sink.warn(WarningCode::PageWithoutText, Some(page), message),
            Silence::Confirmed => {
                let message = format!("{message}, and character recognition found no words");
                sink.warn(WarningCode::PageWithoutText, Some(page), message);
            }
        }
    }
}

fn read_range(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn only(pages: &[u32]) -> Option<u32> {
    match pages {
        [page] => Some(*page),
        _ => None,
    }
}

/// `page 3`, `pages 1 to 4 and 7`.
fn named(pages: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &page in pages {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == page => *last = page,
            _ => ranges.push((page, page)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    });
    let list = shown.collect::<Vec<_>>().join(", ");
    format!("{} {list}", if pages.len() == 1 { "page" } else { "pages" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_by_their_ranges() {
        assert_eq!(named(&[3]), "page 3");
        assert_eq!(named(&[1, 2, 3, 5, 7, 8]), "pages 1 to 3, 5, 7, 8");
    }
}
