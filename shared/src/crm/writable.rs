//! Which fields of a copy may be changed, and to what: the API says so at once instead of a job much later.

use serde_json::Value;

use super::{Object, Provider, decimal};

const MOST_CHARS: usize = 10_000;
const MOST_VALUES: usize = 20;

/// The common fields that can be written. What a provider has in several fields of its own, such as a person's name, is written by these: `raw.firstname`.
#[must_use]
pub const fn writable(provider: Provider, object: Object) -> &'static [&'static str] {
    match (provider, object) {
        (_, Object::Owners | Object::Pipelines) | (Provider::Kommo | Provider::Pipedrive, Object::Notes) => &[],
        (Provider::Hubspot | Provider::Salesforce, Object::Contacts) => &["emails", "phones", "owner"],
        (Provider::Kommo, Object::Contacts | Object::Companies) | (Provider::Pipedrive, Object::Contacts) => {
            &["name", "emails", "phones", "owner"]
        }
        (Provider::Pipedrive, Object::Companies) | (_, Object::Notes) => &["name", "owner"],
        (_, Object::Companies) => &["name", "phones", "owner"],
        (Provider::Hubspot | Provider::Pipedrive, Object::Deals) => {
            &["name", "amount", "currency", "pipeline", "stage", "owner"]
        }
        (Provider::Kommo, Object::Deals) => &["name", "amount", "pipeline", "stage", "owner"],
        (Provider::Salesforce, Object::Deals) => &["name", "amount", "stage", "owner"],
    }
}

/// A field of the provider's own in its document; null where there is none.
#[must_use]
pub fn raw_field(provider: Provider, document: &Value, name: &str) -> Value {
    let fields = if provider == Provider::Hubspot { document.get("properties") } else { Some(document) };
    fields.and_then(|fields| fields.get(name)).cloned().unwrap_or_default()
}

/// Checks a change of a field. Gives the value as it is compared and written.
///
/// # Errors
/// What is wrong with the field or the value, and what would be right.
pub fn check_field(provider: Provider, object: Object, field: &str, value: Value) -> Result<Value, String> {
    if let Some(raw) = field.strip_prefix("raw.") {
        let is_name =
            !raw.is_empty() && raw.len() <= 128 && raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || matches!(object, Object::Owners | Object::Pipelines) {
            return Err("is no field of the CRM's that can be written".to_owned());
        }
        return match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value),
            Value::String(text) => bounded(text),
            Value::Array(_) | Value::Object(_) => Err("must be text, a number, true, false or null".to_owned()),
        };
    }
    if !writable(provider, object).contains(&field) {
        let known = writable(provider, object);
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(format!(
            "cannot be written; of {object} in {provider} these can: {known}, and the CRM's own fields as raw.name"
        ));
    }
    match (field, value) {
        ("emails" | "phones", Value::Array(values)) if values.len() <= MOST_VALUES => {
            let texts: Result<Vec<Value>, String> = values.into_iter().map(text).collect();
            Ok(Value::Array(texts?))
        }
        ("emails" | "phones", _) => Err(format!("must be a list of at most {MOST_VALUES} texts")),
        ("amount", Value::Null) => Ok(Value::Null),
        ("amount", Value::Number(number)) => amount(&number.to_string()),
        ("amount", Value::String(number)) => amount(&number),
        ("amount", _) => Err("must be a decimal number".to_owned()),
        (_, value) => text(value),
    }
}

fn amount(number: &str) -> Result<Value, String> {
    decimal(number).map(Value::String).ok_or_else(|| "must be a decimal number, such as 1250.50".to_owned())
}

fn text(value: Value) -> Result<Value, String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => bounded(text.trim().to_owned()),
        _ => Err("must be text that is not empty".to_owned()),
    }
}

fn bounded(text: String) -> Result<Value, String> {
    if text.chars().count() > MOST_CHARS || text.contains('\0') {
        return Err(format!("must have at most {MOST_CHARS} characters"));
    }
    Ok(Value::String(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_brought_to_the_form_in_which_they_are_compared() {
        let check = |field: &str, value: Value| check_field(Provider::Hubspot, Object::Deals, field, value);
        assert_eq!(check("amount", json!(1250.50)), Ok(json!("1250.5")));
        assert_eq!(check("amount", json!("1.25e3")), Ok(json!("1250")));
        assert_eq!(check("name", json!("  Weir ")), Ok(json!("Weir")));
        assert_eq!(check("raw.closedate", json!(null)), Ok(json!(null)));
    }

    #[test]
    fn what_cannot_be_written_is_told_with_what_can() {
        let error =
            |object, field: &str, value: Value| check_field(Provider::Hubspot, object, field, value).unwrap_err();
        assert!(error(Object::Contacts, "name", json!("Ada")).contains("emails, phones, owner"));
        assert!(error(Object::Deals, "amount", json!("much")).contains("decimal"));
        assert!(error(Object::Contacts, "emails", json!("a@b")).contains("list"));
        assert!(error(Object::Deals, "raw.a/b", json!(1)).contains("no field"));
        assert!(error(Object::Owners, "raw.name", json!("x")).contains("no field"));
    }
}
