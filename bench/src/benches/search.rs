//! `search`: over chunks of generated text, by HTTP, one request after another; then what the indexes cost those who store.
//!
//! The chunks are stored in bulk, before the indexes that are made faster than they are kept: it is searching that is measured. What storing costs with
//! all of them there is measured by itself, through the same function that workers store by.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::StatusCode;
use millrace_shared::{
    db::assets::{self, Chunk, Extraction, HeadingPath},
    ids::{AssetId, OrgId},
};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::task::JoinSet;

use crate::{
    Options,
    http::Connection,
    prose::{Dice, Prose},
    report::{Params, Report},
    site::{Form, Site},
    stats::Samples,
};

const CHUNKS_OF_A_DOCUMENT: usize = 100;
const DOCUMENTS_AT_ONCE: usize = 20;
const FILLERS: usize = 2;
const REQUESTS: usize = 200;
const DOCUMENTS_TO_STORE: usize = 40;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = Site::start(Form::Durable, options).await?;
    let chunks = options.count(options.chunks, 2 * CHUNKS_OF_A_DOCUMENT);
    let filled = Filled::fill(&site, (chunks, options.orgs as usize), report).await?;
    let requests = options.count(REQUESTS, 5);
    for kind in Kind::EACH {
        report.say(&format!("{requests} searches: {}", kind.name()));
        filled.measure(&site, kind, requests, report).await?;
    }
    report.flush("Search: GET /v1/search, one after another");
    for round in 1..=options.rounds {
        report.say(&format!("storing documents, round {round}"));
        for indexed in [true, false] {
            filled.store(site.ledger()?, indexed, options.count(DOCUMENTS_TO_STORE, 2), report).await?;
        }
    }
    report.flush("Storing documents of 100 chunks, by one connection, with the indexes for search and without");
    site.stop_workers().await?;
    site.stop().await
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rare,
    Middling,
    Common,
    TwoWords,
    Phrase,
    CommonPhrase,
    InOneDocument,
    Slip,
    Nothing,
    SecondPage,
}

impl Kind {
    const EACH: [Self; 10] = [
        Self::Rare,
        Self::Middling,
        Self::Common,
        Self::TwoWords,
        Self::Phrase,
        Self::CommonPhrase,
        Self::InOneDocument,
        Self::Slip,
        Self::Nothing,
        Self::SecondPage,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Rare => "rare word",
            Self::Middling => "word in 1 of 50",
            Self::Common => "word in half of all",
            Self::TwoWords => "two words",
            Self::Phrase => "phrase",
            Self::CommonPhrase => "phrase of the commonest words",
            Self::InOneDocument => "in one document",
            Self::Slip => "slip of the finger",
            Self::Nothing => "no hit",
            Self::SecondPage => "second page",
        }
    }
}

/// A filled database.
struct Filled {
    prose: Prose,
    /// The organisation that searches: that of the API's key.
    org: OrgId,
    documents: Vec<AssetId>,
    params: Params,
}

impl Filled {
    async fn fill(site: &Site, (chunks, orgs): (usize, usize), report: &mut Report) -> Result<Self> {
        let pool = site.ledger()?;
        let params = Params::default().with("chunks", chunks).with("orgs", orgs);
        report.say(&format!("storing {chunks} chunks"));
        let start = Instant::now();
        sqlx::raw_sql(
            "DROP INDEX asset_chunks_search, search_words_similar, search_words_word;
             ALTER TABLE asset_chunks DISABLE TRIGGER search_note_words",
        )
        .execute(pool)
        .await?;
        let own: OrgId = site.stack()?.org().parse().context("the organisation has no id")?;
        let mut all = vec![own];
        all.extend((1..orgs).map(|_| OrgId::new()));
        sqlx::query("INSERT INTO organisations (id) SELECT UNNEST($1::uuid[]) ON CONFLICT DO NOTHING")
            .bind(&all)
            .execute(pool)
            .await?;
        let documents = insert_all(pool, &all, chunks / CHUNKS_OF_A_DOCUMENT).await?;
        report.add("fill_s", &params, start.elapsed().as_secs_f64(), "s");
        report.say("making the indexes");
        let start = Instant::now();
        make_indexes(site.stack()?.database_url()).await?;
        report.add("index_s", &params, start.elapsed().as_secs_f64(), "s");
        for relation in ["asset_chunks", "asset_chunks_search", "search_words", "search_words_similar"] {
            let size: i64 =
                sqlx::query_scalar("SELECT pg_table_size($1::regclass)").bind(relation).fetch_one(pool).await?;
            #[expect(clippy::cast_precision_loss, reason = "a size")]
            report.add("size", &params.clone().with("of", relation), size as f64 / 1e6, "MB");
        }
        report.flush("What is searched");
        Ok(Self { prose: Prose::new(), org: own, documents, params })
    }

    fn query(&self, kind: Kind, dice: &mut Dice) -> String {
        let document = dice.below(self.documents.len());
        let words = &self.prose.language(document).words;
        // By Zipf's law, the word of rank r is in a chunk with a chance of about 14 / r.
        match kind {
            Kind::Rare => words[20_000 + dice.below(20_000)].clone(),
            Kind::Middling => words[500 + dice.below(400)].clone(),
            Kind::Common | Kind::SecondPage => words[15 + dice.below(20)].clone(),
            Kind::TwoWords => format!("{} {}", words[20 + dice.below(100)], words[200 + dice.below(1_000)]),
            // The commonest hundred or two are stop words in most languages, and asked for in none; those that Postgres does not know have them.
            Kind::Phrase => format!("\"{} {}\"", words[150 + dice.below(100)], words[150 + dice.below(100)]),
            Kind::CommonPhrase => format!("\"{} {}\"", words[dice.below(20)], words[dice.below(60)]),
            Kind::InOneDocument => words[100 + dice.below(300)].clone(),
            Kind::Slip => slip(&words[2_000 + dice.below(20_000)]),
            Kind::Nothing => format!("qqzzqq{}", dice.below(1_000_000)),
        }
    }

    async fn measure(&self, site: &Site, kind: Kind, requests: usize, report: &mut Report) -> Result<()> {
        let mut connection = Connection::open(&site.target()?).await?;
        let mut dice = Dice::new(kind as u64);
        let (mut samples, mut hits) = (Samples::default(), 0);
        // The first ones fill caches.
        for number in 0..requests + requests / 10 {
            let mut path = format!("/v1/search?q={}", escaped(&self.query(kind, &mut dice)));
            if kind == Kind::InOneDocument {
                let _ = write!(path, "&asset={}", self.documents[dice.below(self.documents.len())]);
            }
            if kind == Kind::SecondPage {
                let first = get(&mut connection, &path).await?;
                if let Some(cursor) = first["next_cursor"].as_str() {
                    let _ = write!(path, "&cursor={cursor}");
                }
            }
            let start = Instant::now();
            let page = get(&mut connection, &path).await?;
            if number >= requests / 10 {
                samples.add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                hits += page["items"].as_array().map_or(0, Vec::len);
            }
        }
        let params = self.params.clone().with("query", kind.name());
        report.percentiles(["latency_p50", "latency_p95", "latency_p99"], &params, &mut samples);
        #[expect(clippy::cast_precision_loss, reason = "a count of hits")]
        report.add("hits", &params, hits as f64 / requests as f64, "a page");
        Ok(())
    }

    /// Stores documents as workers do, and takes them back.
    async fn store(&self, pool: &PgPool, indexed: bool, documents: usize, report: &mut Report) -> Result<()> {
        let mut dice = Dice::new(77);
        let mut transaction = pool.begin().await?;
        if !indexed {
            sqlx::raw_sql("ALTER TABLE asset_chunks DISABLE TRIGGER USER; DROP INDEX asset_chunks_search, search_words_similar, search_words_word")
                .execute(&mut *transaction)
                .await?;
        }
        let made: Vec<AssetId> = (0..documents).map(|_| AssetId::new()).collect();
        let languages: Vec<&str> = (0..documents).map(|document| self.prose.language(document).subtag).collect();
        insert_assets(&mut transaction, &vec![self.org; documents], &made, &languages).await?;
        let extractions: Vec<Extraction> =
            (0..documents).map(|document| self.extraction(document, &mut dice)).collect();
        let start = Instant::now();
        for (asset, extraction) in made.iter().zip(&extractions) {
            ensure!(
                assets::store_extraction(&mut transaction, self.org, *asset, extraction).await?,
                "the asset is gone"
            );
        }
        let elapsed = start.elapsed();
        transaction.rollback().await?;
        let params = self.params.clone().with("indexes", if indexed { "all" } else { "none for search" });
        report.rate("store", &params, (documents * CHUNKS_OF_A_DOCUMENT, elapsed));
        Ok(())
    }

    fn extraction(&self, document: usize, dice: &mut Dice) -> Extraction {
        let language = self.prose.language(document);
        let text = |_| self.prose.chunk(language, dice);
        let texts: Vec<String> = (0..CHUNKS_OF_A_DOCUMENT).map(text).collect();
        let mut at = 0;
        let chunks = texts.iter().map(|text| {
            let start_char = at;
            at += u32::try_from(text.chars().count()).unwrap_or_default();
            Chunk { page: 1, start_char, end_char: at, headings: HeadingPath::default(), text: text.clone() }
        });
        Extraction {
            language: Some(language.subtag.to_owned()),
            chunks: chunks.collect(),
            pages: vec![texts.concat()],
            ..Extraction::default()
        }
    }
}

/// Two letters in the middle change places.
fn slip(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    letters.swap(middle, middle - 1);
    letters.into_iter().collect()
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        let _ = if byte.is_ascii_alphanumeric() {
            write!(escaped, "{}", char::from(byte))
        } else {
            write!(escaped, "%{byte:02X}")
        };
        escaped
    })
}

async fn get(connection: &mut Connection, path: &str) -> Result<Value> {
    let (status, body) = connection.get(path).await?;
    ensure!(status == StatusCode::OK, "{path}: {status} {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

/// Stores documents, dealt out to the organisations in turn; gives those of the first.
async fn insert_all(pool: &PgPool, orgs: &[OrgId], documents: usize) -> Result<Vec<AssetId>> {
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let (pool, orgs) = (pool.clone(), orgs.to_vec());
        fillers.spawn(async move {
            let prose = Prose::new();
            let mut dice = Dice::new(filler as u64);
            let mut own = Vec::new();
            let numbers: Vec<usize> = (0..documents).filter(|number| number % FILLERS == filler).collect();
            for numbers in numbers.chunks(DOCUMENTS_AT_ONCE) {
                let mut transaction = pool.begin().await?;
                // Two thousand chunks in one statement take longer than anybody's statement should.
                sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
                own.extend(insert_some(&mut transaction, &prose, (&orgs, numbers), &mut dice).await?);
                transaction.commit().await?;
            }
            anyhow::Ok(own)
        });
    }
    let mut own = Vec::new();
    for some in fillers.join_all().await {
        own.extend(some?);
    }
    // By the number of the document, which tells its language.
    own.sort_unstable();
    Ok(own.into_iter().map(|(_, asset)| asset).collect())
}

async fn insert_some(
    connection: &mut PgConnection,
    prose: &Prose,
    (orgs, numbers): (&[OrgId], &[usize]),
    dice: &mut Dice,
) -> Result<Vec<(usize, AssetId)>> {
    let ids: Vec<AssetId> = numbers.iter().map(|_| AssetId::new()).collect();
    let owners: Vec<OrgId> = numbers.iter().map(|number| orgs[number % orgs.len()]).collect();
    let languages: Vec<&str> = numbers.iter().map(|number| prose.language(*number).subtag).collect();
    insert_assets(connection, &owners, &ids, &languages).await?;
    let (mut chunk_owners, mut assets, mut ordinals, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((number, id), owner) in numbers.iter().zip(&ids).zip(&owners) {
        for ordinal in 0..CHUNKS_OF_A_DOCUMENT {
            chunk_owners.push(*owner);
            assets.push(*id);
            ordinals.push(i32::try_from(ordinal)?);
            texts.push(prose.chunk(prose.language(*number), dice));
        }
    }
    sqlx::query(
        "INSERT INTO asset_chunks (org_id, asset_id, ordinal, page, start_char, end_char, text)
         SELECT org, asset, ordinal, 1 + ordinal / 3, ordinal * 1000, ordinal * 1000 + length(text), text
         FROM UNNEST($1::uuid[], $2::uuid[], $3::int[], $4::text[]) AS new (org, asset, ordinal, text)",
    )
    .bind(chunk_owners)
    .bind(assets)
    .bind(ordinals)
    .bind(texts)
    .execute(connection)
    .await?;
    let own = numbers.iter().copied().zip(ids).zip(owners).filter(|(_, owner)| *owner == orgs[0]);
    Ok(own.map(|(document, _)| document).collect())
}

async fn insert_assets(
    connection: &mut PgConnection,
    orgs: &[OrgId],
    ids: &[AssetId],
    languages: &[&str],
) -> Result<()> {
    sqlx::query(
        "INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, state, job_id, pages, words, chunks, language)
         SELECT id, org, 'generated', 'text/plain', 1, sha256(uuid_send(id)), 'none', 'ready', id, 1, 1, $4, language
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[]) AS new (id, org, language)",
    )
    .bind(ids)
    .bind(orgs)
    .bind(languages)
    .bind(i32::try_from(CHUNKS_OF_A_DOCUMENT)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// As the migration makes them.
async fn make_indexes(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(
        "SET maintenance_work_mem = '512MB'; SET work_mem = '512MB';
         ALTER TABLE asset_chunks ENABLE TRIGGER search_note_words;
         CREATE INDEX asset_chunks_search ON asset_chunks USING gin (search);
         INSERT INTO search_words (org_id, config, word, copy, asset_id)
         SELECT DISTINCT ON (org_id, search_config, word, search_copy(asset_id)) org_id, search_config, word, search_copy(asset_id), asset_id
         FROM (SELECT org_id, search_config, unnest(tsvector_to_array(search)) AS word, asset_id FROM asset_chunks) AS found
         WHERE search_is_word(word);
         CREATE INDEX search_words_word ON search_words (org_id, config, word, copy);
         CREATE INDEX search_words_similar ON search_words USING gin (org_id, word gin_trgm_ops)",
    )
    .execute(&mut connection)
    .await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
