//! Real connections at the same time: one job a key, and nobody waits for each other in a circle.

use std::time::Duration;

use millrace_shared::{
    db::{dead_letters::DeadLetterFilter, jobs::JobState},
    ids::OrgId,
    jobs::{
        NewJob,
        OnConflict::{self, Keep, Replace},
    },
    ledger::{self, Accepted, Pace},
};
use tokio::task::JoinSet;

use crate::support::*;

/// Waits until so many connections of the test's database wait for a lock.
pub async fn until_waiting(db: &Db, count: i64) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut connection = db.connection().await;
    for _ in 0..2_000 {
        let now: i64 = sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap();
        if now >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody waits for a lock");
}

/// Submits the same key from many connections at once.
async fn storm(db: &Db, org: OrgId, on_conflict: OnConflict) -> Vec<Accepted> {
    let mut tasks = JoinSet::new();
    for bytes in 0..40 {
        let pool = db.pool.clone();
        tasks.spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            let job = unique("key", on_conflict, bytes);
            let accepted = ledger::accept(&mut transaction, org, &[job]).await.unwrap();
            transaction.commit().await.unwrap();
            accepted
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_submissions_of_one_key_at_once_are_one_job() {
    for on_conflict in [Keep, Replace] {
        let db = Db::new().await;
        let accepted = storm(&db, OrgId::new(), on_conflict).await;
        let new = accepted.iter().filter(|accepted| matches!(accepted, Accepted::New(_))).count();
        assert_eq!((new, db.count("jobs").await), (1, 1), "{on_conflict:?}");
        assert!(accepted.iter().all(|one| one.row().id == accepted[0].row().id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_submissions_of_a_running_jobs_key_at_once_are_one_successor() {
    let db = Db::new().await;
    let org = OrgId::new();
    let holder = db.accept_one(org, &unique("key", Replace, 0)).await.row().id;
    db.begin(holder, 0).await.unwrap();
    let accepted = storm(&db, org, Replace).await;
    let successors = accepted.iter().filter(|accepted| matches!(accepted, Accepted::Successor(_))).count();
    assert_eq!((successors, db.count("jobs").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_is_never_lost_while_its_jobs_end_and_others_are_submitted() {
    let db = Db::new().await;
    let org = OrgId::new();
    for round in 0..40 {
        let holder = db.accept_one(org, &unique("key", Replace, 0)).await.row().id;
        db.begin(holder, 0).await.unwrap();
        let second = unique("key", Replace, 1);
        let (ended, accepted) = tokio::join!(db.succeed(org, holder), db.accept_one(org, &second));
        let unblocked = ended.unwrap().unblocked.map(|row| row.id);
        let next = match accepted {
            Accepted::Successor(row) => {
                assert_eq!(unblocked, Some(row.id), "round {round}");
                row.id
            }
            Accepted::New(row) => row.id,
            other => panic!("round {round}: {other:?}"),
        };
        let row = db.row(next).await;
        assert_eq!((row.state, row.blocked_by), (JobState::Queued, None), "round {round}");
        db.succeed(org, next).await.unwrap();
        assert_eq!(db.count("job_uniques").await, 0, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_with_the_same_keys_in_opposite_orders_do_not_wait_for_each_other() {
    let db = Db::new().await;
    let org = OrgId::new();
    let batch = |backwards: bool| {
        let mut jobs: Vec<NewJob> = (0..20).map(|n| unique(&n.to_string(), Replace, n)).collect();
        if backwards {
            jobs.reverse();
        }
        jobs
    };
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let (pool, jobs) = (db.pool.clone(), batch(n % 2 == 0));
        tasks.spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            ledger::accept(&mut transaction, org, &jobs).await.expect("no deadlock");
            transaction.commit().await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(db.count("jobs").await, 20);
}

/// The end of a holder locks it, the key and the successor; the cancellation of a successor must not go the other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_successor_can_be_cancelled_while_its_holder_ends() {
    let db = Db::new().await;
    let org = OrgId::new();
    let holder = db.accept_one(org, &unique("key", Replace, 0)).await.row().id;
    db.begin(holder, 0).await.unwrap();
    let successor = db.accept_one(org, &unique("key", Replace, 1)).await.row().id;
    let mut blocker = db.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM job_uniques FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let steps = async {
        until_waiting(&db, 2).await;
        blocker.rollback().await.unwrap();
    };
    let cancel = async {
        until_waiting(&db, 1).await;
        db.cancel(org, successor).await
    };
    let (ended, cancelled, ()) = tokio::join!(db.succeed(org, holder), cancel, steps);
    assert!(ended.is_some());
    assert_eq!(cancelled.unwrap().row.state, JobState::Cancelled);
    assert_eq!(db.count("job_uniques").await, 0);
}

async fn replay_all(db: &Db) -> ledger::ReplayPage {
    let mut transaction = db.pool.begin().await.unwrap();
    let filter = DeadLetterFilter::default();
    let page = ledger::replay_page(&mut transaction, &filter, None, 100, Pace::default()).await.unwrap();
    transaction.commit().await.unwrap();
    page
}

/// A dead letter with a unique key.
async fn dead_with_key(db: &Db, org: OrgId, key: &str) -> millrace_shared::ids::JobId {
    let row = db.accept_one(org, &unique(key, Keep, 0)).await.row().clone();
    db.bury(&failure(&row, 1)).await.unwrap().row.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bulk_replay_takes_keys_in_the_order_in_which_submissions_do() {
    let db = Db::new().await;
    let org = OrgId::new();
    // The older job has the later key.
    for key in ["b", "a"] {
        dead_with_key(&db, org, key).await;
    }
    let mut submission = db.pool.begin().await.unwrap();
    ledger::accept(&mut submission, org, &[unique("a", Keep, 1)]).await.unwrap();
    let rest = async {
        until_waiting(&db, 1).await;
        ledger::accept(&mut submission, org, &[unique("b", Keep, 1)]).await.expect("no deadlock");
        submission.commit().await.unwrap();
    };
    let (page, ()) = tokio::join!(replay_all(&db), rest);
    assert_eq!((page.replayed.len(), page.skipped), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bulk_replay_takes_no_key_for_a_job_that_somebody_else_has_replayed() {
    let db = Db::new().await;
    let org = OrgId::new();
    let id = dead_with_key(&db, org, "key").await;
    let mut other = db.pool.begin().await.unwrap();
    ledger::replay(&mut other, &db.kinds, Some(org), id, None).await.unwrap();
    ledger::succeed_one(&mut other, WORKER, org, &success(id)).await.unwrap().unwrap();
    let commit = async {
        until_waiting(&db, 1).await;
        other.commit().await.unwrap();
    };
    let (page, ()) = tokio::join!(replay_all(&db), commit);
    assert!(page.replayed.is_empty());
    assert_eq!(db.row(id).await.state, JobState::Succeeded);
    assert_eq!(db.count("job_uniques").await, 0, "nobody would ever give it back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_letter_is_replayed_by_one_of_two_who_try() {
    let db = Db::new().await;
    let org = OrgId::new();
    for id in [db.dead(org).await.id, dead_with_key(&db, org, "key").await] {
        let (first, second) = tokio::join!(db.replay(Some(org), id, None), db.replay(None, id, None));
        let outcomes = [first.is_ok(), second.is_ok()];
        assert!(outcomes == [true, false] || outcomes == [false, true], "{outcomes:?}");
        assert_eq!(db.row(id).await.replays, 1);
    }
}
