//! Pipedrive's webhooks v2: a document for each change, with what the record is and what it was.

use serde_json::{Map, Value, json};

use super::{Event, Telling};
use crate::pipedrive::shown;
use crate::provider::Object;
use crate::rows::{Change, ChangeKind};
use crate::time::iso_ms;

pub(super) fn events(telling: &Telling<'_>, change: &Change) -> Vec<Event> {
    let entity = match change.object {
        Object::Deals => "deal",
        Object::Contacts => "person",
        Object::Companies => "organization",
        Object::Notes => "note",
        _ => return Vec::new(),
    };
    let action = match change.kind {
        ChangeKind::Created => "create",
        ChangeKind::Deleted => "delete",
        ChangeKind::Updated | ChangeKind::Restored => "change",
    };
    let after = shown(telling.store, change.object, &change.after);
    let before = change.before.as_ref().map(|row| shown(telling.store, change.object, row));
    let event = json!({
        "data": if action == "delete" { Value::Null } else { after.clone() },
        "previous": before.map_or(Value::Null, |before| previous(before, &after, action)),
        "meta": {
            "action": action,
            "entity": entity,
            "entity_id": change.after.id.to_string(),
            "id": format!("{:08x}-0000-4000-8000-{:012x}", telling.number, telling.now_ms),
            "company_id": telling.store.account_id.to_string(),
            "timestamp": iso_ms(telling.now_ms),
            "type": "general",
            "is_bulk_edit": false,
            "change_source": "app",
            "version": "2.0",
            "webhook_id": "1",
            "attempt": 1,
        },
    });
    vec![Event::Json(event)]
}

/// What changed, as it was; all of it where it is gone.
fn previous(before: Value, after: &Value, action: &str) -> Value {
    if action == "delete" {
        return before;
    }
    let Value::Object(before) = before else { return Value::Null };
    before.into_iter().filter(|(name, value)| after[name] != *value).collect::<Map<_, _>>().into()
}
