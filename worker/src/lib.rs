//! The worker's parts: the binary wires them, the tests reach them.

pub mod ingest;
