//! Tokens: opened for calls, and refreshed by one job at a time.
//!
//! Whoever refreshes holds the lock of the credentials' row, from before the request until both tokens are committed. Others wait without a slot. If the
//! answer is lost, or the commit, the row still has the old refresh token, which serves until the new one has been used.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::crm::{self, Credentials, OauthClient, Tokens, assertion};
use millrace_shared::db::crm::connections;
use millrace_shared::db::crm::credentials::{self, StoredCredentials};
use millrace_shared::seal::Keyring;
use rand::RngExt as _;
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::{Answer, Api, CrmError, Grant};

/// A token that runs out so soon is refreshed before it is used.
const MARGIN: TimeDelta = TimeDelta::seconds(60);
/// How long a token that cannot be refreshed is left alone before it is tried once more.
const SECOND_TRY: Duration = Duration::from_secs(1);
/// A token whose provider does not say when it runs out is used until it is refused.
const UNTOLD: TimeDelta = TimeDelta::days(365);

/// Credentials in the clear, for as long as a job runs.
pub(super) struct Held {
    pub(super) credentials: Credentials,
    generation: i64,
}

impl Api<'_> {
    /// The header that proves who calls, refreshing tokens that are about to run out.
    pub(super) async fn proof(&self) -> Result<(HeaderName, HeaderValue), CrmError> {
        let mut held = self.held.lock().await;
        if held.is_none() {
            *held = Some(self.load().await?);
        }
        let runs_out = |held: &Held| match (&held.credentials, held.credentials.tokens()) {
            (_, Some(tokens)) => tokens.expires_at < Utc::now() + MARGIN,
            // Nobody has to grant anything before the first one.
            (Credentials::JwtBearer { .. }, None) => true,
            (_, None) => false,
        };
        if held.as_ref().is_some_and(runs_out) {
            drop(held);
            self.refresh().await?;
            held = self.held.lock().await;
        }
        let proof = held.as_ref().and_then(|held| self.crm.proof(&held.credentials));
        proof.ok_or_else(|| CrmError::Unauthorized("it has no token".to_owned()))
    }

    async fn load(&self) -> Result<Held, CrmError> {
        let (org, id) = (self.connection.org_id, self.connection.id);
        let stored = credentials::get(&mut *self.job.pool.acquire().await?, org, id).await?;
        self.unseal(&stored.ok_or_else(|| CrmError::Setup("the connection has no credentials".to_owned()))?)
    }

    fn keyring(&self) -> Result<&Keyring, CrmError> {
        let missing = || CrmError::Setup("MILLRACE_ENCRYPTION_KEYS is not set, and credentials are sealed".to_owned());
        self.clients.keyring.as_ref().ok_or_else(missing)
    }

    fn unseal(&self, stored: &StoredCredentials) -> Result<Held, CrmError> {
        let place = crm::place(self.connection.org_id, self.connection.id);
        let opened =
            self.keyring()?.open(&place, &stored.sealed).map_err(|error| CrmError::Setup(error.to_string()))?;
        let credentials = Credentials::from_secret(&opened).map_err(CrmError::Setup)?;
        Ok(Held { credentials, generation: stored.generation })
    }

    /// Gets other tokens than those at hand: those that another job got meanwhile, or new ones.
    pub(super) async fn refresh(&self) -> Result<(), CrmError> {
        let mut held = self.held.lock().await;
        let known = held.as_ref().map(|held| held.generation);
        let mut connection = self.job.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let (org, id) = (self.connection.org_id, self.connection.id);
        let Some(stored) = credentials::lock(&mut transaction, org, id).await? else {
            let after = Duration::from_millis(rand::rng().random_range(200..1_000));
            return Err(CrmError::later(after, "another job refreshes the account's tokens"));
        };
        let mut now = self.unseal(&stored)?;
        let is_other = known.is_some_and(|known| known != stored.generation);
        if is_other || matches!(now.credentials, Credentials::Token { .. }) {
            // A token that cannot be refreshed may have been refused by a fault of theirs: it is tried once more.
            transaction.rollback().await?;
            drop(connection);
            if !is_other {
                tokio::time::sleep(SECOND_TRY).await;
            }
            *held = Some(now);
            return Ok(());
        }
        match self.renew(&mut now.credentials).await {
            Ok(()) => {}
            Err(CrmError::Unauthorized(reason)) => {
                drop(transaction);
                drop(connection);
                self.revoked_of(&reason, now.generation).await?;
                return Err(CrmError::Unauthorized(reason));
            }
            Err(error) => return Err(error),
        }
        self.store(&mut transaction, &now.credentials).await?;
        transaction.commit().await?;
        metrics::counter!("millrace_crm_refreshes_total", "provider" => self.connection.provider().as_str())
            .increment(1);
        now.generation += 1;
        *held = Some(now);
        Ok(())
    }

    /// Redeems the code of a grant, if there is one that was not redeemed yet.
    pub(crate) async fn redeem(&self) -> Result<(), CrmError> {
        let mut connection = self.job.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let (org, id) = (self.connection.org_id, self.connection.id);
        let stored = credentials::lock_waiting(&mut transaction, org, id).await?;
        let stored = stored.ok_or_else(|| CrmError::Setup("the connection has no credentials".to_owned()))?;
        let mut held = self.unseal(&stored)?;
        let Credentials::Oauth { client, code, tokens } = &mut held.credentials else { return Ok(()) };
        let Some(redeemed) = code.take() else { return Ok(()) };
        match self.grant(client, Grant::Code(&redeemed)).await {
            Ok(new) => *tokens = Some(new),
            Err(CrmError::Unauthorized(reason)) => {
                // A code serves once. If it did, and the answer was lost, only another grant helps.
                self.store(&mut transaction, &held.credentials).await?;
                transaction.commit().await?;
                drop(connection);
                self.revoked_of(&reason, stored.generation + 1).await?;
                return Err(CrmError::Unauthorized(reason));
            }
            Err(error) => return Err(error),
        }
        self.store(&mut transaction, &held.credentials).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn store(&self, transaction: &mut PgConnection, new: &Credentials) -> Result<(), CrmError> {
        let (org, id) = (self.connection.org_id, self.connection.id);
        let sealed = self.keyring()?.seal(&crm::place(org, id), &new.to_secret());
        Ok(credentials::replace(transaction, org, id, &sealed).await?)
    }

    /// Lets everybody know that access has to be granted again.
    pub(crate) async fn revoked(&self, reason: &str) -> Result<(), CrmError> {
        let generation = self.held.lock().await.as_ref().map(|held| held.generation);
        match generation {
            Some(generation) => self.revoked_of(reason, generation).await,
            None => Ok(()),
        }
    }

    /// The same of the credentials of that generation: of others that somebody has put in their place meanwhile nothing is known.
    async fn revoked_of(&self, reason: &str, generation: i64) -> Result<(), CrmError> {
        let of = (self.connection.org_id, self.connection.id);
        let mut connection = self.job.pool.acquire().await?;
        if !connections::revoke(&mut connection, of, reason, generation).await? {
            return Ok(());
        }
        metrics::counter!("millrace_crm_revocations_total", "provider" => self.connection.provider().as_str())
            .increment(1);
        tracing::warn!(connection.id = %self.connection.id, reason, "access to a CRM has to be granted again");
        Ok(())
    }

    async fn renew(&self, credentials: &mut Credentials) -> Result<(), CrmError> {
        match credentials {
            Credentials::Token { .. } => Err(CrmError::Unauthorized("its token cannot be refreshed".to_owned())),
            Credentials::Oauth { client, tokens, .. } => {
                let old = tokens.take().ok_or_else(|| CrmError::Unauthorized("it was never granted".to_owned()))?;
                *tokens = Some(self.renewed(client, old).await?);
                Ok(())
            }
            Credentials::JwtBearer { client_id, username, private_key, tokens } => {
                let audience = match self.connection.account.as_deref() {
                    Some(account) if account.ends_with(".sandbox") => "https://test.salesforce.com",
                    _ => "https://login.salesforce.com",
                };
                let assertion = assertion(client_id, username, (audience, Utc::now()), private_key);
                let assertion = assertion.map_err(|error| CrmError::Unauthorized(error.to_string()))?;
                let fields = json!({
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": assertion.expose_secret(),
                });
                *tokens = Some(self.ask_for_tokens(&fields).await?);
                Ok(())
            }
        }
    }

    /// Goes where the account has moved to, if it has; false if it is where it was.
    pub(super) async fn follow_if_moved(&self) -> Result<bool, CrmError> {
        let tokens = self.held.lock().await.as_ref().and_then(|held| held.credentials.tokens().cloned());
        let Some(tokens) = tokens else { return Ok(false) };
        let Some(account) = self.crm.moved_to(self, &tokens).await? else { return Ok(false) };
        self.follow(&account).await?;
        Ok(true)
    }

    /// New tokens for old ones; by the refresh token before the last where the last one is refused.
    async fn renewed(&self, client: &OauthClient, old: Tokens) -> Result<Tokens, CrmError> {
        let nothing = || CrmError::Unauthorized("its token has run out, and none was given to refresh it".to_owned());
        let current = old.refresh.clone().ok_or_else(nothing)?;
        let mut granted = self.grant(client, Grant::Refresh(&current)).await;
        if matches!(granted, Err(CrmError::Unauthorized(_)))
            && let Some(previous) = &old.previous_refresh
        {
            granted = self.grant(client, Grant::Refresh(previous)).await;
        }
        if matches!(granted, Err(CrmError::Unauthorized(_)))
            && let Some(account) = self.crm.moved_to(self, &old).await?
        {
            self.follow(&account).await?;
            granted = self.grant(client, Grant::Refresh(&current)).await;
        }
        let mut new = granted?;
        let is_other = new.refresh.as_ref().is_some_and(|new| new.expose_secret() != current.expose_secret());
        new.previous_refresh = is_other.then(|| current.clone());
        new.refresh.get_or_insert(current);
        Ok(new)
    }

    /// Goes where the account has moved to.
    async fn follow(&self, account: &str) -> Result<(), CrmError> {
        let provider = self.connection.provider();
        provider.check_account(Some(account)).map_err(|_| CrmError::broken("the account has moved to no place"))?;
        let of = (self.connection.org_id, self.connection.id);
        connections::move_account(&mut *self.job.pool.acquire().await?, of, account).await?;
        *self.addresses.lock().await = self.clients.config.endpoints.of(provider, Some(account));
        tracing::info!(connection.id = %self.connection.id, "an account has moved, and is followed");
        Ok(())
    }

    /// Asks another of the provider's hosts, named by what stands for the account in its addresses.
    pub(super) async fn ask_elsewhere(
        &self,
        account: &str,
        path: &str,
        proof: (HeaderName, HeaderValue),
    ) -> Result<Answer, CrmError> {
        let there = self.clients.config.endpoints.of(self.connection.provider(), Some(account));
        self.clients.send(self.clients.http()?.get(format!("{}{path}", there.api)).header(proof.0, proof.1)).await
    }

    async fn grant(&self, client: &OauthClient, grant: Grant<'_>) -> Result<Tokens, CrmError> {
        let (grant_type, name, value) = match grant {
            Grant::Code(code) => ("authorization_code", "code", code),
            Grant::Refresh(token) => ("refresh_token", "refresh_token", token),
        };
        self.ask_for_tokens(&json!({
            "client_id": client.id,
            "client_secret": client.secret.expose_secret(),
            "redirect_uri": client.redirect_uri,
            "grant_type": grant_type,
            name: value.expose_secret(),
        }))
        .await
    }

    async fn ask_for_tokens(&self, fields: &Value) -> Result<Tokens, CrmError> {
        let url = self.addresses.lock().await.token.clone();
        let request = self.clients.http()?.post(url);
        let request = if self.crm.sends_grants_as_json() { request.json(fields) } else { request.form(fields) };
        let answer = self.clients.send(request).await?;
        match answer.status {
            status if status.is_success() => tokens_of(&answer),
            StatusCode::TOO_MANY_REQUESTS => Err(CrmError::busy(answer.retry_after())),
            status if status.is_client_error() => Err(CrmError::Unauthorized(format!(
                "its grant was refused with status {} ({})",
                status.as_u16(),
                answer.error_code()
            ))),
            status => {
                Err(CrmError::broken(format!("tokens were asked for, and the answer is status {}", status.as_u16())))
            }
        }
    }
}

fn tokens_of(answer: &Answer) -> Result<Tokens, CrmError> {
    let body: Value = answer.json()?;
    let secret = |name: &str| body.get(name)?.as_str().map(|text| SecretString::from(text.to_owned()));
    let access =
        secret("access_token").ok_or_else(|| CrmError::broken("tokens were asked for, and none are in the answer"))?;
    Ok(Tokens {
        access,
        refresh: secret("refresh_token"),
        previous_refresh: None,
        expires_at: expiry(body.get("expires_in"), Utc::now()),
    })
}

/// Seconds, as a number or as text.
fn expiry(told: Option<&Value>, now: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = told.and_then(|told| told.as_i64().or_else(|| told.as_str()?.parse().ok())).filter(|told| *told > 0);
    now + seconds.and_then(TimeDelta::try_seconds).map_or(UNTOLD, |time| time.min(UNTOLD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_told_or_far_away() {
        let now: DateTime<Utc> = "2026-11-21T10:00:00Z".parse().unwrap();
        let of = |told: Value| (expiry(Some(&told), now) - now).num_seconds();
        assert_eq!(of(json!(1800)), 1800);
        assert_eq!(of(json!("86400")), 86400);
        for told in [json!(null), json!(-1), json!("soon"), json!(i64::MAX)] {
            assert_eq!(of(told), UNTOLD.num_seconds());
        }
    }
}
