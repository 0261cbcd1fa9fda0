//! A place to run the command in: servers of its own, tables, and an organisation.

use std::{
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{PostgresOptions, PostgresServer, RedisOptions, RedisServer, RunDir, TEST_POSTGRES, file_url};
use millrace_shared::{
    db::runs::{Failure, Outcome},
    ids::{JobId, OrgId},
    jobs::{JobRequest, KindSet, Kinds},
    ledger,
    queue::Queues,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// What a run of the command came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Standard output, of a run that went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim_end().to_owned()
    }

    /// Standard error, of a run that ended with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn document(self) -> Value {
        serde_json::from_str(&self.ok()).expect("one JSON document")
    }

    /// The JSON objects on standard output, one a line, however the run ended.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }
}

/// Runs the command with this environment and nothing of ours, `input` on its standard input.
pub async fn millrace(environment: &[(String, String)], arguments: &[&str], input: &str) -> Result<Run> {
    let mut child = command(environment, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the command does not start")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // A command that does not read its input may have closed it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok(Run {
        code: output.status.code().context("ended by a signal")?,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// The command, not yet started.
pub fn command(environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MILLRACE_") || text == "DATABASE_URL" || text == "REDIS_URL" {
            command.env_remove(&name);
        }
    }
    let pairs = environment.iter().map(|(name, value)| (name, value));
    command.args(arguments).envs(pairs).kill_on_drop(true);
    command
}

pub struct Place {
    pub redis: RedisServer,
    pub postgres: PostgresServer,
    pub environment: Vec<(String, String)>,
    pub org: OrgId,
    database_url: String,
    // Last, so that the servers are gone before their directory is removed.
    pub run: RunDir,
}

impl Place {
    /// Migrated, with an organisation.
    pub async fn new() -> Result<Self> {
        let mut place = Self::empty(RedisOptions::default(), None).await?;
        place.run(&["migrate"]).await?.ok();
        place.org = place.new_org().await?;
        Ok(place)
    }

    /// Without tables; with a Postgres of its own where options are given.
    pub async fn empty(redis: RedisOptions, own_postgres: Option<PostgresOptions>) -> Result<Self> {
        let run = RunDir::create()?;
        let redis = RedisServer::start(run.path(), redis).await?;
        let shared = std::env::var(TEST_POSTGRES).ok().filter(|_| own_postgres.is_none());
        let (postgres, database_url) = match shared {
            Some(url) => {
                static COUNTER: AtomicU32 = AtomicU32::new(0);
                let count = COUNTER.fetch_add(1, Ordering::Relaxed);
                let server = PostgresServer::external(&url);
                let database = server.create_database(&format!("cli_{}_{count}", std::process::id())).await?;
                (server, database)
            }
            None => {
                let server = PostgresServer::start(run.path(), own_postgres.unwrap_or_default()).await?;
                let url = server.url().to_owned();
                (server, url)
            }
        };
        let environment = [
            ("DATABASE_URL", database_url.clone()),
            ("REDIS_URL", redis.url().to_owned()),
            ("MILLRACE_STORAGE_URL", file_url(&run.path().join("storage"))?),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { redis, postgres, environment, org: OrgId::new(), database_url, run })
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<Run> {
        millrace(&self.environment, arguments, "").await
    }

    /// The environment with this variable changed, or without it.
    pub fn environment_with(&self, name: &str, value: Option<&str>) -> Vec<(String, String)> {
        let mut environment = self.environment.clone();
        environment.retain(|(other, _)| other != name);
        environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        environment
    }

    pub async fn new_org(&self) -> Result<OrgId> {
        let made = self.run(&["keys", "create", "--org", "new", "--role", "admin", "--json"]).await?.document();
        Ok(made["org_id"].as_str().context("no org_id")?.parse()?)
    }

    pub async fn connection(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }

    pub fn queues(&self) -> Result<Queues> {
        let url = SecretString::from(self.redis.url().to_owned());
        Ok(Queues::connect(&url, Duration::from_secs(5))?)
    }

    /// Probes of an organisation that died of an error of this class, the oldest first.
    pub async fn dead_letters(&self, org: OrgId, class: &str, count: usize) -> Result<Vec<JobId>> {
        let kinds = Kinds::new(KindSet::WorkAndProbe);
        let requests = (0..count).map(|_| JobRequest::new("probe", json!({})).check(&kinds));
        let jobs: Vec<_> = requests.collect::<Result<_, _>>()?;
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await?;
        ledger::accept(&mut transaction, org, &jobs).await?;
        for job in &jobs {
            let failure = Failure {
                id: job.id,
                org,
                attempt: 5,
                elapsed: Duration::from_millis(20),
                outcome: Outcome::Failed,
                class: class.to_owned(),
                error: format!("it was {class}\nand \u{1b}[31mmore"),
            };
            let buried = ledger::bury(&mut transaction, "a-worker", &failure, "attempts_exhausted").await?;
            ensure!(buried.is_some(), "a dead letter was not made");
        }
        transaction.commit().await?;
        Ok(jobs.iter().map(|job| job.id).collect())
    }
}
