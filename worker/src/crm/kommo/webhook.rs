//! What Kommo's account webhooks deliver: a form whose names are nested, `leads[add][0][id]=…`
//! (<https://developers.kommo.com/docs/webhooks-general>). Nothing proves it, so nothing of it is believed but that a record may have changed.

use std::collections::{BTreeMap, BTreeSet};

use millrace_shared::crm::Object;

use super::super::{Delivered, Touched};

/// What is told of one record.
#[derive(Default)]
struct Told {
    id: Option<String>,
    is_company: bool,
    note: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Delivered, String> {
    let mut told: BTreeMap<(String, String, String), Told> = BTreeMap::new();
    let mut delivered = Delivered::default();
    let mut other_groups = BTreeSet::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let parts: Vec<&str> = name.split('[').map(|part| part.trim_end_matches(']')).collect();
        match parts.as_slice() {
            ["account", "id"] => delivered.account_id = Some(value.into_owned()),
            [group @ ("leads" | "contacts" | "companies"), action, at, rest @ ..] => {
                let place = ((*group).to_owned(), (*action).to_owned(), (*at).to_owned());
                let record = told.entry(place).or_default();
                match rest {
                    ["id"] => record.id = Some(value.into_owned()),
                    ["type"] => record.is_company = value == "company",
                    ["note", "id"] => record.note = Some(value.into_owned()),
                    ["note", "element_id"] => record.id = Some(value.into_owned()),
                    _ => {}
                }
            }
            [group, action, at, ..] => {
                other_groups.insert(format!("{group}/{action}/{at}"));
            }
            _ => {}
        }
    }
    if told.is_empty() && other_groups.is_empty() && delivered.account_id.is_none() {
        return Err("it is no form of Kommo's".to_owned());
    }
    delivered.ignored = other_groups.iter().filter(|group| !group.starts_with("account/")).count();
    for ((group, ..), record) in told {
        let object = match group.as_str() {
            "leads" => Object::Deals,
            "contacts" if !record.is_company => Object::Contacts,
            _ => Object::Companies,
        };
        match (record.note, record.id) {
            (Some(note), _) => delivered.touched.push(Touched { object: Object::Notes, id: note }),
            (None, Some(id)) => delivered.touched.push(Touched { object, id }),
            (None, None) => delivered.ignored += 1,
        }
    }
    Ok(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_tell_which_records_to_read() {
        let body = "leads[add][0][id]=11&leads[add][0][name]=Weir&leads[update][0][id]=12&leads%5Bdelete%5D%5B0%5D%5Bid%5D=13\
                    &contacts[update][0][id]=21&contacts[update][0][type]=contact\
                    &contacts[update][1][id]=31&contacts[update][1][type]=company\
                    &leads[note][0][note][id]=41&leads[note][0][note][element_id]=11\
                    &task[add][0][id]=51&account[id]=32720107&account[subdomain]=acme";
        let found = read(body.as_bytes()).unwrap();
        assert_eq!(found.account_id.as_deref(), Some("32720107"));
        assert_eq!(found.ignored, 1, "tasks are no concern of ours");
        let mut ids: Vec<(Object, &str)> =
            found.touched.iter().map(|touched| (touched.object, touched.id.as_str())).collect();
        ids.sort_unstable();
        let expected = [
            (Object::Companies, "31"),
            (Object::Contacts, "21"),
            (Object::Deals, "11"),
            (Object::Deals, "12"),
            (Object::Deals, "13"),
            (Object::Notes, "41"),
        ];
        assert_eq!(ids, expected);
    }

    #[test]
    fn what_is_no_such_form_is_refused() {
        assert!(read(b"").is_err());
        assert!(read(b"{\"leads\":1}").is_err());
    }
}
