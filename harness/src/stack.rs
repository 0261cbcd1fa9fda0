//! A whole Millrace for one test: servers, API, workers, an organisation and a key.
//!
//! Redis is always private, because tests empty it, kill it and hang it. Postgres is shared where the run provides one
//! ([`TEST_POSTGRES`]), with a database for this stack alone, unless the test asks for its own to stop and start.

use std::{
    path::Path,
    process::Output,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    binaries::Binaries,
    client::Client,
    place::file_url,
    postgres::{PostgresOptions, PostgresServer, TEST_POSTGRES, TEST_TEMPLATE},
    redis::{RedisOptions, RedisServer},
    run_dir::RunDir,
    secret::random_hex,
    servers::set,
    service::{Inherit, Service, ServiceSpec, Until},
};

/// How long a drain may take before a test calls it hung.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// How much of each log a failing test shows.
const LOG_LINES: usize = 60;

/// How a stack is to be; see [`Stack::builder`].
#[derive(Clone, Debug)]
pub struct StackBuilder {
    workers: usize,
    environment: Vec<(String, String)>,
    api_environment: Vec<(String, String)>,
    worker_environment: Vec<(String, String)>,
    own_postgres: Option<PostgresOptions>,
    redis: RedisOptions,
    failpoint: Option<String>,
}

impl StackBuilder {
    /// How many workers to start: 1 unless told otherwise, and 0 is fine.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// A variable for API, workers and CLI.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A variable for the API alone.
    #[must_use]
    pub fn api_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.api_environment.push((name.into(), value.into()));
        self
    }

    /// A variable for the workers alone.
    #[must_use]
    pub fn worker_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.worker_environment.push((name.into(), value.into()));
        self
    }

    /// A Postgres of its own, which the test may stop and start.
    #[must_use]
    pub fn own_postgres(mut self, options: PostgresOptions) -> Self {
        self.own_postgres = Some(options);
        self
    }

    /// How its Redis is to be.
    #[must_use]
    pub fn redis(mut self, options: RedisOptions) -> Self {
        self.redis = options;
        self
    }

    /// Has the API die at a failpoint, each time it gets there often enough: `committed:20` (see `api/src/failpoint.rs`).
    #[must_use]
    pub fn failpoint(mut self, failpoint: impl Into<String>) -> Self {
        self.failpoint = Some(failpoint.into());
        self
    }

    /// Starts it: migrated database, organisation and admin key, API and workers ready.
    ///
    /// # Errors
    /// When a part does not come up; the message carries the end of its log.
    pub async fn start(self) -> Result<Stack> {
        let run = RunDir::create()?;
        let binaries = Binaries::for_tests().await?;
        let (redis, (postgres, database_url, migrated)) =
            tokio::try_join!(RedisServer::start(run.path(), self.redis), database(run.path(), self.own_postgres))?;

        let jwt_secret = random_hex(32)?;
        let mut environment: Vec<(String, String)> = [
            ("DATABASE_URL", database_url.clone()),
            ("REDIS_URL", redis.url().to_owned()),
            ("MILLRACE_ENV", "development".into()),
            ("MILLRACE_JWT_SECRET", jwt_secret.clone()),
            ("MILLRACE_STORAGE_URL", file_url(&run.path().join("storage"))?),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(self.environment);

        if !migrated {
            binaries.cli_stdout(&environment, &["migrate"]).await.context("cannot migrate the test's database")?;
        }
        let (org, key) = create_key(&binaries, &environment, "new", "admin").await?;
        let mut api_environment = [environment.clone(), self.api_environment].concat();
        let program = match self.failpoint {
            None => binaries.api(),
            Some(failpoint) => {
                api_environment.push(("MILLRACE_TEST_FAILPOINT".into(), failpoint));
                binaries.api_with_failpoints().await?
            }
        };
        let api = ServiceSpec {
            name: "api".into(),
            program,
            arguments: Vec::new(),
            bind_variable: "MILLRACE_BIND",
            bind: "127.0.0.1:0".into(),
            environment: api_environment,
            inherit: Inherit::NoSettings,
            dir: run.path().to_owned(),
        };
        let api = Service::start(api, Until::Ready).await?;
        let client = Client::new(&api.url(), &key)?;
        let mut stack = Stack {
            api,
            workers: Vec::new(),
            redis,
            postgres,
            client,
            org,
            database_url,
            jwt_secret,
            environment,
            worker_environment: self.worker_environment,
            binaries,
            drained: AtomicBool::new(false),
            run,
        };
        for _ in 0..self.workers {
            stack.add_worker().await?;
        }
        Ok(stack)
    }
}

/// A running Millrace. Dropping it kills all of it, and prints the ends of all logs unless it was drained well and the test
/// goes well: a test that returns an error cannot be told from one that has just not drained.
#[derive(Debug)]
pub struct Stack {
    /// The API.
    pub api: Service,
    /// The workers, in the order of their start.
    pub workers: Vec<Service>,
    /// Its own Redis.
    pub redis: RedisServer,
    /// Its Postgres; only one asked for with [`StackBuilder::own_postgres`] can surely be stopped.
    pub postgres: PostgresServer,
    client: Client,
    org: String,
    database_url: String,
    jwt_secret: String,
    environment: Vec<(String, String)>,
    worker_environment: Vec<(String, String)>,
    binaries: Binaries,
    drained: AtomicBool,
    // Last, so that the servers are gone before their directory is removed.
    run: RunDir,
}

impl Stack {
    /// A stack to be described and started.
    #[must_use]
    pub fn builder() -> StackBuilder {
        StackBuilder {
            workers: 1,
            environment: Vec::new(),
            api_environment: Vec::new(),
            worker_environment: Vec::new(),
            own_postgres: None,
            redis: RedisOptions::default(),
            failpoint: None,
        }
    }

    /// A client with the key of an admin of [`org`](Self::org).
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The organisation that was made at the start.
    #[must_use]
    pub fn org(&self) -> &str {
        &self.org
    }

    /// This stack's database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The HS256 secret that the API accepts tokens of.
    #[must_use]
    pub fn jwt_secret(&self) -> &str {
        &self.jwt_secret
    }

    /// The environment that API, workers and CLI share.
    #[must_use]
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A directory for the test's own files, removed with the stack.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run.path()
    }

    /// The binaries under test.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Starts another worker, waits until it is ready and returns its index.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn add_worker(&mut self) -> Result<usize> {
        self.add_worker_with(&[], Until::Ready).await
    }

    /// Starts another worker with further variables and returns its index.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn add_worker_with(&mut self, variables: &[(&str, &str)], until: Until) -> Result<usize> {
        let index = self.workers.len();
        let further = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = ServiceSpec {
            name: format!("worker-{index}"),
            program: self.binaries.worker(),
            arguments: Vec::new(),
            bind_variable: "MILLRACE_WORKER_BIND",
            bind: "127.0.0.1:0".into(),
            environment: [self.environment.clone(), self.worker_environment.clone(), further].concat(),
            inherit: Inherit::NoSettings,
            dir: self.run.path().to_owned(),
        };
        self.workers.push(Service::start(spec, until).await?);
        Ok(index)
    }

    /// A client with a new key of `role` in this stack's organisation.
    ///
    /// # Errors
    /// When the CLI refuses.
    pub async fn client_with_role(&self, role: &str) -> Result<Client> {
        let (_, key) = create_key(&self.binaries, &self.environment, &self.org, role).await?;
        Ok(self.client.with_key(&key))
    }

    /// A client with the key of an admin of another, new organisation.
    ///
    /// # Errors
    /// When the CLI refuses.
    pub async fn client_of_other_org(&self) -> Result<Client> {
        let (_, key) = create_key(&self.binaries, &self.environment, "new", "admin").await?;
        Ok(self.client.with_key(&key))
    }

    /// Runs `millrace` with `arguments` against this stack.
    ///
    /// # Errors
    /// When it cannot be started. How it ended is in the output.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.binaries.run_cli(&self.environment, arguments).await
    }

    /// Runs `millrace` with `arguments`, which must succeed, and returns its standard output, trimmed.
    ///
    /// # Errors
    /// When it fails; the message carries what it said.
    pub async fn cli_stdout(&self, arguments: &[&str]) -> Result<String> {
        self.binaries.cli_stdout(&self.environment, arguments).await
    }

    /// Drains API and workers with SIGTERM, and wants each that still runs to exit 0.
    ///
    /// # Errors
    /// When one does not end in time or ends otherwise; the message carries the end of its log.
    pub async fn drain(&self) -> Result<()> {
        for service in std::iter::once(&self.api).chain(&self.workers) {
            let process = service.process();
            if process.status().is_some() {
                continue;
            }
            let status = process.terminate(DRAIN_DEADLINE).await?;
            ensure!(status.success(), "{} drained with {status}{}", process.name(), process.log_excerpt());
        }
        self.drained.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() || !*self.drained.get_mut() {
            for service in std::iter::once(&self.api).chain(&self.workers) {
                let process = service.process();
                eprintln!("---- {}: {:?}\n{}", process.name(), process.status(), process.log_tail(LOG_LINES));
            }
        }
    }
}

/// A database for one stack: its server, its URL, and whether it is migrated already.
async fn database(dir: &Path, own: Option<PostgresOptions>) -> Result<(PostgresServer, String, bool)> {
    let shared = set(TEST_POSTGRES).filter(|_| own.is_none());
    let Some(shared) = shared else {
        let server = PostgresServer::start(dir, own.unwrap_or_default()).await?;
        let url = server.url().to_owned();
        return Ok((server, url, false));
    };
    let server = PostgresServer::external(&shared);
    // Parallel tests are processes or threads: pid and counter tell these apart, the time tells runs apart.
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let own = format!("{}_{}_{count}", std::process::id(), since_epoch.as_millis());
    match set(TEST_TEMPLATE) {
        Some(template) => {
            let url = server.copy_database(&format!("{template}_{own}"), &template).await?;
            Ok((server, url, true))
        }
        None => {
            let url = server.create_database(&format!("millrace_test_{own}")).await?;
            Ok((server, url, false))
        }
    }
}

async fn create_key(
    binaries: &Binaries,
    environment: &[(String, String)],
    org: &str,
    role: &str,
) -> Result<(String, String)> {
    let said = binaries.cli_stdout(environment, &["keys", "create", "--org", org, "--role", role, "--json"]).await?;
    let created: Value = serde_json::from_str(&said).context("`millrace keys create --json` printed no JSON")?;
    let field =
        |name: &str| created[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {created}"));
    Ok((field("org_id")?, field("key")?))
}
