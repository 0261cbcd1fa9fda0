//! The migration that partitions the ledger, on a database that holds jobs already.

use millrace_shared::{
    db::{self, jobs::JobState},
    ids::OrgId,
};
use sqlx::PgConnection;

use crate::support::*;

const BEFORE: [&str; 3] = [
    include_str!("../../../migrations/0001_organisations.up.sql"),
    include_str!("../../../migrations/0002_jobs.up.sql"),
    include_str!("../../../migrations/0003_assets.up.sql"),
];
const UP: &str = include_str!("../../../migrations/0005_partitions.up.sql");
const DOWN: &str = include_str!("../../../migrations/0005_partitions.down.sql");

async fn run(connection: &mut PgConnection, script: &'static str) {
    let mut transaction = sqlx::Connection::begin(connection).await.unwrap();
    sqlx::raw_sql(script).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Columns, constraints and indexes of the ledger.
async fn shape(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s %s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) FROM information_schema.columns \
         WHERE table_name IN ('jobs', 'job_attempts') UNION ALL \
         SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint \
         WHERE conrelid IN ('jobs'::regclass, 'job_attempts'::regclass) UNION ALL \
         SELECT replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes WHERE tablename IN ('jobs', 'job_attempts') ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_ledger_with_jobs_is_partitioned_and_put_back_without_losing_any() {
    let db = Db::empty().await;
    let mut connection = db.connection().await;
    for script in BEFORE {
        run(&mut connection, script).await;
    }
    let whole = shape(&mut connection).await;
    let org = OrgId::new();
    let old = db.queued_before(org, 400).await;
    let dead = db.dead(org).await;
    // The host's clock was years ahead.
    let strange = db.accept_one(org, &before(-2_000)).await.row().clone();
    assert!(db.retry(&failure(&strange, 1), SECOND).await);

    run(&mut connection, UP).await;
    for (row, place) in [(&old, "jobs_first"), (&dead, "jobs_first"), (&strange, "jobs_default")] {
        assert_eq!(db.place_of(row.id).await.as_deref(), Some(place));
    }
    assert_eq!(
        (db.count("jobs").await, db.count("job_attempts").await, db.count("job_attempts_default").await),
        (3, 2, 1)
    );
    db.succeed(org, old.id).await.unwrap();
    let late = db.queued(org).await;
    let foreign_key = |line: &&String| !line.contains("FOREIGN KEY");
    assert_eq!(shape(&mut connection).await, whole.iter().filter(foreign_key).cloned().collect::<Vec<_>>());

    run(&mut connection, DOWN).await;
    assert_eq!(shape(&mut connection).await, whole);
    assert_eq!((db.count("jobs").await, db.count("job_attempts").await), (4, 2));
    assert_eq!(db.row(old.id).await.state, JobState::Succeeded);
    db.succeed(org, late.id).await.unwrap();

    run(&mut connection, UP).await;
    assert_eq!(db.count("jobs").await, 4);
}

#[tokio::test]
async fn the_guards_of_the_ledger_hold_in_every_partition() {
    let db = Db::with_past(2).await;
    for days in [0, 1, -300] {
        let row = db.queued_before(OrgId::new(), days).await;
        let half =
            sqlx::query("UPDATE jobs SET state = 'succeeded' WHERE id = $1").bind(row.id).execute(&db.pool).await;
        assert!(db::violates(&half.unwrap_err(), "jobs_queued_is_unfinished"));
        let unknown = sqlx::query("UPDATE jobs SET state = 'lost' WHERE id = $1").bind(row.id).execute(&db.pool).await;
        assert!(unknown.is_err());
        let again =
            sqlx::query("INSERT INTO jobs SELECT * FROM jobs WHERE id = $1").bind(row.id).execute(&db.pool).await;
        assert!(again.unwrap_err().as_database_error().unwrap().is_unique_violation());
    }
}
