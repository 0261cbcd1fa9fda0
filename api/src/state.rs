//! What handlers need, built once at start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use millrace_shared::auth::JwtVerifier;
use millrace_shared::config::{ApiConfig, ScheduleLimits, SearchLimits};
use millrace_shared::crm::Endpoints;
use millrace_shared::fetch::FetchRules;
use millrace_shared::ids::SourceId;
use millrace_shared::jobs::{KindSet, Kinds};
use millrace_shared::queue::Queues;
use millrace_shared::seal::Keyring;
use millrace_shared::storage::Storage;
use millrace_shared::telemetry::MetricsHandle;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arrivals::{Arrivals, Keyholders, arrivals, keyholders};
use crate::doorkeeper::{Doorkeeper, doorkeeper};
use crate::gather::{Gatherer, gatherer};
use crate::waiter::Waiter;

/// How often the metrics' histograms are drained.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds on what one request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest JSON body.
    pub body_bytes: usize,
    /// Largest uploaded file.
    pub upload_bytes: u64,
    /// Largest delivery of a webhook.
    pub webhook_bytes: usize,
    /// Longest time for a request, uploads and long polls excepted.
    pub request_timeout: Duration,
    /// What a search may cost.
    pub search: SearchLimits,
    /// What may be scheduled.
    pub schedules: ScheduleLimits,
}

/// Shared by all requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: PgPool,
    queues: Queues,
    storage: Storage,
    kinds: Kinds,
    tokens: Option<JwtVerifier>,
    metrics: MetricsHandle,
    limits: Limits,
    searches: Semaphore,
    keyring: Option<Keyring>,
    public_url: Option<String>,
    crm_endpoints: Endpoints,
    keyholders: Keyholders,
    arrivals: Arrivals,
    fetch_rules: FetchRules,
    draining: CancellationToken,
    waiter: Waiter,
    doorkeeper: Doorkeeper,
    gatherer: Gatherer,
    description: Bytes,
}

impl AppState {
    /// Opens everything that the configuration names. Connects to nothing yet, so that the API starts while Postgres or Redis
    /// is away and says so in `/health/ready`.
    ///
    /// # Errors
    /// When a URL, a key or the storage's directory is not usable.
    pub fn open(config: &ApiConfig, metrics: MetricsHandle, draining: CancellationToken) -> anyhow::Result<Self> {
        let common = &config.common;
        let tokens = config.jwt.as_ref().map(JwtVerifier::new).transpose().map_err(anyhow::Error::msg)?;
        let kinds = Kinds::new(if common.probe { KindSet::WorkAndProbe } else { KindSet::Work });
        let database = millrace_shared::db::pool(&common.database, "millrace-api")?;
        let queues = Queues::connect(&common.redis_url, Duration::from_secs(2))?;
        Ok(Self(Arc::new(Inner {
            doorkeeper: doorkeeper(&database),
            keyholders: keyholders(&database),
            arrivals: arrivals(&database, &queues),
            keyring: common.keyring.clone(),
            public_url: config.public_url.clone(),
            crm_endpoints: config.crm_endpoints.clone(),
            gatherer: gatherer(&database, &queues),
            database,
            queues,
            storage: Storage::open(&common.storage)?,
            kinds,
            tokens,
            metrics,
            limits: Limits {
                body_bytes: config.max_body_bytes,
                upload_bytes: config.max_upload_bytes,
                webhook_bytes: usize::try_from(config.webhook_bytes).unwrap_or(usize::MAX),
                request_timeout: config.request_timeout,
                search: config.search,
                schedules: config.schedules,
            },
            searches: Semaphore::new(config.search.concurrency as usize),
            fetch_rules: config.fetch.clone(),
            draining,
            waiter: Waiter::default(),
            description: Bytes::from(crate::openapi().to_pretty_json()?),
        })))
    }

    /// Postgres.
    #[must_use]
    pub fn database(&self) -> &PgPool {
        &self.0.database
    }

    /// Redis.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.0.queues
    }

    /// The object store.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// The kinds of jobs that may be submitted.
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    /// Verifies tokens; absent where only API keys are accepted.
    #[must_use]
    pub fn tokens(&self) -> Option<&JwtVerifier> {
        self.0.tokens.as_ref()
    }

    /// Renders the metrics.
    #[must_use]
    pub fn metrics(&self) -> &MetricsHandle {
        &self.0.metrics
    }

    /// Bounds on what one request may cost.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Opens the secrets of webhook sources; absent where none can be.
    #[must_use]
    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.0.keyring.as_ref()
    }

    /// Whether it is known by which address senders reach this API.
    #[must_use]
    pub(crate) fn has_public_url(&self) -> bool {
        self.0.public_url.is_some()
    }

    /// The URL of a source of webhooks; a path alone where the address is not known.
    #[must_use]
    pub(crate) fn webhook_url(&self, source: SourceId) -> String {
        format!("{}/v1/webhooks/{source}", self.0.public_url.as_deref().unwrap_or_default())
    }

    /// The URL of a request as its sender knows it.
    #[must_use]
    pub(crate) fn public_url(&self, uri: &Uri) -> String {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        format!("{}{path}", self.0.public_url.as_deref().unwrap_or_default())
    }

    /// Where grants of access to CRMs come back to.
    #[must_use]
    pub(crate) fn redirect_uri(&self) -> String {
        format!("{}/v1/oauth/callback", self.0.public_url.as_deref().unwrap_or_default())
    }

    /// Where CRMs are.
    #[must_use]
    pub(crate) fn crm_endpoints(&self) -> &Endpoints {
        &self.0.crm_endpoints
    }

    /// Who may deliver webhooks.
    #[must_use]
    pub(crate) fn keyholders(&self) -> &Keyholders {
        &self.0.keyholders
    }

    /// Takes in deliveries of webhooks.
    #[must_use]
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.0.arrivals
    }

    /// Turns at searching.
    #[must_use]
    pub(crate) fn searches(&self) -> &Semaphore {
        &self.0.searches
    }

    /// What may be fetched by its URL.
    #[must_use]
    pub(crate) fn fetch_rules(&self) -> &FetchRules {
        &self.0.fetch_rules
    }

    /// Tells when jobs end.
    #[must_use]
    pub(crate) fn waiter(&self) -> &Waiter {
        &self.0.waiter
    }

    /// Looks up API keys.
    #[must_use]
    pub(crate) fn doorkeeper(&self) -> &Doorkeeper {
        &self.0.doorkeeper
    }

    /// Takes in small submissions together.
    #[must_use]
    pub(crate) fn gatherer(&self) -> &Gatherer {
        &self.0.gatherer
    }

    /// The OpenAPI description, as JSON.
    #[must_use]
    pub(crate) fn description(&self) -> Bytes {
        self.0.description.clone()
    }

    /// Cancelled once the process is asked to end: long polls answer at once.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Starts what runs beside the requests; stop it after the last one.
    #[must_use]
    pub fn spawn_background(&self) -> Background {
        let background = Background { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let (state, stop) = (self.clone(), background.stop.clone());
        background.tracker.spawn(async move { state.waiter().run(state.database(), &stop).await });
        let (state, stop) = (self.clone(), background.stop.clone());
        background.tracker.spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
                state.metrics().run_upkeep();
            }
        });
        background.tracker.close();
        background
    }
}

/// What runs beside the requests.
#[derive(Debug)]
pub struct Background {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Stops it and waits until it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}
