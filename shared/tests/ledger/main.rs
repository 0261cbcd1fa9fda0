//! The ledger against a real Postgres.
//!
//! One program and not one a file, because each would link the whole crate again. Every test has a database of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod accept;
mod assets;
mod by_url;
mod concurrency;
mod crm;
mod dead_letters;
mod ends;
mod family;
mod idempotency;
mod limits;
mod migration;
mod partitions;
mod plans;
mod replay;
mod retention;
mod runs;
mod schedules;
mod scope;
mod sealed;
mod search;
mod unique;
mod webhooks;
