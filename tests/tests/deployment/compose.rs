//! `docker-compose.yml` and `.env.example`, and how Compose puts the one into the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use crate::files;

type Variables = BTreeMap<String, String>;

/// The file, with its anchors resolved and its variables as they stand.
pub(crate) struct Compose(Value);

pub(crate) struct Service(pub(crate) Value);

/// One `${…}`.
#[derive(Debug, PartialEq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) default: Option<String>,
    pub(crate) required: bool,
}

impl Compose {
    pub(crate) fn read() -> Self {
        let file = serde_saphyr::from_str(&files::read("docker-compose.yml")).expect("docker-compose.yml is YAML");
        Self(file)
    }

    pub(crate) fn services(&self) -> Vec<String> {
        self.0["services"].as_object().expect("services").keys().cloned().collect()
    }

    pub(crate) fn service(&self, name: &str) -> Service {
        Service(self.0["services"].get(name).unwrap_or_else(|| panic!("no service {name}")).clone())
    }

    pub(crate) fn has_volume(&self, name: &str) -> bool {
        self.0["volumes"].get(name).is_some()
    }

    /// Every variable of every service: service, name, value.
    pub(crate) fn all_environments(&self) -> Vec<(String, String, String)> {
        let of = |service: String| {
            let environment = self.service(&service).environment();
            environment.into_iter().map(move |(name, value)| (service.clone(), name, value))
        };
        self.services().into_iter().flat_map(of).collect()
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut references = Vec::new();
        collect(&self.0["services"], &mut references);
        references
    }

    pub(crate) fn variables(&self) -> BTreeSet<String> {
        self.references().into_iter().map(|reference| reference.name).collect()
    }
}

fn collect(value: &Value, into: &mut Vec<Reference>) {
    match value {
        Value::String(text) => into.extend(parts(text).into_iter().filter_map(Result::err)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => members.values().for_each(|member| collect(member, into)),
        _ => {}
    }
}

impl Service {
    pub(crate) fn environment(&self) -> Variables {
        let Some(variables) = self.0["environment"].as_object() else { return Variables::new() };
        variables.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    pub(crate) fn string(&self, key: &str) -> Option<String> {
        self.0[key].as_str().map(str::to_owned)
    }

    pub(crate) fn strings(&self, key: &str) -> Vec<String> {
        self.0[key].as_array().into_iter().flatten().map(text).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The lines `NAME=value` of an env file.
pub(crate) struct EnvFile(pub(crate) Variables);

impl EnvFile {
    pub(crate) fn example() -> Self {
        let text = files::read(".env.example");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pair = |line: &str| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no variable: {line}"));
            (name.to_owned(), value.to_owned())
        };
        Self(lines.map(pair).collect())
    }
}

/// `value` as Compose would pass it on.
///
/// # Errors
/// The name of a needed variable that is not set or empty.
pub(crate) fn expand(value: &str, variables: &Variables) -> Result<String, String> {
    let mut expanded = String::new();
    for part in parts(value) {
        match part {
            Ok(text) => expanded.push_str(&text),
            Err(Reference { name, default, required }) => {
                let set = variables.get(&name).filter(|value| !value.is_empty());
                match set {
                    Some(value) => expanded.push_str(value),
                    None if required => return Err(name),
                    None => expanded.push_str(&default.unwrap_or_default()),
                }
            }
        }
    }
    Ok(expanded)
}

/// Text and references, in order: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; two dollars stand for one.
fn parts(value: &str) -> Vec<Result<String, Reference>> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        parts.push(Ok(before.to_owned()));
        if let Some(after) = after.strip_prefix('$') {
            parts.push(Ok("$".to_owned()));
            rest = after;
            continue;
        }
        let inner = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (inner, after) = inner.unwrap_or_else(|| panic!("a variable without braces in `{value}`"));
        parts.push(Err(reference(inner)));
        rest = after;
    }
    parts.push(Ok(rest.to_owned()));
    parts
}

fn reference(inner: &str) -> Reference {
    if let Some((name, default)) = inner.split_once(":-") {
        return Reference { name: name.to_owned(), default: Some(default.to_owned()), required: false };
    }
    let (name, required) = inner.split_once(":?").map_or((inner, false), |(name, _)| (name, true));
    assert!(name.chars().all(|letter| letter == '_' || letter.is_ascii_alphanumeric()), "`{inner}` is no variable");
    Reference { name: name.to_owned(), default: None, required }
}

/// `25s` or `2m`.
pub(crate) fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("no duration: {text}"));
    match unit {
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        _ => panic!("no duration: {text}"),
    }
}

#[test]
fn variables_are_put_in_as_compose_does_it() {
    let variables = Variables::from([("A".into(), "1".into()), ("EMPTY".into(), String::new())]);
    let expanded = |value| expand(value, &variables);
    assert_eq!(expanded("x${A}y$$z"), Ok("x1y$z".into()));
    assert_eq!(expanded("${EMPTY:-2}${B:-3}${A:-4}"), Ok("231".into()));
    assert_eq!(expanded("${A:?needed}${EMPTY:?needed}"), Err("EMPTY".into()));
    assert_eq!(expanded("${B}"), Ok(String::new()));
}
