//! What may be fetched: the rules by which both the API and the worker judge an address from outside.
//!
//! The API judges once, so that a slip is told at once. The worker judges every hop anew, and then every IP address that a host's name
//! stands for, because only that is what gets connected to. Nothing here does any I/O.

mod address;
mod network;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::label;

pub use address::is_public;
pub use network::{Network, NetworkError};

/// The longest address. A btree page, which the unique index on it needs, holds 2,700 bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Which ports may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// All of them.
    Any,
    /// These.
    Only(Vec<u16>),
}

impl Ports {
    fn contains(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ports) => ports.contains(&port),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::Only(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                formatter.write_str(&ports.join(", "))
            }
        }
    }
}

/// What may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRules {
    /// Which ports may be connected to.
    pub ports: Ports,
    /// What may be connected to besides the public Internet.
    pub allowed: Vec<Network>,
}

impl FetchRules {
    /// Whether this address may be connected to.
    #[must_use]
    pub fn permit(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|network| network.contains(address.to_canonical()))
    }

    /// Judges an address as far as that goes without asking the network.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, url: &Url) -> Result<(), UrlRefusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefusal::Credentials);
        }
        let permitted = match url.host().ok_or(UrlRefusal::Malformed)? {
            Host::Ipv4(address) => self.permit(address.into()),
            Host::Ipv6(address) => self.permit(address.into()),
            // Names below `localhost` are this machine's by RFC 6761. Every other name is judged by what it stands for when it is fetched.
            Host::Domain(name) => !is_localhost(name) || self.permit(Ipv4Addr::LOCALHOST.into()),
        };
        if !permitted {
            return Err(UrlRefusal::Address);
        }
        match url.port_or_known_default() {
            Some(port) if self.ports.contains(port) => Ok(()),
            _ => Err(UrlRefusal::Port { allowed: self.ports.to_string() }),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Why an address is not fetched, as a fragment of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// It is too long.
    #[error("is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// It is none.
    #[error("must be an absolute URL, such as `https://example.org/report.pdf`")]
    Malformed,
    /// It is not one of the web's.
    #[error("must begin with `https://` or `http://`")]
    Scheme,
    /// `https://user:password@…`
    #[error("must not hold a user name or a password; use an address that needs none, such as a signed one")]
    Credentials,
    /// A port that is not allowed.
    #[error("names a port that is not fetched from; allowed: {allowed} (MILLRACE_FETCH_PORTS)")]
    Port {
        /// The allowed ones.
        allowed: String,
    },
    /// An IP address that is not the public Internet's.
    #[error("leads to an address that is not public, such as a private, loopback or link-local one")]
    Address,
}

/// An address of the web that was judged once. What is after its `?` may be a secret, so that it prints as its host alone.
#[derive(Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct SourceUrl(String);

impl SourceUrl {
    /// Judges a text and brings it to its one spelling: lower-case host, no default port, nothing after `#`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(text: &str, rules: &FetchRules) -> Result<Self, UrlRefusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlRefusal::TooLong);
        }
        let mut url = Url::parse(text).map_err(|_| UrlRefusal::Malformed)?;
        rules.check(&url)?;
        url.set_fragment(None);
        Self::of(&url).ok_or(UrlRefusal::TooLong)
    }

    /// The address of a hop, if it is not too long to be kept.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        (url.as_str().len() <= MAX_URL_BYTES).then(|| Self(url.as_str().to_owned()))
    }

    /// The whole address, for requests and for its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the document is called while nobody says otherwise: the last part of the path, or else the host.
    #[must_use]
    pub fn label(&self) -> String {
        let url = Url::parse(&self.0).ok();
        let last = url.as_ref().and_then(|url| url.path_segments()?.next_back());
        let decoded = last.map(|last| percent_decode_str(last).decode_utf8_lossy());
        let host = || url.as_ref().and_then(Url::host_str).and_then(label::of_file);
        decoded.and_then(|name| label::of_file(&name)).or_else(host).unwrap_or_else(|| "unnamed".to_owned())
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(&self.0).ok();
        write!(formatter, "SourceUrl({})", url.as_ref().and_then(Url::host_str).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
