//! Random secrets for servers that live as long as one run.

use std::{fs::File, io::Read};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// `bytes` random bytes from the system, as lower-case hex: safe in a URL, a config file and a shell.
///
/// # Errors
/// When the system's random device cannot be read.
pub fn random_hex(bytes: usize) -> Result<String> {
    Ok(random(bytes)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A value for `MILLRACE_ENCRYPTION_KEYS`: a fresh key of this name.
///
/// # Errors
/// When the system's random device cannot be read.
pub fn encryption_key(name: &str) -> Result<String> {
    Ok(format!("{name}:{}", STANDARD.encode(random(32)?)))
}

fn random(bytes: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0_u8; bytes];
    File::open("/dev/urandom")
        .and_then(|mut device| device.read_exact(&mut buffer))
        .context("cannot read /dev/urandom")?;
    Ok(buffer)
}
