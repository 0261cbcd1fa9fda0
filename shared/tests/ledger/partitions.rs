//! Partitions are there before they are needed, and what came before them finds its place.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::{
    config::RetentionConfig,
    db::{
        self, attempts,
        jobs::JobState,
        partitions::{self, Partition},
    },
    ids::OrgId,
    ledger::keeping::{self, AHEAD, Round},
};
use sqlx::PgConnection;

use crate::{concurrency::until_waiting, support::*};

pub const MONTH: RetentionConfig =
    RetentionConfig { jobs: Some(Duration::from_secs(30 * 24 * 3600)), dead_letters: None, webhooks: None };

async fn make(connection: &mut PgConnection, now: DateTime<Utc>) -> Round {
    keeping::make_ahead(connection, &MONTH, now).await.unwrap()
}

/// Asserts that both tables are cut alike, and where there are holes.
async fn holes(connection: &mut PgConnection) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let cut = "SELECT array_agg(replace(c.relname, $1 || '_', '') || pg_get_expr(c.relpartbound, c.oid) ORDER BY 1) FROM pg_inherits i \
               JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass";
    let [jobs, attempts]: [Vec<String>; 2] = [
        sqlx::query_scalar(cut).bind("jobs").fetch_one(&mut *connection).await.unwrap(),
        sqlx::query_scalar(cut).bind("job_attempts").fetch_one(&mut *connection).await.unwrap(),
    ];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(jobs), sorted(attempts));
    let all: Vec<Partition> = partitions::list(connection).await.unwrap();
    assert_eq!(all[0].from, None, "nothing is below the first");
    let holes = all.windows(2).filter(|pair| Some(pair[0].to) != pair[1].from);
    holes.map(|pair| (pair[0].to.time(), pair[1].from.unwrap().time())).collect()
}

#[tokio::test]
async fn a_new_ledger_gets_days_ahead_and_no_more_in_a_second_round() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let now = Utc::now();
    let round = make(&mut connection, now).await;
    assert!(round.made >= 2 && round.moved == 0, "{round:?}");
    assert_eq!(holes(&mut connection).await, []);
    let last = partitions::list(&mut connection).await.unwrap().pop().unwrap();
    assert!(last.to.time() >= now + AHEAD && last.to.time() == midnight((last.to.time() - midnight(0)).num_days()));
    assert_eq!(make(&mut connection, now).await, Round::default());
    assert_eq!(make(&mut connection, now + TimeDelta::days(1)).await.made, 1);
    assert_eq!(holes(&mut connection).await, []);
}

#[tokio::test]
async fn jobs_without_a_partition_are_accepted_done_and_moved_with_their_attempts_when_there_is_one() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let (soon, later) = (db.queued_before(org, -3).await, db.queued_before(org, -60).await);
    for row in [&soon, &later] {
        assert_eq!(db.place_of(row.id).await.unwrap(), "jobs_default");
        assert!(db.begin(row.id, 0).await.is_some());
        assert!(db.retry(&failure(row, 1), SECOND).await);
    }
    assert_eq!(keeping::look(&mut connection).await.unwrap().in_default, 2);

    assert_eq!(make(&mut connection, Utc::now()).await.moved, 1);
    assert!(db.place_of(soon.id).await.unwrap().starts_with("jobs_p"));
    assert_eq!(db.place_of(later.id).await.unwrap(), "jobs_default");
    for row in [&soon, &later] {
        assert_eq!(attempts::of_job(&mut connection, org, row.id).await.unwrap().len(), 1);
        db.succeed(org, row.id).await.unwrap();
    }
    assert_eq!(db.count("job_attempts_default").await, 1);
}

/// The present is in the default partition then, and so is everything since the last one ended.
#[tokio::test]
async fn after_weeks_without_a_worker_everything_finds_its_place() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let mut rows = Vec::new();
    for days in 0..20 {
        rows.push(db.queued_before(org, -days).await);
    }
    let now = Utc::now() + TimeDelta::days(20);
    let round = make(&mut connection, now).await;
    assert!(round.moved >= 17, "{round:?}");
    assert_eq!((db.count("jobs_default").await, db.count("jobs").await), (0, 20));
    assert_eq!(holes(&mut connection).await, []);
    for row in rows {
        assert_eq!(db.succeed(org, row.id).await.unwrap().row.state, JobState::Succeeded);
    }
}

#[tokio::test]
async fn a_time_that_nothing_was_accepted_in_needs_no_partition() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let now = Utc::now() + TimeDelta::days(20);
    let round = make(&mut connection, now).await;
    assert!(round.made <= 6, "{round:?}");
    let [(from, until)] = holes(&mut connection).await[..] else { panic!("one hole") };
    assert!(until > now && until < now + TimeDelta::seconds(10) && from < now - TimeDelta::days(17));
    // Somebody comes late into it.
    let late = db.queued_before(OrgId::new(), -10).await;
    let round = make(&mut connection, now).await;
    assert_eq!((round.made, round.moved), (1, 1));
    assert_eq!(holes(&mut connection).await, []);
    assert!(db.place_of(late.id).await.unwrap().starts_with("jobs_p"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_in_the_way_makes_nothing_and_holds_nobody_up() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let org = OrgId::new();
    let mut reader = db.pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM jobs").execute(&mut *reader).await.unwrap();
    let (made, accepted) = tokio::join!(keeping::make_ahead(&mut connection, &MONTH, Utc::now()), async {
        until_waiting(&db, 1).await;
        db.queued(org).await
    });
    assert!(db::is_contention(&made.unwrap_err()));
    assert_eq!(partitions::list(&mut connection).await.unwrap().len(), 1);
    reader.commit().await.unwrap();
    assert!(make(&mut connection, Utc::now()).await.made > 0);
    assert_eq!(db.row(accepted.id).await.state, JobState::Queued);
}
