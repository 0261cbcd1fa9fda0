//! What is set for single organisations: `org_settings`. Redis has a copy, which [`crate::control`] keeps up with it by versions.

use sqlx::{FromRow, PgConnection};

use crate::{
    ids::OrgId,
    jobs::QueueName,
    queue::{OrgSettings, OrgTerms},
};

/// How the table names all queues.
const ALL_QUEUES: &str = "";

/// Settings of an organisation as they were made: for one queue, or for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrgSetting {
    /// The organisation.
    pub org: OrgId,
    /// The queue they are for; `None`: all that have none of their own.
    pub queue: Option<QueueName>,
    /// What was set.
    pub settings: OrgSettings,
}

#[derive(FromRow)]
struct Row {
    org_id: OrgId,
    queue: String,
    weight: Option<i16>,
    concurrency: Option<i32>,
}

fn settings(weight: Option<i16>, concurrency: Option<i32>) -> OrgSettings {
    OrgSettings {
        weight: weight.and_then(|weight| u16::try_from(weight).ok()),
        concurrency: concurrency.and_then(|limit| u32::try_from(limit).ok()),
    }
}

fn name(queue: Option<QueueName>) -> &'static str {
    queue.map_or(ALL_QUEUES, QueueName::as_str)
}

/// What is set for an organisation, or for every one that has anything: what holds for all queues first. Queues that this build does not
/// know are left out.
///
/// # Errors
/// Those of the database.
pub async fn list(connection: &mut PgConnection, org: Option<OrgId>) -> sqlx::Result<Vec<OrgSetting>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT org_id, queue, weight, concurrency FROM org_settings \
         WHERE ($1 IS NULL OR org_id = $1) AND (weight IS NOT NULL OR concurrency IS NOT NULL) ORDER BY org_id, queue",
    )
    .bind(org)
    .fetch_all(connection)
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        let queue = if row.queue == ALL_QUEUES { None } else { Some(row.queue.parse().ok()?) };
        Some(OrgSetting { org: row.org_id, queue, settings: settings(row.weight, row.concurrency) })
    });
    Ok(known.collect())
}

/// What is set for an organisation in one queue, or for all queues.
///
/// # Errors
/// Those of the database.
pub async fn get(connection: &mut PgConnection, org: OrgId, queue: Option<QueueName>) -> sqlx::Result<OrgSettings> {
    let row: Option<(Option<i16>, Option<i32>)> =
        sqlx::query_as("SELECT weight, concurrency FROM org_settings WHERE org_id = $1 AND queue = $2")
            .bind(org)
            .bind(name(queue))
            .fetch_optional(connection)
            .await?;
    Ok(row.map_or_else(OrgSettings::default, |(weight, concurrency)| settings(weight, concurrency)))
}

/// Lets one change be made after another, until the transaction ends: versions then grow in the order of the commits, so that whoever
/// has seen one has seen all before it.
///
/// # Errors
/// Those of the database.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("LOCK TABLE org_settings IN SHARE ROW EXCLUSIVE MODE").execute(connection).await.map(drop)
}

/// Stores what holds for an organisation, under the next version. Under [`lock`].
///
/// # Errors
/// Those of the database; an organisation that does not exist violates its foreign key.
pub async fn set(connection: &mut PgConnection, setting: &OrgSetting) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO org_settings (org_id, queue, weight, concurrency, version) \
         VALUES ($1, $2, $3, $4, (SELECT coalesce(max(version), 0) + 1 FROM org_settings)) \
         ON CONFLICT (org_id, queue) DO UPDATE SET weight = excluded.weight, concurrency = excluded.concurrency, \
             version = excluded.version, updated_at = now()",
    )
    .bind(setting.org)
    .bind(name(setting.queue))
    .bind(setting.settings.weight.map(|weight| i16::try_from(weight).unwrap_or(i16::MAX)))
    .bind(setting.settings.concurrency.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
    .execute(connection)
    .await
    .map(drop)
}

/// The version of the last change; 0 where there was none.
///
/// # Errors
/// Those of the database.
pub async fn version(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM org_settings").fetch_one(connection).await
}

/// What holds in a queue for the organisations whose settings changed after a version, in the order of the changes.
///
/// # Errors
/// Those of the database.
pub async fn changed_since(
    connection: &mut PgConnection,
    queue: QueueName,
    version: i64,
) -> sqlx::Result<Vec<OrgTerms>> {
    type Row = (OrgId, Option<i16>, Option<i32>, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT org_id, \
             coalesce(max(weight) FILTER (WHERE queue = $1), max(weight) FILTER (WHERE queue <> $1)), \
             coalesce(max(concurrency) FILTER (WHERE queue = $1), max(concurrency) FILTER (WHERE queue <> $1)), \
             max(version) \
         FROM org_settings WHERE queue IN ($1, $2) GROUP BY org_id HAVING max(version) > $3 ORDER BY max(version)",
    )
    .bind(queue.as_str())
    .bind(ALL_QUEUES)
    .bind(version)
    .fetch_all(connection)
    .await?;
    let terms =
        |(org, weight, concurrency, version)| OrgTerms { org, settings: settings(weight, concurrency), version };
    Ok(rows.into_iter().map(terms).collect())
}
