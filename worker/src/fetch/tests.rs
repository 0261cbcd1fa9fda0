//! The locks behind the first one: each is tried with the ones before it left open.

use std::time::Duration;

use millrace_shared::fetch::{FetchRules, Ports};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn fetcher() -> Fetcher {
    millrace_shared::telemetry::init_tls();
    Fetcher::new(&FetchConfig {
        rules: FetchRules { ports: Ports::Any, allowed: Vec::new() },
        max_redirects: 5,
        connect_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(60),
        max_bytes: 1000,
    })
}

/// A server on the loopback that gives its words to whoever asks.
async fn near_us() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

#[tokio::test]
async fn the_client_connects_to_no_name_that_leads_near_us() {
    let (listener, port) = near_us().await;
    // Not by `fetch`, which knows what `localhost` is before it asks anybody: this name stands for any other one.
    let asked = fetcher().client().expect("a client").get(format!("http://localhost:{port}/")).send();
    let error = tokio::select! {
        asked = asked => asked.expect_err("refused"),
        _ = listener.accept() => panic!("it has connected"),
    };
    let error = FetchError::of_client("localhost", &error);
    assert!(matches!(error, FetchError::RefusedAddress { .. }), "{error}");
    assert!(!error.to_string().contains("127.0.0"), "{error}");
}

#[tokio::test]
async fn nothing_is_taken_from_an_address_that_should_not_have_been_connected_to() {
    let (listener, port) = near_us().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwords").await
    });
    // Not by `fetch`, which judges an address that is written out before it connects.
    let url = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL");
    let answer = fetcher().ask(&url, None).await;
    assert!(matches!(answer, Err(FetchError::RefusedAddress { .. })), "{answer:?}");
    let _ = server.await.expect("the server ends");
}
