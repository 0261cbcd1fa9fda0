//! Documents within documents: attachments become documents of their own, once, and go with the last that holds them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Stack, Until, workspace_root};
use millrace_tests::{Ledger, short_lease, until};
use serde_json::{Value, json};

use super::description::problem;

const PATIENCE: Duration = Duration::from_secs(60);

/// A mail with these texts attached; one whose name ends in `.eml` is a mail.
pub(super) fn mail(subject: &str, attachments: &[(&str, &str)]) -> String {
    let boundary = format!("b-{}", subject.replace(' ', "-"));
    let mut text = format!(
        "From: The mill <mill@example.org>\r\nMIME-Version: 1.0\r\nSubject: {subject}\r\n\
         Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n\r\nWords of {subject}.\r\n"
    );
    for (name, content) in attachments {
        let kind = if name.ends_with(".eml") { "message/rfc822" } else { "text/plain" };
        let _ = write!(
            text,
            "--{boundary}\r\nContent-Type: {kind}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n"
        );
    }
    text + &format!("--{boundary}--\r\n")
}

async fn asset(client: &Client, id: &Value) -> Result<Value> {
    client.get(&format!("/v1/assets/{}", id.as_str().context("no id")?)).await?.expect(200)
}

/// Waits until an asset has come to an end.
pub(super) async fn processed(client: &Client, id: &Value) -> Result<Value> {
    let mut last = Value::Null;
    until("the asset is processed", PATIENCE, async || {
        last = asset(client, id).await?;
        Ok(last["state"] != "pending")
    })
    .await?;
    Ok(last)
}

/// Uploads a document and waits for it.
pub(super) async fn upload(client: &Client, name: &str, content: String) -> Result<Value> {
    let uploaded = client.upload(name, content).await?.json()?;
    processed(client, &uploaded["asset"]["id"]).await
}

async fn parts(client: &Client, asset: &Value) -> Result<Vec<Value>> {
    let path = format!("/v1/assets/{}/parts", asset["id"].as_str().context("no id")?);
    let page = client.get(&format!("{path}?limit=200")).await?.expect(200)?;
    Ok(page["items"].as_array().context("no items")?.clone())
}

pub(super) async fn delete(client: &Client, asset: &Value) -> Result<u16> {
    Ok(client.delete(&format!("/v1/assets/{}", asset["id"].as_str().context("no id")?)).await?.status)
}

async fn process_again(client: &Client, asset: &Value) -> Result<()> {
    let job = client.submit("asset.process", &json!({ "asset_id": asset["id"] })).await?;
    client.wait_job(job["id"].as_str().context("no id")?, PATIENCE).await?;
    Ok(())
}

/// The objects in the store; one that is still being written has a `#` in its name.
pub(super) fn stored(stack: &Stack) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![stack.dir().join("storage")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let is_whole = !entry.file_name().to_string_lossy().contains('#');
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if is_whole => files.push(path),
                _ => {}
            }
        }
    }
    files
}

#[tokio::test]
async fn the_documents_in_a_mail_are_documents_of_their_own() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let file = workspace_root().join("fixtures/documents/pruefbericht-de.eml");
    let uploaded = client.upload_file(&file).await?.expect(202)?;
    let mail = processed(client, &uploaded["asset"]["id"]).await?;
    assert_eq!(
        (&mail["state"], &mail["media_type"], &mail["parts"]),
        (&json!("ready"), &json!("message/rfc822"), &json!(4)),
        "{mail}"
    );
    assert_eq!(mail["title"], "Wehr und Rad: Prüfbericht nach dem Hochwasser");

    let listed = parts(client, &mail).await?;
    let told: Vec<_> = listed.iter().map(|part| (part["name"].as_str(), part["reason"].as_str())).collect();
    let expected = [
        (Some("wappen.png"), Some("unsupported_media_type")),
        (Some("Notas da levada.pdf"), None),
        (Some("Смена воды.docx"), None),
        (Some("Hochwasser am Wochenende.eml"), None),
    ];
    assert_eq!(told, expected);
    assert_eq!((&listed[0]["asset_id"], &listed[0]["media_type"]), (&Value::Null, &json!("image/png")));
    for (part, words) in listed[1..].iter().zip(["levada", "колесо", "Schützen"]) {
        let child = processed(client, &part["asset_id"]).await?;
        assert_eq!(
            (&child["state"], &child["name"], &child["sha256"].is_string()),
            (&json!("ready"), &part["name"], &true),
            "{child}"
        );
        assert_eq!(child["size_bytes"], part["size_bytes"]);
        let text = client.get(&format!("/v1/assets/{}/text", part["asset_id"].as_str().context("no id")?)).await?;
        assert!(text.text().contains(words), "{}", text.text());
    }
    let path = format!("/v1/assets/{}/parts", mail["id"].as_str().context("no id")?);
    let first = client.get(&format!("{path}?limit=3")).await?.expect(200)?;
    let rest = client
        .get(&format!("{path}?cursor={}", first["next_cursor"].as_str().context("no cursor")?))
        .await?
        .expect(200)?;
    assert_eq!((rest["items"][0]["ordinal"].clone(), rest["next_cursor"].clone()), (json!(3), Value::Null));
    stack.drain().await
}

#[tokio::test]
async fn what_two_mails_hold_is_one_document_and_goes_with_the_last_of_them() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let shared = ("levels.txt", "The water rose by a metre.");
    let first = upload(client, "1.eml", mail("one", &[shared, ("a.txt", "Only in the first.")])).await?;
    let inner = mail("inner", &[shared, ("deep.txt", "Deep in the second.")]);
    let second = upload(client, "2.eml", mail("two", &[("copy.txt", shared.1), ("inner.eml", &inner)])).await?;
    let (of_first, of_second) = (parts(client, &first).await?, parts(client, &second).await?);
    assert_eq!(of_first[0]["asset_id"], of_second[0]["asset_id"]);
    assert_eq!((&of_first[0]["name"], &of_second[0]["name"]), (&json!("levels.txt"), &json!("copy.txt")));
    let inner = processed(client, &of_second[1]["asset_id"]).await?;
    let of_inner = parts(client, &inner).await?;
    assert_eq!(of_inner[0]["asset_id"], of_first[0]["asset_id"]);
    for part in of_first.iter().chain(&of_inner) {
        assert_eq!(processed(client, &part["asset_id"]).await?["state"], "ready");
    }
    assert_eq!(stored(&stack).len(), 6, "two mails, one in the second, three texts");

    let stranger = stack.client_of_other_org().await?;
    let theirs = upload(&stranger, "1.eml", mail("one", &[shared])).await?;
    assert_ne!(parts(&stranger, &theirs).await?[0]["asset_id"], of_first[0]["asset_id"]);

    assert_eq!(delete(client, &first).await?, 204);
    problem(
        &client.get(&format!("/v1/assets/{}", of_first[1]["asset_id"].as_str().context("no id")?)).await?,
        404,
        "not_found",
    );
    assert_eq!(asset(client, &of_first[0]["asset_id"]).await?["state"], "ready", "the second mail holds it");
    assert_eq!(delete(client, &second).await?, 204);
    assert_eq!(client.get("/v1/assets").await?.expect(200)?["items"], json!([]));
    assert_eq!(stranger.get("/v1/assets").await?.expect(200)?["items"].as_array().map(Vec::len), Some(2));
    stack.drain().await
}

#[tokio::test]
async fn what_was_uploaded_for_itself_outlives_the_mails_that_hold_it() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let before = upload(client, "mine.txt", "Uploaded before.".to_owned()).await?;
    let mail =
        upload(client, "m.eml", mail("m", &[("b.txt", "Uploaded before."), ("a.txt", "Uploaded after.")])).await?;
    let held = parts(client, &mail).await?;
    assert_eq!(held[0]["asset_id"], before["id"]);
    let after = client.upload("after.txt", "Uploaded after.").await?.expect(200)?;
    assert_eq!((&after["asset"]["id"], &after["duplicate"]), (&held[1]["asset_id"], &json!(true)));
    assert_eq!(delete(client, &mail).await?, 204);
    for part in &held {
        assert_eq!(processed(client, &part["asset_id"]).await?["state"], "ready");
    }
    stack.drain().await
}

#[tokio::test]
async fn a_mail_that_is_processed_again_doubles_nothing_and_brings_back_what_was_deleted() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let mail = upload(client, "m.eml", mail("m", &[("a.txt", "First words."), ("b.txt", "Second words.")])).await?;
    let before = parts(client, &mail).await?;
    for part in &before {
        processed(client, &part["asset_id"]).await?;
    }
    process_again(client, &mail).await?;
    assert_eq!(parts(client, &mail).await?, with_state(&before, "ready"));
    assert_eq!(stored(&stack).len(), 3);

    assert_eq!(delete(client, &json!({ "id": before[0]["asset_id"] })).await?, 204);
    let gone = parts(client, &mail).await?;
    assert_eq!((&gone[0]["asset_id"], &gone[0]["reason"]), (&Value::Null, &json!("deleted")));
    process_again(client, &mail).await?;
    let again = parts(client, &mail).await?;
    assert_eq!((&again[0]["reason"], &again[1]["asset_id"]), (&Value::Null, &before[1]["asset_id"]));
    assert_eq!(processed(client, &again[0]["asset_id"]).await?["state"], "ready");
    stack.drain().await
}

fn with_state(parts: &[Value], state: &str) -> Vec<Value> {
    let mut parts = parts.to_vec();
    parts.iter_mut().for_each(|part| part["state"] = json!(state));
    parts
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_named_and_the_mail_is_ready() -> Result<()> {
    let stack = Stack::builder()
        .worker_env("MILLRACE_PARTS_MAX", "3")
        .worker_env("MILLRACE_PARTS_MAX_BYTES", "2KiB")
        .worker_env("MILLRACE_PARTS_MAX_DEPTH", "2")
        .start()
        .await?;
    let client = stack.client();
    let reasons =
        |parts: &[Value]| parts.iter().map(|part| part["reason"].as_str().map(str::to_owned)).collect::<Vec<_>>();

    let texts: Vec<(String, String)> =
        (0..5).map(|number| (format!("{number}.txt"), format!("Text {number}."))).collect();
    let listed: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let many = upload(client, "many.eml", mail("many", &listed)).await?;
    let too_many = Some("too_many".to_owned());
    assert_eq!(reasons(&parts(client, &many).await?), [None, None, None, too_many.clone(), too_many.clone()]);
    assert_eq!(many["state"], "ready");
    assert_eq!(
        many["warnings"],
        json!([{ "code": "parts_left_out", "page": null, "message": "left out, being more than may be kept of one document: 3.txt, 4.txt" }])
    );

    let large = "w".repeat(3_000);
    let large = upload(client, "large.eml", mail("large", &[("large.txt", &large), ("small.txt", "Small.")])).await?;
    assert_eq!(reasons(&parts(client, &large).await?), [Some("too_large".to_owned()), None]);

    // All that one upload holds counts together, at any depth.
    let third = mail("third", &[("deepest.txt", "Deepest.")]);
    let second = mail("second", &[("third.eml", &third), ("x.txt", "X."), ("y.txt", "Y."), ("z.txt", "Z.")]);
    let first = upload(client, "first.eml", mail("first", &[("second.eml", &second)])).await?;
    let second = processed(client, &parts(client, &first).await?[0]["asset_id"]).await?;
    let of_second = parts(client, &second).await?;
    assert_eq!(reasons(&of_second), [None, None, too_many.clone(), too_many]);
    let third = processed(client, &of_second[0]["asset_id"]).await?;
    assert_eq!(reasons(&parts(client, &third).await?), [Some("too_deep".to_owned())]);
    assert_eq!(third["state"], "ready");
    stack.drain().await
}

/// A file that holds itself takes art to make; here the mail is told to be what it holds.
#[tokio::test]
async fn a_document_that_holds_itself_ends_there() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let inner = mail("inner", &[("self.txt", "Myself.")]);
    let outer = upload(client, "outer.eml", mail("outer", &[("inner.eml", &inner)])).await?;
    let inner = processed(client, &parts(client, &outer).await?[0]["asset_id"]).await?;
    let text = processed(client, &parts(client, &inner).await?[0]["asset_id"]).await?;
    let ledger = Ledger::open(stack.database_url())?;
    let id = |asset: &Value| asset["id"].as_str().and_then(|id| id.parse::<uuid::Uuid>().ok()).context("no id");
    sqlx::query("UPDATE assets SET sha256 = sha256(sha256) WHERE id = $1")
        .bind(id(&text)?)
        .execute(ledger.pool())
        .await?;
    sqlx::query("UPDATE assets SET sha256 = sha256('Myself.') WHERE id = $1")
        .bind(id(&outer)?)
        .execute(ledger.pool())
        .await?;
    process_again(client, &inner).await?;
    let listed = parts(client, &inner).await?;
    assert_eq!((&listed[0]["asset_id"], &listed[0]["reason"]), (&Value::Null, &json!("cycle")));
    stack.drain().await
}

/// The worker is killed when the parts are stored and the rows are not.
#[tokio::test]
async fn a_worker_that_is_killed_between_storing_and_committing_doubles_no_part() -> Result<()> {
    let mut stack = short_lease(Stack::builder()).start().await?;
    let ledger = Ledger::open(stack.database_url())?;
    let client = stack.client().clone();
    let content = mail("m", &[("a.txt", "First words."), ("b.txt", "Second words.")]);
    // Whoever ends a document's job writes its text, and waits for this.
    let mut holder = ledger.pool().begin().await?;
    sqlx::query("LOCK TABLE asset_texts IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    let uploaded = client.upload("m.eml", content).await?.expect(202)?;
    until("both parts are stored", PATIENCE, async || Ok(stored(&stack).len() == 3)).await?;
    stack.workers[0].kill().await?;
    holder.rollback().await?;
    stack.workers[0].start_again(Until::Ready).await?;

    let mail = processed(&client, &uploaded["asset"]["id"]).await?;
    assert_eq!(mail["state"], "ready", "{mail}");
    for part in parts(&client, &mail).await? {
        assert_eq!(processed(&client, &part["asset_id"]).await?["state"], "ready");
    }
    assert_eq!(client.get("/v1/assets").await?.expect(200)?["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(ledger.hurry_strays().await?, 2, "what the first run stored");
    until("only what is named is stored", PATIENCE, async || Ok(stored(&stack).len() == 3)).await?;
    for part in parts(&client, &mail).await? {
        let job = client.submit("asset.process", &json!({ "asset_id": part["asset_id"] })).await?;
        let job = client.wait_job(job["id"].as_str().context("no id")?, PATIENCE).await?;
        assert_eq!(job["state"], "succeeded", "its bytes are there: {job}");
    }
    let jobs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE kind = 'asset.process'").fetch_one(ledger.pool()).await?;
    assert_eq!(jobs, 5, "one job a document, and the two just now");
    stack.drain().await
}
