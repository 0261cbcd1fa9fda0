//! The schemes by which a source proves its deliveries, as operators choose them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::mac::{Algorithm, Encoding, is_same};
use super::recipe::{Form, Key, Piece, Recipe, TimeUnit, header};
use super::{Delivery, Proof, Refusal, fingerprint, query};
use crate::crm::Provider;

/// How a source proves that it made a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scheme {
    /// Standard Webhooks 1.0.0, `v1` signatures; the secret is `whsec_` and base64.
    StandardWebhooks {},
    /// `t=…,v1=…` in one header.
    Stripe {
        /// `Stripe-Signature`, unless told otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<String>,
    },
    /// `X-Hub-Signature-256`, over the body alone.
    Github {},
    /// `X-Shopify-Hmac-Sha256`, over the body alone.
    Shopify {},
    /// `X-Slack-Signature`, over a version, the time and the body.
    Slack {},
    /// `X-HubSpot-Signature`, version 1: over the body alone.
    HubspotV1 {},
    /// The same header, version 2: over method, URL and body.
    HubspotV2 {},
    /// `X-HubSpot-Signature-v3`: over method, URL, body and time.
    HubspotV3 {},
    /// Hooks of Kommo's chats: `X-Signature`, over the body alone.
    KommoChat {},
    /// Kommo's call when an account disables an integration: a GET, signed in its query. The secret is the integration's.
    KommoDisabled {},
    /// An HMAC that is put together here.
    Hmac(Custom),
    /// HTTP Basic; the secret is `name:password`. Nothing of the body is proved.
    Basic {},
    /// The secret is the last part of the URL's path. Nothing of the body is proved.
    SecretUrl {},
}

/// An HMAC over the body, or over a time and the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The header of the signature.
    pub header: String,
    /// What stands before it there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// How it is written.
    pub encoding: Encoding,
    /// What it is made with.
    pub algorithm: Algorithm,
    /// The time that is signed, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

/// A time that is signed before the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// Its header.
    pub header: String,
    /// What it counts.
    pub unit: TimeUnit,
    /// What stands between it and the body in what is signed.
    #[serde(default)]
    pub separator: String,
}

/// Why a scheme or a secret cannot be used. `field` is where, by its path in the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SchemeError {
    /// Such as `scheme.header`.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: &'static str,
}

impl Scheme {
    /// How the webhooks of a CRM's accounts are proved. What signs nothing has a password where the provider sends one, or else a secret in the URL.
    #[must_use]
    pub fn of(provider: Provider) -> Self {
        match provider {
            Provider::Hubspot => Self::HubspotV3 {},
            Provider::Pipedrive => Self::Basic {},
            Provider::Kommo | Provider::Salesforce => Self::SecretUrl {},
        }
    }

    /// The method that deliveries come by.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::KommoDisabled {} => "GET",
            _ => "POST",
        }
    }

    /// Whether the sender proves what it sends, and not only who it is.
    #[must_use]
    pub fn signs_the_body(&self) -> bool {
        !matches!(self, Self::Basic {} | Self::SecretUrl {})
    }

    /// Whether the URL is signed, so that it must be known as the sender knows it.
    #[must_use]
    pub fn signs_the_url(&self) -> bool {
        matches!(self, Self::HubspotV2 {} | Self::HubspotV3 {})
    }

    /// Whether a delivery that is sent again much later can be told by its time.
    #[must_use]
    pub fn signs_the_time(&self) -> bool {
        match self {
            Self::StandardWebhooks {} | Self::Stripe { .. } | Self::Slack {} | Self::HubspotV3 {} => true,
            Self::Hmac(custom) => custom.timestamp.is_some(),
            _ => false,
        }
    }

    /// Checks what an operator has put together, and a secret for it.
    ///
    /// # Errors
    /// Names the field and what would be right.
    pub fn check(&self, secret: &SecretString) -> Result<(), SchemeError> {
        let is_header = |field, name: &str| match HeaderName::from_bytes(name.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(SchemeError { field, problem: "is no name of a header" }),
        };
        match self {
            Self::Stripe { header: Some(name) } => is_header("scheme.header", name)?,
            Self::Hmac(custom) => {
                is_header("scheme.header", &custom.header)?;
                if let Some(time) = &custom.timestamp {
                    is_header("scheme.timestamp.header", &time.header)?;
                }
            }
            _ => {}
        }
        let text = secret.expose_secret();
        let problem = match self {
            Self::StandardWebhooks {} => {
                let key = STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text));
                let is_right = key.is_ok_and(|key| (24..=64).contains(&key.len()));
                (!is_right).then_some("is not whsec_ and the base64 of 24 to 64 bytes")
            }
            Self::Basic {} => (!text.contains(':')).then_some("is not name:password"),
            _ => None,
        };
        let problem = problem.or(match text.len() {
            0..=7 => Some("is shorter than 8 characters"),
            8..=1024 => None,
            _ => Some("is longer than 1024 characters"),
        });
        problem.map_or(Ok(()), |problem| Err(SchemeError { field: "secret", problem }))
    }

    pub(super) fn prove(&self, secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
        match self {
            Self::Basic {} => prove_basic(secrets, delivery),
            Self::SecretUrl {} => prove_token(secrets, delivery),
            Self::Hmac(custom) => custom.prove(secrets, delivery),
            Self::Stripe { header } => {
                let header = header.as_deref().unwrap_or("stripe-signature");
                Recipe { header, ..STRIPE }.prove(secrets, delivery)
            }
            Self::StandardWebhooks {} => STANDARD_WEBHOOKS.prove(secrets, delivery),
            Self::Github {} => GITHUB.prove(secrets, delivery),
            Self::Shopify {} => SHOPIFY.prove(secrets, delivery),
            Self::Slack {} => SLACK.prove(secrets, delivery),
            Self::HubspotV1 {} => HUBSPOT_V1.prove(secrets, delivery),
            Self::HubspotV2 {} => HUBSPOT_V2.prove(secrets, delivery),
            Self::HubspotV3 {} => HUBSPOT_V3.prove(secrets, delivery),
            Self::KommoChat {} => KOMMO_CHAT.prove(secrets, delivery),
            Self::KommoDisabled {} => query::prove_kommo_disabled(secrets, delivery),
        }
    }
}

/// An HMAC over the body alone, in a header of its own.
const PLAIN: Recipe<'static> = Recipe {
    key: Key::AsItIs,
    algorithm: Algorithm::HmacSha256,
    encoding: Encoding::Hex,
    header: "",
    form: Form::Prefixed(""),
    time: None,
    id_header: None,
    message: &[Piece::Body],
};

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
const STANDARD_WEBHOOKS: Recipe<'static> = Recipe {
    key: Key::Base64("whsec_"),
    encoding: Encoding::Base64,
    header: "webhook-signature",
    form: Form::Words("v1,"),
    time: Some((Some("webhook-timestamp"), TimeUnit::Seconds)),
    id_header: Some("webhook-id"),
    message: &[Piece::Id, Piece::Literal("."), Piece::Time, Piece::Literal("."), Piece::Body],
    ..PLAIN
};

/// <https://docs.stripe.com/webhooks>
const STRIPE: Recipe<'static> = Recipe {
    form: Form::Fields { time: "t", signature: "v1" },
    time: Some((None, TimeUnit::Seconds)),
    message: &[Piece::Time, Piece::Literal("."), Piece::Body],
    ..PLAIN
};

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
const GITHUB: Recipe<'static> = Recipe { header: "x-hub-signature-256", form: Form::Prefixed("sha256="), ..PLAIN };

/// <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>
const SHOPIFY: Recipe<'static> = Recipe { header: "x-shopify-hmac-sha256", encoding: Encoding::Base64, ..PLAIN };

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
const SLACK: Recipe<'static> = Recipe {
    header: "x-slack-signature",
    form: Form::Prefixed("v0="),
    time: Some((Some("x-slack-request-timestamp"), TimeUnit::Seconds)),
    message: &[Piece::Literal("v0:"), Piece::Time, Piece::Literal(":"), Piece::Body],
    ..PLAIN
};

/// <https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation>, as are the next two.
const HUBSPOT_V1: Recipe<'static> =
    Recipe { algorithm: Algorithm::PrefixedSha256, header: "x-hubspot-signature", ..PLAIN };

const HUBSPOT_V2: Recipe<'static> = Recipe { message: &[Piece::Method, Piece::Url, Piece::Body], ..HUBSPOT_V1 };

const HUBSPOT_V3: Recipe<'static> = Recipe {
    encoding: Encoding::Base64,
    header: "x-hubspot-signature-v3",
    time: Some((Some("x-hubspot-request-timestamp"), TimeUnit::Milliseconds)),
    message: &[Piece::Method, Piece::Url, Piece::Body, Piece::Time],
    ..PLAIN
};

/// <https://developers.kommo.com/reference/receiving-chat-webhooks>
const KOMMO_CHAT: Recipe<'static> = Recipe { algorithm: Algorithm::HmacSha1, header: "x-signature", ..PLAIN };

impl Custom {
    fn prove(&self, secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
        let plain = Recipe {
            algorithm: self.algorithm,
            encoding: self.encoding,
            header: &self.header,
            form: Form::Prefixed(&self.prefix),
            ..PLAIN
        };
        let Some(time) = &self.timestamp else { return plain.prove(secrets, delivery) };
        let message = [Piece::Time, Piece::Literal(&time.separator), Piece::Body];
        Recipe { time: Some((Some(&time.header), time.unit)), message: &message, ..plain }.prove(secrets, delivery)
    }
}

/// RFC 7617. Names and passwords are compared by their digests, so that not even their lengths are told by the time that takes.
fn prove_basic(secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
    let value = header(delivery, "authorization")?;
    let (kind, encoded) = value.split_once(' ').ok_or(Refusal::Malformed)?;
    if !kind.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Malformed);
    }
    let given = STANDARD.decode(encoded.trim()).map_err(|_| Refusal::Malformed)?;
    prove_known(secrets, &given, delivery)
}

fn prove_token(secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
    prove_known(secrets, delivery.token.ok_or(Refusal::WrongCredentials)?.as_bytes(), delivery)
}

fn prove_known(secrets: &[SecretString], given: &[u8], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
    let given = fingerprint(&[given]);
    let known = |secret: &SecretString| is_same(&fingerprint(&[secret.expose_secret().as_bytes()]), &given);
    let secret = secrets.iter().position(known).ok_or(Refusal::WrongCredentials)?;
    Ok(Proof { secret, signed_at: None, fingerprint: fingerprint(&[b"body", delivery.body]), said: None })
}
