//! Hooks that come as a GET: all that they say stands in the query.
//!
//! Nothing of the query is decoded. What is signed here needs no escapes, and without them it has one spelling.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::mac::{Algorithm, Encoding, is_same, tag};
use super::{Delivery, Proof, Refusal, fingerprint};

/// Kommo calls the integration's id so where it tells of the hook, and by the second name where it tells of its signature.
const CLIENT: [&str; 2] = ["client_uuid", "client_id"];
const ACCOUNT: &str = "account_id";
const SIGNATURE: &str = "signature";

/// <https://developers.kommo.com/docs/oauth-20>: hexadecimal HMAC-SHA256 of the integration's id, a bar, and the account's.
///
/// Neither can have a bar in it, so that no other two are the same text.
pub(super) fn prove_kommo_disabled(secrets: &[SecretString], delivery: &Delivery<'_>) -> Result<Proof, Refusal> {
    let query = delivery.url.split_once('?').map_or("", |(_, query)| query);
    let (name, client) = match CLIENT.map(|name| parameter(query, name)) {
        [Ok(client), Err(Refusal::MissingParameter(_))] => (CLIENT[0], client),
        [Err(Refusal::MissingParameter(_)), Ok(client)] => (CLIENT[1], client),
        [Err(missing), Err(Refusal::MissingParameter(_))] => return Err(missing),
        _ => return Err(Refusal::Malformed),
    };
    let (account, signature) = (parameter(query, ACCOUNT)?, parameter(query, SIGNATURE)?);
    let is_right = is_of(client, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && is_of(account, |byte| byte.is_ascii_digit())
        // Which nobody has signed.
        && delivery.body.is_empty();
    if !is_right {
        return Err(Refusal::Malformed);
    }
    for (secret, key) in secrets.iter().enumerate() {
        let message = [client.as_bytes(), b"|", account.as_bytes()];
        let expected = tag(Algorithm::HmacSha256, Encoding::Hex, key.expose_secret().as_bytes(), &message);
        if is_same(signature.as_bytes(), expected.as_bytes()) {
            // What else the query may say is not signed, and told to nobody.
            let said = json!({ name: client, ACCOUNT: account }).to_string().into_bytes();
            let fingerprint = fingerprint(&[b"query", expected.as_bytes()]);
            return Ok(Proof { secret, signed_at: None, fingerprint, said: Some(said) });
        }
    }
    Err(Refusal::WrongSignature)
}

/// The value of a parameter that must be there once: of two, somebody else may have read the other.
fn parameter<'q>(query: &'q str, name: &'static str) -> Result<&'q str, Refusal> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let (_, value) = values.next().ok_or(Refusal::MissingParameter(name))?;
    if values.next().is_some() { Err(Refusal::Malformed) } else { Ok(value) }
}

fn is_of(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(kind)
}
