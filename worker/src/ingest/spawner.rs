//! The thread that forks extraction children, and keeps some waiting.
//!
//! A child never outlives its worker: the kernel kills it with its parent (`PR_SET_PDEATHSIG`). That signal is bound to the *thread* that forked
//! the child, not to the process, and a runtime's threads come and go: a blocking thread ends after ten idle seconds, and would take the child of
//! a healthy extraction with it. So one thread per extractor, which lives as long as it does, forks them all.
//!
//! Starting a process takes longer than reading a small file. So children are started ahead: each confines itself, waits for its one file, and
//! ends with it.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::Stdio,
    sync::mpsc::{self, TryRecvError},
};

use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::{limits::IngestLimits, parts::Unpack, sandbox::CHILD_COMMAND, wire::ChildSettings};
use crate::nameless::Nameless;

/// A child, and the socket by which it gets its file.
#[derive(Debug)]
pub(super) struct Running {
    pub child: Child,
    socket: UnixStream,
}

/// What a child is to work on.
#[derive(Debug)]
pub(super) struct Errand {
    /// The document, open for reading.
    pub file: File,
    /// Where it may write the parts of the document to.
    pub scratch: File,
    pub unpack: Unpack,
}

impl Running {
    /// Gives the child its files.
    fn feed(&self, errand: &Errand) -> io::Result<()> {
        let files = [errand.file.as_fd(), errand.scratch.as_fd()];
        let message = serde_json::to_vec(&errand.unpack)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(&self.socket, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// It ends when the last extractor that uses it is gone, and no extraction outlives its extractor.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    errand: Errand,
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
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts extraction children is gone");
        self.requests.send(Request { errand, runtime: Handle::current(), reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn serve(queue: &mpsc::Receiver<Request>, limits: &IngestLimits) {
    let mut waiting = VecDeque::new();
    let mut next = queue.recv().ok();
    while let Some(Request { errand, runtime, reply }) = next.take() {
        let _entered = runtime.enter();
        // Whoever asked may be gone: then the child is dropped here, which kills it.
        let _ = reply.send(feed_one(&mut waiting, &errand, limits));
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
    let directory = Nameless::directory()?;
    let (socket, stdin) = UnixStream::pair()?;
    let mut command = std::process::Command::new(&limits.program);
    command
        .arg0("millrace-extract")
        .args([CHILD_COMMAND, &settings])
        .env_clear()
        .process_group(0)
        .current_dir(directory.path())
        .stdin(OwnedFd::from(stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    Ok(Running { child, socket })
}
