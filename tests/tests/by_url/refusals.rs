//! What is near us is not read for whoever asks: a table of tricks, at the API, at the worker by itself, and behind a redirect.

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use millrace_harness::Stack;
use millrace_tests::{Web, answer, redirect};
use serde_json::{Value, json};

use super::{ended, fetching, job_of, path, post};

/// Spellings of places near us; `{port}` is one where somebody listens. With the class of error that a worker gives up with.
const NEAR: &[&str] = &[
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://１２７.０.０.１:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::1]:{port}/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://localhost:{port}/",
    "http://LocalHost.:{port}/",
    "http://printer.localhost:{port}/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/metadata/v1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://172.16.0.1/",
    "http://192.0.0.192/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
];

/// What is no document of the web.
const ODD: &[&str] = &[
    "file:///etc/passwd",
    "ftp://example.org/a",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "data:text/plain,words",
    "dict://127.0.0.1:11211/stats",
    "http://user@example.org/",
    "http://user:password@example.org/",
    "http://example.org@127.0.0.1/",
    "http://",
    "/relative",
    "example.org/a.pdf",
    "",
];

fn with_port(row: &str, port: u16) -> String {
    row.replace("{port}", &port.to_string())
}

/// Servers on both loopbacks at one port, which nobody may ask for anything.
async fn near_us() -> Result<Web> {
    Web::start("127.0.0.1", |_, _| answer(200, &[], b"a secret")).await
}

fn names_field(reply: &millrace_harness::Reply, field: &str, what: &str) {
    let body = reply.json().expect("JSON");
    assert_eq!((reply.status, &body["code"]), (422, &json!("validation_failed")), "{what}: {body}");
    assert_eq!(body["errors"][0]["field"], field, "{what}: {body}");
    assert!(body["errors"][0]["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {body}");
}

#[tokio::test]
async fn the_api_refuses_every_url_that_leads_near_us_or_is_none() -> Result<()> {
    let stack = Stack::builder().workers(0).env("MILLRACE_FETCH_PORTS", "any").start().await?;
    let client = stack.client();
    for row in NEAR.iter().chain(ODD) {
        names_field(&post(client, &with_port(row, 8080)).await?, "url", row);
    }
    let long = format!("https://example.org/{}", "a".repeat(2048));
    names_field(&post(client, &long).await?, "url", "2,068 bytes");
    for (body, field) in [
        (json!({}), "url"),
        (json!({ "url": 7 }), "url"),
        (json!({ "url": null }), "url"),
        (json!({ "url": "https://example.org/", "name": "" }), "name"),
        (json!({ "url": "https://example.org/", "name": " / " }), "name"),
        (json!({ "url": "https://example.org/", "headers": {} }), "headers"),
    ] {
        names_field(&client.post("/v1/assets", &body).await?, field, &body.to_string());
    }
    let none = client.get("/v1/assets").await?.expect(200)?;
    assert_eq!(none["items"], json!([]), "nothing was taken in");
    stack.drain().await
}

#[tokio::test]
async fn only_allowed_ports_are_fetched_from() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    for refused in ["http://example.org:22/", "http://example.org:8080/", "https://example.org:6379/"] {
        names_field(&post(stack.client(), refused).await?, "url", refused);
    }
    for taken in ["http://example.org/", "https://example.org:443/a", "http://example.org:443/"] {
        post(stack.client(), taken).await?.expect(202)?;
    }
    stack.drain().await
}

/// Takes in these URLs, waits for their jobs and gives the class of error of each.
async fn classes(stack: &Stack, urls: &[String]) -> Result<Vec<Value>> {
    let end = |url: String| async move {
        let taken = post(stack.client(), &url).await?.expect(202).with_context(|| url.clone())?;
        let (job, asset) = ended(stack.client(), &taken).await?;
        assert_eq!((&job["state"], &asset["state"]), (&json!("dead"), &json!("failed")), "{url}: {job}");
        assert_eq!(asset["error"]["code"], job["error"]["class"], "{url}");
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{url}: it is no use to try again");
        let told = job["error"]["message"].to_string();
        let (_, after_scheme) = url.split_once("//").unwrap_or_default();
        assert!(after_scheme.is_empty() || !told.contains(after_scheme), "{url}: the address is told: {told}");
        Ok::<_, anyhow::Error>(job["error"]["class"].clone())
    };
    stream::iter(urls.to_vec()).map(end).buffered(6).try_collect().await
}

#[tokio::test]
async fn the_worker_refuses_them_too_whatever_the_api_took_in() -> Result<()> {
    let near = near_us().await?;
    // The API is told that everything is public, so that each row reaches the worker, which is not told so.
    let stack = Stack::builder()
        .env("MILLRACE_FETCH_PORTS", "any")
        .api_env("MILLRACE_FETCH_ALLOW_ADDRESSES", "0.0.0.0/0,::/0")
        .worker_env("MILLRACE_QUEUES", "asset=6")
        .start()
        .await?;
    let mut urls: Vec<String> = NEAR.iter().map(|row| format!("{}row", with_port(row, near.port()))).collect();
    // A name that only the resolver knows to be this machine's, where there is one.
    if std::fs::read_to_string("/etc/hosts").is_ok_and(|hosts| hosts.contains("ip6-localhost")) {
        urls.push(format!("http://ip6-localhost:{}/row", near.port()));
    }
    // Spellings of one address are one asset; their jobs would be one.
    let mut spellings = std::collections::HashSet::new();
    urls.retain(|url| spellings.insert(reqwest::Url::parse(url).map(String::from).unwrap_or_default()));
    for (url, class) in urls.iter().zip(classes(&stack, &urls).await?) {
        assert_eq!(class, "fetch_refused_address", "{url}");
    }
    assert_eq!(near.asked().len(), 0, "somebody connected: {:?}", near.asked());
    stack.drain().await
}

#[tokio::test]
async fn a_redirect_is_judged_like_the_address_that_was_given() -> Result<()> {
    // 127.0.0.1 stands for a public host; 127.0.0.2, at another port, for what is near us.
    let near = Web::start("127.0.0.2", |_, _| answer(200, &[], b"a secret")).await?;
    let rows: Vec<String> = NEAR
        .iter()
        .map(|row| with_port(row, near.port()))
        .filter(|row| reqwest::Url::parse(row).is_ok_and(|url| url.host_str() != Some("127.0.0.1")))
        // Allowed for this test, by their other spellings of 127.0.0.1.
        .filter(|row| !row.contains("[::ffff:") && !row.to_ascii_lowercase().contains("localhost"))
        .chain([format!("http://127.0.0.2:{}/", near.port()), "//169.254.169.254/latest/".to_owned()])
        .collect();
    let odd: Vec<String> = ODD.iter().filter(|row| row.contains(':')).map(|row| (*row).to_owned()).collect();
    let targets = [rows.clone(), odd].concat();
    let locations = targets.clone();
    let web = Web::start("127.0.0.1", move |asked, _| {
        let (_, row) = asked.path().rsplit_once('/').unwrap_or_default();
        redirect(&locations[row.parse::<usize>().unwrap_or_default()])
    })
    .await?;
    let stack = fetching().worker_env("MILLRACE_QUEUES", "asset=6").start().await?;
    let urls: Vec<String> = (0..targets.len()).map(|row| web.url(&format!("/to/{row}"))).collect();
    for (row, class) in classes(&stack, &urls).await?.into_iter().enumerate() {
        let expected = if row < rows.len() { "fetch_refused_address" } else { "fetch_refused_url" };
        assert_eq!(class, expected, "a redirect to {}", targets[row]);
    }
    assert_eq!(near.asked().len(), 0, "somebody connected: {:?}", near.asked());
    assert_eq!(web.asked().len(), targets.len());
    stack.drain().await
}

#[tokio::test]
async fn a_proxy_of_the_environment_and_ports_behind_redirects_are_not_used() -> Result<()> {
    let other = near_us().await?;
    let target = other.url("/");
    let web = Web::start("127.0.0.1", move |asked, _| match asked.path() {
        "/other-port" => redirect(&target),
        _ => answer(200, &[], b"Words."),
    })
    .await?;
    let proxy = other.url("");
    let stack = fetching()
        .api_env("MILLRACE_FETCH_PORTS", "any")
        .worker_env("MILLRACE_FETCH_PORTS", web.port().to_string())
        .worker_env("http_proxy", &proxy)
        .worker_env("HTTP_PROXY", &proxy)
        .worker_env("ALL_PROXY", &proxy)
        .worker_env("NO_PROXY", "")
        .worker_env("no_proxy", "")
        .start()
        .await?;
    let (job, _) = super::fetch(stack.client(), &web.url("/plain")).await?;
    assert_eq!((&job["state"], other.asked().len()), (&json!("succeeded"), 0), "{job}");
    let (job, _) = super::fetch(stack.client(), &web.url("/other-port")).await?;
    assert_eq!(job["error"]["class"], "fetch_refused_url", "{job}");
    assert_eq!(other.asked().len(), 0);
    stack.drain().await
}

#[tokio::test]
async fn what_is_after_the_path_is_in_no_log_and_in_no_error() -> Result<()> {
    let web = Web::start("127.0.0.1", |_, _| answer(404, &[], b"nothing here")).await?;
    let stack = fetching().start().await?;
    let url = web.url("/report.pdf?signature=hush-hush-hush");
    let taken = post(stack.client(), &url).await?.expect(202)?;
    assert_eq!(taken["asset"]["source_url"], url.as_str(), "its owner sees it");
    let (job, asset) = ended(stack.client(), &taken).await?;
    assert!(!job.to_string().contains("hush-hush"), "{job}");
    assert!(!asset["error"].to_string().contains("hush-hush"), "{asset}");
    let mut logs = String::new();
    for entry in std::fs::read_dir(stack.dir())? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "log") {
            logs += &String::from_utf8_lossy(&std::fs::read(&file)?);
        }
    }
    assert!(logs.contains(job_of(&taken)?), "the logs tell of the job");
    assert!(!logs.contains("hush-hush") && !logs.contains("report.pdf"), "a log holds the address");

    let stranger = stack.client_of_other_org().await?;
    assert_eq!(stranger.get(&path(&taken)?).await?.status, 404);
    stack.drain().await
}
