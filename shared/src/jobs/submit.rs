//! A submission, and the checks that turn it into a job.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{FieldError, Kinds, OnConflict, Priority, QueueName};
use crate::ids::JobId;

/// The farthest a job may be put off.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
/// The largest payload, as compact JSON.
pub const MAX_PAYLOAD_BYTES: usize = 1_048_576;
const MAX_ATTEMPTS: u16 = 100;
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const MAX_UNIQUE_KEY_CHARS: usize = 256;

/// A job as a client asks for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The kind, one of `GET /v1/kinds`.
    pub kind: String,
    /// What the kind's schema asks for.
    #[serde(default = "empty_object")]
    pub payload: Value,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// Not before this time; excludes `delay_ms`.
    #[serde(default)]
    pub run_at: Option<DateTime<Utc>>,
    /// Not before so many milliseconds from now; excludes `run_at`.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// Attempts, 1 to 100; the kind's default otherwise.
    #[serde(default)]
    pub max_attempts: Option<u16>,
    /// One attempt's time limit in milliseconds, at most a day; the kind's default otherwise.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Only one job of the kind and this key waits at a time.
    #[serde(default)]
    pub unique_key: Option<String>,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// When a job is due. A delay is counted on Postgres' clock, so that the submitting host's does not matter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RunAt {
    /// At once.
    Now,
    /// After a while.
    After(Duration),
    /// At a time.
    At(DateTime<Utc>),
}

/// A checked job, ready for the ledger.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id, made here so that a caller can refer to the job before it is stored.
    pub id: JobId,
    /// A registered kind's name.
    pub kind: &'static str,
    /// The kind's queue.
    pub queue: QueueName,
    /// How urgent it is.
    pub priority: Priority,
    /// A payload that met the kind's schema.
    pub payload: Value,
    /// When it is due.
    pub run_at: RunAt,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: u16,
    /// One attempt's time limit.
    pub timeout: Duration,
    /// Its unique key within organisation and kind.
    pub unique_key: Option<String>,
    /// What to do when the unique key is taken.
    pub on_conflict: OnConflict,
    /// The W3C `traceparent` of the request that submitted it.
    pub trace_context: Option<String>,
}

/// A submission that cannot become a job: every field that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SubmitError(pub Vec<FieldError>);

impl JobRequest {
    /// A request with a kind's defaults.
    #[must_use]
    pub fn new(kind: &str, payload: Value) -> Self {
        Self {
            kind: kind.to_owned(),
            payload,
            priority: Priority::default(),
            run_at: None,
            delay_ms: None,
            max_attempts: None,
            timeout_ms: None,
            unique_key: None,
        }
    }

    /// Checks the request against the registry and the limits.
    ///
    /// # Errors
    /// All fields that are wrong, not only the first.
    pub fn check(self, kinds: &Kinds) -> Result<NewJob, SubmitError> {
        let mut errors = Vec::new();
        let Some(kind) = kinds.get(&self.kind) else {
            let message = format!("is not a known kind; known are {}", kinds.names());
            return Err(SubmitError(vec![FieldError::new("kind", message)]));
        };
        let unique_by = kind.check(&self.payload).unwrap_or_else(|wrong| {
            errors.extend(wrong);
            None
        });
        check_payload_text(&self.payload, &mut errors);
        let run_at = self.due(&mut errors);
        let max_attempts = self.max_attempts.unwrap_or(kind.policy.max_attempts);
        if !(1..=MAX_ATTEMPTS).contains(&max_attempts) {
            errors.push(FieldError::new("max_attempts", format!("must be from 1 to {MAX_ATTEMPTS}")));
        }
        let timeout = self.timeout_ms.map_or(kind.policy.timeout, Duration::from_millis);
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            errors.push(FieldError::new("timeout_ms", format!("must be from 1 to {}", MAX_TIMEOUT.as_millis())));
        }
        if let Some(key) = &self.unique_key {
            let length = key.chars().count();
            if length == 0 || length > MAX_UNIQUE_KEY_CHARS || key.contains('\0') {
                let message = format!("must have 1 to {MAX_UNIQUE_KEY_CHARS} characters and no NUL");
                errors.push(FieldError::new("unique_key", message));
            }
        }
        if !errors.is_empty() {
            return Err(SubmitError(errors));
        }
        Ok(NewJob {
            id: JobId::new(),
            kind: kind.name,
            queue: kind.queue,
            priority: self.priority,
            payload: self.payload,
            run_at,
            max_attempts,
            timeout,
            unique_key: self.unique_key.or(unique_by),
            on_conflict: kind.policy.on_conflict,
            trace_context: None,
        })
    }

    fn due(&self, errors: &mut Vec<FieldError>) -> RunAt {
        let latest = format!("must be at most {} days away", MAX_DELAY.as_secs() / 86_400);
        match (self.run_at, self.delay_ms) {
            (Some(_), Some(_)) => {
                errors.push(FieldError::new("delay_ms", "excludes run_at; give one of the two"));
                RunAt::Now
            }
            (Some(at), None) => {
                if at.signed_duration_since(Utc::now()).to_std().is_ok_and(|ahead| ahead > MAX_DELAY) {
                    errors.push(FieldError::new("run_at", latest));
                } else if at.timestamp() < 0 {
                    errors.push(FieldError::new("run_at", "must not be before 1970"));
                }
                RunAt::At(at)
            }
            (None, Some(0)) | (None, None) => RunAt::Now,
            (None, Some(delay_ms)) => {
                let delay = Duration::from_millis(delay_ms);
                if delay > MAX_DELAY {
                    errors.push(FieldError::new("delay_ms", latest));
                }
                RunAt::After(delay)
            }
        }
    }
}

/// Refuses what JSON allows but Postgres' `jsonb` and `text` do not hold, and what is too large.
fn check_payload_text(payload: &Value, errors: &mut Vec<FieldError>) {
    if contains_nul(payload) {
        errors.push(FieldError::new("payload", "contains the character U+0000, which cannot be stored; remove it"));
    }
    let bytes = payload.to_string().len();
    if bytes > MAX_PAYLOAD_BYTES {
        let message = format!("is {bytes} bytes of JSON; at most {MAX_PAYLOAD_BYTES} are taken");
        errors.push(FieldError::new("payload", message));
    }
}

fn contains_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(contains_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || contains_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::KindSet;

    fn fields(request: JobRequest) -> Vec<String> {
        let kinds = Kinds::new(KindSet::WorkAndProbe);
        request.check(&kinds).map_or_else(|error| error.0.into_iter().map(|e| e.field).collect(), |_| Vec::new())
    }

    #[test]
    fn a_plain_request_takes_the_kinds_defaults() {
        let kinds = Kinds::new(KindSet::WorkAndProbe);
        let job = JobRequest::new("probe", json!({})).check(&kinds).expect("valid");
        assert_eq!((job.queue.as_str(), job.max_attempts, job.run_at), ("probe", 5, RunAt::Now));
    }

    #[test]
    fn every_limit_is_told_by_its_field() {
        let probe = || JobRequest::new("probe", json!({}));
        assert_eq!(fields(JobRequest { max_attempts: Some(0), ..probe() }), ["max_attempts"]);
        assert_eq!(fields(JobRequest { max_attempts: Some(101), ..probe() }), ["max_attempts"]);
        assert_eq!(fields(JobRequest { timeout_ms: Some(0), ..probe() }), ["timeout_ms"]);
        assert_eq!(fields(JobRequest { delay_ms: Some(u64::MAX), ..probe() }), ["delay_ms"]);
        assert_eq!(fields(JobRequest { unique_key: Some(String::new()), ..probe() }), ["unique_key"]);
        assert_eq!(fields(JobRequest { run_at: Some(Utc::now()), delay_ms: Some(5), ..probe() }), ["delay_ms"]);
        assert_eq!(fields(JobRequest::new("nothing", json!({}))), ["kind"]);
        let far = Utc::now() + chrono::Duration::days(4000);
        assert_eq!(fields(JobRequest { run_at: Some(far), ..probe() }), ["run_at"]);
        assert_eq!(fields(JobRequest { delay_ms: Some(MAX_DELAY.as_millis() as u64), ..probe() }), [""; 0]);
    }

    #[test]
    fn a_nul_anywhere_in_the_payload_is_refused() {
        assert!(fields(JobRequest::new("probe", json!({ "a": [{ "b": "x\u{0}y" }] }))).contains(&"payload".to_owned()));
        assert!(contains_nul(&json!({ "a\u{0}": 1 })));
    }
}
