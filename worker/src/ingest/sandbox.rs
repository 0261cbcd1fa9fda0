//! Has one extraction child read one file, and always ends it.
//!
//! The child is the worker's own binary. It gets: the file (an open, read-only descriptor, no path), a scratch file without a name, an empty environment,
//! an empty private directory, a process group of its own (a Ctrl-C at the terminal is the worker's to handle), and limits
//! that it puts on itself before it reads a byte (see `confine`). The parent bounds what it reads from the child, kills it
//! when the wall limit passes or the caller cancels, and waits for it in every case. Dropping the future kills it, too.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_shared::media::MediaType;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;

use super::child::EXIT_NOT_CONFINED;
use super::document::Document;
use super::error::ExtractError;
use super::limits::IngestLimits;
use super::ocr;
use super::parts::{Contents, Unpack};
use super::spawner::{Errand, Running, Spawner};
use super::wire::{Answer, Failure, Read, Task, Usage, read_reply, reply_limit};

/// The hidden subcommand that makes the worker's binary a child.
pub const CHILD_COMMAND: &str = "extract-child";

/// What is kept of a child's standard error, to tell how it died.
const STDERR_BYTES: usize = 16 * 1024;

/// Extracts documents, each in a child process of its own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Extractor {
    pub(super) limits: IngestLimits,
    pub(super) spawner: Arc<Spawner>,
}

/// When an extraction is over, whatever it has.
#[derive(Debug, Clone, Copy)]
pub struct Until<'a> {
    /// Ends it at once.
    pub cancel: &'a CancellationToken,
    /// No further page is recognised from then on.
    pub recognising: Option<Instant>,
}

/// What an extraction gave.
#[derive(Debug)]
pub struct Unpacked {
    /// The document, and a list of what is in it.
    pub document: Document,
    /// The bytes of those parts that were kept.
    pub contents: Contents,
}

/// What a child gave, and what it took, where it lived to tell.
pub(super) type Measured<T> = Result<(Result<T, ExtractError>, Usage), ExtractError>;

impl Extractor {
    /// Starts the thread that forks the children.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn new(limits: IngestLimits) -> io::Result<Self> {
        Ok(Self { spawner: Arc::new(Spawner::start(limits.clone())?), limits })
    }

    /// Reads the document in `file`. The name plays no part; a relative path is as good as any.
    ///
    /// # Errors
    /// All that [`ExtractError`] names. When it returns, or is dropped, the child is dead or dying.
    pub async fn extract(&self, file: &Path, cancel: &CancellationToken) -> Result<Document, ExtractError> {
        self.measure(file, cancel).await?.0
    }

    /// As [`extract`](Self::extract), with the bytes of the parts, as far as they are allowed.
    ///
    /// # Errors
    /// The same.
    pub async fn unpack(&self, file: &Path, unpack: Unpack, until: Until<'_>) -> Result<Unpacked, ExtractError> {
        self.run(file, unpack, until).await?.0
    }

    /// As [`extract`](Self::extract), and what the child took for it, where it lived to tell.
    ///
    /// # Errors
    /// Those of a child that did not.
    pub async fn measure(&self, file: &Path, cancel: &CancellationToken) -> Measured<Document> {
        let unpack = Unpack::UpTo { parts: self.limits.max_parts, bytes: self.limits.max_parts_bytes };
        let (result, usage) = self.run(file, unpack, Until { cancel, recognising: None }).await?;
        Ok((result.map(|unpacked| unpacked.document), usage))
    }

    /// Reads a file; where pages of it are silent and recognition is on, reads those by it and then the file again, with what was recognised.
    async fn run(&self, file: &Path, unpack: Unpack, until: Until<'_>) -> Measured<Unpacked> {
        let file = tokio::fs::File::open(file).await.map_err(ExtractError::Io)?.into_std().await;
        let (first, usage) = self.read(&file, unpack, None, until.cancel).await?;
        let (unpacked, silent) = match first {
            Ok(first) => first,
            Err(error) => return Ok((Err(error), usage)),
        };
        let Some(limits) = self.limits.ocr.as_ref().filter(|_| !silent.is_empty()) else {
            return Ok((Ok(unpacked), usage));
        };
        let recogniser = ocr::Recogniser { extractor: self, limits, file: &file, until };
        let recognised = match recogniser.recognise(&unpacked.document, &silent).await {
            Ok(recognised) => recognised,
            Err(error) => return Ok((Err(error), usage)),
        };
        drop(unpacked);
        let (second, usage) = self.read(&file, unpack, Some(recognised), until.cancel).await?;
        Ok((second.map(|(unpacked, _)| unpacked), usage))
    }

    /// Has a child read the file; gives the pages without words, too.
    async fn read(
        &self,
        file: &File,
        unpack: Unpack,
        recognised: Option<ocr::Recognised>,
        cancel: &CancellationToken,
    ) -> Measured<(Unpacked, Vec<u32>)> {
        let scratch = tempfile::tempfile().map_err(ExtractError::Io)?;
        let written = scratch.try_clone().map_err(ExtractError::Io)?;
        let task = Task::Read { unpack, recognised: recognised.as_ref().map(|recognised| recognised.list_at) };
        let file = file.try_clone().map_err(ExtractError::Io)?;
        let errand = Errand { file, scratch, recognised: recognised.map(|recognised| recognised.file), task };
        let (answer, usage) = self.have_done(errand, self.limits.wall_limit, cancel).await?;
        let Read { mut document, silent } = match answer {
            Ok(Answer::Document(read)) => *read,
            Ok(Answer::Drawn(_)) => return Err(no_answer()),
            Err(error) => return Ok((Err(error), usage)),
        };
        let contents = Contents::check(written, &mut document.parts, unpack)
            .map_err(|error| ExtractError::Crashed { reason: error.to_string() })?;
        Ok((Ok((Unpacked { document, contents }, silent)), usage))
    }

    /// Gives a child something to do, and waits for its answer and its end.
    pub(super) async fn have_done(
        &self,
        errand: Errand,
        wall_limit: Duration,
        cancel: &CancellationToken,
    ) -> Measured<Answer> {
        let mut running = self.spawner.child_for(errand).await.map_err(ExtractError::Io)?;
        let exit = running.end_within(wall_limit, reply_limit(&self.limits), cancel).await?;
        if !exit.status.success() {
            return Err(self.judge_death(exit.status, &exit.stderr));
        }
        // Checking millions of characters takes milliseconds, which the runtime's threads should not spend.
        let reply = tokio::task::spawn_blocking(|| read_reply(exit.stdout))
            .await
            .map_err(|error| ExtractError::Io(io::Error::other(error)))?;
        match reply {
            Ok((result, usage)) => Ok((result.map_err(|failure| self.told(failure)), usage)),
            Err(error) => Err(ExtractError::Crashed { reason: error.to_string() }),
        }
    }

    fn told(&self, failure: Failure) -> ExtractError {
        match failure {
            Failure::UnsupportedMediaType { detected } => {
                let is_picture = MediaType::from(detected.clone()).is_picture();
                let hint = if is_picture { "; character recognition, which would read it, is off" } else { "" };
                ExtractError::UnsupportedMediaType { detected, hint }
            }
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

/// One that answers something else than it was asked was taken over.
pub(super) fn no_answer() -> ExtractError {
    ExtractError::Crashed { reason: "its answer is to another question".to_owned() }
}

/// How a child ended, and what it said until then.
pub(super) struct Exit {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Running {
    /// Waits for its end, and ends it when the time is over or the caller cancels. At most `limit` bytes are taken of what it says.
    pub(super) async fn end_within(
        &mut self,
        time: Duration,
        limit: u64,
        cancel: &CancellationToken,
    ) -> Result<Exit, ExtractError> {
        let too_long = || ExtractError::LimitTime { limit_seconds: time.as_secs(), kind: "elapsed" };
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ExtractError::Cancelled),
            ended = tokio::time::timeout(time, self.exchange(limit)) => ended.unwrap_or_else(|_| Err(too_long())),
        };
        if outcome.is_err() {
            self.kill().await;
        }
        outcome
    }

    /// Reads all the child says and waits for its end.
    async fn exchange(&mut self, limit: u64) -> Result<Exit, ExtractError> {
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let status = async { self.child.wait().await.map_err(ExtractError::Io) };
        let (stdout, stderr, status) = tokio::try_join!(read_all(stdout, limit), read_head(stderr), status)?;
        Ok(Exit { status, stdout, stderr })
    }

    async fn kill(&mut self) {
        self.kill_group();
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
