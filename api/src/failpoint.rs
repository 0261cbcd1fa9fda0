//! Failpoints: named places at which a test has the process die.
//!
//! They exist only with the feature `failpoints`, in the program `millrace-api-failpoints`, which is built for tests and never shipped.
//! The variable `MILLRACE_TEST_FAILPOINT` says where and when: `committed:20` aborts when `committed` is reached the twentieth time.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

struct Failpoint {
    place: String,
    left: AtomicU64,
}

fn configured() -> Option<&'static Failpoint> {
    static CONFIGURED: OnceLock<Option<Failpoint>> = OnceLock::new();
    let parse = || {
        let variable = std::env::var("MILLRACE_TEST_FAILPOINT").ok()?;
        let (place, times) = variable.split_once(':')?;
        Some(Failpoint { place: place.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
    };
    CONFIGURED.get_or_init(parse).as_ref()
}

/// The process is at `place`.
pub(crate) fn reach(place: &str) {
    if let Some(failpoint) = configured()
        && failpoint.place == place
        && failpoint.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
