//! Calls of one account: within its rate, with its tokens, bounded in time and size.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use millrace_shared::crm::{Addresses, CallClass, Credentials, Provider};
use millrace_shared::db::crm::connections::{self, Connection};
use millrace_shared::jobs::Rate;
use millrace_shared::queue::{Entered, RateKey};
use rand::RngExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::Clients;
use super::error::retry_after;
use super::{Crm, CrmError, tokens};
use crate::handler::JobContext;

/// A wait for a place within the rate that is longer gives the job's slot back.
const LONGEST_PLACE_WAIT: Duration = Duration::from_secs(5);
/// How long is waited for the first answer where all places are taken by calls that are under way.
const ALL_UNDER_WAY: Duration = Duration::from_millis(20);
/// How long is waited where Redis cannot be asked for the rate. A CRM must not be flooded because Redis is away.
const REDIS_AWAY: Duration = Duration::from_secs(1);
/// Codes of errors are short; what is longer is prose that may repeat what was sent.
const MOST_CODE_CHARS: usize = 80;

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) class: CallClass,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, class: CallClass::Any }
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body), class: CallClass::Any }
    }

    pub(crate) fn patch(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::PATCH, ..Self::post(path, body) }
    }

    pub(crate) fn of_class(self, class: CallClass) -> Self {
        Self { class, ..self }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, CrmError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            CrmError::broken(format!("the answer cannot be read at line {}, column {}", error.line(), error.column()))
        })
    }

    pub(crate) fn is_json(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        content_type.contains("json")
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, Utc::now())
    }

    /// The CRM's clock.
    pub(crate) fn date(&self) -> Option<DateTime<Utc>> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc())
    }

    /// The word by which the answer names what is wrong, if it does so in one of the usual ways.
    pub(crate) fn error_code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let first = body.get(0).unwrap_or(&body);
        let named =
            ["errorCode", "category", "error", "code", "title"].iter().find_map(|name| first.get(name)?.as_str());
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        let code = named.filter(|code| code.len() <= MOST_CODE_CHARS && code.chars().all(is_word));
        code.unwrap_or("without a code").to_owned()
    }
}

/// The header that most providers want.
pub(super) fn bearer(credentials: &Credentials) -> Option<(HeaderName, HeaderValue)> {
    let token = match credentials {
        Credentials::Token { token } => token,
        other => &other.tokens()?.access,
    };
    secret_header(AUTHORIZATION, "Bearer ", token)
}

/// A header that no log shows.
pub(super) fn secret_header(
    name: HeaderName,
    prefix: &str,
    secret: &SecretString,
) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// One account, as a job calls it.
pub(crate) struct Api<'a> {
    pub(super) job: &'a JobContext,
    pub(super) crm: &'a dyn Crm,
    pub(super) clients: &'a Clients,
    pub(super) connection: Connection,
    /// Where the account is; it may move.
    pub(super) addresses: Mutex<Addresses>,
    pub(super) held: Mutex<Option<tokens::Held>>,
    /// Whether failures have been counted that a success is to forget.
    pub(super) troubled: std::sync::atomic::AtomicBool,
}

impl Api<'_> {
    pub(crate) fn provider(&self) -> &dyn Crm {
        self.crm
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Calls, once more with new tokens if the ones at hand are refused.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, CrmError> {
        let done = self.call_with_fresh_tokens(call).await;
        self.note(&done).await?;
        done
    }

    async fn call_with_fresh_tokens(&self, call: &Call) -> Result<Answer, CrmError> {
        match self.try_call(call).await {
            Err(CrmError::TokenRefused) => self.refresh().await?,
            done => return done,
        }
        match self.try_call(call).await {
            // New tokens that are refused at once: no further ones will help.
            Err(CrmError::TokenRefused) => {
                let reason = "its token is refused";
                self.revoked(reason).await?;
                Err(CrmError::Unauthorized(reason.to_owned()))
            }
            done => done,
        }
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Answer, CrmError> {
        self.call(&Call::get(path)).await
    }

    async fn try_call(&self, call: &Call) -> Result<Answer, CrmError> {
        let proof = self.proof().await?;
        let api = self.addresses.lock().await.api.clone();
        let mut request = self.clients.http()?.request(call.method.clone(), format!("{api}{}", call.path));
        request = request.header(proof.0, proof.1).header(ACCEPT, "application/json");
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let windows = self.enter(call.class).await?;
        let sent = self.clients.send(request).await;
        self.leave(windows).await;
        let answer = sent?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.crm.refusal(&answer)) }
    }

    /// Waits until a call is within the limits that hold for it. The scarcer one first, so that no place of another is held meanwhile.
    async fn enter(&self, class: CallClass) -> Result<Vec<Entered>, CrmError> {
        let (provider, config) = (self.connection.provider(), &self.clients.config);
        let account = self.connection.account.as_deref().or(self.connection.account_id.as_deref());
        let account = account.map_or_else(|| self.connection.id.to_string(), str::to_owned);
        // Whether Kommo's limit is an account's or an address' is told nowhere; addresses are what it blocks.
        let whole = match provider {
            Provider::Kommo => format!("crm:{provider}@{}", config.egress),
            _ => format!("crm:{provider}:{account}"),
        };
        let search = config.rates.of(provider, CallClass::Search).filter(|_| class == CallClass::Search);
        let asked = [
            // Of no period: a place is free as soon as its call is answered.
            (format!("crm:{}:at_once", self.connection.id), Some(Rate { count: config.at_once, period_ms: 0 })),
            (format!("crm:{provider}:{account}:search"), search),
            (whole, config.rates.of(provider, CallClass::Any)),
        ];
        let mut entered = Vec::new();
        for (key, rate) in asked {
            let Some(rate) = rate else { continue };
            match self.enter_one(&key, rate).await {
                Ok(window) => entered.push(window),
                Err(error) => {
                    self.leave(entered).await;
                    return Err(error);
                }
            }
        }
        Ok(entered)
    }

    async fn leave(&self, windows: Vec<Entered>) {
        for window in windows {
            // Otherwise it counts for as long as a call may take, which is safe.
            let _ = self.job.queues.leave_window(window).await;
        }
    }

    async fn enter_one(&self, key: &str, rate: Rate) -> Result<Entered, CrmError> {
        let (key, since) = (RateKey::named(None, key), Instant::now());
        // What is entered first may wait for the others.
        let longest = self.clients.config.timeout + self.clients.config.connect_timeout + LONGEST_PLACE_WAIT * 2;
        loop {
            let asked = self.job.queues.enter_window(&key, rate, longest).await;
            let wait = match asked.map_err(|_| CrmError::later(REDIS_AWAY, "Redis cannot be asked for the rate"))? {
                Ok(entered) => return Ok(entered),
                // While all of them are under way nobody knows when one will be through.
                Err(wait) if wait > Duration::from_millis(rate.period_ms + 1) => ALL_UNDER_WAY,
                Err(wait) => wait,
            };
            if since.elapsed() + wait > LONGEST_PLACE_WAIT {
                let after = wait + Duration::from_millis(rand::rng().random_range(0..500));
                return Err(CrmError::later(
                    after,
                    "as many calls of the account as may be are under way or were made",
                ));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Lets the account's circuit breaker know how a call went.
    async fn note<T: Sync>(&self, done: &Result<T, CrmError>) -> Result<(), CrmError> {
        use std::sync::atomic::Ordering::Relaxed;

        let of = (self.connection.org_id, self.connection.id);
        let config = &self.clients.config;
        match done {
            Err(CrmError::Broken(_)) => {
                self.troubled.store(true, Relaxed);
                let threshold = i32::try_from(config.breaker_failures).unwrap_or(i32::MAX);
                let pauses = (config.breaker_pause, super::connection::LONGEST_PAUSE);
                metrics::counter!("millrace_crm_failures_total", "provider" => of_provider(&self.connection))
                    .increment(1);
                connections::note_failure(&mut *self.job.pool.acquire().await?, of, threshold, pauses).await?;
            }
            Err(CrmError::Wait { after, told: true, .. }) => {
                connections::hold(&mut *self.job.pool.acquire().await?, of, *after).await?;
            }
            Err(CrmError::Wait { .. } | CrmError::Database(_) | CrmError::Setup(_) | CrmError::Unauthorized(_)) => {}
            Ok(_) | Err(_) if self.troubled.swap(false, Relaxed) => {
                connections::note_success(&mut *self.job.pool.acquire().await?, of.0, of.1).await?;
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}

fn of_provider(connection: &Connection) -> &'static str {
    connection.provider().as_str()
}

impl Clients {
    /// Sends a request and reads its answer, within the limits.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, CrmError> {
        let config = &self.config;
        // The host is told by nobody's error: with its account it may be a person's name.
        let trouble = |error: &reqwest::Error| {
            CrmError::broken(if error.is_timeout() {
                format!("the CRM took longer than {} ms", config.timeout.as_millis())
            } else if error.is_connect() {
                "the CRM did not take the connection".to_owned()
            } else {
                "the CRM broke its answer off".to_owned()
            })
        };
        let mut response = request.send().await.map_err(|error| trouble(&error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let limit = usize::try_from(config.max_bytes).unwrap_or(usize::MAX);
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(|error| trouble(&error))? {
            if body.len() + piece.len() > limit {
                let reason = format!("its answer is larger than {limit} bytes (MILLRACE_CRM_MAX_RESPONSE_BYTES)");
                return Err(CrmError::Refused { status: status.as_u16(), reason });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }
}
