//! The worker's parts: the binary wires them, the tests reach them.

mod crm;
mod engine;
mod fetch;
mod handler;
mod handlers;
pub mod ingest;
mod nameless;
mod serve;
mod server;
mod sweep;
mod ticker;

pub use serve::{run_suspects, serve, serve_without_ledger};

/// The hidden command that runs jobs that were lost with a worker before.
pub const RUN_SUSPECTS_COMMAND: &str = engine::RUN_SUSPECTS;
