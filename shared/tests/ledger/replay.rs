//! Dead letters come back, one or many.

use std::time::Duration;

use millrace_shared::{
    db::{dead_letters::DeadLetterFilter, jobs::JobState},
    ids::{JobId, OrgId},
    jobs::OnConflict::Keep,
    ledger::{self, Pace, ReplayError, ReplayPage},
};
use serde_json::json;

use crate::support::*;

async fn page(db: &Db, filter: &DeadLetterFilter, after: Option<JobId>, limit: u32, pace: Pace) -> ReplayPage {
    let mut transaction = db.pool.begin().await.unwrap();
    let page = ledger::replay_page(&mut transaction, filter, after, limit, pace).await.unwrap();
    transaction.commit().await.unwrap();
    page
}

async fn dead(db: &Db, org: OrgId, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(db.dead(org).await.id);
    }
    ids
}

#[tokio::test]
async fn a_replayed_job_keeps_its_id_and_history_and_gets_a_fresh_budget() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.queued(org).await;
    for attempt in 1..5 {
        assert!(db.retry(&failure(&row, attempt), SECOND).await);
    }
    db.bury(&failure(&row, 5)).await.unwrap();
    let replayed = db.replay(Some(org), row.id, None).await.unwrap();
    assert_eq!((replayed.id, replayed.state, replayed.replays), (row.id, JobState::Queued, 1));
    assert_eq!((replayed.attempt, replayed.max_attempts), (5, 10), "as many again as it was submitted with");
    assert_eq!((replayed.delay_ms, replayed.snoozes, replayed.finished_at), (0, 0, None));
    assert!(replayed.to_queue().is_some());
    assert_eq!(db.count("job_attempts").await, 5);
    for attempt in 6..11 {
        assert!(db.retry(&failure(&row, attempt), SECOND).await);
    }
    db.bury(&failure(&row, 11)).await.unwrap();
    assert_eq!(db.replay(None, row.id, None).await.unwrap().max_attempts, 16, "and once more");
    assert_eq!(db.count("job_attempts").await, 11);
}

#[tokio::test]
async fn a_payload_can_be_edited_but_must_fit_the_kind() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.dead(org).await;
    let bad = db.replay(Some(org), row.id, Some(json!({ "colour": "red" }))).await;
    assert!(matches!(bad, Err(ReplayError::Payload(fields)) if fields[0].field == "payload.colour"));
    assert_eq!(db.row(row.id).await.state, JobState::Dead);
    let replayed = db.replay(Some(org), row.id, Some(json!({ "bytes": 9 }))).await.unwrap();
    assert_eq!(replayed.payload, json!({ "bytes": 9 }));
    assert!(replayed.revision > row.revision, "so that a copy in Redis is known to be old");
}

#[tokio::test]
async fn only_a_dead_letter_of_the_organisation_is_replayed() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (queued, dead) = (db.queued(org).await, db.dead(org).await);
    for (org, id) in [(org, queued.id), (org, JobId::new()), (OrgId::new(), dead.id)] {
        assert!(matches!(db.replay(Some(org), id, None).await, Err(ReplayError::NotFound)));
    }
    db.replay(Some(org), dead.id, None).await.unwrap();
    assert!(matches!(db.replay(Some(org), dead.id, None).await, Err(ReplayError::NotFound)), "once");
}

#[tokio::test]
async fn a_job_whose_key_is_taken_is_refused_and_takes_it_otherwise() {
    let db = Db::new().await;
    let org = OrgId::new();
    let first = db.accept_one(org, &unique("key", Keep, 1)).await.row().clone();
    db.bury(&failure(&first, 1)).await.unwrap();
    let second = db.accept_one(org, &unique("key", Keep, 2)).await.row().id;
    let refused = db.replay(Some(org), first.id, None).await;
    assert!(matches!(refused, Err(ReplayError::UniqueKeyTaken(holder)) if holder == second));
    db.succeed(org, second).await.unwrap();
    db.replay(Some(org), first.id, None).await.unwrap();
    let again = db.accept_one(org, &unique("key", Keep, 3)).await;
    assert_eq!(again.row().id, first.id, "it holds its key again");
    db.succeed(org, first.id).await.unwrap();
    assert_eq!(db.count("job_uniques").await, 0);
}

#[tokio::test]
async fn a_discarded_dead_letter_is_gone_from_the_list_but_not_from_the_ledger() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.accept_one(org, &unique("key", Keep, 1)).await.row().clone();
    db.bury(&failure(&row, 1)).await.unwrap();
    let mut connection = db.connection().await;
    assert!(!ledger::discard(&mut connection, Some(OrgId::new()), row.id).await.unwrap(), "another's");
    assert!(ledger::discard(&mut connection, Some(org), row.id).await.unwrap());
    assert!(!ledger::discard(&mut connection, Some(org), row.id).await.unwrap(), "once");
    assert_eq!(db.row(row.id).await.state, JobState::Dead);
    assert_eq!(db.count("job_attempts").await, 1);
    assert!(matches!(db.replay(Some(org), row.id, None).await, Err(ReplayError::NotFound)));
    assert_eq!(db.count("job_uniques").await, 0, "and takes no key");
}

#[tokio::test]
async fn a_bulk_replay_goes_page_by_page_the_oldest_first() {
    let db = Db::new().await;
    let org = OrgId::new();
    let ids = dead(&db, org, 7).await;
    dead(&db, OrgId::new(), 2).await;
    let filter = DeadLetterFilter { org: Some(org), ..DeadLetterFilter::default() };
    let (mut after, mut replayed) = (None, Vec::new());
    for expected in [3, 3, 1] {
        let page = page(&db, &filter, after, 3, Pace::default()).await;
        assert_eq!(page.replayed.len(), expected);
        assert!(page.replayed.iter().all(|row| row.delay_ms == 0));
        replayed.extend(page.replayed.iter().map(|row| row.id));
        after = page.next;
    }
    assert_eq!((replayed, after), (ids, None));
}

#[tokio::test]
async fn a_rate_spaces_the_replayed_jobs_over_all_pages() {
    let db = Db::new().await;
    let org = OrgId::new();
    dead(&db, org, 5).await;
    let filter = DeadLetterFilter::default();
    let pace = Pace { rate_per_s: Some(2.0), already: 0 };
    let first = page(&db, &filter, None, 3, pace).await;
    let second = page(&db, &filter, first.next, 3, Pace { already: 3, ..pace }).await;
    let delays: Vec<i64> = first.replayed.iter().chain(&second.replayed).map(|row| row.delay_ms).collect();
    assert_eq!(delays, [0, 500, 1_000, 1_500, 2_000]);
}

#[tokio::test]
async fn a_rate_of_next_to_nothing_is_no_error() {
    let db = Db::new().await;
    for rate in [0.0, 1e-300, f64::NAN, -1.0] {
        dead(&db, OrgId::new(), 2).await;
        let pace = Pace { rate_per_s: Some(rate), already: 1 };
        let page = page(&db, &DeadLetterFilter::default(), None, 10, pace).await;
        assert_eq!(page.replayed.len(), 2, "{rate}");
        let longest = i64::try_from(millrace_shared::jobs::MAX_DELAY.as_millis()).unwrap();
        assert!(page.replayed.iter().all(|row| row.delay_ms == longest), "{rate}");
    }
}

#[tokio::test]
async fn a_bulk_replay_leaves_alone_what_cannot_have_its_key() {
    let db = Db::new().await;
    let org = OrgId::new();
    let mut ids = Vec::new();
    for bytes in 0..2 {
        let row = db.accept_one(org, &unique("key", Keep, bytes)).await.row().clone();
        ids.push(db.bury(&failure(&row, 1)).await.unwrap().row.id);
    }
    ids.push(db.dead(org).await.id);
    let pace = Pace { rate_per_s: Some(1.0), already: 0 };
    let page = page(&db, &DeadLetterFilter::default(), None, 10, pace).await;
    let replayed: Vec<JobId> = page.replayed.iter().map(|row| row.id).collect();
    assert_eq!((replayed, page.skipped), (vec![ids[0], ids[2]], 1), "the older one of two with one key");
    assert_eq!(page.replayed[1].delay_ms, 1_000, "what is left alone takes no place in the pace");
    assert_eq!(db.row(ids[1]).await.state, JobState::Dead);
}

#[tokio::test]
async fn a_bulk_discard_goes_on_until_nothing_is_left() {
    let db = Db::new().await;
    let org = OrgId::new();
    dead(&db, org, 7).await;
    let other = db.dead(OrgId::new()).await.id;
    let filter = DeadLetterFilter { org: Some(org), ..DeadLetterFilter::default() };
    let mut connection = db.connection().await;
    for expected in [3, 3, 1, 0] {
        assert_eq!(ledger::discard_page(&mut connection, &filter, 3).await.unwrap(), expected);
    }
    assert!(ledger::discard(&mut connection, None, other).await.unwrap(), "the other organisation's is left");
}

#[tokio::test]
async fn a_replayed_job_can_wait_for_a_day() {
    let db = Db::new().await;
    dead(&db, OrgId::new(), 1).await;
    let pace = Pace { rate_per_s: Some(1.0), already: 86_400 };
    let page = page(&db, &DeadLetterFilter::default(), None, 10, pace).await;
    assert_eq!(page.replayed[0].to_queue().unwrap().delay, Duration::from_secs(86_400));
}
