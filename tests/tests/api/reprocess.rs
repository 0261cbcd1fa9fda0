//! Documents that are processed again: their text and chunks are the old ones or the new ones, whoever reads when, and never none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Client, Stack, workspace_root};
use millrace_tests::{Ledger, PATIENCE, short_lease, until};
use serde_json::{Value, json};

use super::description::problem;

const LONG: Duration = Duration::from_secs(60);

/// What a reader gets of a document.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    text: String,
    chunks: Vec<Value>,
}

/// A document whose bytes the test changes behind Millrace's back, so that each processing finds another text.
struct Changing {
    client: Client,
    id: String,
    object: PathBuf,
}

impl Changing {
    async fn upload(stack: &Stack, content: &str) -> Result<Self> {
        let client = stack.client().clone();
        let uploaded = client.upload("changing.txt", content.to_owned()).await?.expect(202)?;
        let id = uploaded["asset"]["id"].as_str().context("no asset")?.to_owned();
        let object = stack.dir().join("storage/assets").join(stack.org()).join(&id);
        ensure!(object.is_file(), "there is no object at {}", object.display());
        client.wait_job(uploaded["job"]["id"].as_str().context("no job")?, LONG).await?;
        Ok(Self { client, id, object })
    }

    /// Whoever reads the object at this moment gets the one content or the other.
    fn change(&self, content: &str) -> Result<()> {
        let aside = self.object.with_extension("new");
        std::fs::write(&aside, content)?;
        Ok(std::fs::rename(aside, &self.object)?)
    }

    async fn submit(&self) -> Result<String> {
        let job = self.client.submit("asset.process", &json!({ "asset_id": self.id })).await?;
        Ok(job["id"].as_str().context("no id")?.to_owned())
    }

    async fn process_again(&self) -> Result<Value> {
        self.client.wait_job(&self.submit().await?, LONG).await
    }

    fn path(&self) -> String {
        format!("/v1/assets/{}", self.id)
    }

    async fn asset(&self) -> Result<Value> {
        self.client.get(&self.path()).await?.expect(200)
    }

    async fn read(&self) -> Result<Reading> {
        let text = text(&self.client, &self.path()).await?.context("the text broke off")?;
        let chunks = chunks(&self.client, &self.path(), 50).await?.context("the chunks were replaced")?;
        Ok(Reading { text, chunks })
    }
}

/// The text; `None` if it broke off because it was replaced, or the API had no time.
async fn text(client: &Client, path: &str) -> Result<Option<String>> {
    match client.get(&format!("{path}/text")).await {
        Ok(reply) if reply.status == 503 => Ok(None),
        Ok(reply) => {
            ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
            Ok(Some(reply.text()))
        }
        Err(error) => {
            // Where that happens before anything was sent, there is no answer at all.
            let told = format!("{error:#}");
            let is_replaced = told.contains("broke off") || told.contains("connection closed before message completed");
            if is_replaced { Ok(None) } else { Err(error) }
        }
    }
}

/// All chunks; `None` if they were replaced between two pages, or the API had no time.
async fn chunks(client: &Client, path: &str, limit: u16) -> Result<Option<Vec<Value>>> {
    let mut chunks = Vec::new();
    let mut query = format!("limit={limit}");
    loop {
        let reply = client.get(&format!("{path}/chunks?{query}")).await?;
        if reply.status == 503 || reply.status == 409 && reply.json()?["code"] == "asset_replaced" {
            return Ok(None);
        }
        let page = reply.expect(200)?;
        chunks.extend(page["items"].as_array().context("no items")?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => query = format!("limit={limit}&cursor={next}"),
            None => return Ok(Some(chunks)),
        }
    }
}

/// Pages of one word each, more than a single answer of the database holds.
fn pages(word: &str, count: usize) -> String {
    (0..count).map(|page| format!("{word} {page} ").repeat(12)).collect::<Vec<_>>().join("\u{c}")
}

/// Reads over and over; gives how often it saw each of the two, and fails on anything else.
async fn read_until(stop: Arc<AtomicBool>, client: Client, path: String, known: [Reading; 2]) -> Result<[u32; 2]> {
    let mut seen = [0; 2];
    while !stop.load(Ordering::Relaxed) {
        let asset = client.get(&path).await?;
        let is_ready = asset.status == 503 || asset.expect(200)?["state"] == "ready";
        ensure!(is_ready, "an asset with text is {}", asset.text());
        let text = text(&client, &path).await?;
        if let Some(text) = text {
            let which = known.iter().position(|known| known.text == text);
            seen[which.with_context(|| format!("a mixed or partial text of {} bytes", text.len()))?] += 1;
        }
        if let Some(chunks) = chunks(&client, &path, 100).await? {
            let is_known = known.iter().any(|known| known.chunks == chunks);
            ensure!(is_known, "{} mixed or partial chunks", chunks.len());
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn readers_see_the_old_text_or_the_new_one_while_a_document_is_processed_again() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let contents = [pages("alpha", 450), pages("beta", 700)];
    let document = Changing::upload(&stack, &contents[0]).await?;
    let first = document.read().await?;
    document.change(&contents[1])?;
    document.process_again().await?;
    let second = document.read().await?;
    assert_eq!((first.chunks.len(), second.chunks.len()), (450, 700));
    assert!(first.text.starts_with("alpha 0") && second.text.trim_end().ends_with("beta 699"));

    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let known = [first.clone(), second.clone()];
            tokio::spawn(read_until(Arc::clone(&stop), document.client.clone(), document.path(), known))
        })
        .collect();
    for round in 0..16 {
        document.change(&contents[round % 2])?;
        let job = document.process_again().await?;
        assert_eq!(job["state"], "succeeded", "{job}");
        if readers.iter().any(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = [0; 2];
    for reader in readers {
        let counts = reader.await??;
        seen = [seen[0] + counts[0], seen[1] + counts[1]];
    }
    assert!(seen[0] > 0 && seen[1] > 0, "readers must have met both: {seen:?}");
    assert_eq!(document.asset().await?["revision"], 18);
    stack.drain().await
}

#[tokio::test]
async fn a_list_of_chunks_that_were_replaced_is_to_be_read_anew() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let document = Changing::upload(&stack, &pages("alpha", 9)).await?;
    let path = format!("{}/chunks", document.path());
    let page = document.client.get(&format!("{path}?limit=3")).await?.expect(200)?;
    let next = page["next_cursor"].as_str().context("no cursor")?.to_owned();
    document.client.get(&format!("{path}?limit=3&cursor={next}")).await?.expect(200)?;
    document.process_again().await?;
    problem(&document.client.get(&format!("{path}?limit=3&cursor={next}")).await?, 409, "asset_replaced");
    assert_eq!(document.client.get(&format!("{path}?limit=3")).await?.expect(200)?["items"], page["items"]);
    stack.drain().await
}

#[tokio::test]
async fn a_document_that_cannot_be_processed_again_keeps_what_it_had() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let document = Changing::upload(&stack, &pages("alpha", 3)).await?;
    let before = document.read().await?;
    document.change("%PDF-1.7\nthis is no PDF at all")?;
    let job = document.process_again().await?;
    assert_eq!(job["state"], "dead", "{job}");
    let asset = document.asset().await?;
    assert_eq!((&asset["state"], &asset["error"], &asset["revision"]), (&json!("ready"), &Value::Null, &json!(1)));
    assert_eq!((&asset["reprocess_error"]["code"], &asset["job_id"]), (&json!("malformed"), &job["id"]));
    assert_eq!(document.read().await?, before);

    document.change(&pages("alpha", 3))?;
    let id = job["id"].as_str().context("no id")?;
    document.client.post_empty(&format!("/v1/dead-letters/{id}/replay")).await?.expect(202)?;
    assert_eq!(document.client.wait_job(id, LONG).await?["state"], "succeeded");
    let asset = document.asset().await?;
    assert_eq!(
        (&asset["state"], &asset["reprocess_error"], &asset["revision"]),
        (&json!("ready"), &Value::Null, &json!(2))
    );
    assert_eq!(document.read().await?, before, "the same bytes give the same text and chunks");
    stack.drain().await
}

#[tokio::test]
async fn a_worker_killed_while_it_replaces_a_text_leaves_the_old_one_whole() -> Result<()> {
    let mut stack = short_lease(Stack::builder()).start().await?;
    let document = Changing::upload(&stack, &pages("alpha", 20)).await?;
    let before = document.read().await?;
    document.change(&pages("beta", 30))?;

    // Holds the replacement up in its midst: the old text is deleted by then, for whoever could see it.
    let ledger = Ledger::open(stack.database_url())?;
    let mut hold = ledger.pool().begin().await?;
    sqlx::query("LOCK TABLE asset_chunks IN SHARE ROW EXCLUSIVE MODE").execute(&mut *hold).await?;
    let job = document.submit().await?;
    until("the worker is about to replace the chunks", PATIENCE, async || {
        let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'asset_chunks'::regclass AND NOT granted)";
        Ok(sqlx::query_scalar::<_, bool>(waiting).fetch_one(ledger.pool()).await?)
    })
    .await?;
    assert_eq!(document.read().await?, before);
    stack.workers[0].kill().await?;
    assert_eq!(document.read().await?, before);
    hold.rollback().await?;
    let asset = document.asset().await?;
    assert_eq!((&asset["state"], &asset["revision"], &asset["job_id"]), (&json!("ready"), &json!(1), &json!(job)));
    assert_eq!(document.read().await?, before);

    stack.add_worker().await?;
    assert_eq!(document.client.wait_job(&job, LONG).await?["state"], "succeeded");
    assert_eq!(document.asset().await?["revision"], 2);
    let after = document.read().await?;
    assert!(after.text.starts_with("beta 0") && after.chunks.len() == 30, "{} chunks", after.chunks.len());
    stack.drain().await
}

/// What the organisation of `client` gets of a file.
async fn read_file(client: &Client, file: &Path) -> Result<Reading> {
    let uploaded = client.upload_file(file).await?.expect(202)?;
    client.wait_job(uploaded["job"]["id"].as_str().context("no job")?, LONG).await?;
    let path = format!("/v1/assets/{}", uploaded["asset"]["id"].as_str().context("no asset")?);
    let chunks = chunks(client, &path, 200).await?.context("replaced")?;
    Ok(Reading { text: text(client, &path).await?.context("broke off")?, chunks })
}

#[tokio::test]
async fn the_same_bytes_give_the_same_chunks_with_their_headings() -> Result<()> {
    let builder = Stack::builder().workers(2).worker_env("MILLRACE_CHUNK_CHARS", "200");
    let stack = builder.worker_env("MILLRACE_CHUNK_OVERLAP_CHARS", "80").start().await?;
    let other = stack.client_of_other_org().await?;
    for name in ["handbuch-de.pdf", "release-notes-en.md", "smena-ru.docx", "pegel-de.xlsx"] {
        let file = workspace_root().join("fixtures/documents").join(name);
        let reading = read_file(stack.client(), &file).await?;
        assert_eq!(reading, read_file(&other, &file).await?, "{name}");
        let has_path = |chunk: &Value| chunk["headings"].as_array().is_some_and(|headings| !headings.is_empty());
        assert_eq!(reading.chunks.iter().any(has_path), name != "handbuch-de.pdf", "{name}: {:?}", reading.chunks);
    }
    stack.drain().await
}
