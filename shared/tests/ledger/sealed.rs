//! Whoever replaces a key must find everything that is sealed.

use millrace_shared::{
    db::sealed::{self, SEALED_COLUMNS},
    ids::OrgId,
    reseal::{self, Mode},
    seal::{Keyring, Sealed},
};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::*;

const COLUMN: &sealed::SealedColumn = &sealed::WEBHOOK_SECRETS;
const OLD: &str = "old:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBvbGQ=";
const NEW: &str = "new:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBuZXc=";

fn ring(keys: &[&str]) -> Keyring {
    Keyring::parse(&SecretString::from(keys.join(","))).unwrap()
}

/// What the database calls sealed, partitions left out: what is in them is in their table.
async fn columns_called_sealed(connection: &mut PgConnection) -> Vec<(String, String)> {
    sqlx::query_as(
        "SELECT class.relname::text, attname::text FROM pg_attribute
         JOIN pg_class AS class ON class.oid = attrelid JOIN pg_namespace AS space ON space.oid = relnamespace
         WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition AND atttypid = 'bytea'::regtype
           AND NOT attisdropped AND attname LIKE '%sealed%' ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

fn columns_listed() -> Vec<(String, String)> {
    let mut listed: Vec<_> = SEALED_COLUMNS.iter().map(|one| (one.table.to_owned(), one.column.to_owned())).collect();
    listed.sort();
    listed
}

#[tokio::test]
async fn every_column_that_is_called_sealed_is_listed() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    assert_eq!(columns_called_sealed(&mut connection).await, columns_listed());
    for column in SEALED_COLUMNS {
        assert!(
            sealed::page(&mut connection, column, None, 1).await.unwrap().is_empty(),
            "{} can be read",
            column.name
        );
    }
    sqlx::raw_sql("CREATE TABLE others (id uuid, org_id uuid, sealed bytea)").execute(&mut connection).await.unwrap();
    assert_ne!(columns_called_sealed(&mut connection).await, columns_listed(), "one that is not listed is noticed");
}

/// A secret of a new source of a new organisation.
async fn secret(connection: &mut PgConnection, ring: &Keyring, text: &str) -> (OrgId, Uuid) {
    let (org, source, id) = (OrgId::new(), Uuid::now_v7(), Uuid::now_v7());
    sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(&mut *connection).await.unwrap();
    sqlx::query(
        r#"INSERT INTO webhook_sources (id, org_id, name, scheme, kind, tolerance_seconds)
           VALUES ($1, $2, 'Weir', '{"type":"github"}', 'probe', 300)"#,
    )
    .bind(source)
    .bind(org)
    .execute(&mut *connection)
    .await
    .unwrap();
    sqlx::query("INSERT INTO webhook_secrets (id, org_id, source_id, sealed) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(org)
        .bind(source)
        .bind(ring.seal(&COLUMN.place(org, id), &SecretString::from(text)))
        .execute(&mut *connection)
        .await
        .unwrap();
    (org, id)
}

async fn stored(connection: &mut PgConnection, id: Uuid) -> Sealed {
    sqlx::query_scalar("SELECT sealed FROM webhook_secrets WHERE id = $1").bind(id).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_secret_that_is_changed_meanwhile_is_not_overwritten_by_the_one_before_it() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    let old = ring(&[OLD]);
    let (org, changed) = secret(&mut connection, &old, "the first").await;
    let (_, deleted) = secret(&mut connection, &old, "soon gone").await;
    let (_, third) = secret(&mut connection, &old, "the third").await;

    let mut change = connection.begin().await.unwrap();
    let place = COLUMN.place(org, changed);
    sqlx::query("UPDATE webhook_secrets SET sealed = $2 WHERE id = $1")
        .bind(changed)
        .bind(old.seal(&place, &SecretString::from("the second")))
        .execute(&mut *change)
        .await
        .unwrap();
    sqlx::query("DELETE FROM webhook_secrets WHERE id = $1").bind(deleted).execute(&mut *change).await.unwrap();
    let both = ring(&[NEW, OLD]);
    let resealing = {
        let (pool, both) = (db.pool.clone(), both.clone());
        tokio::spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            let page = reseal::page(&mut transaction, &both, COLUMN, None, Mode::Reseal).await.unwrap();
            transaction.commit().await.unwrap();
            page
        })
    };
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&db.pool).await.unwrap() {
        tokio::time::sleep(SECOND / 50).await;
    }
    change.commit().await.unwrap();
    let page = resealing.await.unwrap();
    assert_eq!((page.resealed, page.fine, page.unopened.len()), (2, 0, 0), "{page:?}");
    let new = ring(&[NEW]);
    let sealed = stored(&mut connection, changed).await;
    assert_eq!(new.open(&place, &sealed).unwrap().expose_secret(), "the second");
    assert_eq!(stored(&mut connection, third).await.key_id(), Some("new"));
}

#[tokio::test]
async fn counting_changes_nothing_and_uses_tell_every_key() {
    let db = Db::new().await;
    let mut connection = db.connection().await;
    assert!(reseal::uses(&mut connection, None).await.unwrap().is_empty());
    let (_, first) = secret(&mut connection, &ring(&[OLD]), "a secret").await;
    secret(&mut connection, &ring(&[NEW]), "a secret").await;
    let before = stored(&mut connection, first).await;
    let both = ring(&[NEW, OLD]);
    let page = reseal::page(&mut connection, &both, COLUMN, None, Mode::Count).await.unwrap();
    assert_eq!((page.resealed, page.fine), (1, 1), "{page:?}");
    assert_eq!(stored(&mut connection, first).await, before);

    // What is no sealed value at all is told, too, however short.
    let (_, broken) = secret(&mut connection, &both, "a secret").await;
    for bytes in [&b""[..], b"\x01", b"\x01\xff", b"\x07\x03old"] {
        let update = sqlx::query("UPDATE webhook_secrets SET sealed = $2 WHERE id = $1").bind(broken).bind(bytes);
        update.execute(&mut connection).await.unwrap();
        let uses = reseal::uses(&mut connection, Some(&both)).await.unwrap();
        let told: Vec<_> = uses.iter().map(|one| (one.key.as_deref(), one.total())).collect();
        assert_eq!(told, [(Some("new"), 1), (Some("old"), 1), (None, 1)]);
    }
}
