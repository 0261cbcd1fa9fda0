//! What a document holds of others becomes assets of their own, each with a job of its own.
//!
//! The bytes are stored first, under keys that are noted before ([`stray_objects`]) and that no other run of the job gives. Rows, jobs and links
//! are written in the transaction that ends the document's job: all of it counts once, or none, and what does not count is swept. Bytes that an
//! asset of the organisation has already are not stored again, but linked. What the document held before and holds no more goes in the same
//! transaction, unless something else holds it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use millrace_shared::{
    config::PartsConfig,
    db::{
        asset_parts::{self, NewPart, Place, family::Going},
        assets::{self, NewAsset},
        stray_objects::{self, TO_BE_NAMED_WITHIN},
    },
    ids::{AssetId, OrgId},
    intake,
    jobs::{AssetProcess, JobPayload as _, JobRequest, KindSet, Kinds, NewJob},
    ledger::{self, Ended, Removal},
    storage::{Hasher, ObjectKey, Storage},
};
use sqlx::PgConnection;

use super::asset_source::storage_error;
use crate::{
    handler::{Follow, JobContext, JobError},
    ingest::{Contents, Document, Part, Unpack},
};

/// So much of a part is in memory at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// How often a part is looked for that comes and goes while it is linked.
const TRIES: usize = 5;

type Hash = [u8; 32];

/// How much may be unpacked from a document that lies there. Documents of one upload that are read at the same time each see what was there
/// before them, so together they may go beyond it by what a worker's slots hold.
pub(super) fn allowance(config: &PartsConfig, place: &Place) -> Unpack {
    if u32::try_from(place.depth).unwrap_or(u32::MAX) >= config.max_depth {
        return Unpack::TooDeep;
    }
    let parts = u64::from(config.max).saturating_sub(place.parts.unsigned_abs());
    Unpack::UpTo {
        parts: u32::try_from(parts).unwrap_or(u32::MAX),
        bytes: config.max_bytes.saturating_sub(place.bytes.unsigned_abs()),
    }
}

/// A document that was read, and what it holds.
pub(super) struct Container<'a> {
    pub(super) asset: AssetId,
    pub(super) place: Place,
    pub(super) storage: &'a Storage,
    pub(super) contents: Arc<Contents>,
}

impl Container<'_> {
    /// Stores the bytes of all parts that were kept and that nobody has yet.
    pub(super) async fn keep(&self, job: &JobContext, document: &Document) -> Result<StoreParts, JobError> {
        let mut parts: Vec<NewPart> = document.parts.iter().map(listed).collect();
        let mut children: BTreeMap<Hash, Child> = BTreeMap::new();
        let mut ancestry = None;
        for (index, part) in document.parts.iter().enumerate().filter(|(_, part)| part.left_out().is_none()) {
            let sha256 = self.hash(part).await?;
            if ancestry.is_none() {
                let asked = async { asset_parts::ancestry(&mut *job.pool.acquire().await?, job.org, self.asset).await };
                ancestry = Some(asked.await.map_err(|error| job.database(error))?);
            }
            if is_in(ancestry.as_ref(), &sha256) {
                parts[index].reason = Some("cycle");
            } else {
                children.entry(sha256).or_insert_with(|| Child::new(job.org)).places.push(index);
            }
        }
        self.note(job, &mut children).await.map_err(|error| job.database(error))?;
        for child in children.values().filter(|child| child.is_stored) {
            let Some(part) = child.places.first().and_then(|&place| document.parts.get(place)) else { continue };
            self.store(&child.key, part).await?;
        }
        Ok(StoreParts {
            asset: self.asset,
            place: self.place,
            media_type: document.media_type.as_str().to_owned(),
            parts,
            children,
            cancelled: Mutex::default(),
        })
    }

    /// Notes the keys of those that are to be stored.
    async fn note(&self, job: &JobContext, children: &mut BTreeMap<Hash, Child>) -> sqlx::Result<()> {
        if children.is_empty() {
            return Ok(());
        }
        let mut connection = job.pool.acquire().await?;
        let known = assets::known_contents(&mut connection, job.org, &hashes(children)).await?;
        let known: HashSet<&[u8]> = known.iter().map(Vec::as_slice).collect();
        for (sha256, child) in children.iter_mut() {
            child.is_stored = !known.contains(sha256.as_slice());
        }
        stray_objects::note(&mut connection, job.org, &stored_keys(children.values()), TO_BE_NAMED_WITHIN).await
    }

    async fn hash(&self, part: &Part) -> Result<Hash, JobError> {
        let (contents, part) = (Arc::clone(&self.contents), part.clone());
        let hashed = tokio::task::spawn_blocking(move || hash(&contents, &part)).await;
        hashed.map_err(|error| JobError::retry("io", error))?.map_err(|error| JobError::retry("io", error))
    }

    async fn store(&self, key: &ObjectKey, part: &Part) -> Result<(), JobError> {
        let size_bytes = part.size_bytes.unwrap_or(0);
        let mut upload = self.storage.upload(key, size_bytes);
        let mut position = 0;
        loop {
            let (contents, part) = (Arc::clone(&self.contents), part.clone());
            let block = tokio::task::spawn_blocking(move || block(&contents, &part, position)).await;
            let block = block.map_err(|error| JobError::retry("io", error))?;
            let block = block.map_err(|error| JobError::retry("io", error))?;
            if block.is_empty() {
                break;
            }
            position += block.len() as u64;
            upload.write(block).await.map_err(storage_error)?;
        }
        upload.finish().await.map(drop).map_err(storage_error)
    }
}

fn is_in(ancestry: Option<&HashSet<Vec<u8>>>, sha256: &Hash) -> bool {
    ancestry.is_some_and(|hashes| hashes.contains(sha256.as_slice()))
}

fn hash(contents: &Contents, part: &Part) -> std::io::Result<Hash> {
    let mut hasher = Hasher::default();
    let mut position = 0;
    loop {
        let block = block(contents, part, position)?;
        if block.is_empty() {
            return Ok(hasher.finish());
        }
        position += block.len() as u64;
        hasher.update(&block);
    }
}

fn block(contents: &Contents, part: &Part, position: u64) -> std::io::Result<Bytes> {
    let rest = part.size_bytes.unwrap_or(0).saturating_sub(position);
    let mut block = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(BLOCK_BYTES)];
    let filled = contents.read_at(part, position, &mut block)?;
    block.truncate(filled);
    Ok(block.into())
}

/// A part as its document lists it; where its bytes are is known later.
fn listed(part: &Part) -> NewPart {
    NewPart {
        name: part.name.replace('\0', ""),
        media_type: part.media_type.as_ref().map(|media_type| media_type.as_str().replace('\0', "")),
        size_bytes: part.size_bytes.map(|size| i64::try_from(size).unwrap_or(i64::MAX)),
        child: None,
        reason: part.left_out().map(crate::ingest::LeftOut::code),
    }
}

/// An asset to be made of a part, unless there is one with its bytes.
struct Child {
    id: AssetId,
    key: ObjectKey,
    is_stored: bool,
    /// Where the document lists it: the same file may be attached twice.
    places: Vec<usize>,
}

impl Child {
    fn new(org: OrgId) -> Self {
        let id = AssetId::new();
        Self { id, key: ObjectKey::asset(org, id), is_stored: false, places: Vec::new() }
    }
}

fn hashes(children: &BTreeMap<Hash, Child>) -> Vec<&[u8]> {
    children.keys().map(<[u8; 32]>::as_slice).collect()
}

fn stored_keys<'a>(children: impl Iterator<Item = &'a Child>) -> Vec<ObjectKey> {
    children.filter(|child| child.is_stored).map(|child| child.key.clone()).collect()
}

/// Makes assets of what a document holds, each with its job, and replaces the list of what it holds.
pub(super) struct StoreParts {
    asset: AssetId,
    place: Place,
    media_type: String,
    parts: Vec<NewPart>,
    /// In the order of their hashes: two documents with the same attachments must not wait for each other.
    children: BTreeMap<Hash, Child>,
    /// Jobs of what the document held before, which the last transaction has cancelled.
    cancelled: Mutex<Vec<Ended>>,
}

#[async_trait]
impl Follow for StoreParts {
    /// Who deletes documents locks all jobs in one order, and this job is one of them when its document lets go of others.
    async fn prepare(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        let hashes = hashes(&self.children);
        let children = asset_parts::held_beside(connection, job.org, self.asset, &hashes).await?;
        if children.is_empty() {
            return Ok(());
        }
        ledger::lock_jobs(connection, job.org, &Going::LetGo { by: self.asset, children }, job.id).await
    }

    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<Vec<NewJob>> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // An asset that was deleted meanwhile holds nothing.
        if !asset_parts::hold(connection, job.org, self.asset).await? {
            let spare = stored_keys(self.children.values());
            stray_objects::note(connection, job.org, &spare, Duration::ZERO).await?;
            return Ok(Vec::new());
        }
        asset_parts::set_media_type(connection, job.org, self.asset, &self.media_type).await?;
        let (mut parts, mut jobs) = (self.parts.clone(), Vec::new());
        let (mut named, mut spare) = (Vec::new(), Vec::new());
        for (sha256, child) in &self.children {
            let (id, follower) = self.link(connection, job.org, sha256, child).await?;
            let what = if follower.is_some() { &mut named } else { &mut spare };
            what.push(child);
            jobs.extend(follower);
            for &place in &child.places {
                parts[place].child = Some(id);
            }
        }
        let let_go = asset_parts::replace(connection, job.org, self.asset, &parts).await?;
        self.remove(connection, job, let_go).await?;
        if !stray_objects::adopt(connection, job.org, &stored_keys(named.into_iter())).await? {
            return Err(swept());
        }
        // Somebody else brought these bytes in the meantime.
        stray_objects::note(connection, job.org, &stored_keys(spare.into_iter()), Duration::ZERO).await?;
        Ok(jobs)
    }

    async fn settled(&self, job: &JobContext) {
        let cancelled = std::mem::take(&mut *self.cancelled.lock().unwrap_or_else(PoisonError::into_inner));
        if !cancelled.is_empty() {
            intake::withdraw(&job.queues, &cancelled).await;
        }
    }
}

impl StoreParts {
    /// Deletes what the document held before and nothing holds any more.
    async fn remove(&self, connection: &mut PgConnection, job: &JobContext, let_go: Vec<AssetId>) -> sqlx::Result<()> {
        if let_go.is_empty() {
            return Ok(());
        }
        let going = Going::LetGo { by: self.asset, children: let_go };
        match ledger::remove(connection, job.org, &going).await? {
            Removal::Done(cancelled) => {
                *self.cancelled.lock().unwrap_or_else(PoisonError::into_inner) = cancelled;
                Ok(())
            }
            Removal::Nothing => Ok(()),
            Removal::Crossed => Err(sqlx::Error::Protocol("what this document held before is being changed".into())),
        }
    }

    /// The asset with these bytes: one that is there, or a new one with its job.
    async fn link(
        &self,
        connection: &mut PgConnection,
        org: OrgId,
        sha256: &Hash,
        child: &Child,
    ) -> sqlx::Result<(AssetId, Option<NewJob>)> {
        for _ in 0..TRIES {
            if child.is_stored
                && let Some(job) = self.insert(connection, org, sha256, child).await?
            {
                return Ok((child.id, Some(job)));
            }
            let found = assets::find_by_content(connection, org, sha256).await?;
            let Some(found) = found.map(|asset| asset.id) else {
                // It was there when it was looked for, so its bytes were not stored; now it is gone. The next run stores them.
                if child.is_stored { continue } else { return Err(gone()) }
            };
            if asset_parts::hold(connection, org, found).await? {
                return Ok((found, None));
            }
        }
        Err(gone())
    }

    /// A new asset; `None` where there is one with its bytes.
    async fn insert(
        &self,
        connection: &mut PgConnection,
        org: OrgId,
        sha256: &Hash,
        child: &Child,
    ) -> sqlx::Result<Option<NewJob>> {
        let Some(part) = child.places.first().and_then(|&place| self.parts.get(place)) else { return Ok(None) };
        let job = processing(child.id)?;
        let new = NewAsset {
            id: child.id,
            org,
            name: part.name.rsplit('/').next().unwrap_or(&part.name),
            media_type: part.media_type.as_deref().unwrap_or("application/octet-stream"),
            size_bytes: part.size_bytes.unwrap_or(0),
            sha256: *sha256,
            storage_key: &child.key,
            job: job.id,
        };
        if assets::insert(connection, &new).await?.is_none() {
            return Ok(None);
        }
        asset_parts::mark_found(connection, org, child.id, self.place.depth + 1, self.place.root).await?;
        Ok(Some(job))
    }
}

fn gone() -> sqlx::Error {
    sqlx::Error::Protocol("a document that is held by this one was deleted while it was linked".into())
}

/// What was stored may be deleted by now, having waited too long for its name. The next run stores it again.
fn swept() -> sqlx::Error {
    sqlx::Error::Protocol("the documents in this one were stored too long ago".into())
}

fn processing(asset_id: AssetId) -> sqlx::Result<NewJob> {
    let payload =
        serde_json::to_value(AssetProcess::new(asset_id)).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let request = JobRequest::new(AssetProcess::KIND, payload);
    request.check(&Kinds::new(KindSet::Work)).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upload_has_given_already_is_not_given_again() {
        let config = PartsConfig { max: 10, max_bytes: 1_000, max_depth: 2 };
        let place = |depth, parts, bytes| Place { depth, root: AssetId::new(), parts, bytes };
        for (place, expected) in [
            (place(0, 0, 0), Unpack::UpTo { parts: 10, bytes: 1_000 }),
            (place(1, 4, 900), Unpack::UpTo { parts: 6, bytes: 100 }),
            (place(1, 11, 2_000), Unpack::UpTo { parts: 0, bytes: 0 }),
            (place(2, 0, 0), Unpack::TooDeep),
        ] {
            assert_eq!(allowance(&config, &place), expected, "{place:?}");
        }
        assert_eq!(allowance(&PartsConfig { max_depth: 0, ..config }, &place(0, 0, 0)), Unpack::TooDeep);
    }
}
