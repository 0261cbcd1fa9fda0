//! The object store: a directory or a bucket, behind one type.
//!
//! Keys are built from ids alone, so that no name from outside ever becomes a path. An object becomes visible when its upload is
//! finished and not before. What is begun and not finished is cleaned up by the process that began it; where that died, [`Storage::delete`]
//! takes what it left in a directory, and a bucket needs a lifecycle rule. Memory stays flat whatever the object's size.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::config::StorageConfig;
use crate::ids::{AssetId, OrgId};

/// Uploads up to this size are sent in one request; larger ones in parts of this size (S3 wants at least 5 MiB).
const PART_BYTES: usize = 6 << 20;
/// Parts on their way at once: with the one being filled, an upload holds at most three.
const PARTS_IN_FLIGHT: usize = 2;
/// Local files are read in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The configuration does not lead to a store.
    #[error("storage cannot be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No such object.
    #[error("object {0} does not exist")]
    Missing(ObjectKey),
    /// The upload went over its limit and was dropped.
    #[error("upload is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The store failed or refused.
    #[error("storage failed")]
    Store(#[source] object_store::Error),
    /// A local file could not be written, read or deleted.
    #[error("a local file failed")]
    File(#[source] std::io::Error),
    /// What was read is not what was written.
    #[error("storage gave back other bytes than were written")]
    Corrupt,
}

/// Where an object is. Only this module makes one, from ids.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The original bytes of a new asset. Its id must be a new one, too: no key is stored under twice.
    #[must_use]
    pub fn asset(org: OrgId, asset: AssetId) -> Self {
        Self(format!("assets/{org}/{asset}"))
    }

    /// A new place for bytes of an asset that may change: no two calls give the same.
    #[must_use]
    pub fn version(org: OrgId, asset: AssetId) -> Self {
        Self(format!("assets/{org}/{asset}/{}", Uuid::now_v7()))
    }

    fn path(&self) -> Path {
        Path::from(self.0.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The object store. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// Where the objects are files.
    directory: Option<PathBuf>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Storage({})", self.store)
    }
}

impl Storage {
    /// Opens the store. A directory is created; a bucket is not asked.
    ///
    /// # Errors
    /// When the directory cannot be made, or an `AWS_*` variable is unknown or malformed.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        match config {
            StorageConfig::Directory(directory) => {
                let (store, directory) = open_directory(directory)?;
                Ok(Self { store: Arc::new(store), directory: Some(directory) })
            }
            StorageConfig::S3 { bucket, prefix, options } => {
                let bucket = open_bucket(bucket, options)?;
                Ok(Self { store: Arc::new(PrefixStore::new(bucket, prefix.as_str())), directory: None })
            }
        }
    }

    /// Begins an upload of at most `limit_bytes`.
    #[must_use]
    pub fn upload(&self, key: &ObjectKey, limit_bytes: u64) -> Upload {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), key.path(), PART_BYTES)
            .with_max_concurrency(PARTS_IN_FLIGHT);
        Upload { writer: Some(writer), hash: Sha256::new(), size_bytes: 0, limit_bytes }
    }

    /// The object's size in bytes and its content.
    ///
    /// # Errors
    /// [`StorageError::Missing`], or when the store fails.
    pub async fn read(
        &self,
        key: &ObjectKey,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, StorageError>>), StorageError> {
        let found = self.store.get(&key.path()).await.map_err(|error| classify(key, error))?;
        let size_bytes = found.meta.size;
        Ok((size_bytes, found.into_stream().map_err(StorageError::Store).boxed()))
    }

    /// Copies the object to a local file, which is created or replaced. Returns its size in bytes.
    ///
    /// # Errors
    /// [`StorageError::Missing`], or when the store or the file system fails.
    pub async fn download(&self, key: &ObjectKey, to: &FilePath) -> Result<u64, StorageError> {
        let (_, mut content) = self.read(key).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(StorageError::File)?;
        let mut size_bytes = 0;
        while let Some(part) = content.try_next().await? {
            size_bytes += part.len() as u64;
            file.write_all(&part).await.map_err(StorageError::File)?;
        }
        file.flush().await.map_err(StorageError::File)?;
        Ok(size_bytes)
    }

    /// Copies a local file to the object, which becomes visible when it is whole.
    ///
    /// # Errors
    /// When the store or the file system fails; nothing is visible then.
    pub async fn store(&self, key: &ObjectKey, from: &FilePath) -> Result<Received, StorageError> {
        let mut file = tokio::fs::File::open(from).await.map_err(StorageError::File)?;
        let mut upload = self.upload(key, u64::MAX);
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            if file.read_buf(&mut piece).await.map_err(StorageError::File)? == 0 {
                return upload.finish().await;
            }
            upload.write(piece.freeze()).await?;
        }
    }

    /// Deletes the object, and in a directory what an upload of it left that died; what is gone already is fine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        // Before the object, which an upload that lives after all would make of it in between.
        if let Some(directory) = &self.directory {
            delete_staged(&directory.join(&key.0)).await.map_err(StorageError::File)?;
        }
        match self.store.delete(&key.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StorageError::Store(error)),
        }
    }

    /// Writes, reads and deletes a small object.
    ///
    /// # Errors
    /// The first of these that failed.
    pub async fn check(&self) -> Result<(), StorageError> {
        let key = ObjectKey(format!("checks/{}", Uuid::now_v7()));
        let content = Bytes::from_static(b"millrace storage check");
        self.store.put(&key.path(), content.clone().into()).await.map_err(StorageError::Store)?;
        let found = self.store.get(&key.path()).await.map_err(|error| classify(&key, error))?;
        let read = found.bytes().await.map_err(StorageError::Store)?;
        self.delete(&key).await?;
        if read == content { Ok(()) } else { Err(StorageError::Corrupt) }
    }

    /// Whether the store answers at all: one read request, for readiness checks.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ping(&self) -> Result<(), StorageError> {
        match self.store.head(&Path::from("checks/ping")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StorageError::Store(error)),
        }
    }
}

/// Deletes what uploads of an object have written and not finished. The store calls these files as the object, with `#1`, or the next number that
/// is free (`object_store::local`).
async fn delete_staged(object: &FilePath) -> std::io::Result<()> {
    for number in 1.. {
        let mut staged = object.as_os_str().to_owned();
        staged.push(format!("#{number}"));
        match tokio::fs::remove_file(&staged).await {
            Ok(()) => {}
            // Also where the object's directory is not there, or is a file.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn classify(key: &ObjectKey, error: object_store::Error) -> StorageError {
    match error {
        object_store::Error::NotFound { .. } => StorageError::Missing(key.clone()),
        error => StorageError::Store(error),
    }
}

fn open_directory(directory: &FilePath) -> Result<(LocalFileSystem, PathBuf), StorageError> {
    let open = |error: std::io::Error| StorageError::Open(format!("{}: {error}", directory.display()).into());
    std::fs::create_dir_all(directory).map_err(open)?;
    let directory: PathBuf = directory.canonicalize().map_err(open)?;
    let store = LocalFileSystem::new_with_prefix(&directory).map_err(|error| StorageError::Open(error.into()))?;
    // An accepted upload must survive a power cut, as the job that names it does.
    Ok((store.with_fsync(true), directory))
}

fn open_bucket(
    bucket: &str,
    options: &BTreeMap<String, SecretString>,
) -> Result<impl ObjectStore + use<>, StorageError> {
    let timeouts =
        ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout(Duration::from_secs(60));
    let retries = RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(timeouts).with_retry(retries);
    for (name, value) in options {
        // Names such as AWS_PROFILE or AWS_EXECUTION_ENV concern other programs.
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value.expose_secret());
        }
    }
    builder.build().map_err(|error| StorageError::Open(error.into()))
}

/// An upload on its way. Dropping it without [`Upload::finish`] throws away what was sent.
pub struct Upload {
    /// Gone once it is finished or aborted.
    writer: Option<BufWriter>,
    hash: Sha256,
    size_bytes: u64,
    limit_bytes: u64,
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upload").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

/// Hashes bytes as [`Upload`] does, for who must know them before there is an upload.
#[derive(Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// SHA-256 of all bytes.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Upload {
    /// Adds bytes; waits while enough parts are on their way.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`], or when the store fails. The upload is then of no further use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > self.limit_bytes {
            return Err(StorageError::TooLarge { limit_bytes: self.limit_bytes });
        }
        self.hash.update(&bytes);
        match &mut self.writer {
            Some(writer) => writer.put(bytes).await.map_err(StorageError::Store),
            None => Ok(()),
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn received(&self) -> Received {
        Received { size_bytes: self.size_bytes, sha256: self.hash.clone().finalize().into() }
    }

    /// Makes the object visible and durable.
    ///
    /// # Errors
    /// When the store fails; nothing is visible then.
    pub async fn finish(mut self) -> Result<Received, StorageError> {
        let received = self.received();
        if let Some(mut writer) = self.writer.take() {
            writer.shutdown().await.map_err(|error| StorageError::Store(into_store_error(error)))?;
        }
        Ok(received)
    }

    /// Throws away what was sent.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn abort(mut self) -> Result<(), StorageError> {
        match self.writer.take() {
            Some(mut writer) => writer.abort().await.map_err(StorageError::Store),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    /// Reached when a request is cut off. A directory store forgets by itself; a bucket keeps, and bills, the parts of an
    /// upload until it is told.
    fn drop(&mut self) {
        if let (Some(mut writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an unfinished upload could not be thrown away"
                    );
                }
            });
        }
    }
}

fn into_store_error(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "upload", source: Box::new(error) }
}

#[cfg(test)]
mod tests;
