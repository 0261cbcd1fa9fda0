//! Shifts the wall clock of one process, for tests: a library to be loaded with `LD_PRELOAD`.
//!
//! It stands in front of the C library's functions that tell the time of day, and adds the seconds that it finds in the first eight bytes of
//! the file named by `MILLRACE_TEST_CLOCK_SHIFT` (an `i64`, native order). The file is mapped, so that a test changes the clock of a running
//! process by writing to it. Clocks that measure time, and those of other processes, are left alone.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "functions of the C library can only be replaced by functions with its signatures")]

use std::{
    ptr,
    sync::atomic::{AtomicI64, AtomicPtr, Ordering},
};

use libc::{c_int, clockid_t, time_t, timespec, timeval, timezone};

/// Where the file is mapped, once it is.
static SHIFT: AtomicPtr<AtomicI64> = AtomicPtr::new(ptr::null_mut());
/// Stands for a file that is not there: no shift.
static NONE: AtomicI64 = AtomicI64::new(0);

/// By how many seconds the clock is off. Allocates nothing, because the first call may come from anywhere.
fn shift() -> i64 {
    let mut mapped = SHIFT.load(Ordering::Acquire);
    if mapped.is_null() {
        mapped = map().unwrap_or((&raw const NONE).cast_mut());
        SHIFT.store(mapped, Ordering::Release);
    }
    // SAFETY: it points to `NONE` or to a shared mapping of eight bytes that is never taken away; both are aligned.
    unsafe { &*mapped }.load(Ordering::Relaxed)
}

fn map() -> Option<*mut AtomicI64> {
    // SAFETY: the name and the path are C strings, the path lives as long as the environment, which nobody changes before `main`; the
    // descriptor is closed once, after the mapping that outlives it. What the kernel refuses is told by the results.
    unsafe {
        let path = libc::getenv(c"MILLRACE_TEST_CLOCK_SHIFT".as_ptr());
        if path.is_null() {
            return None;
        }
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return None;
        }
        let mapped = libc::mmap(ptr::null_mut(), size_of::<i64>(), libc::PROT_READ, libc::MAP_SHARED, file, 0);
        libc::close(file);
        (mapped != libc::MAP_FAILED).then(|| mapped.cast::<AtomicI64>())
    }
}

/// The kernel's answer, without the C library.
fn real(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise to `clock_gettime` is that `time` can be written to.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 { 0 } else { -1 }
}

/// See `clock_gettime(3)`.
///
/// # Safety
/// `time` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let result = real(clock, time);
    if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        // SAFETY: the kernel has just written to it.
        unsafe { (*time).tv_sec += shift() };
    }
    result
}

/// See `gettimeofday(3)`.
///
/// # Safety
/// `time` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut timezone) -> c_int {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    let result = real(libc::CLOCK_REALTIME, &raw mut now);
    if result == 0 && !time.is_null() {
        // SAFETY: not null, and so writable by the caller's promise.
        unsafe { *time = timeval { tv_sec: now.tv_sec + shift(), tv_usec: now.tv_nsec / 1_000 } };
    }
    result
}

/// See `time(2)`.
///
/// # Safety
/// `time` is null or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    real(libc::CLOCK_REALTIME, &raw mut now);
    let seconds = now.tv_sec + shift();
    if !time.is_null() {
        // SAFETY: not null, and so a writable `time_t` by the caller's promise.
        unsafe { *time = seconds };
    }
    seconds
}
