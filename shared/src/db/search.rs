//! Search over an organisation's chunks: full text first, and where that finds nothing, words that are alike.
//!
//! Everything is bounded, so that a word which stands in every chunk costs no more than one that stands in few. Each chunk's vector holds
//! words that nobody can type (migration 0008): they name its organisation, its configuration, and the part of the organisation's assets that it
//! lies in. What a query finds is counted in the newest parts, then in more of them, until there are [`SearchLimits::candidates`]; so many are
//! ranked, and only what is shown is highlighted. Ranks are computed anew for each page and depend on the chunk and the query alone, so that a page continues after
//! a rank and a place, and neither skips nor repeats while the data stays.

use std::time::{Duration, Instant};

use sqlx::{Acquire as _, PgConnection};

use crate::config::SearchLimits;
use crate::ids::{AssetId, OrgId};

mod place;
mod similar;
mod snippet;

pub use place::SearchCursor;
pub use snippet::{Fragment, Snippet};

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Whose chunks.
    pub org: OrgId,
    /// Words, `"phrases"`, `or`, `-excluded`, as `websearch_to_tsquery` reads them. No NUL.
    pub text: &'a str,
    /// Only this document.
    pub asset: Option<AssetId>,
    /// Where the page before ended.
    pub after: Option<SearchCursor>,
    /// Most hits on the page.
    pub limit: u16,
}

/// How hits were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// They have the words.
    Words,
    /// Nothing has the words; they have words that are alike.
    Similar,
}

/// A page of hits, best first.
#[derive(Debug, Clone)]
pub struct Hits {
    /// The hits.
    pub items: Vec<Hit>,
    /// How they were found.
    pub found_by: Match,
    /// Present when there are more.
    pub next: Option<SearchCursor>,
}

/// A chunk that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its document.
    pub asset: AssetId,
    /// The uploader's name for the document.
    pub name: String,
    /// The document's own title.
    pub title: Option<String>,
    /// The document's media type.
    pub media_type: String,
    /// The chunk's place in the document, from 0.
    pub ordinal: i32,
    /// The page that the chunk lies on, from 1.
    pub page: i32,
    /// Offset of the chunk's first character in the document's text.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The higher, the better; comparable within one search.
    pub rank: f32,
    /// The piece of the chunk that shows best why it was found.
    pub snippet: Snippet,
}

/// A query as one configuration reads it, in the text form of `tsquery`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Query {
    config: String,
    query: String,
}

/// Searches.
///
/// # Errors
/// When the database is away, or takes longer than the limit, which [`super::is_contention`] tells.
pub async fn search(
    connection: &mut PgConnection,
    search: &Search<'_>,
    limits: SearchLimits,
) -> Result<Hits, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // A plan that reads a table whole would be right for small ones only. Of processes in parallel chance would tell whose chunks are ranked where
    // there are more than enough. A query of words that do not count is nothing to tell the log.
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('max_parallel_workers_per_gather', '0', true), \
                set_config('client_min_messages', 'warning', true)",
    )
    .execute(&mut *transaction)
    .await?;
    let page = find(&mut transaction, search, limits).await?;
    transaction.rollback().await?;
    Ok(page)
}

/// Lets what follows take what is left of a search's time.
async fn bound(connection: &mut PgConnection, end: Instant) -> Result<(), sqlx::Error> {
    // 0 would be no bound at all.
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(left.as_millis().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn find(connection: &mut PgConnection, search: &Search<'_>, limits: SearchLimits) -> Result<Hits, sqlx::Error> {
    let end = Instant::now() + limits.timeout;
    bound(connection, end).await?;
    let configs = configs(connection, search).await?;
    if search.after.is_none_or(|after| after.found_by == Match::Words) {
        let queries = queries(connection, &configs, search.text).await?;
        let page = page(connection, search, limits, (&queries, Match::Words)).await?;
        if !page.items.is_empty() || search.after.is_some() {
            return Ok(page);
        }
    }
    bound(connection, end).await?;
    let queries = similar::queries(connection, search, &configs).await?;
    bound(connection, end).await?;
    page(connection, search, limits, (&queries, Match::Similar)).await
}

/// The configurations that the organisation's documents have, by a look at the index for each language.
async fn configs(connection: &mut PgConnection, search: &Search<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH RECURSIVE spoken (language) AS (
             (SELECT language FROM assets WHERE org_id = $1 AND language IS NOT NULL AND ($2::uuid IS NULL OR id = $2)
              ORDER BY language LIMIT 1)
             UNION ALL
             SELECT (SELECT language FROM assets
                     WHERE org_id = $1 AND language > spoken.language AND ($2::uuid IS NULL OR id = $2)
                     ORDER BY language LIMIT 1)
             FROM spoken WHERE spoken.language IS NOT NULL
         )
         SELECT search_config(language) FROM spoken WHERE language IS NOT NULL UNION SELECT 'simple' ORDER BY 1",
    )
    .bind(search.org)
    .bind(search.asset)
    .fetch_all(connection)
    .await
}

/// The text as each configuration reads it; none for those to which it has no word, or only such as are excluded.
async fn queries(connection: &mut PgConnection, configs: &[String], text: &str) -> Result<Vec<Query>, sqlx::Error> {
    sqlx::query_as(
        "SELECT config, query::text
         FROM (SELECT config, websearch_to_tsquery(config::regconfig, search_text($2)) AS query
               FROM UNNEST($1::text[]) AS of (config)) AS read
         WHERE numnode(query) > 0 AND querytree(query) <> 'T'",
    )
    .bind(configs)
    .bind(text)
    .fetch_all(connection)
    .await
}

/// What a page's row is made of: the chunk and, between U+0001 and U+0002, what is highlighted in it.
#[derive(sqlx::FromRow)]
struct Row {
    asset: AssetId,
    name: String,
    title: Option<String>,
    media_type: String,
    ordinal: i32,
    page: i32,
    start_char: i32,
    end_char: i32,
    rank: f32,
    text: String,
    highlighted: String,
}

/// Chunks that match a query.
macro_rules! chunks {
    ($condition:literal) => {
        concat!(
            "SELECT chunk.asset_id, chunk.ordinal, chunk.search_config, chunk.search
             FROM asset_chunks AS chunk
             WHERE ",
            $condition,
            " AND (SELECT state = 'ready' FROM assets WHERE org_id = $1 AND id = chunk.asset_id)"
        )
    };
}

/// A page of the best among the candidates, with what is shown of each.
macro_rules! page {
    ($candidates:expr) => {
        concat!(
            "WITH ",
            $candidates,
            ",
    asked (config, query) AS MATERIALIZED (SELECT config, query::tsquery FROM UNNEST($4::text[], $5::text[]) AS q (config, query)),
    ranked AS (
        SELECT asset_id, ordinal, config, query, ts_rank(search, query) AS rank
        FROM candidates JOIN asked ON config = search_config
    ),
    shown AS MATERIALIZED (
        SELECT * FROM ranked
        WHERE $6::real IS NULL OR rank < $6 OR rank = $6 AND (asset_id < $7 OR asset_id = $7 AND ordinal > $8)
        ORDER BY rank DESC, asset_id DESC, ordinal LIMIT $9
    )
    SELECT assets.id AS asset, name, title, media_type, chunk.ordinal, page, start_char, end_char, rank, text,
           ts_headline(config::regconfig, search_text(text), query, E'HighlightAll=true, StartSel=\\x01, StopSel=\\x02') AS highlighted
    FROM shown JOIN asset_chunks AS chunk ON chunk.org_id = $1 AND chunk.asset_id = shown.asset_id AND chunk.ordinal = shown.ordinal
         JOIN assets ON assets.org_id = $1 AND assets.id = shown.asset_id
    ORDER BY rank DESC, shown.asset_id DESC, shown.ordinal"
        )
    };
}

/// One statement, so that the chunks of the scope that has enough are looked for once. A scope that is not needed is not read: its condition
/// depends on no row, and is asked before. The groups are passed over where they, at most sixteen times as large as the parts, are bound
/// to have too few.
///
/// `IS NOT DISTINCT FROM` asks what `=` asks and lets no other index be used than the vectors': to find a frequent word by reading an
/// organisation's rows until there are enough looks cheap to the planner and is, unless that organisation happens not to use the word.
const PAGE: &str = page!(concat!(
    "newest AS MATERIALIZED (",
    chunks!("chunk.org_id IS NOT DISTINCT FROM $1 AND chunk.search @@ $10::tsquery"),
    " LIMIT $3),
    newer AS MATERIALIZED (",
    chunks!("chunk.org_id IS NOT DISTINCT FROM $1 AND chunk.search @@ $11::tsquery"),
    " AND (SELECT count(*) < $3 AND count(*) * 16 >= $3 FROM newest) LIMIT $3),
    every AS MATERIALIZED (",
    chunks!("chunk.org_id IS NOT DISTINCT FROM $1 AND chunk.search @@ $2::tsquery"),
    " AND (SELECT count(*) < $3 FROM newest) AND (SELECT count(*) < $3 FROM newer) LIMIT $3),
    candidates AS (
        SELECT * FROM newest WHERE (SELECT count(*) >= $3 FROM newest)
        UNION ALL SELECT * FROM newer WHERE (SELECT count(*) >= $3 FROM newer)
        UNION ALL SELECT * FROM every
    )"
));

/// Within one document, whose chunks are few beside those of its part as a rule: the planner knows by which index.
const PAGE_OF_ASSET: &str = page!(concat!(
    "candidates AS MATERIALIZED (",
    chunks!("chunk.org_id = $1 AND chunk.asset_id = $10 AND chunk.search @@ $2::tsquery"),
    " LIMIT $3)"
));

async fn page(
    connection: &mut PgConnection,
    search: &Search<'_>,
    limits: SearchLimits,
    (queries, found_by): (&[Query], Match),
) -> Result<Hits, sqlx::Error> {
    let mut hits = Hits { items: Vec::new(), found_by: Match::Words, next: None };
    let Some(part) = part(connection, search).await?.filter(|_| !queries.is_empty()) else { return Ok(hits) };
    let mut rows = rows(connection, search, limits, (queries, part)).await?;
    let more = rows.len() > usize::from(search.limit);
    rows.truncate(usize::from(search.limit));
    let end = |row: &Row| SearchCursor { found_by, rank: row.rank, asset: row.asset, ordinal: row.ordinal };
    hits.next = rows.last().filter(|_| more).map(end);
    if !rows.is_empty() {
        hits.found_by = found_by;
    }
    hits.items = rows.into_iter().map(Hit::from).collect();
    Ok(hits)
}

/// The newest part of the organisation's assets, or that of the document; `None` where there is nothing to search.
async fn part(connection: &mut PgConnection, search: &Search<'_>) -> Result<Option<i32>, sqlx::Error> {
    let newest = "SELECT max(search_part) FROM assets WHERE org_id = $1";
    let own = "SELECT max(search_part) FROM assets WHERE org_id = $1 AND id = $2";
    let query = sqlx::query_scalar(if search.asset.is_some() { own } else { newest }).bind(search.org);
    match search.asset {
        Some(asset) => query.bind(asset).fetch_one(connection).await,
        None => query.fetch_one(connection).await,
    }
}

/// Parts of a group; as in the function `search_places` of the database.
const GROUP: i32 = 8;

/// A page of what the queries find, in one document or in all.
async fn rows(
    connection: &mut PgConnection,
    search: &Search<'_>,
    limits: SearchLimits,
    (queries, part): (&[Query], i32),
) -> Result<Vec<Row>, sqlx::Error> {
    let in_places = |places: &[String]| each_in_its_own_language(search.org, queries, places);
    // The newest one may just have begun, so the one before is taken too. Where these are all that there are, they are asked last alone.
    let newest =
        |of: i32, kind: &str| (of >= 2).then(|| in_places(&[format!(":{kind}{of}"), format!(":{kind}{}", of - 1)]));
    let place = if search.asset.is_some() { format!(":{part}") } else { String::new() };
    let (configs, texts): (Vec<&str>, Vec<&str>) =
        queries.iter().map(|query| (query.config.as_str(), query.query.as_str())).unzip();
    let page = sqlx::query_as(if search.asset.is_some() { PAGE_OF_ASSET } else { PAGE })
        .bind(search.org)
        .bind(in_places(&[place]))
        .bind(i64::from(limits.candidates))
        .bind(configs)
        .bind(texts)
        .bind(search.after.map(|after| after.rank))
        .bind(search.after.map(|after| after.asset))
        .bind(search.after.map(|after| after.ordinal))
        // One more than asked for tells whether there is a next page.
        .bind(i64::from(search.limit) + 1);
    match search.asset {
        Some(asset) => page.bind(asset).fetch_all(connection).await,
        None => page.bind(newest(part, "")).bind(newest(part / GROUP, "g")).fetch_all(connection).await,
    }
}

/// One query over all chunks of these places, of which each is asked as its own configuration reads the text. Places are named as the function
/// `search_places` of the database does.
fn each_in_its_own_language(org: OrgId, queries: &[Query], places: &[String]) -> String {
    let each = |query: &Query| {
        let places: Vec<String> = places.iter().map(|place| format!("'\u{1}{org}:{}{place}'", query.config)).collect();
        format!("( ( {} ) & ( {} ) )", places.join(" | "), query.query)
    };
    queries.iter().map(each).collect::<Vec<_>>().join(" | ")
}

impl From<Row> for Hit {
    fn from(row: Row) -> Self {
        let snippet = Snippet::of(&row.text, &row.highlighted, row.start_char);
        Self {
            asset: row.asset,
            name: row.name,
            title: row.title,
            media_type: row.media_type,
            ordinal: row.ordinal,
            page: row.page,
            start_char: row.start_char,
            end_char: row.end_char,
            rank: row.rank,
            snippet,
        }
    }
}
