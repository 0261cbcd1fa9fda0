//! What is set for organisations, and in which order its changes are told to Redis.

use millrace_shared::{
    db::{
        org_settings::{self, OrgSetting},
        organisations,
    },
    ids::OrgId,
    jobs::{QUEUES, QueueName},
    queue::{OrgSettings, OrgTerms},
};

use crate::support::*;

const CRM: QueueName = QUEUES[1];
const PROBE: QueueName = QUEUES[3];

fn settings(weight: Option<u16>, concurrency: Option<u32>) -> OrgSettings {
    OrgSettings { weight, concurrency }
}

async fn set(db: &Db, org: OrgId, queue: Option<QueueName>, settings: OrgSettings) {
    let mut connection = db.connection().await;
    org_settings::set(&mut connection, &OrgSetting { org, queue, settings }).await.unwrap();
}

async fn changed(db: &Db, queue: QueueName, version: i64) -> Vec<(OrgId, OrgSettings, i64)> {
    let terms = org_settings::changed_since(&mut db.connection().await, queue, version).await.unwrap();
    terms.into_iter().map(|OrgTerms { org, settings, version }| (org, settings, version)).collect()
}

#[tokio::test]
async fn what_holds_in_a_queue_is_its_own_settings_and_then_those_of_all_queues() {
    let db = Db::new().await;
    let org = organisations::create(&mut db.connection().await, OrgId::new()).await.unwrap().id;
    set(&db, org, None, settings(Some(3), Some(10))).await;
    set(&db, org, Some(PROBE), settings(None, Some(2))).await;
    assert_eq!(changed(&db, PROBE, 0).await, [(org, settings(Some(3), Some(2)), 2)]);
    assert_eq!(changed(&db, CRM, 0).await, [(org, settings(Some(3), Some(10)), 1)]);
    set(&db, org, Some(PROBE), OrgSettings::default()).await;
    assert_eq!(changed(&db, PROBE, 2).await, [(org, settings(Some(3), Some(10)), 3)]);
    set(&db, org, None, OrgSettings::default()).await;
    assert_eq!(changed(&db, PROBE, 3).await, [(org, OrgSettings::default(), 4)], "that nothing holds any more is told");
    assert_eq!(org_settings::list(&mut db.connection().await, Some(org)).await.unwrap(), []);
}

#[tokio::test]
async fn changes_are_told_in_their_order_and_once() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    assert_eq!(org_settings::version(&mut connection).await.unwrap(), 0);
    let mut orgs = Vec::new();
    for _ in 0..3 {
        orgs.push(organisations::create(&mut connection, OrgId::new()).await.unwrap().id);
    }
    for (weight, org) in (2..).zip(&orgs) {
        set(&db, *org, None, settings(Some(weight), None)).await;
    }
    set(&db, orgs[0], None, settings(Some(9), None)).await;
    let told: Vec<(OrgId, i64)> =
        changed(&db, PROBE, 0).await.into_iter().map(|(org, _, version)| (org, version)).collect();
    assert_eq!(told, [(orgs[1], 2), (orgs[2], 3), (orgs[0], 4)]);
    assert_eq!(changed(&db, PROBE, 3).await.len(), 1);
    assert_eq!(changed(&db, PROBE, org_settings::version(&mut connection).await.unwrap()).await, []);
}

#[tokio::test]
async fn nothing_is_set_for_an_organisation_that_does_not_exist() {
    let db = Db::new().await;
    let setting = OrgSetting { org: OrgId::new(), queue: None, settings: settings(Some(2), None) };
    let error = org_settings::set(&mut db.connection().await, &setting).await.unwrap_err();
    assert!(millrace_shared::db::violates(&error, "org_settings_org_id_fkey"), "{error}");
}
