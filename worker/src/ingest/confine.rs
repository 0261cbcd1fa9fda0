//! What a child gives up before it reads a byte of its file.

use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut, Read as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit},
    thread::set_no_new_privs,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::limits::IngestLimits;
use super::wire::Task;

/// Standard streams, the files that it gets and copies of them, the view of its own memory, and some slack for the standard library.
const OPEN_FILES: u64 = 16;

/// What a child may use at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
    /// How long a file may get that it writes to. It can open none for that.
    pub file_bytes: u64,
    pub open_files: u64,
}

impl Bounds {
    /// Those of an extraction child, which writes to its scratch file alone.
    pub fn of_extraction(limits: &IngestLimits) -> Self {
        Self {
            memory_bytes: limits.memory_limit_bytes,
            cpu_seconds: limits.cpu_seconds(),
            file_bytes: limits.scratch_bytes(),
            open_files: OPEN_FILES,
        }
    }
}

/// Sets the limits, which need no file to be known. `parent` is the process that must be the caller's parent.
pub(super) fn limit_resources(parent: u32, bounds: Bounds) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the parent died before the call above, no signal will come: its place was taken by another process.
    let actual = getppid().map(Pid::as_raw_nonzero);
    if actual.map(std::num::NonZero::get) != i32::try_from(parent).ok() {
        return Err(io::Error::other("the worker is gone"));
    }
    set_no_new_privs(true)?;
    let Bounds { memory_bytes, cpu_seconds, file_bytes, open_files } = bounds;
    for (resource, soft, hard) in [
        (Resource::As, memory_bytes, memory_bytes),
        // The soft limit sends SIGXCPU, which names the reason; the hard one kills what ignores it.
        (Resource::Cpu, cpu_seconds, cpu_seconds + 1),
        (Resource::Fsize, file_bytes, file_bytes),
        (Resource::Nofile, open_files, open_files),
        (Resource::Core, 0, 0),
    ] {
        // Where the worker itself was given less, that stays the bound.
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(soft.min(allowed)), maximum: Some(hard.min(allowed)) };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// What a child gets to work on.
pub(super) struct Received {
    /// The document, which can only be read.
    pub file: OwnedFd,
    /// Where parts are written to, or a picture.
    pub scratch: OwnedFd,
    /// What was recognised of its pages.
    pub recognised: Option<OwnedFd>,
    pub task: Task,
}

/// Waits for the files on standard input, which is a socket; `None` if the parent no longer has any for this child.
pub(super) fn receive() -> io::Result<Option<Received>> {
    let stdin = io::stdin();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut message = [0; 256];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(stdin.as_fd(), &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let task = serde_json::from_slice(&message[..received.bytes])?;
    let files = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => Some((files.next()?, files.next()?, files.next())),
        _ => None,
    });
    let (file, scratch, recognised) = files.ok_or_else(|| io::Error::other("the worker sent no file"))?;
    Ok(Some(Received { file, scratch, recognised, task }))
}

/// What reading an open file and answering takes: memory, time and the descriptors that are open.
const ALLOWED: [i64; 24] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Refuses all other system calls with `EPERM`: files and sockets cannot be opened, nothing can be started, nobody else signalled, and no memory
/// made executable.
pub(super) fn forbid_system_calls() -> io::Result<()> {
    let mut rules: Rules = ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    let not_executable = || only_if(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC.cast_unsigned().into()), 0);
    rules.insert(libc::SYS_mmap, not_executable()?);
    rules.insert(libc::SYS_mprotect, not_executable()?);
    // Others of its commands make the kernel signal whom one likes.
    rules.insert(libc::SYS_fcntl, any_of(1, &[libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL])?);
    // A process that aborts signals itself.
    rules.insert(libc::SYS_tgkill, only_if(0, SeccompCmpOp::Eq, std::process::id())?);
    allow_only(rules, libc::EPERM)
}

/// System calls, each with the conditions of which one must hold; none is no condition.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

pub(super) fn only_if(argument: u8, operator: SeccompCmpOp, value: u32) -> io::Result<Vec<SeccompRule>> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value));
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)?;
    Ok(vec![rule])
}

pub(super) fn any_of(argument: u8, values: &[i32]) -> io::Result<Vec<SeccompRule>> {
    let rules: io::Result<Vec<_>> =
        values.iter().map(|value| only_if(argument, SeccompCmpOp::Eq, value.cast_unsigned())).collect();
    Ok(rules?.into_iter().flatten().collect())
}

/// From here on only these system calls are left, to this process and to what it becomes; all others give this error.
pub(super) fn allow_only(rules: Rules, error: i32) -> io::Result<()> {
    let refused = SeccompAction::Errno(error.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// The most memory that the process has held so far, in KiB. `status` is its `/proc/self/status`, opened before that could be forbidden.
pub(super) fn peak_memory_kib(mut status: &std::fs::File) -> Option<u64> {
    let mut text = String::new();
    status.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, net::TcpStream, process::Command};

    use super::*;

    fn is_forbidden<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
    }

    /// The filter holds for the thread that asks for it.
    #[test]
    fn what_reading_a_file_does_not_take_is_forbidden() {
        let mut open = File::open("/proc/self/status").unwrap();
        let parent = getppid().unwrap();
        let confined = std::thread::spawn(move || {
            set_no_new_privs(true).unwrap();
            forbid_system_calls().unwrap();
            let refused = [
                is_forbidden(File::open("/etc/passwd")),
                is_forbidden(File::create("/tmp/millrace-must-not-be-there")),
                is_forbidden(TcpStream::connect("127.0.0.1:1")),
                is_forbidden(Command::new("/bin/true").status()),
                is_forbidden(rustix::process::kill_process(parent, Signal::CONT).map_err(Into::into)),
                is_forbidden(rustix::fs::fcntl_setfl(&open, rustix::fs::OFlags::ASYNC).map_err(Into::into)),
                std::thread::Builder::new().spawn(|| {}).is_err(),
            ];
            let mut text = String::new();
            let read = open.read_to_string(&mut text).is_ok();
            (refused, read, vec![1_u8; 10 << 20].len())
        });
        let (refused, read, allocated) = confined.join().unwrap();
        assert_eq!(refused, [true; 7]);
        assert!(read && allocated == 10 << 20, "what is open stays open, and memory can be had");
    }

    #[test]
    fn a_process_tells_its_peak_of_memory() {
        let peak = peak_memory_kib(&File::open("/proc/self/status").unwrap()).unwrap();
        assert!((500..10_000_000).contains(&peak), "{peak}");
    }
}
