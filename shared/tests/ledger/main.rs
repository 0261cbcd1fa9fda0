//! The ledger against a real Postgres.
//!
//! One program and not one a file, because each would link the whole crate again. Every test has a database of its own.

mod support;

mod accept;
mod concurrency;
mod dead_letters;
mod ends;
mod idempotency;
mod plans;
mod replay;
mod runs;
mod scope;
mod unique;
