//! The envelope: a job as Redis holds it.
//!
//! Byte 0 is the version, byte 1 the priority (`0` to `3`), bytes 2 to 17 the organisation; the scripts read these and nothing else,
//! so every version keeps them. Version `1` goes on with a JSON object of short names. Readers ignore fields they do not know; what
//! they cannot read at all they take from the ledger, so a worker of an older version loses no job of a newer one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{ids::OrgId, jobs::Priority};

/// Payloads above this many bytes stay in the ledger and are read at the claim, so that large ones do not fill Redis.
pub const INLINE_PAYLOAD_BYTES: usize = 16 * 1024;

const VERSION: u8 = b'1';
const HEADER_BYTES: usize = 18;

/// What a worker needs to run a job without asking for more.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The tenant.
    pub org: OrgId,
    /// How urgent it is.
    pub priority: Priority,
    /// The kind's name.
    pub kind: String,
    /// One attempt's time limit.
    pub timeout: Duration,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: u16,
    /// Which version of the payload this is; the ledger's counts.
    pub revision: i32,
    /// The W3C `traceparent` of the request that submitted it.
    pub trace_context: Option<String>,
    /// The payload as JSON, unless it is too large to travel.
    pub payload: Option<Box<RawValue>>,
}

/// An envelope that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Too short to hold the header.
    #[error("envelope of {0} bytes is shorter than its header")]
    Short(usize),
    /// Written by another version.
    #[error("envelope version {0:?} is not known here")]
    Version(char),
    /// The JSON after the header is not what this version writes.
    #[error("envelope body is malformed")]
    Body(#[from] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(rename = "k", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(rename = "t")]
    timeout_ms: u64,
    #[serde(rename = "m")]
    max_attempts: u16,
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    revision: i32,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    trace_context: Option<String>,
    #[serde(rename = "p", borrow, default, skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if asks for a reference")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A payload as an envelope holds it.
#[must_use]
pub fn json_of(payload: &Value) -> Box<RawValue> {
    RawValue::from_string(payload.to_string()).expect("a value's own JSON is JSON")
}

impl Envelope {
    /// The bytes for Redis.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let payload = self.payload.as_deref().filter(|payload| payload.get().len() <= INLINE_PAYLOAD_BYTES);
        let body = Body {
            kind: self.kind.as_str().into(),
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            max_attempts: self.max_attempts,
            revision: self.revision,
            trace_context: self.trace_context.clone(),
            payload,
        };
        let mut bytes = Vec::with_capacity(128);
        bytes.extend([VERSION, b'0' + self.priority.level()]);
        bytes.extend(self.org.as_bytes());
        serde_json::to_writer(&mut bytes, &body).expect("writing to memory cannot fail");
        bytes
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// Where another version wrote it, or its body is damaged; [`Envelope::lane`] may still be readable.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (priority, org) = Self::lane(bytes).ok_or(EnvelopeError::Short(bytes.len()))?;
        if bytes[0] != VERSION {
            return Err(EnvelopeError::Version(char::from(bytes[0])));
        }
        let body: Body<'_> = serde_json::from_slice(&bytes[HEADER_BYTES..])?;
        Ok(Self {
            org,
            priority,
            kind: body.kind.into_owned(),
            timeout: Duration::from_millis(body.timeout_ms),
            max_attempts: body.max_attempts,
            revision: body.revision,
            trace_context: body.trace_context,
            payload: body.payload.map(ToOwned::to_owned),
        })
    }

    /// Priority and organisation, which every version writes at the same place.
    #[must_use]
    pub fn lane(bytes: &[u8]) -> Option<(Priority, OrgId)> {
        let header = bytes.get(..HEADER_BYTES)?;
        let priority = Priority::from_level(i16::from(header[1]) - i16::from(b'0'));
        OrgId::try_from(&header[2..]).ok().map(|org| (priority, org))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn envelope(payload: &Value) -> Envelope {
        Envelope {
            org: OrgId::new(),
            priority: Priority::High,
            kind: "probe".to_owned(),
            timeout: Duration::from_secs(60),
            max_attempts: 5,
            revision: 0,
            trace_context: None,
            payload: Some(json_of(payload)),
        }
    }

    #[test]
    fn an_envelope_survives_the_way_through_redis() {
        let sent = Envelope { revision: 2, ..envelope(&json!({ "name": "Mühle – 水車", "n": 1.5 })) };
        let got = Envelope::decode(&sent.encode()).expect("own envelopes are readable");
        assert_eq!(format!("{got:?}"), format!("{sent:?}"));
    }

    #[test]
    fn a_large_payload_stays_behind() {
        let got = Envelope::decode(&envelope(&json!("x".repeat(INLINE_PAYLOAD_BYTES))).encode()).expect("readable");
        assert!(got.payload.is_none());
    }

    #[test]
    fn an_empty_payload_is_not_taken_for_one_that_stayed_behind() {
        let got = Envelope::decode(&envelope(&json!({})).encode()).expect("readable");
        assert_eq!(got.payload.expect("it travelled").get(), "{}");
    }

    #[test]
    fn another_version_is_told_and_its_lane_still_read() {
        let sent = envelope(&json!({}));
        let mut bytes = sent.encode();
        bytes[0] = b'2';
        assert!(matches!(Envelope::decode(&bytes), Err(EnvelopeError::Version('2'))));
        assert_eq!(Envelope::lane(&bytes), Some((Priority::High, sent.org)));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut bytes = envelope(&json!({})).encode();
        bytes.pop();
        bytes.extend(br#","later":true}"#);
        assert!(Envelope::decode(&bytes).is_ok());
    }

    #[test]
    fn the_overhead_beside_the_payload_is_small() {
        let bytes = envelope(&json!({})).encode().len();
        assert!(bytes < 70, "{bytes} bytes");
    }
}
