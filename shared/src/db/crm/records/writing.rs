//! Copies as reads bring them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use super::{Record, Seen, record_columns};
use crate::crm::Object;
use crate::ids::{ConnectionId, OrgId, RecordId};

/// Whose records are written.
type Of = (OrgId, ConnectionId, Object);

/// What became of the records of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that were not there.
    pub created: u64,
    /// Records that have changed, or are back.
    pub updated: u64,
    /// Records that are as they were.
    pub unchanged: u64,
    /// Records of which a later state is known.
    pub stale: u64,
}

/// The number of a read that begins now.
///
/// # Errors
/// When the database is away.
pub async fn next_read(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT nextval('crm_reads')").fetch_one(connection).await
}

/// Writes what a read met. Of two of one id the one that was updated last counts.
///
/// # Errors
/// When the connection is gone, or the database is away.
pub async fn store(connection: &mut PgConnection, of: Of, read: i64, seen: &[Seen]) -> sqlx::Result<Written> {
    // In one order, so that two writers never wait for each other.
    let mut newest: BTreeMap<&str, &Seen> = BTreeMap::new();
    for record in seen {
        let known = newest.entry(&record.external_id).or_insert(record);
        if record.updated_at >= known.updated_at {
            *known = record;
        }
    }
    let held = held(connection, of, &newest).await?;
    let is_same = |record: &Seen| {
        held.get(record.external_id.as_str()).is_some_and(|held| held.live && held.digest == record.digest)
    };
    let mut written =
        Written { unchanged: newest.values().filter(|record| is_same(record)).count() as u64, ..Written::default() };
    let changed: Vec<&Seen> = newest.into_values().filter(|record| !is_same(record)).collect();
    if changed.is_empty() {
        return Ok(written);
    }
    let known: Vec<RecordId> = changed.iter().filter_map(|record| Some(held.get(&record.external_id)?.id)).collect();
    let before = lock(connection, of.0, &known).await?;
    let upserted = upsert(connection, of, read, &changed).await?;
    written.stale = (changed.len() - upserted.len()) as u64;
    written.created = upserted.iter().filter(|row| row.version == 1).count() as u64;
    written.updated = upserted.len() as u64 - written.created;
    let by_id: HashMap<&str, &Seen> = changed.iter().map(|record| (record.external_id.as_str(), *record)).collect();
    let changes: Vec<(RecordId, i32, Value)> = upserted
        .iter()
        .filter_map(|row| {
            let (before, after) = (before.get(&row.external_id)?, by_id.get(row.external_id.as_str())?);
            Some((row.id, row.version, difference(before, after)))
        })
        .collect();
    note_changes(connection, of.0, &changes).await?;
    Ok(written)
}

#[derive(FromRow)]
struct Held {
    id: RecordId,
    external_id: String,
    digest: [u8; 32],
    live: bool,
}

/// Each is looked up by itself, for a table that grows by a first sync has no statistics yet: then to read all records of the object looks as cheap to
/// Postgres as to read these. And a plan that was made when it was empty must not be kept.
async fn held(
    connection: &mut PgConnection,
    (org, id, object): Of,
    newest: &BTreeMap<&str, &Seen>,
) -> sqlx::Result<HashMap<String, Held>> {
    let rows: Vec<Held> = sqlx::query_as(
        "SELECT held.* FROM UNNEST($4::text[]) AS met (external_id) CROSS JOIN LATERAL (
             SELECT id, external_id, digest, deleted_at IS NULL AS live FROM crm_records
             WHERE org_id IS NOT DISTINCT FROM $1 AND connection_id = $2 AND object = $3 AND external_id = met.external_id
             OFFSET 0) AS held",
    )
    .bind(org)
    .bind(id)
    .bind(object.as_str())
    .bind(newest.keys().copied().collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.external_id.clone(), row)).collect())
}

/// The records as they are, which nobody else changes until the transaction ends.
async fn lock(connection: &mut PgConnection, org: OrgId, known: &[RecordId]) -> sqlx::Result<HashMap<String, Record>> {
    if known.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Record> = sqlx::query_as(concat!(
        "SELECT ",
        record_columns!(),
        " FROM crm_records WHERE org_id = $1 AND id = ANY($2) ORDER BY external_id FOR UPDATE"
    ))
    .bind(org)
    .bind(known)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.external_id.clone(), row)).collect())
}

#[derive(FromRow)]
struct Upserted {
    id: RecordId,
    external_id: String,
    version: i32,
}

async fn upsert(
    connection: &mut PgConnection,
    (org, id, object): Of,
    read: i64,
    changed: &[&Seen],
) -> sqlx::Result<Vec<Upserted>> {
    let text = |pick: fn(&Seen) -> Option<&String>| -> Vec<Option<&str>> {
        changed.iter().map(|record| pick(record).map(String::as_str)).collect()
    };
    // Arrays of arrays must be rectangles in Postgres, so lists travel as JSON.
    let list =
        |pick: fn(&Seen) -> &Vec<String>| -> Vec<Value> { changed.iter().map(|record| json!(pick(record))).collect() };
    sqlx::query_as(
        "INSERT INTO crm_records (id, org_id, connection_id, object, read_number, external_id, name, emails, phones, company, amount,
             currency, pipeline, stage, owner, crm_created_at, crm_updated_at, associations, raw, digest)
         SELECT id, $1, $2, $3, $4, external_id, name,
             ARRAY(SELECT jsonb_array_elements_text(emails)), ARRAY(SELECT jsonb_array_elements_text(phones)), company, amount::numeric,
             currency, pipeline, stage, owner, crm_created_at, crm_updated_at, associations, raw, digest
         FROM UNNEST($5::uuid[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[], $10::text[], $11::text[], $12::text[], $13::text[],
                     $14::text[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::jsonb[], $19::jsonb[], $20::bytea[])
              AS new (id, external_id, name, emails, phones, company, amount, currency, pipeline, stage, owner,
                      crm_created_at, crm_updated_at, associations, raw, digest)
         ON CONFLICT (connection_id, object, external_id) DO UPDATE
         SET read_number = excluded.read_number, name = excluded.name, emails = excluded.emails, phones = excluded.phones,
             company = excluded.company, amount = excluded.amount, currency = excluded.currency, pipeline = excluded.pipeline,
             stage = excluded.stage, owner = excluded.owner, crm_created_at = excluded.crm_created_at,
             crm_updated_at = excluded.crm_updated_at, deleted_at = NULL, associations = excluded.associations, raw = excluded.raw,
             digest = excluded.digest, version = crm_records.version + 1, updated_at = now()
         WHERE (crm_records.crm_updated_at, crm_records.read_number) < (excluded.crm_updated_at, excluded.read_number)
         RETURNING id, external_id, version",
    )
    .bind(org)
    .bind(id)
    .bind(object.as_str())
    .bind(read)
    .bind(changed.iter().map(|_| RecordId::new()).collect::<Vec<_>>())
    .bind(changed.iter().map(|record| record.external_id.as_str()).collect::<Vec<_>>())
    .bind(text(|record| record.fields.name.as_ref()))
    .bind(list(|record| &record.fields.emails))
    .bind(list(|record| &record.fields.phones))
    .bind(text(|record| record.fields.company.as_ref()))
    .bind(text(|record| record.fields.amount.as_ref()))
    .bind(text(|record| record.fields.currency.as_ref()))
    .bind(text(|record| record.fields.pipeline.as_ref()))
    .bind(text(|record| record.fields.stage.as_ref()))
    .bind(text(|record| record.fields.owner.as_ref()))
    .bind(changed.iter().map(|record| record.created_at).collect::<Vec<_>>())
    .bind(changed.iter().map(|record| record.updated_at).collect::<Vec<_>>())
    .bind(changed.iter().map(|record| Json(&record.associations)).collect::<Vec<_>>())
    .bind(changed.iter().map(|record| &record.raw).collect::<Vec<_>>())
    .bind(changed.iter().map(|record| record.digest.as_slice()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// What a version changes: common fields by their names, and those of the provider's document by `raw.` and theirs.
fn difference(before: &Record, after: &Seen) -> Value {
    let mut changes = Map::new();
    let mut compare = |field: &str, before: Value, after: Value| {
        if before != after {
            changes.insert(field.to_owned(), json!([before, after]));
        }
    };
    for ((name, old), (_, new)) in before.fields.named().into_iter().zip(after.fields.named()) {
        compare(name, old, new);
    }
    compare("associations", json!(before.associations.0), json!(after.associations));
    compare("deleted_at", json!(before.deleted_at), Value::Null);
    let nothing = Map::new();
    let (old, new) = (before.raw.as_object().unwrap_or(&nothing), after.raw.as_object().unwrap_or(&nothing));
    let names: HashSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let side = |document: &Map<String, Value>| document.get(name).cloned().unwrap_or(Value::Null);
        compare(&format!("raw.{name}"), side(old), side(new));
    }
    Value::Object(changes)
}

async fn note_changes(
    connection: &mut PgConnection,
    org: OrgId,
    changes: &[(RecordId, i32, Value)],
) -> sqlx::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO crm_changes (record_id, org_id, version, changes)
         SELECT record, $1, version, changes FROM UNNEST($2::uuid[], $3::integer[], $4::jsonb[]) AS new (record, version, changes)",
    )
    .bind(org)
    .bind(changes.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(changes.iter().map(|(_, version, _)| *version).collect::<Vec<_>>())
    .bind(changes.iter().map(|(.., changes)| changes).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

/// Notes that records are gone from the CRM, with the time of that where it is known. Those of which a later read knows better stay. Gives how many.
///
/// # Errors
/// When the database is away.
pub async fn mark_gone(
    connection: &mut PgConnection,
    (org, id, object): Of,
    read: i64,
    gone: &[(String, Option<DateTime<Utc>>)],
) -> sqlx::Result<u64> {
    let mut sorted = gone.to_vec();
    sorted.sort();
    let marked: Vec<(RecordId, i32, DateTime<Utc>)> = sqlx::query_as(
        "WITH gone AS (
             SELECT record.id, coalesce(told.at, now()) AS at
             FROM UNNEST($5::text[], $6::timestamptz[]) AS told (external_id, at) CROSS JOIN LATERAL (
                 SELECT id FROM crm_records
                 WHERE org_id IS NOT DISTINCT FROM $1 AND connection_id = $2 AND object = $3
                   AND external_id = told.external_id
                 FOR UPDATE) AS record)
         UPDATE crm_records SET deleted_at = gone.at, read_number = $4, version = version + 1, updated_at = now()
         FROM gone WHERE crm_records.id = gone.id AND deleted_at IS NULL AND read_number < $4 RETURNING crm_records.id, version, gone.at",
    )
    .bind(org)
    .bind(id)
    .bind(object.as_str())
    .bind(read)
    .bind(sorted.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, at)| *at).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(&mut *connection)
    .await?;
    let changes: Vec<_> =
        marked.iter().map(|(id, version, at)| (*id, *version, json!({ "deleted_at": [null, at] }))).collect();
    note_changes(connection, org, &changes).await?;
    Ok(marked.len() as u64)
}

/// Deletes some of a connection's copies for good. Gives how many: fewer than `most` when none are left. Whoever does not go on has a connection whose next
/// sync reads everything.
///
/// # Errors
/// When the database is away.
pub async fn delete_some(connection: &mut PgConnection, org: OrgId, id: ConnectionId, most: u32) -> sqlx::Result<u64> {
    // In the order in which syncs write them, so that neither waits for the other for ever.
    let done = sqlx::query(
        "WITH part AS (
             SELECT id FROM crm_records WHERE org_id = $1 AND connection_id = $2 ORDER BY object, external_id LIMIT $3 FOR UPDATE),
         unread AS (DELETE FROM crm_watermarks WHERE org_id = $1 AND connection_id = $2)
         DELETE FROM crm_records USING part WHERE crm_records.id = part.id",
    )
    .bind(org)
    .bind(id)
    .bind(i64::from(most))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Ids of records that are there as far as we know, were updated from `from` to before `to` by the provider's clock, and are not among `met`.
///
/// # Errors
/// When the database is away.
pub async fn live_between(
    connection: &mut PgConnection,
    (org, id, object): Of,
    (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    met: &[String],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT external_id FROM crm_records
         WHERE org_id = $1 AND connection_id = $2 AND object = $3 AND deleted_at IS NULL
           AND ($4::timestamptz IS NULL OR crm_updated_at >= $4) AND ($5::timestamptz IS NULL OR crm_updated_at < $5)
           AND external_id <> ALL($6) ORDER BY external_id",
    )
    .bind(org)
    .bind(id)
    .bind(object.as_str())
    .bind(from)
    .bind(to)
    .bind(met)
    .fetch_all(connection)
    .await
}
