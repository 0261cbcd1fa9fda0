//! What both sides of Millrace need: ids, job definitions, the queue protocol, the ledger.
//!
//! This crate knows no route, no handler and no command; `api`, `worker` and `admin` depend on it and never on each other.

pub mod ids;
pub mod jobs;
pub mod queue;
