//! What the API, the worker and the command line share: types and functions that both sides need.

pub mod media;
