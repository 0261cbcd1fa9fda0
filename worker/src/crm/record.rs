//! From a provider's document to a record: fields are looked for, and whatever is not what it is known to be is noted, never fatal.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use millrace_shared::crm::{Object, decimal};
use millrace_shared::db::crm::records::{Association, Fields, Seen};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// More drift than this on one page says nothing more.
const MOST_DRIFT: usize = 50;
/// Longer names are cut in the common field; the document has all of it.
const MOST_CHARS: usize = 4_000;

/// What was not as it is known to be: fields, and what they were instead.
#[derive(Debug, Default)]
pub(super) struct Drift(Mutex<Vec<(String, String)>>);

impl Drift {
    pub(super) fn note(&self, field: &str, problem: &str) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = found.iter().any(|(name, what)| name == field && what == problem);
        if !known && found.len() < MOST_DRIFT {
            found.push((field.to_owned(), problem.to_owned()));
        }
    }

    pub(super) fn into_found(self) -> Vec<(String, String)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A document, and where to note what is odd about it.
#[derive(Clone, Copy)]
pub(super) struct Look<'v> {
    value: &'v Value,
    drift: &'v Drift,
}

impl<'v> Look<'v> {
    pub(super) fn at(value: &'v Value, drift: &'v Drift) -> Self {
        Self { value, drift }
    }

    /// A part of the document, which may be missing.
    pub(super) fn part(self, field: &str) -> Option<Self> {
        let value = self.value.get(field).filter(|value| !value.is_null())?;
        Some(Self { value, ..self })
    }

    pub(super) fn value(self) -> &'v Value {
        self.value
    }

    /// Text; numbers are text too. What is empty is nothing.
    pub(super) fn text(self, field: &str) -> Option<String> {
        let text = match self.value.get(field)? {
            Value::Null => return None,
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            other => {
                self.odd(field, other, "text");
                return None;
            }
        };
        let text = text.replace('\0', "");
        let end = text.char_indices().nth(MOST_CHARS).map_or(text.len(), |(at, _)| at);
        (!text.is_empty()).then(|| text[..end].to_owned())
    }

    /// An id: text or a number.
    pub(super) fn id(self, field: &str) -> Option<String> {
        self.text(field).filter(|id| id != "0")
    }

    pub(super) fn flag(self, field: &str) -> bool {
        match self.value.get(field) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Null) | None => false,
            Some(other) => {
                self.odd(field, other, "true or false");
                false
            }
        }
    }

    /// Elements of a list, which may be missing.
    pub(super) fn list(self, field: &str) -> impl Iterator<Item = Self> + use<'v> {
        let list = match self.value.get(field) {
            Some(Value::Array(list)) => list.as_slice(),
            Some(Value::Null) | None => &[],
            Some(other) => {
                self.odd(field, other, "a list");
                &[]
            }
        };
        list.iter().map(move |value| Self { value, ..self })
    }

    /// A time as RFC 3339 has it, or as Salesforce has it, whose zone has no colon.
    pub(super) fn time(self, field: &str) -> Option<DateTime<Utc>> {
        let text = self.text(field)?;
        let read = DateTime::parse_from_rfc3339(&text)
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z"))
            .map(|time| time.to_utc())
            .or_else(|_| chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").map(|time| time.and_utc()));
        read.inspect_err(|_| self.drift.note(field, "is no time")).ok()
    }

    /// Seconds since 1970.
    pub(super) fn seconds(self, field: &str) -> Option<DateTime<Utc>> {
        let text = self.text(field)?;
        let time =
            text.parse().ok().filter(|seconds| *seconds > 0).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        if time.is_none() && text != "0" {
            self.drift.note(field, "is no time");
        }
        time
    }

    /// A number, written out.
    pub(super) fn decimal(self, field: &str) -> Option<String> {
        let text = self.text(field)?;
        let plain = decimal(&text);
        if plain.is_none() {
            self.drift.note(field, "is no number");
        }
        plain
    }

    fn odd(self, field: &str, found: &Value, wanted: &str) {
        let kind = match found {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.drift.note(field, &format!("is {kind} instead of {wanted}"));
    }
}

/// A record whose fields have been found.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) updated_at: Option<DateTime<Utc>>,
    pub(super) fields: Fields,
    pub(super) associations: Vec<Association>,
}

impl Draft {
    /// Belongs to another, if that is said.
    pub(super) fn belongs(&mut self, object: Object, id: Option<String>) {
        self.associations.extend(id.map(|id| Association { object, id }));
    }

    /// The record of this id and document. One without a time of its last change has changed when it was made.
    pub(super) fn seal(mut self, external_id: String, raw: Value) -> Seen {
        self.associations.sort();
        self.associations.dedup();
        let updated_at = self.updated_at.or(self.created_at).unwrap_or(DateTime::UNIX_EPOCH);
        let mut hash = Sha256::new();
        feed(&mut hash, &serde_json::json!([self.created_at, updated_at, self.fields, self.associations]));
        feed(&mut hash, &raw);
        Seen {
            external_id,
            created_at: self.created_at,
            updated_at,
            fields: self.fields,
            associations: self.associations,
            raw: without_nul(raw),
            digest: hash.finalize().into(),
        }
    }
}

/// The same for documents that are the same, whatever the order of their fields.
fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            hash.update(b"{");
            for (name, value) in fields {
                text(hash, name);
                feed(hash, value);
            }
            hash.update(b"}");
        }
        Value::Array(list) => {
            hash.update(b"[");
            list.iter().for_each(|value| feed(hash, value));
            hash.update(b"]");
        }
        Value::String(string) => text(hash, string),
        Value::Number(number) => {
            hash.update(b"n");
            hash.update(number.to_string());
            hash.update(b";");
        }
        Value::Bool(true) => hash.update(b"t"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Null => hash.update(b"0"),
    }
}

fn text(hash: &mut Sha256, text: &str) {
    hash.update(b"s");
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// Postgres keeps no NUL in JSON.
fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(list) => Value::Array(list.into_iter().map(without_nul).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(name, value)| (name.replace('\0', "\u{fffd}"), without_nul(value))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_as_it_is_known_is_noted_and_left_out() {
        let drift = Drift::default();
        let document = json!({ "name": ["a"], "amount": "much", "at": 5, "tags": "x", "on": "yes", "fine": " ok " });
        let look = Look::at(&document, &drift);
        assert_eq!((look.text("name"), look.decimal("amount"), look.time("at")), (None, None, None));
        assert_eq!((look.list("tags").count(), look.flag("on")), (0, false));
        assert_eq!(look.text("fine").as_deref(), Some("ok"));
        assert_eq!(look.text("missing"), None);
        let found = drift.into_found();
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.contains(&("name".to_owned(), "is a list instead of text".to_owned())));
    }

    #[test]
    fn times_are_read_as_each_provider_writes_them() {
        let drift = Drift::default();
        let document = json!({
            "a": "2026-01-31T08:00:00.123Z", "b": "2026-01-31T09:00:00.123+0100", "c": "2026-01-31 08:00:00", "d": 1_769_846_400,
        });
        let look = Look::at(&document, &drift);
        assert_eq!(look.time("a"), look.time("b"));
        assert_eq!(look.time("c"), look.seconds("d"));
    }

    #[test]
    fn a_digest_is_of_what_is_said_and_not_of_its_order() {
        let seal = |raw: Value| Draft::default().seal("1".to_owned(), raw).digest;
        let (one, other): (Value, Value) = (
            serde_json::from_str(r#"{"a":1,"b":[2,3]}"#).unwrap(),
            serde_json::from_str(r#"{"b":[2,3],"a":1}"#).unwrap(),
        );
        assert_eq!(seal(one.clone()), seal(other));
        for changed in [json!({"a":1,"b":[3,2]}), json!({"a":"1","b":[2,3]}), json!({"a":1,"b":[2],"c":3})] {
            assert_ne!(seal(one.clone()), seal(changed));
        }
    }

    #[test]
    fn a_nul_that_postgres_would_refuse_is_shown_as_what_it_is_not() {
        let seen = Draft::default().seal("1".to_owned(), json!({ "a\u{0}": ["b\u{0}"] }));
        assert_eq!(seen.raw, json!({ "a\u{fffd}": ["b\u{fffd}"] }));
    }
}
