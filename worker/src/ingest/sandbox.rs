//! Runs one extraction child, and always ends it.
//!
//! The child is the worker's own binary. It gets: the file as standard input (an open, read-only descriptor, no path),
//! an empty environment, an empty private directory, a process group of its own (a Ctrl-C at the terminal is the worker's
//! to handle), and limits that it puts on itself before it reads a byte (see [`super::child`]). The parent bounds what it
//! reads from the child, kills it when the wall limit passes or the caller cancels, and waits for it in every case.
//!
//! A child never outlives its worker: dropping the future kills it (`kill_on_drop`), and should the worker itself be
//! killed, the kernel does it (`PR_SET_PDEATHSIG`). That signal is bound to the *thread* that forked the child, not to the
//! process, and a runtime's threads come and go: a blocking thread ends after ten idle seconds, and would take the child
//! of a healthy extraction with it. So one thread per [`Extractor`], which lives as long as the extractor does, forks
//! them all.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, mpsc};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::child::EXIT_NOT_CONFINED;
use super::document::Document;
use super::error::ExtractError;
use super::limits::IngestLimits;
use super::wire::{ChildSettings, Failure, read_reply, reply_limit};

/// The hidden subcommand that makes the worker's binary a child.
pub const CHILD_COMMAND: &str = "extract-child";

/// What is kept of a child's standard error, to tell how it died.
const STDERR_BYTES: usize = 16 * 1024;

/// Extracts documents, each in a child process of its own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Extractor {
    limits: IngestLimits,
    spawner: Arc<Spawner>,
}

impl Extractor {
    /// Starts the thread that forks the children.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn new(limits: IngestLimits) -> io::Result<Self> {
        Ok(Self { limits, spawner: Arc::new(Spawner::start()?) })
    }

    /// Reads the document in `file`. The name plays no part; a relative path is as good as any.
    ///
    /// # Errors
    /// All that [`ExtractError`] names. When it returns, or is dropped, the child is dead or dying.
    pub async fn extract(&self, file: &Path, cancel: &CancellationToken) -> Result<Document, ExtractError> {
        let input = tokio::fs::File::open(file).await.map_err(ExtractError::Io)?;
        let input = input.into_std().await;
        let mut running = self.start(input).await.map_err(ExtractError::Io)?;
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ExtractError::Cancelled),
            ended = tokio::time::timeout(self.limits.wall_limit, running.exchange(reply_limit(&self.limits))) => {
                ended.unwrap_or(Err(ExtractError::LimitTime {
                    limit_seconds: self.limits.wall_limit.as_secs(),
                    kind: "elapsed",
                }))
            }
        };
        match outcome {
            Ok(exit) => self.judge(exit).await,
            Err(error) => {
                running.kill().await;
                Err(error)
            }
        }
    }

    async fn start(&self, input: std::fs::File) -> io::Result<Running> {
        let settings =
            serde_json::to_string(&ChildSettings { limits: self.limits.clone(), parent: std::process::id() })?;
        let mut command = std::process::Command::new(&self.limits.program);
        command
            .arg0("millrace-extract")
            .args([CHILD_COMMAND, &settings])
            .env_clear()
            .process_group(0)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.spawner.spawn(command).await
    }

    /// What the end of the child means.
    async fn judge(&self, exit: Exit) -> Result<Document, ExtractError> {
        if !exit.status.success() {
            return Err(self.judge_death(exit.status, &exit.stderr));
        }
        // Checking millions of characters takes milliseconds, which the runtime's threads should not spend.
        let reply = tokio::task::spawn_blocking(|| read_reply(exit.stdout))
            .await
            .map_err(|error| ExtractError::Io(io::Error::other(error)))?;
        match reply {
            Ok(Ok(document)) => Ok(document),
            Ok(Err(failure)) => Err(self.told(failure)),
            Err(error) => Err(ExtractError::Crashed { reason: error.to_string() }),
        }
    }

    fn told(&self, failure: Failure) -> ExtractError {
        match failure {
            Failure::UnsupportedMediaType { detected } => ExtractError::UnsupportedMediaType { detected },
            Failure::Encrypted => ExtractError::Encrypted,
            Failure::Malformed { reason } => ExtractError::Malformed { reason },
            Failure::TooLarge { reason } => ExtractError::TooLarge { reason },
            Failure::OutOfMemory => self.limit_memory(),
            Failure::Io { reason } => ExtractError::Io(io::Error::other(reason)),
        }
    }

    fn judge_death(&self, status: ExitStatus, stderr: &[u8]) -> ExtractError {
        let said = |words: &str| String::from_utf8_lossy(stderr).contains(words);
        let Some(signal) = status.signal() else {
            let code = status.code().unwrap_or(-1);
            if code == i32::from(EXIT_NOT_CONFINED) {
                let said = String::from_utf8_lossy(stderr).trim().to_owned();
                return ExtractError::Io(io::Error::other(said));
            }
            return ExtractError::Crashed { reason: format!("exit code {code}") };
        };
        // The standard library says these before it aborts; the kernel's refusal of memory leaves no other trace.
        if signal == Signal::ABORT.as_raw() && said("memory allocation of") {
            return self.limit_memory();
        }
        if said("has overflowed its stack") {
            return ExtractError::Malformed { reason: "its parts are nested too deeply".to_owned() };
        }
        if signal == Signal::XCPU.as_raw() {
            return ExtractError::LimitTime { limit_seconds: self.limits.cpu_seconds(), kind: "processor" };
        }
        // Nothing in a file makes a process send itself these: an operator did, or the kernel short of memory.
        let from_outside = [Signal::KILL, Signal::TERM, Signal::HUP, Signal::INT];
        if from_outside.iter().any(|outside| outside.as_raw() == signal) {
            let message = format!("the extraction child was killed from outside (signal {signal})");
            return ExtractError::Io(io::Error::other(message));
        }
        ExtractError::Crashed { reason: format!("signal {signal}") }
    }

    fn limit_memory(&self) -> ExtractError {
        ExtractError::LimitMemory { limit_mib: self.limits.memory_limit_bytes >> 20 }
    }
}

/// A child and the directory it was started in, which goes when it does.
#[derive(Debug)]
struct Running {
    child: Child,
    _directory: TempDir,
}

/// How a child ended, and what it said until then.
struct Exit {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Running {
    /// Reads all the child says and waits for its end.
    async fn exchange(&mut self, limit: u64) -> Result<Exit, ExtractError> {
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let status = async { self.child.wait().await.map_err(ExtractError::Io) };
        let (stdout, stderr, status) = tokio::try_join!(read_all(stdout, limit), read_head(stderr), status)?;
        Ok(Exit { status, stdout, stderr })
    }

    async fn kill(&mut self) {
        // It may have ended by itself in between, which is as good.
        if let Err(error) = self.child.kill().await {
            tracing::warn!(error = %error, "cannot end an extraction child");
        }
    }
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, ExtractError> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let mut bounded = pipe.take(limit + 1);
        bounded.read_to_end(&mut bytes).await.map_err(ExtractError::Io)?;
    }
    if bytes.len() as u64 > limit {
        return Err(ExtractError::Crashed { reason: "its answer has no end".to_owned() });
    }
    Ok(bytes)
}

/// Reads to the end but keeps only the first bytes, so that a child that complains a lot is not blocked.
async fn read_head(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ExtractError> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut bounded = (&mut pipe).take(STDERR_BYTES as u64);
        bounded.read_to_end(&mut kept).await.map_err(ExtractError::Io)?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.map_err(ExtractError::Io)?;
    }
    Ok(kept)
}

/// The thread that forks. It ends when the last [`Extractor`] is gone, and no extraction outlives its extractor.
#[derive(Debug)]
struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: std::process::Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Running>>,
}

impl Spawner {
    fn start() -> io::Result<Self> {
        let (requests, queue) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("extract-spawner".to_owned()).spawn(move || {
            for request in queue {
                let _entered = request.runtime.enter();
                // Whoever asked may be gone: then the child is dropped here, which kills it.
                let _ = request.reply.send(spawn_in_private_directory(request.command));
            }
        })?;
        Ok(Self { requests })
    }

    async fn spawn(&self, command: std::process::Command) -> io::Result<Running> {
        let (reply, answer) = oneshot::channel();
        let request = Request { command, runtime: Handle::current(), reply };
        let gone = || io::Error::other("the thread that starts extraction children is gone");
        self.requests.send(request).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn spawn_in_private_directory(mut command: std::process::Command) -> io::Result<Running> {
    let directory = TempDir::with_prefix("millrace-extract-")?;
    command.current_dir(directory.path());
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    Ok(Running { child, _directory: directory })
}
