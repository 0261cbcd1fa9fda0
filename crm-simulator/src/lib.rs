//! Simulated CRM vendors for tests: Kommo, `HubSpot`, Salesforce and Pipedrive in one process, strict where they are strict and wrong where a test
//! asks for it. The README of this crate has the control API by example, and the form of the truth that copies are compared with.
//!
//! A request goes from `server` by `world` (whose is it?) to `serve` (limits, faults) and to the vendor's module, which reads and writes the account's
//! records (`rows`) under one lock. The vendors' modules give what the vendors document; what these leave open is a switch.

mod account;
mod clock;
mod control;
mod dice;
mod exchange;
mod faults;
mod grants;
mod hubspot;
mod kommo;
mod mutate;
mod oauth;
mod pipedrive;
mod provider;
mod rate;
mod rows;
mod salesforce;
mod seed;
mod serve;
mod server;
mod stats;
mod switches;
mod time;
mod vendor;
mod webhooks;
mod world;

pub use account::AccountSpec;
pub use control::{Control, ControlError};
pub use faults::{Drift, Fault, FaultKind};
pub use mutate::{Mutation, Operation, Verb};
pub use oauth::{OAuthClient, Revoked};
pub use provider::{Object, Provider};
pub use seed::Seed;
pub use server::serve;
pub use stats::Stats;
pub use switches::{ClosedBy, DeletedById, NextCursor, RateScope, Rotation, Switches};
pub use webhooks::{Delivery, HookScheme, ReceiverSpec};
