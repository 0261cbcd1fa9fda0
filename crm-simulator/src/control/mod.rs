//! The control API under `/_sim`: makes accounts, changes them, spoils them, and tells what happened. The README has it by example.

mod client;
mod routes;

pub use client::{Control, ControlError};
pub(crate) use routes::router;
