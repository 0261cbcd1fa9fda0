//! Search in a database of many parts: what is looked at, what is ranked, and what a rollout leaves.

use std::time::Duration;

use millrace_shared::{
    config::SearchLimits,
    db::assets::{self, Chunk, Extraction, HeadingPath},
    db::search::{Hits, Match, Search, search},
    ids::{AssetId, OrgId},
};
use sqlx::PgConnection;

use crate::support::*;

const LIMITS: SearchLimits = SearchLimits { candidates: 10, concurrency: 1, timeout: Duration::from_secs(5) };

async fn organisation(connection: &mut PgConnection) -> OrgId {
    let org = OrgId::new();
    sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(connection).await.unwrap();
    org
}

/// An English document of one chunk, in this part, stored as a worker of the version before does: without a word of search.
async fn store(connection: &mut PgConnection, org: OrgId, part: Option<i32>, text: &str) -> AssetId {
    let id = AssetId::new();
    sqlx::query(
        "INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, state, job_id, pages, words, chunks, language, search_part)
         VALUES ($1, $2, $4, 'text/plain', 1, sha256(uuid_send($1)), 'none', 'ready', $1, 1, 1, 1, 'en', $3)",
    )
    .bind(id)
    .bind(org)
    .bind(part)
    .bind(format!("in {part:?}"))
    .execute(&mut *connection)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO asset_chunks (org_id, asset_id, ordinal, page, start_char, end_char, text) VALUES ($1, $2, 0, 1, 0, length($3), $3)",
    )
    .bind(org)
    .bind(id)
    .bind(text)
    .execute(connection)
    .await
    .unwrap();
    id
}

async fn found(connection: &mut PgConnection, org: OrgId, text: &str) -> Hits {
    search(connection, &Search { org, text, asset: None, after: None, limit: 50 }, LIMITS).await.unwrap()
}

#[tokio::test]
async fn a_frequent_word_is_ranked_among_the_newest_and_a_rare_one_is_found_anywhere() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    for part in 0..40 {
        let rare = if part == 1 { " and a turbine" } else { "" };
        let middling = if part % 2 == 0 { " and a sluice" } else { "" };
        store(&mut connection, org, Some(part), &format!("The mill{rare}{middling}")).await;
    }
    let parts = |hits: &Hits| -> Vec<i32> {
        let number =
            |hit: &millrace_shared::db::search::Hit| hit.name["in Some(".len()..hit.name.len() - 1].parse().unwrap();
        hits.items.iter().map(number).collect()
    };
    // Ten of the newest two groups of eight parts, 24 to 39, because the newest two parts have two.
    let frequent = found(&mut connection, org, "mills").await;
    assert_eq!((frequent.items.len(), frequent.found_by), (10, Match::Words));
    assert!(parts(&frequent).iter().all(|part| *part >= 24), "{:?}", parts(&frequent));
    // Those groups have eight of these: all are looked at.
    assert_eq!(found(&mut connection, org, "sluice").await.items.len(), 10);
    let rare = found(&mut connection, org, "turbines").await;
    assert_eq!((parts(&rare), rare.found_by), (vec![1], Match::Words));
    for _ in 0..10 {
        store(&mut connection, org, Some(39), "Another mill").await;
    }
    let newest = parts(&found(&mut connection, org, "mill").await);
    assert!(newest.iter().all(|part| *part >= 38), "{newest:?}");
}

#[tokio::test]
async fn documents_begin_a_new_part_when_the_newest_is_full() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    let other = organisation(&mut connection).await;
    let part = async |connection: &mut PgConnection, asset: AssetId| -> Option<i32> {
        sqlx::query_scalar("SELECT search_part FROM assets WHERE id = $1")
            .bind(asset)
            .fetch_one(connection)
            .await
            .unwrap()
    };
    let first = store(&mut connection, org, None, "The mill").await;
    assert_eq!(part(&mut connection, first).await, Some(0));
    sqlx::query("UPDATE assets SET chunks = 16384 WHERE id = $1").bind(first).execute(&mut connection).await.unwrap();
    let second = store(&mut connection, org, None, "The mill again").await;
    assert_eq!(part(&mut connection, second).await, Some(1));
    let theirs = store(&mut connection, other, None, "The mill").await;
    assert_eq!(part(&mut connection, theirs).await, Some(0), "each organisation has parts of its own");
    assert_eq!(found(&mut connection, org, "mill").await.items.len(), 2);
}

#[tokio::test]
async fn many_small_documents_fill_a_part_too() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    // A part of small documents, full.
    sqlx::query(
        "INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, state, job_id, pages, words, chunks, search_part)
         SELECT id, $1, 'small', 'text/plain', 1, sha256(uuid_send(id)), 'none', 'ready', id, 1, 1, 1, 3
         FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 16384)) AS made",
    )
    .bind(org)
    .execute(&mut connection)
    .await
    .unwrap();
    let next: Vec<i32> = sqlx::query_scalar("SELECT search_next_part($1) FROM generate_series(1, 3000)")
        .bind(org)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let begun = next.iter().filter(|part| **part == 4).count();
    // Of one in 64 the chance that 3,000 tries are fewer than 10 or more than 150 is below one in a billion.
    assert!((10..150).contains(&begun) && next.iter().all(|part| [3, 4].contains(part)), "{begun}");
}

#[tokio::test]
async fn words_of_a_text_that_was_replaced_are_offered_no_more() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    let asset = store(&mut connection, org, None, "The turbnie").await;
    let text = "The turbine".to_owned();
    let chunk = Chunk { page: 1, headings: HeadingPath::default(), start_char: 0, end_char: 11, text: text.clone() };
    let extraction = Extraction {
        title: None,
        author: None,
        created: None,
        modified: None,
        language: Some("en".to_owned()),
        pages: vec![text],
        words: 2,
        chunks: vec![chunk],
        warnings: Vec::new(),
    };
    assert!(assets::store_extraction(&mut connection, org, asset, &extraction).await.unwrap());
    let hits = found(&mut connection, org, "turbnie").await;
    assert_eq!((hits.items.len(), hits.found_by), (1, Match::Similar));
}

#[tokio::test]
async fn a_document_that_waits_again_is_not_found_and_the_words_of_its_chunks_are_kept_twice_at_most() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    let mut assets = Vec::new();
    for _ in 0..20 {
        assets.push(store(&mut connection, org, None, "The turbine").await);
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM search_words WHERE word = 'turbin'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!((1..=2).contains(&kept), "{kept}");
    sqlx::query("UPDATE assets SET state = 'pending' WHERE id = $1")
        .bind(assets[0])
        .execute(&mut connection)
        .await
        .unwrap();
    let limits = SearchLimits { candidates: 50, ..LIMITS };
    let all = search(&mut connection, &Search { org, text: "turbine", asset: None, after: None, limit: 50 }, limits)
        .await
        .unwrap();
    assert_eq!(all.items.len(), 19);
    assert!(all.items.iter().all(|hit| hit.asset != assets[0]));
}

#[tokio::test]
async fn a_search_over_its_time_is_told_and_leaves_its_connection_as_it_was() {
    let db = Db::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let org = organisation(&mut connection).await;
    store(&mut connection, org, None, "The turbine").await;
    let before: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut *connection).await.unwrap();
    let mut locker = db.connection().await;
    let mut lock = sqlx::Connection::begin(&mut locker).await.unwrap();
    sqlx::raw_sql("LOCK TABLE asset_chunks").execute(&mut *lock).await.unwrap();
    let limits = SearchLimits { timeout: Duration::from_millis(200), ..LIMITS };
    let asked = Search { org, text: "turbine", asset: None, after: None, limit: 50 };
    let error = search(&mut connection, &asked, limits).await.unwrap_err();
    assert!(millrace_shared::db::is_contention(&error), "{error}");
    drop(lock);
    drop(locker);
    assert_eq!(search(&mut connection, &asked, LIMITS).await.unwrap().items.len(), 1);
    let after: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&mut *connection).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn signs_by_which_highlights_are_told_are_like_any_other_in_a_text() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = organisation(&mut connection).await;
    let text = "The \u{2}old\u{1} mill\u{3}s <b>turbine</b>\u{1}, & 水\u{3}車";
    store(&mut connection, org, None, text).await;
    for (q, highlight) in [("turbines", "turbine"), ("mill", "mill"), ("車", "車")] {
        let hits = found(&mut connection, org, q).await;
        let fragments = &hits.items[0].snippet.fragments;
        assert_eq!(fragments.iter().map(|fragment| fragment.text.as_str()).collect::<String>(), text);
        let highlights = fragments.iter().filter(|fragment| fragment.highlight).map(|fragment| fragment.text.as_str());
        assert_eq!(highlights.collect::<Vec<_>>(), [highlight]);
    }
}
