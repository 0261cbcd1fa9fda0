//! Where CRMs are. A client says the account's part of a host name and nothing more, so that no connection can lead anywhere else.

use std::collections::BTreeMap;

use url::Url;

use super::Provider;

/// Stands for the account in a template.
const ACCOUNT: &str = "{account}";
const MOST_ACCOUNT_CHARS: usize = 128;

/// Where providers are to be found instead of at their own addresses: `MILLRACE_CRM_ENDPOINTS`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<Provider, String>);

/// Why a list of endpoints cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// An entry is not `provider=url`.
    #[error("must be provider=url, or several of these with commas between; {0}")]
    Malformed(String),
    /// A provider is there twice.
    #[error("{0} is there twice")]
    Twice(Provider),
}

/// Why an account cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The provider has one host for each account.
    #[error("is required: the account's part of its host, such as `acme` of acme.{0}")]
    Required(&'static str),
    /// The provider has one host for all.
    #[error("does not belong here: this provider has one address for all accounts; leave it out")]
    Unwanted,
    /// It is no part of a host name.
    #[error("must be the account's part of its host alone: lower-case letters, digits, hyphens and dots")]
    Malformed,
}

/// Where one account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// What all calls begin with; no slash at the end.
    pub api: String,
    /// Where codes and refresh tokens are exchanged.
    pub token: String,
    /// Where a person grants access.
    pub authorize: String,
}

struct Templates {
    api: &'static str,
    token: &'static str,
    authorize: &'static str,
    /// What follows the account in its host, if each account has one.
    host: Option<&'static str>,
}

impl Provider {
    const fn templates(self) -> Templates {
        match self {
            // https://developers.kommo.com/docs/oauth-20
            Self::Kommo => Templates {
                api: "https://{account}.kommo.com",
                token: "https://{account}.kommo.com/oauth2/access_token",
                authorize: "https://www.kommo.com/oauth",
                host: Some("kommo.com"),
            },
            // https://developers.hubspot.com/docs/methods/oauth2/oauth2-quickstart
            Self::Hubspot => Templates {
                api: "https://api.hubapi.com",
                token: "https://api.hubapi.com/oauth/v1/token",
                authorize: "https://app.hubspot.com/oauth/authorize",
                host: None,
            },
            // My Domain serves the flows too: https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_endpoints.htm
            Self::Salesforce => Templates {
                api: "https://{account}.my.salesforce.com",
                token: "https://{account}.my.salesforce.com/services/oauth2/token",
                authorize: "https://{account}.my.salesforce.com/services/oauth2/authorize",
                host: Some("my.salesforce.com"),
            },
            // https://pipedrive.readme.io/docs/marketplace-oauth-authorization
            Self::Pipedrive => Templates {
                api: "https://{account}.pipedrive.com",
                token: "https://oauth.pipedrive.com/oauth/token",
                authorize: "https://oauth.pipedrive.com/oauth/authorize",
                host: Some("pipedrive.com"),
            },
        }
    }

    /// What a grant is asked for, with blanks between; nothing where the app itself says so.
    #[must_use]
    pub const fn scopes(self) -> &'static str {
        match self {
            Self::Hubspot => {
                "oauth crm.objects.contacts.read crm.objects.contacts.write crm.objects.companies.read crm.objects.companies.write \
                 crm.objects.deals.read crm.objects.deals.write crm.objects.owners.read"
            }
            Self::Salesforce => "api refresh_token",
            Self::Kommo | Self::Pipedrive => "",
        }
    }

    /// Checks the account's part of its host.
    ///
    /// # Errors
    /// When it is missing, or too much, or no part of a host's name.
    pub fn check_account(self, account: Option<&str>) -> Result<(), AccountError> {
        match (self.templates().host, account) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(AccountError::Unwanted),
            (Some(host), None) => Err(AccountError::Required(host)),
            (Some(_), Some(account)) => {
                let is_label = |label: &str| {
                    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                    !label.is_empty()
                        && label.len() <= 63
                        && label.chars().all(inner)
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                };
                // Sandboxes of Salesforce have several labels: `acme--test.sandbox`.
                let dots_are_fine = self == Self::Salesforce || !account.contains('.');
                let is_account = account.len() <= MOST_ACCOUNT_CHARS && account.split('.').all(is_label);
                if is_account && dots_are_fine { Ok(()) } else { Err(AccountError::Malformed) }
            }
        }
    }
}

impl Endpoints {
    /// Reads `provider=url,provider=url`; `{account}` in a URL stands for the account.
    ///
    /// # Errors
    /// Says which entry is wrong.
    pub fn parse(text: &str) -> Result<Self, EndpointsError> {
        let mut endpoints = BTreeMap::new();
        for entry in text.split(',') {
            let (provider, url) = entry
                .trim()
                .split_once('=')
                .ok_or_else(|| EndpointsError::Malformed(format!("`{entry}` has no `=`")))?;
            let provider: Provider =
                provider.parse().map_err(|known: &str| EndpointsError::Malformed(format!("the provider {known}")))?;
            let parsed = Url::parse(&url.replace(ACCOUNT, "account"));
            if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none()) {
                return Err(EndpointsError::Malformed(format!("the URL of {provider} is none of http or https")));
            }
            if endpoints.insert(provider, url.trim_end_matches('/').to_owned()).is_some() {
                return Err(EndpointsError::Twice(provider));
            }
        }
        Ok(Self(endpoints))
    }

    /// Where an account is that was [checked](Provider::check_account).
    #[must_use]
    pub fn of(&self, provider: Provider, account: Option<&str>) -> Addresses {
        let templates = provider.templates();
        let account = account.unwrap_or_default();
        let fill = |template: &str| {
            let url = match self.0.get(&provider) {
                None => template.to_owned(),
                Some(instead) => format!("{instead}{}", path_of(template)),
            };
            url.replace(ACCOUNT, account)
        };
        Addresses { api: fill(templates.api), token: fill(templates.token), authorize: fill(templates.authorize) }
    }
}

/// What follows the host.
fn path_of(template: &str) -> &str {
    let host = template.find("://").map_or(0, |at| at + 3);
    template[host..].find('/').map_or("", |at| &template[host + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_where_its_provider_has_it() {
        let of = |provider, account| Endpoints::default().of(provider, account);
        assert_eq!(of(Provider::Kommo, Some("acme")).api, "https://acme.kommo.com");
        assert_eq!(of(Provider::Kommo, Some("acme")).token, "https://acme.kommo.com/oauth2/access_token");
        assert_eq!(of(Provider::Hubspot, None).api, "https://api.hubapi.com");
        assert_eq!(of(Provider::Pipedrive, Some("acme")).authorize, "https://oauth.pipedrive.com/oauth/authorize");
    }

    #[test]
    fn endpoints_take_the_place_of_hosts_and_leave_the_paths() {
        let endpoints = Endpoints::parse("kommo=http://127.0.0.1:9/{account}, hubspot=http://127.0.0.1:8/").unwrap();
        let kommo = endpoints.of(Provider::Kommo, Some("acme"));
        assert_eq!(kommo.api, "http://127.0.0.1:9/acme");
        assert_eq!(kommo.token, "http://127.0.0.1:9/acme/oauth2/access_token");
        assert_eq!(kommo.authorize, "http://127.0.0.1:9/acme/oauth");
        assert_eq!(endpoints.of(Provider::Hubspot, None).token, "http://127.0.0.1:8/oauth/v1/token");
        assert_eq!(endpoints.of(Provider::Salesforce, Some("acme")).api, "https://acme.my.salesforce.com");
    }

    #[test]
    fn an_account_leads_nowhere_else() {
        for account in
            ["", "acme.evil", "acme/", "a@b", "acme:80", "ACME", "-a", "a-", "a..b", "127.0.0.1", "é", "a%2e"]
        {
            assert_eq!(Provider::Kommo.check_account(Some(account)), Err(AccountError::Malformed), "{account}");
        }
        assert_eq!(Provider::Kommo.check_account(Some("acme-2")), Ok(()));
        assert_eq!(Provider::Salesforce.check_account(Some("acme--test.sandbox")), Ok(()));
        assert_eq!(Provider::Salesforce.check_account(Some("acme/x")), Err(AccountError::Malformed));
        assert_eq!(Provider::Hubspot.check_account(Some("acme")), Err(AccountError::Unwanted));
        assert_eq!(Provider::Pipedrive.check_account(None), Err(AccountError::Required("pipedrive.com")));
    }

    #[test]
    fn lists_that_cannot_be_used_are_refused() {
        let error = |text: &str| Endpoints::parse(text).unwrap_err().to_string();
        assert!(error("kommo").contains("has no `=`"));
        assert!(error("zoho=http://x").contains("must be one of kommo"));
        assert!(error("kommo=ftp://x").contains("http or https"));
        assert_eq!(error("kommo=http://x,kommo=http://y"), "kommo is there twice");
    }
}
