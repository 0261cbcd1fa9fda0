//! Ticks: each counts once.

use super::*;

#[tokio::test]
async fn a_due_tick_makes_one_job_and_moves_on_and_what_is_not_due_does_not() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, draft("one")).await;
    assert_eq!(made.next_run_at - made.created_at, TimeDelta::minutes(10));
    assert!(fire(&db, 10).await.ticks.is_empty());
    overdue(&db, Some(made.id), TimeDelta::zero()).await;
    let round = fire(&db, 10).await;
    let [tick] = &round.ticks[..] else { panic!("{round:?}") };
    let Outcome::Fired(job) = tick.outcome else { panic!("{tick:?}") };
    let job = db.row(job).await;
    assert_eq!((job.org_id, job.payload, job.priority, job.unique_key), (org, json!({ "echo": "one" }), 1, None));
    let after = row(&db, &made).await;
    assert_eq!((after.fired, after.skipped, after.missed, after.last_job_id), (1, 0, 0, Some(job.id)));
    assert!(after.next_run_at - Utc::now() > TimeDelta::minutes(9));
    assert!(fire(&db, 10).await.ticks.is_empty());
}

#[tokio::test]
async fn ten_that_fire_at_the_same_time_fire_each_tick_once() {
    let db = Db::new().await;
    let org = org(&db).await;
    for number in 0..40 {
        create(&db, org, draft(&number.to_string())).await;
    }
    for _ in 0..5 {
        overdue(&db, None, TimeDelta::zero()).await;
        let rounds = (0..10).map(|_| async {
            let mut connection = db.connection().await;
            let mut transaction = connection.begin().await.unwrap();
            let round = schedules::fire_due(&mut transaction, &db.kinds, 7).await.unwrap();
            // Long enough for the others to look at the same rows.
            tokio::time::sleep(Duration::from_millis(100)).await;
            transaction.commit().await.unwrap();
            round.ticks.len()
        });
        let ticked: usize = futures_util::future::join_all(rounds).await.into_iter().sum();
        assert!(ticked <= 40, "{ticked} ticks of 40 schedules");
        while fire(&db, 100).await.goes_on {}
    }
    let (fired, jobs): (i64, i64) =
        sqlx::query_as("SELECT (SELECT sum(fired)::bigint FROM schedules), (SELECT count(*) FROM jobs)")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!((fired, jobs), (200, 200));
}

#[tokio::test]
async fn what_was_missed_is_caught_up_once_and_counted() {
    let db = Db::new().await;
    let org = org(&db).await;
    let interval = create(&db, org, draft("interval")).await;
    let hourly =
        Draft { every: None, cron: Some("0 * * * *".into()), time_zone: Some("Asia/Kolkata".into()), ..draft("cron") };
    let hourly = create(&db, org, hourly).await;
    overdue(&db, None, TimeDelta::minutes(605)).await;
    assert_eq!(fire(&db, 10).await.ticks.len(), 2);
    assert!(fire(&db, 10).await.ticks.is_empty());
    assert_eq!(db.count("jobs").await, 2);
    let (interval, hourly) = (row(&db, &interval).await, row(&db, &hourly).await);
    assert_eq!((interval.fired, interval.missed), (1, 60));
    assert_eq!(hourly.fired, 1);
    assert!((9..=11).contains(&hourly.missed), "{}", hourly.missed);
    let ahead = |row: &ScheduleRow| row.next_run_at - Utc::now();
    assert!(ahead(&interval) > TimeDelta::minutes(4) && ahead(&interval) <= TimeDelta::minutes(5), "it kept its phase");
    assert!(ahead(&hourly) <= TimeDelta::hours(1) && hourly.next_run_at > Utc::now());
    assert_eq!(hourly.next_run_at.timestamp() % 3_600, 1_800, "full hours there are half hours here");
}

#[tokio::test]
async fn a_transaction_that_does_not_end_leaves_the_tick_to_the_next_one() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, draft("one")).await;
    overdue(&db, Some(made.id), TimeDelta::zero()).await;
    let mut connection = db.connection().await;
    let mut transaction = connection.begin().await.unwrap();
    assert_eq!(schedules::fire_due(&mut transaction, &db.kinds, 10).await.unwrap().ticks.len(), 1);
    assert!(fire(&db, 10).await.ticks.is_empty(), "while it is held, others leave it alone");
    drop(transaction);
    connection.close().await.unwrap();
    assert_eq!((db.count("jobs").await, row(&db, &made).await.fired), (0, 0));
    assert_eq!(fire(&db, 10).await.ticks.len(), 1);
    assert_eq!((db.count("jobs").await, row(&db, &made).await.fired), (1, 1));
}

#[tokio::test]
async fn jobs_do_not_pile_up_behind_one_that_has_not_ended() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, Draft { unique: true, ..draft("slow") }).await;
    let mut last = None;
    for _ in 0..3 {
        overdue(&db, Some(made.id), TimeDelta::zero()).await;
        last = Some(fire(&db, 10).await.ticks.remove(0).outcome);
    }
    let after = row(&db, &made).await;
    let job = after.last_job_id.unwrap();
    assert_eq!(last, Some(Outcome::Skipped(job)));
    assert_eq!((db.count("jobs").await, after.fired, after.skipped), (1, 1, 2));
    db.succeed(org, job).await.unwrap();
    overdue(&db, Some(made.id), TimeDelta::zero()).await;
    fire(&db, 10).await;
    assert_eq!((db.count("jobs").await, row(&db, &made).await.fired), (2, 2));
}

#[tokio::test]
async fn a_kind_with_a_unique_key_of_its_own_keeps_it() {
    let db = Db::new().await;
    let org = org(&db).await;
    let asset = db.asset(org, JobId::new()).await;
    let process = Draft { kind: "asset.process".into(), payload: json!({ "asset_id": asset }), ..draft("again") };
    let made = create(&db, org, process).await;
    overdue(&db, Some(made.id), TimeDelta::zero()).await;
    fire(&db, 10).await;
    let job = db.row(row(&db, &made).await.last_job_id.unwrap()).await;
    assert_eq!(job.unique_key, Some(asset.to_string()));
}

#[tokio::test]
async fn a_batch_is_bounded_and_says_that_there_is_more() {
    let db = Db::new().await;
    let org = org(&db).await;
    for number in 0..5 {
        create(&db, org, draft(&number.to_string())).await;
    }
    overdue(&db, None, TimeDelta::zero()).await;
    let rounds = [fire(&db, 2).await, fire(&db, 2).await, fire(&db, 2).await];
    assert_eq!(rounds.map(|round| (round.ticks.len(), round.goes_on)), [(2, true), (2, true), (1, false)]);
}
