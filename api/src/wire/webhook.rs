use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use millrace_shared::crm::Provider;
use millrace_shared::db::webhooks::{SecretRecord, Source};
use millrace_shared::ids::{ConnectionId, SourceId};
use millrace_shared::jobs::{CrmSyncRecord, FieldError, JobPayload as _, Kinds, WebhookDeliver};
use millrace_shared::label;
use millrace_shared::webhook::Scheme;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Seconds between the signed time and ours, either way, unless told otherwise: what the vendors' own libraries tolerate.
const TOLERANCE_SECONDS: i32 = 300;
const MOST_TOLERANCE_SECONDS: i32 = 86_400;
/// How long a replaced secret goes on, unless told otherwise, and at most: seven days.
const OVERLAP_SECONDS: u32 = 86_400;
const MOST_OVERLAP_SECONDS: u32 = 604_800;

/// A source of webhooks that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "Weir sensors", "scheme": { "type": "standard_webhooks" }, "kind": "asset.process" }))]
pub struct NewWebhookSource {
    /// A label, at most 255 characters.
    name: String,
    /// How deliveries are verified. Absent: as the account webhooks of the CRM are, which `provider` or `connection_id` tells.
    scheme: Option<Scheme>,
    /// The CRM that delivers, in place of `scheme`.
    provider: Option<Provider>,
    /// The kind of job that each delivery becomes. Its body is the job's payload. With `connection_id` left out.
    kind: Option<String>,
    /// The connection to a CRM that the deliveries are of: then they tell which of its records to read again.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// What the sender signs with, or sends; where it is left out, one is made and shown once.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// How far the time that was signed may be from ours, in seconds, either way.
    #[schema(minimum = 1, maximum = 86_400, default = 300)]
    tolerance_seconds: Option<i32>,
}

/// A [`NewWebhookSource`] that was checked.
pub struct CheckedSource {
    pub name: String,
    pub scheme: Scheme,
    pub kind: &'static str,
    pub connection_id: Option<ConnectionId>,
    pub secret: Secret,
    pub tolerance_seconds: i32,
}

impl NewWebhookSource {
    /// The connection that it is to be of.
    pub fn connection_id(&self) -> Option<ConnectionId> {
        self.connection_id
    }

    /// Checks all fields; `connected` is the provider of its connection.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(self, kinds: &Kinds, connected: Option<Provider>) -> Result<CheckedSource, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let name = label::of_file(&self.name);
        if name.is_none() {
            wrong.push(FieldError::new("name", "is empty"));
        }
        let kind = kind(self.kind.as_deref(), self.connection_id, kinds).map_err(|error| wrong.push(error)).ok();
        let tolerance_seconds = self.tolerance_seconds.unwrap_or(TOLERANCE_SECONDS);
        if !(1..=MOST_TOLERANCE_SECONDS).contains(&tolerance_seconds) {
            wrong.push(FieldError::new("tolerance_seconds", format!("must be from 1 to {MOST_TOLERANCE_SECONDS}")));
        }
        let proof = scheme(self.scheme, self.provider, connected)
            .and_then(|scheme| Ok((Secret::given_or_made(self.secret, &scheme)?, scheme)))
            .map_err(|error| wrong.push(error))
            .ok();
        match (name, kind, proof) {
            (Some(name), Some(kind), Some((secret, scheme))) if wrong.is_empty() => {
                let connection_id = self.connection_id;
                Ok(CheckedSource { name, scheme, kind, connection_id, secret, tolerance_seconds })
            }
            _ => Err(wrong),
        }
    }
}

/// What deliveries become.
fn kind(told: Option<&str>, connection: Option<ConnectionId>, kinds: &Kinds) -> Result<&'static str, FieldError> {
    let problem = match (told, connection) {
        (None, Some(_)) => return Ok(CrmSyncRecord::KIND),
        (Some(_), Some(_)) => "is told by the connection; leave it out",
        (None, None) => "is required, unless there is a connection_id",
        (Some(WebhookDeliver::KIND), None) => "is what makes deliveries jobs; name the kind that they are to become",
        (Some(told), None) => match kinds.get(told) {
            Some(kind) => return Ok(kind.name),
            None => "is no kind of job; GET /v1/kinds lists them",
        },
    };
    Err(FieldError::new("kind", problem))
}

/// How deliveries are verified: as told, or as the CRM's are.
fn scheme(told: Option<Scheme>, provider: Option<Provider>, connected: Option<Provider>) -> Result<Scheme, FieldError> {
    match (told, provider, connected) {
        (Some(_), Some(_), _) => Err(FieldError::new("provider", "tells the scheme, as `scheme` does; leave one out")),
        (None, Some(provider), Some(connected)) if provider != connected => {
            Err(FieldError::new("provider", format!("is not the connection's, {connected}; leave it out")))
        }
        (Some(scheme), None, _) => Ok(scheme),
        (None, Some(provider), _) | (None, None, Some(provider)) => Ok(Scheme::of(provider)),
        (None, None, None) => {
            Err(FieldError::new("scheme", "is required, unless there is a provider or a connection_id"))
        }
    }
}

/// A secret, and whether its owner has seen it yet.
pub enum Secret {
    Given(SecretString),
    Made(SecretString),
}

impl Secret {
    /// One that the scheme can work with.
    fn given_or_made(given: Option<SecretString>, scheme: &Scheme) -> Result<Self, FieldError> {
        let secret = given.map_or_else(|| Self::made(scheme), Self::Given);
        match scheme.check(secret.get()) {
            Ok(()) => Ok(secret),
            Err(error) => Err(FieldError::new(error.field, error.problem)),
        }
    }

    fn made(scheme: &Scheme) -> Self {
        let random: [u8; 32] = rand::random();
        Self::Made(SecretString::from(match scheme {
            Scheme::StandardWebhooks {} => format!("whsec_{}", STANDARD.encode(random)),
            Scheme::Basic {} => format!("millrace:{}", URL_SAFE_NO_PAD.encode(random)),
            _ => URL_SAFE_NO_PAD.encode(random),
        }))
    }

    pub fn get(&self) -> &SecretString {
        match self {
            Self::Given(secret) | Self::Made(secret) => secret,
        }
    }

    /// The secret, if it is to be shown now and never again.
    pub fn to_show(&self) -> Option<&SecretString> {
        match self {
            Self::Given(_) => None,
            Self::Made(secret) => Some(secret),
        }
    }
}

/// A secret that is to take the place of others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "overlap_seconds": 3600 }))]
pub struct NewWebhookSecret {
    /// Where it is left out, one is made and shown once.
    #[schema(value_type = Option<String>)]
    secret: Option<SecretString>,
    /// How long the secrets before it still verify, in seconds.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u32>,
}

impl NewWebhookSecret {
    /// The secret, and how many seconds the ones before it go on.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(self, scheme: &Scheme) -> Result<(Secret, u32), Vec<FieldError>> {
        let mut wrong = Vec::new();
        let overlap = self.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
        if overlap > MOST_OVERLAP_SECONDS {
            wrong.push(FieldError::new("overlap_seconds", format!("must be at most {MOST_OVERLAP_SECONDS}")));
        }
        match Secret::given_or_made(self.secret, scheme) {
            Ok(secret) if wrong.is_empty() => return Ok((secret, overlap)),
            Ok(_) => {}
            Err(error) => wrong.push(error),
        }
        Err(wrong)
    }
}

/// A source of webhooks.
#[derive(Serialize, ToSchema)]
pub struct WebhookSource {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: SourceId,
    /// A label.
    name: String,
    /// The URL to give to the sender. With `secret_url` the secret follows it, after a slash.
    url: String,
    /// How deliveries are verified.
    scheme: Scheme,
    /// The kind of job that each delivery becomes.
    kind: String,
    /// The connection to a CRM that the deliveries are of.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// How far the time that was signed may be from ours, in seconds.
    tolerance_seconds: i32,
    /// The secrets that verify now, the newest first; never the secrets themselves.
    secrets: Vec<WebhookSecret>,
    /// The secret, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it or its secrets changed last.
    updated_at: DateTime<Utc>,
}

/// What is known of a secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookSecret {
    /// When it was made.
    created_at: DateTime<Utc>,
    /// From then on it verifies nothing. Null: until it is replaced.
    valid_until: Option<DateTime<Utc>>,
}

impl WebhookSource {
    /// The source as it is shown.
    pub fn of(source: Source, secrets: &[SecretRecord], url: String, shown: Option<String>) -> Self {
        let known =
            |secret: &SecretRecord| WebhookSecret { created_at: secret.created_at, valid_until: secret.valid_until };
        Self {
            id: source.id,
            name: source.name,
            url,
            scheme: source.scheme.0,
            kind: source.kind,
            connection_id: source.connection_id,
            tolerance_seconds: source.tolerance_seconds,
            secrets: secrets.iter().map(known).collect(),
            secret: shown,
            created_at: source.created_at,
            updated_at: source.updated_at,
        }
    }
}

/// A delivery that might come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "headers": { "x-hub-signature-256": "sha256=757107ea…" }, "body": "Hello, World!" }))]
pub struct WebhookTest {
    /// Its headers.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Its body, as text.
    pub body: String,
    /// What follows the source's URL: `?…`, or, with `secret_url`, a slash and the secret.
    #[serde(default)]
    pub path: String,
    /// When it comes. Absent: now.
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub at: Option<super::Timestamp>,
}

/// What verification would say.
#[derive(Serialize, ToSchema)]
pub struct WebhookVerdict {
    /// Whether it would be taken in.
    pub accepted: bool,
    /// A stable name of why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why, in words.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use millrace_shared::jobs::KindSet;
    use serde_json::{Value, json};

    use super::*;

    fn checked(body: &Value, connected: Option<Provider>) -> Result<Scheme, Vec<String>> {
        let new: NewWebhookSource = serde_json::from_value(body.clone()).expect("a source");
        match new.check(&Kinds::new(KindSet::WorkAndProbe), connected) {
            Ok(checked) => Ok(checked.scheme),
            Err(wrong) => Err(wrong.into_iter().map(|error| error.field).collect()),
        }
    }

    #[test]
    fn a_provider_or_a_connection_tells_the_scheme() {
        let connection = uuid::Uuid::now_v7();
        for &provider in Provider::ALL {
            let told = json!({ "name": "Account", "provider": provider, "kind": "probe" });
            assert_eq!(checked(&told, None), Ok(Scheme::of(provider)));
            let implied = json!({ "name": "Account", "connection_id": connection });
            assert_eq!(checked(&implied, Some(provider)), Ok(Scheme::of(provider)));
            let both = json!({ "name": "Account", "provider": provider, "connection_id": connection });
            assert_eq!(checked(&both, Some(provider)), Ok(Scheme::of(provider)));
            let other = json!({ "name": "Account", "scheme": { "type": "github" }, "connection_id": connection });
            assert_eq!(checked(&other, Some(provider)), Ok(Scheme::Github {}), "what is told outdoes what is implied");
        }
    }

    #[test]
    fn what_tells_the_scheme_tells_it_once() {
        let connection = uuid::Uuid::now_v7();
        let both = json!({ "name": "Weir", "provider": "kommo", "scheme": { "type": "secret_url" }, "kind": "probe" });
        assert_eq!(checked(&both, None), Err(vec!["provider".to_owned()]));
        let other = json!({ "name": "Weir", "provider": "kommo", "connection_id": connection });
        assert_eq!(checked(&other, Some(Provider::Hubspot)), Err(vec!["provider".to_owned()]));
        let neither = json!({ "name": "Weir", "kind": "probe" });
        assert_eq!(checked(&neither, None), Err(vec!["scheme".to_owned()]));
        let all = json!({ "name": "", "secret": "short", "provider": "hubspot" });
        assert_eq!(checked(&all, None), Err(["name", "kind", "secret"].map(str::to_owned).to_vec()));
    }
}
