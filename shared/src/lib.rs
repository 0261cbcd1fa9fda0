//! What both sides of Millrace need: ids, job definitions, the queue protocol, the ledger.
//!
//! This crate knows no route, no handler and no command; `api`, `worker` and `admin` depend on it and never on each other.

pub mod address;
pub mod auth;
pub mod batcher;
pub mod config;
pub mod control;
pub mod crm;
pub mod db;
pub mod fetch;
pub mod health;
pub mod ids;
pub mod intake;
pub mod jobs;
pub mod label;
pub mod ledger;
pub mod media;
pub mod queue;
pub mod reseal;
pub mod schedules;
pub mod seal;
pub mod signals;
pub mod storage;
pub mod telemetry;
pub mod views;
pub mod webhook;
pub mod wire;
