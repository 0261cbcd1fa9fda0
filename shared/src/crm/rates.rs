//! How often CRMs may be called: `MILLRACE_CRM_RATES`.
//!
//! No more arrive than that in any period ([windows](crate::queue::Entered)): a CRM that counts must not meet two periods' calls in one.

use std::collections::BTreeMap;

use super::Provider;
use crate::jobs::Rate;

/// Which calls are counted together, beside the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallClass {
    /// All of them.
    Any,
    /// Searches, which `HubSpot` counts for themselves.
    Search,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates(BTreeMap<(Provider, CallClass), Option<Rate>>);

impl Rates {
    /// What is said in the settings where nothing else is.
    pub const DEFAULT: &str = "kommo=7/1s,hubspot=10/1s,hubspot.search=4/1s,salesforce=20/1s,pipedrive=8/1s";

    /// Reads `provider=10/1s,provider.search=off`; what is not named is as in [`Self::DEFAULT`].
    ///
    /// # Errors
    /// Says which entry is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rates = Self(BTreeMap::new());
        rates.read(Self::DEFAULT)?;
        rates.read(text)?;
        Ok(rates)
    }

    fn read(&mut self, text: &str) -> Result<(), String> {
        for entry in text.split(',') {
            let (name, rate) = entry.trim().split_once('=').ok_or_else(|| format!("`{entry}` has no `=`"))?;
            let (provider, class) = match name.split_once('.') {
                None => (name, CallClass::Any),
                Some((provider, "search")) => (provider, CallClass::Search),
                Some((_, class)) => return Err(format!("`{class}` is no class of calls; `search` is one")),
            };
            let provider: Provider = provider.parse().map_err(|known: &str| format!("a provider {known}"))?;
            let rate = match rate {
                "off" => None,
                rate => Some(rate.parse().map_err(|error: crate::jobs::RateError| format!("{name}: {error}"))?),
            };
            self.0.insert((provider, class), rate);
        }
        Ok(())
    }

    /// The rate of a provider's calls, if they have one.
    #[must_use]
    pub fn of(&self, provider: Provider, class: CallClass) -> Option<Rate> {
        self.0.get(&(provider, class)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_as_by_default() {
        let rates = Rates::parse("salesforce=off,hubspot=110/10s").unwrap();
        assert_eq!(rates.of(Provider::Kommo, CallClass::Any), Some(Rate::per_second(7)));
        assert_eq!(rates.of(Provider::Hubspot, CallClass::Any), Some(Rate { count: 110, period_ms: 10_000 }));
        assert_eq!(rates.of(Provider::Hubspot, CallClass::Search), Some(Rate::per_second(4)));
        assert_eq!(rates.of(Provider::Salesforce, CallClass::Any), None);
        assert_eq!(rates.of(Provider::Kommo, CallClass::Search), None);
    }

    #[test]
    fn lists_that_cannot_be_used_are_refused() {
        for (text, part) in [
            ("kommo", "has no `=`"),
            ("zoho=1/1s", "a provider must be one of"),
            ("kommo=fast", "kommo: not a rate"),
            ("kommo.bulk=1/1s", "`bulk` is no class"),
        ] {
            assert!(Rates::parse(text).unwrap_err().contains(part), "{text}");
        }
    }
}
