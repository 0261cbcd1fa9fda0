//! A web server that tests fetch from: it answers as it is told, byte by byte, also in ways that no decent server would.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it came: its lines, the first one with method and path.
#[derive(Clone, Debug)]
pub struct Asked {
    lines: Vec<String>,
}

impl Asked {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default()
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.lines.iter().skip(1).filter_map(|line| line.split_once(':'));
        pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A step of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends the same bytes again and again, with a pause after each time, until the other side has had enough.
    Drip(Vec<u8>, Duration),
    /// Waits for a permit.
    Await(Arc<Semaphore>),
}

/// A whole answer.
pub type Answer = Vec<Step>;

/// An answer with a body of known length.
#[must_use]
pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    vec![Step::Send([head.as_bytes(), body].concat())]
}

/// A redirect.
#[must_use]
pub fn redirect(location: &str) -> Answer {
    answer(302, &[("Location", location)], b"")
}

type Script = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// A certificate of a test for 127.0.0.1, signed by itself.
pub struct Certificate {
    /// The certificate as PEM, for whoever is to trust it.
    pub pem: String,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Certificate")
    }
}

impl Certificate {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        // Fails if it was done before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = made.signing_key.serialize_der();
        let key = key.try_into().map_err(anyhow::Error::msg).context("the key is not one of rustls' kinds")?;
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key)?;
        Ok(Self { pem: made.cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

/// A running server. It ends when it is dropped.
pub struct Web {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    listening: JoinHandle<()>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Web({})", self.address)
    }
}

impl Web {
    /// Serves at a free port of this IP address. The script gets each request and how many came before it.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(ip: &str, script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Result<Self> {
        Self::listen(ip, None, Arc::new(script)).await
    }

    /// As [`start`](Self::start) at 127.0.0.1, by TLS.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_tls(
        certificate: &Certificate,
        script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::listen("127.0.0.1", Some(certificate.acceptor.clone()), Arc::new(script)).await
    }

    async fn listen(ip: &str, tls: Option<TlsAcceptor>, script: Arc<Script>) -> Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let (address, asked) = (listener.local_addr()?, Arc::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::clone(&asked);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, script, seen) = (tls.clone(), Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, script, seen).await };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, script, seen).await;
                    }
                });
            }
        });
        Ok(Self { address, scheme, asked, listening })
    }

    /// The URL of a path that begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked so far. A connection without a request counts too.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Arc<Script>, seen: Arc<Mutex<Vec<Asked>>>) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(read) => head.extend_from_slice(&piece[..read]),
        }
    }
    let asked = Asked { lines: String::from_utf8_lossy(&head).lines().map(str::to_owned).collect() };
    let before = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(asked.clone());
        seen.len() - 1
    };
    for step in script(&asked, before) {
        let done = match step {
            Step::Await(permits) => permits.acquire().await.map(drop).map_err(std::io::Error::other),
            Step::Send(bytes) => stream.write_all(&bytes).await,
            Step::Drip(bytes, pause) => loop {
                if let Err(error) = stream.write_all(&bytes).await {
                    break Err(error);
                }
                tokio::time::sleep(pause).await;
            },
        };
        if done.is_err() {
            return;
        }
    }
    // So that the other side reads all of it before it hears of the end.
    let _ = stream.shutdown().await;
}
