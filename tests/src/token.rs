//! Tokens, for tests that need more organisations than it would be sensible to make keys for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_harness::Client;
use serde_json::json;
use uuid::Uuid;

use crate::Line;

/// A client with the token of an operator of `org`, which need not have been made.
///
/// # Errors
/// When the token cannot be signed.
pub fn client_of_org(line: &Line, org: Uuid) -> Result<Client> {
    let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(3_600);
    let claims = json!({ "sub": "a test", "org": org, "role": "operator", "exp": expiry.as_secs() });
    let key = EncodingKey::from_secret(line.stack.jwt_secret().as_bytes());
    let token = encode(&Header::new(Algorithm::HS256), &claims, &key).context("cannot sign a token")?;
    Ok(line.client().with_key(&token))
}
