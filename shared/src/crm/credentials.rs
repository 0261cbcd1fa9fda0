//! What a connection proves itself with. It is in the database only sealed, as JSON.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::db::sealed::CONNECTION_CREDENTIALS;
use crate::ids::{ConnectionId, OrgId};
use crate::seal::Place;

/// Where a connection's credentials are, which their seal is bound to.
#[must_use]
pub fn place(org: OrgId, id: ConnectionId) -> Place {
    CONNECTION_CREDENTIALS.place(org, id.0)
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Credentials {
    /// A long-lived token, or an API key.
    Token {
        /// The token.
        #[serde(serialize_with = "exposed")]
        token: SecretString,
    },
    /// Tokens of OAuth 2.0, which run out and are refreshed.
    Oauth {
        /// Who asks for them.
        client: OauthClient,
        /// The code of a grant that has not been redeemed yet.
        #[serde(default, serialize_with = "perhaps_exposed", skip_serializing_if = "Option::is_none")]
        code: Option<SecretString>,
        /// Absent until the first grant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<Tokens>,
    },
    /// Salesforce's JWT bearer flow: tokens by a key of our own, without a person.
    JwtBearer {
        /// The app's consumer key.
        client_id: String,
        /// As whom.
        username: String,
        /// An RSA key, as PEM.
        #[serde(serialize_with = "exposed")]
        private_key: SecretString,
        /// Absent until the first call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens: Option<Tokens>,
    },
}

/// An app that was registered with a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OauthClient {
    /// Its public id.
    pub id: String,
    /// Its secret.
    #[serde(serialize_with = "exposed")]
    pub secret: SecretString,
    /// Where grants come back to, as it was registered.
    pub redirect_uri: String,
}

/// What a grant gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// For calls.
    #[serde(serialize_with = "exposed")]
    pub access: SecretString,
    /// For the next access token.
    #[serde(default, serialize_with = "perhaps_exposed", skip_serializing_if = "Option::is_none")]
    pub refresh: Option<SecretString>,
    /// The refresh token before that one, until that one has served: where the answer that held the new one was lost, this one is still good
    /// (<https://developers.kommo.com/docs/oauth-20>).
    #[serde(default, serialize_with = "perhaps_exposed", skip_serializing_if = "Option::is_none")]
    pub previous_refresh: Option<SecretString>,
    /// By the clock of the worker that got it: worth no more than a hint, since a refused token is refreshed whatever this says.
    pub expires_at: DateTime<Utc>,
}

impl Credentials {
    /// As they are sealed.
    #[must_use]
    pub fn to_secret(&self) -> SecretString {
        SecretString::from(serde_json::to_string(self).expect("texts and times are JSON"))
    }

    /// As they were sealed.
    ///
    /// # Errors
    /// When a later version sealed them, in a way that this one does not know. Says where, and nothing of them.
    pub fn from_secret(secret: &SecretString) -> Result<Self, String> {
        serde_json::from_str(secret.expose_secret())
            .map_err(|error| format!("the credentials cannot be read at column {}", error.column()))
    }

    /// The tokens, where there are such.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        match self {
            Self::Token { .. } => None,
            Self::Oauth { tokens, .. } | Self::JwtBearer { tokens, .. } => tokens.as_ref(),
        }
    }
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn perhaps_exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => exposed(secret, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_sealed_whole_and_shown_never() {
        let secret = |text: &str| SecretString::from(text.to_owned());
        let credentials = Credentials::Oauth {
            client: OauthClient { id: "app".into(), secret: secret("s3cret"), redirect_uri: "https://x".into() },
            code: None,
            tokens: Some(Tokens {
                access: secret("acc3ss"),
                refresh: Some(secret("r3fresh")),
                previous_refresh: Some(secret("0ld")),
                expires_at: Utc::now(),
            }),
        };
        let shown = format!("{credentials:?}");
        let sealed = credentials.to_secret();
        for word in ["s3cret", "acc3ss", "r3fresh", "0ld"] {
            assert!(!shown.contains(word));
            assert!(sealed.expose_secret().contains(word));
        }
        let again = Credentials::from_secret(&sealed).unwrap();
        assert_eq!(again.to_secret().expose_secret(), sealed.expose_secret());
        assert!(!Credentials::from_secret(&secret(r#"{"type":"s3cret"}"#)).unwrap_err().contains("s3cret"));
    }
}
