//! Connections to accounts in simulated CRMs, and what a copy of them must hold.

mod compare;
mod connected;

pub use connected::{Connected, crm_stack};
pub use millrace_harness::{Account, Simulator};

/// The providers, as both sides call them.
pub const PROVIDERS: [&str; 4] = ["hubspot", "kommo", "pipedrive", "salesforce"];

/// What is synced.
pub const OBJECTS: [&str; 6] = ["owners", "pipelines", "companies", "contacts", "deals", "notes"];
