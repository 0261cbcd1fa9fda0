//! What can go wrong with a CRM, told apart once: what will pass, what somebody has to mend, and what no further attempt can help.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::Answer;
use crate::handler::{JobContext, JobError};

/// How long is waited where a CRM says that it was called too often, and not for how long.
const USUAL_WAIT: Duration = Duration::from_secs(10);
/// No CRM is believed that wants to be left alone for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// See the module. No variant holds anything of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrmError {
    /// Not now, and no fault of anybody's.
    #[error("{why}")]
    Wait {
        after: Duration,
        why: &'static str,
        /// Whether the CRM has said so: then nobody calls it for so long.
        told: bool,
    },
    /// The credentials are refused, and will be until somebody grants access again.
    #[error("access has to be granted again: {0}")]
    Unauthorized(String),
    /// The access token is refused; another one may serve.
    #[error("the token was refused")]
    TokenRefused,
    /// There is no such thing.
    #[error("the CRM knows no such thing")]
    Missing,
    /// The CRM will not do it, whoever asks again.
    #[error("the CRM refused with status {status}: {reason}")]
    Refused { status: u16, reason: String },
    /// The CRM, or the way there, is in trouble.
    #[error("{0}")]
    Broken(String),
    /// Our own database.
    #[error("the database")]
    Database(#[source] sqlx::Error),
    /// This installation lacks something.
    #[error("{0}")]
    Setup(String),
}

impl From<sqlx::Error> for CrmError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl CrmError {
    pub(super) fn busy(after: Option<Duration>) -> Self {
        let after = after.unwrap_or(USUAL_WAIT).min(LONGEST_WAIT);
        Self::Wait { after, why: "the CRM was called too often, and wants to be left alone", told: true }
    }

    pub(super) fn later(after: Duration, why: &'static str) -> Self {
        Self::Wait { after, why, told: false }
    }

    pub(super) fn broken(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }

    /// What becomes of the job.
    pub(crate) fn of_job(self, job: &JobContext) -> JobError {
        match self {
            Self::Wait { after, why, .. } => JobError::Snooze { after, source: why.into() },
            Self::Unauthorized(_) => JobError::Snooze { after: super::connection::pause(job), source: self.into() },
            Self::TokenRefused | Self::Broken(_) => JobError::retry("crm_unreachable", self),
            Self::Missing => JobError::fail("crm_missing", self),
            Self::Refused { .. } => JobError::fail("crm_refused", self),
            Self::Database(error) => job.database(error),
            Self::Setup(_) => JobError::fail("crm_setup", self),
        }
    }
}

/// What statuses mean where a provider does not say otherwise.
pub(super) fn usual(answer: &Answer) -> CrmError {
    match answer.status {
        StatusCode::UNAUTHORIZED => CrmError::TokenRefused,
        // The API says so in its own way. What stands before it, or in its place, says nothing of a record.
        StatusCode::NOT_FOUND | StatusCode::GONE if answer.is_json() => CrmError::Missing,
        StatusCode::NOT_FOUND | StatusCode::GONE => CrmError::broken("the CRM's API is not where it should be"),
        StatusCode::TOO_MANY_REQUESTS => CrmError::busy(answer.retry_after()),
        StatusCode::SERVICE_UNAVAILABLE if answer.retry_after().is_some() => CrmError::busy(answer.retry_after()),
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
            CrmError::broken(format!("the CRM answered with status {}", status.as_u16()))
        }
        status if status.is_success() => CrmError::broken("the answer is not what it should be"),
        status => CrmError::Refused { status: status.as_u16(), reason: answer.error_code() },
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?.to_utc();
    Some((date - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::header::{CONTENT_TYPE, HeaderValue};

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: DateTime<Utc> = "2026-11-21T10:00:00Z".parse().unwrap();
        let wait = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("17"), Some(17));
        assert_eq!(wait("Sat, 21 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(wait("Sat, 21 Nov 2026 09:00:30 GMT"), Some(0), "what is over is no wait");
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn only_the_api_itself_can_say_that_there_is_no_such_record() {
        let answer = |status, content_type| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            usual(&Answer { status, headers, body: Bytes::new() })
        };
        for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
            assert!(matches!(answer(status, "application/problem+json"), CrmError::Missing));
            let page = answer(status, "text/html");
            assert!(!matches!(page, CrmError::Missing), "a page of somebody before it deletes no copy: {page}");
        }
    }
}
