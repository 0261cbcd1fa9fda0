use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_shared::crm::{self, ConflictPolicy, Credentials, OauthClient, Object, Provider, SyncMode};
use millrace_shared::db::crm::connections::{self, ConnectionState};
use millrace_shared::db::crm::syncs;
use millrace_shared::ids::{ConnectionId, JobId};
use millrace_shared::jobs::FieldError;
use millrace_shared::label;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Longer secrets are no vendor's.
const MOST_SECRET_CHARS: usize = 8_192;

/// A connection that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "Sales", "provider": "pipedrive", "account": "acme", "auth": { "type": "token", "token": "…" } }))]
pub struct NewConnection {
    /// A label.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The CRM.
    provider: Provider,
    /// The account's part of its host, such as `acme` of acme.kommo.com. HubSpot has one host for all: leave it out.
    #[schema(max_length = 128)]
    account: Option<String>,
    /// What to keep a copy of. Absent: everything.
    objects: Option<Vec<Object>>,
    /// What becomes of changes of ours (`PATCH /v1/records/{id}`) where the CRM's record has changed meanwhile. Absent: `crm_wins`.
    conflict_policy: Option<ConflictPolicy>,
    /// What the connection is to prove itself with.
    auth: NewAuth,
}

/// What a connection proves itself with. It is kept sealed, and never shown.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewAuth {
    /// A long-lived token, or an API key.
    Token {
        /// The token.
        #[schema(value_type = String)]
        token: SecretString,
    },
    /// An app of your own at the provider. A person grants it access: `POST /v1/connections/{id}/oauth/start`.
    Oauth {
        /// The app's id.
        client_id: String,
        /// The app's secret.
        #[schema(value_type = String)]
        client_secret: SecretString,
    },
    /// Salesforce's JWT bearer flow.
    JwtBearer {
        /// The connected app's consumer key.
        client_id: String,
        /// As whom.
        username: String,
        /// The key whose certificate the app has: RSA, as PEM.
        #[schema(value_type = String)]
        private_key: SecretString,
    },
}

/// A connection that may be made.
pub struct CheckedConnection {
    pub name: String,
    pub provider: Provider,
    pub account: Option<String>,
    pub objects: Vec<Object>,
    pub conflict_policy: ConflictPolicy,
    pub credentials: Credentials,
    /// Whether somebody has to grant access first.
    pub waits_for_grant: bool,
}

impl NewConnection {
    /// Checks all fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn check(self, redirect_uri: &str) -> Result<CheckedConnection, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let name = label::of_file(&self.name);
        if name.is_none() {
            wrong.push(FieldError::new("name", "is empty"));
        }
        if let Err(error) = self.provider.check_account(self.account.as_deref()) {
            wrong.push(FieldError::new("account", error.to_string()));
        }
        let objects: BTreeSet<Object> =
            self.objects.map_or_else(|| Object::ALL.iter().copied().collect(), |objects| objects.into_iter().collect());
        if objects.is_empty() {
            wrong.push(FieldError::new("objects", "names none; leave it out for all of them"));
        }
        let waits_for_grant = matches!(self.auth, NewAuth::Oauth { .. });
        let credentials = self.auth.check(self.provider, redirect_uri, &mut wrong);
        match name {
            Some(name) if wrong.is_empty() => Ok(CheckedConnection {
                name,
                provider: self.provider,
                account: self.account,
                objects: objects.into_iter().collect(),
                conflict_policy: self.conflict_policy.unwrap_or(ConflictPolicy::CrmWins),
                credentials,
                waits_for_grant,
            }),
            _ => Err(wrong),
        }
    }
}

impl NewAuth {
    /// Checks all fields, `wrong` getting what is wrong with them.
    pub fn check(self, provider: Provider, redirect_uri: &str, wrong: &mut Vec<FieldError>) -> Credentials {
        let mut bounded = |field: &str, text: &str| {
            if text.is_empty()
                || text.len() > MOST_SECRET_CHARS
                || text.chars().any(|c| c.is_control() && c != '\n' && c != '\r')
            {
                let problem = format!("must be 1 to {MOST_SECRET_CHARS} characters without control characters");
                wrong.push(FieldError::new(format!("auth.{field}"), problem));
            }
        };
        match self {
            Self::Token { token } => {
                bounded("token", token.expose_secret());
                Credentials::Token { token }
            }
            Self::Oauth { client_id, client_secret } => {
                bounded("client_id", &client_id);
                bounded("client_secret", client_secret.expose_secret());
                let client =
                    OauthClient { id: client_id, secret: client_secret, redirect_uri: redirect_uri.to_owned() };
                Credentials::Oauth { client, code: None, tokens: None }
            }
            Self::JwtBearer { client_id, username, private_key } => {
                bounded("client_id", &client_id);
                bounded("username", &username);
                if provider != Provider::Salesforce {
                    wrong.push(FieldError::new("auth.type", "is Salesforce's alone; use `oauth` or `token`"));
                } else if let Err(error) = crm::assertion(&client_id, &username, ("", Utc::now()), &private_key) {
                    wrong.push(FieldError::new("auth.private_key", error.to_string()));
                }
                Credentials::JwtBearer { client_id, username, private_key, tokens: None }
            }
        }
    }
}

/// A connection to an account in a CRM.
#[derive(Serialize, ToSchema)]
pub struct Connection {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ConnectionId,
    /// A label.
    name: String,
    /// The CRM.
    provider: Provider,
    /// The account's part of its host.
    account: Option<String>,
    /// What is kept a copy of.
    objects: Vec<Object>,
    /// `pending` until it has proved itself; `reauthorize` where access has to be granted again: its jobs wait meanwhile.
    state: ConnectionState,
    /// Why access has to be granted again.
    state_reason: Option<String>,
    /// How the CRM calls the account.
    account_id: Option<String>,
    /// The account's name.
    account_name: Option<String>,
    /// What becomes of changes of ours that meet changes of the CRM's.
    conflict_policy: ConflictPolicy,
    /// The circuit breaker of its calls.
    breaker: Breaker,
    /// The job that makes it serve, in the answer that began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    job_id: Option<JobId>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it changed last.
    updated_at: DateTime<Utc>,
}

/// Whether an account is called.
#[derive(Serialize, ToSchema)]
pub struct Breaker {
    /// `closed`: it is; `open`: it is not; `half_open`: one call tries whether it can be again.
    state: BreakerState,
    /// Calls that failed in a row.
    failures: i32,
    /// Until when it is not called.
    open_until: Option<DateTime<Utc>>,
}

/// See [`Breaker`].
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl Connection {
    /// The connection as it is shown.
    pub fn of(row: connections::Connection, job_id: Option<JobId>) -> Self {
        let state = match (row.open_for(), row.open_until) {
            (Some(_), _) => BreakerState::Open,
            (None, Some(_)) if row.failures > 0 => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        };
        Self {
            id: row.id,
            provider: row.provider(),
            objects: row.objects(),
            conflict_policy: row.conflict_policy(),
            name: row.name,
            account: row.account,
            state: row.state,
            state_reason: row.state_reason,
            account_id: row.account_id,
            account_name: row.account_name,
            breaker: Breaker { state, failures: row.failures, open_until: row.open_until },
            job_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What is to change in a connection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "conflict_policy": "manual" }))]
pub struct ConnectionChange {
    /// What becomes of changes of ours that meet changes of the CRM's.
    pub conflict_policy: ConflictPolicy,
}

/// Other credentials.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "auth": { "type": "token", "token": "…" } }))]
pub struct NewCredentials {
    /// What the connection is to prove itself with.
    pub auth: NewAuth,
}

/// A sync that is to begin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "mode": "full" }))]
pub struct NewSync {
    /// How to go about it. Absent: `incremental`.
    #[serde(default)]
    pub mode: SyncMode,
    /// Which objects. Absent: all of the connection's.
    pub objects: Option<Vec<Object>>,
}

/// Where a person grants access.
#[derive(Serialize, ToSchema)]
pub struct OauthStart {
    /// Send the person's browser there. It serves once.
    pub authorize_url: String,
    /// For so many seconds.
    pub expires_in_seconds: u64,
}

/// A sync of a connection.
#[derive(Serialize, ToSchema)]
pub struct Sync {
    /// Its job.
    #[schema(value_type = uuid::Uuid)]
    id: JobId,
    /// `incremental` or `full`.
    mode: String,
    /// `running`, `succeeded`, `dead` or `cancelled`.
    state: &'static str,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended well.
    finished_at: Option<DateTime<Utc>>,
    /// From begin to end, in milliseconds.
    duration_ms: Option<i64>,
    /// What was met, by object: `read`, `created`, `updated`, `unchanged`, `deleted`, `stale`, and an `error` where the CRM refused it.
    #[schema(value_type = Object)]
    counts: Value,
    /// Where it is: the object, and the place in its list.
    cursor: Option<String>,
    /// What went wrong last.
    error: Option<String>,
}

impl Sync {
    /// The sync as it is shown.
    pub fn of(row: syncs::Sync) -> Self {
        let state = match (row.finished_at, row.job_state.as_deref()) {
            (Some(_), _) => "succeeded",
            (None, Some("dead")) => "dead",
            (None, Some("cancelled")) => "cancelled",
            (None, Some(_)) => "running",
            // The ledger has forgotten a job that ended otherwise than well.
            (None, None) => "dead",
        };
        Self {
            id: row.id,
            mode: row.mode,
            state,
            started_at: row.started_at,
            finished_at: row.finished_at,
            duration_ms: row.finished_at.map(|end| (end - row.started_at).num_milliseconds()),
            counts: row.counts,
            cursor: row.cursor,
            error: row.error,
        }
    }
}

/// A field that was not what it is known to be. The record was kept all the same.
#[derive(Serialize, ToSchema)]
pub struct Drift {
    /// The sort of record.
    object: String,
    /// The field, as the provider calls it.
    field: String,
    /// What is wrong with it.
    problem: String,
    /// When that was first met.
    first_seen_at: DateTime<Utc>,
    /// When that was last met.
    last_seen_at: DateTime<Utc>,
}

impl From<syncs::Drift> for Drift {
    fn from(row: syncs::Drift) -> Self {
        Self {
            object: row.object,
            field: row.field,
            problem: row.problem,
            first_seen_at: row.first_seen_at,
            last_seen_at: row.last_seen_at,
        }
    }
}
