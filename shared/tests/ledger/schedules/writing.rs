//! Making, changing, pausing and running them.

use super::*;

#[tokio::test]
async fn a_paused_schedule_makes_nothing_and_goes_on_with_the_next_tick() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, draft("one")).await;
    let pause = |paused| Change { paused: Some(paused), ..Change::default() };
    change(&db, org, made.id, pause(true)).await.unwrap();
    overdue(&db, Some(made.id), TimeDelta::minutes(25)).await;
    assert!(fire(&db, 10).await.ticks.is_empty());
    let resumed = change(&db, org, made.id, pause(false)).await.unwrap();
    let ahead = resumed.next_run_at - Utc::now();
    assert!(ahead > TimeDelta::minutes(4) && ahead <= TimeDelta::minutes(5), "{ahead}");
    assert!(fire(&db, 10).await.ticks.is_empty(), "what went by is not caught up");
    assert_eq!((db.count("jobs").await, row(&db, &made).await.missed), (0, 0));
}

#[tokio::test]
async fn running_one_now_leaves_its_next_tick_where_it_is() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, Draft { unique: true, ..draft("one") }).await;
    let run = async |org, id| {
        let mut transaction = db.pool.begin().await.unwrap();
        let accepted = schedules::run_now(&mut transaction, (org, id), &db.kinds, None).await.unwrap();
        transaction.commit().await.unwrap();
        accepted.map(|accepted| accepted.into_row().id)
    };
    let first = run(org, made.id).await.unwrap();
    assert_eq!(run(org, made.id).await, Some(first), "it has not ended");
    assert_eq!(run(OrgId::new(), made.id).await, None);
    let after = row(&db, &made).await;
    assert_eq!((after.next_run_at, after.last_job_id, after.fired), (made.next_run_at, Some(first), 0));
    assert_eq!(db.row(first).await.state, JobState::Queued);
}

#[tokio::test]
async fn another_timing_begins_now_and_other_changes_leave_the_next_tick_alone() {
    let db = Db::new().await;
    let org = org(&db).await;
    let made = create(&db, org, draft("one")).await;
    let soon = |next: DateTime<Utc>| next - Utc::now();
    let named = change(&db, org, made.id, Change { name: Some("two".into()), ..Change::default() }).await.unwrap();
    assert_eq!((named.name.as_str(), named.next_run_at), ("two", made.next_run_at));
    let hourly = Change { every: Some("1h".into()), ..Change::default() };
    let hourly = change(&db, org, made.id, hourly).await.unwrap();
    assert!(soon(hourly.next_run_at) > TimeDelta::minutes(59), "{hourly:?}");
    let cron = Change { cron: Some("0 8 * * *".into()), ..Change::default() };
    let cron = change(&db, org, made.id, cron).await.unwrap();
    assert_eq!((cron.every_seconds, cron.time_zone.as_deref()), (None, Some("UTC")));
    assert_eq!(cron.next_run_at.format("%H:%M:%S").to_string(), "08:00:00");
    let zone = Change { time_zone: Some("Asia/Tokyo".into()), ..Change::default() };
    let zone = change(&db, org, made.id, zone).await.unwrap();
    assert_eq!(
        (zone.cron.as_deref(), zone.next_run_at.format("%H:%M").to_string()),
        (Some("0 8 * * *"), "23:00".to_owned())
    );
    let every = Change { every: Some("5m".into()), ..Change::default() };
    let every = change(&db, org, made.id, every).await.unwrap();
    assert_eq!((every.cron, every.time_zone, every.every_seconds), (None, None, Some(300)));
    for (wrong, field) in [
        (Change { time_zone: Some("Asia/Tokyo".into()), ..Change::default() }, "time_zone"),
        (Change { payload: Some(json!({ "colour": 1 })), ..Change::default() }, "payload.colour"),
        (Change { every: Some("0s".into()), ..Change::default() }, "every"),
        (Change { name: Some(" ".into()), ..Change::default() }, "name"),
    ] {
        let Err(ChangeError::Invalid(fields)) = change(&db, org, made.id, wrong).await else { panic!("{field}") };
        assert_eq!(fields[0].field, field);
    }
    assert_eq!(row(&db, &made).await.every_seconds, Some(300), "what is refused changes nothing");
}

#[tokio::test]
async fn nothing_of_another_organisations_schedules_is_found_or_changed() {
    let db = Db::new().await;
    let (owner, other) = (org(&db).await, org(&db).await);
    let made = create(&db, owner, draft("one")).await;
    let mut connection = db.connection().await;
    assert!(rows::get(&mut connection, other, made.id).await.unwrap().is_none());
    assert!(rows::list(&mut connection, Some(other), None, 10).await.unwrap().is_empty());
    assert!(!rows::delete(&mut connection, other, made.id).await.unwrap());
    let paused = Change { paused: Some(true), ..Change::default() };
    assert!(matches!(change(&db, other, made.id, paused).await, Err(ChangeError::NotFound)));
    assert!(!row(&db, &made).await.paused);
    assert_eq!(rows::list(&mut connection, None, None, 10).await.unwrap().len(), 1, "operators see all");
    assert!(rows::delete(&mut connection, owner, made.id).await.unwrap());
}

#[tokio::test]
async fn an_organisation_has_no_more_than_it_may_have_however_many_are_made_at_once() {
    let db = Db::new().await;
    let (org, other) = (org(&db).await, org(&db).await);
    let limits = ScheduleLimits { most: 3, ..LIMITS };
    let attempts = (0..8).map(|_| async {
        let mut connection = db.connection().await;
        let mut transaction = connection.begin().await.unwrap();
        let made = schedules::create(&mut transaction, org, draft("one"), (&db.kinds, &limits)).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        transaction.commit().await.unwrap();
        made.is_ok()
    });
    let made = futures_util::future::join_all(attempts).await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 3);
    create(&db, other, draft("theirs")).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_new_one_is_told_by_its_field() {
    let db = Db::new().await;
    let org = org(&db).await;
    let nobodys = json!({ "asset_id": AssetId::new() });
    for (wrong, expected) in [
        (Draft { name: " \n".into(), ..draft("") }, vec!["name"]),
        (Draft { kind: "no.such".into(), ..draft("x") }, vec!["kind"]),
        (Draft { kind: "webhook.deliver".into(), ..draft("x") }, vec!["kind"]),
        (Draft { payload: json!({ "sleep_ms": -1 }), ..draft("x") }, vec!["payload.sleep_ms"]),
        (Draft { kind: "asset.process".into(), payload: nobodys, ..draft("x") }, vec!["payload.asset_id"]),
        (Draft { every: None, ..draft("x") }, vec!["every"]),
        (
            Draft { name: String::new(), kind: "no".into(), every: Some("1".into()), ..draft("x") },
            vec!["name", "kind", "every"],
        ),
    ] {
        let error = try_create(&db, org, wrong.clone()).await.expect_err("refused");
        assert_eq!(fields(error), expected, "{wrong:?}");
    }
    let slow = ScheduleLimits { min_interval: Duration::from_secs(600), most: 10 };
    let mut connection = db.connection().await;
    for (every, cron, field) in [(Some("599s"), None, "every"), (None, Some("0,5 8 * * *"), "cron")] {
        let often = Draft { every: every.map(str::to_owned), cron: cron.map(str::to_owned), ..draft("x") };
        let error = schedules::create(&mut connection, org, often, (&db.kinds, &slow)).await.expect_err("too often");
        assert_eq!(fields(error), [field]);
    }
    let hourly = Draft { every: None, cron: Some("0 * * * *".into()), ..draft("x") };
    schedules::create(&mut connection, org, hourly, (&db.kinds, &slow)).await.expect("seldom enough");
    assert_eq!(db.count("schedules").await, 1);
}
