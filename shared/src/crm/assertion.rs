//! Salesforce's JWT bearer flow: a signed claim to be a user, exchanged for a token
//! (<https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_jwt_flow.htm>).

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

/// Longer ones are refused.
const LIFE: TimeDelta = TimeDelta::minutes(3);

/// A key that signs nothing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the private key must be an RSA key as PEM, of 2048 bits at least")]
pub struct NoKey;

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
}

/// Claims to be `username`, before `audience`, now.
///
/// # Errors
/// When the key is none.
pub fn assertion(
    client_id: &str,
    username: &str,
    (audience, now): (&str, DateTime<Utc>),
    private_key: &SecretString,
) -> Result<SecretString, NoKey> {
    let key = EncodingKey::from_rsa_pem(private_key.expose_secret().as_bytes()).map_err(|_| NoKey)?;
    let claims = Claims { iss: client_id, sub: username, aud: audience, exp: (now + LIFE).timestamp() };
    encode(&Header::new(Algorithm::RS256), &claims, &key).map(SecretString::from).map_err(|_| NoKey)
}
