//! All accounts of a simulator, and whose a request is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::account::{Account, Limits};
use crate::clock::Clock;
use crate::exchange::Request;
use crate::provider::Provider;

type Name = (Provider, String);

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    /// Sends webhooks.
    pub(crate) http: reqwest::Client,
    accounts: RwLock<HashMap<Name, Arc<Account>>>,
    /// Former names of accounts that have moved.
    moved: RwLock<HashMap<Name, String>>,
    /// What counts against addresses rather than accounts.
    addresses: Mutex<HashMap<IpAddr, Limits>>,
}

/// Whose a request is.
#[derive(Debug)]
pub(crate) enum Owner {
    Account(Arc<Account>),
    /// The account was here once.
    Moved(Arc<Account>),
    /// The vendor knows no account for it.
    Nobody(Provider),
    /// It is for no vendor at all.
    NoVendor,
}

impl World {
    pub(crate) fn new(http: reqwest::Client) -> Self {
        Self {
            clock: Clock::default(),
            http,
            accounts: RwLock::default(),
            moved: RwLock::default(),
            addresses: Mutex::default(),
        }
    }

    pub(crate) fn put(&self, name: &str, account: Account) {
        let key = (account.provider, name.to_owned());
        self.moved.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(account));
    }

    pub(crate) fn remove(&self, provider: Provider, name: &str) -> bool {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        accounts.remove(&(provider, name.to_owned())).is_some()
    }

    /// The account of this name, or of this former name.
    pub(crate) fn account(&self, provider: Provider, name: &str) -> Option<Arc<Account>> {
        let key = (provider, name.to_owned());
        if let Some(account) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(account));
        }
        let next = self.moved.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        self.account(provider, &next)
    }

    /// Gives an account another name; `false` when there is none of this one or one of that one.
    pub(crate) fn move_account(&self, provider: Provider, name: &str, to: &str) -> bool {
        let (from, target) = ((provider, name.to_owned()), (provider, to.to_owned()));
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if accounts.contains_key(&target) {
            return false;
        }
        let Some(account) = accounts.remove(&from) else { return false };
        to.clone_into(&mut account.lock().name);
        accounts.insert(target.clone(), account);
        let mut moved = self.moved.write().unwrap_or_else(PoisonError::into_inner);
        // A name that is used again is no former name any more: names must not lead in circles.
        moved.remove(&target);
        moved.insert(from, to.to_owned());
        true
    }

    /// The first account of a vendor that fits, by name.
    pub(crate) fn find(&self, provider: Provider, fits: impl Fn(&Account) -> bool) -> Option<Arc<Account>> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = accounts.iter().filter(|((of, _), _)| *of == provider).collect();
        all.sort_by(|one, other| one.0.1.cmp(&other.0.1));
        all.into_iter().find(|(_, account)| fits(account)).map(|(_, account)| Arc::clone(account))
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Limits>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose a request is; takes off the path what says so.
    pub(crate) fn route(&self, request: &mut Request) -> Owner {
        let path = request.path.clone();
        // A client that resolves Salesforce's absolute paths against the host loses the account; the token tells it.
        if path.starts_with("/services/") {
            return self.by_token(Provider::Salesforce, request);
        }
        let (first, rest) = split(&path);
        let Some(provider) = Provider::parse(first) else { return Owner::NoVendor };
        if provider == Provider::Hubspot {
            rest.clone_into(&mut request.path);
            return if rest.starts_with("/oauth/") { self.by_grant(request) } else { self.by_token(provider, request) };
        }
        let (name, rest) = split(rest);
        rest.clone_into(&mut request.path);
        if provider == Provider::Kommo && rest == crate::kommo::SUBDOMAIN_PATH {
            return self.by_refresh_token(request);
        }
        let is_moved =
            self.moved.read().unwrap_or_else(PoisonError::into_inner).contains_key(&(provider, name.to_owned()));
        match self.account(provider, name) {
            Some(account) if is_moved => Owner::Moved(account),
            Some(account) => Owner::Account(account),
            None => Owner::Nobody(provider),
        }
    }

    fn by_token(&self, provider: Provider, request: &Request) -> Owner {
        let token = request.bearer().unwrap_or_default();
        let found = self.find(provider, |account| account.lock().oauth.knows_access(token));
        found.map_or(Owner::Nobody(provider), Owner::Account)
    }

    fn by_refresh_token(&self, request: &Request) -> Owner {
        let token = request.header("x-refresh-token").unwrap_or_default();
        let found = self.find(Provider::Kommo, |account| account.lock().oauth.knows_refresh(token));
        found.map_or(Owner::Nobody(Provider::Kommo), Owner::Account)
    }

    /// `HubSpot`'s authorize page and token endpoint are the same for all accounts that have installed an application.
    fn by_grant(&self, request: &Request) -> Owner {
        let form = request.form().unwrap_or_default();
        let given =
            |name: &str| form.get(name).map(String::as_str).or_else(|| request.parameter(name)).unwrap_or_default();
        let fits = |test: &dyn Fn(&crate::account::State) -> bool| {
            self.find(Provider::Hubspot, |account| test(&account.lock()))
        };
        let path = request.path.as_str();
        let found = fits(&|state| state.name == given("account"))
            .or_else(|| fits(&|state| state.oauth.knows_refresh(given("refresh_token"))))
            .or_else(|| fits(&|state| state.oauth.knows_code(given("code"))))
            .or_else(|| fits(&|state| path.rsplit('/').next().is_some_and(|token| state.oauth.knows_access(token))))
            .or_else(|| fits(&|state| state.oauth.client.client_id == given("client_id")));
        found.map_or(Owner::Nobody(Provider::Hubspot), Owner::Account)
    }
}

/// The first part of a path and the rest, which begins with a slash.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.find('/').map_or((path, "/"), |at| path.split_at(at))
}
