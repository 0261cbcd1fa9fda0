//! What an operator puts together, and that what is written in another way is something else.

use http::HeaderValue;

use super::{Sample, all};
use crate::webhook::Scheme;

#[test]
fn a_signature_a_time_and_a_credential_have_one_spelling() {
    let mut tried = 0;
    for sample in all() {
        for (index, (name, value)) in sample.headers.iter().enumerate() {
            for other in [
                value.to_uppercase(),
                value.to_lowercase(),
                value.trim_end_matches('=').to_owned(),
                format!("{value}="),
                format!("0{value}"),
                format!("+{value}"),
                value.replace('+', "-").replace('/', "_"),
            ] {
                if other == *value || HeaderValue::from_str(&other).is_err() {
                    continue;
                }
                let mut changed: Sample = sample.clone();
                changed.headers[index].1.clone_from(&other);
                assert!(changed.verdict().is_err(), "{}: {name}: {other}", sample.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "only {tried} were tried");
}

#[test]
fn a_header_may_be_configured_in_any_case() {
    let mut sample = all().into_iter().find(|sample| sample.name == "stripe elsewhere").unwrap();
    sample.scheme = Scheme::Stripe { header: Some("X-Flour-SIGNATURE".to_owned()) };
    assert!(sample.verdict().is_ok());
    sample.scheme = Scheme::Stripe { header: None };
    assert!(sample.verdict().is_err(), "and where it is configured, no other will do");
}
