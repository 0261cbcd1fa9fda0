//! Many organisations at once, each with a token: making keys for thousands would take longer than what is tested.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_harness::Client;
use serde_json::json;
use uuid::Uuid;

use crate::Line;

/// Clients with tokens of operators, each of a new organisation.
///
/// # Errors
/// When the organisations cannot be made, or a token cannot be signed.
pub async fn clients_of_new_orgs(line: &Line, count: usize) -> Result<Vec<Client>> {
    let orgs: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    let made = sqlx::query("INSERT INTO organisations (id) SELECT unnest($1::uuid[])").bind(&orgs);
    made.execute(line.ledger.pool()).await.context("cannot make organisations")?;
    let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(3_600);
    let key = EncodingKey::from_secret(line.stack.jwt_secret().as_bytes());
    let client = |org| {
        let claims = json!({ "sub": "a test", "org": org, "role": "operator", "exp": expiry.as_secs() });
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).context("cannot sign a token")?;
        Ok(line.client().with_key(&token))
    };
    orgs.iter().map(client).collect()
}
