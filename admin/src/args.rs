//! The arguments: words become types here, and nowhere else.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Parser, Subcommand};
use millrace_shared::{
    auth::Role,
    db::{Cursor, PageRequest},
    ids::{JobId, KeyId, OrgId},
    jobs::{Priority, QueueName},
    views::State,
};

/// The operator's command line of Millrace.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = crate::exit::HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Answer in JSON: one document, or for lists one object a line
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the database's tables up to date
    Migrate,
    /// Check the configuration and the servers behind it
    Doctor,
    /// API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What the queues hold; pause, resume and limit them
    Queues(QueuesArgs),
    /// Jobs of every state
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Dead letters: jobs that failed for good
    #[command(subcommand)]
    Dlq(DlqCommand),
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; it is shown this once, alone on standard output
    Create {
        /// The organisation that it acts for, or `new` to make one
        #[arg(long, value_name = "UUID|new")]
        org: NewOrOrg,
        /// What it allows: submitter, operator or admin
        #[arg(long)]
        role: Role,
        /// What people call it
        #[arg(long, default_value = "", hide_default_value = true, value_parser = label)]
        name: String,
    },
    /// Keys, the newest first; the keys themselves are not stored
    List {
        /// Only this organisation's
        #[arg(long, value_name = "UUID")]
        org: Option<OrgId>,
    },
    /// Revoke keys for good, at once
    Revoke {
        /// Their ids, as `keys list` tells them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<KeyId>,
    },
}

/// An organisation that is to be made, or one that is there.
#[derive(Clone, Copy, Debug)]
pub enum NewOrOrg {
    New,
    Existing(OrgId),
}

impl FromStr for NewOrOrg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "new" {
            return Ok(Self::New);
        }
        text.parse().map(Self::Existing).map_err(|_| "neither a UUID nor `new`".to_owned())
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QueuesArgs {
    /// Show them again and again, every second or as often as told
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "1s", value_name = "EVERY", value_parser = duration)]
    pub watch: Option<Duration>,
    #[command(subcommand)]
    pub command: Option<QueuesCommand>,
}

#[derive(Debug, Subcommand)]
pub enum QueuesCommand {
    /// Claim nothing any more; what runs goes on
    Pause {
        /// asset, crm, graph or probe
        queue: QueueName,
    },
    /// Claim again
    Resume {
        /// asset, crm, graph or probe
        queue: QueueName,
    },
    /// How many jobs may run at once, over all workers
    Limit {
        /// asset, crm, graph or probe
        queue: QueueName,
        /// Of the whole queue
        #[arg(long, value_name = "N|none", required_unless_present = "org_concurrency")]
        concurrency: Option<Limit>,
        /// Of each organisation
        #[arg(long, value_name = "N|none")]
        org_concurrency: Option<Limit>,
    },
}

/// A limit, or none.
#[derive(Clone, Copy, Debug)]
pub struct Limit(Option<NonZeroU32>);

impl Limit {
    /// The limit, if there is to be one.
    pub fn number(self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let number: NonZeroU32 = text.parse().map_err(|_| "neither a number above 0 nor `none`".to_owned())?;
        if i32::try_from(number.get()).is_err() {
            return Err("too large; `none` is no limit".to_owned());
        }
        Ok(Self(Some(number)))
    }
}

#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Jobs, the newest first
    List(ListJobs),
    /// A job with its payload and every attempt
    Show {
        /// Its id
        id: JobId,
    },
    /// Cancel jobs that have not ended; one that runs is told to stop
    Cancel {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<JobId>,
    },
    /// Submit a job for an organisation; its id alone is on standard output
    Submit(SubmitJob),
}

#[derive(Debug, Args)]
pub struct ListJobs {
    /// Only this organisation's
    #[arg(long, value_name = "UUID")]
    pub org: Option<OrgId>,
    /// Only this queue
    #[arg(long)]
    pub queue: Option<QueueName>,
    /// Only this kind
    #[arg(long)]
    pub kind: Option<String>,
    /// Only this state: queued, delayed, running, succeeded, dead or cancelled
    #[arg(long)]
    pub state: Option<State>,
    /// Accepted since: a time (RFC 3339), or how long ago (15m, 2h, 3d)
    #[arg(long, value_parser = since)]
    pub since: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub page: PageArgs,
}

#[derive(Debug, Args)]
pub struct PageArgs {
    /// At most so many, 1 to 10000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub limit: u16,
    /// Only older ones than this job: the last one of the page before
    #[arg(long, value_name = "ID")]
    pub before: Option<JobId>,
    /// More columns: queue, organisation and others
    #[arg(long)]
    pub wide: bool,
}

impl PageArgs {
    /// The page, as the ledger is asked for it.
    pub fn request(&self) -> PageRequest {
        PageRequest { after: self.before.map(|id| Cursor::after(id.0)), limit: self.limit }
    }
}

#[derive(Debug, Args)]
pub struct SubmitJob {
    /// Its kind, such as `probe`
    pub kind: String,
    /// Whose it is
    #[arg(long, value_name = "UUID")]
    pub org: OrgId,
    /// JSON, or `@file`, or `-` for standard input
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE|-")]
    pub payload: PayloadSource,
    /// critical, high, normal or low
    #[arg(long, value_parser = priority)]
    pub priority: Option<Priority>,
    /// Not before so long from now, such as 30s or 2h
    #[arg(long, value_parser = duration, conflicts_with = "run_at")]
    pub delay: Option<Duration>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub run_at: Option<DateTime<Utc>>,
    /// Attempts before it becomes a dead letter, 1 to 100
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<u16>,
    /// One attempt's time limit
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Only one job of its kind and this key waits at a time
    #[arg(long, value_name = "KEY")]
    pub unique_key: Option<String>,
}

/// Where a payload comes from.
#[derive(Clone, Debug)]
pub enum PayloadSource {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl FromStr for PayloadSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(file) => Ok(Self::File(file.into())),
            None if text == "-" => Ok(Self::StandardInput),
            None => Ok(Self::Text(text.to_owned())),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Dead letters, the newest job first
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        page: PageArgs,
    },
    /// A dead letter with its payload and every attempt
    Show {
        /// Its id
        id: JobId,
    },
    /// Put dead letters back into work; they keep their ids and their history
    Replay {
        #[command(flatten)]
        which: BulkArgs,
        /// Let so many become due each second, instead of all at once
        #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
        rate: Option<f64>,
        /// Replay one job with another payload
        #[arg(long, value_name = "JSON|@FILE|-", conflicts_with_all = ["dry_run", "rate", "all"])]
        payload: Option<PayloadSource>,
    },
    /// Take dead letters out of the list; their rows stay in the ledger
    Discard {
        #[command(flatten)]
        which: BulkArgs,
    },
}

#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only this organisation's
    #[arg(long, value_name = "UUID")]
    pub org: Option<OrgId>,
    /// Only this queue
    #[arg(long)]
    pub queue: Option<QueueName>,
    /// Only this kind
    #[arg(long)]
    pub kind: Option<String>,
    /// Only this class of error, or errors whose text contains this
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// Died since: a time (RFC 3339), or how long ago (15m, 2h, 3d)
    #[arg(long, value_parser = since)]
    pub since: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
#[group(skip)]
pub struct BulkArgs {
    /// These jobs; or else a filter
    #[arg(value_name = "ID", conflicts_with_all = ["org", "queue", "kind", "error", "since", "all"],
          required_unless_present_any = ["org", "queue", "kind", "error", "since", "all"])]
    pub ids: Vec<JobId>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Only tell how many there are
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

fn label(text: &str) -> Result<String, String> {
    if text.chars().count() > 200 || text.contains('\0') {
        return Err("must have at most 200 characters and no NUL".to_owned());
    }
    Ok(text.to_owned())
}

fn priority(text: &str) -> Result<Priority, String> {
    let known = Priority::ALL.into_iter().find(|priority| priority.as_str() == text);
    known.ok_or_else(|| "not one of critical, high, normal and low".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "not a number from 0.001 to 1000000".to_owned())
}

/// `500ms`, `30s`, `5m`, `2h`, `3d`: above zero and at most ten years.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration: a whole number and one of ms, s, m, h and d, such as 30s".to_owned();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| (1..=3_650 * 86_400_000).contains(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "must be above zero and at most 3650d".to_owned())
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let wrong = || "neither a time such as 2031-05-04T12:00:00Z nor how long ago, such as 15m, 2h or 3d".to_owned();
    let ago = duration(text).map_err(|_| wrong())?;
    TimeDelta::from_std(ago).ok().and_then(|ago| Utc::now().checked_sub_signed(ago)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(since("2031-05-04T12:00:00+02:00").expect("a time").to_rfc3339(), "2031-05-04T10:00:00+00:00");
        let hours = (Utc::now() - since("2h").expect("a duration")).num_seconds();
        assert!((7_200..7_210).contains(&hours), "{hours}");
        for text in ["", "2", "h", "-2h", "2 h", "2w", "99999999999d", "yesterday"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bulk_work_needs_ids_or_a_filter_and_not_both() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind());
        let id = JobId::new();
        assert!(parse(&format!("millrace dlq replay {id} {id}")).is_ok());
        assert!(parse("millrace dlq replay --kind probe --rate 5").is_ok());
        assert!(parse("millrace dlq discard --all --yes --json").is_ok());
        assert_eq!(parse("millrace dlq discard").unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&format!("millrace dlq replay {id} --all")).unwrap_err(), ErrorKind::ArgumentConflict);
        assert_eq!(parse("millrace dlq replay --all --rate 0").unwrap_err(), ErrorKind::ValueValidation);
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("none".parse::<Limit>().expect("none").number(), None);
        assert_eq!("8".parse::<Limit>().expect("a number").number(), Some(8));
        for text in ["0", "-1", "3000000000", "many"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }
}
