//! Documents within documents: what each holds, where the parts are, and what goes with what.
//!
//! A part that can be read is an asset of its own, and the same bytes are one asset however many documents hold them: `asset_parts` is the link.
//! An asset that nobody uploaded for itself lives as long as a document names it.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::{Builder, Uuid};

use super::assets::AssetState;
use crate::ids::{AssetId, JobId, OrgId};
use crate::storage::ObjectKey;

/// The id of what `job` finds in its document. Every run of the job gives the same, so that one that is repeated stores its objects where the
/// one before did, instead of beside them. Another job gives another, so that an object is never stored where an older one is being deleted.
#[must_use]
pub fn child_id(job: JobId, sha256: &[u8; 32]) -> AssetId {
    let digest = Sha256::new().chain_update(job.as_bytes()).chain_update(sha256).finalize();
    let mut rest = [0; 10];
    rest.copy_from_slice(&digest[..10]);
    // The time in it is that of the job.
    let millis = u64::try_from(job.time().timestamp_millis()).unwrap_or(0);
    AssetId(Builder::from_unix_timestamp_millis(millis, &rest).into_uuid())
}

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

/// Notes that somebody uploaded an asset for itself that was only found before: it stays when the documents go that hold it.
///
/// # Errors
/// When the database is away.
pub async fn mark_uploaded(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE assets SET uploaded = true, depth = 0, root_id = NULL WHERE org_id = $1 AND id = $2 AND NOT uploaded",
    )
    .bind(org)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
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

/// Replaces the list of what a document holds. What it held before and holds no more stays as an asset.
///
/// # Errors
/// When the database refuses or is away.
pub async fn replace(
    connection: &mut PgConnection,
    org: OrgId,
    parent: AssetId,
    parts: &[NewPart],
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM asset_parts WHERE org_id = $1 AND parent_id = $2")
        .bind(org)
        .bind(parent)
        .execute(&mut *connection)
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

/// An asset that is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Doomed {
    /// Its id.
    pub id: AssetId,
    /// The job that processes it.
    pub job_id: JobId,
    /// Where its bytes are; one of a URL may have none yet.
    pub storage_key: Option<ObjectKey>,
}

/// An asset and all that goes with it, by id: what was not uploaded for itself and is held by nothing that stays. Empty when the asset is gone.
///
/// # Errors
/// When the database is away.
pub async fn family(connection: &mut PgConnection, org: OrgId, id: AssetId) -> sqlx::Result<Vec<Doomed>> {
    let links: Vec<(AssetId, AssetId)> = sqlx::query_as(
        "WITH RECURSIVE below (id) AS (
             SELECT $2::uuid
             UNION
             SELECT child.id FROM below
             JOIN asset_parts AS part ON part.org_id = $1 AND part.parent_id = below.id
             JOIN assets AS child ON child.org_id = $1 AND child.id = part.child_id AND NOT child.uploaded
         )
         SELECT DISTINCT part.parent_id, part.child_id FROM asset_parts AS part JOIN below ON part.child_id = below.id
         WHERE part.org_id = $1",
    )
    .bind(org)
    .bind(id)
    .fetch_all(&mut *connection)
    .await?;
    let doomed: Vec<Uuid> = doomed(id, &links).into_iter().map(|id| id.0).collect();
    sqlx::query_as("SELECT id, job_id, storage_key FROM assets WHERE org_id = $1 AND id = ANY($2) ORDER BY id")
        .bind(org)
        .bind(doomed)
        .fetch_all(connection)
        .await
}

/// Of the children in `links` (of parent and child), those that nothing holds once `root` is gone; and `root`.
fn doomed(root: AssetId, links: &[(AssetId, AssetId)]) -> HashSet<AssetId> {
    let mut parents: HashMap<AssetId, Vec<AssetId>> = HashMap::new();
    for &(parent, child) in links {
        parents.entry(child).or_default().push(parent);
    }
    let mut doomed: HashSet<AssetId> = parents.keys().copied().chain([root]).collect();
    loop {
        let kept: Vec<AssetId> = doomed
            .iter()
            .copied()
            .filter(|id| *id != root && parents[id].iter().any(|parent| !doomed.contains(parent)))
            .collect();
        if kept.is_empty() {
            return doomed;
        }
        doomed.retain(|id| !kept.contains(id));
    }
}

/// Locks assets, so that no document can begin to hold them.
///
/// # Errors
/// When the database is away.
pub async fn lock(connection: &mut PgConnection, org: OrgId, family: &[Doomed]) -> sqlx::Result<()> {
    sqlx::query("SELECT FROM assets WHERE org_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE")
        .bind(org)
        .bind(family.iter().map(|asset| asset.id.0).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_repeated_gives_the_same_ids_and_another_job_gives_others() {
        let (job, other) = (JobId::new(), JobId::new());
        let id = child_id(job, &[7; 32]);
        assert_eq!(id, child_id(job, &[7; 32]));
        assert_ne!(id, child_id(job, &[8; 32]));
        assert_ne!(id, child_id(other, &[7; 32]));
        assert_eq!((id.0.get_version_num(), JobId(id.0).time()), (7, job.time()));
    }

    #[test]
    fn what_something_else_holds_stays_with_all_that_it_holds() {
        let [root, other, shared, below_shared, alone, below_alone, loose] = std::array::from_fn(|_| AssetId::new());
        let links = [
            (root, shared),
            (other, shared),
            (shared, below_shared),
            (root, alone),
            (alone, below_alone),
            (root, below_shared),
            (alone, loose),
            (below_alone, loose),
        ];
        assert_eq!(doomed(root, &links), HashSet::from([root, alone, below_alone, loose]));
        assert_eq!(doomed(root, &[]), HashSet::from([root]));
        // Two that hold each other do not keep each other.
        assert_eq!(doomed(root, &[(root, alone), (alone, loose), (loose, alone)]), HashSet::from([root, alone, loose]));
    }
}
