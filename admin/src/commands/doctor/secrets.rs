//! Whether everything that is sealed in the database can be opened by the keys that are here. Only what a value begins with is looked at; `millrace
//! secrets rotate --dry-run` opens each.

use millrace_shared::{
    reseal::{self, KeyUse},
    seal::{Keyring, Standing},
};
use sqlx::PgConnection;

use super::Check;
use crate::{exit::chain, ui};

const NAME: &str = "sealed secrets";

pub async fn check(connection: &mut PgConnection, keyring: Option<&Keyring>) -> Check {
    let uses = match reseal::uses(connection, keyring).await {
        Ok(uses) => uses,
        Err(error) => return Check::failed(NAME, chain(&error.into()), "look at Postgres' log"),
    };
    let total: u64 = uses.iter().map(KeyUse::total).sum();
    let list = |standing: Standing| list(uses.iter().filter(|one| one.standing == standing && one.total() > 0));
    match (list(Standing::Missing), list(Standing::Old), keyring) {
        (None, None, Some(keyring)) if total > 0 => {
            Check::ok(NAME, format!("{}, all by {}", ui::count(total), keyring.current()))
        }
        (None, None, _) => Check::ok(NAME, "none"),
        (Some(missing), old, _) => {
            let old = old.map_or_else(String::new, |old| format!("; by older keys: {old}"));
            let found = format!("of {} cannot be opened: {missing}{old}", ui::count(total));
            let fix = "put their keys back into MILLRACE_ENCRYPTION_KEYS, behind the first; where these are lost, give new secrets";
            Check::warning(NAME, found, fix)
        }
        (None, Some(old), _) => {
            let found = format!("of {} by older keys: {old}", ui::count(total));
            let fix = "run `millrace secrets rotate`, and keep these keys until it has gone well";
            Check::warning(NAME, found, fix)
        }
    }
}

/// `12 by 2026-01, 3 by no key that can be told`.
fn list<'a>(uses: impl Iterator<Item = &'a KeyUse>) -> Option<String> {
    let told = |one: &KeyUse| {
        let key = one.key.as_deref().unwrap_or("no key that can be told");
        format!("{} by {key}", ui::count(one.total()))
    };
    let told: Vec<String> = uses.map(told).collect();
    (!told.is_empty()).then(|| told.join(", "))
}
