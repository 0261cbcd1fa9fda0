//! Pictures: pages without words, which recognition may read. Where it is off, nobody can.

use millrace_shared::media::MediaType;

use super::Input;
use crate::ingest::limits::IngestLimits;
use crate::ingest::ocr::{self, Silence};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(
    input: &Input,
    media_type: &MediaType,
    limits: &IngestLimits,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    if limits.ocr.is_none() {
        return Err(Failure::UnsupportedMediaType { detected: media_type.as_str().to_owned() });
    }
    let mut silent = Vec::new();
    for page in 1..=ocr::page_count(input, media_type, limits)? {
        let silence = ocr::read_page(sink)?;
        if silence != Silence::Broken {
            silent.push((page, silence, "the page is a picture"));
        }
        sink.page_break()?;
    }
    ocr::warn_of_silence(&silent, true, sink);
    Ok(())
}
