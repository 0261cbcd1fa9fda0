use millrace_crm_simulator::Provider;
use serde_json::{Value, json};

use crate::{Account, begin, ids, read, seed, sorted};

async fn list(account: &Account, path: &str) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let (status, body) = account.ask(&format!("{path}{after}")).await;
        assert_eq!(status, 200, "{body}");
        rows.extend(body["results"].as_array().unwrap().clone());
        match body["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

async fn search(account: &Account, mut body: Value) -> Vec<Value> {
    let mut rows = Vec::new();
    loop {
        let (status, found) = account.post("/crm/v3/objects/contacts/search", body.clone()).await;
        assert_eq!(status, 200, "{found}");
        rows.extend(found["results"].as_array().unwrap().clone());
        match found["paging"]["next"]["after"].as_str() {
            Some(next) => body["after"] = next.into(),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn lists_give_each_record_once_with_the_properties_that_were_asked_for() {
    let account = begin(Provider::Hubspot, seed(130), json!({})).await;
    let rows =
        list(&account, "/crm/v3/objects/contacts?limit=100&properties=email,firstname,nonsense&associations=companies")
            .await;
    let truth = account.control.truth("contacts").await.unwrap();
    assert_eq!(ids(&rows.clone().into()), ids(&truth["rows"]));
    for (row, truth) in rows.iter().zip(truth["rows"].as_array().unwrap()) {
        let names: Vec<&String> = row["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate"]);
        assert_eq!(row["properties"]["firstname"], truth["first_name"]);
        assert_eq!(row["properties"]["email"], *truth["emails"].get(0).unwrap_or(&Value::Null));
        let linked = row["associations"]["companies"]["results"][0]["id"].clone();
        assert_eq!(linked, *truth["companies"].get(0).unwrap_or(&Value::Null));
    }
}

#[tokio::test]
async fn archived_records_are_in_their_own_list_alone() {
    let account = begin(Provider::Hubspot, seed(30), json!({})).await;
    let gone = account.change(json!({"op": "delete", "object": "companies", "count": 4})).await;
    let archived = list(&account, "/crm/v3/objects/companies?limit=3&archived=true").await;
    assert!(archived.iter().all(|row| row["archived"] == true && row["archivedAt"].is_string()));
    assert_eq!(ids(&archived.into()), sorted(gone.clone()));
    let path = format!("/crm/v3/objects/companies/{}", gone[0]);
    assert_eq!(account.ask(&path).await.0, 404);
    assert_eq!(account.ask(&format!("{path}?archived=true")).await.0, 200);
    account.change(json!({"op": "restore", "object": "companies", "ids": [gone[0]]})).await;
    assert_eq!(account.ask(&path).await.0, 200);
}

#[tokio::test]
async fn search_filters_sorts_and_pages_up_to_its_cap() {
    let account = begin(Provider::Hubspot, seed(60), json!({"search_cap": 40})).await;
    let changed = account.change(json!({"op": "update", "object": "contacts", "count": 5})).await;
    let since = "1780000000000";
    let by_time = json!({
        "filterGroups": [{"filters": [{"propertyName": "lastmodifieddate", "operator": "GTE", "value": since}]}],
        "sorts": [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}],
        "properties": ["lastname"],
        "limit": 2,
    });
    let found = search(&account, by_time).await;
    assert!(found.iter().all(|row| row["associations"].is_null()));
    assert_eq!(sorted(ids(&found.into())), sorted(changed));

    let by_id = |after: &str| {
        json!({
            "filterGroups": [{"filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": after}]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "limit": 20,
        })
    };
    let (_, found) = account.post("/crm/v3/objects/contacts/search", by_id("9999")).await;
    assert_eq!((found["total"].as_u64(), found["results"][0]["id"].as_str()), (Some(51), Some("10000")));
    let mut beyond = by_id("0");
    beyond["after"] = "40".into();
    assert_eq!(account.post("/crm/v3/objects/contacts/search", beyond).await.0, 400);
}

#[tokio::test]
async fn search_lags_behind_and_refuses_what_is_too_much() {
    let account = begin(Provider::Hubspot, seed(10), json!({"search_lag_ms": 600_000})).await;
    account.change(json!({"op": "update", "object": "contacts", "count": 2})).await;
    let all = json!({"limit": 200, "filterGroups": []});
    assert_eq!(search(&account, all.clone()).await.len(), 8);
    account.control.advance_clock(600_001).await.unwrap();
    assert_eq!(search(&account, all).await.len(), 10);
    for wrong in [
        json!({"limit": 201}),
        json!({"filterGroups": vec![json!({"filters": []}); 6]}),
        json!({"query": "x".repeat(3000)}),
        json!({"filterGroups": [{"filters": [{"propertyName": "email", "operator": "LIKE", "value": "x"}]}]}),
        json!({"sorts": ["a", "b"]}),
        json!({"archived": true}),
    ] {
        assert_eq!(account.post("/crm/v3/objects/contacts/search", wrong.clone()).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn rates_are_told_in_headers_and_refusals_name_their_policy() {
    let limits = json!({"requests": 3, "window_ms": 60_000, "searches_per_second": 1, "retry_after_s": 4});
    let account = begin(Provider::Hubspot, seed(4), limits).await;
    let first = account.get("/crm/v3/owners").await;
    assert_eq!(first.headers()["x-hubspot-ratelimit-remaining"], "2");
    for _ in 0..2 {
        assert_eq!(account.get("/crm/v3/owners").await.status(), 200);
    }
    let refused = account.get("/crm/v3/owners").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "4"));
    assert_eq!(read(refused).await.1["policyName"], "TEN_SECONDLY_ROLLING");
    let searches = async || account.post("/crm/v3/objects/deals/search", json!({})).await;
    let (one, two, three) = tokio::join!(searches(), searches(), searches());
    let refused: Vec<_> = [one, two, three].into_iter().filter(|(status, _)| *status == 429).collect();
    assert!(!refused.is_empty() && refused.iter().all(|(_, body)| body["policyName"] == "SECONDLY"), "{refused:?}");
}

#[tokio::test]
async fn batches_tell_what_they_lack() {
    let account = begin(Provider::Hubspot, seed(20), json!({})).await;
    let id = account.true_ids("contacts").await[0].clone();
    let body = json!({"properties": ["email"], "inputs": [{"id": id}, {"id": "1"}]});
    let (status, found) = account.post("/crm/v3/objects/contacts/batch/read", body).await;
    assert_eq!((status, found["results"].as_array().unwrap().len()), (207, 1));
    assert_eq!(found["errors"][0]["context"]["ids"], json!(["1"]));
    let many: Vec<Value> = (0..101).map(|id| json!({"id": id.to_string()})).collect();
    assert_eq!(account.post("/crm/v3/objects/contacts/batch/read", json!({"inputs": many})).await.0, 400);

    let deals = account.control.truth("deals").await.unwrap();
    let deal = deals["rows"].as_array().unwrap().iter().find(|deal| deal["contacts"].get(0).is_some()).unwrap();
    let inputs = json!({"inputs": [{"id": deal["id"]}]});
    let (_, linked) = account.post("/crm/v4/associations/deals/contacts/batch/read", inputs).await;
    let to: Vec<String> =
        linked["results"][0]["to"].as_array().unwrap().iter().map(|to| to["toObjectId"].to_string()).collect();
    assert_eq!(json!(to), deal["contacts"]);
}

#[tokio::test]
async fn tokens_are_exchanged_by_forms_and_end_after_their_time() {
    let account = begin(Provider::Hubspot, seed(4), json!({"access_token_s": 60})).await;
    let (_, refresh) = account.control.grant().await.unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "simulated-client"),
        ("client_secret", "simulated-secret"),
        ("refresh_token", refresh.as_str()),
    ];
    let body = form.map(|(name, value)| format!("{name}={value}")).join("&");
    let url = account.url("/oauth/v1/token");
    let as_form = account.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
    let (status, given) = read(as_form.body(body.clone()).send().await.unwrap()).await;
    assert_eq!((status, given["expires_in"].as_i64()), (200, Some(60)));
    assert_eq!(given["refresh_token"], refresh, "it does not change");
    let as_json = account.http.post(&url).header("content-type", "application/json").body(body);
    assert_eq!(as_json.send().await.unwrap().status(), 415);

    let ask = async || {
        let request = account.http.get(account.url("/account-info/v3/details"));
        read(request.bearer_auth(given["access_token"].as_str().unwrap()).send().await.unwrap()).await
    };
    assert!(ask().await.1["portalId"].is_u64());
    account.control.advance_clock(60_001).await.unwrap();
    assert_eq!(ask().await.1["category"], "EXPIRED_AUTHENTICATION");
    assert_eq!(account.http.get(account.url("/crm/v3/owners")).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn writes_change_the_truth_and_unknown_properties_are_refused() {
    let account = begin(Provider::Hubspot, seed(8), json!({})).await;
    let id = account.true_ids("contacts").await[0].clone();
    let path = format!("/crm/v3/objects/contacts/{id}");
    let change = json!({"properties": {"lastname": "New", "score": "9", "phone": "+49 1"}});
    assert_eq!(account.patch(&path, change).await.1["properties"]["lastname"], "New");
    let truth = &account.control.truth("contacts").await.unwrap()["rows"][0];
    assert_eq!(
        (truth["last_name"].as_str(), &truth["custom"]["score"], &truth["phones"][0]),
        (Some("New"), &json!(9), &json!("+49 1"))
    );
    assert_eq!(account.patch(&path, json!({"properties": {"nonsense": "x"}})).await.0, 400);
    assert_eq!(account.patch(&path, json!({"firstname": "x"})).await.0, 400);
}
