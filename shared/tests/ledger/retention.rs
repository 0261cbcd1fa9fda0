//! What is over is dropped as a whole, and nothing goes with it that somebody may still want.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use millrace_shared::{
    config::RetentionConfig,
    db::{
        self, attempts,
        jobs::JobState,
        partitions::{self, Partition},
        rewrite::{Cutoff, Rewrite},
    },
    ids::{JobId, OrgId},
    ledger::{self, keeping},
};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::{partitions::MONTH, support::*};

/// Drops all that is over.
async fn drop_all(connection: &mut PgConnection, config: &RetentionConfig) -> usize {
    let mut dropped = 0;
    while keeping::drop_expired(connection, config, Utc::now()).await.unwrap().is_some() {
        dropped += 1;
    }
    dropped
}

async fn by_time(connection: &mut PgConnection) -> Vec<Partition> {
    let all = partitions::list(connection).await.unwrap();
    all.into_iter().filter(|partition| !partition.is_kept()).collect()
}

/// The oldest partition, ready to be dropped. Dead letters are over after `dead_letters` days, if ever.
async fn prepare(connection: &mut PgConnection, dead_letters: Option<i64>) -> Rewrite {
    let all = partitions::list(connection).await.unwrap();
    let kept = all.first().filter(|first| first.is_kept());
    let victim = all.iter().find(|partition| !partition.is_kept()).unwrap();
    let before = |days| Utc::now() - TimeDelta::days(days);
    let cutoff = Cutoff { ended: before(30), died: dead_letters.map(before) };
    let rewrite = Rewrite::expired(kept, victim, cutoff);
    rewrite.prepare(connection).await.unwrap();
    rewrite
}

struct Rows {
    waiting: JobId,
    retried: JobId,
    dead: JobId,
    discarded: JobId,
    over: JobId,
    recent: JobId,
}

/// One job of every sort, accepted `days` ago.
async fn one_of_each(db: &Db, org: OrgId, days: i64) -> Rows {
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(db.queued_before(org, days).await);
    }
    assert!(db.retry(&failure(&ids[1], 1), SECOND).await);
    for dead in [&ids[2], &ids[3]] {
        db.bury(&failure(dead, 1)).await.unwrap();
    }
    assert!(ledger::discard(&mut db.connection().await, Some(org), ids[3].id).await.unwrap());
    for ended in [&ids[4], &ids[5]] {
        assert!(db.retry(&failure(ended, 1), SECOND).await);
        db.succeed(org, ended.id).await.unwrap();
    }
    for old in [&ids[2], &ids[3], &ids[4]] {
        db.age_end(old.id, 31).await;
    }
    let [waiting, retried, dead, discarded, over, recent] = ids.iter().map(|row| row.id).collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    Rows { waiting, retried, dead, discarded, over, recent }
}

async fn is_there(db: &Db, id: JobId) -> bool {
    db.place_of(id).await.is_some()
}

#[tokio::test]
async fn a_partition_that_is_over_is_dropped_and_what_must_survive_does() {
    let db = Db::with_past(40).await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let rows = one_of_each(&db, org, 35).await;
    let young = one_of_each(&db, org, 20).await;

    let dropped = drop_all(&mut connection, &MONTH).await;
    assert!((9..=11).contains(&dropped), "{dropped}");
    assert!(by_time(&mut connection).await[0].to.time() > Utc::now() - TimeDelta::days(30));
    for id in [rows.waiting, rows.retried, rows.dead, rows.recent] {
        assert!(db.place_of(id).await.unwrap().starts_with("jobs_kept_"), "{id}");
    }
    assert!(!is_there(&db, rows.over).await && !is_there(&db, rows.discarded).await);
    for id in [young.over, young.discarded] {
        assert!(is_there(&db, id).await, "its partition is not over");
    }
    // The attempts of one that retried, one that died and one that succeeded in its second attempt; six of the young ones.
    assert_eq!(attempts::of_job(&mut connection, org, rows.retried).await.unwrap().len(), 1);
    assert_eq!((db.count("job_attempts").await, db.count("jobs").await), (3 + 5, 4 + 6));

    // They live on where they are.
    assert!(db.begin(rows.waiting, 0).await.is_some());
    db.succeed(org, rows.waiting).await.unwrap();
    assert_eq!(db.replay(Some(org), rows.dead, None).await.unwrap().state, JobState::Queued);
    assert_eq!(drop_all(&mut connection, &MONTH).await, 0);
}

#[tokio::test]
async fn survivors_go_with_a_later_partition_when_they_are_over() {
    let db = Db::with_past(40).await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let rows = one_of_each(&db, org, 39).await;
    let month = keeping::drop_expired(&mut connection, &MONTH, Utc::now());
    month.await.unwrap().unwrap();
    // Where it was accepted 39 days ago, its partition may be the oldest or the one after that.
    drop_all(&mut connection, &RetentionConfig { jobs: Some(Duration::from_secs(38 * 86_400)), ..MONTH }).await;
    db.succeed(org, rows.waiting).await.unwrap();
    for id in [rows.waiting, rows.recent] {
        db.age_end(id, 32).await;
    }
    assert!(is_there(&db, rows.waiting).await, "it is looked at again at the next drop");
    assert!(drop_all(&mut connection, &MONTH).await > 0);
    assert!(!is_there(&db, rows.waiting).await && !is_there(&db, rows.recent).await);
    assert!(is_there(&db, rows.retried).await && is_there(&db, rows.dead).await);
    assert_eq!(partitions::list(&mut connection).await.unwrap().iter().filter(|one| one.is_kept()).count(), 1);
}

#[tokio::test]
async fn dead_letters_have_a_retention_of_their_own() {
    let db = Db::with_past(40).await;
    let mut connection = db.connection().await;
    let rows = one_of_each(&db, OrgId::new(), 35).await;
    let config = |days: u64| RetentionConfig { dead_letters: Some(Duration::from_secs(days * 86_400)), ..MONTH };
    let day = RetentionConfig { jobs: Some(Duration::from_secs(34 * 86_400)), ..config(90) };
    drop_all(&mut connection, &day).await;
    assert!(is_there(&db, rows.dead).await);
    drop_all(&mut connection, &config(31)).await;
    assert!(!is_there(&db, rows.dead).await);
}

#[tokio::test]
async fn nothing_is_dropped_where_retention_is_off() {
    let db = Db::with_past(40).await;
    let mut connection = db.connection().await;
    let off = RetentionConfig { jobs: None, dead_letters: None, webhooks: None };
    assert_eq!(drop_all(&mut connection, &off).await, 0);
    assert_eq!(keeping::look(&mut connection).await.unwrap().lag(&off), None);
    assert!(keeping::look(&mut connection).await.unwrap().lag(&MONTH).unwrap() > TimeDelta::days(8));
    drop_all(&mut connection, &MONTH).await;
    assert_eq!(keeping::look(&mut connection).await.unwrap().lag(&MONTH), None);
}

#[tokio::test]
async fn what_happens_while_survivors_are_copied_is_not_lost() {
    let db = Db::with_past(36).await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let rows = one_of_each(&db, org, 36).await;
    // The dead letter is over and not copied; its replay comes just in time.
    let prepared = prepare(&mut connection, Some(30)).await;
    db.succeed(org, rows.waiting).await.unwrap();
    let retried = db.row(rows.retried).await;
    db.bury(&failure(&retried, 2)).await.unwrap();
    db.replay(Some(org), rows.dead, None).await.unwrap();
    // From a host whose clock is far behind: one that waits, one that is done already.
    let (late, done) = (db.queued_before(org, 36).await.id, db.queued_before(org, 36).await);
    assert!(db.retry(&failure(&done, 1), SECOND).await);
    db.succeed(org, done.id).await.unwrap();

    prepared.swap(&mut connection).await.unwrap();
    for (id, state) in [
        (rows.waiting, JobState::Succeeded),
        (rows.retried, JobState::Dead),
        (rows.dead, JobState::Queued),
        (late, JobState::Queued),
        (done.id, JobState::Succeeded),
        (rows.recent, JobState::Succeeded),
    ] {
        assert_eq!(db.row(id).await.state, state, "{id}");
        assert!(db.place_of(id).await.unwrap().starts_with("jobs_kept_"));
    }
    for (id, count) in [(rows.retried, 2), (done.id, 1), (rows.recent, 1), (rows.over, 0)] {
        assert_eq!(attempts::of_job(&mut connection, org, id).await.unwrap().len(), count, "{id}");
    }
    assert_eq!(db.count("job_changes").await, 0);
}

/// The other side of it: what was worth keeping when it was copied is not any more.
#[tokio::test]
async fn a_dead_letter_that_is_discarded_while_survivors_are_copied_goes() {
    let db = Db::with_past(36).await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let rows = one_of_each(&db, org, 36).await;
    let prepared = prepare(&mut connection, None).await;
    assert!(ledger::discard(&mut connection, Some(org), rows.dead).await.unwrap());
    prepared.swap(&mut connection).await.unwrap();
    assert!(!is_there(&db, rows.dead).await);
    assert_eq!(attempts::of_job(&mut connection, org, rows.dead).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_drop_that_was_killed_half_way_is_done_anew() {
    let db = Db::with_past(36).await;
    let org = OrgId::new();
    let rows = one_of_each(&db, org, 36).await;
    let mut killed = db.connection().await;
    drop(prepare(&mut killed, None).await);
    drop(killed);
    // Life goes on under the trigger that it has left behind.
    db.succeed(org, rows.waiting).await.unwrap();
    let mut connection = db.connection().await;
    assert!(drop_all(&mut connection, &MONTH).await >= 5);
    for id in [rows.waiting, rows.retried, rows.dead, rows.recent] {
        assert!(is_there(&db, id).await, "{id}");
    }
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_class c WHERE relkind = 'r' AND relname LIKE 'job%_next'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(left, 0, "the first attempt's tables are gone");
}

#[tokio::test]
async fn a_reader_in_the_way_costs_a_try_and_nothing_else() {
    let db = Db::with_past(36).await;
    let mut connection = db.connection().await;
    let rows = one_of_each(&db, OrgId::new(), 36).await;
    let prepared = prepare(&mut connection, None).await;
    let mut reader = db.pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM jobs").execute(&mut *reader).await.unwrap();
    let error = prepared.swap(&mut connection).await.unwrap_err();
    assert!(db::is_contention(&error), "{error}");
    let row = db.row(rows.waiting).await;
    assert!(db.retry(&failure(&row, 1), SECOND).await);
    reader.commit().await.unwrap();
    prepared.swap(&mut connection).await.unwrap();
    assert_eq!(db.row(rows.waiting).await.attempt, 1, "what changed between two tries is not lost");
    assert!(!is_there(&db, rows.over).await);
}

/// Clients with clocks all over the month and workers that end what they find, while partitions are made and dropped under them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_notices_that_partitions_come_and_go() {
    let db = Db::with_past(45).await;
    let stop = Arc::new(AtomicBool::new(false));
    let org = OrgId::new();
    let mut clients = JoinSet::new();
    for client in 0..4_i64 {
        let (pool, stop) = (db.pool.clone(), Arc::clone(&stop));
        clients.spawn(async move {
            let mut accepted = Vec::new();
            for round in 0_i64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let batch: Vec<_> = (0..10).map(|n| before((round * 7 + n * 11 + client) % 50 - 5)).collect();
                let mut transaction = pool.begin().await.unwrap();
                let rows = ledger::accept(&mut transaction, org, &batch).await.expect("accepted");
                transaction.commit().await.unwrap();
                let ids: Vec<JobId> = rows.iter().map(|one| one.row().id).collect();
                let mut connection = pool.acquire().await.unwrap();
                let begun = db::runs::begin(&mut connection, &ids, &[0; 10]).await.expect("begun");
                assert_eq!(begun.len(), 10, "what was accepted is found");
                let first = rows[0].row().clone();
                assert!(db::runs::retry(&mut connection, WORKER, &failure(&first, 1), SECOND).await.expect("retried"));
                let ends: Vec<_> = ids[..8].iter().map(|id| success(*id)).collect();
                let ended = db::runs::succeed(&mut connection, WORKER, &ends).await.expect("ended");
                assert_eq!(ended.len(), 8, "an end finds its job");
                accepted.extend(ids);
            }
            accepted
        });
    }
    let mut connection = db.connection().await;
    let mut dropped = 0;
    for round in 0.. {
        let now = Utc::now() + TimeDelta::days(round);
        match keeping::drop_expired(&mut connection, &MONTH, Utc::now()).await {
            Ok(None) => break,
            Ok(Some(_)) => dropped += 1,
            Err(error) => assert!(db::is_contention(&error), "{error}"),
        }
        if let Err(error) = keeping::make_ahead(&mut connection, &MONTH, now).await {
            assert!(db::is_contention(&error), "{error}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let accepted: Vec<JobId> = clients.join_all().await.into_iter().flatten().collect();
    assert!(dropped >= 14 && accepted.len() >= 100, "{dropped} dropped under {} jobs", accepted.len());
    let (jobs, attempts) = (db.count("jobs").await, db.count("job_attempts").await);
    assert_eq!((jobs, attempts), (accepted.len() as i64, accepted.len() as i64 / 10), "nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_drop_at_the_same_time_lose_nothing() {
    let db = Db::with_past(40).await;
    let rows = one_of_each(&db, OrgId::new(), 36).await;
    let (mut first, mut second) = (db.connection().await, db.connection().await);
    let now = Utc::now();
    for _ in 0..20 {
        let drops = tokio::join!(
            keeping::drop_expired(&mut first, &MONTH, now),
            keeping::drop_expired(&mut second, &MONTH, now)
        );
        drops.0.unwrap();
        drops.1.unwrap();
    }
    drop_all(&mut first, &MONTH).await;
    for id in [rows.waiting, rows.retried, rows.dead, rows.recent] {
        assert!(is_there(&db, id).await, "{id}");
    }
    assert_eq!(db.count("jobs").await, 4);
}

#[tokio::test]
async fn all_answers_and_effects_that_are_over_are_forgotten_in_one_round() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let old = JobId::lowest_at(Utc::now() - TimeDelta::days(31));
    for statement in [
        "INSERT INTO idempotency_keys (org_id, idempotency_key, request_digest, created_at) \
         SELECT $1, n::text, '', now() - CASE WHEN n > 5 THEN interval '49 hours' ELSE '47 hours' END FROM generate_series(1, 12000) AS n",
        "INSERT INTO probe_effects (job_id, org_id, attempt, created_at) \
         SELECT $1, $1, 1, now() - CASE WHEN n > 5 THEN interval '31 days' ELSE '29 days' END FROM generate_series(1, 12000) AS n",
    ] {
        sqlx::query(statement).bind(old).execute(&mut connection).await.unwrap();
    }
    keeping::forget_expired(&mut connection, &MONTH, Utc::now()).await.unwrap();
    assert_eq!((db.count("idempotency_keys").await, db.count("probe_effects").await), (5, 5));
}
