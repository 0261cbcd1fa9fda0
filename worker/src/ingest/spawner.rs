//! The thread that forks children, and keeps some waiting for documents.
//!
//! A child never outlives its worker: the kernel kills it with its parent (`PR_SET_PDEATHSIG`). That signal is bound to the *thread* that forked
//! the child, not to the process, and a runtime's threads come and go: a blocking thread ends after ten idle seconds, and would take the child of
//! a healthy extraction with it. So one thread per extractor, which lives as long as it does, forks them all.
//!
//! Starting a process takes longer than reading a small file. So children are started ahead: each confines itself, waits for its one file, and
//! ends with it. Programs that children make of themselves (see `ocr`) are started when they are needed.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::Stdio,
    sync::mpsc::{self, TryRecvError},
};

use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::{
    limits::IngestLimits,
    ocr::{LAUNCH_COMMAND, Launch},
    sandbox::CHILD_COMMAND,
    wire::{ChildSettings, Task},
};
use crate::nameless::Nameless;

/// A child, and the socket by which it gets its files.
#[derive(Debug)]
pub(super) struct Running {
    pub child: Child,
    socket: Option<UnixStream>,
}

impl Running {
    /// Kills it, and what it started, though it can start nothing.
    pub fn kill_group(&self) {
        // Of one that was waited for there is no id any more, which may be another's by now.
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// What a child is to work on.
#[derive(Debug)]
pub(super) struct Errand {
    /// The document, open for reading.
    pub file: File,
    /// Where it may write the parts of the document to, or the picture of a page.
    pub scratch: File,
    /// What was recognised of its pages.
    pub recognised: Option<File>,
    pub task: Task,
}

/// A program to run on one file.
#[derive(Debug)]
pub(super) struct Run {
    pub launch: Launch,
    /// Its standard input.
    pub from: File,
    /// Its standard output.
    pub into: File,
}

impl Running {
    /// Gives the child its files.
    fn feed(&self, errand: &Errand) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut files: Vec<BorrowedFd<'_>> = vec![errand.file.as_fd(), errand.scratch.as_fd()];
        files.extend(errand.recognised.as_ref().map(File::as_fd));
        let message = serde_json::to_vec(&errand.task)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// It ends when the last extractor that uses it is gone, and no extraction outlives its extractor.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Work {
    Errand(Box<Errand>),
    Run(Box<Run>),
}

struct Request {
    work: Work,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Running>>,
}

impl Spawner {
    pub fn start(limits: IngestLimits) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("extract-spawner".to_owned()).spawn(move || serve(&queue, &limits))?;
        Ok(Self { requests })
    }

    /// A child that has this errand.
    pub async fn child_for(&self, errand: Errand) -> io::Result<Running> {
        self.ask(Work::Errand(Box::new(errand))).await
    }

    /// A child that becomes this program.
    pub async fn run(&self, run: Run) -> io::Result<Running> {
        self.ask(Work::Run(Box::new(run))).await
    }

    async fn ask(&self, work: Work) -> io::Result<Running> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children is gone");
        self.requests.send(Request { work, runtime: Handle::current(), reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(queue: &mpsc::Receiver<Request>, limits: &IngestLimits) {
    let mut waiting = VecDeque::new();
    let mut next = queue.recv().ok();
    while let Some(Request { work, runtime, reply }) = next.take() {
        let _entered = runtime.enter();
        let child = match work {
            Work::Errand(errand) => feed_one(&mut waiting, &errand, limits),
            Work::Run(run) => start(*run, limits),
        };
        // Whoever asked may be gone: then the child is dropped here, which kills it.
        let _ = reply.send(child);
        next = loop {
            match queue.try_recv() {
                Ok(request) => break Some(request),
                Err(TryRecvError::Disconnected) => break None,
                Err(TryRecvError::Empty) if waiting.len() < limits.warm_children => match spawn(limits) {
                    Ok(child) => waiting.push_back(child),
                    // The next one that asks is told.
                    Err(_) => break queue.recv().ok(),
                },
                Err(TryRecvError::Empty) => break queue.recv().ok(),
            }
        };
    }
}

/// Gives the errand to a child that waits, or to a new one. A child that has died while it waited is nobody's failure.
fn feed_one(waiting: &mut VecDeque<Running>, errand: &Errand, limits: &IngestLimits) -> io::Result<Running> {
    while let Some(mut running) = waiting.pop_front() {
        if matches!(running.child.try_wait(), Ok(None)) && running.feed(errand).is_ok() {
            return Ok(running);
        }
    }
    let running = spawn(limits)?;
    // One that is dead already tells why by its exit.
    let _ = running.feed(errand);
    Ok(running)
}

fn spawn(limits: &IngestLimits) -> io::Result<Running> {
    let settings = serde_json::to_string(&ChildSettings { limits: limits.clone(), parent: std::process::id() })?;
    let (socket, stdin) = UnixStream::pair()?;
    let mut command = std::process::Command::new(&limits.program);
    command
        .arg0("millrace-extract")
        .args([CHILD_COMMAND, &settings])
        .stdin(OwnedFd::from(stdin))
        .stdout(Stdio::piped());
    spawn_apart(command, Some(socket))
}

fn start(run: Run, limits: &IngestLimits) -> io::Result<Running> {
    let mut command = std::process::Command::new(&limits.program);
    command
        .arg0("millrace-ocr")
        .args([LAUNCH_COMMAND, &serde_json::to_string(&run.launch)?])
        .stdin(run.from)
        .stdout(run.into);
    spawn_apart(command, None)
}

/// Starts a child with an empty environment, in a directory and a process group of its own.
fn spawn_apart(mut command: std::process::Command, socket: Option<UnixStream>) -> io::Result<Running> {
    let directory = Nameless::directory()?;
    command.env_clear().process_group(0).current_dir(directory.path()).stderr(Stdio::piped());
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    Ok(Running { child, socket })
}
