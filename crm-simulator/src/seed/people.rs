//! One record at a time, with what its vendor can hold: `HubSpot` has two telephone numbers for a contact, Kommo any number.

use serde_json::{Value, json};

use super::words::{
    COLOURS, COMPANIES, COMPANY_ENDS, CURRENCIES, DEALS, FIRST_NAMES, INTERESTS, JOB_TITLES, LAST_NAMES, SENTENCES,
    TIERS,
};
use crate::dice::Dice;
use crate::provider::{Object, Provider};
use crate::rows::{CustomField, FieldKind, Row, Store};
use crate::time;

pub(super) fn row(store: &Store, object: Object, dice: &mut Dice) -> Row {
    let mut row = match object {
        Object::Owners => owner(dice),
        Object::Contacts => contact(store, dice),
        Object::Companies => company(store, dice),
        Object::Deals => deal(store, dice),
        Object::Notes | Object::Tasks => note(store, object, dice),
    };
    if object != Object::Owners && dice.percent(90) {
        row.owner = any(store, Object::Owners, dice);
    }
    for field in store.custom_fields.iter().filter(|field| field.object == object) {
        if dice.percent(60) {
            row.custom.insert(field.key.clone(), custom(store.provider, field, dice));
        }
    }
    row
}

/// A change as a person would make it: the fields and their new values.
pub(crate) fn touch(store: &Store, object: Object, dice: &mut Dice) -> serde_json::Map<String, Value> {
    let number = dice.below(1_000_000);
    let value = match object {
        Object::Contacts | Object::Owners => json!({"last_name": format!("{} {number}", dice.pick(&LAST_NAMES))}),
        Object::Companies => json!({"name": format!("{} {number}", dice.pick(&COMPANIES))}),
        Object::Deals => {
            let mut changed = Row::default();
            enter_stage(store, &mut changed, dice);
            json!({"amount": number, "pipeline": changed.pipeline, "stage": changed.stage})
        }
        Object::Notes | Object::Tasks => json!({"text": format!("{} ({number})", dice.pick(&SENTENCES))}),
    };
    value.as_object().cloned().unwrap_or_default()
}

fn any(store: &Store, object: Object, dice: &mut Dice) -> Option<u64> {
    let ids = store.table(object).live_ids();
    (!ids.is_empty()).then(|| ids[dice.index(ids.len())])
}

fn owner(dice: &mut Dice) -> Row {
    let number = dice.below(100_000);
    Row {
        first_name: dice.pick(&FIRST_NAMES).to_owned(),
        last_name: dice.pick(&LAST_NAMES).to_owned(),
        emails: vec![format!("user{number}@example.com")],
        ..Row::default()
    }
}

fn phone(dice: &mut Dice) -> String {
    let number = dice.below(10_000_000);
    match dice.below(4) {
        0 => format!("+4930{number:07}"),
        1 => format!("+1 (555) {:03}-{:04}", number / 10_000, number % 10_000),
        2 => format!("8 800 {number:07} доб. 12"),
        _ => format!("0555{number:07}"),
    }
}

fn several(count: u64, mut make: impl FnMut() -> String) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for _ in 0..count {
        let one = make();
        // Vendors drop what is given twice.
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

fn contact(store: &Store, dice: &mut Dice) -> Row {
    let mut row = Row { first_name: dice.pick(&FIRST_NAMES).to_owned(), ..Row::default() };
    // Salesforce asks for a last name.
    if store.provider == Provider::Salesforce || dice.percent(85) {
        dice.pick(&LAST_NAMES).clone_into(&mut row.last_name);
    }
    if dice.percent(5) {
        row.first_name.clear();
    }
    if row.first_name.is_empty() && row.last_name.is_empty() {
        "👻".clone_into(&mut row.first_name);
    }
    let (emails, phones) = match store.provider {
        Provider::Kommo | Provider::Pipedrive => (3, 4),
        Provider::Hubspot => (3, 2),
        Provider::Salesforce => (1, 3),
    };
    let count = dice.below(emails + 1);
    row.emails = several(count, || format!("person.{}@example.com", dice.below(10_000_000)));
    let count = dice.below(phones + 1);
    row.phones = several(count, || phone(dice));
    if dice.percent(50) && store.provider != Provider::Pipedrive {
        dice.pick(&JOB_TITLES).clone_into(&mut row.job_title);
    }
    if store.provider == Provider::Hubspot && dice.percent(30) {
        dice.pick(&COMPANIES).clone_into(&mut row.company_name);
    }
    if dice.percent(70) {
        row.companies.extend(any(store, Object::Companies, dice));
    }
    row
}

fn company(store: &Store, dice: &mut Dice) -> Row {
    let number = dice.below(1_000_000);
    let mut row =
        Row { name: format!("{} {} {number}", dice.pick(&COMPANIES), dice.pick(&COMPANY_ENDS)), ..Row::default() };
    let (emails, phones) = match store.provider {
        Provider::Kommo => (2, 3),
        Provider::Hubspot | Provider::Salesforce => (0, 1),
        Provider::Pipedrive => (0, 0),
    };
    let count = dice.below(emails + 1);
    row.emails = several(count, || format!("office{}@example.com", dice.below(1_000_000)));
    let count = dice.below(phones + 1);
    row.phones = several(count, || phone(dice));
    if store.provider != Provider::Pipedrive && dice.percent(60) {
        row.website = format!("company{number}.example.com");
    }
    row
}

fn deal(store: &Store, dice: &mut Dice) -> Row {
    let mut row = Row { name: format!("{} #{}", dice.pick(&DEALS), dice.below(1_000_000)), ..Row::default() };
    let most = if dice.percent(5) { 1_000_000_000 } else { 5_000_000 };
    let amount = i64::try_from(dice.below(most)).unwrap_or(0);
    if dice.percent(85) {
        // Kommo's prices are whole numbers.
        row.amount = Some(if store.provider == Provider::Kommo { amount - amount % 100 } else { amount });
    } else if store.provider == Provider::Kommo {
        row.amount = Some(0);
    }
    if matches!(store.provider, Provider::Hubspot | Provider::Pipedrive) {
        dice.pick(&CURRENCIES).clone_into(&mut row.currency);
    }
    enter_stage(store, &mut row, dice);
    if store.provider == Provider::Pipedrive {
        dice.pick(&["open", "open", "won", "lost"]).clone_into(&mut row.status);
    }
    let contacts = match store.provider {
        Provider::Kommo | Provider::Hubspot => dice.below(4),
        Provider::Pipedrive => dice.below(2),
        Provider::Salesforce => 0,
    };
    for _ in 0..contacts {
        row.contacts.extend(any(store, Object::Contacts, dice).filter(|id| !row.contacts.contains(id)));
    }
    if dice.percent(60) {
        row.companies.extend(any(store, Object::Companies, dice));
    }
    row
}

fn enter_stage(store: &Store, row: &mut Row, dice: &mut Dice) {
    let pipeline = &store.pipelines[dice.index(store.pipelines.len())];
    let stage = &pipeline.stages[dice.index(pipeline.stages.len())];
    row.stage.clone_from(&stage.id);
    if store.provider != Provider::Salesforce {
        row.pipeline.clone_from(&pipeline.id);
    }
}

fn note(store: &Store, object: Object, dice: &mut Dice) -> Row {
    let sentences = if dice.percent(2) { 200 } else { 1 + dice.below(4) };
    let text: Vec<&str> = (0..sentences).map(|_| dice.pick(&SENTENCES)).collect();
    let mut row = Row { text: text.join(" "), ..Row::default() };
    if store.provider == Provider::Salesforce {
        row.name = format!("{} {}", if object == Object::Tasks { "Call" } else { "Note" }, dice.below(10_000));
    }
    let about = [Object::Contacts, Object::Companies, Object::Deals];
    let first = dice.index(about.len());
    // Of all kinds there may be none yet; a note of Kommo's must be about something.
    let found = (0..about.len()).find_map(|step| {
        let to = about[(first + step) % about.len()];
        any(store, to, dice).map(|id| (to, id))
    });
    match found {
        Some((Object::Contacts, id)) => row.contacts = vec![id],
        Some((Object::Companies, id)) => row.companies = vec![id],
        Some((_, id)) => row.deals = vec![id],
        None => {}
    }
    row
}

fn custom(provider: Provider, field: &CustomField, dice: &mut Dice) -> Value {
    // Pipedrive gives the numbers of options, the others their names.
    let option = |index: usize| match provider {
        Provider::Pipedrive => json!(index + 1),
        _ => json!(field.options[index]),
    };
    match field.kind {
        FieldKind::Text => json!(dice.pick(&COLOURS)),
        FieldKind::Number => json!(dice.below(1000)),
        FieldKind::Date => json!(time::date(i64::try_from(dice.below(1_700_000_000_000)).unwrap_or(0))),
        FieldKind::Flag => json!(dice.percent(50)),
        FieldKind::Choice => option(dice.index(TIERS.len())),
        FieldKind::Choices => {
            let first = dice.index(INTERESTS.len() - 1);
            Value::from((first..=first + dice.index(2)).map(option).collect::<Vec<_>>())
        }
    }
}
