//! Methods, and hooks that say all in their query.

use proptest::prelude::*;

use super::{Sample, all};
use crate::webhook::{Refusal, Scheme};

fn by_query() -> Sample {
    all().into_iter().find(|sample| sample.scheme == Scheme::KommoDisabled {}).unwrap()
}

#[test]
fn each_scheme_takes_its_method_alone() {
    for sample in all() {
        for method in ["GET", "POST", "HEAD", "PUT", "post", ""] {
            let verdict = sample.verdict_by(method, &[sample.secret]);
            if method == sample.scheme.method() {
                assert!(verdict.is_ok(), "{} {method}", sample.name);
            } else {
                assert_eq!(verdict.unwrap_err(), Refusal::WrongMethod, "{} {method}", sample.name);
            }
        }
    }
    let by_get: Vec<&str> =
        all().iter().filter(|sample| sample.scheme.method() == "GET").map(|sample| sample.name).collect();
    assert_eq!(by_get, ["kommo disabled"]);
}

#[test]
fn a_query_says_what_it_signs_and_nothing_else() {
    let sample = by_query();
    let verdict = |url: &str| Sample { url: url.to_owned(), ..sample.clone() }.verdict();
    let said = |url: &str| {
        let said = verdict(url).unwrap().said.unwrap();
        serde_json::from_slice::<serde_json::Value>(&said).unwrap()
    };
    let right = sample.url.as_str();
    let expected =
        serde_json::json!({ "client_uuid": "01d01160-d7a0-4087-b4af-6a1bb83fcd1d", "account_id": "32720107" });
    assert_eq!(said(right), expected);
    assert_eq!(said(&format!("{right}&role=admin&account=1")), expected, "what is not signed is not passed on");
    let other_name = right.replace("client_uuid", "client_id");
    assert_eq!(said(&other_name)["client_id"], expected["client_uuid"]);
    assert_eq!(verdict(right).unwrap().fingerprint, verdict(&format!("{right}&x=y")).unwrap().fingerprint);

    for name in ["client_uuid", "account_id", "signature"] {
        let without = right.replace(&format!("{name}="), "other=");
        assert_eq!(verdict(&without).unwrap_err(), Refusal::MissingParameter(name));
        let twice = format!("{right}&{name}=1");
        assert_eq!(verdict(&twice).unwrap_err(), Refusal::Malformed, "{name} twice");
    }
    for (from, to) in [
        ("account_id", "client_id=a&account_id"),
        ("32720107", "%332720107"),
        ("32720107", ""),
        ("fcd1d&account_id=32720107", "fcd1d|3272&account_id=0107"),
        ("=01d01160", "=+01d01160"),
    ] {
        assert_eq!(verdict(&right.replace(from, to)).unwrap_err(), Refusal::Malformed, "{to}");
    }
    let upper = right.replace("7ea2f8550421668a402cff", "7EA2F8550421668A402CFF");
    assert_eq!(verdict(&upper).unwrap_err(), Refusal::WrongSignature, "a signature has one spelling");
    assert_eq!(Sample { body: b"x".to_vec(), ..sample.clone() }.verdict().unwrap_err(), Refusal::Malformed);
}

proptest! {
    #[test]
    fn no_query_whatever_panics_or_passes(query in "[a-z_=&?%|0-9]{0,80}", kept in any::<prop::sample::Index>()) {
        let sample = by_query();
        let (_, right) = sample.url.split_once('?').unwrap();
        let kept = &right[..kept.index(right.len())];
        for query in [query.clone(), format!("{kept}&{query}")] {
            let url = format!("https://x.example/?{query}");
            let changed = Sample { url, ..sample.clone() };
            prop_assert!(changed.verdict().is_err());
        }
    }
}
