//! Kommo's account webhooks: nested form fields, all of them texts; companies among the contacts; deletions with little more than the id.

use super::{Event, Telling};
use crate::provider::Object;
use crate::rows::{Change, ChangeKind, Row};
use crate::time::{plain, seconds};

pub(super) fn events(telling: &Telling<'_>, change: &Change) -> Vec<Event> {
    if change.object == Object::Notes {
        return note(telling, change).into_iter().collect();
    }
    let group = match change.object {
        Object::Deals => "leads",
        Object::Contacts | Object::Companies => "contacts",
        _ => return Vec::new(),
    };
    let mut events = Vec::new();
    for action in actions(change) {
        let prefix = format!("{group}[{action}][0]");
        let mut form = Vec::new();
        fields(&mut form, &prefix, change, action);
        account(telling, &mut form);
        events.push(Event::Form(form));
    }
    events
}

fn actions(change: &Change) -> Vec<&'static str> {
    let before = change.before.as_ref();
    let after = &change.after;
    match change.kind {
        ChangeKind::Created => vec!["add"],
        ChangeKind::Deleted => vec!["delete"],
        ChangeKind::Restored => vec!["restore"],
        ChangeKind::Updated => {
            let mut actions = vec!["update"];
            let is_lead = change.object == Object::Deals;
            if is_lead
                && before.is_some_and(|before| (&before.stage, &before.pipeline) != (&after.stage, &after.pipeline))
            {
                actions.push("status");
            }
            if before.is_some_and(|before| before.owner != after.owner) {
                actions.push("responsible");
            }
            actions
        }
    }
}

fn fields(form: &mut Vec<(String, String)>, prefix: &str, change: &Change, action: &str) {
    let row = &change.after;
    let mut put = |name: &str, value: String| form.push((format!("{prefix}{name}"), value));
    put("[id]", row.id.to_string());
    if change.object == Object::Companies {
        put("[type]", "company".to_owned());
    } else if change.object == Object::Contacts {
        put("[type]", "contact".to_owned());
    }
    if action == "delete" {
        if change.object == Object::Deals {
            put("[status_id]", row.stage.clone());
            put("[pipeline_id]", row.pipeline.clone());
        }
        return;
    }
    put("[name]", row.shown_name());
    put("[responsible_user_id]", row.owner.unwrap_or(0).to_string());
    put("[date_create]", seconds(row.created_at_ms).to_string());
    put("[last_modified]", seconds(row.updated_at_ms).to_string());
    put("[created_at]", seconds(row.created_at_ms).to_string());
    put("[updated_at]", seconds(row.updated_at_ms).to_string());
    if change.object == Object::Deals {
        put("[price]", (row.amount.unwrap_or(0) / 100).to_string());
        put("[status_id]", row.stage.clone());
        put("[pipeline_id]", row.pipeline.clone());
        if let Some(before) = change.before.as_ref().filter(|_| action == "status") {
            put("[old_status_id]", before.stage.clone());
            put("[old_pipeline_id]", before.pipeline.clone());
        }
    }
    for (place, phone) in row.phones.iter().enumerate() {
        put("[custom_fields][0][code]", "PHONE".to_owned());
        put(&format!("[custom_fields][0][values][{place}][value]"), phone.clone());
    }
}

fn note(telling: &Telling<'_>, change: &Change) -> Option<Event> {
    if change.kind != ChangeKind::Created {
        return None;
    }
    let row = &change.after;
    let (group, kind, about) = about(row)?;
    let prefix = format!("{group}[note][0][note]");
    let mut form = vec![
        (format!("{prefix}[id]"), row.id.to_string()),
        (format!("{prefix}[note_type]"), "4".to_owned()),
        (format!("{prefix}[element_type]"), kind.to_owned()),
        (format!("{prefix}[element_id]"), about.to_string()),
        (format!("{prefix}[text]"), row.text.clone()),
        (format!("{prefix}[date_create]"), plain(row.created_at_ms)),
        (format!("{prefix}[last_update]"), plain(row.updated_at_ms)),
    ];
    account(telling, &mut form);
    Some(Event::Form(form))
}

/// The group of events, the vendor's number of the kind and the id of what a note is about.
fn about(row: &Row) -> Option<(&'static str, &'static str, u64)> {
    let deal = row.deals.first().map(|id| ("leads", "2", *id));
    let contact = row.contacts.first().map(|id| ("contacts", "1", *id));
    let company = row.companies.first().map(|id| ("contacts", "3", *id));
    deal.or(contact).or(company)
}

fn account(telling: &Telling<'_>, form: &mut Vec<(String, String)>) {
    form.push(("account[id]".to_owned(), telling.store.account_id.to_string()));
    form.push(("account[subdomain]".to_owned(), telling.account.to_owned()));
    form.push(("account[_links][self]".to_owned(), format!("https://{}.kommo.com", telling.account)));
}
