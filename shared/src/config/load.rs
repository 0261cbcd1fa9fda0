//! From a [`Source`] to typed configuration. Problems are collected, not returned at the first.

mod credentials;
mod crm;
mod documents;
mod ocr;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::error::{ConfigError, Problem, nearest};
use super::parse::{self, Parsed};
use super::secret::{self, PASSWORD_BYTES};
use super::settings::{self as table, Absent, SETTINGS, Setting, TEST_PREFIX};
use super::source::Source;
use super::{
    AdminConfig, ApiConfig, CommonConfig, DatabaseConfig, Environment, LogConfig, LogFormat, PartialConfig,
    RetentionConfig, ScheduleLimits, SearchLimits, StorageConfig, WorkerConfig,
};

impl ApiConfig {
    /// Reads what `millrace-api` needs.
    ///
    /// # Errors
    /// Lists every variable that is unknown, missing or malformed.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let common = reader.common();
        let bind = reader.value(&table::BIND, parse::address);
        let jwt = reader.jwt();
        let max_body_bytes = reader.value(&table::MAX_BODY_BYTES, |text| {
            let size = parse::bytes(text)?;
            usize::try_from(size).map_err(|_| "is larger than this machine can address".to_owned())
        });
        let max_upload_bytes = reader.value(&table::MAX_UPLOAD_BYTES, parse::bytes);
        let fetch = reader.fetch_rules();
        let request_timeout = reader.value(&table::REQUEST_TIMEOUT, parse::duration);
        let public_url = reader.public_url();
        let crm_endpoints = reader.crm_endpoints();
        let webhook_bytes = reader.value(&table::WEBHOOK_MAX_BODY_BYTES, parse::bytes);
        let search_timeout = reader.value(&table::SEARCH_TIMEOUT, parse::duration);
        let search_concurrency = reader.value(&table::SEARCH_CONCURRENCY, parse::whole(1, 1_000));
        let search_candidates = reader.value(&table::SEARCH_CANDIDATES, parse::whole(10, 100_000));
        let schedule_min_interval = reader.value(&table::SCHEDULE_MIN_INTERVAL, parse::duration);
        let schedules_max = reader.value(&table::SCHEDULES_MAX, parse::whole(0, 1_000_000));
        let drain_timeout = reader.value(&table::DRAIN_TIMEOUT, parse::duration);
        let address_file = reader.path(&table::ADDRESS_FILE);
        reader.finish(|| {
            Some(Self {
                common: common?,
                bind: bind?,
                jwt,
                max_body_bytes: max_body_bytes?,
                max_upload_bytes: max_upload_bytes?,
                fetch: fetch?,
                request_timeout: request_timeout?,
                public_url,
                crm_endpoints: crm_endpoints?,
                webhook_bytes: webhook_bytes?,
                search: SearchLimits {
                    candidates: search_candidates?,
                    concurrency: search_concurrency?,
                    timeout: search_timeout?,
                },
                schedules: ScheduleLimits { min_interval: schedule_min_interval?, most: schedules_max? },
                drain_timeout: drain_timeout?,
                address_file,
            })
        })
    }
}

impl WorkerConfig {
    /// Reads what `millrace-worker` needs.
    ///
    /// # Errors
    /// Lists every variable that is unknown, missing or malformed.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let common = reader.common();
        let bind = reader.value(&table::WORKER_BIND, parse::address);
        let queues = reader.value(&table::QUEUES, parse::queues);
        let lease = reader.value(&table::LEASE, parse::duration);
        let drain_timeout = reader.value(&table::DRAIN_TIMEOUT, parse::duration);
        let extract = reader.extract();
        let ocr = reader.ocr();
        let fetch = reader.fetch();
        let crm = reader.crm();
        let retention = reader.retention();
        let address_file = reader.path(&table::ADDRESS_FILE);
        reader.finish(|| {
            Some(Self {
                common: common?,
                bind: bind?,
                queues: queues?,
                lease: lease?,
                drain_timeout: drain_timeout?,
                extract: extract?,
                ocr,
                fetch: fetch?,
                crm: crm?,
                retention: retention?,
                address_file,
            })
        })
    }
}

impl AdminConfig {
    /// Reads what `millrace` needs.
    ///
    /// # Errors
    /// Lists every variable that is unknown, missing or malformed.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let common = reader.common();
        reader.finish(|| Some(Self { common: common? }))
    }
}

impl PartialConfig {
    /// Reads what can be read, and tells what the programs would say of the rest.
    #[must_use]
    pub fn load(source: &Source) -> Self {
        let problems = all_problems(source);
        let mut in_production = all_problems(&source.with(table::ENV.name, "production"));
        in_production.retain(|problem| !problems.contains(problem));
        let mut reader = Reader::new(source);
        Self {
            environment: reader.environment(),
            database: reader.database(),
            redis_url: reader.redis_url(),
            storage: reader.storage(),
            log: reader.log(),
            keyring: reader.keyring(),
            retention: reader.retention(),
            problems,
            in_production,
        }
    }
}

/// What the three programs find wrong, each thing once.
fn all_problems(source: &Source) -> Vec<Problem> {
    let refusals = [ApiConfig::load(source).err(), WorkerConfig::load(source).err(), AdminConfig::load(source).err()];
    let mut found = Vec::new();
    for problem in refusals.into_iter().flatten().flat_map(|error| error.problems) {
        if !found.contains(&problem) {
            found.push(problem);
        }
    }
    found
}

struct Reader<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
    production: bool,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source) -> Self {
        let mut problems: Vec<Problem> = source.encoding_problems().collect();
        problems.extend(source.names().filter_map(unknown));
        let production = source.get(table::ENV.name) == Some("production");
        Self { source, problems, production }
    }

    fn refuse(&mut self, setting: &Setting, problem: impl Into<String>) {
        self.problems.push(Problem::with(setting, problem));
    }

    /// The variable's text, or its default.
    fn text(&mut self, setting: &Setting) -> Option<&'a str> {
        match (self.source.get(setting.name), setting.absent) {
            (Some(text), _) => Some(text.trim()),
            (None, Absent::Default(text)) => Some(text),
            (None, Absent::Optional) => None,
            (None, Absent::Required) => {
                self.refuse(setting, "is not set");
                None
            }
        }
    }

    /// The parsed value; `None` where it is absent, or wrong, in which case the problem is recorded.
    fn value<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Parsed<T>) -> Option<T> {
        let text = self.text(setting)?;
        parse(text).map_err(|problem| self.refuse(setting, problem)).ok()
    }

    fn path(&mut self, setting: &Setting) -> Option<PathBuf> {
        self.text(setting).map(PathBuf::from)
    }

    fn check_secret(&mut self, setting: &Setting, which: &str, secret: &str, least_bytes: usize) {
        if self.production
            && let Some(weakness) = secret::weakness(secret, least_bytes)
        {
            self.refuse(setting, format!("{which} {weakness}"));
        }
    }

    fn common(&mut self) -> Option<CommonConfig> {
        let environment = self.environment();
        let database = self.database();
        let redis_url = self.redis_url();
        let storage = self.storage();
        let log = self.log();
        let keyring = self.keyring();
        let probe = self.value(&table::PROBE, parse::switch).unwrap_or(!self.production);
        Some(CommonConfig {
            environment: environment?,
            database: database?,
            redis_url: redis_url?,
            storage: storage?,
            log: log?,
            keyring,
            probe,
        })
    }

    fn environment(&mut self) -> Option<Environment> {
        self.value(&table::ENV, |text| match text {
            "development" => Ok(Environment::Development),
            "production" => Ok(Environment::Production),
            _ => Err(format!("is neither `development` nor `production`: `{text}`")),
        })
    }

    fn database(&mut self) -> Option<DatabaseConfig> {
        let url = self.value(&table::DATABASE_URL, parse::url(&["postgres", "postgresql"]));
        if let Some(password) = url.as_ref().and_then(password_of) {
            self.check_secret(&table::DATABASE_URL, "has a password that", &password, PASSWORD_BYTES);
        }
        let max_connections = self.value(&table::DATABASE_CONNECTIONS, parse::whole(1, 1000));
        Some(DatabaseConfig { url: SecretString::from(String::from(url?)), max_connections: max_connections? })
    }

    fn redis_url(&mut self) -> Option<SecretString> {
        let url = self.value(&table::REDIS_URL, parse::url(&["redis", "rediss"]));
        match url.as_ref().map(password_of) {
            Some(Some(password)) => {
                self.check_secret(&table::REDIS_URL, "has a password that", &password, PASSWORD_BYTES);
            }
            Some(None) if self.production => self.refuse(&table::REDIS_URL, "has no password, which production needs"),
            _ => {}
        }
        Some(SecretString::from(String::from(url?)))
    }

    fn log(&mut self) -> Option<LogConfig> {
        let filter = self.value(&table::LOG, |text| {
            EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("is not a log filter: {error}"))
        });
        let format = self.value(&table::LOG_FORMAT, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("is neither `text` nor `json`: `{text}`")),
        });
        Some(LogConfig { filter: filter?, format: format? })
    }

    fn storage(&mut self) -> Option<StorageConfig> {
        let setting = &table::STORAGE_URL;
        if self.production && self.source.get(setting.name).is_none() {
            self.refuse(setting, "is not set, which production needs");
        }
        let text = self.text(setting)?;
        if let Some(directory) = text.strip_prefix("file://") {
            // Not parsed as a URL: there `file://./data` would name a host called `.`.
            if directory.is_empty() {
                self.refuse(setting, "names no directory");
                return None;
            }
            return Some(StorageConfig::Directory(Path::new(directory).to_owned()));
        }
        let url = self.value(setting, parse::url(&["s3"])).or_else(|| {
            if let Some(last) = self.problems.last_mut() {
                last.problem.push_str(", or file:// with a directory");
            }
            None
        })?;
        let mut options = BTreeMap::new();
        for (name, value) in self.source.aws() {
            if name == "AWS_SECRET_ACCESS_KEY"
                && self.production
                && let Some(weakness) = secret::weakness(value, PASSWORD_BYTES)
            {
                self.problems.push(Problem::new(name, weakness, None));
            }
            options.insert(name.to_owned(), SecretString::from(value.to_owned()));
        }
        Some(StorageConfig::S3 {
            bucket: url.host_str()?.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
            options,
        })
    }

    fn retention(&mut self) -> Option<RetentionConfig> {
        let jobs = self.value(&table::RETENTION, parse::retention);
        let dead_letters = self.value(&table::DEAD_LETTER_RETENTION, parse::retention);
        let webhooks = self.value(&table::WEBHOOK_RETENTION, parse::retention);
        Some(RetentionConfig { jobs: jobs?, dead_letters: dead_letters?, webhooks: webhooks? })
    }

    /// The configuration, if nothing was wrong.
    fn finish<T>(self, assemble: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match (self.problems.is_empty(), assemble()) {
            (true, Some(config)) => Ok(config),
            (_, _) => Err(ConfigError { problems: self.problems }),
        }
    }
}

fn unknown(name: &str) -> Option<Problem> {
    let known = || SETTINGS.iter().map(|setting| setting.name);
    if !name.starts_with("MILLRACE_") || name.starts_with(TEST_PREFIX) || known().any(|known| known == name) {
        return None;
    }
    let hint = nearest(name, known()).map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    Some(Problem::new(name, format!("is not a setting{hint}"), None))
}

/// The decoded password of a URL; `None` where there is none or it is empty.
fn password_of(url: &Url) -> Option<String> {
    let encoded = url.password().filter(|password| !password.is_empty())?;
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            (byte, _) => {
                decoded.push(*byte);
                rest = tail;
            }
        }
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}
