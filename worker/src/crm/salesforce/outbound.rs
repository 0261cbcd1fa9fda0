//! What Salesforce's outbound messages deliver: SOAP, up to a hundred notifications, out of order and more than once
//! (<https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_notifications.htm>).

use millrace_shared::crm::Object;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::super::{Delivered, Touched};

pub(super) fn read(body: &[u8]) -> Result<Delivered, String> {
    let mut reader = Reader::from_reader(body);
    let mut delivered = Delivered::default();
    let mut path: Vec<String> = Vec::new();
    let mut sort: Option<String> = None;
    let mut is_outbound = false;
    loop {
        let event = reader.read_event().map_err(|_| "it is no XML".to_owned())?;
        match event {
            Event::Start(start) => {
                let name = local(&start);
                is_outbound |= name == "notifications";
                if name == "sObject" {
                    sort = kind(&start);
                }
                path.push(name);
            }
            Event::End(_) if path.pop().as_deref() == Some("sObject") => sort = None,
            Event::Text(text) => {
                let text = text.decode().map_err(|_| "it is no text".to_owned())?.trim().to_owned();
                match path.iter().rev().take(2).map(String::as_str).collect::<Vec<_>>().as_slice() {
                    ["OrganizationId", ..] => delivered.account_id = Some(text),
                    ["Id", "sObject"] => match sort.as_deref().and_then(object) {
                        Some(object) => delivered.touched.push(Touched { object, id: text }),
                        None => delivered.ignored += 1,
                    },
                    _ => {}
                }
            }
            Event::DocType(_) => return Err("it has a document type, which no message has".to_owned()),
            Event::Eof => break,
            _ => {}
        }
    }
    if is_outbound { Ok(delivered) } else { Err("it is no outbound message".to_owned()) }
}

fn local(start: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(start.local_name().as_ref()).into_owned()
}

/// What `xsi:type="sf:Contact"` names.
fn kind(start: &BytesStart<'_>) -> Option<String> {
    let attribute = start.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == b"type")?;
    let value = String::from_utf8_lossy(&attribute.value).into_owned();
    Some(value.rsplit(':').next().unwrap_or(&value).to_owned())
}

fn object(sort: &str) -> Option<Object> {
    match sort {
        "Contact" => Some(Object::Contacts),
        "Account" => Some(Object::Companies),
        "Opportunity" => Some(Object::Deals),
        "Task" => Some(Object::Notes),
        "User" => Some(Object::Owners),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_tell_which_records_to_read() {
        let message = r#"<?xml version="1.0" encoding="UTF-8"?>
            <soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
            <notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>00D000000000001AAA</OrganizationId>
            <Notification><Id>04l1</Id><sObject xsi:type="sf:Contact"><sf:Id>003000000000001AAA</sf:Id></sObject></Notification>
            <Notification><Id>04l2</Id><sObject xsi:type="sf:Lead"><sf:Id>00Q000000000001AAA</sf:Id></sObject></Notification>
            </notifications></soapenv:Body></soapenv:Envelope>"#;
        let found = read(message.as_bytes()).unwrap();
        assert_eq!(found.account_id.as_deref(), Some("00D000000000001AAA"));
        assert_eq!(found.touched, [Touched { object: Object::Contacts, id: "003000000000001AAA".to_owned() }]);
        assert_eq!(found.ignored, 1);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(read(b"<a/>").is_err());
        assert!(read(b"<a><b></a>").is_err());
        assert!(read(b"<!DOCTYPE a [<!ENTITY x 'y'>]><notifications/>").is_err());
        assert!(read(b"{}").is_err());
    }
}
