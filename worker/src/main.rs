//! The worker process. Before anything else it may turn out to be an extraction child of itself.

use std::process::ExitCode;

use millrace_worker::ingest::{self, IngestLimits};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|name| name.to_str()) {
        // No runtime may start here: its threads would count against the child's memory limit.
        Some(ingest::CHILD_COMMAND) => ingest::child_main(),
        Some("extract") => ingest::command::run(&arguments[1..], IngestLimits::default()),
        _ => {
            eprintln!("usage: millrace-worker extract [--json] FILE");
            ExitCode::from(2)
        }
    }
}
