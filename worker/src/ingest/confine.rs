//! What an extraction child gives up before it reads a byte of its file.

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
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::parts::Unpack;
use super::wire::ChildSettings;

/// Standard streams, the file and a copy of it, the scratch file, the view of its own memory, and some slack for the standard library.
const OPEN_FILES: u64 = 16;

/// Sets the limits, which need no file to be known.
pub(super) fn limit_resources(settings: &ChildSettings) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the parent died before the call above, no signal will come: its place was taken by another process.
    let parent = getppid().map(Pid::as_raw_nonzero);
    if parent.map(std::num::NonZero::get) != i32::try_from(settings.parent).ok() {
        return Err(io::Error::other("the worker is gone"));
    }
    set_no_new_privs(true)?;
    let cpu = settings.limits.cpu_seconds();
    for (resource, soft, hard) in [
        (Resource::As, settings.limits.memory_limit_bytes, settings.limits.memory_limit_bytes),
        // The soft limit sends SIGXCPU, which names the reason; the hard one kills what ignores it.
        (Resource::Cpu, cpu, cpu + 1),
        // It can open no file: this bounds the scratch file that it is given.
        (Resource::Fsize, settings.limits.max_parts_bytes, settings.limits.max_parts_bytes),
        (Resource::Nofile, OPEN_FILES, OPEN_FILES),
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
    /// Where parts are written to.
    pub scratch: OwnedFd,
    pub unpack: Unpack,
}

/// Waits for the files on standard input, which is a socket; `None` if the parent no longer has any for this child.
pub(super) fn receive() -> io::Result<Option<Received>> {
    let stdin = io::stdin();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut message = [0; 256];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(stdin.as_fd(), &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let unpack = serde_json::from_slice(&message[..received.bytes])?;
    let files = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => Some((files.next()?, files.next()?)),
        _ => None,
    });
    let (file, scratch) = files.ok_or_else(|| io::Error::other("the worker sent no file"))?;
    Ok(Some(Received { file, scratch, unpack }))
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
    let only_if = |argument, operator, value: u32| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value));
        condition.and_then(|condition| SeccompRule::new(vec![condition])).map(|rule| vec![rule])
    };
    let any_of = |argument, values: &[i32]| -> Result<Vec<SeccompRule>, BackendError> {
        let rules: Result<Vec<_>, _> =
            values.iter().map(|value| only_if(argument, SeccompCmpOp::Eq, value.cast_unsigned())).collect();
        Ok(rules?.into_iter().flatten().collect())
    };
    let not_executable = || only_if(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC.cast_unsigned().into()), 0);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    let conditional = || -> Result<_, BackendError> {
        Ok([
            (libc::SYS_mmap, not_executable()?),
            (libc::SYS_mprotect, not_executable()?),
            // Others of its commands make the kernel signal whom one likes.
            (libc::SYS_fcntl, any_of(1, &[libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL])?),
            // A process that aborts signals itself.
            (libc::SYS_tgkill, only_if(0, SeccompCmpOp::Eq, std::process::id())?),
        ])
    };
    rules.extend(conditional().map_err(io::Error::other)?);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
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
