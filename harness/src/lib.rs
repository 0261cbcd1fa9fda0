//! Real servers and real Millrace processes, for the demo, the tests and the benchmarks.
//!
//! Everything here is a private child of the process that asked for it: a Redis and a Postgres on free loopback ports with
//! data of their own, and the `millrace-*` binaries in front of them. Four promises hold the crate together:
//!
//! - **Nothing outlives its owner.** Children die with the process that started them, even when that is killed with -9
//!   ([`Process`]); directories that a dead run left behind are swept by the next one ([`RunDir`]).
//! - **Nothing collides.** Ports are free ones (a lost race is tried again), directories are unique and locked.
//! - **Faults are real.** [`RedisServer`] and [`PostgresServer`] can be killed, stopped and started again on the same port
//!   and data, and so can every [`Service`].
//! - **Logs are looked through.** A service of a test that has logged a secret, an e-mail address or a telephone number fails that test.
//!
//! It depends on no other Millrace crate: it sees the system as an operator does, through binaries, environment and HTTP.

mod binaries;
mod client;
mod crm_simulator;
mod marks;
mod place;
mod postgres;
mod process;
mod programs;
mod redis;
mod run_dir;
mod secret;
mod servers;
mod service;
mod stack;

pub use binaries::{Binaries, Profile, cargo};
pub use client::{Client, Reply};
pub use crm_simulator::{Account, Simulator};
pub use marks::TEST_FINDINGS;
pub use place::{file_url, target_dir, workspace_root};
pub use postgres::{PostgresOptions, PostgresServer, TEST_POSTGRES, TEST_TEMPLATE};
pub use process::{Process, Signal};
pub use programs::{Install, Program, Search};
pub use redis::{RedisOptions, RedisServer};
pub use run_dir::RunDir;
pub use secret::{encryption_key, random_hex};
pub use servers::Servers;
pub use service::{Inherit, Service, ServiceSpec, Until};
pub use stack::{Stack, StackBuilder};
