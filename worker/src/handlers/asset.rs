//! `asset.process`: gets a document, has it read in a confined child process, and stores text and chunks.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use millrace_shared::{
    config::{ExtractConfig, PartsConfig, WorkerConfig},
    db::{
        asset_parts,
        assets::{self, Chunk, Extraction, Warning},
    },
    ids::AssetId,
    jobs::AssetProcess,
    storage::Storage,
};
use serde_json::json;
use sqlx::PgConnection;

use super::asset_parts::{Container, allowance};
use super::asset_source::{Obtained, Read, Source};
use crate::{
    handler::{Effects, Handler, JobContext, JobError, Write},
    ingest::{Document, Extractor, IngestLimits, OcrLimits, OcrUnavailable, Until, WarningCode},
    nameless::Nameless,
};

pub(crate) struct AssetHandler {
    source: Source,
    extractor: Extractor,
    parts: PartsConfig,
    /// How much of a job's time is kept for what comes after recognition.
    after_recognition: Duration,
}

/// How long it may take to store a document.
const TO_STORE: Duration = Duration::from_secs(30);

impl AssetHandler {
    pub(crate) fn new(config: &WorkerConfig) -> anyhow::Result<Self> {
        Ok(Self {
            source: Source::new(Storage::open(&config.common.storage)?, &config.fetch),
            extractor: Extractor::new(limits(config)?)?,
            parts: config.extract.parts,
            after_recognition: Duration::from_secs(config.extract.wall_seconds.into()) + TO_STORE,
        })
    }
}

fn limits(config: &WorkerConfig) -> Result<IngestLimits, OcrUnavailable> {
    let limits = limits_of_extraction(&config.extract);
    let ocr = config.ocr.as_ref().map(|ocr| OcrLimits::find(ocr, &limits.program)).transpose()?;
    Ok(IngestLimits { ocr, ..limits })
}

fn limits_of_extraction(config: &ExtractConfig) -> IngestLimits {
    IngestLimits {
        memory_limit_bytes: config.memory_bytes,
        cpu_limit: Duration::from_secs(u64::from(config.cpu_seconds)),
        wall_limit: Duration::from_secs(u64::from(config.wall_seconds)),
        warm_children: config.warm as usize,
        max_text_chars: config.max_chars as usize,
        max_parts: config.parts.max,
        max_parts_bytes: config.parts.max_bytes,
        chunk_chars: config.chunk_chars as usize,
        chunk_overlap_chars: config.chunk_overlap_chars as usize,
        ..IngestLimits::default()
    }
}

/// Replaces the asset's text and chunks and makes it ready, in the transaction that ends the job: until it commits, readers have what
/// was there before.
struct StoreText {
    asset: AssetId,
    extraction: Extraction,
}

#[async_trait]
impl Write for StoreText {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        // An asset that was deleted meanwhile takes nothing, and nobody misses it.
        assets::store_extraction(connection, job.org, self.asset, &self.extraction).await.map(drop)
    }
}

#[async_trait]
impl Handler for AssetHandler {
    type Payload = AssetProcess;

    async fn run(&self, job: &JobContext, payload: AssetProcess) -> Result<Effects, JobError> {
        let asset = payload.asset_id;
        let found = async { assets::get(&mut *job.pool.acquire().await?, job.org, asset).await };
        let found = found.await.map_err(|error| job.database(error))?;
        let Some(found) = found else {
            return Err(JobError::fail("asset_not_found", "there is no such asset in this organisation"));
        };
        let place = async { asset_parts::place(&mut *job.pool.acquire().await?, job.org, asset).await };
        let place = place.await.map_err(|error| job.database(error))?;
        let Some(place) = place else {
            return Err(JobError::fail("asset_not_found", "the asset was deleted"));
        };
        // A killed worker leaves no document on the disk.
        let scratch = Nameless::file().map_err(|error| JobError::retry("io", error))?;
        let file = scratch.path();
        let fetched = match self.source.obtain(job, &found, payload.fetch, file).await? {
            Obtained::Stored => None,
            Obtained::Fetched(document) => Some(document),
            Obtained::NotModified(effects) => return Ok(effects),
        };
        job.progress(30, "reading the document").await;
        let unpack = allowance(&self.parts, &place);
        let cancel = job.cancellation();
        // Behind recognition the document is read once more, and stored.
        let recognising = Instant::now() + job.remaining().saturating_sub(self.after_recognition);
        let until = Until { cancel: &cancel, recognising: Some(recognising) };
        let unpacked = self.extractor.unpack(file, unpack, until).await.map_err(|error| {
            let class = error.code();
            if error.is_retryable() { JobError::retry(class, error) } else { JobError::fail(class, error) }
        })?;
        let document = unpacked.document;
        let container = Container { asset, place, storage: self.source.storage(), contents: unpacked.contents.into() };
        let parts = container.keep(job, &document).await?;
        job.progress(90, "storing the text").await;
        let result = json!({
            "asset_id": asset,
            "media_type": document.media_type,
            "pages": document.pages.len(),
            "words": document.words,
            "chunks": document.chunks.len(),
            "parts": document.parts.len(),
        });
        let mut writes: Vec<Box<dyn Write>> = Vec::new();
        if let Some(fetched) = fetched {
            let read = Read { media_type: document.media_type.as_str(), file };
            writes.push(self.source.store(job, &found, fetched, read).await?);
        }
        writes.push(Box::new(StoreText { asset, extraction: extraction_of(document) }));
        Ok(Effects { result: Some(result), writes, follows: vec![Box::new(parts)], ..Effects::default() })
    }
}

/// The document as rows: its text cut at the pages' beginnings, so that the pages joined are the whole text and the chunks' offsets hold.
fn extraction_of(document: Document) -> Extraction {
    let starts = document.pages.iter().skip(1).map(|page| page.start);
    Extraction {
        title: document.metadata.title,
        author: document.metadata.author,
        created: document.metadata.created,
        modified: document.metadata.modified,
        language: document.metadata.language,
        pages: cut_at(&document.text, starts),
        words: document.words,
        chunks: document
            .chunks
            .into_iter()
            .map(|chunk| Chunk {
                page: chunk.page,
                headings: chunk.headings,
                start_char: chunk.start,
                end_char: chunk.end,
                text: chunk.text,
            })
            .collect(),
        warnings: document
            .warnings
            .into_iter()
            .map(|warning| Warning { code: name_of(warning.code), page: warning.page, message: warning.message })
            .collect(),
    }
}

/// The code as serde spells it.
fn name_of(code: WarningCode) -> String {
    serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Cuts a text at these character offsets, in one pass.
fn cut_at(text: &str, starts: impl Iterator<Item = u32>) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut begin, mut position) = (0, 0);
    let mut characters = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    let mut at = characters.next().unwrap_or(0);
    for start in starts {
        while position < start {
            let Some(next) = characters.next() else { break };
            (at, position) = (next, position + 1);
        }
        pieces.push(text[begin..at].to_owned());
        begin = at;
    }
    pieces.push(text[begin..].to_owned());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_characters_and_not_at_bytes() {
        assert_eq!(cut_at("Mühle\nрека\n水車", [6, 11].into_iter()), ["Mühle\n", "река\n", "水車"]);
        assert_eq!(cut_at("one page", std::iter::empty()), ["one page"]);
        assert_eq!(cut_at("ab", [2, 2].into_iter()), ["ab", "", ""]);
    }
}
