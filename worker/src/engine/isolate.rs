//! Suspects run alone.
//!
//! When a worker dies, everything that ran in it is lost, the culprit as well as its neighbours. So a job that was lost before next runs in a
//! child process, by itself. If that process dies, the job is convicted, with the signal or exit code; its neighbours go free.
//!
//! A child runs suspects one after another, because starting one for each would take a busy worker's many short jobs minutes. What an earlier
//! suspect did to a child must not be laid at a later one's door: a job is convicted by the death of a child that has run nothing else.
//!
//! The child is this very program with the command `run-suspects`: it reads a job a line from its standard input (see `suspect.rs`), and
//! answers each with a line that says what is left to do in Redis.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{
    conclude::{Concluder, Conclusion},
    keeper::Stop,
    run::{Outcome, RunInfo},
    suspect::{CANNOT_BEGIN, COMMAND, Suspect},
};

/// How long the child may take beyond the job's own time limit, to start and to write the end.
const GRACE: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MAX_REPLY_BYTES: u64 = 4096;
/// Children at once. Each has connections of its own to Postgres, so that a whole worker's worth of suspects must not start together.
const MAX_CHILDREN: usize = 8;
/// A child that has run so many is replaced, whatever they may have left behind in it.
const MAX_RUNS: u32 = 200;
/// A child that has had nothing to do for so long is ended.
const IDLE: Duration = Duration::from_secs(10);

/// Runs suspects.
#[derive(Debug)]
pub(crate) struct Isolation {
    program: PathBuf,
    turns: Semaphore,
    waiting: Mutex<Vec<Warden>>,
}

/// A child, as its parent holds it. It is killed when this is dropped.
#[derive(Debug)]
struct Warden {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<Take<ChildStdout>>,
    /// How many suspects it has run.
    runs: u32,
    /// When the last one ended.
    idle_since: Instant,
}

/// How a run in a child ended.
enum Ended {
    /// It was written down, or (`None`) could not begin.
    Answered(Option<Conclusion>),
    /// The child died.
    Died(ExitStatus),
    /// It took too long.
    TimedOut,
}

impl Isolation {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, turns: Semaphore::new(MAX_CHILDREN), waiting: Mutex::default() }
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
            ended = self.in_turn(info) => ended,
        };
        match ended {
            Ok(Ended::Answered(Some(conclusion))) => conclusion,
            Ok(Ended::Answered(None)) => try_again(info),
            Ok(Ended::Died(status)) if status.code() == Some(CANNOT_BEGIN) => try_again(info),
            Ok(Ended::Died(status)) => concluder.convict(info, describe(status), elapsed).await,
            Ok(Ended::TimedOut) => concluder.conclude(info, Outcome::TimedOut, elapsed).await,
            Err(error) => {
                tracing::error!(error = %error, "the process for the job could not be started");
                try_again(info)
            }
        }
    }

    /// Runs the suspect when it is its turn. Gives how long it ran and how it ended; a death is that of a child that has run nothing else.
    async fn in_turn(&self, info: &RunInfo) -> (Duration, std::io::Result<Ended>) {
        // An error means that the semaphore is closed, which nobody does.
        let _turn = self.turns.acquire().await;
        let warm = self.waiting().pop();
        if let Some(mut warden) = warm {
            let start = Instant::now();
            match warden.run(info).await {
                Ok(Ended::Died(_)) | Err(_) => {}
                Ok(ended) => {
                    self.keep(warden, &ended);
                    return (start.elapsed(), Ok(ended));
                }
            }
        }
        let start = Instant::now();
        let ended = async {
            let mut warden = Warden::start(&self.program)?;
            let ended = warden.run(info).await?;
            self.keep(warden, &ended);
            Ok(ended)
        };
        let ended = ended.await;
        (start.elapsed(), ended)
    }

    /// Ends children that have nothing to do, until `end`.
    pub(crate) async fn tend(self: Arc<Self>, end: CancellationToken) {
        while end.run_until_cancelled(tokio::time::sleep(IDLE)).await.is_some() {
            self.waiting().retain(|warden| warden.idle_since.elapsed() < IDLE);
        }
    }

    fn keep(&self, mut warden: Warden, ended: &Ended) {
        warden.idle_since = Instant::now();
        if matches!(ended, Ended::Answered(Some(_))) && warden.runs < MAX_RUNS {
            self.waiting().push(warden);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Warden>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Warden {
    fn start(program: &PathBuf) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is for the worker, which decides about the child.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        metrics::counter!("millrace_isolation_processes_total").increment(1);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout.take(0)), runs: 0, idle_since: Instant::now() })
    }

    async fn run(&mut self, info: &RunInfo) -> std::io::Result<Ended> {
        self.runs += 1;
        let run = tokio::time::timeout(info.timeout + GRACE, self.ask(info));
        run.await.unwrap_or(Ok(Ended::TimedOut))
    }

    async fn ask(&mut self, info: &RunInfo) -> std::io::Result<Ended> {
        let mut line = serde_json::to_vec(&Suspect::new(info))?;
        line.push(b'\n');
        // Where this fails the child is dead, which is told by how it died.
        let _ = self.stdin.write_all(&line).await;
        let mut answer = String::new();
        self.stdout.get_mut().set_limit(MAX_REPLY_BYTES);
        self.stdout.read_line(&mut answer).await?;
        if answer.ends_with('\n') {
            return Ok(Ended::Answered(serde_json::from_str(&answer).unwrap_or(None)));
        }
        Ok(Ended::Died(self.child.wait().await?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_described_by_its_signal_or_exit_code() {
        assert_eq!(describe(ExitStatus::from_raw(6)), "its process died of signal 6 (SIGABRT)");
        assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "its process ended with exit code 3");
    }
}
