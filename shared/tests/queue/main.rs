//! The queue protocol against a real Redis.
//!
//! One program and not one a file, because each would link the whole crate again. Every test has a Redis of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod acl;
mod cancel;
mod concurrent;
mod fairness;
mod leases;
mod limits;
mod memory;
mod model;
mod organisations;
mod paces;
mod priorities;
mod push;
mod rates;
mod view;
mod wake;
mod windows;
