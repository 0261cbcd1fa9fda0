//! What the black-box tests share: ways to make load, questions to the ledger and to Redis, and the audit that ends every fault
//! test. The tests themselves see Millrace as its users do, through HTTP, the command line, signals and the servers behind it.

mod audit;
pub mod crm;
mod ledger;
mod line;
mod load;
mod metrics;
mod noise;
mod redis_view;
mod slots;
mod tenants;
mod until;
mod web;

pub use audit::{Audit, audit, audit_within, forgotten};
pub use ledger::{JobFacts, Ledger};
pub use line::{Line, short_lease};
pub use load::{Submitted, Traffic, effect_probe, ids_of, probe, submit, submit_all};
pub use metrics::metric;
pub use noise::Noise;
pub use redis_view::RedisView;
pub use slots::all_slots_are_free;
pub use tenants::clients_of_new_orgs;
pub use until::{PATIENCE, until};
pub use web::{Answer, Asked, Certificate, Step, Web, answer, redirect};
