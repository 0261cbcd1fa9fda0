//! Character recognition. All of it is checked, and used only where languages are named.

use std::path::PathBuf;

use super::Reader;
use crate::config::{ConfigError, OcrConfig, Source, parse, settings as table};

impl OcrConfig {
    /// Recognition of these languages, with the defaults for all else.
    ///
    /// # Errors
    /// Where these are no languages.
    pub fn of_languages(languages: &str) -> Result<Self, ConfigError> {
        let source = Source::from_iter([(table::OCR_LANGUAGES.name, languages)]);
        let mut reader = Reader::new(&source);
        let config = reader.ocr();
        reader.finish(|| config)
    }
}

impl Reader<'_> {
    /// `None` where it is off, or where something is wrong with it.
    pub(super) fn ocr(&mut self) -> Option<OcrConfig> {
        let languages = self.value(&table::OCR_LANGUAGES, parse::ocr_languages);
        let page_timeout = self.value(&table::OCR_PAGE_TIMEOUT, parse::duration);
        let max_pages = self.value(&table::OCR_MAX_PAGES, parse::whole(1, 50_000));
        let dpi = self.value(&table::OCR_DPI, parse::whole(70, 600));
        let memory_bytes = self.value(&table::OCR_MEMORY, |text| match parse::bytes(text)? {
            size if size < 128 << 20 => Err("is below 128MiB, which is too little for a page".to_owned()),
            size => Ok(size),
        });
        Some(OcrConfig {
            languages: languages?,
            page_timeout: page_timeout?,
            max_pages: max_pages?,
            dpi: dpi?,
            memory_bytes: memory_bytes?,
            tessdata: self.source.tessdata().map(PathBuf::from),
        })
    }
}
