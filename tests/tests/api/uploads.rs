//! The upload itself: its form, its limits, its memory, and what is left when it is cut off.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use millrace_harness::{Client, Reply, Signal, Stack};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::description::{invalid, problem};

async fn send(client: &Client, form: Form) -> Result<Reply> {
    client.send(client.request(Method::POST, "/v1/assets").multipart(form)).await
}

pub(super) fn files_in_storage(stack: &Stack) -> usize {
    let mut files = 0;
    let mut directories = vec![stack.dir().join("storage")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() { directories.push(entry.path()) } else { files += 1 }
        }
    }
    files
}

#[tokio::test]
async fn the_form_has_one_field_called_file() -> Result<()> {
    let stack = Stack::builder().workers(0).api_env("MILLRACE_MAX_UPLOAD_BYTES", "1MiB").start().await?;
    let client = stack.client();
    let part = || Part::bytes(b"some words".to_vec()).file_name("a.txt");
    let none = client
        .request(Method::POST, "/v1/assets")
        .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
        .body("--b--\r\n");
    invalid(&client.send(none).await?, "file");
    invalid(&send(client, Form::new().part("document", part())).await?, "document");
    invalid(&send(client, Form::new().part("file", part()).part("file", part())).await?, "file");
    invalid(&send(client, Form::new().part("file", part()).text("comment", "x")).await?, "comment");
    invalid(&client.upload("empty.txt", Bytes::new()).await?, "file");
    problem(&client.upload("big.txt", vec![b'x'; (1 << 20) + 1]).await?, 413, "too_large");
    client.upload("fits.txt", vec![b'x'; 1 << 20]).await?.expect(202)?;

    let raw = |content_type: &'static str, body: &'static str| {
        client.send(client.request(Method::POST, "/v1/assets").header(CONTENT_TYPE, content_type).body(body))
    };
    invalid(&raw("application/json", "{}").await?, "url");
    problem(&raw("application/pdf", "%PDF-").await?, 415, "unsupported_media_type");
    for (content_type, body) in [
        ("multipart/form-data", "x"),
        ("multipart/form-data; boundary=", "x"),
        ("multipart/form-data; boundary=b", ""),
        ("multipart/form-data; boundary=b", "garbage"),
        ("multipart/form-data; boundary=b", "--b\r\n\r\nno headers"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncut off"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: nonsense\r\n\r\nx\r\n--b--\r\n"),
    ] {
        let reply = raw(content_type, body).await?;
        assert!(matches!(reply.status, 400 | 422), "{content_type} {body:?}: {}", reply.text());
        assert_eq!(reply.content_type(), Some("application/problem+json"));
    }
    assert_eq!(files_in_storage(&stack), 1, "what was refused left nothing behind");
    stack.drain().await
}

#[tokio::test]
async fn a_name_is_a_label_and_never_a_path() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let long = "n".repeat(300);
    for (index, (name, label)) in [
        ("../../../etc/cron.d/evil", "evil"),
        ("C:\\windows\\system32\\x.pdf", "x.pdf"),
        ("", "unnamed"),
        ("Ärger & Söhne – 水車.txt", "Ärger & Söhne – 水車.txt"),
        (long.as_str(), &long[..255]),
    ]
    .into_iter()
    .enumerate()
    {
        let uploaded = client.upload(name, format!("words number {index}")).await?.expect(202)?;
        assert_eq!(uploaded["asset"]["name"], label, "{name}");
        assert_eq!(uploaded["asset"]["media_type"], "text/plain", "the type comes from the bytes");
    }
    assert_eq!(files_in_storage(&stack), 5);
    stack.drain().await
}

/// A body of `bytes` bytes of text, made piece by piece so that the test's own memory stays flat too.
fn long_text(bytes: usize) -> reqwest::Body {
    let piece = Bytes::from("a line of words that is not very interesting\n".repeat(1500));
    let pieces = bytes / piece.len();
    reqwest::Body::wrap_stream(futures_util::stream::iter(
        (0..pieces).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
    ))
}

fn peak_memory_kb(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

#[tokio::test]
async fn memory_stays_flat_while_200_mb_are_uploaded() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    client.upload("warm.txt", "first").await?.expect(202)?;
    let before = peak_memory_kb(stack.api.process().pid())?;
    let form = Form::new().part("file", Part::stream(long_text(200_000_000)).file_name("long.txt"));
    let uploaded = send(client, form).await?.expect(202)?;
    assert!(uploaded["asset"]["size_bytes"].as_u64().is_some_and(|size| size > 199_000_000), "{uploaded}");
    let grown = peak_memory_kb(stack.api.process().pid())?.saturating_sub(before);
    assert!(grown < 64 * 1024, "the API grew by {grown} kB");
    stack.drain().await
}

/// Opens an upload by hand and sends the beginning of its file.
pub(super) async fn begin_upload(stack: &Stack, announced: usize, sent: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(stack.api.address()).await?;
    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.txt\"\r\n\r\n";
    let request = format!(
        "POST /v1/assets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n{head}",
        stack.client().key().context("no key")?,
        head.len() + announced + "\r\n--b--\r\n".len(),
    );
    stream.write_all(request.as_bytes()).await?;
    stream.write_all(&vec![b'w'; sent]).await?;
    stream.flush().await?;
    Ok(stream)
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let stream = begin_upload(&stack, 20 << 20, 15 << 20).await?;
    let begun = std::time::Instant::now();
    while files_in_storage(&stack) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the upload does not reach the storage");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stream);
    while files_in_storage(&stack) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(40), "the parts stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let none = stack.client().get("/v1/assets").await?.expect(200)?;
    assert_eq!(none["items"], json!([]));
    stack.drain().await
}

#[tokio::test]
async fn a_drain_waits_for_an_upload_that_has_begun() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let mut stream = begin_upload(&stack, 2 << 20, 1 << 20).await?;
    stack.api.process().signal(Signal::TERM)?;
    let begun = std::time::Instant::now();
    while TcpStream::connect(stack.api.address()).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it still accepts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.write_all(&vec![b'w'; 1 << 20]).await?;
    stream.write_all(b"\r\n--b--\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let status = stack.api.process().wait_within(Duration::from_secs(20)).await?;
    assert!(status.success(), "{status}");
    stack.drain().await
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_a_long_poll_does_not_hold_it_up() -> Result<()> {
    let stack = Stack::builder().workers(0).api_env("MILLRACE_DRAIN_TIMEOUT", "1s").start().await?;
    let client = stack.client().clone();
    let job = client.submit("probe", &json!({})).await?;
    let path = format!("/v1/jobs/{}?wait=60s", job["id"].as_str().context("no id")?);
    let poll = tokio::spawn(async move { client.get(&path).await?.expect(200) });
    let _stuck = begin_upload(&stack, 2 << 20, 1 << 20).await?;
    // Both requests are being answered once the gauge says so.
    let begun = std::time::Instant::now();
    loop {
        let metrics = stack.client().get("/metrics").await?.text();
        if metrics.contains("millrace_http_requests_in_flight 3") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{metrics}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = std::time::Instant::now();
    stack.api.process().signal(Signal::TERM)?;
    assert_eq!(poll.await??["state"], "queued", "a long poll is answered at once");
    let status = stack.api.process().wait_within(Duration::from_secs(20)).await?;
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(10), "the deadline was one second, it took {:?}", begun.elapsed());
    stack.drain().await
}
