//! Dead letters are found by what is known of them.

use chrono::Utc;
use millrace_shared::{
    db::{
        dead_letters::{self, DeadLetterFilter},
        queues,
        runs::Failure,
    },
    ids::{JobId, OrgId},
    jobs::{JobRequest, QUEUES, Rate},
    queue::Settings,
};
use serde_json::json;

use crate::support::*;

async fn found(db: &Db, filter: DeadLetterFilter) -> Vec<JobId> {
    let mut connection = db.connection().await;
    let mut ids: Vec<JobId> =
        dead_letters::list(&mut connection, &filter, None, 100).await.unwrap().iter().map(|row| row.id).collect();
    let count = dead_letters::count(&mut connection, &filter).await.unwrap();
    assert_eq!(usize::try_from(count).unwrap(), ids.len());
    assert!(ids.is_sorted_by(|a, b| a > b), "the newest first");
    ids.reverse();
    ids
}

#[tokio::test]
async fn each_filter_finds_what_it_names_and_nothing_else() {
    let db = Db::new().await;
    let (org, other) = (OrgId::new(), OrgId::new());
    let asset = JobRequest::new("asset.process", json!({ "asset_id": JobId::new() })).check(&db.kinds).unwrap();
    let asset = db.accept_one(org, &asset).await.row().clone();
    let encrypted = "100% of it is encrypted, a_b".to_owned();
    let encrypted = Failure { class: "document".to_owned(), error: encrypted, ..failure(&asset, 1) };
    let a = db.bury(&encrypted).await.unwrap().row.id;
    let (b, c) = (db.dead(org).await.id, db.dead(other).await.id);
    db.queued(org).await;
    let none = DeadLetterFilter::default;
    let error = |text: &str| DeadLetterFilter { error: Some(text.to_owned()), ..none() };

    assert_eq!(found(&db, none()).await, [a, b, c]);
    assert_eq!(found(&db, DeadLetterFilter { org: Some(org), ..none() }).await, [a, b]);
    assert_eq!(found(&db, DeadLetterFilter { ids: Some(vec![c, a, JobId::new()]), ..none() }).await, [a, c]);
    assert_eq!(found(&db, DeadLetterFilter { queue: Some(QUEUES[0]), ..none() }).await, [a]);
    assert_eq!(found(&db, DeadLetterFilter { kind: Some("probe".to_owned()), ..none() }).await, [b, c]);
    assert_eq!(found(&db, error("upstream")).await, [b, c], "its class");
    assert_eq!(found(&db, error("the mill")).await, [b, c], "a part of its text, in any case");
    assert_eq!(found(&db, error("100%")).await, [a], "no character means another one");
    assert_eq!(found(&db, error("a_b")).await, [a]);
    assert_eq!(found(&db, error("a-b")).await, [] as [JobId; 0]);
    let since = |seconds| Some(Utc::now() + chrono::Duration::seconds(seconds));
    assert_eq!(found(&db, DeadLetterFilter { since: since(-60), ..none() }).await, [a, b, c]);
    assert_eq!(found(&db, DeadLetterFilter { since: since(60), ..none() }).await, [] as [JobId; 0]);
    let all = DeadLetterFilter { org: Some(org), queue: Some(QUEUES[3]), ..error("upstream") };
    assert_eq!(found(&db, all).await, [b]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let db = Db::new().await;
    let org = OrgId::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(db.dead(org).await.id);
    }
    let mut connection = db.connection().await;
    let filter = DeadLetterFilter { org: Some(org), ..DeadLetterFilter::default() };
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = dead_letters::list(&mut connection, &filter, before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|row| row.id));
    }
    seen.reverse();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_queues_settings_are_kept_and_its_dead_letters_counted() {
    let db = Db::new().await;
    db.dead(OrgId::new()).await;
    let mut connection = db.connection().await;
    assert_eq!(queues::dead_count(&mut connection, QUEUES[3]).await.unwrap(), 1);
    assert_eq!(queues::dead_count(&mut connection, QUEUES[0]).await.unwrap(), 0);
    assert_eq!(queues::settings(&mut connection, QUEUES[3]).await.unwrap(), Settings::default());
    let settings =
        Settings { paused: true, concurrency: Some(5), rate: Some(Rate::per_second(7)), ..Settings::default() };
    for settings in [settings, Settings { paused: false, ..settings }] {
        queues::set(&mut connection, QUEUES[3], settings).await.unwrap();
        assert_eq!(queues::settings(&mut connection, QUEUES[3]).await.unwrap(), settings);
    }
    assert_eq!(queues::settings(&mut connection, QUEUES[0]).await.unwrap(), Settings::default());
}
