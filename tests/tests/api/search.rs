//! Search: words in their languages, words that are alike, places that hold, pages without gaps, and nothing of anybody else's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Client, Stack};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::description::{invalid, problem};

const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(5);

const ENGLISH: &str = "The miller oiled the turbines before the winter came. Every wheel of the old mill was turning again, and the people of \
    the valley were pleased with what they heard from the river that night.";
const GERMAN: &str = "Der Müller hat die Mühlen am Fluss im Frühjahr wieder in Gang gesetzt, weil das Wasser nach dem langen Winter endlich \
    hoch genug stand und die Bauern ihr Getreide nicht mehr weit fahren wollten.";
const RUSSIAN: &str = "Старый мельник починил плотину ещё до весны, и к празднику обе мельницы снова работали. Жители деревни приходили \
    смотреть на воду и говорили, что такого года давно не было.";
const JAPANESE: &str = "水車は朝から回る。石臼が粉をひく。村の人々は水車小屋に麦を運び、夕方までに粉を受け取って帰る。";

/// Uploads a text and gives its asset's id, once it is ready.
async fn store(client: &Client, name: &str, text: &str) -> Result<String> {
    let uploaded = client.upload(name, text.as_bytes().to_vec()).await?.expect(202)?;
    client.wait_job(uploaded["job"]["id"].as_str().context("no job")?, PATIENCE).await?;
    let id = uploaded["asset"]["id"].as_str().context("no asset")?.to_owned();
    let asset = client.get(&format!("/v1/assets/{id}")).await?.expect(200)?;
    ensure!(asset["state"] == "ready", "{asset}");
    Ok(id)
}

async fn search(client: &Client, q: &str, more: &[(&str, &str)]) -> Result<Value> {
    let mut path = format!("/v1/search?q={}", escaped(q));
    for (name, value) in more {
        path.push_str(&format!("&{name}={value}"));
    }
    client.get(&path).await?.expect(200)
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Names of the documents that are found, in their order.
fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().into_iter().flatten().filter_map(|hit| hit["asset"]["name"].as_str()).collect()
}

/// A snippet, with what is highlighted in brackets.
fn shown(hit: &Value) -> String {
    let fragments = hit["snippet"]["fragments"].as_array().into_iter().flatten();
    let text = |fragment: &Value| fragment["text"].as_str().unwrap_or_default().to_owned();
    fragments
        .map(|fragment| if fragment["highlight"] == true { format!("[{}]", text(fragment)) } else { text(fragment) })
        .collect()
}

#[tokio::test]
async fn words_are_found_as_each_documents_language_wants_it() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    for (name, text) in [("en.txt", ENGLISH), ("de.txt", GERMAN), ("ru.txt", RUSSIAN), ("ja.txt", JAPANESE)] {
        store(client, name, text).await?;
    }
    for (q, expected, highlighted) in [
        ("turbine", vec!["en.txt"], "[turbines]"),
        ("turn wheels", vec!["en.txt"], "[wheel] of the old mill was [turning]"),
        ("MÜHLE", vec!["de.txt"], "die [Mühlen] am"),
        ("мельницу", vec!["ru.txt"], "обе [мельницы] снова"),
        ("水車", vec!["ja.txt"], "[水車]は朝から"),
        ("水車小屋", vec!["ja.txt"], "[水車小屋]に"),
        ("車水", vec![], ""),
        (r#""old mill""#, vec!["en.txt"], "[old] [mill]"),
        (r#""mill old""#, vec![], ""),
        ("winter -turbines", vec!["de.txt"], "[Winter]"),
        ("wheels -wheel", vec![], ""),
        ("mill -wheels", vec![], ""),
        ("-winter", vec![], ""),
    ] {
        let page = search(client, q, &[]).await?;
        assert_eq!((names(&page), &page["match"]), (expected, &json!("words")), "{q}: {page}");
        if !highlighted.is_empty() {
            assert!(shown(&page["items"][0]).contains(highlighted), "{q}: {}", shown(&page["items"][0]));
        }
    }
    let either: HashSet<String> =
        names(&search(client, "turbine or плотина", &[]).await?).into_iter().map(str::to_owned).collect();
    assert_eq!(either, HashSet::from(["en.txt".to_owned(), "ru.txt".to_owned()]));
    stack.drain().await
}

#[tokio::test]
async fn words_that_are_alike_are_found_where_nothing_has_the_words() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let id = store(client, "en.txt", ENGLISH).await?;
    store(client, "ru.txt", RUSSIAN).await?;
    for (q, name, highlighted) in [
        ("turbnies", "en.txt", "[turbines]"),
        ("turbime wheel", "en.txt", "[wheel]"),
        ("urbin", "en.txt", "[turbines]"),
        ("turb", "en.txt", "[turbines]"),
        ("мелньица", "ru.txt", "[мельницы]"),
        ("turbime -wombat", "en.txt", "[turbines]"),
    ] {
        let page = search(client, q, &[]).await?;
        assert_eq!((names(&page), &page["match"]), (vec![name], &json!("similar")), "{q}: {page}");
        assert!(shown(&page["items"][0]).contains(highlighted), "{q}: {}", shown(&page["items"][0]));
    }
    for q in ["zzyzxq", "turbime zzyzxq", "turbime -wheel"] {
        let page = search(client, q, &[]).await?;
        assert_eq!((names(&page), &page["match"]), (vec![], &json!("words")), "{q}");
    }
    // What is alike goes with its documents.
    assert_eq!(client.delete(&format!("/v1/assets/{id}")).await?.status, 204);
    assert_eq!(names(&search(client, "turbnies", &[]).await?), Vec::<&str>::new());
    assert_eq!(names(&search(client, "turbine", &[]).await?), Vec::<&str>::new());
    stack.drain().await
}

#[tokio::test]
async fn places_of_hits_and_snippets_are_places_in_the_text() -> Result<()> {
    let stack = Stack::builder().env("MILLRACE_CHUNK_CHARS", "300").start().await?;
    let client = stack.client();
    let filler = "Über die Wiese läuft ein kleiner Bach, und niemand weiß, woher er kommt. ".repeat(9);
    let text =
        format!("{filler}\n\n<script>alert('Mühle')</script> & a <b and Mühlen 🦀 c> d stehen hier.\n\n{filler}");
    let id = store(client, "de.txt", &text).await?;
    let whole: Vec<char> = client.get(&format!("/v1/assets/{id}/text")).await?.text().chars().collect();
    let page = search(client, "mühle", &[]).await?;
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
    let hit = &page["items"][0];
    let slice = |of: &Value| -> Result<String> {
        let offset = |name: &str| of[name].as_u64().and_then(|at| usize::try_from(at).ok()).context("no offset");
        Ok(whole[offset("start_char")?..offset("end_char")?].iter().collect())
    };
    let chunks = client.get(&format!("/v1/assets/{id}/chunks?limit=200")).await?.expect(200)?;
    let chunk = &chunks["items"][usize::try_from(hit["ordinal"].as_u64().context("no ordinal")?)?];
    assert_eq!((chunk["text"].as_str(), &chunk["page"]), (Some(slice(hit)?.as_str()), &hit["page"]));
    let snippet: String = hit["snippet"]["fragments"]
        .as_array()
        .context("no fragments")?
        .iter()
        .map(|fragment| fragment["text"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(snippet, slice(&hit["snippet"])?, "a snippet is a slice of the text, whatever the text holds");
    let shown = shown(hit);
    assert!(shown.contains("<script>alert('[Mühle]')</script> & a <b and [Mühlen] 🦀 c> d"), "{shown}");
    stack.drain().await
}

#[tokio::test]
async fn pages_of_hits_have_no_gap_and_no_hit_twice() -> Result<()> {
    let stack = Stack::builder().env("MILLRACE_CHUNK_CHARS", "100").start().await?;
    let client = stack.client();
    for document in 0..4 {
        let sentence = |n: usize| {
            format!("Sentence {n} of document {document} tells of a watermill{}.\n\n", " and a watermill".repeat(n % 5))
        };
        let text: String = (0..30).map(sentence).collect();
        store(client, &format!("{document}.txt"), &text).await?;
    }
    for (q, how) in [("watermill", "words"), ("watermlil", "similar")] {
        let all = search(client, q, &[("limit", "200")]).await?;
        assert_eq!((&all["match"], &all["next_cursor"]), (&json!(how), &Value::Null));
        let place = |hit: &Value| (hit["asset"]["id"].to_string(), hit["ordinal"].as_i64());
        let all: Vec<_> =
            all["items"].as_array().context("no items")?.iter().map(|hit| (place(hit), hit["rank"].as_f64())).collect();
        assert!(all.len() > 40 && all.is_sorted_by(|a, b| a.1 >= b.1), "best first: {all:?}");
        let (mut paged, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let more: Vec<(&str, &str)> =
                [("limit", "7")].into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor))).collect();
            let page = search(client, q, &more).await?;
            assert_eq!(page["match"], how);
            paged.extend(
                page["items"].as_array().context("no items")?.iter().map(|hit| (place(hit), hit["rank"].as_f64())),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(paged, all);
    }
    stack.drain().await
}

#[tokio::test]
async fn a_search_sees_its_own_organisation_and_the_document_it_names() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let (ours, theirs) = (stack.client(), stack.client_of_other_org().await?);
    let first = store(ours, "first.txt", ENGLISH).await?;
    let second = store(ours, "second.txt", &format!("{ENGLISH} That was all.")).await?;
    let foreign = store(&theirs, "foreign.txt", &format!("{ENGLISH} They say.")).await?;
    assert_eq!(names(&search(ours, "turbine", &[]).await?).len(), 2);
    for (asset, name) in [(&first, "first.txt"), (&second, "second.txt")] {
        assert_eq!(names(&search(ours, "turbine", &[("asset", asset)]).await?), [name]);
        assert_eq!(names(&search(ours, "turbnie", &[("asset", asset)]).await?), [name]);
    }
    for q in ["turbine", "turbnie", "turbine or mill", "turbine -x"] {
        assert_eq!(names(&search(&theirs, q, &[]).await?), ["foreign.txt"], "{q}");
    }
    // Nor does a query that names the words by which an organisation's chunks are told apart.
    for q in [format!("\u{1}{}:english", stack.org()), format!("\"\u{1}{}:english:0\" or turbine", stack.org())] {
        assert!(names(&search(&theirs, &q, &[]).await?).iter().all(|name| *name == "foreign.txt"), "{q}");
    }
    let reply = ours.get(&format!("/v1/search?q=turbine&asset={foreign}")).await?;
    problem(&reply, 404, "not_found");
    assert_eq!(ours.delete(&format!("/v1/assets/{first}")).await?.status, 204);
    assert_eq!(names(&search(ours, "turbine", &[]).await?), ["second.txt"]);
    stack.drain().await
}

#[tokio::test]
async fn searches_that_hang_leave_connections_for_everything_else() -> Result<()> {
    let stack = Stack::builder().env("MILLRACE_SEARCH_TIMEOUT", "3s").start().await?;
    let client = stack.client();
    store(client, "en.txt", ENGLISH).await?;
    let mut locker = PgConnection::connect(stack.database_url()).await?;
    let mut lock = locker.begin().await?;
    sqlx::raw_sql("LOCK TABLE asset_chunks").execute(&mut *lock).await?;
    let mut searches = JoinSet::new();
    for _ in 0..30 {
        let client = client.clone();
        searches.spawn(async move { client.get("/v1/search?q=mill").await.map(|reply| reply.status) });
    }
    // While they wait for the table, and for each other, others are served.
    let mut submitted = 0;
    while searches.len() > 10 {
        tokio::select! {
            Some(status) = searches.join_next() => assert_eq!(status??, 503),
            reply = client.get("/v1/jobs") => {
                reply?.expect(200)?;
                submitted += 1;
            }
        }
    }
    assert!(submitted > 10, "{submitted}");
    lock.rollback().await?;
    searches.shutdown().await;
    assert_eq!(names(&search(client, "mill", &[]).await?), ["en.txt"]);
    stack.drain().await
}

#[tokio::test]
async fn no_query_is_an_error_or_slow() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    store(client, "en.txt", ENGLISH).await?;
    store(client, "de.txt", GERMAN).await?;
    let many = "a OR ".repeat(79);
    let distinct: String = (0..100).map(|n| format!("w{n} ")).collect();
    let nested = "-\"".repeat(200);
    let long = "x".repeat(400);
    for q in [
        "the",
        "the of and",
        "!!! ??? ...",
        "'; DROP TABLE asset_chunks; --",
        "a & b | !c <-> (d",
        "\"",
        "-",
        "--",
        "-\"",
        "''",
        "\\",
        "%",
        "_",
        "%_%",
        "foo:*",
        ":*",
        "<->",
        "a\u{1}b\u{2}c\u{3}",
        "🦀",
        "\u{202e}\u{fffe}",
        "水",
        "ab",
        "or",
        "or or or",
        "\t\n x",
        &many,
        &distinct,
        &nested,
        &long,
        "<b>mill</b>",
        "tur\\%bine",
        "o'neil's",
    ] {
        let start = Instant::now();
        let page = search(client, q, &[]).await.with_context(|| format!("{q:?}"))?;
        assert!(page["items"].is_array(), "{q:?}");
        assert!(start.elapsed() < QUICK, "{q:?} took {:?}", start.elapsed());
    }
    assert_eq!(names(&search(client, "turbine", &[]).await?), ["en.txt"], "nothing was dropped");
    let long = "x".repeat(401);
    for (query, field) in [
        ("", "q"),
        ("q=", "q"),
        ("q=%20%09", "q"),
        (&format!("q={long}"), "q"),
        ("q=a&limit=0", "limit"),
        ("q=a&limit=201", "limit"),
        ("q=a&cursor=x", "cursor"),
        ("q=a&cursor=AAAA", "cursor"),
        ("q=a&asset=x", "asset"),
        ("q=a&language=en", "language"),
        ("q=a%00", "query"),
    ] {
        invalid(&client.get(&format!("/v1/search?{query}")).await?, field);
    }
    stack.drain().await
}
