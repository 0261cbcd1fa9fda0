//! Suspects run alone.
//!
//! When a worker dies, everything that ran in it is lost, the culprit as well as its neighbours. So a job that was lost before next runs in a
//! child process of its own. If that process dies, the job is convicted, with the signal or exit code; its neighbours, each in a process of
//! its own, go free. The child is this very program with the command `run-one`: it reads the job from the ledger, runs the handler, writes
//! the end to the ledger, and prints what is left to do in Redis.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use apalis_core::task::Task;
use millrace_shared::{
    db::runs,
    ids::JobId,
    jobs::{Priority, QueueName},
    queue::{Claimed, Envelope, EnvelopeError, Lease, Meta},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::Semaphore,
    time::error::Elapsed,
};
use tower::Service as _;
use tracing::Instrument as _;

use super::{
    conclude::{Concluder, Conclusion},
    handler_stack,
    keeper::Stop,
    run::{HandlerService, Outcome, Run, RunInfo, outcome_of},
};

/// The command that makes this program a child for one job.
pub(crate) const COMMAND: &str = "run-one";
/// The child's exit code when it could not begin (`EX_TEMPFAIL` of sysexits.h): the job is not to blame.
pub(crate) const CANNOT_BEGIN: i32 = 75;
/// How long the child may take beyond the job's own time limit, to start and to write the end.
const GRACE: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MAX_REPLY_BYTES: u64 = 4096;
/// Children at once. Each has connections of its own to Postgres, so that a whole worker's worth of suspects must not start together.
const MAX_CHILDREN: usize = 8;

/// A job on its way into a child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Suspect {
    id: JobId,
    queue: String,
    attempt: u32,
    lost: u32,
    snoozes: u32,
}

/// Runs suspects.
#[derive(Debug)]
pub(crate) struct Isolation {
    program: PathBuf,
    children: Semaphore,
}

impl Isolation {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, children: Semaphore::new(MAX_CHILDREN) }
    }

    /// Runs a suspect in a child.
    pub(crate) async fn run(&self, info: &RunInfo, concluder: &Concluder) -> Conclusion {
        tracing::info!(
            job.lost = info.meta.lost,
            "the job was lost with a worker before; it runs in a process of its own"
        );
        metrics::counter!("millrace_isolated_runs_total", "kind" => info.kind.clone()).increment(1);
        let (elapsed, ended) = tokio::select! {
            stop = info.switch.stopped() => return match stop {
                Stop::Cancelled => Conclusion::Forget,
                Stop::HandBack => Conclusion::HandBack,
            },
            ended = self.child_in_turn(info) => ended,
        };
        match ended {
            Ok(Ok((status, reply))) if status.success() => {
                serde_json::from_slice(&reply).unwrap_or(Conclusion::HandBack)
            }
            Ok(Ok((status, _))) if status.code() == Some(CANNOT_BEGIN) => try_again(info),
            Ok(Ok((status, _))) => concluder.convict(info, describe(status), elapsed).await,
            Ok(Err(error)) => {
                tracing::error!(error = %error, "the process for the job could not be started");
                try_again(info)
            }
            Err(_) => concluder.conclude(info, Outcome::TimedOut, elapsed).await,
        }
    }

    /// Runs the child when it is its turn. Gives how long it ran and how it ended, or that it took too long.
    async fn child_in_turn(
        &self,
        info: &RunInfo,
    ) -> (Duration, Result<std::io::Result<(ExitStatus, Vec<u8>)>, Elapsed>) {
        // An error means that the semaphore is closed, which nobody does.
        let _turn = self.children.acquire().await;
        let start = Instant::now();
        let ended = tokio::time::timeout(info.timeout + GRACE, self.child(info)).await;
        (start.elapsed(), ended)
    }

    async fn child(&self, info: &RunInfo) -> std::io::Result<(ExitStatus, Vec<u8>)> {
        let suspect = Suspect {
            id: info.lease.id,
            queue: info.queue.to_string(),
            attempt: info.meta.attempt,
            lost: info.meta.lost,
            snoozes: info.meta.snoozes,
        };
        let mut child: Child = Command::new(&self.program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is for the worker, which decides about the child.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&serde_json::to_vec(&suspect)?).await?;
        }
        let mut reply = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_REPLY_BYTES).read_to_end(&mut reply).await?;
        }
        Ok((child.wait().await?, reply))
    }
}

fn try_again(info: &RunInfo) -> Conclusion {
    let delay_ms = u64::try_from(TRY_AGAIN.as_millis()).unwrap_or(1_000);
    Conclusion::Later { delay_ms, attempt: info.meta.attempt, snoozes: info.meta.snoozes }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown signal");
            format!("its process died of signal {signal} ({name})")
        }
        (None, code) => format!("its process ended with exit code {}", code.unwrap_or(-1)),
    }
}

/// The child's side: runs the suspect on standard input. `None` where it could not begin.
pub(crate) async fn run_suspect(
    suspect: Suspect,
    pool: &PgPool,
    service: HandlerService,
    concluder: &Concluder,
) -> Option<Conclusion> {
    let queue: QueueName = suspect.queue.parse().ok()?;
    let mut connection = pool.acquire().await.ok()?;
    // No revision: the payload comes from the ledger.
    let begun = runs::begin(&mut connection, &[suspect.id], &[-1]).await.ok()?;
    drop(connection);
    let Some(begun) = begun.into_iter().next() else { return Some(Conclusion::Forget) };
    let claimed = Claimed {
        lease: Lease { id: suspect.id, token: 0 },
        org: begun.org_id,
        priority: Priority::Normal,
        meta: Meta { attempt: suspect.attempt, lost: suspect.lost, snoozes: suspect.snoozes },
        envelope: Err::<Envelope, _>(EnvelopeError::Short(0)),
    };
    let run = Run::new(queue, claimed, begun, None);
    let info = Arc::clone(&run.info);
    let span = info.span();
    let run = async {
        let start = Instant::now();
        let outcome = outcome_of(handler_stack(service).call(Task::new(run)).await);
        concluder.conclude(&info, outcome, start.elapsed()).await
    };
    Some(run.instrument(span).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_described_by_its_signal_or_exit_code() {
        assert_eq!(describe(ExitStatus::from_raw(6)), "its process died of signal 6 (SIGABRT)");
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "its process ended with exit code 3");
    }
}
