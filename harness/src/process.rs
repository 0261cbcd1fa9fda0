//! A child process that cannot outlive the process that started it, with its output in a file.
//!
//! - On Linux the kernel signals the child when its parent dies (`PR_SET_PDEATHSIG`), which covers `kill -9` as well. The
//!   kernel means the parent *thread*, so all children are spawned by one thread that lives as long as the process; a
//!   runtime's worker thread or a test's thread may end long before. Elsewhere only [`Drop`] ends the child.
//! - A child leads a process group of its own, so that Ctrl-C in the terminal reaches only us, and we decide in which order
//!   things end.
//! - A pid is signalled only while it is certainly ours: the reaper first waits *without* collecting the child, and collects
//!   it under the same lock that [`Process::signal`] takes.

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::sync::watch;

pub use rustix::process::Signal;

/// How long [`Drop`] waits for a killed child to be gone, so that its directory can be removed after it.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// A running (or ended) child. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    end: Arc<End>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// Whether the child was collected yet, and how it ended.
#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    collected: Condvar,
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts `command` with its output appended to the file `log`; `on_parent_death` is what the kernel sends it when this
    /// process dies (Linux).
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path, on_parent_death: Signal) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let output = open().with_context(|| format!("cannot open the log {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        die_with_parent(&mut command, on_parent_death);

        let program = command.get_program().to_owned();
        let child = spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let pid = Pid::from_child(&child);
        let end = Arc::new(End::default());
        let (announce, ended) = watch::channel(None);
        thread::Builder::new()
            .name(format!("reap {name}"))
            .spawn({
                let end = Arc::clone(&end);
                move || reap(child, pid, &end, &announce)
            })
            .context("cannot start the thread that waits for a child")?;
        Ok(Self { name: name.to_owned(), pid, log: log.to_owned(), end, ended })
    }

    /// The name it was started under, as used in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file with its standard output and error.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        *self.end.lock()
    }

    /// Waits for its end.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The reaper announces before it ends, so this is a reaper that panicked: the child was not seen to succeed.
            Err(_) => ExitStatus::from_raw(Signal::KILL.as_raw()),
        }
    }

    /// Waits for its end, at most for `deadline`.
    ///
    /// # Errors
    /// When it still runs at the deadline; the message carries the end of its log.
    pub async fn wait_within(&self, deadline: Duration) -> Result<ExitStatus> {
        tokio::time::timeout(deadline, self.wait())
            .await
            .map_err(|_| anyhow!("{} still runs after {deadline:?}{}", self.name, self.log_excerpt()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let status = self.end.lock();
        if let Some(status) = *status {
            bail!("{} has already ended: {status}", self.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits for that, at most for `deadline`.
    ///
    /// # Errors
    /// When it had ended before, or still runs at the deadline.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_within(deadline).await
    }

    /// Kills it (SIGKILL, the process alone) and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended before.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        Ok(self.wait().await)
    }

    /// Sends `signal` and waits for the end without a runtime, for a few seconds at most: for [`Drop`].
    pub(crate) fn end_blocking(&self, signal: Signal) {
        let status = self.end.lock();
        if status.is_none() && kill_process(self.pid, signal).is_ok() {
            drop(self.end.collected.wait_timeout_while(status, DROP_PATIENCE, |status| status.is_none()));
        }
    }

    /// Kills it and its process group, and waits until it is gone, without a runtime and for a few seconds at most: for [`Drop`].
    pub(crate) fn kill_group_blocking(&self) {
        let status = self.end.lock();
        if status.is_some() {
            return;
        }
        // Best effort: a failure means that it has just ended.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
        let waited = self.end.collected.wait_timeout_while(status, DROP_PATIENCE, |status| status.is_none());
        drop(waited);
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// What to append to an error message: where the log is, and its last lines.
    #[must_use]
    pub fn log_excerpt(&self) -> String {
        let tail = self.log_tail(20);
        let log = self.log.display();
        if tail.is_empty() { format!("\n(its log {log} is empty)") } else { format!("\nlast lines of {log}:\n{tail}") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group_blocking();
    }
}

fn reap(mut child: Child, pid: Pid, end: &End, announce: &watch::Sender<Option<ExitStatus>>) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    let mut status = end.lock();
    let collected = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(Signal::KILL.as_raw()));
    *status = Some(collected);
    drop(status);
    end.collected.notify_all();
    announce.send_replace(Some(collected));
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // A parent that died before the call above sends nothing any more.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    #[expect(unsafe_code, reason = "the death signal can only be set inside the child, between fork and exec")]
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes two plain system calls and
    // compares two integers: no allocation, no lock, no environment; `io::Error::from` of a kind or an errno allocates nothing.
    // The standard library runs it after it changed the user, which matters because a change of user clears the setting.
    unsafe {
        command.pre_exec(prepare);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _signal: Signal) {}

type Order = (Command, Sender<io::Result<Child>>);

fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    // One thread for the whole process, by nature of the death signal (see the module's head).
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // Whoever asked waits for the reply; if it does not, dropping it is right.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that spawns children has ended");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
