//! The kinds that talk to CRMs.

mod connect;
mod push;
mod record;
mod sync;

pub(crate) use connect::ConnectHandler;
pub(crate) use push::PushHandler;
pub(crate) use record::SyncRecordHandler;
pub(crate) use sync::SyncHandler;
