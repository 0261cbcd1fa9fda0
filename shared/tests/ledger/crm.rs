//! Copies of records: of two states the later one stays, whatever order they come in.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::{
    crm::{ConflictPolicy, Object, Provider, SyncMode},
    db::crm::{
        connections::{self, ConnectionState, NewConnection},
        credentials,
        records::{self, Fields, ListRecords, Record, Seen, Written},
        syncs,
    },
    db::{PageRequest, sealed},
    ids::{ConnectionId, OrgId},
    seal::Keyring,
};
use serde_json::json;
use sqlx::PgConnection;

use crate::support::*;

struct Copies {
    org: OrgId,
    id: ConnectionId,
    connection: PgConnection,
    _db: Db,
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_700_000_000 + second)
}

/// A contact as a read met it, `name` being all that is known of it.
fn contact(name: &str, updated: i64) -> Seen {
    let mut digest = [0; 32];
    digest[..name.len()].copy_from_slice(name.as_bytes());
    Seen {
        external_id: "7".to_owned(),
        created_at: None,
        updated_at: at(updated),
        fields: Fields { name: Some(name.to_owned()), ..Fields::default() },
        associations: Vec::new(),
        raw: json!({ "name": name }),
        digest,
    }
}

impl Copies {
    async fn new() -> Self {
        let (db, org, id) = (Db::new().await, OrgId::new(), ConnectionId::new());
        let mut connection = db.connection().await;
        sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(&mut connection).await.unwrap();
        let new = NewConnection {
            id,
            org,
            provider: Provider::Hubspot,
            name: "Weir",
            account: None,
            objects: &[Object::Contacts],
            conflict_policy: ConflictPolicy::CrmWins,
        };
        connections::create(&mut connection, &new).await.unwrap();
        Self { org, id, connection, _db: db }
    }

    async fn store(&mut self, read: i64, seen: &Seen) -> Written {
        let of = (self.org, self.id, Object::Contacts);
        records::store(&mut self.connection, of, read, std::slice::from_ref(seen)).await.unwrap()
    }

    async fn gone(&mut self, read: i64) -> u64 {
        let of = (self.org, self.id, Object::Contacts);
        records::mark_gone(&mut self.connection, of, read, &[("7".to_owned(), None)]).await.unwrap()
    }

    async fn copy(&mut self) -> Record {
        let asked = ListRecords { deleted: true, ..ListRecords::default() };
        let page = PageRequest { after: None, limit: 10 };
        let mut found = records::list(&mut self.connection, self.org, &asked, &page).await.unwrap().items;
        assert_eq!(found.len(), 1);
        found.remove(0)
    }
}

#[tokio::test]
async fn an_older_state_that_comes_late_changes_nothing() {
    let mut copies = Copies::new().await;
    assert_eq!(copies.store(5, &contact("new", 10)).await.created, 1);
    // Whenever it was read: the record says itself that it is older.
    for read in [1, 9] {
        assert_eq!(copies.store(read, &contact("old", 9)).await.stale, 1);
    }
    // Of one second: by a read that began before.
    assert_eq!(copies.store(4, &contact("as old", 10)).await.stale, 1);
    let copy = copies.copy().await;
    assert_eq!((copy.fields.name.as_deref(), copy.version), (Some("new"), 1));
    // By one that began later it is news.
    assert_eq!(copies.store(6, &contact("newer", 10)).await.updated, 1);
    assert_eq!(copies.store(2, &contact("newest", 11)).await.updated, 1);
    assert_eq!(copies.copy().await.fields.name.as_deref(), Some("newest"));
}

#[tokio::test]
async fn what_is_as_it_was_is_not_written_and_what_has_changed_is_told() {
    let mut copies = Copies::new().await;
    copies.store(1, &contact("Ada", 1)).await;
    let before = copies.copy().await;
    assert_eq!(copies.store(2, &contact("Ada", 1)).await, Written { unchanged: 1, ..Written::default() });
    assert_eq!(copies.copy().await.updated_at, before.updated_at);
    copies.store(3, &contact("Ida", 2)).await;
    let changes = records::changes(&mut copies.connection, copies.org, before.id, 10).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].changes, json!({ "name": ["Ada", "Ida"], "raw.name": ["Ada", "Ida"] }));
}

#[tokio::test]
async fn what_was_deleted_comes_back_only_by_a_read_that_began_later() {
    let mut copies = Copies::new().await;
    copies.store(5, &contact("Ada", 10)).await;
    assert_eq!(copies.gone(4).await, 0, "a read that began before knows nothing of it");
    assert_eq!(copies.gone(6).await, 1);
    assert_eq!(copies.gone(7).await, 0, "once is enough");
    assert_eq!(copies.store(5, &contact("Ada", 10)).await.stale, 1, "an answer that was late");
    assert!(copies.copy().await.deleted_at.is_some());
    assert_eq!(copies.store(8, &contact("Ada", 10)).await.updated, 1, "it was restored");
    assert!(copies.copy().await.deleted_at.is_none());
}

#[tokio::test]
async fn credentials_that_are_refused_say_nothing_of_those_in_their_place() {
    let mut copies = Copies::new().await;
    let (org, id) = (copies.org, copies.id);
    let ring = Keyring::parse(&"test:dGhpcnR5LXR3byByYW5kb20gYnl0ZXMgb2Yga2V5ISE=".into()).unwrap();
    let sealed = ring.seal(&sealed::CONNECTION_CREDENTIALS.place(org, id.0), &"{}".into());
    credentials::insert(&mut copies.connection, org, id, &sealed).await.unwrap();
    connections::activate(&mut copies.connection, org, id).await.unwrap();
    let old = credentials::get(&mut copies.connection, org, id).await.unwrap().expect("it is there").generation;
    credentials::replace(&mut copies.connection, org, id, &sealed).await.unwrap();
    assert!(!connections::revoke(&mut copies.connection, (org, id), "they are old", old).await.unwrap());
    let state = |found: Option<connections::Connection>| found.expect("it is there").state;
    assert_eq!(state(connections::get(&mut copies.connection, org, id).await.unwrap()), ConnectionState::Active);
    assert!(connections::revoke(&mut copies.connection, (org, id), "they are refused", old + 1).await.unwrap());
    assert_eq!(state(connections::get(&mut copies.connection, org, id).await.unwrap()), ConnectionState::Reauthorize);
}

#[tokio::test]
async fn a_copy_of_any_size_is_deleted_by_parts() {
    let mut copies = Copies::new().await;
    let seen: Vec<_> = (0..250).map(|id| Seen { external_id: id.to_string(), ..contact("Ada", 1) }).collect();
    let of = (copies.org, copies.id, Object::Contacts);
    records::store(&mut copies.connection, of, 1, &seen).await.unwrap();
    syncs::set_watermark(&mut copies.connection, of, at(1), SyncMode::Full).await.unwrap();
    let nobodys = OrgId::new();
    assert_eq!(records::delete_some(&mut copies.connection, nobodys, copies.id, 100).await.unwrap(), 0);
    let read = syncs::watermark(&mut copies.connection, of.0, of.1, of.2).await.unwrap();
    assert!(read.is_some(), "another organisation touches nothing");
    for deleted in [100, 100, 50, 0] {
        assert_eq!(records::delete_some(&mut copies.connection, copies.org, copies.id, 100).await.unwrap(), deleted);
        let read = syncs::watermark(&mut copies.connection, of.0, of.1, of.2).await.unwrap();
        assert_eq!(read, None, "an incremental sync would not bring back what is deleted");
    }
    assert!(connections::delete(&mut copies.connection, copies.org, copies.id).await.unwrap());
}

#[tokio::test]
async fn a_first_sync_reads_no_more_of_what_it_has_written_the_longer_it_takes() {
    let mut copies = Copies::new().await;
    let of = (copies.org, copies.id, Object::Contacts);
    let page = |number: i64| -> Vec<Seen> {
        let seen = |place: i64| Seen { external_id: format!("{number}-{place}"), ..contact("Ada", number) };
        (0..100).map(seen).collect()
    };
    // The table has no statistics meanwhile: it was empty, and all of this takes a moment.
    for round in 0..2 {
        for number in 0..40 {
            records::store(&mut copies.connection, of, round * 40 + number, &page(number)).await.unwrap();
        }
    }
    let gone: Vec<_> = page(0).into_iter().map(|seen| (seen.external_id, None)).collect();
    assert_eq!(records::mark_gone(&mut copies.connection, of, 100, &gone).await.unwrap(), 100);
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut copies.connection).await.unwrap();
    let (by_indexes, whole): (i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(idx_tup_read), 0)::bigint,
                (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'crm_records')
         FROM pg_stat_user_indexes WHERE relname = 'crm_records'",
    )
    .fetch_one(&mut copies.connection)
    .await
    .unwrap();
    assert!(by_indexes + whole < 3 * 8_000, "of 8,000 that were met {by_indexes} + {whole} were read");
}
