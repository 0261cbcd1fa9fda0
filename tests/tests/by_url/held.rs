//! Documents in a document of a URL, and what a worker leaves that dies while it fetches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Until};
use millrace_tests::{Step, Web, answer, until};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{PATIENCE, ended, fetch, fetching, path, post, stored};

/// A mail with these texts attached.
fn mail(texts: &[&str]) -> String {
    let part = |text: &&str| {
        format!("--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n{text}\r\n")
    };
    let parts: String = texts.iter().map(part).collect();
    format!(
        "From: mill@example.org\r\nMIME-Version: 1.0\r\nSubject: Words\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n"
    )
}

async fn items(client: &Client, path: &str) -> Result<Vec<Value>> {
    let page = client.get(path).await?.expect(200)?;
    Ok(page["items"].as_array().context("no items")?.clone())
}

/// The parts of a document, once all are read.
async fn parts(client: &Client, asset: &Value) -> Result<Vec<Value>> {
    let path = format!("/v1/assets/{}/parts", asset["id"].as_str().context("no id")?);
    let mut parts = Vec::new();
    until("all parts are read", PATIENCE, async || {
        parts = items(client, &path).await?;
        Ok(parts.iter().all(|part| part["state"] != "pending"))
    })
    .await?;
    Ok(parts)
}

/// One for each version, none like another: search takes words that are alike where nothing has the words.
const WORDS: [&str; 5] = ["", "granite", "bicycle", "umbrella", "zoology"];

#[tokio::test]
async fn what_a_new_version_no_longer_holds_is_deleted_and_counts_no_more() -> Result<()> {
    let version = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&version);
    let web = Web::start("127.0.0.1", move |_, _| {
        let version = now.load(Ordering::Relaxed);
        let first = if version == 1 { "Words of both.".to_owned() } else { format!("First of {version}.") };
        let (second, third) = (format!("Second of {version}: {}.", WORDS[version]), format!("Third of {version}."));
        answer(200, &[], mail(&[&first, &second, &third]).as_bytes())
    })
    .await?;
    let stack = fetching().worker_env("MILLRACE_PARTS_MAX", "3").start().await?;
    let client = stack.client();
    let url = web.url("/words.eml");
    let (_, document) = fetch(client, &url).await?;
    let of_first = parts(client, &document).await?;
    let other = client.upload("other.eml", mail(&["Words of both."])).await?.expect(202)?;
    let (_, other) = ended(client, &other).await?;
    assert_eq!(parts(client, &other).await?[0]["asset_id"], of_first[0]["asset_id"]);

    for next in 2..=4 {
        version.store(next, Ordering::Relaxed);
        let (job, document) = fetch(client, &url).await?;
        assert_eq!(job["state"], "succeeded", "{job}");
        let held = parts(client, &document).await?;
        assert!(held.len() == 3 && held.iter().all(|part| part["state"] == "ready"), "version {next}: {held:?}");
        assert_eq!(items(client, "/v1/assets").await?.len(), 6, "two mails, three parts, and the one of both");
    }
    for (version, hits) in [(1, 0), (3, 0), (4, 1)] {
        let found = items(client, &format!("/v1/search?q={}", WORDS[version])).await?;
        assert_eq!(found.len(), hits, "version {version}: {found:?}");
    }
    until("what nobody names is swept", PATIENCE, async || Ok(stored(&stack).len() == 6)).await?;

    assert_eq!(client.delete(&format!("/v1/assets/{}", document["id"].as_str().context("no id")?)).await?.status, 204);
    assert_eq!(items(client, "/v1/assets").await?.len(), 2, "the other mail and what it holds");
    assert_eq!(parts(client, &other).await?[0]["state"], "ready");
    until("its objects are swept", PATIENCE, async || Ok(stored(&stack).len() == 2)).await?;
    stack.drain().await
}

/// Whether a process has an open file of this directory, with a name or without, that has something in it.
fn has_written_below(pid: u32, directory: &Path) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.map(|entry| entry.path()).any(|descriptor| {
        let is_below = std::fs::read_link(&descriptor).is_ok_and(|leads_to| leads_to.starts_with(directory));
        is_below && std::fs::metadata(&descriptor).is_ok_and(|about| about.is_file() && about.len() > 0)
    })
}

#[tokio::test]
async fn a_killed_worker_leaves_nothing_of_a_document_on_the_disk() -> Result<()> {
    let release = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&release);
    let web = Web::start("127.0.0.1", move |_, _| {
        let begin = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nWords that nobody else should read. ";
        vec![Step::Send(begin.as_bytes().to_vec()), Step::Await(Arc::clone(&held))]
    })
    .await?;
    let mut stack = fetching().workers(0).start().await?;
    let temporary = stack.dir().canonicalize()?.join("temporary");
    std::fs::create_dir(&temporary)?;
    stack.add_worker_with(&[("TMPDIR", &temporary.display().to_string())], Until::Ready).await?;
    let client = stack.client().clone();
    // Children that wait for documents are there, too.
    let read = client.upload("words.txt", "Words.").await?.expect(202)?;
    assert_eq!(ended(&client, &read).await?.0["state"], "succeeded");

    let taken = post(&client, &web.url("/words.txt")).await?.expect(202)?;
    let pid = stack.workers[0].process().pid();
    until("some of it is on the disk", PATIENCE, async || Ok(has_written_below(pid, &temporary))).await?;
    stack.workers[0].kill().await?;
    assert_eq!(client.delete(&path(&taken)?).await?.status, 204);
    stack.workers[0].start_again(Until::Ready).await?;
    let left: Vec<_> = std::fs::read_dir(&temporary)?.flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    release.add_permits(1);
    stack.drain().await
}
