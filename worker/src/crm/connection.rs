//! What a job needs to call an account, or why it has to wait.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use millrace_shared::config::CrmConfig;
use millrace_shared::db::crm::connections::{self, Connection, ConnectionState};
use millrace_shared::ids::ConnectionId;
use millrace_shared::seal::Keyring;
use rand::RngExt as _;
use reqwest::redirect;
use tokio::sync::Mutex;

use super::{Api, CrmError, Crms};
use crate::handler::{JobContext, JobError};

/// No breaker stays open for longer, and no job sleeps longer that waits for somebody to grant access again.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(900);
const SHORTEST_PAUSE: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("millrace/", env!("CARGO_PKG_VERSION"));

/// What all jobs share that talk to CRMs.
pub(crate) struct Clients {
    /// Made for the first call: a worker that talks to no CRM needs no certificates.
    http: OnceLock<reqwest::Client>,
    pub(super) config: CrmConfig,
    pub(super) keyring: Option<Keyring>,
    pub(super) crms: Crms,
}

impl Clients {
    pub(crate) fn new(config: &CrmConfig, keyring: Option<Keyring>) -> Arc<Self> {
        Arc::new(Self { http: OnceLock::new(), config: config.clone(), keyring, crms: Crms::new() })
    }

    pub(super) fn http(&self) -> Result<&reqwest::Client, CrmError> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        // A failure is not kept: what was missing may be there the next time.
        let made = self.make_http().map_err(|_| CrmError::broken("the HTTP client could not be set up"))?;
        Ok(self.http.get_or_init(|| made))
    }

    fn make_http(&self) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            // A redirect would carry the token elsewhere.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.config.connect_timeout)
            .timeout(self.config.timeout)
            .build()
    }

    /// How far an incremental sync goes back behind the last one.
    pub(crate) fn overlap(&self) -> TimeDelta {
        TimeDelta::from_std(self.config.overlap).unwrap_or(TimeDelta::days(1))
    }

    pub(crate) fn crms(&self) -> &Crms {
        &self.crms
    }
}

/// How long a job waits that can do nothing before somebody grants access: longer each time.
pub(super) fn pause(job: &JobContext) -> Duration {
    let longest = SHORTEST_PAUSE.saturating_mul(1 << job.snoozes.min(6)).min(LONGEST_PAUSE);
    longest.mul_f64(rand::rng().random_range(0.7..1.0))
}

/// Opens a connection for a job.
pub(crate) async fn open<'a>(job: &'a JobContext, clients: &'a Clients, id: ConnectionId) -> Result<Api<'a>, JobError> {
    let connection = find(job, id).await?;
    let wait = |after, source: &'static str| Err(JobError::Snooze { after, source: source.into() });
    match connection.state {
        ConnectionState::Active => {}
        ConnectionState::Pending => return wait(pause(job), "the connection waits for its first grant"),
        ConnectionState::Reauthorize => return wait(pause(job), "access has to be granted again"),
    }
    if let Some(open) = connection.open_for() {
        return wait(open.mul_f64(rand::rng().random_range(1.0..1.2)), "calls of this account pause");
    }
    let threshold = i32::try_from(clients.config.breaker_failures).unwrap_or(i32::MAX);
    if connection.failures >= threshold && !probes(job, &connection, clients).await? {
        let after = Duration::from_millis(rand::rng().random_range(1_000..3_000));
        return wait(after, "another job tries whether the account can be called again");
    }
    Ok(of(job, clients, connection))
}

/// The same for the job that makes a connection serve, whatever state it is in.
pub(crate) async fn open_in_any_state<'a>(
    job: &'a JobContext,
    clients: &'a Clients,
    id: ConnectionId,
) -> Result<Api<'a>, JobError> {
    Ok(of(job, clients, find(job, id).await?))
}

fn of<'a>(job: &'a JobContext, clients: &'a Clients, connection: Connection) -> Api<'a> {
    let provider = connection.provider();
    Api {
        job,
        crm: clients.crms.get(provider),
        clients,
        addresses: Mutex::new(clients.config.endpoints.of(provider, connection.account.as_deref())),
        troubled: (connection.failures > 0).into(),
        connection,
        held: Mutex::new(None),
    }
}

async fn find(job: &JobContext, id: ConnectionId) -> Result<Connection, JobError> {
    let found = async { connections::get(&mut *job.pool.acquire().await?, job.org, id).await };
    let found = found.await.map_err(|error| job.database(error))?;
    found.ok_or_else(|| JobError::fail("crm_connection_gone", "the organisation has no such connection"))
}

/// Whether this job is the one that tries whether an account can be called again.
async fn probes(job: &JobContext, connection: &Connection, clients: &Clients) -> Result<bool, JobError> {
    let time = clients.config.timeout * 2;
    let taken = async {
        connections::take_probe(&mut *job.pool.acquire().await?, connection.org_id, connection.id, time).await
    };
    taken.await.map_err(|error| job.database(error))
}
