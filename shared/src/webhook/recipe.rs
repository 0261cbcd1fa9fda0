//! How a scheme signs: where the signature stands, what key it takes, and what it is of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::mac::{Algorithm, Encoding, is_same, tag};
use super::{Delivery, Proof, Refusal, fingerprint};

/// More signatures than this in one header are no vendor's.
const MAX_SIGNATURES: usize = 16;

/// What a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Since 1970.
    Seconds,
    /// Since 1970.
    Milliseconds,
}

/// A piece of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    /// As it was sent, digit for digit.
    Time,
    Id,
    Method,
    Url,
    Body,
}

/// How the header of the signature is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// This, and the signature.
    Prefixed(&'a str),
    /// Words parted by blanks, those with this prefix being signatures.
    Words(&'a str),
    /// `t=…,v1=…`: fields parted by commas, the time and the signatures by these names.
    Fields { time: &'a str, signature: &'a str },
}

/// The key that a secret stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// The secret's own bytes.
    AsItIs,
    /// What stands behind this prefix, in base64.
    Base64(&'static str),
}

/// How a scheme signs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe<'a> {
    pub key: Key,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    pub header: &'a str,
    pub form: Form<'a>,
    /// The header of the time, unless the form tells it, and what it counts.
    pub time: Option<(Option<&'a str>, TimeUnit)>,
    pub id_header: Option<&'a str>,
    pub message: &'a [Piece<'a>],
}

impl Recipe<'_> {
    /// Finds a secret by which one of the signatures is right.
    pub fn prove(&self, secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
        let read = self.read(delivery)?;
        let url = decoded_url(delivery.url);
        // Vendors sign the URL with some of its escapes undone; one that did not would sign it as it is.
        let urls: &[&str] = if self.message.contains(&Piece::Url) && url != delivery.url {
            &[&url, delivery.url]
        } else {
            &[delivery.url]
        };
        for (secret, text) in secrets.iter().enumerate() {
            let Some(key) = self.key.of(text) else { continue };
            for url in urls {
                let message: Vec<&[u8]> = self.message.iter().map(|piece| read.piece(*piece, delivery, url)).collect();
                let expected = tag(self.algorithm, self.encoding, &key, &message);
                if read.signatures.iter().any(|signature| is_same(signature.as_bytes(), expected.as_bytes())) {
                    let fingerprint = match read.id {
                        Some(id) => fingerprint(&[b"id", id.as_bytes()]),
                        None => fingerprint(&[b"signature", expected.as_bytes(), delivery.body]),
                    };
                    return Ok(Proof { secret, signed_at: read.signed_at, fingerprint, said: None });
                }
            }
        }
        Err(Refusal::WrongSignature)
    }

    fn read<'d>(&self, delivery: &Delivery<'d>) -> Result<Read<'d>, Refusal> {
        let value = header(delivery, self.header)?;
        let (signatures, mut time) = self.form.read(value);
        if let Some((Some(name), _)) = self.time {
            time = Some(header(delivery, name)?);
        }
        let id = self.id_header.map(|name| header(delivery, name)).transpose()?;
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(Refusal::Malformed);
        }
        let signed_at = match (self.time, time) {
            (None, _) => None,
            (Some((_, unit)), Some(text)) => Some(moment(text, unit).ok_or(Refusal::Malformed)?),
            (Some(_), None) => return Err(Refusal::Malformed),
        };
        Ok(Read { signatures, time: time.unwrap_or_default(), signed_at, id })
    }
}

/// What the headers say.
struct Read<'d> {
    signatures: Vec<&'d str>,
    time: &'d str,
    signed_at: Option<DateTime<Utc>>,
    id: Option<&'d str>,
}

impl Read<'_> {
    fn piece<'p>(&'p self, piece: Piece<'p>, delivery: &Delivery<'p>, url: &'p str) -> &'p [u8] {
        match piece {
            Piece::Literal(text) => text.as_bytes(),
            Piece::Time => self.time.as_bytes(),
            Piece::Id => self.id.unwrap_or_default().as_bytes(),
            Piece::Method => delivery.method.as_bytes(),
            Piece::Url => url.as_bytes(),
            Piece::Body => delivery.body,
        }
    }
}

impl Form<'_> {
    /// The signatures, and the time where it stands beside them.
    fn read<'v>(&self, value: &'v str) -> (Vec<&'v str>, Option<&'v str>) {
        match *self {
            Self::Prefixed(prefix) => (value.strip_prefix(prefix).into_iter().collect(), None),
            Self::Words(prefix) => (value.split(' ').filter_map(|word| word.strip_prefix(prefix)).collect(), None),
            Self::Fields { time, signature } => {
                let named = |name: &'_ str| -> Vec<&'v str> {
                    let field = |field: &'v str| field.strip_prefix(name)?.strip_prefix('=');
                    value.split(',').filter_map(field).collect()
                };
                // A second time could be one that is not signed.
                let times = named(time);
                (named(signature), times.first().copied().filter(|_| times.len() == 1))
            }
        }
    }
}

impl Key {
    fn of(self, secret: &SecretString) -> Option<Vec<u8>> {
        let text = secret.expose_secret();
        match self {
            Self::AsItIs => Some(text.as_bytes().to_vec()),
            Self::Base64(prefix) => STANDARD.decode(text.strip_prefix(prefix).unwrap_or(text)).ok(),
        }
    }
}

/// A header that must be there once: of two, a proxy may have read the other.
pub(super) fn header<'d>(delivery: &Delivery<'d>, name: &str) -> Result<&'d str, Refusal> {
    let mut values = delivery.headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| Refusal::MissingHeader(name.to_owned()))?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    value.to_str().map_err(|_| Refusal::Malformed)
}

/// A time written in digits alone.
fn moment(text: &str, unit: TimeUnit) -> Option<DateTime<Utc>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse().ok()?;
    match unit {
        TimeUnit::Seconds => DateTime::from_timestamp(number, 0),
        TimeUnit::Milliseconds => DateTime::from_timestamp_millis(number),
    }
}

/// The URL with those escapes undone that `HubSpot` undoes before it signs, and no others
/// (<https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>).
fn decoded_url(url: &str) -> String {
    const UNDONE: [(&str, char); 12] = [
        ("3A", ':'),
        ("2F", '/'),
        ("3F", '?'),
        ("40", '@'),
        ("21", '!'),
        ("24", '$'),
        ("27", '\''),
        ("28", '('),
        ("29", ')'),
        ("2A", '*'),
        ("2C", ','),
        ("3B", ';'),
    ];
    let mut decoded = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).unwrap_or_default();
        match UNDONE.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)) {
            Some((_, character)) => {
                decoded.push(*character);
                rest = &rest[at + 3..];
            }
            None => {
                decoded.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}
