//! Changing a record by the names of the control API, which the vendors' writes are translated into as well.

use serde_json::Value;

use super::{Row, read_id};
use crate::provider::{Object, Provider};

/// Why a field cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    #[error("there is no field {0:?}")]
    UnknownField(String),
    #[error("{value} is no value of the field {field:?}")]
    BadValue { field: String, value: String },
}

/// Sets a field. Null takes its value away.
///
/// # Errors
/// When there is no such field, or the value is none of its.
pub(crate) fn set(row: &mut Row, provider: Provider, field: &str, value: &Value) -> Result<(), EditError> {
    let bad = || EditError::BadValue { field: field.to_owned(), value: value.to_string() };
    if let Some(place) = text_field(row, field) {
        *place = text(value).ok_or_else(bad)?;
        return Ok(());
    }
    let ids = |object| ids(provider, object, value).ok_or_else(bad);
    match field {
        "emails" => row.emails = texts(value).ok_or_else(bad)?,
        "phones" => row.phones = texts(value).ok_or_else(bad)?,
        "amount" => row.amount = hundredths(value).ok_or_else(bad)?,
        "owner" => row.owner = ids(Object::Owners)?.first().copied(),
        "contacts" => row.contacts = ids(Object::Contacts)?,
        "companies" => row.companies = ids(Object::Companies)?,
        "deals" => row.deals = ids(Object::Deals)?,
        "custom" => {
            for (key, value) in value.as_object().ok_or_else(bad)? {
                if value.is_null() {
                    row.custom.remove(key);
                } else {
                    row.custom.insert(key.clone(), value.clone());
                }
            }
        }
        _ => return Err(EditError::UnknownField(field.to_owned())),
    }
    Ok(())
}

fn text_field<'a>(row: &'a mut Row, field: &str) -> Option<&'a mut String> {
    Some(match field {
        "first_name" => &mut row.first_name,
        "last_name" => &mut row.last_name,
        "name" => &mut row.name,
        "company_name" => &mut row.company_name,
        "job_title" => &mut row.job_title,
        "website" => &mut row.website,
        "currency" => &mut row.currency,
        "pipeline" => &mut row.pipeline,
        "stage" => &mut row.stage,
        "status" => &mut row.status,
        "text" => &mut row.text,
        _ => return None,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn ids(provider: Provider, object: Object, value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(|value| read_id(provider, object, &text(value)?)).collect(),
        one => Some(vec![read_id(provider, object, &text(one)?)?]),
    }
}

/// A decimal as a number or a text, in hundredths; what is beyond them is cut off.
#[expect(clippy::option_option, reason = "no amount is a value, and no value at all is a mistake")]
pub(crate) fn hundredths(value: &Value) -> Option<Option<i64>> {
    let text = text(value)?;
    if text.is_empty() {
        return Some(None);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let cents: String = rest.chars().chain("00".chars()).take(2).collect();
    let amount = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents.parse().ok()?)?;
    Some(Some(sign * amount))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_written_as_they_are_read() {
        for (given, shown) in [(json!(12), "12"), (json!("12.50"), "12.5"), (json!(-0.07), "-0.07")] {
            let mut row = Row::default();
            set(&mut row, Provider::Kommo, "amount", &given).unwrap();
            assert_eq!(row.decimal_amount().unwrap(), shown);
        }
    }

    #[test]
    fn unknown_fields_and_wrong_values_are_refused() {
        let mut row = Row::default();
        assert!(set(&mut row, Provider::Kommo, "color", &json!("red")).is_err());
        assert!(set(&mut row, Provider::Kommo, "emails", &json!("one")).is_err());
        assert_eq!(row, Row::default());
    }
}
