//! Storing what was found in a document: all of it or nothing.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::headings::{HeadingPath, SEPARATOR};
use crate::ids::{AssetId, OrgId};

/// What was found in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extraction {
    /// The document's own title.
    pub title: Option<String>,
    /// Who wrote it, by its own account.
    pub author: Option<String>,
    /// When it was made, by its own account.
    pub created: Option<DateTime<Utc>>,
    /// When it was last changed, by its own account.
    pub modified: Option<DateTime<Utc>>,
    /// A language subtag of BCP 47.
    pub language: Option<String>,
    /// Text by page, in order; joined as they are, they are the whole text. A format without pages gives one.
    pub pages: Vec<String>,
    /// Words of all pages.
    pub words: u64,
    /// The pieces, in order.
    pub chunks: Vec<Chunk>,
    /// What a reader of the text should know.
    pub warnings: Vec<Warning>,
}

/// What a reader of a document's text should know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// A stable name.
    pub code: String,
    /// The page it is about, from 1.
    pub page: Option<u32>,
    /// A sentence for people.
    pub message: String,
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chunk {
    /// The page, from 1.
    pub page: u32,
    /// The headings that all of it stands under.
    pub headings: HeadingPath,
    /// Offset of its first character within the whole text, in characters.
    pub start_char: u32,
    /// Offset after its last character.
    pub end_char: u32,
    /// The text.
    pub text: String,
}

/// Bounds of one INSERT, so that a large document neither builds one huge message nor makes a round trip per row.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 2 << 20;

/// Replaces an asset's text and chunks, marks it ready and counts its revision up. `false`, with nothing stored, when the asset is gone.
///
/// Call it inside a transaction: between its statements the asset is half replaced, which nobody else may see.
///
/// # Errors
/// When the database refuses or is away.
pub async fn store_extraction(
    connection: &mut PgConnection,
    org: OrgId,
    asset: AssetId,
    extraction: &Extraction,
) -> Result<bool, sqlx::Error> {
    if !mark_ready(connection, org, asset, extraction).await? {
        return Ok(false);
    }
    for table in [
        "DELETE FROM asset_texts WHERE org_id = $1 AND asset_id = $2",
        "DELETE FROM asset_chunks WHERE org_id = $1 AND asset_id = $2",
        // Words that were only in the text before would be offered for what is mistyped, and found nowhere.
        "DELETE FROM search_words WHERE org_id = $1 AND asset_id = $2",
    ] {
        sqlx::query(table).bind(org).bind(asset).execute(&mut *connection).await?;
    }
    let mut first_page = 1;
    for pages in batches(&extraction.pages, String::len) {
        insert_pages(connection, org, asset, first_page, pages).await?;
        first_page += count(pages.len());
    }
    let mut first_ordinal = 0;
    for chunks in batches(&extraction.chunks, stored_bytes) {
        insert_chunks(connection, org, asset, first_ordinal, chunks).await?;
        first_ordinal += count(chunks.len());
    }
    Ok(true)
}

async fn mark_ready(
    connection: &mut PgConnection,
    org: OrgId,
    asset: AssetId,
    extraction: &Extraction,
) -> Result<bool, sqlx::Error> {
    let warnings: Vec<Warning> = extraction
        .warnings
        .iter()
        .map(|warning| Warning { message: storable(&warning.message).into_owned(), ..warning.clone() })
        .collect();
    let done = sqlx::query(
        "UPDATE assets SET state = 'ready', title = $3, pages = $4, words = $5, chunks = $6, warnings = $7,
                author = $8, document_created_at = $9, document_modified_at = $10, language = $11,
                error_code = NULL, error_message = NULL, reprocess_error_code = NULL, reprocess_error_message = NULL,
                revision = revision + 1, updated_at = now()
         WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(asset)
    .bind(extraction.title.as_deref().map(storable))
    .bind(count(extraction.pages.len()))
    .bind(i64::try_from(extraction.words).unwrap_or(i64::MAX))
    .bind(count(extraction.chunks.len()))
    .bind(sqlx::types::Json(warnings))
    .bind(extraction.author.as_deref().map(storable))
    .bind(extraction.created)
    .bind(extraction.modified)
    .bind(extraction.language.as_deref())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn insert_pages(
    connection: &mut PgConnection,
    org: OrgId,
    asset: AssetId,
    first_page: i32,
    pages: &[String],
) -> Result<(), sqlx::Error> {
    let numbers: Vec<i32> = (first_page..).take(pages.len()).collect();
    let texts: Vec<Cow<'_, str>> = pages.iter().map(|page| storable(page)).collect();
    sqlx::query(
        "INSERT INTO asset_texts (org_id, asset_id, page, text)
         SELECT $1, $2, page, text FROM UNNEST($3::int[], $4::text[]) AS new (page, text)",
    )
    .bind(org)
    .bind(asset)
    .bind(numbers)
    .bind(texts)
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_chunks(
    connection: &mut PgConnection,
    org: OrgId,
    asset: AssetId,
    first_ordinal: i32,
    chunks: &[Chunk],
) -> Result<(), sqlx::Error> {
    let column = |value: fn(&Chunk) -> u32| -> Vec<i32> { chunks.iter().map(|chunk| offset(value(chunk))).collect() };
    let ordinals: Vec<i32> = (first_ordinal..).take(chunks.len()).collect();
    let texts: Vec<Cow<'_, str>> = chunks.iter().map(|chunk| storable(&chunk.text)).collect();
    let headings: Vec<String> = chunks.iter().map(|chunk| chunk.headings.joined()).collect();
    sqlx::query(
        "INSERT INTO asset_chunks (org_id, asset_id, ordinal, page, start_char, end_char, text, headings)
         SELECT $1, $2, ordinal, page, start_char, end_char, text, string_to_array(headings, $9)
         FROM UNNEST($3::int[], $4::int[], $5::int[], $6::int[], $7::text[], $8::text[])
              AS new (ordinal, page, start_char, end_char, text, headings)",
    )
    .bind(org)
    .bind(asset)
    .bind(ordinals)
    .bind(column(|chunk| chunk.page))
    .bind(column(|chunk| chunk.start_char))
    .bind(column(|chunk| chunk.end_char))
    .bind(texts)
    .bind(headings)
    .bind(String::from(SEPARATOR))
    .execute(connection)
    .await?;
    Ok(())
}

fn stored_bytes(chunk: &Chunk) -> usize {
    chunk.text.len() + chunk.headings.titles().map(str::len).sum::<usize>()
}

/// Postgres text cannot hold NUL. The replacement is one character too, so that offsets stay right.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Counts are bounded by `MILLRACE_EXTRACT_MAX_CHARS`, far below 2^31.
fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn offset(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Cuts a slice into runs of bounded length and size; an item larger than the bound makes a run of its own.
fn batches<T>(items: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take(BATCH_ROWS)
            .take_while(|item| {
                bytes += size(item);
                bytes <= BATCH_BYTES
            })
            .count();
        let (batch, later) = rest.split_at_checked(fits.max(1))?;
        rest = later;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let sizes: Vec<usize> = (0..2500).map(|number| if number == 7 { BATCH_BYTES * 2 } else { 1500 }).collect();
        let cut: Vec<&[usize]> = batches(&sizes, |size| *size).collect();
        assert_eq!(cut.concat(), sizes);
        for batch in cut {
            assert!(batch.len() <= BATCH_ROWS);
            assert!(batch.len() == 1 || batch.iter().sum::<usize>() <= BATCH_BYTES);
        }
        assert_eq!(batches(&[] as &[usize], |size| *size).count(), 0);
    }

    #[test]
    fn a_nul_is_replaced_by_one_character() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert!(matches!(storable("ab"), Cow::Borrowed(_)));
    }
}
