//! A running Millrace on this machine: servers, API and workers, for `demo` and `up`.

use std::{env, fs, path::Path, time::Instant};

use anyhow::{Context, Result, anyhow};
use comfy_table::Cell;
use millrace_harness::{
    Binaries, Client, Inherit, Profile, RunDir, Servers, Service, ServiceSpec, Until, encryption_key, file_url,
    random_hex, workspace_root,
};
use serde_json::Value;

use crate::{env_file::EnvFile, show, stop::Stop, supervise::Supervised};

const ENCRYPTION_KEYS: &str = "MILLRACE_ENCRYPTION_KEYS";

/// All of it. Dropping it kills all that is ours; [`drain`](Self::drain) is the clean way.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) org: String,
    pub(crate) binaries: Binaries,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) api: Supervised,
    pub(crate) workers: Vec<Supervised>,
    env_file: EnvFile,
    servers: Servers,
    // Last, so that the servers are gone before their directory is removed.
    run: RunDir,
}

impl Site {
    pub(crate) async fn start(profile: Profile, workers: u16, stop: &Stop) -> Result<Self> {
        show::heading("Starting");
        let began = Instant::now();
        let binaries = Binaries::build(profile).await?;
        show::done(&format!("built millrace-api, millrace-worker and millrace in {}", show::duration(began.elapsed())));
        let mut run = RunDir::create()?;
        let parts = Parts::start(run.path(), &binaries, workers).await;
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) => {
                run.keep();
                return Err(error.context(format!("Millrace did not start; its logs are in {}", run.path().display())));
            }
        };
        Ok(Self {
            client: parts.client,
            org: parts.org,
            binaries,
            environment: parts.environment,
            api: Supervised::new(parts.api, stop.clone()),
            workers: parts.workers.into_iter().map(|worker| Supervised::new(worker, stop.clone())).collect(),
            env_file: parts.env_file,
            servers: parts.servers,
            run,
        })
    }

    /// Runs `millrace`, shows the command and what it says, and returns the latter.
    pub(crate) async fn show_cli(&self, arguments: &[&str]) -> Result<String> {
        println!("  {}", show::dim(&format!("$ millrace {}", arguments.join(" "))));
        let said = self.binaries.cli_stdout(&self.environment, arguments).await?;
        show::indented(&said);
        Ok(said)
    }

    pub(crate) fn print_addresses(&self) {
        let url = &self.api.url;
        show::heading("Millrace is up");
        let mut table = show::grid();
        let mut row = |what: &str, address: &str, remark: &str| {
            table.add_row([Cell::new(what), Cell::new(address), show::dim_cell(remark)]);
        };
        row("API", url, &format!("pid {}", self.api.pid));
        row("reference", &format!("{url}/docs"), "");
        row("metrics", &format!("{url}/metrics"), "");
        for worker in &self.workers {
            row(&worker.name, &format!("{}/metrics", worker.url), &format!("pid {}", worker.pid));
        }
        row("logs", &self.run.path().display().to_string(), "");
        show::print_table(&mut table);
        if self.workers.is_empty() {
            println!("  No worker runs (--no-worker): jobs wait until one comes.");
        }
        self.print_things_to_try();
    }

    fn print_things_to_try(&self) {
        show::heading("Try it");
        let key = self.client.key().unwrap_or_default();
        let document = first_document().unwrap_or_else(|| "README.md".into());
        println!("  curl -H 'Authorization: Bearer {key}' -F 'file=@{document}' {}/v1/assets", self.api.url);
        println!(
            "  {}",
            show::dim("# in another terminal, from here: the environment of all of this, then the operator's CLI")
        );
        println!("  set -a; . {}; set +a", self.env_file_shown());
        println!("  {} queues", shown_from_here(&self.binaries.cli()));
    }

    fn env_file_shown(&self) -> String {
        // A name without a slash would be looked up on PATH by `.`.
        shown_from_here(self.env_file.path())
    }

    /// Drains API and workers, stops private servers, and removes what was written; keeps the logs unless all is `well`.
    pub(crate) async fn drain(mut self, stop: &Stop, well: bool) -> Result<()> {
        let began = Instant::now();
        println!("\ndraining (Ctrl-C again hands running jobs back at once) …");
        if stop.count() == 0 {
            stop.request();
        }
        drop(self.env_file);
        let mut result = Ok(());
        for service in std::iter::once(self.api).chain(self.workers) {
            let drained = service.drained().await;
            result = result.and(drained);
        }
        let stopped = self.servers.stop().await;
        result = result.and(stopped);
        if result.is_ok() {
            show::done(&format!(
                "all work finished or handed back, and everything stopped, in {}",
                show::duration(began.elapsed())
            ));
        }
        if result.is_err() || !well {
            self.run.keep();
            println!("  the logs are in {} until the next run", self.run.path().display());
        }
        result
    }
}

/// What is started, before the supervisors take over.
struct Parts {
    servers: Servers,
    environment: Vec<(String, String)>,
    org: String,
    client: Client,
    api: Service,
    workers: Vec<Service>,
    env_file: EnvFile,
}

impl Parts {
    async fn start(dir: &Path, binaries: &Binaries, workers: u16) -> Result<Self> {
        let servers = Servers::start(dir).await?;
        announce(&servers);
        let environment = environment(dir, &servers)?;
        binaries.cli_stdout(&environment, &["migrate"]).await.context("cannot migrate the database")?;
        show::done("database migrated");
        let created = ["keys", "create", "--org", "new", "--role", "admin", "--json"];
        let created = binaries.cli_stdout(&environment, &created).await.context("cannot create an API key")?;
        let (org, key) = org_and_key(&created)?;
        show::done(&format!("organisation {org} and an admin's API key created"));

        let api = ServiceSpec {
            name: "api".into(),
            program: binaries.api(),
            arguments: Vec::new(),
            bind_variable: "MILLRACE_BIND",
            bind: env::var("MILLRACE_BIND").unwrap_or_else(|_| "127.0.0.1:0".into()),
            environment: environment.clone(),
            inherit: Inherit::Settings,
            dir: dir.to_owned(),
        };
        let worker = |number: u16| ServiceSpec {
            name: format!("worker-{number}"),
            program: binaries.worker(),
            bind_variable: "MILLRACE_WORKER_BIND",
            bind: "127.0.0.1:0".into(),
            ..api.clone()
        };
        let worker_specs: Vec<ServiceSpec> = (1..=workers).map(worker).collect();
        let api = Service::start(api, Until::Ready).await?;
        let mut started = Vec::new();
        for spec in worker_specs {
            started.push(Service::start(spec, Until::Ready).await?);
        }
        show::done(&format!("API and {} ready", workers_in_words(started.len())));

        let mut env_file = vec![
            ("MILLRACE_URL", api.url()),
            ("MILLRACE_KEY", key.clone()),
            ("MILLRACE_ORG", org.clone()),
            ("DATABASE_URL", servers.postgres.url().to_owned()),
            ("REDIS_URL", servers.redis.url().to_owned()),
        ];
        // For `millrace secrets`.
        let keys = environment.iter().find(|(name, _)| name == ENCRYPTION_KEYS);
        env_file.extend(keys.map(|(_, keys)| (ENCRYPTION_KEYS, keys.clone())));
        let env_file: Vec<(&str, &str)> = env_file.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let env_file = EnvFile::write(workspace_root(), &env_file)?;
        let client = Client::new(&api.url(), &key)?;
        Ok(Self { servers, environment, org, client, api, workers: started, env_file })
    }
}

fn announce(servers: &Servers) {
    if servers.are_private() {
        show::done("private Redis and Postgres started");
    } else {
        show::done("using the servers of REDIS_URL and DATABASE_URL (unset them to get private ones)");
    }
    let both_wanted = ["REDIS_URL", "DATABASE_URL"].iter().any(|name| env::var_os(name).is_some());
    if servers.are_private() && both_wanted {
        println!("    only one of REDIS_URL and DATABASE_URL is set, so it is not used");
    }
    if let Some(note) = servers.postgres.note() {
        println!("    {}", show::dim(note));
    }
}

/// What API, workers and CLI are told, as far as the caller's own settings do not say it.
fn environment(dir: &Path, servers: &Servers) -> Result<Vec<(String, String)>> {
    // Documents of a lasting database must last as well.
    let storage = if servers.are_private() { dir.join("storage") } else { workspace_root().join("target/dev/storage") };
    fs::create_dir_all(&storage).with_context(|| format!("cannot create {}", storage.display()))?;
    let mut environment = vec![
        ("DATABASE_URL".to_owned(), servers.postgres.url().to_owned()),
        ("REDIS_URL".to_owned(), servers.redis.url().to_owned()),
    ];
    for (name, fallback) in [
        ("MILLRACE_ENV", "development".to_owned()),
        ("MILLRACE_STORAGE_URL", file_url(&storage)?),
        ("MILLRACE_PROBE", "1".to_owned()),
    ] {
        environment.push((name.to_owned(), env::var(name).unwrap_or(fallback)));
    }
    // The two ways of signing tokens exclude each other.
    if env::var_os("MILLRACE_JWT_PUBLIC_KEY").is_none() {
        let secret = env::var("MILLRACE_JWT_SECRET").or_else(|_| random_hex(32))?;
        environment.push(("MILLRACE_JWT_SECRET".to_owned(), secret));
    }
    // What a lasting database holds sealed, a key of this run could not open in the next one.
    if env::var_os(ENCRYPTION_KEYS).is_none() && servers.are_private() {
        environment.push((ENCRYPTION_KEYS.to_owned(), encryption_key("development")?));
    }
    Ok(environment)
}

pub(crate) fn org_and_key(printed: &str) -> Result<(String, String)> {
    let created: Value = serde_json::from_str(printed).context("`millrace keys create --json` printed no JSON")?;
    match (created["org_id"].as_str(), created["key"].as_str()) {
        (Some(org), Some(key)) => Ok((org.to_owned(), key.to_owned())),
        _ => Err(anyhow!("`millrace keys create --json` printed no `org_id` and `key`")),
    }
}

pub(crate) fn workers_in_words(count: usize) -> String {
    match count {
        0 => "no worker".into(),
        1 => "1 worker".into(),
        _ => format!("{count} workers"),
    }
}

/// The documents to show, by name.
pub(crate) fn documents() -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(workspace_root().join("fixtures/documents")) else {
        return Vec::new();
    };
    let is_shown = |path: &std::path::PathBuf| {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        path.is_file() && !hidden
    };
    let mut documents: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_shown).collect();
    documents.sort();
    documents
}

fn first_document() -> Option<String> {
    documents().first().map(|path| shown_from_here(path))
}

/// A path as it would be typed here.
fn shown_from_here(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
