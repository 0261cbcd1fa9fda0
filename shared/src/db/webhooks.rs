//! Webhooks: their sources, the secrets of these, and what came.

mod events;
mod sources;

pub use events::{Arrival, Event, forget_body, forget_old, get as event, insert_new};
pub use sources::{
    NewSource, SecretRecord, Source, add_secret, create, delete, expire_secrets, get, hold, keyholders, list, secrets,
    with_secrets,
};
