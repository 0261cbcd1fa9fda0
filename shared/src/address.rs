//! Telling others where a program listens, once it does.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Writes `address` to `file` at once or not at all: a reader never sees half of it.
///
/// # Errors
/// When the file or its neighbour with the ending `.new` cannot be written.
pub fn publish(file: &Path, address: SocketAddr) -> io::Result<()> {
    let mut neighbour = file.as_os_str().to_owned();
    neighbour.push(".new");
    fs::write(&neighbour, format!("{address}\n"))?;
    fs::rename(&neighbour, file)
}
