//! Which addresses are the public Internet's.
//!
//! Everything that IANA keeps for special purposes is refused, because what answers there is near us and not what the client could reach:
//! this machine, its network, the metadata service of its cloud. The registries:
//! <https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>.
//! IPv6 is the other way round: only what is given out as global unicast is taken, less what is special within it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and length of prefix.
const SPECIAL_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),        // this network; 0.0.0.0 is this machine on most systems
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // behind a carrier's NAT; also some clouds' metadata
    ([127, 0, 0, 0], 8),      // loopback
    ([169, 254, 0, 0], 16),   // link-local; most clouds' metadata
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments; also a cloud's metadata
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // relays of 6to4, given up
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, and broadcast
    ([168, 63, 129, 16], 32), // a public address by the registry; in Azure it is the host's own service
    ([255, 255, 255, 255], 32),
];

/// Special ranges within 2000::/3.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo among them
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether the address belongs to the public Internet.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    !SPECIAL_V4.iter().any(|(first, prefix)| (bits ^ u32::from_be_bytes(*first)) >> (32 - prefix) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(within) = embedded(address) {
        return is_public_v4(within);
    }
    let bits = u128::from(address);
    let global = bits >> 125 == 0b001;
    global && !SPECIAL_V6.iter().any(|(first, prefix)| (bits ^ u128::from(*first)) >> (128 - prefix) == 0)
}

/// The IPv4 address that an IPv6 address leads to: mapped (`::ffff:0:0/96`), by NAT64 (`64:ff9b::/96`) and by 6to4 (`2002::/16`).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x2002, ..) => v4(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().expect("an address"))
    }

    /// Of each range: its first and its last address, and its neighbours where those are public.
    const V4: &[(&str, &str, &str, &str)] = &[
        ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
        ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
        ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
        ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
        ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
        ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
        ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
        ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
        ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
        ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
        ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
        ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
        ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
        ("224.0.0.0", "255.255.255.255", "223.255.255.255", ""),
    ];

    #[test]
    fn every_special_range_of_ipv4_ends_where_it_should() {
        for (first, last, before, after) in V4 {
            for refused in [first, last] {
                assert!(!public(refused), "{refused}");
            }
            for taken in [before, after].into_iter().filter(|address| !address.is_empty()) {
                assert!(public(taken), "{taken}");
            }
        }
        assert!(!public("240.0.0.0") && !public("239.255.255.255"));
    }

    #[test]
    fn an_ipv4_address_within_ipv6_is_judged_as_itself() {
        for (first, last, before, after) in V4 {
            for (address, taken) in [(first, false), (last, false), (before, true), (after, true)] {
                let Ok(address) = address.parse::<Ipv4Addr>() else { continue };
                let [a, b, c, d] = address.octets().map(u16::from);
                let (high, low) = (a << 8 | b, c << 8 | d);
                for within in [
                    address.to_ipv6_mapped(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                ] {
                    assert_eq!(is_public(within.into()), taken, "{within}");
                }
            }
        }
    }

    #[test]
    fn only_global_unicast_of_ipv6_is_public() {
        for refused in [
            "::",
            "::1",
            "::7f00:1",
            "::1.1.1.1",
            "::ffff:0:1.1.1.1",
            "64:ff9b:1::1",
            "64:ff9b:0:0:0:1:101:101",
            "100::",
            "100::ffff:ffff:ffff:ffff",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001::",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "4000::",
            "5f00::1",
            "fc00::",
            "fd00:ec2::254",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fe80::1",
            "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fec0::1",
            "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ff00::",
            "ff02::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            assert!(!public(refused), "{refused}");
        }
        for taken in [
            "2000::",
            "2001:200::",
            "2001:4860:4860::8888",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "2606:2800:220:1:248:1893:25c8:1946",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:1000::",
        ] {
            assert!(public(taken), "{taken}");
        }
    }
}
