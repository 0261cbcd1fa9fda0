//! The table of every environment variable, and the only place that names one.
//!
//! Parsing, the refusal of unknown names and `docs/configuration.md` all read this table, so that a setting cannot exist
//! without being documented, or be documented without existing.

/// One of the programs that read the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `millrace-api`
    Api,
    /// `millrace-worker`
    Worker,
    /// `millrace`, the operator's command line
    Admin,
}

impl Program {
    const ALL: &'static [Self] = &[Self::Api, Self::Worker, Self::Admin];

    /// The name of the binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::Api => "millrace-api",
            Self::Worker => "millrace-worker",
            Self::Admin => "millrace",
        }
    }
}

/// What happens when a variable is absent.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// The program refuses to start.
    Required,
    /// This value is used.
    Default(&'static str),
    /// Nothing: the feature behind it is off, or the text of the setting says what holds.
    Optional,
}

/// One environment variable.
#[derive(Debug)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// Which programs read it; the others accept and ignore it, so that all can share one file.
    pub read_by: &'static [Program],
    /// What its absence means.
    pub absent: Absent,
    /// A value that is accepted as it stands (secrets excepted: an example secret is refused in production).
    pub example: &'static str,
    /// What it is, in one or two sentences.
    pub what: &'static str,
}

use Absent::{Default, Optional, Required};
use Program::{Admin, Api, Worker};

const EVERYONE: &[Program] = Program::ALL;

macro_rules! settings {
    ($($id:ident: $name:literal, $read_by:expr, $absent:expr, $example:literal, $what:literal;)*) => {
        $(
            #[doc = $what]
            pub(super) const $id: Setting = Setting {
                name: $name,
                read_by: $read_by,
                absent: $absent,
                example: $example,
                what: $what,
            };
        )*
        /// Every setting, in the order in which the documentation lists them.
        pub const SETTINGS: &[Setting] = &[$($id),*];
    };
}

settings! {
    DATABASE_URL: "DATABASE_URL", EVERYONE, Required, "postgres://millrace@127.0.0.1:5432/millrace",
        "Postgres, where the truth lives. In production a password in it must be at least 16 bytes and no example.";
    REDIS_URL: "REDIS_URL", EVERYONE, Required, "redis://:a-long-password@127.0.0.1:6379/0",
        "Redis, which holds what is next. `rediss://` for TLS. In production it needs a password of at least 16 bytes.";
    ENV: "MILLRACE_ENV", EVERYONE, Default("development"), "production",
        "`development` or `production`. Production refuses default, short and example secrets, and wants `MILLRACE_STORAGE_URL` said.";
    BIND: "MILLRACE_BIND", &[Api], Default("127.0.0.1:8080"), "0.0.0.0:8080",
        "Address and port of the HTTP API. Port 0 takes a free one.";
    JWT_SECRET: "MILLRACE_JWT_SECRET", &[Api], Optional, "(openssl rand -base64 48)",
        "Secret of HS256 tokens, at least 32 bytes. Excludes `MILLRACE_JWT_PUBLIC_KEY`; with neither of them only API keys are accepted.";
    JWT_PUBLIC_KEY: "MILLRACE_JWT_PUBLIC_KEY", &[Api], Optional, "-----BEGIN PUBLIC KEY-----\\n…\\n-----END PUBLIC KEY-----",
        "Public key of EdDSA (Ed25519) or RS256 (RSA, at least 2048 bits) tokens, as PEM text; `\\n` may stand for a line break.";
    STORAGE_URL: "MILLRACE_STORAGE_URL", EVERYONE, Default("file://./data/storage"), "s3://bucket/prefix",
        "Where uploaded files are kept. `file://` with a directory, or `s3://bucket/prefix` with the usual `AWS_*` variables. API and worker must share it.";
    DATABASE_CONNECTIONS: "MILLRACE_DATABASE_CONNECTIONS", EVERYONE, Default("10"), "20",
        "Most Postgres connections that this process opens.";
    REQUEST_TIMEOUT: "MILLRACE_REQUEST_TIMEOUT", &[Api], Default("30s"), "10s",
        "Longest a request may take, uploads and long polls excepted (these have limits of their own).";
    MAX_BODY_BYTES: "MILLRACE_MAX_BODY_BYTES", &[Api], Default("2MiB"), "4MiB",
        "Largest JSON body.";
    MAX_UPLOAD_BYTES: "MILLRACE_MAX_UPLOAD_BYTES", &[Api, Worker], Default("256MiB"), "1GiB",
        "Largest uploaded file, and largest one that is fetched by its URL.";
    PUBLIC_URL: "MILLRACE_PUBLIC_URL", &[Api], Optional, "https://hooks.example.org",
        "Where senders of webhooks reach the API: the URLs of webhook sources begin with it, and schemes that sign the URL are verified by it, never by a `Host` header.";
    ENCRYPTION_KEYS: "MILLRACE_ENCRYPTION_KEYS", EVERYONE, Optional, "2026-07:(openssl rand -base64 32)",
        "Keys by which secrets of webhooks are sealed in the database: `id:key`, or several with commas between. The first one seals, all of them open, so a new key is put first and the old one kept until nothing is sealed with it. Without it no webhook source can be made.";
    WEBHOOK_MAX_BODY_BYTES: "MILLRACE_WEBHOOK_MAX_BODY_BYTES", &[Api], Default("1MiB"), "4MiB",
        "Largest delivery of a webhook.";
    WEBHOOK_RETENTION: "MILLRACE_WEBHOOK_RETENTION", &[Worker], Default("30d"), "90d",
        "How long a delivery is remembered, so that the same one is known when it comes again. What it said is forgotten as soon as its job is made.";
    SEARCH_TIMEOUT: "MILLRACE_SEARCH_TIMEOUT", &[Api], Default("5s"), "2s",
        "Longest that a search may wait for its turn, and longest that it may then take; then the answer is 503.";
    SEARCH_CONCURRENCY: "MILLRACE_SEARCH_CONCURRENCY", &[Api], Default("4"), "8",
        "Searches that one API process runs at once; others wait. Keep it well below `MILLRACE_DATABASE_CONNECTIONS`, so that searches leave connections for everything else.";
    SEARCH_CANDIDATES: "MILLRACE_SEARCH_CANDIDATES", &[Api], Default("500"), "1000",
        "Most chunks that a search ranks, and so the most hits that it gives over all pages. A search that has more is slower, and sees more of what frequent words find.";
    SCHEDULE_MIN_INTERVAL: "MILLRACE_SCHEDULE_MIN_INTERVAL", &[Api], Default("10s"), "1m",
        "Least time between two ticks of a schedule. It is asked for when a schedule is made or its timing is changed.";
    SCHEDULES_MAX: "MILLRACE_SCHEDULES_MAX", &[Api], Default("1000"), "100",
        "Most schedules that an organisation may have; with `0` none can be made.";
    DRAIN_TIMEOUT: "MILLRACE_DRAIN_TIMEOUT", &[Api, Worker], Default("25s"), "25s",
        "How long requests and running jobs may still take after SIGTERM. Keep the orchestrator's grace period above it.";
    QUEUES: "MILLRACE_QUEUES", &[Worker], Default("asset=2,crm=8,probe=16"), "asset=4,crm=16,probe=64",
        "Queues that this worker serves, each with its number of slots (jobs that run at once).";
    WORKER_BIND: "MILLRACE_WORKER_BIND", &[Worker], Default("127.0.0.1:9090"), "0.0.0.0:9090",
        "Address and port of the worker's health and metrics. Port 0 takes a free one.";
    LEASE: "MILLRACE_LEASE", &[Worker], Default("30s"), "30s",
        "How long a claimed job stays with a worker that gives no sign of life.";
    RETENTION: "MILLRACE_RETENTION", &[Worker], Default("30d"), "90d",
        "How long the ledger keeps jobs that have ended: hours or days (`36h`, `90d`), or `off` for ever. The ledger is partitioned by time of acceptance, in thirtieths of this (6 hours at least, 30 days at most); partitions are dropped as a whole, so that a job may stay that much longer. All workers should agree.";
    DEAD_LETTER_RETENTION: "MILLRACE_DEAD_LETTER_RETENTION", &[Worker], Default("off"), "180d",
        "How long dead letters are kept that nobody has replayed or discarded. Shorter than `MILLRACE_RETENTION` has no effect; `off`: until somebody does.";
    PROBE: "MILLRACE_PROBE", &[Api, Worker, Admin], Optional, "1",
        "`1` enables the job kinds `probe` and `probe.paced`, `0` disables it. Absent: on in development, off in production.";
    EXTRACT_MEMORY: "MILLRACE_EXTRACT_MEMORY_BYTES", &[Worker], Default("1GiB"), "2GiB",
        "Memory limit of the child process that parses one document.";
    EXTRACT_CPU: "MILLRACE_EXTRACT_CPU_SECONDS", &[Worker], Default("60"), "120",
        "CPU limit of that child, in seconds.";
    EXTRACT_WALL: "MILLRACE_EXTRACT_WALL_SECONDS", &[Worker], Default("120"), "240",
        "Wall clock limit of that child, in seconds.";
    EXTRACT_WARM: "MILLRACE_EXTRACT_WARM", &[Worker], Default("2"), "8",
        "How many such children are started ahead and wait for a document, at some 4 MiB each. `0`: each is started when it is needed.";
    EXTRACT_CHARS: "MILLRACE_EXTRACT_MAX_CHARS", &[Worker], Default("20000000"), "5000000",
        "Most characters of text that one document may give.";
    PARTS_MAX: "MILLRACE_PARTS_MAX", &[Worker], Default("200"), "1000",
        "Most documents that are unpacked from one upload (attachments, members of archives), at any depth. What is beyond is left out, with a warning.";
    PARTS_MAX_BYTES: "MILLRACE_PARTS_MAX_BYTES", &[Worker], Default("200MiB"), "1GiB",
        "Most bytes that those have together.";
    PARTS_MAX_DEPTH: "MILLRACE_PARTS_MAX_DEPTH", &[Worker], Default("3"), "1",
        "How deep documents are unpacked: 1 unpacks what is uploaded and nothing within that, 0 nothing.";
    OCR_LANGUAGES: "MILLRACE_OCR_LANGUAGES", &[Worker], Optional, "eng+deu",
        "Turns on character recognition (OCR) of scanned pages and of pictures, and says in which languages they are written, in the words of `tesseract --list-langs`. The worker needs the program `tesseract` on its `PATH`, with these languages. See `docs/formats.md`.";
    OCR_PAGE_TIMEOUT: "MILLRACE_OCR_PAGE_TIMEOUT", &[Worker], Default("60s"), "2m",
        "How long recognition of one page may take, drawing it included. A page that takes longer has a warning, and no text.";
    OCR_MAX_PAGES: "MILLRACE_OCR_MAX_PAGES", &[Worker], Default("100"), "500",
        "Most pages of one document that are read by recognition, the first ones that need it. The others have a warning, as have those for which the job's time is not enough.";
    OCR_DPI: "MILLRACE_OCR_DPI", &[Worker], Default("300"), "200",
        "Resolution at which scanned pages are drawn, in dots per inch. Less is faster and reads small print worse. Of very large pages it is lowered, so that no picture has more than 25 million dots.";
    OCR_MEMORY: "MILLRACE_OCR_MEMORY_BYTES", &[Worker], Default("512MiB"), "1GiB",
        "Memory limit of the process that recognises one page.";
    CHUNK_CHARS: "MILLRACE_CHUNK_CHARS", &[Worker], Default("1000"), "1500",
        "Most characters of a chunk, what it repeats of the one before included.";
    CHUNK_OVERLAP: "MILLRACE_CHUNK_OVERLAP_CHARS", &[Worker], Default("0"), "100",
        "How many characters a chunk may repeat of the one before, from the beginning of a sentence or a word, within the same section and page; half of `MILLRACE_CHUNK_CHARS` at most. Text that stands in two chunks is found twice.";
    FETCH_PORTS: "MILLRACE_FETCH_PORTS", &[Api, Worker], Default("80,443"), "80,443,8443",
        "Ports that documents are fetched from, or `any`. See `docs/assets-by-url.md`.";
    FETCH_ALLOW: "MILLRACE_FETCH_ALLOW_ADDRESSES", &[Api, Worker], Optional, "10.20.0.0/16,fd00:20::/64",
        "Addresses and ranges that documents are fetched from though they are not public, such as a document server of your own. Everybody who may upload can then read what answers there.";
    FETCH_REDIRECTS: "MILLRACE_FETCH_MAX_REDIRECTS", &[Worker], Default("5"), "3",
        "How many redirects are followed to a document.";
    FETCH_CONNECT: "MILLRACE_FETCH_CONNECT_TIMEOUT", &[Worker], Default("10s"), "5s",
        "How long it may take to find a document's server and to connect to it.";
    FETCH_IDLE: "MILLRACE_FETCH_IDLE_TIMEOUT", &[Worker], Default("20s"), "10s",
        "How long a document's server may be silent, before it answers and within its answer.";
    FETCH_TIMEOUT: "MILLRACE_FETCH_TIMEOUT", &[Worker], Default("2m"), "1m",
        "How long fetching one document may take in all.";
    CRM_ENDPOINTS: "MILLRACE_CRM_ENDPOINTS", &[Api, Worker], Optional, "kommo=http://127.0.0.1:9100/{account}",
        "Where CRMs are instead of at their own addresses (sandboxes, proxies, simulators): `provider=url`, several with commas between; `{account}` stands for the account. API and worker must agree.";
    CRM_RATES: "MILLRACE_CRM_RATES", &[Worker], Default("kommo=7/1s,hubspot=10/1s,hubspot.search=4/1s,salesforce=20/1s,pipedrive=8/1s"), "hubspot=19/1s,salesforce=off",
        "How often the API of one account is called by all workers together: `provider=rate` or `off`. What is left out stays as it is by default.";
    CRM_AT_ONCE: "MILLRACE_CRM_CALLS_AT_ONCE", &[Worker], Default("8"), "2",
        "How many calls of one connection are under way at once, over all workers. Further ones wait for a place.";
    CRM_EGRESS: "MILLRACE_CRM_EGRESS", &[Worker], Default("default"), "nat-eu-1",
        "Names the public address by which this worker's calls leave. Kommo blocks addresses that call too often, so workers of one name keep its rate together, whatever accounts they call.";
    CRM_CONNECT: "MILLRACE_CRM_CONNECT_TIMEOUT", &[Worker], Default("5s"), "10s",
        "How long it may take to connect to a CRM.";
    CRM_TIMEOUT: "MILLRACE_CRM_TIMEOUT", &[Worker], Default("30s"), "60s",
        "How long one call of a CRM may take in all.";
    CRM_MAX_BYTES: "MILLRACE_CRM_MAX_RESPONSE_BYTES", &[Worker], Default("32MiB"), "64MiB",
        "Largest answer that is read from a CRM.";
    CRM_BREAKER: "MILLRACE_CRM_BREAKER_FAILURES", &[Worker], Default("5"), "10",
        "After so many failed calls in a row a connection's calls pause, and its jobs wait without using up attempts.";
    CRM_BREAKER_PAUSE: "MILLRACE_CRM_BREAKER_PAUSE", &[Worker], Default("15s"), "30s",
        "How long they pause at first. Then one call tries whether it is over; each further failure doubles the pause, up to a quarter of an hour.";
    CRM_OVERLAP: "MILLRACE_CRM_OVERLAP", &[Worker], Default("2m"), "10m",
        "How far an incremental sync goes back behind where the last one began, for changes that a CRM showed late.";
    LOG: "MILLRACE_LOG", EVERYONE, Default("info"), "info,millrace_worker=debug",
        "What is logged: a level, or a list of `target=level`.";
    LOG_FORMAT: "MILLRACE_LOG_FORMAT", EVERYONE, Default("text"), "json",
        "`text` for people or `json` for machines. Logs go to standard error.";
    ADDRESS_FILE: "MILLRACE_ADDRESS_FILE", &[Api, Worker], Optional, "/run/millrace/api.address",
        "File to which the address is written once the program listens there: how to learn it with port 0.";
    URL: "MILLRACE_URL", &[], Optional, "http://127.0.0.1:8080",
        "For scripts: where the API is. `cargo xtask up` writes it to `target/dev/env`.";
    KEY: "MILLRACE_KEY", &[], Optional, "mr_…",
        "For scripts: an API key. `cargo xtask up` writes it to `target/dev/env`.";
    ORG: "MILLRACE_ORG", &[], Optional, "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e",
        "For scripts: the organisation of that key. `cargo xtask up` writes it to `target/dev/env`.";
}

/// Prefix of the names that belong to the test harness; no program reads them.
pub(super) const TEST_PREFIX: &str = "MILLRACE_TEST_";

/// The table as the text of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    use std::fmt::Write as _;

    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Generated from shared/src/config/settings.rs by `UPDATE_DOCS=1 cargo test -p millrace-shared configuration_page`. -->\n\n\
         Everything is set by environment variables. A program that meets a malformed value, or a `MILLRACE_…` name that is\n\
         not in this table, refuses to start, names every such variable and shows an example. A variable that only another\n\
         program reads is ignored, so that one file can serve all of them. An empty value counts as absent.\n\n\
         Durations are written `500ms`, `30s`, `5m` or `1h`; sizes as bytes (`1048576`) or with a unit (`64KiB`, `2MiB`, `1GiB`).\n\n\
         | variable | read by | default | example | what it is |\n|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let read_by = if setting.read_by == EVERYONE {
            "all".to_owned()
        } else if setting.read_by.is_empty() {
            "scripts".to_owned()
        } else {
            setting.read_by.iter().map(|program| format!("`{}`", program.binary())).collect::<Vec<_>>().join(", ")
        };
        let default = match setting.absent {
            Absent::Required => "required".to_owned(),
            Absent::Default(value) => format!("`{value}`"),
            Absent::Optional => "none".to_owned(),
        };
        let _ =
            writeln!(page, "| `{}` | {read_by} | {default} | `{}` | {} |", setting.name, setting.example, setting.what);
    }
    page.push_str(
        "\nWith `s3://` storage the variables of Amazon's own tools apply: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,\n\
         `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT` (for another maker's S3) and `AWS_ALLOW_HTTP=true`.\n\n\
         With `MILLRACE_OCR_LANGUAGES` the worker hands on `TESSDATA_PREFIX`, which says where tesseract's languages are if not in their usual place.\n\n\
         Names that start with `MILLRACE_TEST_` belong to the test harness and are ignored.\n\n\
         ## Production\n\n\
         With `MILLRACE_ENV=production` a program refuses to start when\n\n\
         - a secret (JWT secret, or a password in `REDIS_URL` or `DATABASE_URL`, or `AWS_SECRET_ACCESS_KEY`) is short, is made of\n  \
           few different characters, or holds a word that only placeholders have, such as `change-me` or `example`;\n\
         - `REDIS_URL` has no password;\n\
         - `MILLRACE_STORAGE_URL` is absent: a default would put files where the other programs do not look.\n\n\
         Postgres may be without a password, for hosts that authenticate by certificate or socket.\n\n\
         No JWT variable is required, in production either: without one the API accepts API keys and refuses every JWT.\n",
    );
    page
}
