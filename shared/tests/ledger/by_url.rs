//! Assets by URL: which bytes a record names, and what becomes of the others.

use std::time::Duration;

use millrace_shared::{
    db::{
        assets::{self, Content, NewByUrl, Validators},
        stray_objects,
    },
    fetch::{FetchRules, Ports, SourceUrl},
    ids::{AssetId, JobId, OrgId},
    storage::ObjectKey,
};
use sqlx::Connection as _;

use crate::support::*;

const UP: &str = include_str!("../../../migrations/0009_by_url.up.sql");
const DOWN: &str = include_str!("../../../migrations/0009_by_url.down.sql");
const LATER_UP: [&str; 2] =
    [include_str!("../../../migrations/0010_parts.up.sql"), include_str!("../../../migrations/0011_sweeping.up.sql")];
const LATER_DOWN: [&str; 2] = [
    include_str!("../../../migrations/0011_sweeping.down.sql"),
    include_str!("../../../migrations/0010_parts.down.sql"),
];
const HOUR: Duration = Duration::from_secs(3600);

fn url(text: &str) -> SourceUrl {
    SourceUrl::parse(text, &FetchRules { ports: Ports::Any, allowed: Vec::new() }).unwrap()
}

async fn asset_by_url(db: &Db, org: OrgId) -> AssetId {
    let mut connection = db.connection().await;
    sqlx::query("INSERT INTO organisations (id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(org)
        .execute(&mut connection)
        .await
        .unwrap();
    let (id, source_url) = (AssetId::new(), url("https://example.org/a.txt"));
    let new = NewByUrl { id, org, name: "a.txt", source_url: &source_url, job: JobId::new() };
    assets::insert_by_url(&mut connection, &new).await.unwrap().unwrap();
    let other = NewByUrl { id: AssetId::new(), ..new };
    assert!(assets::insert_by_url(&mut connection, &other).await.unwrap().is_none(), "one URL is one asset");
    id
}

fn content(org: OrgId, id: AssetId, byte: u8) -> Content {
    Content {
        media_type: "text/plain".to_owned(),
        size_bytes: 5,
        sha256: [byte; 32],
        storage_key: ObjectKey::version(org, id),
        name: None,
        validators: Some(Validators {
            url: url("https://example.org/b.txt"),
            etag: Some(format!("\"{byte}\"")),
            last_modified: None,
        }),
    }
}

async fn replace(db: &Db, org: OrgId, id: AssetId, content: &Content) -> sqlx::Result<bool> {
    let mut connection = db.connection().await;
    let mut transaction = connection.begin().await?;
    let replaced = assets::replace_content(&mut transaction, org, id, content).await?;
    transaction.commit().await?;
    Ok(replaced)
}

async fn note(db: &Db, org: OrgId, key: &ObjectKey, wait: Duration) {
    stray_objects::note(&mut db.connection().await, org, std::slice::from_ref(key), wait).await.unwrap();
}

async fn due(db: &Db) -> Vec<ObjectKey> {
    stray_objects::lock_due(&mut db.connection().await, 10).await.unwrap()
}

#[tokio::test]
async fn what_a_record_names_is_never_swept_and_what_it_named_before_is() {
    let (db, org) = (Db::new().await, OrgId::new());
    let id = asset_by_url(&db, org).await;
    let (first, second) = (content(org, id, 1), content(org, id, 2));
    for content in [&first, &second] {
        note(&db, org, &content.storage_key, HOUR).await;
        assert!(due(&db).await.is_empty() || due(&db).await == std::slice::from_ref(&first.storage_key));
        assert!(replace(&db, org, id, content).await.unwrap());
    }
    assert_eq!(due(&db).await, std::slice::from_ref(&first.storage_key));
    let row = db.asset_row(org, id).await;
    assert_eq!((row.storage_key, row.sha256), (Some(second.storage_key), Some(vec![2; 32])));
    assert_eq!((row.etag.as_deref(), row.name.as_str()), (Some("\"2\""), "a.txt"));
    stray_objects::forget(&mut db.connection().await, &due(&db).await).await.unwrap();
    assert_eq!(db.count("stray_objects").await, 0);
}

#[tokio::test]
async fn bytes_that_may_be_swept_by_now_cannot_be_named() {
    let (db, org) = (Db::new().await, OrgId::new());
    let id = asset_by_url(&db, org).await;
    let late = content(org, id, 1);
    assert!(matches!(replace(&db, org, id, &late).await, Err(sqlx::Error::RowNotFound)));
    assert_eq!(db.asset_row(org, id).await.storage_key, None);

    note(&db, org, &late.storage_key, Duration::ZERO).await;
    let mut connection = db.connection().await;
    let mut sweeper = connection.begin().await.unwrap();
    assert_eq!(stray_objects::lock_due(&mut sweeper, 10).await.unwrap(), std::slice::from_ref(&late.storage_key));
    assert!(due(&db).await.is_empty(), "another sweeper leaves it alone");
    let naming = async { replace(&db, org, id, &late).await };
    let sweeping = async {
        stray_objects::forget(&mut sweeper, std::slice::from_ref(&late.storage_key)).await.unwrap();
        sweeper.commit().await.unwrap();
    };
    let (named, ()) = tokio::join!(naming, sweeping);
    assert!(matches!(named, Err(sqlx::Error::RowNotFound)), "{named:?}");

    let gone = content(org, AssetId::new(), 3);
    assert!(!replace(&db, org, AssetId::new(), &gone).await.unwrap(), "a deleted asset names nothing");
}

#[tokio::test]
async fn the_version_before_gets_its_uploads_back_as_they_were() {
    let (db, org) = (Db::new().await, OrgId::new());
    let upload = db.asset(org, JobId::new()).await;
    let by_url = asset_by_url(&db, org).await;
    let broken = sqlx::query("UPDATE assets SET sha256 = NULL WHERE id = $1").bind(upload).execute(&db.pool).await;
    assert!(millrace_shared::db::violates(&broken.unwrap_err(), "assets_upload_is_whole"));
    let broken = sqlx::query("UPDATE assets SET size_bytes = 1 WHERE id = $1").bind(by_url).execute(&db.pool).await;
    assert!(millrace_shared::db::violates(&broken.unwrap_err(), "assets_fetched_is_whole"));

    let mut connection = db.connection().await;
    for script in LATER_DOWN.into_iter().chain([DOWN]) {
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
    }
    let kept: Vec<AssetId> =
        sqlx::query_scalar("SELECT id FROM assets WHERE sha256 IS NOT NULL").fetch_all(&db.pool).await.unwrap();
    assert_eq!((kept, db.count("assets").await), (vec![upload], 1));
    for script in [UP].into_iter().chain(LATER_UP) {
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
    }
    assert_eq!(db.asset_row(org, upload).await.id, upload);
}
