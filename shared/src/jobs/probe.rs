//! `probe`: a canary that does what it is told, for operators who want to see the line run and for tests that want to see it break.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backoff, JobPayload, KindRate, Policy, QUEUES, QueueName, Rate, RateScope};

/// What a probe does, in this order: keeps a rate, puts itself off, sleeps, fails its first attempts, then ends with its outcome.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// How long it works, in milliseconds. From one second on it does so in about ten steps, each of which it keeps as a checkpoint: a run
    /// goes on where the last one was cut off, and `steps` in the result tells how many each of them did.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub sleep_ms: u64,
    /// How many attempts fail (and are retried) before the outcome counts.
    #[schemars(range(min = 0, max = 100))]
    pub fail_attempts: u32,
    /// How often it first puts itself off, for `snooze_ms` each, which uses up no attempt.
    #[schemars(range(min = 0, max = 1_000))]
    pub snoozes: u32,
    /// See `snoozes`.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub snooze_ms: u64,
    /// How it ends.
    pub outcome: ProbeOutcome,
    /// Whether its completing transaction writes a row to `probe_effects`, which has no unique constraint and so would show a duplicate.
    pub effect: bool,
    /// A rate that it keeps, together with the other probes that name the same key.
    pub limit: Option<ProbeLimit>,
    /// A text that it gives back in its result.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1_048_576))]
    pub echo: String,
    /// How many bytes of result it gives back.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub bytes: u32,
}

/// A rate that probes keep.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeLimit {
    /// What is limited.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: u32,
    /// In how long, in milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub period_ms: u64,
    /// Whether probes of all organisations keep it together, and not those of each.
    #[serde(default)]
    pub of_all: bool,
}

/// How a probe ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// Success.
    #[default]
    Succeed,
    /// A failure worth another attempt, every time.
    Retry,
    /// A failure that no further attempt can mend.
    Fail,
    /// A panic in the handler.
    Panic,
    /// Never, until its time is up or it is cancelled.
    Hang,
    /// Never, and it blocks its thread, so that it cannot be stopped.
    Block,
    /// The whole process aborts.
    Exit,
    /// The whole process dies of a call that calls itself for ever.
    StackOverflow,
    /// The whole process dies of taking all memory that it gets: up to its limit, or a gibibyte.
    OutOfMemory,
}

impl JobPayload for Probe {
    const KIND: &'static str = "probe";
    const QUEUE: QueueName = QUEUES[3];
    const DESCRIPTION: &'static str = "A canary: sleeps, fails or succeeds as told.";
    const POLICY: Policy = Policy {
        timeout: std::time::Duration::from_secs(60),
        backoff: Backoff { base: std::time::Duration::from_millis(200), cap: std::time::Duration::from_secs(30) },
        ..Policy::DEFAULT
    };
}

/// A probe of a kind that has a rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PacedProbe(pub Probe);

impl JobPayload for PacedProbe {
    const KIND: &'static str = "probe.paced";
    const QUEUE: QueueName = Probe::QUEUE;
    const DESCRIPTION: &'static str = "A canary of which ten a second may begin of each organisation.";
    const POLICY: Policy =
        Policy { rate: Some(KindRate { rate: Rate::per_second(10), scope: RateScope::Organisation }), ..Probe::POLICY };
}
