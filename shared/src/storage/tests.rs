use super::*;

fn storage() -> (tempfile::TempDir, Storage) {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(&StorageConfig::Directory(directory.path().join("new/deep"))).expect("opened");
    (directory, storage)
}

fn files_below(directory: &FilePath) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn what_is_uploaded_in_parts_is_read_back_with_its_hash() {
    let (directory, storage) = storage();
    let key = ObjectKey::asset(OrgId::new(), AssetId::new());
    let part = Bytes::from(vec![7_u8; 1 << 20]);
    let mut upload = storage.upload(&key, 20 << 20);
    for _ in 0..15 {
        upload.write(part.clone()).await.expect("written");
    }
    let received = upload.finish().await.expect("finished");
    assert_eq!(received.size_bytes, 15 << 20);
    let expected: [u8; 32] = Sha256::digest(vec![7_u8; 15 << 20]).into();
    assert_eq!(received.sha256, expected);

    let copy = directory.path().join("copy");
    assert_eq!(storage.download(&key, &copy).await.expect("downloaded"), 15 << 20);
    assert_eq!(std::fs::read(copy).expect("the copy"), vec![7_u8; 15 << 20]);
}

#[tokio::test]
async fn a_local_file_is_stored_whole_and_each_version_apart() {
    let (directory, storage) = storage();
    let (org, asset) = (OrgId::new(), AssetId::new());
    let (first, second) = (ObjectKey::version(org, asset), ObjectKey::version(org, asset));
    assert_ne!(first, second);
    let (file, copy) = (directory.path().join("file"), directory.path().join("copy"));
    std::fs::write(&file, vec![7_u8; 700_000]).expect("a file");
    let received = storage.store(&first, &file).await.expect("stored");
    assert_eq!((received.size_bytes, received.sha256), (700_000, Sha256::digest(vec![7_u8; 700_000]).into()));
    assert_eq!(storage.download(&first, &copy).await.expect("downloaded"), 700_000);
    assert!(matches!(storage.read(&second).await.err(), Some(StorageError::Missing(_))));
}

#[tokio::test]
async fn an_upload_is_invisible_until_it_is_finished() {
    let (_directory, storage) = storage();
    let key = ObjectKey::asset(OrgId::new(), AssetId::new());
    let mut upload = storage.upload(&key, 20 << 20);
    upload.write(Bytes::from(vec![0_u8; 10 << 20])).await.expect("written");
    assert!(matches!(storage.read(&key).await.err(), Some(StorageError::Missing(_))));
    upload.finish().await.expect("finished");
    assert!(storage.read(&key).await.is_ok());
}

#[tokio::test]
async fn an_aborted_upload_leaves_no_file() {
    let (directory, storage) = storage();
    let key = ObjectKey::asset(OrgId::new(), AssetId::new());
    let mut upload = storage.upload(&key, 20 << 20);
    for _ in 0..10 {
        upload.write(Bytes::from(vec![0_u8; 1 << 20])).await.expect("written");
    }
    assert_eq!(files_below(directory.path()).len(), 1, "parts are staged");
    upload.abort().await.expect("aborted");
    assert_eq!(files_below(directory.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_an_upload_left_that_died_goes_with_its_key() {
    let (directory, storage) = storage();
    let (org, key) = (OrgId::new(), ObjectKey::asset(OrgId::new(), AssetId::new()));
    let mut upload = storage.upload(&key, 20 << 20);
    for _ in 0..10 {
        upload.write(Bytes::from(vec![0_u8; 1 << 20])).await.expect("written");
    }
    // As if the process was gone: nobody aborts it.
    std::mem::forget(upload);
    assert_eq!(files_below(directory.path()).len(), 1, "parts are staged");
    storage.delete(&key).await.expect("deleted");
    assert_eq!(files_below(directory.path()), Vec::<PathBuf>::new());
    storage.delete(&ObjectKey::asset(org, AssetId::new())).await.expect("nothing was there");
}

#[tokio::test]
async fn an_upload_over_its_limit_is_refused() {
    let (_directory, storage) = storage();
    let mut upload = storage.upload(&ObjectKey::asset(OrgId::new(), AssetId::new()), 3);
    upload.write(Bytes::from_static(b"123")).await.expect("exactly the limit");
    let refused = upload.write(Bytes::from_static(b"4")).await;
    assert!(matches!(refused, Err(StorageError::TooLarge { limit_bytes: 3 })));
}

#[tokio::test]
async fn deleting_twice_is_fine_and_reading_then_tells() {
    let (directory, storage) = storage();
    let key = ObjectKey::asset(OrgId::new(), AssetId::new());
    let mut upload = storage.upload(&key, 10);
    upload.write(Bytes::from_static(b"text")).await.expect("written");
    upload.finish().await.expect("finished");
    storage.delete(&key).await.expect("deleted");
    storage.delete(&key).await.expect("gone already");
    let missing = storage.download(&key, &directory.path().join("copy")).await;
    assert!(matches!(missing, Err(StorageError::Missing(_))));
}

#[tokio::test]
async fn the_check_leaves_nothing_behind() {
    let (directory, storage) = storage();
    storage.check().await.expect("the store works");
    storage.ping().await.expect("the store answers");
    assert_eq!(files_below(directory.path()), Vec::<PathBuf>::new());
}
