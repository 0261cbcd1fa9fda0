//! What the black-box tests share: ways to make load, questions to the ledger and to Redis, and the audit that ends every fault
//! test. The tests themselves see Millrace as its users do, through HTTP, the command line, signals and the servers behind it.

mod audit;
mod ledger;
mod line;
mod load;
mod redis_view;
mod until;

pub use audit::{Audit, audit};
pub use ledger::{JobFacts, Ledger};
pub use line::{Line, short_lease};
pub use load::{Submitted, Traffic, effect_probe, ids_of, probe, submit, submit_all};
pub use redis_view::RedisView;
pub use until::{PATIENCE, until};
