//! Where the bytes of an asset come from: the object store, or the URL that it is fetched from.
//!
//! What was fetched is stored once it could be read, under a key of its own, and named by the record in the transaction that ends the job,
//! together with the text. Until then the record names the bytes of before. Keys that nobody names any more are swept ([`crate::sweep`]).

use std::path::Path;

use async_trait::async_trait;
use millrace_shared::{
    config::FetchConfig,
    db::{
        assets::{self, Asset, Content, Validators},
        stray_objects::{self, TO_BE_NAMED_WITHIN},
    },
    fetch::SourceUrl,
    ids::AssetId,
    jobs::Fetch,
    storage::{ObjectKey, Storage, StorageError},
};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    fetch::{Document, Fetched, Fetcher},
    handler::{Effects, JobContext, JobError, Write},
};

/// Gets documents into local files.
pub(super) struct Source {
    storage: Storage,
    fetcher: Fetcher,
}

/// How a document got into the local file.
pub(super) enum Obtained {
    /// It is the one that the record names.
    Stored,
    /// It is another one.
    Fetched(Document),
    /// It did not: the source has what the record names, and there is nothing to do but to write that down.
    NotModified(Effects),
}

/// A fetched document that could be read.
pub(super) struct Read<'a> {
    /// Told from its bytes.
    pub(super) media_type: &'a str,
    pub(super) file: &'a Path,
}

impl Source {
    pub(super) fn new(storage: Storage, config: &FetchConfig) -> Self {
        Self { storage, fetcher: Fetcher::new(config) }
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Gets an asset's bytes into `file`.
    pub(super) async fn obtain(
        &self,
        job: &JobContext,
        asset: &Asset,
        fetch: Fetch,
        file: &Path,
    ) -> Result<Obtained, JobError> {
        match (&asset.source_url, &asset.storage_key) {
            (Some(url), None) => self.fetch(job, asset, url, file).await,
            (Some(url), Some(_)) if fetch == Fetch::IfChanged => self.fetch(job, asset, url, file).await,
            (_, Some(key)) => {
                self.storage.download(key, file).await.map_err(storage_error)?;
                Ok(Obtained::Stored)
            }
            (None, None) => Err(JobError::fail("asset_content_missing", "the asset has neither bytes nor a URL")),
        }
    }

    async fn fetch(&self, job: &JobContext, asset: &Asset, url: &SourceUrl, file: &Path) -> Result<Obtained, JobError> {
        job.progress(5, "fetching the document").await;
        let known = asset.fetched_url.clone().map(|url| Validators {
            url,
            etag: asset.etag.clone(),
            last_modified: asset.last_modified.clone(),
        });
        match self.fetcher.fetch(url, known.as_ref(), file, job.remaining()).await? {
            Fetched::NotModified => Ok(Obtained::NotModified(not_modified(asset.id, None))),
            Fetched::Document(document) if asset.sha256.as_deref() == Some(&document.sha256[..]) => {
                Ok(Obtained::NotModified(not_modified(asset.id, document.validators)))
            }
            Fetched::Document(document) => Ok(Obtained::Fetched(document)),
        }
    }

    /// Stores what was fetched, and gives what makes the record name it.
    pub(super) async fn store(
        &self,
        job: &JobContext,
        asset: &Asset,
        document: Document,
        read: Read<'_>,
    ) -> Result<Box<dyn Write>, JobError> {
        let storage_key = ObjectKey::version(job.org, asset.id);
        let noted = async {
            let mut connection = job.pool.acquire().await?;
            stray_objects::note(&mut connection, job.org, std::slice::from_ref(&storage_key), TO_BE_NAMED_WITHIN).await
        };
        noted.await.map_err(|error| job.database(error))?;
        self.storage.store(&storage_key, read.file).await.map_err(storage_error)?;
        // A name that is not the URL's own was given by somebody.
        let is_given = asset.source_url.as_ref().is_none_or(|url| url.label() != asset.name);
        let content = Content {
            media_type: read.media_type.to_owned(),
            size_bytes: i64::try_from(document.size_bytes).unwrap_or(i64::MAX),
            sha256: document.sha256,
            storage_key,
            name: document.file_name.filter(|_| !is_given),
            validators: document.validators,
        };
        Ok(Box::new(NameContent { asset: asset.id, content }))
    }
}

fn not_modified(asset: AssetId, validators: Option<Validators>) -> Effects {
    Effects {
        result: Some(json!({ "asset_id": asset, "not_modified": true })),
        writes: vec![Box::new(StillCurrent { asset, validators })],
        ..Effects::default()
    }
}

/// Makes the record name what was fetched.
struct NameContent {
    asset: AssetId,
    content: Content,
}

#[async_trait]
impl Write for NameContent {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        assets::replace_content(connection, job.org, self.asset, &self.content).await.map(drop)
    }
}

/// Notes that the source has what the record names.
struct StillCurrent {
    asset: AssetId,
    validators: Option<Validators>,
}

#[async_trait]
impl Write for StillCurrent {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        assets::still_current(connection, job.org, self.asset, self.validators.as_ref()).await.map(drop)
    }
}

pub(super) fn storage_error(error: StorageError) -> JobError {
    match error {
        error @ StorageError::Missing(_) => JobError::fail("asset_content_missing", error),
        error => JobError::retry("storage", error),
    }
}
