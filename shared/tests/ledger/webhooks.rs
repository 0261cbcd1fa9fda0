//! Deliveries of webhooks: what is remembered, and for how long.

use std::time::Duration;

use millrace_shared::{
    config::RetentionConfig,
    db::{
        dead_letters::DeadLetterFilter,
        webhooks::{self, Arrival, NewSource},
    },
    ids::{EventId, JobId, OrgId, SourceId},
    ledger::{self, keeping},
    webhook::Scheme,
};

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Deliveries {
    db: Db,
    org: OrgId,
    source: SourceId,
}

impl Deliveries {
    async fn new() -> Self {
        let (db, org, source) = (Db::new().await, OrgId::new(), SourceId::new());
        let mut connection = db.connection().await;
        sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(&mut connection).await.unwrap();
        let new = NewSource {
            connection_id: None,
            id: source,
            org,
            name: "Weir",
            scheme: &Scheme::Github {},
            kind: "probe",
            tolerance_seconds: 300,
        };
        webhooks::create(&mut connection, &new).await.unwrap();
        Self { db, org, source }
    }

    /// A delivery of so many days ago; `None` if it is known.
    async fn arrive(&self, fingerprint: u8, job: JobId, days: i32) -> Option<EventId> {
        let id = EventId::new();
        let arrival = Arrival {
            id,
            org: self.org,
            source: self.source,
            fingerprint: [fingerprint; 32],
            content_type: None,
            body: b"{}".to_vec(),
            job,
        };
        let mut connection = self.db.connection().await;
        let new = webhooks::insert_new(&mut connection, &[&arrival]).await.unwrap();
        sqlx::query("UPDATE webhook_events SET received_at = now() - $2 * interval '1 day' WHERE id = $1")
            .bind(id)
            .bind(days)
            .execute(&mut connection)
            .await
            .unwrap();
        new.contains(&id).then_some(id)
    }

    async fn forget(&self, age: Option<Duration>) {
        let retention = RetentionConfig { jobs: None, dead_letters: None, webhooks: age };
        let now = chrono::Utc::now();
        keeping::forget_expired(&mut self.db.connection().await, &retention, now).await.unwrap();
    }

    async fn is_known(&self, id: EventId) -> bool {
        webhooks::event(&mut self.db.connection().await, self.org, id).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_delivery_is_remembered_for_as_long_as_was_said_and_counts_as_new_after_that() {
    let all = Deliveries::new().await;
    let (old, young) = (all.arrive(1, JobId::new(), 31).await.unwrap(), all.arrive(2, JobId::new(), 29).await.unwrap());
    assert_eq!(all.arrive(1, JobId::new(), 0).await, None, "the same is known");
    all.forget(None).await;
    assert!(all.is_known(old).await, "off is for ever");
    all.forget(Some(DAY * 30)).await;
    assert_eq!((all.is_known(old).await, all.is_known(young).await), (false, true));
    assert_eq!(all.arrive(2, JobId::new(), 0).await, None);
    assert!(all.arrive(1, JobId::new(), 0).await.is_some(), "it counts as new");
}

#[tokio::test]
async fn more_than_one_batch_of_deliveries_is_forgotten_at_once() {
    let all = Deliveries::new().await;
    sqlx::query(
        "INSERT INTO webhook_events (id, org_id, source_id, fingerprint, received_at, job_id)
         SELECT gen_random_uuid(), $1, $2, sha256(n::text::bytea), now() - interval '40 days', gen_random_uuid()
         FROM generate_series(1, 5500) AS n",
    )
    .bind(all.org)
    .bind(all.source)
    .execute(&all.db.pool)
    .await
    .unwrap();
    all.forget(Some(DAY * 30)).await;
    assert_eq!(all.db.count("webhook_events").await, 0);
}

#[tokio::test]
async fn a_delivery_stays_as_long_as_its_job_may_need_it() {
    let all = Deliveries::new().await;
    let (waiting, dead) = (all.db.queued(all.org).await.id, all.db.dead(all.org).await.id);
    let (done, cancelled) = (all.db.queued(all.org).await.id, all.db.queued(all.org).await.id);
    all.db.succeed(all.org, done).await.unwrap();
    all.db.cancel(all.org, cancelled).await.unwrap();
    let mut events = Vec::new();
    for (number, job) in (0..).zip([waiting, dead, done, cancelled]) {
        events.push(all.arrive(number, job, 40).await.unwrap());
    }
    // Its job was made of it, so that nothing but its coming is left to be known.
    let mut connection = all.db.connection().await;
    webhooks::forget_body(&mut connection, all.org, events[2]).await.unwrap();
    let known = async || {
        let mut known = Vec::new();
        for event in &events {
            known.push(all.is_known(*event).await);
        }
        known
    };
    all.forget(Some(DAY * 30)).await;
    assert_eq!(known().await, [true, true, false, false]);

    let discarded = ledger::discard_page(&mut connection, &DeadLetterFilter::default(), 10).await.unwrap();
    assert_eq!(discarded, 1);
    all.db.cancel(all.org, waiting).await.unwrap();
    all.forget(Some(DAY * 30)).await;
    assert_eq!(known().await, [false; 4], "nobody needs them any more");
}
