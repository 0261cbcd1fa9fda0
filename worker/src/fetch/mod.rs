//! Fetching a document by its URL from a host that nobody vouches for.
//!
//! What this must never do is read what is near us for whoever asks: metadata services, databases, the neighbours' dashboards. So
//! - redirects are followed here and not by the HTTP client, and every hop is judged like the first one;
//! - a name is resolved by [`resolve::CheckedResolver`] alone, and what it gave is what is connected to;
//! - the address that was really connected to is checked once more before a byte of the answer is taken;
//! - proxies of the environment, which would resolve names themselves, are not used; nor are cookies, credentials or kept connections.
//!
//! And it must never hold a worker up: connecting, silence, the whole of it and its size are bounded. Bodies are taken as they are; an answer
//! that is compressed is refused, so that nothing is unpacked here.

mod error;
mod headers;
mod resolve;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use chrono::Utc;
use millrace_shared::config::FetchConfig;
use millrace_shared::db::assets::Validators;
use millrace_shared::fetch::{SourceUrl, UrlRefusal};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, LOCATION};
use reqwest::{Client, Response, StatusCode, redirect};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use self::resolve::CheckedResolver;

pub(crate) use self::error::FetchError;

const USER_AGENT: &str = concat!("Millrace/", env!("CARGO_PKG_VERSION"));

/// What a fetch gave.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The bytes are those of the time before.
    NotModified,
    /// A document, which is in the file that was asked for.
    Document(Document),
}

/// A document that was fetched.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: [u8; 32],
    /// What its server calls it.
    pub(crate) file_name: Option<String>,
    /// For the next time.
    pub(crate) validators: Option<Validators>,
}

/// Fetches documents. Its client is made when it is first needed, because that reads all certificates of the system.
#[derive(Debug)]
pub(crate) struct Fetcher {
    config: FetchConfig,
    client: OnceLock<Client>,
}

impl Fetcher {
    pub(crate) fn new(config: &FetchConfig) -> Self {
        Self { config: config.clone(), client: OnceLock::new() }
    }

    /// Fetches a document into a file, which is created or replaced. `known` is what its server said the time before.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub(crate) async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Validators>,
        to: &Path,
        within: Duration,
    ) -> Result<Fetched, FetchError> {
        let url = Url::parse(url.reveal()).map_err(|_| FetchError::RefusedUrl { refusal: UrlRefusal::Malformed })?;
        let (limit, host) = (self.config.timeout.min(within), host_of(&url));
        let too_late = |_| FetchError::Timeout { host, what: "did not give the document", limit };
        tokio::time::timeout(limit, self.follow(url, known, to)).await.map_err(too_late)?
    }

    async fn follow(&self, url: Url, known: Option<&Validators>, to: &Path) -> Result<Fetched, FetchError> {
        self.config.rules.check(&url).map_err(|refusal| FetchError::RefusedUrl { refusal })?;
        let mut url = url;
        for _ in 0..=self.config.max_redirects {
            // Validators mean something to the address that gave them, and to no other.
            let known = known.filter(|known| known.url.reveal() == url.as_str());
            let response = self.ask(&url, known).await?;
            match response.status() {
                StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {
                    return self.receive(&url, response, to).await.map(Fetched::Document);
                }
                StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Fetched::NotModified),
                status if is_redirect(status) => url = self.next_hop(&url, &response)?,
                _ => return Err(no_document(&url, &response)),
            }
        }
        Err(FetchError::TooManyRedirects { limit: self.config.max_redirects })
    }

    async fn ask(&self, url: &Url, known: Option<&Validators>) -> Result<Response, FetchError> {
        let mut request = self.client()?.get(url.clone()).header(ACCEPT, "*/*").header(ACCEPT_ENCODING, "identity");
        if let Some(etag) = known.and_then(|known| known.etag.as_deref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(last_modified) = known.and_then(|known| known.last_modified.as_deref()) {
            request = request.header(IF_MODIFIED_SINCE, last_modified);
        }
        let limit = self.config.connect_timeout + self.config.idle_timeout;
        let answer = tokio::time::timeout(limit, request.send()).await;
        let too_late = |_| FetchError::Timeout { host: host_of(url), what: "did not answer", limit };
        let response = answer.map_err(too_late)?.map_err(|error| match error.is_timeout() {
            true => FetchError::Timeout { host: host_of(url), what: "did not answer", limit },
            false => FetchError::of_client(&host_of(url), &error),
        })?;
        match response.remote_addr() {
            Some(address) if self.config.rules.permit(address.ip()) => Ok(response),
            _ => Err(FetchError::RefusedAddress { host: host_of(url) }),
        }
    }

    /// Where a redirect leads, if it may be followed.
    fn next_hop(&self, from: &Url, response: &Response) -> Result<Url, FetchError> {
        let Some(location) = response.headers().get(LOCATION) else { return Err(no_document(from, response)) };
        let refused = |refusal| FetchError::RefusedRedirect { host: host_of(from), refusal };
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| refused(UrlRefusal::Malformed))?;
        let next = from.join(location).map_err(|_| refused(UrlRefusal::Malformed))?;
        self.config.rules.check(&next).map_err(refused)?;
        if from.scheme() == "https" && next.scheme() == "http" {
            return Err(FetchError::Downgrade { host: host_of(from) });
        }
        Ok(next)
    }

    /// Writes the body to a file. What the server says of its length may be wrong, so that every piece is counted.
    async fn receive(&self, url: &Url, mut response: Response, to: &Path) -> Result<Document, FetchError> {
        let limit_bytes = self.config.max_bytes;
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(FetchError::Encoded { host: host_of(url) });
        }
        if response.content_length().is_some_and(|length| length > limit_bytes) {
            return Err(FetchError::TooLarge { limit_bytes });
        }
        let mut file = tokio::fs::File::create(to).await.map_err(FetchError::File)?;
        let (mut hash, mut size_bytes) = (Sha256::new(), 0);
        while let Some(piece) = self.piece(url, &mut response).await? {
            size_bytes += piece.len() as u64;
            if size_bytes > limit_bytes {
                return Err(FetchError::TooLarge { limit_bytes });
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(FetchError::File)?;
        }
        file.flush().await.map_err(FetchError::File)?;
        if size_bytes == 0 {
            return Err(FetchError::Empty { host: host_of(url) });
        }
        Ok(Document {
            size_bytes,
            sha256: hash.finalize().into(),
            file_name: headers::file_name(response.headers()),
            validators: headers::validators(SourceUrl::of(url), response.headers()),
        })
    }

    async fn piece(&self, url: &Url, response: &mut Response) -> Result<Option<bytes::Bytes>, FetchError> {
        let limit = self.config.idle_timeout;
        let piece = tokio::time::timeout(limit, response.chunk()).await;
        let too_late = |_| FetchError::Timeout { host: host_of(url), what: "sent nothing more", limit };
        piece.map_err(too_late)?.map_err(|error| FetchError::of_client(&host_of(url), &error))
    }

    fn client(&self) -> Result<&Client, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // A failure is not kept: what was missing may be there the next time.
        let made = self.make_client().map_err(|error| FetchError::Setup { reason: error.to_string() })?;
        Ok(self.client.get_or_init(|| made))
    }

    fn make_client(&self) -> reqwest::Result<Client> {
        Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(CheckedResolver { rules: self.config.rules.clone() })
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // A kept connection is to an address that was checked for another fetch.
            .pool_max_idle_per_host(0)
            .connect_timeout(self.config.connect_timeout)
            .build()
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An answer that is neither a document nor leads to one.
fn no_document(url: &Url, response: &Response) -> FetchError {
    let (host, status) = (host_of(url), response.status().as_u16());
    match headers::retry_after(response.headers(), Utc::now()) {
        Some(after) if matches!(status, 429 | 503) => FetchError::Busy { host, status, after },
        _ => FetchError::Status { host, status },
    }
}

#[cfg(test)]
mod tests;
