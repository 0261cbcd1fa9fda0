//! Replacing keys: what was sealed with an older one is sealed anew with the current one, where it lies.
//!
//! It goes from row to row by their keys, some at a time. Rows that are to change are locked and read again first, so that a secret which somebody
//! changes at the same moment is never overwritten by the one before it. Each page is a transaction of its caller's; whoever is interrupted begins anew and
//! finds less to do.

use std::collections::BTreeMap;

use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::sealed::{self, SEALED_COLUMNS, SealedColumn, SealedRow};
use crate::ids::OrgId;
use crate::seal::{self, Keyring, OpenError, Standing};

/// Rows of one page: locks are held for a few milliseconds.
const PAGE: i64 = 200;

/// What is to be done with what was sealed with an older key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is sealed anew.
    Reseal,
    /// It is counted.
    Count,
}

/// What became of some rows.
#[derive(Debug, Default)]
pub struct Page {
    /// Those that were sealed anew, or would be.
    pub resealed: u64,
    /// Those that were sealed with the current key, and open.
    pub fine: u64,
    /// Those that do not open. They are as they were.
    pub unopened: Vec<Unopened>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Uuid>,
}

/// A value that does not open.
#[derive(Debug, Clone)]
pub struct Unopened {
    /// The name of its column.
    pub column: &'static str,
    /// Its row.
    pub id: Uuid,
    /// Whose it is.
    pub org: OrgId,
    /// The key that it was sealed with, as far as that can be told.
    pub key: Option<String>,
    /// Why it does not open.
    pub problem: OpenError,
}

/// Looks at the rows of a column above `after`, and seals anew what needs it. In a transaction, which the caller commits.
///
/// # Errors
/// When the database is away, or somebody else holds a row for too long.
pub async fn page(
    connection: &mut PgConnection,
    keyring: &Keyring,
    column: &SealedColumn,
    after: Option<Uuid>,
    mode: Mode,
) -> sqlx::Result<Page> {
    let rows = sealed::page(connection, column, after, PAGE).await?;
    let mut page = Page { next: rows.last().map(|row| row.id), ..Page::default() };
    let due = page.sort(keyring, column, rows);
    if mode == Mode::Count || due.is_empty() {
        page.resealed = due.len() as u64;
        return Ok(page);
    }
    let ids: Vec<Uuid> = due.iter().map(|(row, _)| row.id).collect();
    let locked = sealed::lock(connection, column, &ids).await?;
    let due = page.sort(keyring, column, locked).into_iter();
    let anew = due.map(|(row, secret)| {
        let sealed = keyring.seal(&column.place(row.org_id, row.id), &secret);
        SealedRow { sealed, ..row }
    });
    let anew: Vec<SealedRow> = anew.collect();
    page.resealed = sealed::replace(connection, column, &anew).await?;
    if page.resealed != anew.len() as u64 {
        // They are locked, so that this cannot be; and if it were, the transaction must not be committed.
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(page)
}

impl Page {
    /// Counts the rows that need nothing and those that cannot be helped; gives the others, opened.
    fn sort(
        &mut self,
        keyring: &Keyring,
        column: &SealedColumn,
        rows: Vec<SealedRow>,
    ) -> Vec<(SealedRow, SecretString)> {
        let mut due = Vec::new();
        for row in rows {
            let key = row.sealed.key_id();
            match keyring.open(&column.place(row.org_id, row.id), &row.sealed) {
                Ok(_) if key == Some(keyring.current()) => self.fine += 1,
                Ok(secret) => due.push((row, secret)),
                Err(problem) => self.unopened.push(Unopened {
                    column: column.name,
                    id: row.id,
                    org: row.org_id,
                    key: key.map(str::to_owned),
                    problem,
                }),
            }
        }
        due
    }
}

/// What is sealed with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key; `None` for what begins as no sealed value does.
    pub key: Option<String>,
    /// What the ring makes of it.
    pub standing: Standing,
    /// How many values of each column; none that has none.
    pub counts: BTreeMap<&'static str, u64>,
}

impl KeyUse {
    /// How many values in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// How many values are sealed with which key: all keys of the ring in their order, then those that are not on it.
///
/// # Errors
/// When the database is away.
pub async fn uses(connection: &mut PgConnection, keyring: Option<&Keyring>) -> sqlx::Result<Vec<KeyUse>> {
    let standing = |id: &str| keyring.map_or(Standing::Missing, |ring| ring.standing(id));
    let known = keyring.into_iter().flat_map(Keyring::ids);
    let mut uses: Vec<KeyUse> =
        known.map(|id| KeyUse { key: Some(id.to_owned()), standing: standing(id), counts: BTreeMap::new() }).collect();
    let mut others = BTreeMap::new();
    for column in SEALED_COLUMNS {
        for (head, count) in sealed::heads(connection, column).await? {
            let id = seal::key_id(&head);
            let counts = match uses.iter_mut().find(|known| id.is_some() && known.key.as_deref() == id) {
                Some(known) => &mut known.counts,
                // What has no id comes last.
                None => others.entry((id.is_none(), id.map(str::to_owned))).or_default(),
            };
            *counts.entry(column.name).or_default() += count.unsigned_abs();
        }
    }
    uses.extend(others.into_iter().map(|((_, key), counts)| KeyUse { key, standing: Standing::Missing, counts }));
    Ok(uses)
}
