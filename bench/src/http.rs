//! HTTP load: connections that are kept open, each with one request at a time, as clients of a busy service have them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName},
};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::TcpStream, task::JoinSet};

use crate::stats::Samples;

/// How many connections are opened at a time: no server's backlog is meant to be measured.
const OPENED_AT_ONCE: usize = 64;

/// Where requests go, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
}

/// One connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("the API takes no connection")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection, which ends with the sender; what breaks it is seen by the request that it breaks.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, target: target.clone() })
    }

    /// Gets what is there.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let request = Request::get(path)
            .header(HOST, self.target.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.target.key))
            .body(Full::new(Bytes::new()))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Posts JSON and reads the whole answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let call = Call::of_ours(&self.target, path, body);
        self.send(call).await
    }

    /// Posts this and reads the whole answer.
    pub(crate) async fn send(&mut self, call: Call) -> Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let mut request = Request::post(&*call.path).header(HOST, self.target.address.to_string());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// What is posted.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: Arc<str>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
}

impl Call {
    /// JSON, by the target's key.
    pub(crate) fn of_ours(target: &Target, path: &str, body: Bytes) -> Self {
        let key = format!("Bearer {}", target.key);
        Self { path: path.into(), headers: vec![(AUTHORIZATION, key), (CONTENT_TYPE, "application/json".into())], body }
    }
}

/// A load to be put on the API.
pub(crate) struct Load {
    /// Makes each request, before its time is taken.
    pub(crate) make: Box<dyn Fn(&Target) -> Call + Send + Sync>,
    /// The answer to one that was accepted.
    pub(crate) wanted: StatusCode,
    pub(crate) connections: usize,
    pub(crate) lasting: Duration,
}

/// What became of a load.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// How long answers to what was accepted took.
    pub(crate) accepted: Samples,
    /// Everything else, by what it was.
    pub(crate) errors: BTreeMap<String, usize>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl Answers {
    pub(crate) fn error_count(&self) -> usize {
        self.errors.values().sum()
    }
}

impl Load {
    /// Opens all connections, then sends for as long as it is to last.
    pub(crate) async fn run(self, target: &Target) -> Result<Answers> {
        let mut connections = Vec::with_capacity(self.connections);
        while connections.len() < self.connections {
            let some = (self.connections - connections.len()).min(OPENED_AT_ONCE);
            let mut opening = JoinSet::new();
            for _ in 0..some {
                let target = target.clone();
                opening.spawn(async move { Connection::open(&target).await });
            }
            for opened in opening.join_all().await {
                connections.push(opened?);
            }
        }
        let load = Arc::new(self);
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for connection in connections {
            clients.spawn(send(connection, Arc::clone(&load), start + load.lasting));
        }
        let mut all = Answers::default();
        for answers in clients.join_all().await {
            all.accepted.merge(answers.accepted);
            for (error, count) in answers.errors {
                *all.errors.entry(error).or_default() += count;
            }
        }
        all.elapsed = start.elapsed();
        Ok(all)
    }
}

async fn send(mut connection: Connection, load: Arc<Load>, end: Instant) -> Answers {
    let mut answers = Answers::default();
    while Instant::now() < end {
        let call = (load.make)(&connection.target);
        let start = Instant::now();
        let error = match connection.send(call).await {
            Ok((status, _)) if status == load.wanted => {
                answers.accepted.add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                continue;
            }
            Ok((status, _)) => status.to_string(),
            Err(error) => {
                let error = format!("{error:#}");
                match Connection::open(&connection.target).await {
                    Ok(opened) => connection = opened,
                    // Not at full speed against a door that is closed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
                error
            }
        };
        *answers.errors.entry(error).or_default() += 1;
    }
    answers
}

/// Lets this process, and those it starts, have as many open files as `needed`.
pub(crate) fn allow_open_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limit.current) {
        return Ok(());
    }
    ensure!(
        enough(limit.maximum),
        "this needs {needed} open files, and the hard limit (ulimit -Hn) is {:?}",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .context("the limit of open files cannot be raised")
}
