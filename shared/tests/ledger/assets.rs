//! Assets that have text, and what becomes of them when they are processed again.

use std::sync::Arc;

use millrace_shared::{
    db::assets::{self, Asset, AssetRevision, AssetState, Chunk, Extraction, HeadingPath},
    ids::{AssetId, JobId, OrgId},
    jobs::{JobRequest, NewJob},
};
use serde_json::json;

use crate::support::*;

const BEFORE: [&str; 6] = [
    include_str!("../../../migrations/0001_organisations.up.sql"),
    include_str!("../../../migrations/0002_jobs.up.sql"),
    include_str!("../../../migrations/0003_assets.up.sql"),
    include_str!("../../../migrations/0004_limits.up.sql"),
    include_str!("../../../migrations/0005_partitions.up.sql"),
    include_str!("../../../migrations/0006_metadata.up.sql"),
];
const UP: &str = include_str!("../../../migrations/0007_chunks.up.sql");
const DOWN: &str = include_str!("../../../migrations/0007_chunks.down.sql");

fn path(titles: &[&str]) -> HeadingPath {
    titles.iter().map(|title| Arc::from(*title)).collect()
}

/// A text of one page, a chunk for each of its words.
fn extraction(words: &[(&str, &[&str])]) -> Extraction {
    let text = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" ");
    let mut end_char = 0;
    let chunks = words.iter().map(|(word, headings)| {
        let start_char = if end_char == 0 { 0 } else { end_char + 1 };
        end_char = start_char + word.len() as u32;
        Chunk { page: 1, headings: path(headings), start_char, end_char, text: (*word).to_owned() }
    });
    Extraction { chunks: chunks.collect(), pages: vec![text], words: words.len() as u64, ..Extraction::default() }
}

impl Db {
    async fn store(&self, org: OrgId, asset: AssetId, extraction: &Extraction) -> Asset {
        let mut transaction = self.pool.begin().await.unwrap();
        assert!(assets::store_extraction(&mut transaction, org, asset, extraction).await.unwrap());
        transaction.commit().await.unwrap();
        self.asset_row(org, asset).await
    }

    async fn chunks_of(&self, org: OrgId, asset: AssetId, revision: i32) -> Vec<(String, Vec<String>)> {
        let mut connection = self.connection().await;
        let of = AssetRevision { org, asset, revision };
        let chunks = assets::chunks(&mut connection, of, None, 100).await.unwrap();
        chunks.into_iter().map(|chunk| (chunk.text, chunk.headings)).collect()
    }

    /// An asset that has text and is to be processed again by the job.
    async fn ready_asset(&self, org: OrgId) -> (AssetId, NewJob) {
        let id = JobId::new();
        let asset = self.asset(org, id).await;
        self.store(org, asset, &extraction(&[("old", &[])])).await;
        let job = JobRequest::new("asset.process", json!({ "asset_id": asset })).check(&self.kinds).unwrap();
        let job = NewJob { id, ..job };
        self.accept_one(org, &job).await;
        (asset, job)
    }
}

#[tokio::test]
async fn chunks_are_stored_with_their_headings_and_read_by_their_revision() {
    let db = Db::new().await;
    let org = OrgId::new();
    let asset = db.asset(org, JobId::new()).await;
    assert_eq!(db.asset_row(org, asset).await.revision, 0);
    let words: [(&str, &[&str]); 3] =
        [("one", &[]), ("two", &["Über uns", "a \"b\" {c,d}"]), ("three", &["NULL", "\\"])];
    assert_eq!(db.store(org, asset, &extraction(&words)).await.revision, 1);
    let stored = db.chunks_of(org, asset, 1).await;
    let expected = words.map(|(word, headings)| (word.to_owned(), headings.iter().map(ToString::to_string).collect()));
    assert_eq!(stored, expected);

    assert_eq!(db.store(org, asset, &extraction(&[("new", &["End"])])).await.revision, 2);
    assert_eq!(db.chunks_of(org, asset, 2).await, [("new".to_owned(), vec!["End".to_owned()])]);
    assert_eq!(db.chunks_of(org, asset, 1).await, [], "what was replaced is not there any more");
    let mut connection = db.connection().await;
    for (revision, parts) in [(1, 0), (2, 1)] {
        let of = AssetRevision { org, asset, revision };
        assert_eq!(assets::text_parts(&mut connection, of, 0).await.unwrap().len(), parts);
    }
}

#[tokio::test]
async fn an_asset_with_text_stays_ready_when_its_next_job_fails_or_is_cancelled() {
    let db = Db::new().await;
    let org = OrgId::new();
    for code in ["upstream", "cancelled"] {
        let (asset, job) = db.ready_asset(org).await;
        let mut connection = db.connection().await;
        assert!(assets::reset_pending(&mut connection, org, asset, job.id).await.unwrap());
        let waiting = db.asset_row(org, asset).await;
        assert_eq!((waiting.state, waiting.job_id), (AssetState::Ready, job.id));
        if code == "cancelled" {
            db.cancel(org, job.id).await.unwrap();
        } else {
            db.bury(&failure(&db.row(job.id).await, 1)).await.unwrap();
        }
        let failed = db.asset_row(org, asset).await;
        assert_eq!((failed.state, failed.error_code), (AssetState::Ready, None));
        assert_eq!(failed.reprocess_error_code.as_deref(), Some(code));
        assert!(failed.reprocess_error_message.is_some());
        assert_eq!(db.chunks_of(org, asset, failed.revision).await, [("old".to_owned(), vec![])]);

        let stored = db.store(org, asset, &extraction(&[("new", &[])])).await;
        assert_eq!((stored.revision, stored.reprocess_error_code, stored.reprocess_error_message), (2, None, None));
    }
}

#[tokio::test]
async fn an_asset_that_waits_or_failed_with_text_is_ready_after_the_migration() {
    let db = Db::empty().await;
    let mut connection = db.connection().await;
    for script in BEFORE {
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
    }
    let org = OrgId::new();
    sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(&mut connection).await.unwrap();
    let insert = "INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, job_id, state, pages, words, chunks,
                                      error_code, error_message)
         SELECT gen_random_uuid(), $1, name, 'text/plain', 1, sha256(name::bytea), name, gen_random_uuid(), state, count, count, count,
                error, error
         FROM (VALUES ('new', 'pending', NULL::int, NULL), ('bad', 'failed', NULL, 'malformed'), ('good', 'ready', 1, NULL),
                      ('again', 'pending', 1, NULL), ('spoilt', 'failed', 1, 'limit_time')) AS old (name, state, count, error)";
    sqlx::query(insert).bind(org).execute(&mut connection).await.unwrap();
    sqlx::raw_sql(UP).execute(&mut connection).await.unwrap();
    let told = "SELECT reprocess_error_code FROM assets WHERE name = 'spoilt'";
    assert_eq!(sqlx::query_scalar::<_, String>(told).fetch_one(&mut connection).await.unwrap(), "limit_time");
    for script in [DOWN, UP] {
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
    }
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s: %s, %s, %s', name, state, revision, error_code) FROM assets ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        rows,
        [
            "again: ready, 1, ",
            "bad: failed, 0, malformed",
            "good: ready, 1, ",
            "new: pending, 0, ",
            "spoilt: ready, 1, "
        ]
    );
}
