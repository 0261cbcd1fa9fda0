//! Whether a copy is what is there, field by field.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use chrono::DateTime;
use serde_json::{Value, json};

/// What is different between the truth of an account and the copies of an object, in words; nothing: they are the same.
///
/// `live` has what is there, as links name it: nobody shows links to anything else, and a copy may, because no record changes by that.
pub(super) fn differences(
    (provider, object): (&str, &str),
    truth: &Value,
    copies: &[Value],
    live: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let rows = truth["rows"].as_array().context("the truth has no rows")?;
    let mut found = Vec::new();
    let by_id: BTreeMap<&str, &Value> =
        copies.iter().filter_map(|copy| Some((copy["external_id"].as_str()?, copy))).collect();
    if by_id.len() != copies.len() {
        bail!("{object} are there twice");
    }
    let mut there: BTreeSet<&str> = copies
        .iter()
        .filter(|copy| copy["deleted_at"].is_null())
        .filter_map(|copy| copy["external_id"].as_str())
        .collect();
    for row in rows {
        let id = row["id"].as_str().context("a row without an id")?;
        there.remove(id);
        match by_id.get(id) {
            None => found.push(format!("{object} {id} is missing")),
            Some(copy) if !copy["deleted_at"].is_null() => found.push(format!("{object} {id} is taken for deleted")),
            Some(copy) => found.extend(
                fields((provider, object), row, copy, live).into_iter().map(|field| format!("{object} {id}: {field}")),
            ),
        }
    }
    found.extend(there.into_iter().map(|id| format!("{object} {id} is not there any more")));
    Ok(found)
}

fn fields((provider, object): (&str, &str), row: &Value, copy: &Value, live: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut same = |field: &str, expected: Value, is: &Value| {
        if expected != *is {
            wrong.push(format!("{field} is {is} instead of {expected}"));
        }
    };
    same("name", expected_name(provider, object, row), &copy["name"]);
    if object == "pipelines" {
        return wrong;
    }
    if matches!(object, "contacts" | "owners") || (provider == "kommo" && object == "companies") {
        same("emails", row["emails"].clone(), &copy["emails"]);
    }
    if object == "contacts" || (object == "companies" && provider != "pipedrive") {
        same("phones", row["phones"].clone(), &copy["phones"]);
    }
    if object == "deals" {
        for field in ["amount", "stage"] {
            same(field, row[field].clone(), &copy[field]);
        }
        if provider != "salesforce" {
            same("pipeline", row["pipeline"].clone(), &copy["pipeline"]);
        }
        if matches!(provider, "hubspot" | "pipedrive") {
            same("currency", row["currency"].clone(), &copy["currency"]);
        }
    }
    if object != "owners" {
        same("owner", row["owner"].clone(), &copy["owner"]);
        let shown: Vec<String> = links(copy).into_iter().filter(|link| live.contains(link)).collect();
        same("associations", expected_links(object, row), &json!(shown));
        same("updated at", row["updated_at_ms"].clone(), &json!(millis(&copy["crm_updated_at"])));
        same("custom fields", json!(Vec::<String>::new()), &json!(missing_custom(row, copy)));
    }
    wrong
}

fn expected_name(provider: &str, object: &str, row: &Value) -> Value {
    let field = match (provider, object) {
        ("salesforce", "notes") => "name",
        (_, "notes") => "text",
        // It has one, which has no name.
        ("salesforce", "pipelines") => return Value::Null,
        _ => "name",
    };
    // What a common field holds has no blanks around it, and an end.
    let text = row[field].as_str().map(|text| text.trim().chars().take(4_000).collect::<String>());
    json!(text.filter(|text| !text.is_empty()))
}

/// What it belongs to, as far as it is synced.
fn expected_links(object: &str, row: &Value) -> Value {
    let asked: &[&str] = match object {
        "contacts" => &["companies"],
        "deals" => &["companies", "contacts"],
        "notes" => &["companies", "contacts", "deals"],
        _ => &[],
    };
    let mut all: Vec<String> = Vec::new();
    for other in asked {
        let ids = row[*other].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.extend(ids.map(|id| format!("{other} {id}")));
    }
    all.sort();
    json!(all)
}

fn links(copy: &Value) -> Vec<String> {
    let one = |link: &Value| {
        format!("{} {}", link["object"].as_str().unwrap_or_default(), link["id"].as_str().unwrap_or_default())
    };
    let mut all: Vec<String> = copy["associations"].as_array().into_iter().flatten().map(one).collect();
    all.sort();
    all
}

fn millis(time: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(time.as_str()?).ok().map(|time| time.timestamp_millis())
}

/// Names of custom fields whose text is not in the provider's document.
fn missing_custom(row: &Value, copy: &Value) -> Vec<String> {
    let document = copy["raw"].to_string();
    let custom = row["custom"].as_object().into_iter().flatten();
    let texts = custom.filter_map(|(name, value)| Some((name, value.as_str()?)));
    // As JSON writes it; dates go by other forms.
    let is_date = |text: &str| text.len() == 10 && text.as_bytes()[4] == b'-';
    texts
        .filter(|(_, text)| {
            !text.is_empty() && !is_date(text) && !document.contains(json!(text).to_string().trim_matches('"'))
        })
        .map(|(name, _)| name.clone())
        .collect()
}
