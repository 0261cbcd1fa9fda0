//! Grants of access to CRMs that are under way: what a person was sent away with, and must come back with.
//!
//! `mr:{oauth}:<digest of the state>` holds whose connection it is, for ten minutes, and once: whoever takes it, it is gone. Redis holds no state that
//! could be used, only its digest. A Redis that lost it costs one more click.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::{AsyncCommands as _, RedisResult, SetExpiry, SetOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Queues;
use crate::ids::{ConnectionId, OrgId};

/// How long a person has to grant access.
pub const GRANT_TIME: Duration = Duration::from_secs(600);
/// The state's random bytes.
const STATE_BYTES: usize = 32;

/// Whose grant is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whose connection it is.
    pub org: OrgId,
    /// The connection.
    pub connection: ConnectionId,
    /// Who began it.
    pub subject: String,
}

impl Queues {
    /// Begins a grant. Gives the state that it is to come back with.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn begin_grant(&self, grant: &Grant) -> RedisResult<String> {
        let random: [u8; STATE_BYTES] = rand::random();
        let state = URL_SAFE_NO_PAD.encode(random);
        let text = serde_json::to_string(grant).expect("ids and a name are JSON");
        let options = SetOptions::default().with_expiration(SetExpiry::EX(GRANT_TIME.as_secs()));
        let () = self.connection.clone().set_options(key(&state), text, options).await?;
        Ok(state)
    }

    /// The grant that has come back with this state, which is worth nothing from then on; `None` if none was begun, or too long ago.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn end_grant(&self, state: &str) -> RedisResult<Option<Grant>> {
        let text: Option<String> = self.connection.clone().get_del(key(state)).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

fn key(state: &str) -> String {
    let digest: String = Sha256::digest(state.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("mr:{{oauth}}:{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_never_holds_a_state_itself() {
        let name = key("state");
        assert!(name.starts_with("mr:{oauth}:") && !name.contains("state"));
        assert_ne!(name, key("State"));
    }
}
