//! Documents: what goes in comes out as text and chunks, the same bytes are one document, and deletion is whole.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Stack, Until, workspace_root};
use millrace_tests::until;
use serde_json::{Value, json};

use super::description::problem;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the job of an upload and gives the asset as it is then.
async fn processed(client: &Client, uploaded: &Value) -> Result<Value> {
    client.wait_job(uploaded["job"]["id"].as_str().context("no job")?, PATIENCE).await?;
    client.get(&path(uploaded)?).await?.expect(200)
}

fn path(uploaded: &Value) -> Result<String> {
    Ok(format!("/v1/assets/{}", uploaded["asset"]["id"].as_str().context("no asset")?))
}

/// Files below the stack's storage.
fn stored(stack: &Stack) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![stack.dir().join("storage")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() { directories.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}

async fn all_chunks(client: &Client, path: &str) -> Result<Vec<Value>> {
    let mut chunks = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let page = client.get(&format!("{path}/chunks?{query}")).await?.expect(200)?;
        chunks.extend(page["items"].as_array().context("no items")?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => query = format!("limit=3&cursor={next}"),
            None => return Ok(chunks),
        }
    }
}

#[tokio::test]
async fn every_document_of_the_fixtures_comes_out_as_text_and_chunks() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let mut types = HashSet::new();
    for entry in std::fs::read_dir(workspace_root().join("fixtures/documents"))? {
        let file = entry?.path();
        let uploaded = client.upload_file(&file).await?.expect(202)?;
        let asset = processed(client, &uploaded).await?;
        let name = file.file_name().context("no name")?.to_string_lossy().into_owned();
        assert_eq!(asset["state"], "ready", "{name}: {asset}");
        assert_eq!(asset["name"], name.as_str());
        types.insert(asset["media_type"].as_str().context("no type")?.to_owned());

        let path = path(&uploaded)?;
        let text = client.get(&format!("{path}/text")).await?;
        assert_eq!((text.status, text.content_type()), (200, Some("text/plain")), "{name}");
        let text: Vec<char> = text.text().chars().collect();
        let chunks = all_chunks(client, &path).await?;
        assert_eq!(json!(chunks.len()), asset["chunks"], "{name}");
        for (ordinal, chunk) in chunks.iter().enumerate() {
            assert_eq!(chunk["ordinal"], ordinal, "{name}");
            let offset = |field: &str| {
                chunk[field].as_u64().and_then(|offset| usize::try_from(offset).ok()).context("no offset")
            };
            let slice: String = text[offset("start_char")?..offset("end_char")?].iter().collect();
            assert_eq!(chunk["text"], slice.as_str(), "{name}: chunk {ordinal} is not where it says");
        }
    }
    for wanted in ["application/pdf", "text/html", "text/markdown", "text/plain"] {
        assert!(types.contains(wanted), "{wanted} is missing from {types:?}");
    }
    assert!(types.iter().any(|found| found.contains("wordprocessingml")), "{types:?}");
    stack.drain().await
}

#[tokio::test]
async fn an_asset_tells_what_its_document_states_of_itself() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let page = "<!DOCTYPE html><html lang='en-GB'><head><title>Il mulino</title><meta name=author content='La mugnaia'>\
        <meta name=dcterms.created content='2026-02-03T04:05:06+01:00'></head><body><p>La ruota del mulino perde metà dell’acqua \
        e d’inverno gela, perciò il mugnaio vuole una turbina nuova.</p></body></html>";
    let uploaded = client.upload("page.html", page.as_bytes().to_vec()).await?.expect(202)?;
    for field in ["author", "document_created_at", "document_modified_at", "language"] {
        assert_eq!(uploaded["asset"][field], Value::Null, "{field} is not known before it is read");
    }
    let asset = processed(client, &uploaded).await?;
    assert_eq!((&asset["title"], &asset["author"]), (&json!("Il mulino"), &json!("La mugnaia")), "{asset}");
    assert_eq!(asset["document_created_at"], "2026-02-03T03:05:06Z");
    assert_eq!(asset["document_modified_at"], Value::Null);
    assert_eq!(asset["language"], "it", "the words say more than the attribute");
    stack.drain().await
}

#[tokio::test]
async fn the_same_bytes_are_one_document() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let first = client.upload("a.txt", "The same words.").await?.expect(202)?;
    assert_eq!(first["duplicate"], false);
    processed(client, &first).await?;
    let again = client.upload("b.txt", "The same words.").await?;
    assert_eq!(again.header("location"), Some(path(&first)?.as_str()));
    let again = again.expect(200)?;
    assert_eq!((&again["duplicate"], &again["asset"]["id"]), (&json!(true), &first["asset"]["id"]));
    assert_eq!((&again["asset"]["name"], &again["job"]["id"]), (&json!("a.txt"), &first["job"]["id"]));
    assert_eq!(stored(&stack).len(), 1, "the second upload's object is gone");

    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.upload("race.txt", vec![b'x'; 3 << 20]).await?.json() })
        })
        .collect();
    let mut ids = HashSet::new();
    for upload in uploads {
        ids.insert(upload.await??["asset"]["id"].to_string());
    }
    assert_eq!(ids.len(), 1, "eight uploads at once are one document");
    until("the other objects are swept", PATIENCE, async || Ok(stored(&stack).len() == 2)).await?;
    stack.drain().await
}

#[tokio::test]
async fn a_document_that_cannot_be_read_says_why_and_may_be_tried_again() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let broken = b"%PDF-1.7\nthis is no PDF at all".to_vec();
    let first = client.upload("broken.pdf", broken.clone()).await?.expect(202)?;
    let asset = processed(client, &first).await?;
    assert_eq!(asset["state"], "failed", "{asset}");
    for field in ["code", "message"] {
        assert!(asset["error"][field].as_str().is_some_and(|text| !text.is_empty()), "{asset}");
    }
    let text = client.get(&format!("{}/text", path(&first)?)).await?;
    problem(&text, 409, "asset_failed");

    let again = client.upload("broken.pdf", broken).await?.expect(202)?;
    assert_eq!((&again["asset"]["id"], &again["duplicate"]), (&first["asset"]["id"], &json!(true)));
    assert_eq!(again["asset"]["state"], "pending");
    assert_ne!(again["job"]["id"], first["job"]["id"]);
    assert_eq!(processed(client, &again).await?["state"], "failed");
    stack.drain().await
}

#[tokio::test]
async fn deletion_is_whole_and_cancels_what_waits() -> Result<()> {
    let mut stack = Stack::builder().workers(0).start().await?;
    let client = stack.client().clone();
    let uploaded = client.upload("a.txt", "Words.").await?.expect(202)?;
    let path = path(&uploaded)?;
    problem(&client.get(&format!("{path}/text")).await?, 409, "asset_pending");
    assert_eq!(stored(&stack).len(), 1);
    assert_eq!(client.delete(&path).await?.status, 204);
    // The object is a worker's to delete, and nothing of the API's is needed for that.
    stack.api.kill().await?;
    stack.add_worker().await?;
    until("the object is swept", PATIENCE, async || Ok(stored(&stack).is_empty())).await?;
    stack.api.start_again(Until::Ready).await?;
    for path in [path.clone(), format!("{path}/text"), format!("{path}/chunks")] {
        problem(&client.get(&path).await?, 404, "not_found");
    }
    problem(&client.delete(&path).await?, 404, "not_found");
    let job =
        client.get(&format!("/v1/jobs/{}", uploaded["job"]["id"].as_str().context("no job")?)).await?.expect(200)?;
    assert_eq!(job["state"], "cancelled");

    let fresh = client.upload("a.txt", "Words.").await?.expect(202)?;
    assert_eq!(fresh["duplicate"], false);
    assert_ne!(fresh["asset"]["id"], uploaded["asset"]["id"]);
    stack.drain().await
}
