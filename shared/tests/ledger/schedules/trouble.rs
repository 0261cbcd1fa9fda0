//! What goes wrong with one schedule, and stops no other.

use super::*;

#[tokio::test]
async fn one_that_is_refused_is_marked_and_stops_no_other() {
    let db = Db::new().await;
    let org = org(&db).await;
    let asset = db.asset(org, JobId::new()).await;
    let gone = Draft { kind: "asset.process".into(), payload: json!({ "asset_id": asset }), ..draft("gone") };
    let gone = create(&db, org, gone).await;
    let strange = create(&db, org, draft("strange")).await;
    let unreadable = create(&db, org, draft("unreadable")).await;
    let good = create(&db, org, draft("good")).await;
    for statement in [
        "DELETE FROM assets",
        r#"UPDATE schedules SET payload = '{"sleep_ms": "soon"}' WHERE name = 'strange'"#,
        "UPDATE schedules SET every_seconds = NULL, cron = '* * * * *', time_zone = 'Mars/Olympus' WHERE name = 'unreadable'",
    ] {
        sqlx::query(statement).execute(&db.pool).await.unwrap();
    }
    overdue(&db, None, TimeDelta::zero()).await;
    assert_eq!(fire(&db, 10).await.ticks.len(), 4);
    assert_eq!(row(&db, &good).await.fired, 1);
    for (made, class, words) in [
        (&gone, "refused", "payload.asset_id: names no asset"),
        (&strange, "refused", "payload.sleep_ms"),
        (&unreadable, "timing", "time_zone"),
    ] {
        let row = row(&db, made).await;
        assert_eq!((row.fired, row.error_class.as_deref()), (0, Some(class)), "{row:?}");
        assert!(row.error.as_deref().is_some_and(|error| error.contains(words)), "{row:?}");
        assert!(row.next_run_at > Utc::now() + TimeDelta::minutes(9), "it has moved on");
    }
    assert_eq!(db.count("jobs").await, 1, "and nothing else was made");
    sqlx::query("UPDATE schedules SET payload = '{}' WHERE name = 'strange'").execute(&db.pool).await.unwrap();
    overdue(&db, Some(strange.id), TimeDelta::zero()).await;
    fire(&db, 10).await;
    assert_eq!(row(&db, &strange).await.error_class, None, "once it works the error is gone");
}

#[tokio::test]
async fn a_kind_that_is_unknown_is_marked_once_and_waits_for_a_worker_that_knows_it() {
    let db = Db::new().await;
    let org = org(&db).await;
    let probe = create(&db, org, draft("probe")).await;
    overdue(&db, Some(probe.id), TimeDelta::minutes(25)).await;
    let work = Kinds::new(KindSet::Work);
    let mut connection = db.connection().await;
    assert!(schedules::fire_due(&mut connection, &work, 10).await.unwrap().ticks.is_empty());
    assert_eq!(schedules::due_in(&mut connection, &work).await.unwrap(), None, "nobody is kept busy by it");
    assert_eq!(schedules::mark_unknown(&mut connection, &work, 10).await.unwrap().len(), 1);
    assert!(schedules::mark_unknown(&mut connection, &work, 10).await.unwrap().is_empty(), "each once");
    let marked = row(&db, &probe).await;
    assert_eq!(marked.error_class.as_deref(), Some("unknown_kind"));
    assert!(marked.failed_at.is_some() && marked.next_run_at < Utc::now());

    assert!(schedules::due_in(&mut connection, &db.kinds).await.unwrap().unwrap() < TimeDelta::minutes(-24));
    assert_eq!(fire(&db, 10).await.ticks.len(), 1);
    let after = row(&db, &probe).await;
    assert_eq!((after.fired, after.missed, after.error_class), (1, 2, None));
}

#[tokio::test]
async fn a_job_whose_key_somebody_holds_is_put_off_and_stops_no_other() {
    let db = Db::new().await;
    let org = org(&db).await;
    let held = create(&db, org, Draft { unique: true, ..draft("held") }).await;
    let free = create(&db, org, Draft { unique: true, ..draft("free") }).await;
    overdue(&db, None, TimeDelta::zero()).await;
    // As a submission with the same key does that takes long to commit.
    let mut other = db.connection().await;
    let mut holding = other.begin().await.unwrap();
    let take = "INSERT INTO job_uniques (org_id, kind, unique_key, job_id) VALUES ($1, 'probe', $2, $3)";
    let key = format!("schedule:{}", held.id);
    sqlx::query(take).bind(org).bind(key).bind(JobId::new()).execute(&mut *holding).await.unwrap();
    let mut transaction = db.pool.begin().await.unwrap();
    sqlx::query("SET LOCAL lock_timeout = '200ms'").execute(&mut *transaction).await.unwrap();
    let round = schedules::fire_due(&mut transaction, &db.kinds, 10).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(round.ticks.iter().filter(|tick| tick.outcome == Outcome::PutOff).count(), 1);
    assert_eq!((row(&db, &held).await.fired, row(&db, &free).await.fired), (0, 1));
    holding.rollback().await.unwrap();
    fire(&db, 10).await;
    assert_eq!((row(&db, &held).await.fired, db.count("jobs").await), (1, 2));
}
