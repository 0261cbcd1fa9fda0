//! Connections to CRMs and the copies of their records: `connections`, `connection_credentials`, `crm_…`.

pub mod conflicts;
pub mod connections;
pub mod credentials;
pub mod records;
pub mod syncs;
