//! The same URL again: nothing is done where nothing has changed, and a change is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use millrace_tests::{Step, Web, answer, redirect, until};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{PATIENCE, ended, fetch, fetching, path, post, stored, text};

#[tokio::test]
async fn a_document_that_has_not_changed_is_not_taken_again() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, _| match asked.path() {
        "/tagged" if asked.header("if-none-match") == Some("\"v1\"") => answer(304, &[], b""),
        "/tagged" => answer(200, &[("ETag", "\"v1\"")], b"Tagged words."),
        "/dated" if asked.header("if-modified-since") == Some("Sat, 31 Jan 2026 08:00:00 GMT") => answer(304, &[], b""),
        "/dated" => answer(200, &[("Last-Modified", "Sat, 31 Jan 2026 08:00:00 GMT")], b"Dated words."),
        "/moved" => redirect("/tagged"),
        _ => answer(200, &[], b"Words without a version."),
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();
    for path in ["/tagged", "/dated", "/bare", "/moved"] {
        let (_, first) = fetch(client, &web.url(path)).await?;
        let before = (stored(&stack), web.asked().len());
        let again = post(client, &web.url(path)).await?.expect(202)?;
        assert_eq!((&again["duplicate"], &again["asset"]["id"]), (&json!(true), &first["id"]), "{path}");
        let (job, second) = ended(client, &again).await?;
        assert_eq!(
            (&job["state"], &job["result"]["not_modified"]),
            (&json!("succeeded"), &json!(true)),
            "{path}: {job}"
        );
        assert!(web.asked().len() > before.1, "{path} was not asked for");
        assert_eq!((&second["state"], &second["sha256"]), (&json!("ready"), &first["sha256"]), "{path}");
        assert_ne!(second["fetched_at"], first["fetched_at"], "{path}");
        assert_eq!(stored(&stack), before.0, "{path}");
        assert!(text(client, &again).await?.contains("ords"), "{path} has lost its text");
    }
    // What an address says of its version is told to that address alone.
    let (to_moved, _): (Vec<_>, Vec<_>) = web.asked().into_iter().partition(|asked| asked.path() == "/moved");
    assert!(to_moved.iter().all(|asked| asked.header("if-none-match").is_none()), "{to_moved:?}");
    stack.drain().await
}

#[tokio::test]
async fn changed_bytes_replace_the_text_and_the_object() -> Result<()> {
    let version = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&version);
    let web = Web::start("127.0.0.1", move |_, _| {
        let version = now.load(Ordering::Relaxed);
        answer(200, &[("ETag", &format!("\"v{version}\""))], format!("Version {version} of the words.").as_bytes())
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();
    let url = web.url("/words.txt");
    let (_, first) = fetch(client, &url).await?;
    let old = stored(&stack);
    version.store(2, Ordering::Relaxed);
    let again = post(client, &url).await?.expect(202)?;
    let (job, second) = ended(client, &again).await?;
    assert_eq!((&job["state"], &second["state"]), (&json!("succeeded"), &json!("ready")), "{job}");
    assert_ne!(second["sha256"], first["sha256"]);
    assert_eq!(text(client, &again).await?, "Version 2 of the words.");
    until("the old object is swept", PATIENCE, async || Ok(stored(&stack).len() == 1)).await?;
    assert_ne!(stored(&stack), old);

    // The bytes that are there are read again without anybody being asked.
    let asked = web.asked().len();
    let job = client.submit("asset.process", &json!({ "asset_id": second["id"] })).await?;
    let job = client.wait_job(job["id"].as_str().unwrap_or_default(), PATIENCE).await?;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(web.asked().len(), asked);
    assert_eq!(text(client, &again).await?, "Version 2 of the words.");

    assert_eq!(client.delete(&path(&again)?).await?.status, 204);
    until("the object is swept", PATIENCE, async || Ok(stored(&stack).is_empty())).await?;
    stack.drain().await
}

#[tokio::test]
async fn a_change_that_cannot_be_read_leaves_the_bytes_of_before() -> Result<()> {
    let web = Web::start("127.0.0.1", |_, before| match before {
        0 | 2 => answer(200, &[("ETag", "\"good\"")], b"Good words."),
        _ => answer(200, &[("ETag", "\"bad\"")], b"%PDF-1.7\nthis is no PDF at all"),
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();
    let url = web.url("/words");
    let (_, first) = fetch(client, &url).await?;
    let objects = stored(&stack);
    let (job, failed) = fetch(client, &url).await?;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("dead"), &json!("malformed")));
    assert_eq!(
        (&failed["state"], &failed["reprocess_error"]["code"]),
        (&json!("ready"), &json!("malformed")),
        "{failed}"
    );
    assert_eq!(failed["sha256"], first["sha256"], "the record names what its text is of");
    let text = client.get(&format!("/v1/assets/{}/text", first["id"].as_str().unwrap_or_default())).await?;
    assert_eq!(text.text().trim(), "Good words.");
    assert_eq!(stored(&stack), objects);
    let (job, third) = fetch(client, &url).await?;
    assert_eq!((&job["result"]["not_modified"], &third["state"]), (&json!(true), &json!("ready")), "{job}");
    assert_eq!(third["reprocess_error"], json!(null), "what failed is over");
    assert_eq!(web.asked()[2].header("if-none-match"), Some("\"good\""));
    stack.drain().await
}

#[tokio::test]
async fn one_url_is_one_asset_of_each_organisation_and_uploads_stay_apart() -> Result<()> {
    let web = Web::start("127.0.0.1", |_, _| answer(200, &[], b"The same words.")).await?;
    let stack = fetching().workers(0).start().await?;
    let client = stack.client();
    let url = web.url("/words.txt");
    let posts: Vec<_> = (0..8)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move { post(&client, &url).await?.expect(202) })
        })
        .collect();
    let mut assets = std::collections::HashSet::new();
    let mut jobs = std::collections::HashSet::new();
    for posted in posts {
        let posted = posted.await??;
        assets.insert(posted["asset"]["id"].to_string());
        jobs.insert(posted["job"]["id"].to_string());
    }
    assert_eq!((assets.len(), jobs.len()), (1, 1), "eight at once are one asset, and a job that waits does for all");
    let mut stack = stack;
    stack.add_worker().await?;
    let client = stack.client();
    let (_, ours) = fetch(client, &format!("{url}#part")).await?;
    assert!(assets.contains(&ours["id"].to_string()));

    let stranger = stack.client_of_other_org().await?;
    let taken = post(&stranger, &url).await?.expect(202)?;
    assert_eq!(taken["duplicate"], false);
    let (_, theirs) = ended(&stranger, &taken).await?;
    assert_ne!(theirs["id"], ours["id"]);
    assert_eq!(stranger.get(&format!("/v1/assets/{}", ours["id"].as_str().unwrap_or_default())).await?.status, 404);

    let uploaded = client.upload("words.txt", "The same words.").await?.expect(202)?;
    assert_eq!(uploaded["duplicate"], false, "an upload is told apart from what an address gives");
    assert_eq!(client.upload("words.txt", "The same words.").await?.json()?["duplicate"], true);
    assert_eq!(
        fetch(client, &web.url("/other.txt")).await?.1["state"],
        "ready",
        "two addresses may give the same bytes"
    );
    stack.drain().await
}

#[tokio::test]
async fn a_post_while_a_fetch_runs_is_followed_by_another_fetch() -> Result<()> {
    let release = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&release);
    let web = Web::start("127.0.0.1", move |_, before| {
        let words = answer(200, &[], format!("Version {before}.").as_bytes());
        if before == 0 { [vec![Step::Await(Arc::clone(&held))], words].concat() } else { words }
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();
    let url = web.url("/words.txt");
    let first = post(client, &url).await?.expect(202)?;
    until("the fetch has begun", PATIENCE, async || Ok(web.asked().len() == 1)).await?;
    let second = post(client, &url).await?.expect(202)?;
    assert_ne!(first["job"]["id"], second["job"]["id"], "the one that runs may have seen the bytes of before");
    release.add_permits(1);
    assert_eq!(ended(client, &first).await?.0["state"], "succeeded");
    assert_eq!(ended(client, &second).await?.0["state"], "succeeded");
    assert_eq!(text(client, &second).await?, "Version 1.");
    stack.drain().await
}
