//! Configuration: environment variables become types once, at start, and everything wrong is told at once.
//!
//! [`settings`] is the single table of names, defaults and examples. A program calls [`ApiConfig::load`],
//! [`WorkerConfig::load`] or [`AdminConfig::load`] with a [`Source`]; nothing else in the workspace reads the environment.

mod error;
mod load;
mod parse;
mod secret;
pub mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::crm::{Endpoints, Rates};
use crate::fetch::FetchRules;
use crate::seal::Keyring;

pub use error::{ConfigError, Problem};
pub use parse::QueueSlots;
pub use source::Source;

/// Whether a slip is a nuisance or an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// A person's machine: defaults are convenient.
    Development,
    /// Anything that others rely on: weak secrets refuse to start.
    Production,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to log, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A filter that `tracing_subscriber::EnvFilter` accepts.
    pub filter: String,
    /// The shape of a line.
    pub format: LogFormat,
}

/// Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// A `postgres://` URL; secret because a password may be in it.
    pub url: SecretString,
    /// Size of the pool.
    pub max_connections: u32,
}

/// Where files are kept.
#[derive(Debug, Clone)]
pub enum StorageConfig {
    /// A directory, made on first use.
    Directory(PathBuf),
    /// A bucket of S3, or of something that speaks its protocol.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// Prepended to every key; empty for none.
        prefix: String,
        /// The `AWS_*` variables as they were.
        options: BTreeMap<String, SecretString>,
    },
}

/// How a JWT is verified. The algorithm follows from the configuration, never from the token.
#[derive(Debug, Clone)]
pub enum JwtConfig {
    /// HS256 with a shared secret.
    Secret(SecretString),
    /// EdDSA or RS256 with a public key in PEM.
    PublicKey(String),
}

/// What every program needs.
#[derive(Debug, Clone)]
pub struct CommonConfig {
    /// Development or production.
    pub environment: Environment,
    /// Postgres.
    pub database: DatabaseConfig,
    /// A `redis://` or `rediss://` URL with its password.
    pub redis_url: SecretString,
    /// The object store.
    pub storage: StorageConfig,
    /// Logging.
    pub log: LogConfig,
    /// Seals and opens secrets that others have entrusted to us.
    pub keyring: Option<Keyring>,
    /// Whether the `probe` job kind is accepted and run.
    pub probe: bool,
}

/// Configuration of `millrace-api`.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// What every program needs.
    pub common: CommonConfig,
    /// Where to listen.
    pub bind: SocketAddr,
    /// How JWTs are verified; without it only API keys are accepted.
    pub jwt: Option<JwtConfig>,
    /// Largest JSON body.
    pub max_body_bytes: usize,
    /// Largest uploaded file.
    pub max_upload_bytes: u64,
    /// What may be fetched by its URL.
    pub fetch: FetchRules,
    /// Longest time for a request other than an upload or a long poll.
    pub request_timeout: Duration,
    /// Where senders of webhooks reach the API, without a slash at the end.
    pub public_url: Option<String>,
    /// Where CRMs are, if not at their own addresses.
    pub crm_endpoints: Endpoints,
    /// Largest delivery of a webhook.
    pub webhook_bytes: u64,
    /// What a search may cost.
    pub search: SearchLimits,
    /// What may be scheduled.
    pub schedules: ScheduleLimits,
    /// How long requests may still take after SIGTERM.
    pub drain_timeout: Duration,
    /// Where to write the bound address.
    pub address_file: Option<PathBuf>,
}

/// What a search may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// Most chunks that are ranked.
    pub candidates: u32,
    /// Most that one process runs at once.
    pub concurrency: u32,
    /// Longest that one may take, and longest that it may wait for its turn.
    pub timeout: Duration,
}

/// What may be scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleLimits {
    /// Least time between two ticks of a schedule.
    pub min_interval: Duration,
    /// Most schedules of an organisation.
    pub most: u32,
}

/// Limits of the child process that parses one document, and how text is cut.
#[derive(Debug, Clone)]
pub struct ExtractConfig {
    /// Memory limit of the child.
    pub memory_bytes: u64,
    /// CPU limit of the child, in seconds.
    pub cpu_seconds: u32,
    /// Wall clock limit of the child, in seconds.
    pub wall_seconds: u32,
    /// How many children wait for their document.
    pub warm: u32,
    /// Most characters of text from one document.
    pub max_chars: u32,
    /// What is unpacked of documents within documents.
    pub parts: PartsConfig,
    /// Most characters of a chunk.
    pub chunk_chars: u32,
    /// Most characters that a chunk repeats of the one before.
    pub chunk_overlap_chars: u32,
}

/// Character recognition of scanned pages and pictures, by the program `tesseract`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcrConfig {
    /// What the texts are written in, as tesseract names it; at least one.
    pub languages: Vec<String>,
    /// How long one page may take.
    pub page_timeout: Duration,
    /// Most pages of one document.
    pub max_pages: u32,
    /// Dots per inch at which pages are drawn.
    pub dpi: u32,
    /// Memory limit of the process that recognises one page.
    pub memory_bytes: u64,
    /// Where tesseract's languages are, if not in their usual place (`TESSDATA_PREFIX`).
    pub tessdata: Option<PathBuf>,
}

/// How documents are fetched by their URL.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// What may be fetched.
    pub rules: FetchRules,
    /// How many redirects are followed.
    pub max_redirects: u32,
    /// How long it may take to find a server and to connect to it.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub idle_timeout: Duration,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Largest document.
    pub max_bytes: u64,
}

/// How CRMs are talked to.
#[derive(Debug, Clone)]
pub struct CrmConfig {
    /// Where they are, if not at their own addresses.
    pub endpoints: Endpoints,
    /// How often they may be called.
    pub rates: Rates,
    /// How many calls of one connection may be under way.
    pub at_once: u32,
    /// Names the address by which this worker's calls leave.
    pub egress: String,
    /// How long it may take to find a CRM and to connect to it.
    pub connect_timeout: Duration,
    /// How long a call may take in all.
    pub timeout: Duration,
    /// Largest answer.
    pub max_bytes: u64,
    /// After so many failures in a row a connection's calls pause.
    pub breaker_failures: u32,
    /// How long they pause at first.
    pub breaker_pause: Duration,
    /// How far an incremental sync goes back behind the one before.
    pub overlap: Duration,
}

/// How much is unpacked from one upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartsConfig {
    /// Most documents.
    pub max: u32,
    /// Most bytes of them together.
    pub max_bytes: u64,
    /// How deep they may lie within others.
    pub max_depth: u32,
}

/// How long the ledger keeps what is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Jobs, from their end; `None` for ever.
    pub jobs: Option<Duration>,
    /// Dead letters that nobody has replayed or discarded, from their end; `None` until somebody does.
    pub dead_letters: Option<Duration>,
    /// Deliveries of webhooks, from their coming; `None` for ever.
    pub webhooks: Option<Duration>,
}

/// Configuration of `millrace-worker`.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// What every program needs.
    pub common: CommonConfig,
    /// Where health and metrics listen.
    pub bind: SocketAddr,
    /// The queues that this worker serves; at least one.
    pub queues: Vec<QueueSlots>,
    /// How long a claimed job stays with a silent worker.
    pub lease: Duration,
    /// How long running jobs may still take after SIGTERM.
    pub drain_timeout: Duration,
    /// Document parsing.
    pub extract: ExtractConfig,
    /// Character recognition, if it is on.
    pub ocr: Option<OcrConfig>,
    /// Fetching documents.
    pub fetch: FetchConfig,
    /// Talking to CRMs.
    pub crm: CrmConfig,
    /// How long the ledger keeps what is over.
    pub retention: RetentionConfig,
    /// Where to write the bound address.
    pub address_file: Option<PathBuf>,
}

/// Configuration of `millrace`, the operator's command line.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// What every program needs.
    pub common: CommonConfig,
}

/// What can be read of a configuration, whatever the rest is like: for the program that explains what is wrong.
#[derive(Debug, Clone)]
pub struct PartialConfig {
    /// Development or production.
    pub environment: Option<Environment>,
    /// Postgres.
    pub database: Option<DatabaseConfig>,
    /// Redis.
    pub redis_url: Option<SecretString>,
    /// The object store.
    pub storage: Option<StorageConfig>,
    /// Logging.
    pub log: Option<LogConfig>,
    /// Seals and opens secrets that others have entrusted to us.
    pub keyring: Option<Keyring>,
    /// How long the ledger keeps what is over.
    pub retention: Option<RetentionConfig>,
    /// What any of the programs would refuse.
    pub problems: Vec<Problem>,
    /// What they would refuse in production only.
    pub in_production: Vec<Problem>,
}
