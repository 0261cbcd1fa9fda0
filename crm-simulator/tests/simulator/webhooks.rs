use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use millrace_crm_simulator::Provider;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Account, begin, seed, sorted};

/// What came, and how the first deliveries are answered.
#[derive(Clone, Default)]
struct Inbox {
    came: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    refused: usize,
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut came = inbox.came.lock().unwrap();
    came.push((headers, String::from_utf8(body.to_vec()).unwrap()));
    if came.len() <= inbox.refused { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

async fn receive(refused: usize) -> (String, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let inbox = Inbox { refused, ..Inbox::default() };
    let router = Router::new().route("/hook", post(take)).with_state(inbox.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, inbox)
}

async fn register(account: &Account, receiver: Value) {
    account.control.register(&serde_json::from_value(receiver).unwrap()).await.unwrap();
}

/// Waits until nothing is left to deliver; gives the deliveries.
async fn delivered(account: &Account) -> Vec<Value> {
    for _ in 0..500 {
        let mut receivers = account.control.receivers().await.unwrap();
        if receivers[0]["open_events"] == 0 {
            return receivers[0]["deliveries"].as_array_mut().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("webhooks are not delivered");
}

#[tokio::test]
async fn hubspot_signs_lists_of_events_and_tries_again() {
    let account = begin(Provider::Hubspot, seed(20), json!({})).await;
    let (url, inbox) = receive(1).await;
    let scheme = json!({"kind": "hubspot_v3", "secret": "s"});
    let public = "https://millrace.example.com/hook";
    register(&account, json!({"url": url, "public_url": public, "scheme": scheme, "time_scale": 0.00001})).await;
    let changed = account.change(json!({"op": "update", "object": "contacts", "count": 5})).await;
    let deliveries = delivered(&account).await;
    assert_eq!(deliveries.iter().map(|one| one["status"].as_u64().unwrap()).collect::<Vec<_>>(), [500, 204]);
    let came = inbox.came.lock().unwrap().clone();
    assert!(came[0].0.contains_key("x-hubspot-signature-v3") && came[0].0.contains_key("x-hubspot-request-timestamp"));
    let events: Value = serde_json::from_str(&came[1].1).unwrap();
    let about = events.as_array().unwrap().iter().map(|event| event["objectId"].to_string()).collect();
    assert_eq!(sorted(about), sorted(changed));
    assert_eq!(
        (&events[0]["attemptNumber"], &events[0]["subscriptionType"]),
        (&json!(1), &json!("contact.propertyChange"))
    );
}

#[tokio::test]
async fn kommo_sends_nested_forms_of_texts() {
    let account = begin(Provider::Kommo, seed(20), json!({})).await;
    let (url, inbox) = receive(0).await;
    register(&account, json!({"url": url, "scheme": {"kind": "none"}})).await;
    let ids = account.change(json!({"op": "delete", "object": "deals", "count": 1})).await;
    account.change(json!({"op": "update", "object": "companies", "count": 1})).await;
    delivered(&account).await;
    let came = inbox.came.lock().unwrap().clone();
    let forms: Vec<HashMap<String, String>> = came
        .iter()
        .map(|(_, body)| {
            reqwest::Url::parse(&format!("http://x/?{body}")).unwrap().query_pairs().into_owned().collect()
        })
        .collect();
    let deleted = forms.iter().find(|form| form.contains_key("leads[delete][0][id]")).unwrap();
    assert_eq!(deleted["leads[delete][0][id]"], ids[0]);
    assert!(deleted.contains_key("account[id]") && !deleted.contains_key("leads[delete][0][name]"));
    let company = forms.iter().find(|form| form.contains_key("contacts[update][0][id]")).unwrap();
    assert_eq!(company["contacts[update][0][type]"], "company");
}

#[tokio::test]
async fn pipedrive_sends_one_document_for_each_change_with_basic_credentials() {
    let account = begin(Provider::Pipedrive, seed(20), json!({})).await;
    let (url, inbox) = receive(0).await;
    register(
        &account,
        json!({"url": url, "scheme": {"kind": "basic", "user": "u", "password": "p"}, "duplicates": 1.0}),
    )
    .await;
    let ids = account.change(json!({"op": "update", "object": "deals", "count": 1})).await;
    assert_eq!(delivered(&account).await.len(), 2, "each comes twice");
    let (headers, body) = inbox.came.lock().unwrap()[0].clone();
    assert_eq!(headers["authorization"], "Basic dTpw");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["meta"]["entity_id"], &body["meta"]["action"]), (&json!(ids[0]), &json!("change")));
    assert_ne!(body["data"]["value"], body["previous"]["value"]);
}
