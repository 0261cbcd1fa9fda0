//! Why a document was not fetched, in words for whoever gave its URL.
//!
//! A message names the host at most: what is after the path may be a secret, and the IP address behind a name may be one of our network.
//! Whether another attempt may help is decided here and nowhere else.

use std::error::Error;
use std::io;
use std::time::Duration;

use millrace_shared::fetch::UrlRefusal;

use super::resolve::{NotFound, NotPublic};
use crate::handler::JobError;

/// What ended a fetch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Some address of the host is not to be connected to.
    #[error("{host} leads to an address that is not public; give one that anybody on the Internet can reach")]
    RefusedAddress { host: String },
    /// A hop breaks a rule.
    #[error("the address {refusal}")]
    RefusedUrl { refusal: UrlRefusal },
    /// A redirect breaks a rule.
    #[error("what {host} redirects to {refusal}")]
    RefusedRedirect { host: String, refusal: UrlRefusal },
    /// From `https` to `http`.
    #[error("{host} redirects from https to http, which is not followed; give the address that it leads to")]
    Downgrade { host: String },
    /// More hops than are followed.
    #[error("there are more than {limit} redirects; give the address that they lead to")]
    TooManyRedirects { limit: u32 },
    /// An answer that is no document.
    #[error("{host} answered with status {status}")]
    Status { host: String, status: u16 },
    /// The host said when to come back.
    #[error("{host} answered with status {status} and wants to be asked again in {} seconds", after.as_secs())]
    Busy { host: String, status: u16, after: Duration },
    /// No such host, or no name server that answers.
    #[error("{host} was not found by its name")]
    Dns { host: String },
    /// Nobody there.
    #[error("{host} did not take the connection, or broke it off")]
    Connect { host: String },
    /// The host did not prove who it is.
    #[error("{host} could not be trusted: {reason}")]
    Tls { host: String, reason: String },
    /// It took too long.
    #[error("{host} {what} within {} ms", limit.as_millis())]
    Timeout { host: String, what: &'static str, limit: Duration },
    /// The answer ended before its end.
    #[error("the answer of {host} broke off")]
    Interrupted { host: String },
    /// It is too large.
    #[error("the document is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    /// There is nothing in it.
    #[error("{host} gave an empty document")]
    Empty { host: String },
    /// Compressed, though that was not asked for. Unpacking it would need a bound of its own.
    #[error("{host} compresses its answer though it was asked not to")]
    Encoded { host: String },
    /// The local copy could not be written.
    #[error("the document could not be written down")]
    File(#[source] io::Error),
    /// No certificates to check others by, say.
    #[error("the HTTP client could not be set up: {reason}")]
    Setup { reason: String },
}

impl FetchError {
    /// An error of the HTTP client while it talked to `host`.
    pub(super) fn of_client(host: &str, error: &reqwest::Error) -> Self {
        let host = host.to_owned();
        if find::<NotPublic>(error).is_some() {
            return Self::RefusedAddress { host };
        }
        if find::<NotFound>(error).is_some() {
            return Self::Dns { host };
        }
        if let Some(error) = find::<rustls::Error>(error) {
            return Self::Tls { host, reason: error.to_string() };
        }
        if error.is_connect() { Self::Connect { host } } else { Self::Interrupted { host } }
    }

    /// A stable name for clients and metrics.
    fn code(&self) -> &'static str {
        match self {
            Self::RefusedAddress { .. }
            | Self::RefusedUrl { refusal: UrlRefusal::Address }
            | Self::RefusedRedirect { refusal: UrlRefusal::Address, .. } => "fetch_refused_address",
            Self::RefusedUrl { .. } | Self::RefusedRedirect { .. } | Self::Downgrade { .. } => "fetch_refused_url",
            Self::TooManyRedirects { .. } => "fetch_too_many_redirects",
            Self::Status { .. } | Self::Busy { .. } => "fetch_status",
            Self::Dns { .. } => "fetch_dns",
            Self::Connect { .. } => "fetch_connect",
            Self::Tls { .. } => "fetch_tls",
            Self::Timeout { .. } => "fetch_timeout",
            Self::Interrupted { .. } => "fetch_interrupted",
            Self::TooLarge { .. } => "too_large",
            Self::Empty { .. } => "fetch_empty",
            Self::Encoded { .. } => "fetch_encoding",
            Self::File(_) => "io",
            Self::Setup { .. } => "fetch_setup",
        }
    }

    /// Whether the same address may give a document a little later.
    fn is_retryable(&self) -> bool {
        match self {
            // 408, 425 and 429 ask for another try by their meaning (RFC 9110, 8470, 6585).
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            // A name server that is away looks like a name that does not exist.
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Interrupted { .. }
            | Self::File(_)
            | Self::Setup { .. }
            | Self::Busy { .. } => true,
            // A certificate that is wrong now is wrong in a minute.
            Self::RefusedAddress { .. }
            | Self::RefusedUrl { .. }
            | Self::RefusedRedirect { .. }
            | Self::Downgrade { .. }
            | Self::TooManyRedirects { .. }
            | Self::Tls { .. }
            | Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::Encoded { .. } => false,
        }
    }
}

impl From<FetchError> for JobError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Busy { after, .. } => Self::Snooze { after, source: error.into() },
            error if error.is_retryable() => Self::retry(error.code(), error),
            error => Self::fail(error.code(), error),
        }
    }
}

/// An error of this type among the causes of another one. What an `io::Error` wraps is not among its own causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| find::<E>(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> JobError {
        FetchError::Status { host: "example.org".to_owned(), status }.into()
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_given_up() {
        for again in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(status(again), JobError::Retry { class: "fetch_status", .. }), "{again}");
        }
        for final_answer in [204, 206, 300, 304, 305, 400, 401, 403, 404, 410, 418, 451, 600, 999] {
            assert!(matches!(status(final_answer), JobError::Fail { class: "fetch_status", .. }), "{final_answer}");
        }
        let after = Duration::from_secs(7);
        let busy = FetchError::Busy { host: "example.org".to_owned(), status: 429, after };
        assert!(matches!(JobError::from(busy), JobError::Snooze { after: told, .. } if told == after));
    }

    #[test]
    fn an_error_is_found_wherever_it_is_wrapped() {
        let inner = io::Error::other(rustls::Error::DecryptError);
        let outer = FetchError::File(io::Error::other(FetchError::File(inner)));
        assert!(find::<rustls::Error>(&outer).is_some());
        assert!(find::<NotPublic>(&outer).is_none());
    }
}
