use std::time::Instant;

use millrace_crm_simulator::Provider;
use serde_json::{Value, json};

use crate::{begin, ids, read, seed, sorted};

const LIST: &str = "/crm/v3/objects/contacts?limit=100";

#[tokio::test]
async fn statuses_come_as_often_as_told_and_on_the_paths_that_were_named() {
    let account = begin(Provider::Hubspot, seed(4), json!({})).await;
    account
        .fault(json!({"path": "/crm/v3/objects/*", "after": 1, "count": 2, "fault": {"kind": "status", "status": 503}}))
        .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(account.get(LIST).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    assert_eq!(account.get("/crm/v3/owners").await.status(), 200);
    assert_eq!(account.control.fired().await.unwrap(), [2]);
    let stats = account.control.stats().await.unwrap();
    assert_eq!(stats.by_path["GET /crm/v3/objects/contacts"]["503"], 2);
}

#[tokio::test]
async fn vendors_refuse_too_many_requests_in_their_own_ways() {
    for (provider, path, status) in [
        (Provider::Kommo, "/api/v4/leads", 429),
        (Provider::Hubspot, LIST, 429),
        (Provider::Salesforce, "/services/data/v60.0/query?q=SELECT+Id+FROM+Contact", 403),
        (Provider::Pipedrive, "/api/v2/deals", 429),
    ] {
        let account = begin(provider, seed(4), json!({})).await;
        account.fault(json!({"count": 1, "fault": {"kind": "rate_limit", "retry_after_s": 3}})).await;
        account.fault(json!({"after": 1, "count": 1, "fault": {"kind": "rate_limit"}})).await;
        let first = account.get(path).await;
        assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (status, "3"));
        let second = account.get(path).await;
        assert_eq!((second.status().as_u16(), second.headers().get("retry-after")), (status, None));
        assert_eq!(account.get(path).await.status(), 200);
    }
}

#[tokio::test]
async fn write_whose_reply_is_lost_was_carried_out_and_one_that_never_came_was_not() {
    let account = begin(Provider::Hubspot, seed(4), json!({})).await;
    let path = format!("/crm/v3/objects/contacts/{}", account.true_ids("contacts").await[0]);
    let write = async |name: &str| {
        let request = account.http.patch(account.url(&path)).bearer_auth(crate::TOKEN);
        request.json(&json!({"properties": {"lastname": name}})).send().await
    };
    let last_name = async || account.control.truth("contacts").await.unwrap()["rows"][0]["last_name"].clone();
    let before = last_name().await;
    account.fault(json!({"method": "PATCH", "count": 1, "fault": {"kind": "reset"}})).await;
    assert!(write("Never").await.is_err());
    assert_eq!(last_name().await, before);
    account.fault(json!({"method": "PATCH", "count": 1, "fault": {"kind": "reset", "carried_out": true}})).await;
    assert!(write("Lost").await.is_err());
    assert_eq!(last_name().await, "Lost");
    account
        .fault(json!({"method": "PATCH", "count": 1, "fault": {"kind": "status", "status": 504, "carried_out": true}}))
        .await;
    assert_eq!(write("Late").await.unwrap().status(), 504);
    assert_eq!(last_name().await, "Late");
}

#[tokio::test]
async fn bodies_break_in_every_way() {
    let account = begin(Provider::Hubspot, seed(30), json!({})).await;
    let once = |fault: Value| json!({"count": 1, "fault": fault});

    account.fault(once(json!({"kind": "truncate", "keep_bytes": 50}))).await;
    let body = account.get(LIST).await.text().await.unwrap();
    assert!(body.len() == 50 && serde_json::from_str::<Value>(&body).is_err());

    account.fault(once(json!({"kind": "truncate", "keep_bytes": 50, "abrupt": true}))).await;
    let response = account.get(LIST).await;
    assert!(response.status() == 200 && response.text().await.is_err());

    account.fault(once(json!({"kind": "empty_body"}))).await;
    assert_eq!(account.get(LIST).await.text().await.unwrap(), "");

    account.fault(once(json!({"kind": "html", "status": 200}))).await;
    let response = account.get(LIST).await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");

    account.fault(once(json!({"kind": "drip", "bytes": 2000, "pause_ms": 20}))).await;
    let (begun, whole) = (Instant::now(), read(account.get(LIST).await).await.1);
    assert_eq!(whole["results"].as_array().unwrap().len(), 30);
    assert!(begun.elapsed().as_millis() >= 60);

    account.fault(once(json!({"kind": "schema_drift", "field": "updatedAt", "change": {"rename": "changedAt"}}))).await;
    let drifted = account.ask(LIST).await.1;
    assert!(drifted["results"][0]["updatedAt"].is_null() && drifted["results"][0]["changedAt"].is_string());
}

#[tokio::test]
async fn revocation_in_the_middle_lasts() {
    let account = begin(Provider::Pipedrive, seed(4), json!({})).await;
    account.fault(json!({"after": 1, "count": 1, "fault": {"kind": "revoke", "tokens": "all"}})).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(account.get("/api/v2/deals").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 401, 401]);
}

#[tokio::test]
async fn records_change_in_the_middle_of_a_scan() {
    let account = begin(Provider::Hubspot, seed(100), json!({})).await;
    let mutation = json!({"after_requests": 2, "operations": [
        {"op": "delete", "object": "contacts", "count": 3, "served": true},
        {"op": "delete", "object": "contacts", "count": 4, "served": false},
        {"op": "create", "object": "contacts", "count": 2},
    ]});
    account.control.mutate(&serde_json::from_value(mutation).unwrap()).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let (_, body) = account.ask(&format!("/crm/v3/objects/contacts?limit=10{after}")).await;
        seen.extend(ids(&body["results"]));
        let Some(next) = body["paging"]["next"]["after"].as_str() else { break };
        after = format!("&after={next}");
    }
    let told = account.control.mutations().await.unwrap();
    assert_eq!((told["waiting"].as_u64(), told["applied"].as_array().unwrap().len()), (Some(0), 9));
    // Three of the first twenty are gone since they were seen; the four others were never seen.
    let truth = account.true_ids("contacts").await;
    assert_eq!((seen.len(), truth.len()), (98, 95));
    let stale: Vec<_> = seen.iter().filter(|id| !truth.contains(id)).collect();
    assert_eq!(stale.len(), 3);
    assert!(sorted(truth).iter().all(|id| seen.contains(id)));
}
