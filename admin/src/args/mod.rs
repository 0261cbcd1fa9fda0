//! The arguments: words become types here, and nowhere else.

mod schedules;
mod values;

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Parser, Subcommand};
use millrace_shared::{
    auth::Role,
    db::{Cursor, PageRequest},
    ids::{JobId, KeyId, OrgId},
    jobs::{Priority, QueueName},
    views::State,
};

pub use self::schedules::{ListSchedules, SchedulesCommand};
pub use self::values::{Limit, NewOrOrg, PayloadSource, RateLimit, Weight};
use self::values::{duration, label, priority, rate, since};

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
    /// Which organisations have weights or limits of their own; set them
    Orgs(OrgsArgs),
    /// Jobs of every state
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Jobs that are submitted at intervals, or by the clocks of a time zone
    #[command(subcommand)]
    Schedules(SchedulesCommand),
    /// Dead letters: jobs that failed for good
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// What others have entrusted to us, as it is sealed in the database
    #[command(subcommand)]
    Secrets(SecretsCommand),
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

#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// How many are sealed with which key
    Status,
    /// Seal anew, with the first key of MILLRACE_ENCRYPTION_KEYS, what was sealed with another
    Rotate {
        /// Open everything, and only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
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
    /// How many jobs may run at once, and begin in how long, over all workers
    #[command(group = ArgGroup::new("limits").required(true).multiple(true)
        .args(["concurrency", "org_concurrency", "rate", "org_rate"]))]
    Limit {
        /// asset, crm, graph or probe
        queue: QueueName,
        /// Of the whole queue
        #[arg(long, value_name = "N|none")]
        concurrency: Option<Limit>,
        /// Of each organisation
        #[arg(long, value_name = "N|none")]
        org_concurrency: Option<Limit>,
        /// How many may begin in how long, such as 10/1s, of the whole queue
        #[arg(long, value_name = "N/PERIOD|none")]
        rate: Option<RateLimit>,
        /// How many may begin in how long, of each organisation
        #[arg(long, value_name = "N/PERIOD|none")]
        org_rate: Option<RateLimit>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OrgsArgs {
    #[command(subcommand)]
    pub command: Option<OrgsCommand>,
}

#[derive(Debug, Subcommand)]
pub enum OrgsCommand {
    /// Set an organisation's weight, or how many of its jobs may run at once, over all workers
    #[command(group = ArgGroup::new("limits").required(true).multiple(true).args(["weight", "concurrency"]))]
    Limit {
        /// The organisation
        org: OrgId,
        /// Only in this queue; otherwise in all for which nothing else was set
        #[arg(long)]
        queue: Option<QueueName>,
        /// How many shares of the workers it gets where others get one, 1 to 1000
        #[arg(long, value_name = "N|none")]
        weight: Option<Weight>,
        /// Instead of the queue's limit for each organisation
        #[arg(long, value_name = "N|none")]
        concurrency: Option<Limit>,
    },
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
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
}
