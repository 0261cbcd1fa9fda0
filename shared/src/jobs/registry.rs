//! The registry of kinds, each with its schema compiled once.

use std::{collections::BTreeMap, fmt};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    AssetProcess, CrmConnect, CrmPushRecord, CrmSync, CrmSyncRecord, PacedProbe, Policy, Probe, QueueName,
    WebhookDeliver,
};

/// A job kind's payload, with everything that follows from the kind alone.
pub trait JobPayload: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The kind's name, as clients submit it.
    const KIND: &'static str;
    /// The queue its jobs go to.
    const QUEUE: QueueName;
    /// One sentence for people.
    const DESCRIPTION: &'static str;
    /// Its defaults.
    const POLICY: Policy;
    /// Who its jobs come from.
    const SUBMITTED_BY: SubmittedBy = SubmittedBy::Anyone;

    /// The key under which only one job of the organisation may wait at a time, if the kind wants one.
    fn unique_by(&self) -> Option<String> {
        None
    }
}

/// Who the jobs of a kind come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmittedBy {
    /// Whoever may submit.
    Anyone,
    /// Millrace, when something that it watches for comes about. Such a job means nothing by itself, so it cannot be scheduled.
    Millrace,
}

/// A field of a request that is wrong, with what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FieldError {
    /// The path to the field, such as `payload.sleep_ms` or `jobs[3].kind`.
    pub field: String,
    /// What is wrong and what would be right, as a fragment of a sentence.
    pub message: String,
}

impl FieldError {
    /// An error at a field.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A registered kind.
#[derive(Debug)]
pub struct Kind {
    /// The name clients submit.
    pub name: &'static str,
    /// The queue its jobs go to.
    pub queue: QueueName,
    /// One sentence for people.
    pub description: &'static str,
    /// Its defaults.
    pub policy: Policy,
    /// Who its jobs come from.
    pub submitted_by: SubmittedBy,
    /// The JSON Schema (draft 2020-12) of its payload: the very one that submissions are checked against.
    pub schema: Value,
    validator: Validator,
    decode: fn(Value) -> Result<Option<String>, serde_json::Error>,
}

impl Kind {
    fn of<P: JobPayload>() -> Self {
        let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<P>().to_value();
        let validator = jsonschema::validator_for(&schema).expect("a derived schema is a valid schema");
        Self {
            name: P::KIND,
            queue: P::QUEUE,
            description: P::DESCRIPTION,
            policy: P::POLICY,
            submitted_by: P::SUBMITTED_BY,
            schema,
            validator,
            decode: |payload| serde_json::from_value::<P>(payload).map(|payload| payload.unique_by()),
        }
    }

    /// Checks a payload and gives its unique key, if the kind has one.
    ///
    /// # Errors
    /// Every field that misses the schema, with paths that start with `payload`.
    pub fn check(&self, payload: &Value) -> Result<Option<String>, Vec<FieldError>> {
        let errors: Vec<FieldError> = self.validator.iter_errors(payload).flat_map(|error| explain(&error)).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        // A schema cannot say everything a type does (a UUID's format, say), so the type has the last word.
        (self.decode)(payload.clone()).map_err(|error| vec![FieldError::new("payload", error.to_string())])
    }
}

fn explain(error: &ValidationError<'_>) -> Vec<FieldError> {
    let mut path = String::from("payload");
    for step in error.instance_path().to_string().split('/').skip(1) {
        if step.chars().all(|c| c.is_ascii_digit()) {
            path.push_str(&format!("[{step}]"));
        } else {
            path.push('.');
            path.push_str(step);
        }
    }
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| FieldError::new(format!("{path}.{name}"), "is not a field of this kind; remove it"))
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![FieldError::new(format!("{path}.{name}"), "is required")]
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            let message = one_of(context).unwrap_or_else(|| error.masked_with("the value").to_string());
            vec![FieldError::new(path, message)]
        }
        // The value is masked: it may be long, and whoever sent it knows it.
        _ => vec![FieldError::new(path, error.masked_with("the value").to_string())],
    }
}

/// The values that would be right, where a schema is a choice between constants (as those of enums with described values are).
fn one_of(alternatives: &[Vec<ValidationError<'_>>]) -> Option<String> {
    let mut values = Vec::new();
    for alternative in alternatives {
        for error in alternative {
            match error.kind() {
                ValidationErrorKind::Constant { expected_value } => values.push(expected_value.to_string()),
                ValidationErrorKind::Enum { options } => {
                    values.extend(options.as_array()?.iter().map(Value::to_string));
                }
                ValidationErrorKind::Type { .. } => {}
                _ => return None,
            }
        }
    }
    (!values.is_empty()).then(|| format!("must be one of {}", values.join(", ")))
}

/// Which of the optional kinds a process knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KindSet {
    /// The kinds of production work.
    Work,
    /// Those, and `probe`.
    WorkAndProbe,
}

/// The kinds a process knows, by name.
#[derive(Debug)]
pub struct Kinds(BTreeMap<&'static str, Kind>);

impl Kinds {
    /// The registry. A new kind is one line here.
    #[must_use]
    pub fn new(set: KindSet) -> Self {
        let mut kinds = vec![
            Kind::of::<AssetProcess>(),
            Kind::of::<CrmConnect>(),
            Kind::of::<CrmPushRecord>(),
            Kind::of::<CrmSync>(),
            Kind::of::<CrmSyncRecord>(),
            Kind::of::<WebhookDeliver>(),
        ];
        if set == KindSet::WorkAndProbe {
            kinds.extend([Kind::of::<Probe>(), Kind::of::<PacedProbe>()]);
        }
        Self(kinds.into_iter().map(|kind| (kind.name, kind)).collect())
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.0.get(name)
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.0.values()
    }

    /// The names, as a list for error messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().copied().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of(kind: &str, payload: &Value) -> Vec<String> {
        let kinds = Kinds::new(KindSet::WorkAndProbe);
        let errors = kinds.get(kind).expect("the kind is registered").check(payload).expect_err("the payload is bad");
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let errors = errors_of("probe", &json!({ "sleep_ms": -1, "outcome": "explode", "colour": "red" }));
        assert_eq!(errors.len(), 3, "{errors:?}");
        for field in ["payload.sleep_ms: ", "payload.outcome: ", "payload.colour: "] {
            assert!(errors.iter().any(|error| error.starts_with(field)), "{field} in {errors:?}");
        }
    }

    #[test]
    fn a_wrong_choice_lists_the_right_ones_and_no_error_repeats_the_value() {
        let errors = errors_of("probe", &json!({ "outcome": "explode-please", "sleep_ms": "soon-please" }));
        let told = errors.iter().find(|error| error.starts_with("payload.outcome")).expect("the field is named");
        assert!(told.contains("must be one of \"succeed\", \"retry\""), "{told}");
        assert!(!errors.concat().contains("please"), "{errors:?}");
    }

    #[test]
    fn a_missing_field_is_named_as_required() {
        assert_eq!(errors_of("asset.process", &json!({})), ["payload.asset_id: is required"]);
    }

    #[test]
    fn what_the_schema_cannot_tell_the_type_does() {
        let errors = errors_of("asset.process", &json!({ "asset_id": "not-a-uuid" }));
        assert!(errors[0].starts_with("payload"), "{errors:?}");
    }

    #[test]
    fn a_payload_that_is_no_object_is_refused() {
        assert!(errors_of("probe", &json!([1, 2]))[0].starts_with("payload: "));
    }

    #[test]
    fn the_probe_is_unknown_unless_it_is_asked_for() {
        assert!(Kinds::new(KindSet::Work).get("probe").is_none());
    }
}
