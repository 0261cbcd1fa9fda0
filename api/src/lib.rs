//! The HTTP API: authenticates, validates, records, enqueues and reads. It runs no job and asks no outside service.
//!
//! [`router`] is the whole API as a tower service; [`openapi`] describes the same routes, because both are built from one
//! table in `routes`.

mod arrivals;
mod doorkeeper;
mod envelope;
mod error;
mod extract;
#[cfg(feature = "failpoints")]
mod failpoint;
mod gather;
mod paced;
mod routes;
mod server;
mod state;
mod together;
mod waiter;
mod wire;

pub use envelope::REQUEST_ID;
pub use error::{ApiError, Problem, ProblemField};
pub use routes::{openapi, router};
pub use server::serve;
pub use state::{AppState, Background, Limits};
