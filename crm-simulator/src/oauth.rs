//! Codes and tokens of an account, and how they replace each other.
//!
//! A grant is a family: one current refresh token, and for a while the one that it replaced. Where the vendor says that the old token is valid
//! until the new one is first used, who lost the reply of a refresh asks again with the old one: the token that nobody received is dropped, and
//! another one takes its place.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::switches::{ClosedBy, Rotation, Switches};

/// The application that asks for access.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuthClient {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Where users are sent back to.
    pub redirect_uri: String,
    /// The PEM of the public key with which Salesforce checks assertions.
    pub jwt_public_key: Option<String>,
    /// The user that assertions may be for.
    pub jwt_user: String,
    /// Whom assertions may be addressed to.
    pub jwt_audiences: Vec<String>,
}

impl Default for OAuthClient {
    fn default() -> Self {
        Self {
            client_id: "simulated-client".to_owned(),
            client_secret: "simulated-secret".to_owned(),
            redirect_uri: "http://127.0.0.1/callback".to_owned(),
            jwt_public_key: None,
            jwt_user: "integration@example.com".to_owned(),
            jwt_audiences: vec!["https://login.salesforce.com".to_owned(), "https://test.salesforce.com".to_owned()],
        }
    }
}

/// What a grant or a refresh gives.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// Why an access token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Unknown,
    Expired,
}

/// Which tokens are to be void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    /// Access tokens.
    Access,
    /// Refresh tokens.
    Refresh,
    /// Both, and those that were given to the account at its start.
    All,
}

#[derive(Debug)]
struct Access {
    expires_at_ms: i64,
    /// The refresh token that came with it.
    with: String,
}

#[derive(Debug)]
struct Family {
    current: String,
    replaced: Option<String>,
    expires_at_ms: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OAuth {
    pub(crate) client: OAuthClient,
    fixed: Vec<String>,
    codes: HashMap<String, i64>,
    access: HashMap<String, Access>,
    families: Vec<Family>,
    /// Access tokens that were valid once: who shows one is still known to be of this account.
    revoked: HashSet<String>,
}

/// How long a code is valid.
const CODE_MS: i64 = 20 * 60 * 1000;

impl OAuth {
    pub(crate) fn new(client: OAuthClient, fixed: Vec<String>) -> Self {
        Self { client, fixed, ..Self::default() }
    }

    pub(crate) fn issue_code(&mut self, now_ms: i64) -> String {
        let code = unique("code");
        self.codes.insert(code.clone(), now_ms + CODE_MS);
        code
    }

    /// Whether the code is valid, once.
    pub(crate) fn redeem(&mut self, code: &str, now_ms: i64) -> bool {
        self.codes.remove(code).is_some_and(|expires| now_ms < expires)
    }

    /// A new grant.
    pub(crate) fn grant(&mut self, access: String, switches: &Switches, now_ms: i64) -> Pair {
        let refresh = unique("refresh");
        let expires_at_ms = now_ms + switches.refresh_token_s * 1000;
        self.families.push(Family { current: refresh.clone(), replaced: None, expires_at_ms });
        self.keep(access, refresh, switches, now_ms)
    }

    /// Uses a refresh token; `None` when it is void.
    pub(crate) fn refresh(&mut self, token: &str, access: String, switches: &Switches, now_ms: i64) -> Option<Pair> {
        let family = self.families.iter_mut().find(|family| family.has(token))?;
        if now_ms >= family.expires_at_ms {
            return None;
        }
        let is_current = family.current == token;
        match switches.rotation {
            Rotation::Never => {}
            Rotation::OneShot => family.current = unique("refresh"),
            Rotation::UntilUsed => {
                let used = std::mem::replace(&mut family.current, unique("refresh"));
                if is_current {
                    family.replaced = Some(used);
                }
            }
        }
        if switches.rotation != Rotation::Never {
            family.expires_at_ms = now_ms + switches.refresh_token_s * 1000;
        }
        let refresh = family.current.clone();
        Some(self.keep(access, refresh, switches, now_ms))
    }

    /// Whether a refresh token is valid, without using it.
    pub(crate) fn knows_refresh(&self, token: &str) -> bool {
        self.families.iter().any(|family| family.has(token))
    }

    /// Whether an access token was ever given out here.
    pub(crate) fn knows_access(&self, token: &str) -> bool {
        self.fixed.iter().any(|fixed| fixed == token) || self.access.contains_key(token) || self.revoked.contains(token)
    }

    pub(crate) fn knows_code(&self, code: &str) -> bool {
        self.codes.contains_key(code)
    }

    /// Takes an access token.
    pub(crate) fn admit(&mut self, token: &str, switches: &Switches, now_ms: i64) -> Result<(), Unfit> {
        if self.fixed.iter().any(|fixed| fixed == token) {
            return Ok(());
        }
        let access = self.access.get(token).ok_or(Unfit::Unknown)?;
        if now_ms >= access.expires_at_ms {
            return Err(Unfit::Expired);
        }
        if switches.rotation_closed_by == ClosedBy::AnyToken {
            for family in self.families.iter_mut().filter(|family| family.current == access.with) {
                family.replaced = None;
            }
        }
        Ok(())
    }

    pub(crate) fn revoke(&mut self, which: Revoked) {
        if which != Revoked::Refresh {
            self.revoked.extend(self.access.drain().map(|(token, _)| token));
        }
        if which != Revoked::Access {
            self.families.clear();
            self.codes.clear();
        }
        if which == Revoked::All {
            self.revoked.extend(self.fixed.drain(..));
        }
    }

    /// Lets all access tokens end now, but for those given at the start.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        for access in self.access.values_mut() {
            access.expires_at_ms = now_ms;
        }
    }

    fn keep(&mut self, access: String, refresh: String, switches: &Switches, now_ms: i64) -> Pair {
        let expires_at_ms = now_ms + switches.access_token_s * 1000;
        self.access.insert(access.clone(), Access { expires_at_ms, with: refresh.clone() });
        Pair { access, refresh }
    }
}

impl Family {
    fn has(&self, token: &str) -> bool {
        self.current == token || self.replaced.as_deref() == Some(token)
    }
}

/// A text that is not given twice by any simulator: tokens of one must mean nothing to another. It is marked, so that it is known in a log.
pub(crate) fn unique(kind: &str) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (one, other) = (RandomState::new().hash_one(count), RandomState::new().hash_one(kind));
    format!("{kind}-simulated-{count}-{one:016x}{other:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider;

    fn begin(set: impl FnOnce(&mut Switches)) -> (OAuth, Switches, Pair) {
        let mut switches = Switches::of(Provider::Kommo);
        set(&mut switches);
        let mut oauth = OAuth::default();
        let pair = oauth.grant(unique("access"), &switches, 0);
        (oauth, switches, pair)
    }

    fn refresh(oauth: &mut OAuth, switches: &Switches, token: &str) -> Option<Pair> {
        oauth.refresh(token, unique("access"), switches, 1)
    }

    #[test]
    fn replaced_refresh_token_is_valid_until_the_new_one_is_used() {
        let (mut oauth, switches, first) = begin(|_| {});
        let lost = refresh(&mut oauth, &switches, &first.refresh).unwrap();
        let second = refresh(&mut oauth, &switches, &first.refresh).expect("the reply was lost");
        assert!(refresh(&mut oauth, &switches, &lost.refresh).is_none(), "the lost one was replaced");
        assert!(refresh(&mut oauth, &switches, &second.refresh).is_some());
        assert!(refresh(&mut oauth, &switches, &first.refresh).is_none(), "the new one was used");
    }

    #[test]
    fn replaced_refresh_token_can_be_void_once_the_new_access_token_was_used() {
        let (mut oauth, switches, first) = begin(|switches| switches.rotation_closed_by = ClosedBy::AnyToken);
        let second = refresh(&mut oauth, &switches, &first.refresh).unwrap();
        oauth.admit(&first.access, &switches, 1).unwrap();
        assert!(oauth.knows_refresh(&first.refresh), "the access token was the old one");
        oauth.admit(&second.access, &switches, 1).unwrap();
        assert!(refresh(&mut oauth, &switches, &first.refresh).is_none());
    }

    #[test]
    fn one_shot_token_is_void_at_once_and_a_lasting_one_never() {
        let (mut oauth, switches, first) = begin(|switches| switches.rotation = Rotation::OneShot);
        assert!(refresh(&mut oauth, &switches, &first.refresh).is_some());
        assert!(refresh(&mut oauth, &switches, &first.refresh).is_none());

        let (mut oauth, switches, first) = begin(|switches| switches.rotation = Rotation::Never);
        for _ in 0..3 {
            assert_eq!(refresh(&mut oauth, &switches, &first.refresh).unwrap().refresh, first.refresh);
        }
    }

    #[test]
    fn access_tokens_end() {
        let (mut oauth, switches, first) = begin(|switches| switches.access_token_s = 10);
        assert_eq!(oauth.admit(&first.access, &switches, 9_999), Ok(()));
        assert_eq!(oauth.admit(&first.access, &switches, 10_000), Err(Unfit::Expired));
        assert_eq!(oauth.admit("another", &switches, 0), Err(Unfit::Unknown));
    }
}
