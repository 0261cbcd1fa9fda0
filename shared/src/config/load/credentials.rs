//! What proves who somebody is, and what keeps secrets: tokens, keys, and the address that webhooks are sent to.

use secrecy::SecretString;

use super::Reader;
use crate::config::{
    JwtConfig, parse,
    secret::{JWT_SECRET_BYTES, PASSWORD_BYTES},
    settings as table,
};
use crate::seal::Keyring;

impl Reader<'_> {
    pub(super) fn jwt(&mut self) -> Option<JwtConfig> {
        match (self.text(&table::JWT_SECRET), self.text(&table::JWT_PUBLIC_KEY)) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                self.refuse(&table::JWT_SECRET, format!("and {} exclude each other", table::JWT_PUBLIC_KEY.name));
                None
            }
            (Some(secret), None) => {
                if secret.len() < JWT_SECRET_BYTES {
                    self.refuse(&table::JWT_SECRET, format!("is shorter than {JWT_SECRET_BYTES} bytes"));
                } else {
                    self.check_secret(&table::JWT_SECRET, "is not fit for production: it", secret, JWT_SECRET_BYTES);
                }
                Some(JwtConfig::Secret(SecretString::from(secret.to_owned())))
            }
            (None, Some(pem)) => {
                let pem = pem.replace("\\n", "\n");
                match crate::auth::jwt::check_public_key(&pem) {
                    Ok(()) => Some(JwtConfig::PublicKey(pem)),
                    Err(problem) => {
                        self.refuse(&table::JWT_PUBLIC_KEY, problem);
                        None
                    }
                }
            }
        }
    }

    /// Without a slash at its end.
    pub(super) fn public_url(&mut self) -> Option<String> {
        self.text(&table::PUBLIC_URL)?;
        let url = self.value(&table::PUBLIC_URL, parse::url(&["https", "http"]))?;
        if self.production && url.scheme() != "https" {
            self.refuse(
                &table::PUBLIC_URL,
                "must be https in production: what is delivered is nobody else's business".to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            self.refuse(&table::PUBLIC_URL, "must be a scheme, a host and perhaps a path".to_owned());
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn keyring(&mut self) -> Option<Keyring> {
        let text = self.text(&table::ENCRYPTION_KEYS)?;
        for (_, key) in text.split(',').filter_map(|entry| entry.split_once(':')) {
            self.check_secret(&table::ENCRYPTION_KEYS, "has a key that", key.trim(), PASSWORD_BYTES);
        }
        let text = SecretString::from(text.to_owned());
        Keyring::parse(&text).map_err(|error| self.refuse(&table::ENCRYPTION_KEYS, error.to_string())).ok()
    }
}
