//! Assets that are fetched by their URL.
//!
//! What is known of the bytes changes in one transaction with the text that was found in them, the one that ends the job: a record never
//! names bytes that its text is not of.

use std::time::Duration;

use sqlx::PgConnection;

use super::Asset;
use crate::db::stray_objects;
use crate::fetch::SourceUrl;
use crate::ids::{AssetId, JobId, OrgId};
use crate::storage::ObjectKey;

/// A new asset, of which only the address is known.
#[derive(Debug)]
pub struct NewByUrl<'a> {
    /// Its id.
    pub id: AssetId,
    /// Its tenant.
    pub org: OrgId,
    /// A label, at most 255 characters.
    pub name: &'a str,
    /// Where it is fetched from.
    pub source_url: &'a SourceUrl,
    /// The job that will fetch and process it.
    pub job: JobId,
}

/// Records an address; `None` if the organisation has it already.
///
/// # Errors
/// When the database refuses or is away.
pub async fn insert_by_url(connection: &mut PgConnection, new: &NewByUrl<'_>) -> Result<Option<Asset>, sqlx::Error> {
    sqlx::query_as(concat!(
        "INSERT INTO assets (id, org_id, name, source_url, job_id) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT assets_org_source_url DO NOTHING
         RETURNING ",
        columns!()
    ))
    .bind(new.id)
    .bind(new.org)
    .bind(new.name)
    .bind(new.source_url)
    .bind(new.job)
    .fetch_optional(connection)
    .await
}

/// The asset of this address.
///
/// # Errors
/// When the database is away.
pub async fn find_by_url(
    connection: &mut PgConnection,
    org: OrgId,
    source_url: &SourceUrl,
) -> Result<Option<Asset>, sqlx::Error> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM assets WHERE org_id = $1 AND source_url = $2"))
        .bind(org)
        .bind(source_url)
        .fetch_optional(connection)
        .await
}

/// What a server said of a document beside its bytes. It makes the next question a cheap one, and is sent to the same address alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The last hop's address.
    pub url: SourceUrl,
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
}

/// Bytes that were fetched and stored.
#[derive(Debug, Clone)]
pub struct Content {
    /// Told from the bytes.
    pub media_type: String,
    /// Size in bytes, above zero.
    pub size_bytes: i64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// Where they are. The key must be a [noted](stray_objects::note) one.
    pub storage_key: ObjectKey,
    /// What the server called the document, where nobody else has given it a name.
    pub name: Option<String>,
    /// For the next fetch.
    pub validators: Option<Validators>,
}

/// Makes an asset name other bytes than before, whose object is then garbage. `false`, with nothing written, when the asset is gone.
///
/// # Errors
/// When the database is away; [`sqlx::Error::RowNotFound`] when the new object may be deleted by now, having waited too long.
pub async fn replace_content(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    content: &Content,
) -> Result<bool, sqlx::Error> {
    let before: Option<Option<ObjectKey>> =
        sqlx::query_scalar("SELECT storage_key FROM assets WHERE org_id = $1 AND id = $2 FOR UPDATE")
            .bind(org)
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(before) = before else { return Ok(false) };
    if !stray_objects::adopt(connection, org, std::slice::from_ref(&content.storage_key)).await? {
        return Err(sqlx::Error::RowNotFound);
    }
    if let Some(before) = before {
        stray_objects::note(connection, org, &[before], Duration::ZERO).await?;
    }
    let validators = content.validators.as_ref();
    sqlx::query(
        "UPDATE assets SET media_type = $3, size_bytes = $4, fetched_sha256 = $5, storage_key = $6, name = coalesce($7, name),
                fetched_url = $8, etag = $9, last_modified = $10, fetched_at = now()
         WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(&content.media_type)
    .bind(content.size_bytes)
    .bind(content.sha256.as_slice())
    .bind(&content.storage_key)
    .bind(&content.name)
    .bind(validators.map(|validators| &validators.url))
    .bind(validators.and_then(|validators| validators.etag.as_deref()))
    .bind(validators.and_then(|validators| validators.last_modified.as_deref()))
    .execute(connection)
    .await?;
    Ok(true)
}

/// The source still has the bytes that the asset names: the asset is as ready as it was. New validators replace the old ones.
/// `false` when the asset is gone.
///
/// # Errors
/// When the database is away.
pub async fn still_current(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    validators: Option<&Validators>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE assets SET state = 'ready', error_code = NULL, error_message = NULL, fetched_at = now(), updated_at = now(),
                fetched_url = coalesce($3, fetched_url),
                etag = CASE WHEN $3 IS NULL THEN etag ELSE $4 END,
                last_modified = CASE WHEN $3 IS NULL THEN last_modified ELSE $5 END
         WHERE org_id = $1 AND id = $2 AND storage_key IS NOT NULL",
    )
    .bind(org)
    .bind(id)
    .bind(validators.map(|validators| &validators.url))
    .bind(validators.and_then(|validators| validators.etag.as_deref()))
    .bind(validators.and_then(|validators| validators.last_modified.as_deref()))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
