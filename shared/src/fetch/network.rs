//! A range of addresses, as settings write it: `10.20.0.0/16`, `fd00:20::/64`, or one address alone.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

/// A text that is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a range.
    #[error("`{0}` is neither an IP address nor a range such as `10.20.0.0/16`")]
    Malformed(String),
    /// `10.20.0.1/16`: either the address or the length is a slip.
    #[error("`{given}` does not begin where a range of that size does; that would be `{meant}`")]
    NotAligned {
        /// As it was written.
        given: String,
        /// With the bits after the prefix cleared.
        meant: Network,
    },
}

impl Network {
    /// Whether the address lies in it. An IPv4 address within IPv6 (`::ffff:a.b.c.d`) is not the IPv4 address here: ask with
    /// [`IpAddr::to_canonical`].
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (first, width) = bits(self.first);
        let (address, other_width) = bits(address);
        width == other_width && mask(first, width, self.prefix) == mask(address, width, self.prefix)
    }
}

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The first `prefix` of `width` bits.
fn mask(bits: u128, width: u32, prefix: u32) -> u128 {
    bits.checked_shr(width - prefix).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Malformed(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (value, width) = bits(address);
        let prefix = match prefix {
            None => width,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= width).ok_or_else(wrong)?,
        };
        let first = mask(value, width, prefix).checked_shl(width - prefix).unwrap_or(0);
        if first == value {
            return Ok(Self { first: address, prefix });
        }
        let first = match address {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(first).unwrap_or_default().to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(first.to_be_bytes()),
        };
        Err(NetworkError::NotAligned { given: text.to_owned(), meant: Self { first, prefix } })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn a_range_holds_its_first_and_last_address_and_none_beside_them() {
        for (range, inside, outside) in [
            ("10.20.0.0/16", ["10.20.0.0", "10.20.255.255"], ["10.19.255.255", "10.21.0.0"]),
            ("127.0.0.1", ["127.0.0.1", "127.0.0.1"], ["127.0.0.0", "127.0.0.2"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::ffff:1.2.3.4"]),
            ("fd00:20::/64", ["fd00:20::", "fd00:20::ffff:ffff:ffff:ffff"], ["fd00:1f:ffff::", "fd00:20:0:1::"]),
            ("::/0", ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0", "1.2.3.4"]),
        ] {
            for address in inside {
                assert!(network(range).contains(address.parse().expect("an address")), "{address} in {range}");
            }
            for address in outside {
                assert!(!network(range).contains(address.parse().expect("an address")), "{address} in {range}");
            }
        }
    }

    #[test]
    fn slips_are_told_with_what_was_meant() {
        for malformed in
            ["", "10.0.0.0/33", "::/129", "10.0.0/8", "example.org", "10.0.0.0/", "10.0.0.0/-1", "1.2.3.4/8/8"]
        {
            assert!(matches!(malformed.parse::<Network>(), Err(NetworkError::Malformed(_))), "{malformed}");
        }
        let slip = "10.20.0.1/16".parse::<Network>().expect_err("a slip").to_string();
        assert!(slip.contains("`10.20.0.0/16`"), "{slip}");
        let slip = "fd00::1/8".parse::<Network>().expect_err("a slip").to_string();
        assert!(slip.contains("`fd00::/8`"), "{slip}");
    }
}
