//! Documents within documents: what each holds, where the parts are, and what goes with what.
//!
//! A part that can be read is an asset of its own, and the same bytes are one asset however many documents hold them: `asset_parts` is the link.
//! An asset that nobody uploaded for itself lives as long as a document names it: see [`family`].

pub mod family;

use std::collections::HashSet;

use sqlx::PgConnection;

use super::assets::AssetState;
use crate::ids::{AssetId, OrgId};

/// Where a document lies within an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Place {
    /// 0 for what was uploaded itself.
    pub depth: i16,
    /// The upload.
    pub root: AssetId,
    /// How many documents were unpacked from the upload, those that this one holds by its last run left out.
    pub parts: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// Where a document lies; `None` if it is gone.
///
/// # Errors
/// When the database is away.
pub async fn place(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<Option<Place>> {
    sqlx::query_as(
        "SELECT this.depth, coalesce(this.root_id, this.id) AS root, counted.parts, counted.bytes
         FROM assets AS this, LATERAL (
             SELECT count(*) AS parts, coalesce(sum(size_bytes), 0)::bigint AS bytes
             FROM assets AS other
             WHERE other.org_id = $1 AND other.root_id = coalesce(this.root_id, this.id)
               AND NOT EXISTS (SELECT FROM asset_parts AS part
                               WHERE part.org_id = $1 AND part.parent_id = this.id AND part.child_id = other.id)
         ) AS counted
         WHERE this.org_id = $1 AND this.id = $2",
    )
    .bind(org)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// The hashes of a document and of all documents that hold it, however far up.
///
/// # Errors
/// When the database is away.
pub async fn ancestry(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<HashSet<Vec<u8>>> {
    let hashes: Vec<Vec<u8>> = sqlx::query_scalar(
        "WITH RECURSIVE above (id) AS (
             SELECT $2::uuid
             UNION
             SELECT part.parent_id FROM asset_parts AS part JOIN above ON part.child_id = above.id WHERE part.org_id = $1
         )
         SELECT coalesce(sha256, fetched_sha256) FROM assets JOIN above USING (id)
         WHERE org_id = $1 AND coalesce(sha256, fetched_sha256) IS NOT NULL",
    )
    .bind(org)
    .bind(id)
    .fetch_all(connection)
    .await?;
    Ok(hashes.into_iter().collect())
}

/// Keeps an asset from being deleted until the transaction ends; `false` when it is gone.
///
/// # Errors
/// When the database is away.
pub async fn hold(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<bool> {
    let found = sqlx::query("SELECT FROM assets WHERE org_id = $1 AND id = $2 FOR KEY SHARE")
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

/// Notes of a new asset that it was not uploaded but found.
///
/// # Errors
/// When the database is away.
pub async fn mark_found(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    depth: i16,
    root: AssetId,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE assets SET uploaded = false, depth = $3, root_id = $4 WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .bind(depth)
        .bind(root)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that somebody uploaded an asset for itself, which stays when the documents go that hold it. `false` when it is gone; where it is
/// being deleted, this waits for the outcome.
///
/// # Errors
/// When the database is away.
pub async fn mark_uploaded(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<bool> {
    let done =
        sqlx::query("UPDATE assets SET uploaded = true, depth = 0, root_id = NULL WHERE org_id = $1 AND id = $2")
            .bind(org)
            .bind(id)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// What a document holds, as it is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPart {
    /// A label, at most 255 characters.
    pub name: String,
    /// Told from the bytes.
    pub media_type: Option<String>,
    /// In bytes.
    pub size_bytes: Option<i64>,
    /// The asset that has the bytes.
    pub child: Option<AssetId>,
    /// Why there is none.
    pub reason: Option<&'static str>,
}

/// Replaces the list of what a document holds. Gives what it held before and holds no more: of that, what nothing else holds must go, by
/// [`crate::ledger::remove`] in the same transaction.
///
/// # Errors
/// When the database refuses or is away.
pub async fn replace(
    connection: &mut PgConnection,
    org: OrgId,
    parent: AssetId,
    parts: &[NewPart],
) -> sqlx::Result<Vec<AssetId>> {
    let before: Vec<Option<AssetId>> =
        sqlx::query_scalar("DELETE FROM asset_parts WHERE org_id = $1 AND parent_id = $2 RETURNING child_id")
            .bind(org)
            .bind(parent)
            .fetch_all(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO asset_parts (org_id, parent_id, ordinal, name, media_type, size_bytes, child_id, reason)
         SELECT $1, $2, place - 1, name, media_type, size_bytes, child_id, reason
         FROM UNNEST($3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::text[])
              WITH ORDINALITY AS new (name, media_type, size_bytes, child_id, reason, place)",
    )
    .bind(org)
    .bind(parent)
    .bind(parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.media_type.as_deref()).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.size_bytes).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.child.map(|child| child.0)).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.reason).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    let now: HashSet<AssetId> = parts.iter().filter_map(|part| part.child).collect();
    let mut let_go: Vec<AssetId> = before.into_iter().flatten().filter(|child| !now.contains(child)).collect();
    let_go.sort_unstable();
    let_go.dedup();
    Ok(let_go)
}

/// What a document will let go of when it holds nothing but bytes of these hashes: of what was not uploaded for itself.
///
/// # Errors
/// When the database is away.
pub async fn held_beside(
    connection: &mut PgConnection,
    org: OrgId,
    parent: AssetId,
    hashes: &[&[u8]],
) -> sqlx::Result<Vec<AssetId>> {
    sqlx::query_scalar(
        "SELECT DISTINCT child.id FROM asset_parts AS part JOIN assets AS child ON child.org_id = $1 AND child.id = part.child_id
         WHERE part.org_id = $1 AND part.parent_id = $2 AND NOT child.uploaded AND child.sha256 <> ALL($3::bytea[])",
    )
    .bind(org)
    .bind(parent)
    .bind(hashes)
    .fetch_all(connection)
    .await
}

/// Has these, which a document has let go of and others hold, and all that they hold, counted for one of those others, where they were counted
/// for the same upload as the document. Otherwise what an upload held once would be counted for it for ever.
///
/// # Errors
/// When the database is away.
pub async fn count_elsewhere(
    connection: &mut PgConnection,
    org: OrgId,
    document: AssetId,
    children: &[AssetId],
) -> sqlx::Result<()> {
    // Something may have many holders, of which a hundred are looked at for one of the same upload.
    sqlx::query(
        "WITH RECURSIVE home (root) AS (
             SELECT coalesce(root_id, id) FROM assets WHERE org_id = $1 AND id = $2
         ), moved (id, root) AS (
             SELECT child.id, holder.root
             FROM home CROSS JOIN assets AS child CROSS JOIN LATERAL (
                 SELECT above.root
                 FROM (SELECT coalesce(up.root_id, up.id) AS root
                       FROM asset_parts AS part JOIN assets AS up ON up.org_id = $1 AND up.id = part.parent_id
                       WHERE part.org_id = $1 AND part.child_id = child.id LIMIT 100) AS above
                 ORDER BY above.root = home.root DESC LIMIT 1
             ) AS holder
             WHERE child.org_id = $1 AND child.id = ANY($3) AND NOT child.uploaded
               AND child.root_id = home.root AND holder.root <> home.root
             UNION
             SELECT child.id, moved.root
             FROM home CROSS JOIN moved
             JOIN asset_parts AS part ON part.org_id = $1 AND part.parent_id = moved.id
             JOIN assets AS child ON child.org_id = $1 AND child.id = part.child_id AND NOT child.uploaded
             WHERE child.root_id = home.root
         )
         UPDATE assets SET root_id = new.root
         FROM (SELECT DISTINCT ON (id) id, root FROM moved ORDER BY id) AS new
         WHERE assets.org_id = $1 AND assets.id = new.id",
    )
    .bind(org)
    .bind(document)
    .bind(children)
    .execute(connection)
    .await?;
    Ok(())
}

/// Corrects an asset's type where its head told less than the whole of it.
///
/// # Errors
/// When the database is away.
pub async fn set_media_type(
    connection: &mut PgConnection,
    org: OrgId,
    id: AssetId,
    media_type: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE assets SET media_type = $3 WHERE org_id = $1 AND id = $2 AND media_type <> $3")
        .bind(org)
        .bind(id)
        .bind(media_type)
        .execute(connection)
        .await?;
    Ok(())
}

/// What a document holds, as it is stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredPart {
    /// Its place in the document, from 0.
    pub ordinal: i32,
    /// A label.
    pub name: String,
    /// Told from the bytes, where they were read.
    pub media_type: Option<String>,
    /// In bytes.
    pub size_bytes: Option<i64>,
    /// The asset that has the bytes.
    pub child_id: Option<AssetId>,
    /// Why there is none; nothing where it was deleted.
    pub reason: Option<String>,
    /// Where the asset stands.
    pub state: Option<AssetState>,
}

/// What a document holds, after `after`, in order, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    parent: AssetId,
    after: Option<i32>,
    limit: i64,
) -> sqlx::Result<Vec<StoredPart>> {
    sqlx::query_as(
        "SELECT part.ordinal, part.name, part.media_type, part.size_bytes, part.child_id, part.reason, child.state
         FROM asset_parts AS part LEFT JOIN assets AS child ON child.org_id = $1 AND child.id = part.child_id
         WHERE part.org_id = $1 AND part.parent_id = $2 AND part.ordinal > $3 ORDER BY part.ordinal LIMIT $4",
    )
    .bind(org)
    .bind(parent)
    .bind(after.unwrap_or(-1))
    .bind(limit)
    .fetch_all(connection)
    .await
}
