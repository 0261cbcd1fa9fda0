//! Host names to addresses that may be connected to.
//!
//! The HTTP client connects to what this gives and asks nobody else, so that there is no moment between the check and the connection in
//! which a name could change its meaning (DNS rebinding). A host of which any address is refused is refused as a whole: it is a trick or a
//! mistake, and to pick its other addresses would make the outcome a matter of luck.

use std::net::SocketAddr;

use millrace_shared::fetch::FetchRules;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The name does not lead anywhere.
#[derive(Debug, thiserror::Error)]
#[error("the name was not found")]
pub(super) struct NotFound;

/// The name leads to an address that may not be connected to. It does not say which: the caller's users would learn of our network.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address that is not public")]
pub(super) struct NotPublic;

/// Asks the system, and checks what it says.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub(super) rules: FetchRules,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // Port 0 stands for that of the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await.map_err(|_| NotFound)?.collect();
            check(&rules, found)
        })
    }
}

fn check(rules: &FetchRules, found: Vec<SocketAddr>) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    if found.is_empty() {
        return Err(NotFound.into());
    }
    if !found.iter().all(|address| rules.permit(address.ip())) {
        return Err(NotPublic.into());
    }
    Ok(Box::new(found.into_iter()))
}

#[cfg(test)]
mod tests {
    use millrace_shared::fetch::Ports;

    use super::*;

    #[test]
    fn one_address_that_is_not_public_condemns_the_host() {
        let rules = FetchRules { ports: Ports::Any, allowed: vec!["10.0.0.0/8".parse().expect("a network")] };
        let passes = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect();
            check(&rules, addresses).map(Iterator::count).ok()
        };
        assert_eq!(passes(&["93.184.215.14", "2606:2800:220:1:248:1893:25c8:1946"]), Some(2));
        assert_eq!(passes(&["10.1.2.3"]), Some(1), "it is allowed");
        for refused in [
            &["127.0.0.1"][..],
            &["93.184.215.14", "::1"],
            &["192.168.0.1", "93.184.215.14"],
            &["::ffff:127.0.0.1"],
            &[],
        ] {
            assert_eq!(passes(refused), None, "{refused:?}");
        }
    }
}
