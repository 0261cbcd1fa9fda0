//! A small HTTP client with a bearer key, for whoever drives Millrace from outside.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_TYPE, HeaderMap},
    multipart::{Form, Part},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

/// Longer than the longest long poll (30 s).
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one API with one credential.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<SecretString>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Client {
    /// A client of the API at `base` (e.g. `http://127.0.0.1:8080`) that shows `key` (an API key or a JWT).
    ///
    /// # Errors
    /// When no client can be built.
    pub fn new(base: &str, key: &str) -> Result<Self> {
        let client = Self::anonymous(base)?;
        Ok(client.with_key(key))
    }

    /// A client that shows no credential.
    ///
    /// # Errors
    /// When no client can be built.
    pub fn anonymous(base: &str) -> Result<Self> {
        // Fails if it was done before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .no_proxy()
            // A kept connection may be closed by a restart of the API just as it is used again: a failure of the client's, not
            // of what is tested. It would also have to be waited for in a drain.
            .pool_max_idle_per_host(0)
            .build()
            .context("cannot build an HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key: None })
    }

    /// The same client with another credential.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self.clone() }
    }

    /// The address of the API.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The credential, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_ref().map(ExposeSecret::expose_secret)
    }

    /// A request to be completed by the caller and sent with [`send`](Self::send). `path` begins with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match self.key() {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(&self, request: RequestBuilder) -> Result<Reply> {
        let response = request.send().await.context("no answer from the API")?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.context("the API's answer broke off")?;
        Ok(Reply { status, headers, body })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `POST path` without a body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_empty(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::POST, path)).await
    }

    /// Uploads `content` as an asset called `name`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn upload(&self, name: &str, content: impl Into<Bytes>) -> Result<Reply> {
        let part = Part::stream(reqwest::Body::from(content.into())).file_name(name.to_owned());
        let form = Form::new().part("file", part);
        self.send(self.request(Method::POST, "/v1/assets").multipart(form)).await
    }

    /// Uploads the file at `path` as an asset, under its own name.
    ///
    /// # Errors
    /// When it cannot be read or no answer comes.
    pub async fn upload_file(&self, path: &Path) -> Result<Reply> {
        let content = tokio::fs::read(path).await.with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.upload(&name, content).await
    }

    /// Submits a job and returns it.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn submit(&self, kind: &str, payload: &Value) -> Result<Value> {
        let body = serde_json::json!({ "kind": kind, "payload": payload });
        self.post("/v1/jobs", &body).await?.expect(202)
    }

    /// Waits until the job has ended (succeeded, dead or cancelled) and returns it.
    ///
    /// # Errors
    /// When it has not ended at the deadline, or is not to be found.
    pub async fn wait_job(&self, id: &str, deadline: Duration) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let wait_s = left.as_secs().clamp(1, 30);
            let job = self.get(&format!("/v1/jobs/{id}?wait={wait_s}s")).await?.expect(200)?;
            if matches!(job["state"].as_str(), Some("succeeded" | "dead" | "cancelled")) {
                return Ok(job);
            }
            if left.is_zero() {
                bail!("job {id} has not ended after {deadline:?}: {job:#}");
            }
        }
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON in a {} answer: {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, if it is there and plain text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The content type, without parameters.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE.as_str())?.split(';').next().map(str::trim)
    }

    /// The body as JSON, if the status is `status`.
    ///
    /// # Errors
    /// When it is another; the message carries the body.
    pub fn expect(&self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected {status}, got {}: {}", self.status, self.text());
        }
        self.json()
    }
}
