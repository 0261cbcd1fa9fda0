//! Which fields are asked for where a provider gives none that are not named: the standard ones, and all that the account has made itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_shared::crm::Object;
use millrace_shared::ids::ConnectionId;

use super::{Answer, Api, CrmError};

/// A field that is made is met within this time.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Longer URLs are refused on the way.
const MOST_CHARS: usize = 6_000;
const MOST_REMEMBERED: usize = 10_000;

type Known = HashMap<(ConnectionId, Object), (Instant, Arc<str>)>;

/// Fields by account and object, remembered for a while.
#[derive(Default)]
pub(super) struct OwnFields(Mutex<Known>);

impl OwnFields {
    /// The names of `standard` and then those of the account's own, with commas between. `path` is where these are told, `named` reads them from that.
    pub(super) async fn of(
        &self,
        (api, object): (&Api<'_>, Object),
        standard: &str,
        path: String,
        named: impl Fn(&Answer) -> Result<Vec<String>, CrmError> + Send,
    ) -> Result<Arc<str>, CrmError> {
        let key = (api.connection().id, object);
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, names)) = known.get(&key).filter(|(since, _)| since.elapsed() < REMEMBERED) {
                return Ok(Arc::clone(names));
            }
        }
        let mut own = match api.get(path).await {
            Ok(answer) => named(&answer)?,
            // Without the right to read them there are none.
            Err(CrmError::Missing | CrmError::Refused { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        own.retain(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        own.sort();
        let mut names = standard.to_owned();
        for name in own {
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
