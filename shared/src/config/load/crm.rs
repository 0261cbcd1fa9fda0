//! How CRMs are talked to.

use super::Reader;
use crate::config::{CrmConfig, parse, settings as table};
use crate::crm::{Endpoints, Rates};

impl Reader<'_> {
    pub(super) fn crm_endpoints(&mut self) -> Option<Endpoints> {
        match self.text(&table::CRM_ENDPOINTS) {
            None => Some(Endpoints::default()),
            Some(_) => {
                self.value(&table::CRM_ENDPOINTS, |text| Endpoints::parse(text).map_err(|error| error.to_string()))
            }
        }
    }

    pub(super) fn crm(&mut self) -> Option<CrmConfig> {
        let endpoints = self.crm_endpoints();
        let rates = self.value(&table::CRM_RATES, Rates::parse);
        let at_once = self.value(&table::CRM_AT_ONCE, parse::whole(1, 1_000));
        let egress = self.value(&table::CRM_EGRESS, parse::name);
        let connect_timeout = self.value(&table::CRM_CONNECT, parse::duration);
        let timeout = self.value(&table::CRM_TIMEOUT, parse::duration);
        let max_bytes = self.value(&table::CRM_MAX_BYTES, parse::bytes);
        let breaker_failures = self.value(&table::CRM_BREAKER, parse::whole(1, 1_000));
        let breaker_pause = self.value(&table::CRM_BREAKER_PAUSE, parse::duration);
        let overlap = self.value(&table::CRM_OVERLAP, parse::duration);
        Some(CrmConfig {
            endpoints: endpoints?,
            rates: rates?,
            at_once: at_once?,
            egress: egress?,
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            max_bytes: max_bytes?,
            breaker_failures: breaker_failures?,
            breaker_pause: breaker_pause?,
            overlap: overlap?,
        })
    }
}
