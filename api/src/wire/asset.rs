use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use millrace_shared::db::{asset_parts, assets};
use millrace_shared::ids::{AssetId, JobId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use millrace_shared::wire::Job;

/// Where a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetState {
    /// Stored; its text is not there yet.
    Pending,
    /// Text and chunks are there. They stay, and so does this state, while the document is processed again.
    Ready,
    /// It was given up; `error` says why.
    Failed,
}

impl From<assets::AssetState> for AssetState {
    fn from(state: assets::AssetState) -> Self {
        match state {
            assets::AssetState::Pending => Self::Pending,
            assets::AssetState::Ready => Self::Ready,
            assets::AssetState::Failed => Self::Failed,
        }
    }
}

impl From<AssetState> for assets::AssetState {
    fn from(state: AssetState) -> Self {
        match state {
            AssetState::Pending => Self::Pending,
            AssetState::Ready => Self::Ready,
            AssetState::Failed => Self::Failed,
        }
    }
}

/// A document, uploaded or fetched by its URL.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0193e4a8-7a10-7b1e-8a45-2f9a1c3d4e5f", "name": "report.pdf", "state": "ready", "media_type": "application/pdf",
    "source_url": null, "fetched_at": null, "size_bytes": 48_213, "sha256": "a9955637ed45683a104f0c4b0a08f1bd6ad05be87263cfe95cf9b3952fe9242c",
    "title": "Water levels", "author": "The millers", "document_created_at": "2026-01-30T16:12:00Z", "document_modified_at": null,
    "language": "en", "pages": 3, "words": 1204, "chunks": 9, "parts": 0, "warnings": [], "error": null,
    "revision": 1, "reprocess_error": null,
    "job_id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "created_at": "2026-01-31T08:00:00Z", "updated_at": "2026-01-31T08:00:01Z"
}))]
pub struct Asset {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: AssetId,
    /// The uploader's name for it, or its server's.
    pub name: String,
    /// Where it stands.
    pub state: AssetState,
    /// Where it is fetched from, unless it was uploaded.
    #[schema(format = "uri")]
    pub source_url: Option<String>,
    /// When that address last gave these bytes, or told that they have not changed.
    pub fetched_at: Option<DateTime<Utc>>,
    /// Told from its bytes. This, the size and the hash are null while a document of a URL has never been fetched and read.
    pub media_type: Option<String>,
    /// Its size.
    pub size_bytes: Option<i64>,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// The document's own title.
    pub title: Option<String>,
    /// Who wrote it, by its own account.
    pub author: Option<String>,
    /// When it was made, by its own account.
    pub document_created_at: Option<DateTime<Utc>>,
    /// When it was last changed, by its own account.
    pub document_modified_at: Option<DateTime<Utc>>,
    /// A language subtag of BCP 47, such as `de`: told from the words, or from what the document states.
    pub language: Option<String>,
    /// Known once it is ready; a format without pages has one.
    pub pages: Option<i32>,
    /// Known once it is ready.
    pub words: Option<i64>,
    /// Known once it is ready.
    pub chunks: Option<i32>,
    /// How many documents it holds, as `GET /v1/assets/{id}/parts` lists them.
    pub parts: i64,
    /// What a reader of the text should know.
    pub warnings: Vec<AssetWarning>,
    /// Why it was given up.
    pub error: Option<AssetError>,
    /// Counts up whenever text and chunks are replaced, because the document was processed again; 0 while there are none.
    pub revision: i32,
    /// Why it could not be processed again: text and chunks are those of before. Null once that has been tried anew.
    pub reprocess_error: Option<AssetError>,
    /// The job that processes it, or did so last.
    #[schema(value_type = uuid::Uuid)]
    pub job_id: JobId,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
    /// When its state changed last.
    pub updated_at: DateTime<Utc>,
}

/// What a reader of a document's text should know.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AssetWarning {
    /// A stable name.
    pub code: String,
    /// The page it is about, from 1.
    pub page: Option<u32>,
    /// A sentence for people.
    pub message: String,
}

/// Why a document was not read.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AssetError {
    /// A stable name, such as `encrypted`.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
}

impl AssetError {
    fn of(code: Option<String>, message: Option<String>) -> Option<Self> {
        code.map(|code| Self { code, message: message.unwrap_or_default() })
    }
}

impl From<assets::Asset> for Asset {
    fn from(asset: assets::Asset) -> Self {
        Self {
            id: asset.id,
            name: asset.name,
            state: asset.state.into(),
            source_url: asset.source_url.map(|url| url.reveal().to_owned()),
            fetched_at: asset.fetched_at,
            media_type: asset.media_type,
            size_bytes: asset.size_bytes,
            sha256: asset.sha256.as_deref().map(hexadecimal),
            title: asset.title,
            author: asset.author,
            document_created_at: asset.document_created_at,
            document_modified_at: asset.document_modified_at,
            language: asset.language,
            pages: asset.pages,
            words: asset.words,
            chunks: asset.chunks,
            parts: asset.parts,
            warnings: asset
                .warnings
                .into_iter()
                .map(|warning| AssetWarning { code: warning.code, page: warning.page, message: warning.message })
                .collect(),
            error: AssetError::of(asset.error_code, asset.error_message),
            revision: asset.revision,
            reprocess_error: AssetError::of(asset.reprocess_error_code, asset.reprocess_error_message),
            job_id: asset.job_id,
            created_at: asset.created_at,
            updated_at: asset.updated_at,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The answer to an upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uploaded {
    /// The document.
    pub asset: Asset,
    /// The job that processes it; null where it ended so long ago that it is no longer kept.
    pub job: Option<Job>,
    /// Whether the organisation had these bytes, or this URL, already: then this is the earlier document.
    pub duplicate: bool,
}

/// Something that a document holds: an attachment, or a member of an archive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "ordinal": 0, "name": "levels/report.pdf", "media_type": "application/pdf", "size_bytes": 48_213,
    "asset_id": "0193e4a8-7a10-7b1e-8a45-2f9a1c3d4e5f", "state": "ready", "reason": null
}))]
pub struct AssetPart {
    /// Its place in the document, from 0.
    pub ordinal: i32,
    /// What the document calls it, with its folders where it has any.
    pub name: String,
    /// Told from its bytes; null where these were not read.
    pub media_type: Option<String>,
    /// Its size, or what the document says of it; null where it does not.
    pub size_bytes: Option<i64>,
    /// The asset that has its bytes; null where there is none.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub asset_id: Option<AssetId>,
    /// Where that asset stands.
    pub state: Option<AssetState>,
    /// Why there is none: `unsupported_media_type`, `empty`, `encrypted`, `malformed`, `too_many`, `too_large`, `too_deep`, `cycle` (it is the
    /// document itself, or one that holds it) or `deleted`.
    pub reason: Option<String>,
}

impl From<asset_parts::StoredPart> for AssetPart {
    fn from(part: asset_parts::StoredPart) -> Self {
        let gone = part.child_id.is_none().then(|| "deleted".to_owned());
        Self {
            ordinal: part.ordinal,
            name: part.name,
            media_type: part.media_type,
            size_bytes: part.size_bytes,
            asset_id: part.child_id,
            state: part.state.map(Into::into),
            reason: part.reason.or(gone),
        }
    }
}

/// A piece of a document's text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "ordinal": 0, "page": 1, "headings": ["Spring", "The night of the flood"], "start_char": 24, "end_char": 71,
    "text": "Water levels rose by a metre in a single night."
}))]
pub struct Chunk {
    /// Its place in the document, from 0.
    pub ordinal: i32,
    /// The page it lies on, from 1.
    pub page: i32,
    /// The headings that all of it stands under, the outermost first, each cut to 200 characters; empty where there are none.
    pub headings: Vec<String>,
    /// Offset of its first character in `GET /v1/assets/{id}/text`, counted in Unicode scalar values.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The text.
    pub text: String,
}

impl From<assets::StoredChunk> for Chunk {
    fn from(chunk: assets::StoredChunk) -> Self {
        Self {
            ordinal: chunk.ordinal,
            page: chunk.page,
            headings: chunk.headings,
            start_char: chunk.start_char,
            end_char: chunk.end_char,
            text: chunk.text,
        }
    }
}
