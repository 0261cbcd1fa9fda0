//! Fetching from servers that behave well, badly and worse.

use std::time::{Duration, Instant};

use anyhow::Result;
use millrace_tests::{Certificate, Step, Web, answer, redirect, short_lease, until};
use serde_json::json;

use super::{PATIENCE, ended, fetch, fetching, first_failure, path, post, stored, text};

fn head(headers: &str) -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n").into_bytes())
}

fn endless(pause: Duration) -> Step {
    Step::Drip(b"words ".repeat(50), pause)
}

#[tokio::test]
async fn a_document_is_fetched_read_and_named() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, _| match asked.path() {
        "/named?key=1" => answer(
            200,
            &[("Content-Disposition", "attachment; filename=\"../Levels.html\"")],
            b"<!DOCTYPE html><html><body><p>Water rose.</p></body></html>",
        ),
        "/a/hop" => redirect("../b/plain%20words.txt#part"),
        _ => answer(200, &[("Content-Type", "image/png")], b"Plain words, whatever the server calls them."),
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();

    let taken = post(client, &web.url("/named?key=1")).await?.expect(202)?;
    let asset = &taken["asset"];
    assert_eq!(
        (&asset["state"], &asset["name"], &taken["duplicate"]),
        (&json!("pending"), &json!("named"), &json!(false))
    );
    assert_eq!(
        (&asset["media_type"], &asset["size_bytes"], &asset["sha256"]),
        (&json!(null), &json!(null), &json!(null))
    );
    let (job, asset) = ended(client, &taken).await?;
    assert_eq!((&job["state"], &asset["state"]), (&json!("succeeded"), &json!("ready")), "{job}");
    assert_eq!((&asset["name"], &asset["media_type"]), (&json!("Levels.html"), &json!("text/html")));
    assert!(asset["size_bytes"].is_u64() && asset["fetched_at"].is_string(), "{asset}");
    assert_eq!(text(client, &taken).await?, "Water rose.");

    let named =
        client.post("/v1/assets", &json!({ "url": web.url("/a/hop"), "name": "My words" })).await?.expect(202)?;
    let (_, asset) = ended(client, &named).await?;
    assert_eq!((&asset["name"], &asset["media_type"]), (&json!("My words"), &json!("text/plain")));
    assert_eq!(text(client, &named).await?, "Plain words, whatever the server calls them.");

    let asked = web.asked();
    assert_eq!(asked.last().map(|asked| asked.path()), Some("/b/plain%20words.txt"));
    for asked in &asked {
        assert!(asked.header("user-agent").is_some_and(|agent| agent.starts_with("Millrace/")), "{asked:?}");
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        for absent in ["authorization", "cookie", "referer"] {
            assert_eq!(asked.header(absent), None);
        }
    }
    assert_eq!(stored(&stack).len(), 2);
    stack.drain().await
}

#[tokio::test]
async fn answers_that_are_no_document_fail_with_a_clear_code() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, _| match asked.path() {
        "/404" => answer(404, &[], b"no"),
        "/401" => answer(401, &[], b"no"),
        "/204" => vec![Step::Send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec())],
        "/206" => answer(206, &[("Content-Range", "bytes 0-1/9")], b"ab"),
        "/304" => vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec())],
        "/empty" => answer(200, &[], b""),
        "/packed" => answer(200, &[("Content-Encoding", "gzip")], b"\x1f\x8b\x08"),
        "/nowhere" => answer(302, &[], b""),
        "/broken" => answer(200, &[], b"%PDF-1.7\nthis is no PDF at all"),
        "/program" => answer(200, &[], &[b"\x7fELF\x02\x01\x01\0".as_slice(), &[0; 60]].concat()),
        _ => redirect(&format!("{}x", asked.path())),
    })
    .await?;
    let stack = fetching().worker_env("MILLRACE_FETCH_MAX_REDIRECTS", "3").start().await?;
    for (path, code) in [
        ("/404", "fetch_status"),
        ("/401", "fetch_status"),
        ("/204", "fetch_status"),
        ("/206", "fetch_status"),
        ("/304", "fetch_status"),
        ("/empty", "fetch_empty"),
        ("/packed", "fetch_encoding"),
        ("/nowhere", "fetch_status"),
        ("/broken", "malformed"),
        ("/program", "unsupported_media_type"),
        ("/loop", "fetch_too_many_redirects"),
    ] {
        let (job, asset) = fetch(stack.client(), &web.url(path)).await?;
        assert_eq!((&job["state"], &asset["state"]), (&json!("dead"), &json!("failed")), "{path}: {job}");
        assert_eq!(asset["error"]["code"], code, "{path}: {asset}");
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{path}: {job}");
    }
    let hops = web.asked().iter().filter(|asked| asked.path().starts_with("/loop")).count();
    assert_eq!(hops, 4, "the first one and three redirects");
    assert_eq!(stored(&stack).len(), 0, "nothing is kept of what could not be read");
    stack.drain().await
}

#[tokio::test]
async fn no_more_than_the_limit_is_taken_whatever_the_server_says_of_the_length() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, _| match asked.path() {
        "/says-so" => vec![head("Content-Length: 2000000\r\n"), endless(Duration::from_millis(1))],
        "/says-nothing" => vec![head(""), endless(Duration::ZERO)],
        "/in-pieces" => vec![
            head("Transfer-Encoding: chunked\r\n"),
            Step::Drip([b"8000\r\n".to_vec(), vec![b'w'; 0x8000], b"\r\n".to_vec()].concat(), Duration::ZERO),
        ],
        _ => answer(200, &[], &b"words ".repeat(166_667)[..1_000_000]),
    })
    .await?;
    let stack = fetching().env("MILLRACE_MAX_UPLOAD_BYTES", "1000000").start().await?;
    let begun = Instant::now();
    for path in ["/says-so", "/says-nothing", "/in-pieces"] {
        let (_, asset) = fetch(stack.client(), &web.url(path)).await?;
        assert_eq!(asset["error"]["code"], "too_large", "{path}: {asset}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let (_, asset) = fetch(stack.client(), &web.url("/fits")).await?;
    assert_eq!((&asset["state"], &asset["size_bytes"]), (&json!("ready"), &json!(1_000_000)), "{asset}");
    stack.drain().await
}

#[tokio::test]
async fn a_server_that_is_silent_or_drips_for_ever_is_given_up() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, _| match asked.path() {
        "/silent" => vec![Step::Drip(Vec::new(), Duration::from_secs(60))],
        "/stops" => vec![head("Content-Length: 500\r\n"), Step::Drip(Vec::new(), Duration::from_secs(60))],
        _ => vec![head("Content-Length: 1000000\r\n"), Step::Drip(b"w".to_vec(), Duration::from_millis(100))],
    })
    .await?;
    let stack = fetching()
        .worker_env("MILLRACE_QUEUES", "asset=4")
        .worker_env("MILLRACE_FETCH_CONNECT_TIMEOUT", "1s")
        .worker_env("MILLRACE_FETCH_IDLE_TIMEOUT", "1s")
        .worker_env("MILLRACE_FETCH_TIMEOUT", "4s")
        .start()
        .await?;
    let client = stack.client();
    for (path, told) in
        [("/silent", "did not answer"), ("/stops", "sent nothing more"), ("/drips", "did not give the document")]
    {
        let begun = Instant::now();
        let taken = post(client, &web.url(path)).await?.expect(202)?;
        assert_eq!(first_failure(client, &taken).await?, "fetch_timeout", "{path}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{path} took {:?}", begun.elapsed());
        let job = client.get(&format!("/v1/jobs/{}", super::job_of(&taken)?)).await?.expect(200)?;
        assert!(job["error"]["message"].as_str().is_some_and(|message| message.contains(told)), "{path}: {job}");
        assert_ne!(job["state"], "dead", "{path} is tried again");
        assert_eq!(client.delete(&self::path(&taken)?).await?.status, 204);
    }
    stack.drain().await
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_a_wish_to_be_left_alone_is_heard() -> Result<()> {
    let web = Web::start("127.0.0.1", |asked, before| match (asked.path(), before) {
        ("/away", 0) => answer(503, &[], b""),
        ("/cut", 2 | 3) => vec![head("Content-Length: 500\r\n"), Step::Send(b"half".to_vec())],
        ("/busy", 5) => answer(429, &[("Retry-After", "2")], b""),
        _ => answer(200, &[], asked.path().as_bytes()),
    })
    .await?;
    // A resolver without a network may think for long.
    let stack = fetching().worker_env("MILLRACE_FETCH_CONNECT_TIMEOUT", "60s").start().await?;
    let client = stack.client();
    for (path, attempts, least) in [("/away", 2, 0), ("/cut", 3, 0), ("/busy", 1, 2)] {
        let begun = Instant::now();
        let (job, asset) = fetch(client, &web.url(path)).await?;
        assert_eq!((&job["state"], &asset["state"]), (&json!("succeeded"), &json!("ready")), "{path}: {job}");
        assert_eq!(job["attempt"], attempts, "{path}: {job}");
        assert!(begun.elapsed() >= Duration::from_secs(least), "{path} was asked again at once");
    }
    // Nobody listens there any more.
    let gone = Web::start("127.0.0.1", |_, _| answer(200, &[], b"")).await?.url("/");
    let taken = post(client, &gone).await?.expect(202)?;
    assert_eq!(first_failure(client, &taken).await?, "fetch_connect");
    let taken = post(client, "http://no-such-host.invalid/").await?.expect(202)?;
    assert_eq!(first_failure(client, &taken).await?, "fetch_dns");
    stack.drain().await
}

#[tokio::test]
async fn a_worker_killed_while_it_fetches_leaves_nothing_half_done() -> Result<()> {
    let web = Web::start("127.0.0.1", |_, before| match before {
        0 => vec![head("Content-Length: 1000000\r\n"), Step::Drip(b"w".to_vec(), Duration::from_millis(100))],
        _ => answer(200, &[], b"Words in the end."),
    })
    .await?;
    let mut stack = short_lease(fetching()).start().await?;
    let taken = post(stack.client(), &web.url("/slow.txt")).await?.expect(202)?;
    until("the fetch has begun", PATIENCE, async || Ok(web.asked().len() == 1)).await?;
    stack.workers[0].kill().await?;
    stack.add_worker().await?;
    let (job, asset) = ended(stack.client(), &taken).await?;
    assert_eq!((&job["state"], &asset["state"]), (&json!("succeeded"), &json!("ready")), "{job}");
    assert_eq!(text(stack.client(), &taken).await?, "Words in the end.");
    assert_eq!(stored(&stack).len(), 1);
    stack.drain().await
}

#[tokio::test]
async fn an_asset_that_is_deleted_while_it_is_fetched_stays_deleted() -> Result<()> {
    let web = Web::start("127.0.0.1", |_, _| {
        vec![head("Content-Length: 1000000\r\n"), Step::Drip(b"w".to_vec(), Duration::from_millis(50))]
    })
    .await?;
    let stack = fetching().start().await?;
    let client = stack.client();
    let taken = post(client, &web.url("/slow.txt")).await?.expect(202)?;
    until("the fetch has begun", PATIENCE, async || Ok(web.asked().len() == 1)).await?;
    assert_eq!(client.delete(&path(&taken)?).await?.status, 204);
    let job = client.wait_job(super::job_of(&taken)?, PATIENCE).await?;
    assert_eq!(job["state"], "cancelled");
    assert_eq!(client.get(&path(&taken)?).await?.status, 404);
    assert_eq!(stored(&stack).len(), 0);
    // The address is free again.
    let again = post(client, &web.url("/slow.txt")).await?.expect(202)?;
    assert_eq!(again["duplicate"], false);
    // Or the drain would wait for it.
    assert_eq!(client.delete(&path(&again)?).await?.status, 204);
    stack.drain().await
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_nothing_leads_back_to_http() -> Result<()> {
    let (trusted, other) = (Certificate::new()?, Certificate::new()?);
    let plain = Web::start("127.0.0.1", |_, _| answer(200, &[], b"Words that anybody may have changed.")).await?;
    let target = plain.url("/words.txt");
    let web = Web::start_tls(&trusted, move |asked, _| match asked.path() {
        "/down" => redirect(&target),
        _ => answer(200, &[], b"Words that nobody has changed."),
    })
    .await?;
    let stranger = Web::start_tls(&other, |_, _| answer(200, &[], b"Words of a stranger.")).await?;
    let mut stack = fetching().workers(0).start().await?;
    let certificates = stack.dir().join("trusted.pem");
    std::fs::write(&certificates, &trusted.pem)?;
    let trust = certificates.display().to_string();
    stack.add_worker_with(&[("SSL_CERT_FILE", &trust)], millrace_harness::Until::Ready).await?;
    let client = stack.client();

    let (job, asset) = fetch(client, &web.url("/words.txt")).await?;
    assert_eq!(asset["state"], "ready", "{job}");
    let (job, _) = fetch(client, &web.url("/down")).await?;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("dead"), &json!("fetch_refused_url")), "{job}");
    let (job, _) = fetch(client, &stranger.url("/words.txt")).await?;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("dead"), &json!("fetch_tls")), "{job}");
    assert_eq!((plain.asked().len(), stranger.asked().len()), (0, 0));
    stack.drain().await
}
