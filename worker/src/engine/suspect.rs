//! The child's side of isolation: runs the jobs that its parent names, one after another.

use std::{io::Write as _, os::fd::AsFd as _, sync::Arc, time::Instant};

use apalis_core::task::Task;
use millrace_shared::{
    db::runs::{self, Begun},
    ids::JobId,
    jobs::{Priority, QueueName},
    queue::{Claimed, Envelope, EnvelopeError, Lease, Meta},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::unix::pipe,
};
use tower::Service as _;
use tracing::Instrument as _;

use super::{
    conclude::{Concluder, Conclusion},
    handler_stack,
    run::{HandlerService, Run, RunInfo, outcome_of},
};

/// The command that makes this program a child for suspects.
pub(crate) const COMMAND: &str = "run-suspects";
/// The child's exit code when it cannot even ask for a job (`EX_TEMPFAIL` of sysexits.h): the job is not to blame.
pub(crate) const CANNOT_BEGIN: i32 = 75;

/// A job on its way into a child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Suspect {
    id: JobId,
    queue: String,
    attempt: u32,
    lost: u32,
    snoozes: u32,
}

impl Suspect {
    pub(crate) fn new(info: &RunInfo) -> Self {
        let (queue, meta) = (info.queue.to_string(), info.meta);
        Self { id: info.lease.id, queue, attempt: meta.attempt, lost: meta.lost, snoozes: meta.snoozes }
    }
}

/// Runs the suspects that standard input names, a line each, and answers each on standard output by a line with what is left to do in Redis:
/// `null` where it could not begin. Ends with its input.
pub(crate) async fn run_all(service: HandlerService, concluder: Concluder) -> std::io::Result<()> {
    // Not tokio's own standard input: a thread would be left behind in it, for which the process would wait.
    let input = pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await? {
        let suspect: Suspect = serde_json::from_str(&line)?;
        let mut answer = serde_json::to_vec(&run(suspect, service.clone(), &concluder).await)?;
        answer.push(b'\n');
        let mut output = std::io::stdout().lock();
        output.write_all(&answer)?;
        output.flush()?;
    }
    Ok(())
}

/// `None` where it could not begin.
async fn run(suspect: Suspect, service: HandlerService, concluder: &Concluder) -> Option<Conclusion> {
    let queue: QueueName = suspect.queue.parse().ok()?;
    let mut connection = concluder.pool.acquire().await.ok()?;
    // No revision: the payload comes from the ledger.
    let begun = runs::begin(&mut connection, &[suspect.id], &[-1]).await.ok()?;
    drop(connection);
    // Without an envelope there is none to agree with.
    let Some(Begun::Otherwise(known)) = begun.into_iter().next() else { return Some(Conclusion::Forget) };
    let claimed = Claimed {
        lease: Lease { id: suspect.id, token: 0 },
        org: known.org_id,
        priority: Priority::Normal,
        meta: Meta { attempt: suspect.attempt, lost: suspect.lost, snoozes: suspect.snoozes },
        envelope: Err::<Envelope, _>(EnvelopeError::Short(0)),
    };
    let run = Run::new(queue, claimed, *known, None);
    let info = Arc::clone(&run.info);
    let span = info.span();
    let run = async {
        let start = Instant::now();
        let outcome = outcome_of(handler_stack(service).call(Task::new(run)).await);
        concluder.conclude(&info, outcome, start.elapsed()).await
    };
    Some(run.instrument(span).await)
}
