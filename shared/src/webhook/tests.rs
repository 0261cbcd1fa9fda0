//! Published vectors, and that nothing else passes.

mod forms;
mod query;

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use secrecy::SecretString;

use super::mac::tag;
use super::*;
use crate::webhook::scheme::Timestamp;

const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
const HUBSPOT_SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";

/// A delivery with all that is needed to judge it.
#[derive(Clone)]
struct Sample {
    name: &'static str,
    scheme: Scheme,
    secret: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    now: DateTime<Utc>,
}

impl Sample {
    fn new(name: &'static str, scheme: Scheme, secret: &'static str, body: &str) -> Self {
        let body = body.as_bytes().to_vec();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let url = "https://www.example.com/webhook_uri".to_owned();
        Self { name, scheme, secret, url, headers: Vec::new(), body, now }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn query(mut self, query: &str) -> Self {
        self.url.push('?');
        self.url.push_str(query);
        self
    }

    fn at(self, millis: i64) -> Self {
        Self { now: DateTime::from_timestamp_millis(millis).unwrap(), ..self }
    }

    fn verdict_with(&self, secrets: &[&str]) -> Result<Verified, Refusal> {
        self.verdict_by(self.scheme.method(), secrets)
    }

    fn verdict_by(&self, method: &str, secrets: &[&str]) -> Result<Verified, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let delivery = Delivery { method, url: &self.url, token: None, headers: &headers, body: &self.body };
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        verify(&self.scheme, &secrets, &delivery, (self.now, TOLERANCE))
    }

    fn verdict(&self) -> Result<Verified, Refusal> {
        self.verdict_with(&[self.secret])
    }
}

/// Published by the vendors, or computed by others from their rules: the expected values are not ours.
fn published() -> Vec<Sample> {
    let hubspot_event = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;
    let chat = r#"{"account_id":"52fd2a28-d2eb-4bd8-b862-a67934927b38","time":1700000000,"message":{"text":"Hi"}}"#;
    vec![
        Sample::new("github", Scheme::Github {}, "It's a Secret to Everybody", "Hello, World!")
            .header("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        Sample::new("hubspot v1", Scheme::HubspotV1 {}, HUBSPOT_SECRET, hubspot_event)
            .header("x-hubspot-signature", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"),
        Sample::new("hubspot v2", Scheme::HubspotV2 {}, HUBSPOT_SECRET, r#"{"example_field":"example_value"}"#)
            .header("x-hubspot-signature", "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900"),
        Sample::new("hubspot v3", Scheme::HubspotV3 {}, HUBSPOT_SECRET, "{'example_field':'example_value'}")
            .header("x-hubspot-signature-v3", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=")
            .header("x-hubspot-request-timestamp", "1693657560000")
            .at(1_693_657_560_000),
        Sample::new("kommo chat", Scheme::KommoChat {}, "fb50586ff7b68cd831fe0ef356345903f644c0d2", chat)
            .header("x-signature", "c22e125894f0a76439c339f502daf8503bc596ba"),
        Sample::new("kommo disabled", Scheme::KommoDisabled {}, "kommo-test-secret", "").query(
            "client_uuid=01d01160-d7a0-4087-b4af-6a1bb83fcd1d&account_id=32720107\
             &signature=7ea2f8550421668a402cff407d7322774518fc98b45f30d94bf37309840c1d72",
        ),
    ]
}

/// Signed here, by the rules that the vendors publish.
fn signed() -> Vec<Sample> {
    let body = r#"{"id":"evt_1","type":"mill.stopped","at":"Mühle"}"#;
    let sign = |key: &[u8], encoding, message: &str| tag(Algorithm::HmacSha256, encoding, key, &[message.as_bytes()]);
    let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let key = [49, 242, 144, 246, 191, 6, 41, 138, 171, 79, 8, 212, 60, 63, 8, 44, 246, 72, 163, 98, 218, 45, 164, 176];
    let time = "1700000000";
    let custom = Custom {
        header: "x-mill-signature".to_owned(),
        prefix: "h=".to_owned(),
        encoding: Encoding::HexUpper,
        algorithm: Algorithm::HmacSha512,
        timestamp: Some(Timestamp {
            header: "x-mill-time".to_owned(),
            unit: TimeUnit::Milliseconds,
            separator: "|".to_owned(),
        }),
    };
    let plain = Custom {
        header: "x-mill-digest".to_owned(),
        prefix: String::new(),
        encoding: Encoding::Base64,
        algorithm: Algorithm::HmacSha1,
        timestamp: None,
    };
    let custom_tag =
        tag(Algorithm::HmacSha512, Encoding::HexUpper, b"an own secret", &[b"1700000000000|", body.as_bytes()]);
    vec![
        Sample::new("standard", Scheme::StandardWebhooks {}, whsec, body)
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", time)
            .header(
                "webhook-signature",
                format!("v1,{}", sign(&key, Encoding::Base64, &format!("msg_1.{time}.{body}"))),
            ),
        Sample::new("stripe", Scheme::Stripe { header: None }, "whsec_as_it_is", body).header(
            "stripe-signature",
            format!("t={time},v1={}", sign(b"whsec_as_it_is", Encoding::Hex, &format!("{time}.{body}"))),
        ),
        Sample::new("shopify", Scheme::Shopify {}, "shop secret", body)
            .header("x-shopify-hmac-sha256", sign(b"shop secret", Encoding::Base64, body)),
        Sample::new("slack", Scheme::Slack {}, "slack secret", body).header("x-slack-request-timestamp", time).header(
            "x-slack-signature",
            format!("v0={}", sign(b"slack secret", Encoding::Hex, &format!("v0:{time}:{body}"))),
        ),
        Sample::new("custom", Scheme::Hmac(custom), "an own secret", body)
            .header("x-mill-time", "1700000000000")
            .header("x-mill-signature", format!("h={custom_tag}")),
        Sample::new("stripe elsewhere", Scheme::Stripe { header: Some("x-flour-signature".to_owned()) }, "flour", body)
            .header(
                "x-flour-signature",
                format!("t={time},v1={}", sign(b"flour", Encoding::Hex, &format!("{time}.{body}"))),
            ),
        Sample::new("custom without a time", Scheme::Hmac(plain), "an own secret", body)
            .header("x-mill-digest", tag(Algorithm::HmacSha1, Encoding::Base64, b"an own secret", &[body.as_bytes()])),
        Sample::new("basic", Scheme::Basic {}, "mill:wheel stone", body)
            .header("authorization", "Basic bWlsbDp3aGVlbCBzdG9uZQ=="),
    ]
}

fn all() -> Vec<Sample> {
    published().into_iter().chain(signed()).collect()
}

#[test]
fn published_vectors_pass() {
    for sample in all() {
        assert!(sample.verdict().is_ok(), "{}: {:?}", sample.name, sample.verdict());
    }
}

#[test]
fn a_secret_that_replaces_another_is_told_from_it() {
    for sample in all() {
        let other = if sample.name == "standard" { "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSX" } else { "other:secret" };
        assert_eq!(sample.verdict_with(&[other, sample.secret]).unwrap().secret, 1, "{}", sample.name);
        assert_eq!(sample.verdict_with(&[sample.secret, other]).unwrap().secret, 0, "{}", sample.name);
        assert!(sample.verdict_with(&[other]).is_err(), "{}", sample.name);
        assert!(sample.verdict_with(&[]).is_err(), "{}", sample.name);
    }
}

/// What may change without harm: the name of HTTP Basic, in which case does not count, and the body where nothing is proved of it.
fn is_free(sample: &Sample, place: Place) -> bool {
    match place {
        Place::Body(_) => !sample.scheme.signs_the_body(),
        Place::Header(_, at) => matches!(sample.scheme, Scheme::Basic {}) && at < 6,
        Place::Query(_) => false,
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Body(usize),
    Header(usize, usize),
    /// Of the URL, where a query begins.
    Query(usize),
}

fn places(sample: &Sample) -> Vec<Place> {
    let body = (0..sample.body.len()).map(Place::Body);
    let headers = sample
        .headers
        .iter()
        .enumerate()
        .flat_map(|(header, (_, value))| (0..value.len()).map(move |at| Place::Header(header, at)));
    let query = sample.url.find('?').into_iter().flat_map(|at| (at..sample.url.len()).map(Place::Query));
    body.chain(headers).chain(query).filter(|place| !is_free(sample, *place)).collect()
}

fn changed(sample: &Sample, place: Place, to: u8) -> Option<Sample> {
    let mut changed = sample.clone();
    let byte = match place {
        Place::Body(at) => &mut changed.body[at],
        Place::Query(at) => {
            let mut url = changed.url.into_bytes();
            let before = std::mem::replace(&mut url[at], to);
            changed.url = String::from_utf8(url).ok().filter(|_| before != to)?;
            return Some(changed);
        }
        Place::Header(header, at) => {
            let mut value = changed.headers[header].1.clone().into_bytes();
            let before = std::mem::replace(&mut value[at], to);
            // What no HTTP implementation lets through needs no judgement.
            let value = String::from_utf8(value).ok().filter(|_| before != to)?;
            HeaderValue::from_str(&value).ok()?;
            changed.headers[header].1 = value;
            return Some(changed);
        }
    };
    let before = std::mem::replace(byte, to);
    (before != to).then_some(changed)
}

#[test]
fn every_bit_counts() {
    for sample in all() {
        for place in places(&sample) {
            for bit in 0..8 {
                let before = match place {
                    Place::Body(at) => sample.body[at],
                    Place::Header(header, at) => sample.headers[header].1.as_bytes()[at],
                    Place::Query(at) => sample.url.as_bytes()[at],
                };
                let Some(changed) = changed(&sample, place, before ^ (1 << bit)) else { continue };
                assert!(changed.verdict().is_err(), "{}: {place:?}, bit {bit}", sample.name);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_other_byte_passes(choice in 0..all().len(), place in any::<prop::sample::Index>(), to in any::<u8>()) {
        let sample = all().swap_remove(choice);
        let places = places(&sample);
        let place = places[place.index(places.len())];
        if let Some(changed) = changed(&sample, place, to) {
            prop_assert!(changed.verdict().is_err(), "{}: {place:?} to {to:#x}", sample.name);
        }
    }

    #[test]
    fn a_body_that_is_cut_or_continued_is_refused(choice in 0..all().len(), cut in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let sample = all().swap_remove(choice);
        prop_assume!(sample.scheme.signs_the_body() && !sample.body.is_empty());
        let mut cut_off = sample.clone();
        cut_off.body.truncate(cut.index(sample.body.len()));
        prop_assert!(cut_off.verdict().is_err());
        let mut continued = sample.clone();
        continued.body.extend(more);
        prop_assert!(continued.verdict().is_err());
    }

    #[test]
    fn no_headers_whatever_panic_or_pass(value in "\\PC{0,80}", choice in 0..all().len()) {
        let mut sample = all().swap_remove(choice);
        for header in &mut sample.headers {
            header.1 = value.clone();
        }
        prop_assume!(HeaderValue::from_str(&value).is_ok() && !sample.headers.is_empty());
        prop_assert!(sample.verdict().is_err());
    }
}

#[test]
fn times_far_off_are_refused_either_way_and_only_for_those_who_signed() {
    for sample in all().into_iter().filter(|sample| sample.scheme.signs_the_time()) {
        let with = |seconds: i64| Sample { now: sample.now + TimeDelta::seconds(seconds), ..sample.clone() };
        assert!(with(300).verdict().is_ok() && with(-300).verdict().is_ok(), "{}", sample.name);
        assert_eq!(with(301).verdict().unwrap_err(), Refusal::TooOld(301), "{}", sample.name);
        assert_eq!(with(-301).verdict().unwrap_err(), Refusal::TooNew(301), "{}", sample.name);
        assert_eq!(
            with(9_999).verdict_with(&["other:secret"]).unwrap_err(),
            Refusal::WrongSignature,
            "{}",
            sample.name
        );
    }
}

#[test]
fn headers_that_are_missing_or_there_twice_are_refused() {
    for sample in all() {
        for index in 0..sample.headers.len() {
            let mut without = sample.clone();
            let (name, value) = without.headers.remove(index);
            assert_eq!(without.verdict().unwrap_err(), Refusal::MissingHeader(name.to_owned()), "{}", sample.name);
            let twice = sample.clone().header(name, value);
            assert_eq!(twice.verdict().unwrap_err(), Refusal::Malformed, "{}", sample.name);
        }
    }
}

#[test]
fn one_of_several_signatures_is_enough() {
    let sample = |name: &str| all().into_iter().find(|sample| sample.name == name).unwrap();
    let mut standard = sample("standard");
    standard.headers[2].1 = format!("v1a,AAAA v1,AAAA {} v2,x", standard.headers[2].1);
    assert!(standard.verdict().is_ok());
    let mut stripe = sample("stripe");
    stripe.headers[0].1 = format!("{},v0=abc,v1=abc", stripe.headers[0].1);
    assert!(stripe.verdict().is_ok());
    stripe.headers[0].1 = format!("t=1,{}", stripe.headers[0].1);
    assert_eq!(stripe.verdict().unwrap_err(), Refusal::Malformed, "two times");
    standard.headers[2].1 = "v1,AAAA ".repeat(17);
    assert_eq!(standard.verdict().unwrap_err(), Refusal::Malformed, "too many");
}

#[test]
fn the_same_delivery_has_the_same_fingerprint_and_another_has_another() {
    let prints: Vec<_> = all().iter().map(|sample| sample.verdict().unwrap().fingerprint).collect();
    assert_eq!(prints, all().iter().map(|sample| sample.verdict().unwrap().fingerprint).collect::<Vec<_>>());
    let distinct: std::collections::HashSet<_> = prints.iter().collect();
    assert_eq!(distinct.len(), prints.len());
    // An attempt made later is the same event: its id is signed, and its time is another one.
    let retried = |time: &str| {
        let sample = all().into_iter().find(|sample| sample.name == "standard").unwrap();
        let body = String::from_utf8(sample.body.clone()).unwrap();
        let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &sample.secret[6..]).unwrap();
        let message = format!("msg_1.{time}.{body}");
        let signature = tag(Algorithm::HmacSha256, Encoding::Base64, &key, &[message.as_bytes()]);
        let headers = vec![
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", time.to_owned()),
            ("webhook-signature", format!("v1,{signature}")),
        ];
        Sample { headers, ..sample }.verdict().unwrap().fingerprint
    };
    assert_eq!(retried("1700000000"), retried("1700000100"));
}

#[test]
fn urls_are_signed_with_hubspots_escapes_undone() {
    let body = "{}";
    let url = "https://hooks.example.com/v1/webhooks/0193?to=a%40b.example%2Fc%20d&x=%3f%2525";
    let decoded = "https://hooks.example.com/v1/webhooks/0193?to=a@b.example/c%20d&x=?%2525";
    let signed = |over: &str| {
        let message = ["POST", over, body, "1700000000000"].concat();
        let signature = tag(Algorithm::HmacSha256, Encoding::Base64, HUBSPOT_SECRET.as_bytes(), &[message.as_bytes()]);
        let sample = Sample::new("v3", Scheme::HubspotV3 {}, HUBSPOT_SECRET, body)
            .header("x-hubspot-signature-v3", signature)
            .header("x-hubspot-request-timestamp", "1700000000000");
        Sample { url: url.to_owned(), ..sample }
    };
    assert!(signed(decoded).verdict().is_ok());
    assert!(signed(url).verdict().is_ok(), "and as it is");
    assert!(signed("https://hooks.example.com/v1/webhooks/0193").verdict().is_err());
}

#[test]
fn a_secret_in_the_url_is_compared_whole() {
    let headers = HeaderMap::new();
    let verdict = |token| {
        let delivery = Delivery { method: "POST", url: "https://x.example", token, headers: &headers, body: b"a=1" };
        verify(&Scheme::SecretUrl {}, &[SecretString::from("a long secret")], &delivery, (Utc::now(), TOLERANCE))
    };
    assert!(verdict(Some("a long secret")).is_ok());
    for wrong in [None, Some(""), Some("a long secre"), Some("a long secret "), Some("a long secreT")] {
        assert_eq!(verdict(wrong).unwrap_err(), Refusal::WrongCredentials, "{wrong:?}");
    }
}

#[test]
fn schemes_and_secrets_that_cannot_work_are_told_by_their_field() {
    let custom = |header: &str| {
        Scheme::Hmac(Custom {
            header: header.to_owned(),
            prefix: String::new(),
            encoding: Encoding::Hex,
            algorithm: Algorithm::HmacSha256,
            timestamp: None,
        })
    };
    let field =
        |scheme: &Scheme, secret: &str| scheme.check(&SecretString::from(secret)).err().map(|error| error.field);
    assert_eq!(field(&custom("X-Mill"), "long enough"), None);
    assert_eq!(field(&custom("X Mill"), "long enough"), Some("scheme.header"));
    assert_eq!(field(&custom("X-Mill"), "short"), Some("secret"));
    assert_eq!(field(&Scheme::StandardWebhooks {}, "whsec_AAAA"), Some("secret"));
    assert_eq!(field(&Scheme::StandardWebhooks {}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
    assert_eq!(field(&Scheme::Basic {}, "no password"), Some("secret"));
    let read = |json: &str| serde_json::from_str::<Scheme>(json);
    assert_eq!(read(r#"{"type":"hubspot_v3"}"#).unwrap(), Scheme::HubspotV3 {});
    assert!(read(r#"{"type":"hubspot_v3","header":"x"}"#).is_err());
    assert!(read(r#"{"type":"hmac","header":"x","encoding":"hex","algorithm":"prefixed_sha256"}"#).is_err());
}
