//! `millrace-api` with failpoints, for tests: see `failpoint.rs`.

use std::process::ExitCode;

#[path = "../main.rs"]
mod api;

fn main() -> ExitCode {
    api::main()
}
