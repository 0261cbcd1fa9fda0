//! Pipelines and custom fields, with keys in each vendor's way.

use crate::dice::Dice;
use crate::provider::{Object, Provider};
use crate::rows::{CustomField, FieldKind, Outcome, Pipeline, Stage};

use super::words::{INTERESTS, TIERS};

const NAMES: [&str; 5] = ["Appointment scheduled", "Qualified", "Договор 📝", "Closed won", "Closed lost"];
const HUBSPOT_KEYS: [&str; 5] = ["appointmentscheduled", "qualifiedtobuy", "contractsent", "closedwon", "closedlost"];

/// Two pipelines; Salesforce has but one, which is not named.
pub(crate) fn pipelines(provider: Provider) -> Vec<Pipeline> {
    let count = if provider == Provider::Salesforce { 1 } else { 2 };
    (0..count).map(|place| pipeline(provider, place)).collect()
}

fn pipeline(provider: Provider, place: usize) -> Pipeline {
    let id = match (provider, place) {
        (Provider::Kommo, _) => (6_500_001 + place * 7).to_string(),
        (Provider::Hubspot, 0) => "default".to_owned(),
        (Provider::Hubspot, _) => "680135".to_owned(),
        (Provider::Salesforce, _) => "OpportunityStage".to_owned(),
        (Provider::Pipedrive, _) => (place + 1).to_string(),
    };
    let outcomes = [Outcome::Open, Outcome::Open, Outcome::Open, Outcome::Won, Outcome::Lost];
    let stages = NAMES.iter().zip(outcomes).enumerate();
    // Pipedrive's deals are won and lost by their status, not by a stage.
    let stages = stages.filter(|(_, (_, outcome))| provider != Provider::Pipedrive || *outcome == Outcome::Open);
    let stages = stages.map(|(index, (name, outcome))| Stage {
        id: stage_id(provider, place, index),
        name: (*name).to_owned(),
        outcome,
    });
    Pipeline { id, name: ["Sales", "Партнёры"][place].to_owned(), stages: stages.collect() }
}

fn stage_id(provider: Provider, pipeline: usize, index: usize) -> String {
    match (provider, index) {
        // The same numbers in every pipeline, so that a stage alone does not tell the pipeline.
        (Provider::Kommo, 3) => "142".to_owned(),
        (Provider::Kommo, 4) => "143".to_owned(),
        (Provider::Kommo, _) => (55_000_001 + pipeline * 100 + index).to_string(),
        (Provider::Hubspot, _) if pipeline == 0 => HUBSPOT_KEYS[index].to_owned(),
        (Provider::Hubspot, _) => (2_003_000 + index).to_string(),
        (Provider::Salesforce, _) => NAMES[index].to_owned(),
        (Provider::Pipedrive, _) => (pipeline * 10 + index + 1).to_string(),
    }
}

const CUSTOM: [(&str, FieldKind); 6] = [
    ("Favourite Colour", FieldKind::Text),
    ("Score", FieldKind::Number),
    ("Anniversary", FieldKind::Date),
    ("Opted In", FieldKind::Flag),
    ("Tier", FieldKind::Choice),
    ("Interests", FieldKind::Choices),
];

/// Six fields for contacts, companies and deals each.
pub(crate) fn custom_fields(provider: Provider) -> Vec<CustomField> {
    let objects = [Object::Contacts, Object::Companies, Object::Deals];
    let all = objects.into_iter().enumerate().flat_map(|(place, object)| {
        CUSTOM.iter().enumerate().map(move |(index, (name, kind))| CustomField {
            object,
            key: key(provider, name, place * 10 + index),
            name: (*name).to_owned(),
            kind: *kind,
            options: match kind {
                FieldKind::Choice => TIERS.to_vec(),
                FieldKind::Choices => INTERESTS.to_vec(),
                _ => Vec::new(),
            },
        })
    });
    all.collect()
}

fn key(provider: Provider, name: &str, number: usize) -> String {
    match provider {
        Provider::Kommo => (1_234_501 + number).to_string(),
        Provider::Hubspot => name.to_lowercase().replace(' ', "_"),
        Provider::Salesforce => format!("{}__c", name.replace(' ', "_")),
        Provider::Pipedrive => {
            let mut dice = Dice::new(number as u64);
            format!("{:016x}{:016x}{:08x}", dice.next(), dice.next(), dice.below(1 << 32))
        }
    }
}
