//! Reading a document's text and chunks.
//!
//! Both may be replaced at any time, by a commit that also counts the asset's revision up. Who reads in several statements names the
//! revision that it began with, and gets nothing of another one.

use sqlx::PgConnection;

use super::Asset;
use crate::ids::{AssetId, OrgId};

/// An asset's text and chunks as they were between two replacements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssetRevision {
    /// The asset's tenant.
    pub org: OrgId,
    /// The asset.
    pub asset: AssetId,
    /// [`Asset::revision`].
    pub revision: i32,
}

impl From<&Asset> for AssetRevision {
    fn from(asset: &Asset) -> Self {
        Self { org: asset.org_id, asset: asset.id, revision: asset.revision }
    }
}

/// A part of a document's text; all parts in order are the whole.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct TextPart {
    /// The page, from 1.
    pub page: i32,
    /// The page's text, and what separates it from the next one.
    pub text: String,
}

/// Parts of an asset's text after page `after`, as many as hold about 1 MB together, at least one while there are any. None when the
/// asset is gone or of another revision.
///
/// # Errors
/// When the database is away.
pub async fn text_parts(
    connection: &mut PgConnection,
    of: AssetRevision,
    after: i32,
) -> Result<Vec<TextPart>, sqlx::Error> {
    sqlx::query_as(
        "SELECT page, text FROM (
             SELECT page, text, sum(octet_length(text)) OVER (ORDER BY page) - octet_length(text) AS before
             FROM (SELECT page, text FROM asset_texts WHERE org_id = $1 AND asset_id = $2 AND page > $4
                       AND EXISTS (SELECT FROM assets WHERE org_id = $1 AND id = $2 AND revision = $3)
                   ORDER BY page LIMIT 200) AS next_pages
         ) AS counted WHERE before < 1000000 ORDER BY page",
    )
    .bind(of.org)
    .bind(of.asset)
    .bind(of.revision)
    .bind(after)
    .fetch_all(connection)
    .await
}

/// A chunk as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredChunk {
    /// Its place in the document, from 0.
    pub ordinal: i32,
    /// The page that it lies on, from 1.
    pub page: i32,
    /// Titles of the headings that all of it stands under, the outermost first.
    pub headings: Vec<String>,
    /// Offset of its first character in the document's text.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The text.
    pub text: String,
}

/// Chunks of an asset after `after`, in order, at most `limit`. None when the asset is gone or of another revision.
///
/// # Errors
/// When the database is away.
pub async fn chunks(
    connection: &mut PgConnection,
    of: AssetRevision,
    after: Option<i32>,
    limit: i64,
) -> Result<Vec<StoredChunk>, sqlx::Error> {
    sqlx::query_as(
        "SELECT ordinal, page, headings, start_char, end_char, text FROM asset_chunks
         WHERE org_id = $1 AND asset_id = $2 AND ordinal > $4
             AND EXISTS (SELECT FROM assets WHERE org_id = $1 AND id = $2 AND revision = $3)
         ORDER BY ordinal LIMIT $5",
    )
    .bind(of.org)
    .bind(of.asset)
    .bind(of.revision)
    .bind(after.unwrap_or(-1))
    .bind(limit)
    .fetch_all(connection)
    .await
}
