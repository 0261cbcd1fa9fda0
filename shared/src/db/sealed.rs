//! Columns that hold what is [sealed](crate::seal): the one list of them, so that whoever replaces a key finds every one.
//!
//! A migration that adds such a column calls it `sealed` and gives its table an `org_id` and a UUID as its key; then a row here makes the column known
//! to `millrace secrets` and to `millrace doctor`. A test fails when a database has one that is not listed.
//!
//! All of this goes over all organisations: keys are the installation's.

use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use uuid::Uuid;

use crate::ids::OrgId;
use crate::seal::{Place, Sealed};

/// A column of sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    /// What its seals are bound to, and what operators are told. It stays as it is for ever: what is sealed under another name does not open.
    pub name: &'static str,
    /// The table.
    pub table: &'static str,
    /// The column of the table's key.
    pub id: &'static str,
    /// The column itself.
    pub column: &'static str,
}

/// Secrets of webhook sources.
pub const WEBHOOK_SECRETS: SealedColumn =
    SealedColumn { name: "webhook_secrets.sealed", table: "webhook_secrets", id: "id", column: "sealed" };

/// What connections to CRMs prove themselves with.
pub const CONNECTION_CREDENTIALS: SealedColumn =
    SealedColumn { name: "connection_credentials.sealed", table: "connection_credentials", id: "id", column: "sealed" };

/// All of them.
pub const SEALED_COLUMNS: &[SealedColumn] = &[WEBHOOK_SECRETS, CONNECTION_CREDENTIALS];

impl SealedColumn {
    /// Where the value of a row is.
    #[must_use]
    pub fn place(&self, org: OrgId, row: Uuid) -> Place {
        Place { column: self.name, org, row }
    }
}

/// A row of such a column.
#[derive(Debug, Clone, FromRow)]
pub struct SealedRow {
    /// Its key.
    pub id: Uuid,
    /// Whose it is.
    pub org_id: OrgId,
    /// The value.
    pub sealed: Sealed,
}

/// Rows by their keys, those above `after`, at most `limit`. None of them is locked.
///
/// # Errors
/// When the database is away.
pub async fn page(
    connection: &mut PgConnection,
    column: &SealedColumn,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<SealedRow>> {
    let SealedColumn { table, id, column, .. } = column;
    let select = format!(
        "SELECT {id} AS id, org_id, {column} AS sealed FROM {table} WHERE $1::uuid IS NULL OR {id} > $1 ORDER BY {id} LIMIT $2"
    );
    sqlx::query_as(AssertSqlSafe(select)).bind(after).bind(limit).fetch_all(connection).await
}

/// Those of these rows that are still there, as they are once nobody else changes them; until the transaction ends nobody can.
///
/// # Errors
/// When the database is away, or somebody else holds one for too long.
pub async fn lock(connection: &mut PgConnection, column: &SealedColumn, ids: &[Uuid]) -> sqlx::Result<Vec<SealedRow>> {
    let SealedColumn { table, id, column, .. } = column;
    // In one order, so that two who do this never wait for each other.
    let select = format!(
        "SELECT {id} AS id, org_id, {column} AS sealed FROM {table} WHERE {id} = ANY($1) ORDER BY {id} FOR NO KEY UPDATE"
    );
    sqlx::query_as(AssertSqlSafe(select)).bind(ids).fetch_all(connection).await
}

/// Puts other values into rows that were [locked](lock) before; gives how many.
///
/// # Errors
/// When the database is away.
pub async fn replace(connection: &mut PgConnection, column: &SealedColumn, rows: &[SealedRow]) -> sqlx::Result<u64> {
    let SealedColumn { table, id, column, .. } = column;
    let update = format!(
        "UPDATE {table} AS old SET {column} = new.sealed FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[]) AS new (id, org, sealed)
         WHERE old.{id} = new.id AND old.org_id = new.org"
    );
    let done = sqlx::query(AssertSqlSafe(update))
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.org_id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.sealed.clone()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// How many values begin with the same version, length and [id of a key](crate::seal::key_id). None of them is read further.
///
/// # Errors
/// When the database is away.
pub async fn heads(connection: &mut PgConnection, column: &SealedColumn) -> sqlx::Result<Vec<(Vec<u8>, i64)>> {
    let SealedColumn { table, column, .. } = column;
    let select = format!(
        "SELECT substring({column} FROM 1 FOR CASE WHEN octet_length({column}) > 1 THEN 2 + get_byte({column}, 1) ELSE 2 END) AS head, count(*)
         FROM {table} GROUP BY head ORDER BY head"
    );
    sqlx::query_as(AssertSqlSafe(select)).fetch_all(connection).await
}
