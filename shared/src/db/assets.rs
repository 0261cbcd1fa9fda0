//! Uploaded documents: their record, their text by page and their chunks.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Page, PageRequest};
use crate::fetch::SourceUrl;
use crate::ids::{AssetId, JobId, OrgId};
use crate::storage::ObjectKey;

macro_rules! columns {
    () => {
        "id, org_id, name, media_type, size_bytes, coalesce(sha256, fetched_sha256) AS sha256, storage_key, \
         source_url, fetched_url, etag, last_modified, fetched_at, state, job_id, title, author, document_created_at, \
         document_modified_at, language, pages, words, chunks, \
         (SELECT count(*) FROM asset_parts WHERE asset_parts.org_id = assets.org_id AND parent_id = assets.id) AS parts, \
         warnings, error_code, error_message, revision, reprocess_error_code, reprocess_error_message, created_at, updated_at"
    };
}

mod by_url;
mod extraction;
mod headings;
mod reading;

pub use by_url::{Content, NewByUrl, Validators, find_by_url, insert_by_url, replace_content, still_current};
pub use extraction::{Chunk, Extraction, Warning, store_extraction};
pub use headings::HeadingPath;
pub use reading::{AssetRevision, StoredChunk, TextPart, chunks, text_parts};

/// Where an asset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum AssetState {
    /// Stored; its text is not there yet.
    Pending,
    /// Text and chunks are there, and stay until others take their place.
    Ready,
    /// It was given up; the error says why.
    Failed,
}

/// A document, uploaded or fetched by its URL.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Asset {
    /// Its id.
    pub id: AssetId,
    /// Its tenant.
    pub org_id: OrgId,
    /// A label from the uploader; nothing is built from it.
    pub name: String,
    /// Told from the bytes, such as `application/pdf`. This and the three below are known of every upload, and of what is fetched by
    /// its URL once a fetch has succeeded.
    pub media_type: Option<String>,
    /// Size in bytes.
    pub size_bytes: Option<i64>,
    /// SHA-256 of the bytes.
    pub sha256: Option<Vec<u8>>,
    /// Where the bytes are.
    pub storage_key: Option<ObjectKey>,
    /// Where it is fetched from, unless it was uploaded.
    pub source_url: Option<SourceUrl>,
    /// The last hop of the fetch that gave the bytes.
    pub fetched_url: Option<SourceUrl>,
    /// The `ETag` of that hop.
    pub etag: Option<String>,
    /// The `Last-Modified` of that hop.
    pub last_modified: Option<String>,
    /// When the source last told that these are its bytes.
    pub fetched_at: Option<DateTime<Utc>>,
    /// Where it stands.
    pub state: AssetState,
    /// The job that processes it, or did so last.
    pub job_id: JobId,
    /// The document's own title.
    pub title: Option<String>,
    /// Who wrote it, by its own account.
    pub author: Option<String>,
    /// When it was made, by its own account.
    pub document_created_at: Option<DateTime<Utc>>,
    /// When it was last changed, by its own account.
    pub document_modified_at: Option<DateTime<Utc>>,
    /// A language subtag of BCP 47.
    pub language: Option<String>,
    /// Set once it is ready.
    pub pages: Option<i32>,
    /// Set once it is ready.
    pub words: Option<i64>,
    /// Set once it is ready.
    pub chunks: Option<i32>,
    /// How many documents it holds, kept or not.
    pub parts: i64,
    /// What was left out or repaired.
    #[sqlx(json)]
    pub warnings: Vec<Warning>,
    /// A stable name of what went wrong; set if it failed.
    pub error_code: Option<String>,
    /// What went wrong, for people; set if it failed.
    pub error_message: Option<String>,
    /// Counts up whenever text and chunks are replaced; 0 while there are none.
    pub revision: i32,
    /// A stable name of why a ready one could not be processed again.
    pub reprocess_error_code: Option<String>,
    /// Why a ready one could not be processed again, for people.
    pub reprocess_error_message: Option<String>,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
    /// When its state changed last.
    pub updated_at: DateTime<Utc>,
}

/// A new upload, already in the object store.
#[derive(Debug)]
pub struct NewAsset<'a> {
    /// Its id, under which the object was stored.
    pub id: AssetId,
    /// Its tenant.
    pub org: OrgId,
    /// The uploader's label, at most 255 characters.
    pub name: &'a str,
    /// Told from the bytes.
    pub media_type: &'a str,
    /// Size in bytes, above zero.
    pub size_bytes: i64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Where the bytes are.
    pub storage_key: &'a ObjectKey,
    /// The job that will process it.
    pub job: JobId,
}

/// Records an upload; `None` if the organisation has these bytes already.
///
/// # Errors
/// When the database refuses or is away.
pub async fn insert(connection: &mut PgConnection, new: &NewAsset<'_>) -> Result<Option<Asset>, sqlx::Error> {
    sqlx::query_as(concat!(
        "INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, job_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT ON CONSTRAINT assets_org_sha256 DO NOTHING
         RETURNING ",
        columns!()
    ))
    .bind(new.id)
    .bind(new.org)
    .bind(new.name)
    .bind(new.media_type)
    .bind(new.size_bytes)
    .bind(new.sha256.as_slice())
    .bind(new.storage_key)
    .bind(new.job)
    .fetch_optional(connection)
    .await
}

/// One asset.
///
/// # Errors
/// When the database is away.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: AssetId) -> Result<Option<Asset>, sqlx::Error> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM assets WHERE org_id = $1 AND id = $2"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// The uploaded asset that has these bytes.
///
/// # Errors
/// When the database is away.
pub async fn find_by_content(
    connection: &mut PgConnection,
    org: OrgId,
    sha256: &[u8; 32],
) -> Result<Option<Asset>, sqlx::Error> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM assets WHERE org_id = $1 AND sha256 = $2"))
        .bind(org)
        .bind(sha256.as_slice())
        .fetch_optional(connection)
        .await
}

/// Which of these bytes the organisation has as an uploaded or found asset.
///
/// # Errors
/// When the database is away.
pub async fn known_contents(
    connection: &mut PgConnection,
    org: OrgId,
    hashes: &[&[u8]],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT sha256 FROM assets WHERE org_id = $1 AND sha256 = ANY($2)")
        .bind(org)
        .bind(hashes)
        .fetch_all(connection)
        .await
}

/// An organisation's assets, newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    state: Option<AssetState>,
    page: &PageRequest,
) -> Result<Page<Asset>, sqlx::Error> {
    let rows: Vec<Asset> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM assets
         WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::text IS NULL OR state = $3)
         ORDER BY id DESC LIMIT $4"
    ))
    .bind(org)
    .bind(page.after.map(super::Cursor::id))
    .bind(state)
    .bind(page.fetch_limit())
    .fetch_all(connection)
    .await?;
    Ok(page.page(rows, |asset| asset.id.0))
}

/// Why an asset was given up.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// A stable name of what went wrong.
    pub code: &'a str,
    /// What went wrong, for people.
    pub message: &'a str,
}

/// Says why an asset was given up by `job`. One that has text stays ready with it, and tells why it could not be processed again.
/// `false` when the asset is gone, or when another job processes it by now.
///
/// # Errors
/// When the database is away.
pub async fn fail(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    job: JobId,
    why: Failure<'_>,
) -> Result<bool, sqlx::Error> {
    // What is counted has text, whatever its state: an older program may have made it wait.
    let done = sqlx::query(
        "UPDATE assets SET
             state = CASE WHEN pages IS NULL THEN 'failed' ELSE 'ready' END,
             error_code = CASE WHEN pages IS NULL THEN $4 END,
             error_message = CASE WHEN pages IS NULL THEN $5 END,
             reprocess_error_code = CASE WHEN pages IS NOT NULL THEN $4 END,
             reprocess_error_message = CASE WHEN pages IS NOT NULL THEN $5 END,
             updated_at = now()
         WHERE org_id = $1 AND id = $2 AND job_id = $3",
    )
    .bind(org)
    .bind(id)
    .bind(job)
    .bind(why.code)
    .bind(extraction::storable(why.message))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes an asset wait for `job`, as after its upload: used when one is to be processed again, or its job replayed. One that has text
/// stays ready with it meanwhile. `false` when the asset is gone.
///
/// # Errors
/// When the database is away.
pub async fn reset_pending(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    job: JobId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE assets SET state = CASE WHEN pages IS NULL THEN 'pending' ELSE 'ready' END, job_id = $3,
                error_code = NULL, error_message = NULL, reprocess_error_code = NULL, reprocess_error_message = NULL,
                updated_at = now()
         WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(job)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes records, their texts and their chunks, each if this job is still the one that processes it; gives how many were deleted.
///
/// Cancel those jobs first, in the same transaction: whoever ends a job locks it before the asset, and so must we. The objects' keys are to
/// be noted in it, too ([`super::stray_objects`]).
///
/// # Errors
/// When the database is away.
pub async fn delete(
    connection: &mut PgConnection,
    org: OrgId,
    assets: &[(AssetId, JobId)],
) -> Result<u64, sqlx::Error> {
    let (ids, jobs): (Vec<AssetId>, Vec<JobId>) = assets.iter().copied().unzip();
    let done = sqlx::query(
        "DELETE FROM assets USING UNNEST($2::uuid[], $3::uuid[]) AS gone (id, job_id)
         WHERE assets.org_id = $1 AND assets.id = gone.id AND assets.job_id = gone.job_id",
    )
    .bind(org)
    .bind(ids)
    .bind(jobs)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
