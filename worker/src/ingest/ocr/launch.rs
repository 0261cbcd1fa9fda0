//! The launcher: a child of our own that gives up what tesseract does not need, and becomes it.
//!
//! Limits and the filter of system calls hold on after `exec`. What is left is what a program takes that loads libraries and data, reads its
//! standard input and writes its standard output: files can be opened for reading only, nothing can be connected or started, no thread made,
//! and nobody signalled.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use seccompiler::SeccompCmpOp;
use serde::{Deserialize, Serialize};

use super::super::confine::{self, Bounds, Rules};
use super::OcrLimits;

/// The hidden subcommand that makes the worker's binary a launcher.
pub const LAUNCH_COMMAND: &str = "ocr-child";
/// The launcher could not do its part.
pub(super) const EXIT_NOT_LAUNCHED: u8 = 72;
/// More than any page has words for.
const SAID_BYTES: u64 = 16 << 20;
/// Standard streams, a library and a file of data at a time, and some slack.
const OPEN_FILES: u64 = 32;

/// What a launcher becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    memory_bytes: u64,
    cpu_seconds: u64,
    file_bytes: u64,
    /// The process that must be the launcher's parent.
    parent: u32,
}

impl Launch {
    /// Recognises a picture; `said_before` is how long the file is already that takes what it says.
    pub(super) fn recognise(limits: &OcrLimits, dpi: Option<u32>, said_before: u64) -> Self {
        let mut arguments: Vec<String> = ["stdin", "stdout", "-l"].map(str::to_owned).into();
        arguments.push(limits.languages.join("+"));
        // 1: find columns and lines, and which side is up; 3: the same, for a page that is.
        arguments.extend(["--psm", if limits.tells_orientation { "1" } else { "3" }].map(str::to_owned));
        arguments.extend(dpi.into_iter().flat_map(|dpi| ["--dpi".to_owned(), dpi.to_string()]));
        arguments.push("tsv".to_owned());
        Self::new(limits, arguments, said_before + SAID_BYTES)
    }

    /// Lists the languages that there are.
    pub(super) fn list(limits: &OcrLimits) -> Self {
        Self::new(limits, vec!["--list-langs".to_owned()], SAID_BYTES)
    }

    fn new(limits: &OcrLimits, arguments: Vec<String>, file_bytes: u64) -> Self {
        // Threads would compete with other pages for the same processors, and make each page slower in sum.
        let mut environment = BTreeMap::from([("OMP_THREAD_LIMIT".to_owned(), "1".to_owned())]);
        let tessdata = limits.tessdata.as_ref().and_then(|path| path.to_str());
        environment.extend(tessdata.map(|path| ("TESSDATA_PREFIX".to_owned(), path.to_owned())));
        Self {
            program: limits.program.clone(),
            arguments,
            environment,
            memory_bytes: limits.memory_limit_bytes,
            cpu_seconds: limits.page_limit.as_secs() + 1,
            file_bytes,
            parent: std::process::id(),
        }
    }
}

/// Runs the launcher. Its arguments are the subcommand's name and a `Launch`.
pub fn launch_main() -> ExitCode {
    let Err(error) = launch();
    let _ = writeln!(io::stderr(), "cannot launch: {error}");
    ExitCode::from(EXIT_NOT_LAUNCHED)
}

fn launch() -> io::Result<std::convert::Infallible> {
    let launch = std::env::args_os().nth(2).ok_or_else(|| io::Error::other("this command is the worker's own"))?;
    let launch: Launch = serde_json::from_slice(launch.as_encoded_bytes())?;
    let Launch { memory_bytes, cpu_seconds, file_bytes, .. } = launch;
    confine::limit_resources(launch.parent, Bounds { memory_bytes, cpu_seconds, file_bytes, open_files: OPEN_FILES })?;
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).env_clear().envs(&launch.environment);
    forbid_all_but_reading()?;
    Err(command.exec())
}

/// System calls of a program that starts, reads files and answers.
const ALLOWED: [i64; 60] = [
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_ioctl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_membarrier,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// Older calls that only this processor has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: [i64; 11] = [
    libc::SYS_access,
    libc::SYS_getrlimit,
    libc::SYS_arch_prctl,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_getdents,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_restart_syscall,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: [i64; 1] = [libc::SYS_restart_syscall];

fn forbid_all_but_reading() -> io::Result<()> {
    let mut rules: Rules = ALLOWED.into_iter().chain(ALLOWED_HERE).map(|call| (call, Vec::new())).collect();
    let writes = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
    let for_reading = |argument| confine::only_if(argument, SeccompCmpOp::MaskedEq(writes.cast_unsigned().into()), 0);
    rules.insert(libc::SYS_openat, for_reading(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, for_reading(1)?);
    // Others of its commands make the kernel signal whom one likes.
    let harmless = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    rules.insert(libc::SYS_fcntl, confine::any_of(1, &harmless)?);
    // A process asks for its limits, and aborts by signalling itself.
    rules.insert(libc::SYS_prlimit64, confine::only_if(0, SeccompCmpOp::Eq, 0)?);
    rules.insert(libc::SYS_tgkill, confine::only_if(0, SeccompCmpOp::Eq, std::process::id())?);
    // A library that meets "no such call" takes another way, where "not permitted" would end it.
    confine::allow_only(rules, libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, net::TcpStream};

    use super::*;

    fn is_forbidden<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS))
    }

    /// The filter holds for the thread that asks for it.
    #[test]
    fn what_becomes_tesseract_can_read_files_and_nothing_else() {
        let confined = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            forbid_all_but_reading().unwrap();
            let refused = [
                is_forbidden(File::create("/tmp/millrace-must-not-be-there")),
                is_forbidden(std::fs::remove_file("/tmp/millrace-must-not-be-there")),
                is_forbidden(TcpStream::connect("127.0.0.1:1")),
                Command::new("/bin/true").status().is_err(),
                std::thread::Builder::new().spawn(|| {}).is_err(),
                is_forbidden(
                    rustix::process::kill_process(rustix::process::getppid().unwrap(), rustix::process::Signal::CONT)
                        .map_err(io::Error::from),
                ),
            ];
            (refused, std::fs::read("/proc/self/status").is_ok())
        });
        assert_eq!(confined.join().unwrap(), ([true; 6], true));
    }
}
