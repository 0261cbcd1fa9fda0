//! Which properties are asked for: the standard ones and all of the account's own, which are told apart by `hubspotDefined`
//! (<https://developers.hubspot.com/docs/reference/api/crm/properties>).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_shared::crm::Object;
use millrace_shared::ids::ConnectionId;
use serde_json::Value;

use super::super::record::{Drift, Look};
use super::super::{Api, CrmError};
use super::mapping;

/// A property that is made is met within this time.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Longer URLs are refused on the way.
const MOST_CHARS: usize = 6_000;
const MOST_REMEMBERED: usize = 10_000;

type Known = HashMap<(ConnectionId, Object), (Instant, Arc<str>)>;

#[derive(Default)]
pub(super) struct Properties(Mutex<Known>);

impl Properties {
    /// The names, with commas between.
    pub(super) async fn of(&self, api: &Api<'_>, object: Object) -> Result<Arc<str>, CrmError> {
        let standard = mapping::standard(object);
        if standard.is_empty() {
            return Ok("".into());
        }
        let key = (api.connection().id, object);
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, names)) = known.get(&key).filter(|(since, _)| since.elapsed() < REMEMBERED) {
                return Ok(Arc::clone(names));
            }
        }
        let mut names = standard.join(",");
        for name in own(api, object).await? {
            if names.len() + name.len() < MOST_CHARS {
                names.push(',');
                names.push_str(&name);
            }
        }
        let names: Arc<str> = names.into();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(key, (Instant::now(), Arc::clone(&names)));
        Ok(names)
    }
}

/// The account's own, by name. Without the right to read them there are none.
async fn own(api: &Api<'_>, object: Object) -> Result<Vec<String>, CrmError> {
    let answer = match api.get(format!("/crm/v3/properties/{object}")).await {
        Ok(answer) => answer,
        Err(CrmError::Missing | CrmError::Refused { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let own = |property: &Look<'_>| property.value().get("hubspotDefined") == Some(&Value::Bool(false));
    let mut names: Vec<String> = Look::at(&body, &drift)
        .list("results")
        .filter(own)
        .filter_map(|property| property.text("name"))
        .filter(is_name)
        .collect();
    names.sort();
    Ok(names)
}
