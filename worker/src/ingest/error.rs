//! Why a file gave no document, in words for the person who uploaded it. No message names a path.

use std::io;

/// What ended an extraction.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// No extractor for this type.
    #[error("files of type {detected} cannot be read{hint}; docs/formats.md lists those that can")]
    UnsupportedMediaType {
        /// The MIME type, told from the bytes.
        detected: String,
        /// What would read it, or nothing.
        hint: &'static str,
    },
    /// A password is needed.
    #[error("the file is protected with a password; remove the protection and upload it again")]
    Encrypted,
    /// The bytes are not what they claim to be, or are damaged.
    #[error("the file is damaged or not well-formed: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
    /// More text, pages or expanded data than is allowed.
    #[error("the file holds more than may be read at once: {reason}")]
    TooLarge {
        /// What was exceeded.
        reason: String,
    },
    /// The memory limit was reached.
    #[error("reading the file took more than {limit_mib} MiB of memory")]
    LimitMemory {
        /// The limit, in MiB.
        limit_mib: u64,
    },
    /// The CPU or wall limit was reached.
    #[error("reading the file took longer than {limit_seconds} seconds of {kind} time")]
    LimitTime {
        /// The limit, in seconds.
        limit_seconds: u64,
        /// `processor` or `elapsed`.
        kind: &'static str,
    },
    /// The parser crashed.
    #[error("reading the file crashed the parser ({reason})")]
    Crashed {
        /// The signal or exit code.
        reason: String,
    },
    /// The caller cancelled.
    #[error("the extraction was cancelled")]
    Cancelled,
    /// Something outside the file failed; the same file may well succeed later.
    #[error("the extraction could not be run")]
    Io(#[source] io::Error),
}

impl ExtractError {
    /// A stable name for clients and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedMediaType { .. } => "unsupported_media_type",
            Self::Encrypted => "encrypted",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::LimitMemory { .. } => "limit_memory",
            Self::LimitTime { .. } => "limit_time",
            Self::Crashed { .. } => "crashed",
            Self::Cancelled => "cancelled",
            Self::Io(_) => "io",
        }
    }

    /// Whether the same file may succeed later. All that lies in the file itself would only fail again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Io(_))
    }
}
