use std::time::Duration;

use millrace_crm_simulator::{Provider, Revoked};
use serde_json::{Value, json};

use crate::{Account, TOKEN, begin, ids, read, seed, sorted};

fn grant(kind: &str, name: &str, token: &str) -> Value {
    json!({
        "client_id": "simulated-client",
        "client_secret": "simulated-secret",
        "redirect_uri": "http://127.0.0.1/callback",
        "grant_type": kind,
        name: token,
    })
}

async fn refresh(account: &Account, token: &str) -> (u16, Value) {
    let request = account.http.post(account.url("/oauth2/access_token"));
    read(request.json(&grant("refresh_token", "refresh_token", token)).send().await.unwrap()).await
}

async fn scan(account: &Account, path: &str, name: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 1.. {
        let (status, body) = account.ask(&format!("{path}&page={page}")).await;
        if status == 204 {
            break;
        }
        assert_eq!(status, 200, "{body}");
        rows.extend(body["_embedded"][name].as_array().unwrap().clone());
        if body["_links"]["next"].is_null() {
            break;
        }
    }
    rows
}

#[tokio::test]
async fn lists_give_each_record_once_and_what_they_give_is_the_truth() {
    let account = begin(Provider::Kommo, seed(120), json!({})).await;
    let rows = scan(&account, "/api/v4/contacts?limit=50&order[id]=asc", "contacts").await;
    let truth = account.control.truth("contacts").await.unwrap();
    assert_eq!(ids(&rows.clone().into()), ids(&truth["rows"]));
    for (row, truth) in rows.iter().zip(truth["rows"].as_array().unwrap()) {
        assert_eq!(row["updated_at"].as_i64().unwrap() * 1000, truth["updated_at_ms"].as_i64().unwrap());
        assert_eq!(row["name"], truth["name"]);
        let fields = row["custom_fields_values"].as_array().cloned().unwrap_or_default();
        let phones = fields.iter().find(|field| field["field_code"] == "PHONE");
        let phones = phones.map(|field| field["values"].as_array().unwrap().clone()).unwrap_or_default();
        let phones: Value = phones.iter().map(|phone| phone["value"].clone()).collect();
        assert_eq!(phones, truth["phones"]);
    }
    let leads = scan(&account, "/api/v4/leads?limit=250&with=contacts&order[updated_at]=desc", "leads").await;
    assert_eq!(sorted(ids(&leads.clone().into())), sorted(account.true_ids("deals").await));
    let times: Vec<i64> = leads.iter().map(|lead| lead["updated_at"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next));
    assert!(leads.iter().any(|lead| lead["_embedded"]["contacts"][0]["is_main"] == true));
}

#[tokio::test]
async fn changes_are_found_by_time_deleted_leads_by_their_list_and_missing_records_are_no_content() {
    let account = begin(Provider::Kommo, seed(40), json!({})).await;
    let gone = account.change(json!({"op": "delete", "object": "deals", "count": 3})).await;
    let changed = account.change(json!({"op": "update", "object": "deals", "count": 4})).await;
    let from = 1_780_000_000;
    let found = scan(&account, &format!("/api/v4/leads?filter[updated_at][from]={from}"), "leads").await;
    assert_eq!(sorted(ids(&found.into())), sorted(changed));
    let deleted = scan(&account, "/api/v4/leads?with=only_deleted", "leads").await;
    assert!(deleted.iter().all(|lead| lead["is_deleted"] == true && lead["name"].is_null()));
    assert_eq!(sorted(ids(&deleted.into())), sorted(gone.clone()));
    assert_eq!(account.get(&format!("/api/v4/leads/{}", gone[0])).await.status(), 204);
    account.change(json!({"op": "purge", "object": "deals", "ids": gone})).await;
    assert_eq!(account.get("/api/v4/leads?with=only_deleted").await.status(), 204);
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_a_problem() {
    let account = begin(Provider::Kommo, seed(4), json!({})).await;
    for wrong in ["limit=251", "limit=0", "page=0", "page=x", "order[name]=asc", "filter[updated_at][from]=x"] {
        let response = account.get(&format!("/api/v4/leads?{wrong}")).await;
        assert_eq!(response.status(), 400, "{wrong}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.json::<Value>().await.unwrap()["validation-errors"].is_array());
    }
    let response = account.http.get(account.url("/api/v4/leads")).bearer_auth("another").send().await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn rate_is_seven_a_second_and_who_goes_on_is_blocked() {
    let limits = json!({"requests": 7, "block_after": 5, "block_ms": 600});
    let account = begin(Provider::Kommo, seed(4), limits).await;
    let mut statuses = Vec::new();
    for _ in 0..14 {
        statuses.push(account.get("/api/v4/account").await.status().as_u16());
    }
    // What came before the first refusal was within a second, however slow the machine is.
    let first = statuses.iter().position(|status| *status == 429).expect("the eighth was too many");
    assert!(first >= 7, "{statuses:?}");
    assert!(statuses.contains(&403), "{statuses:?}");
    let stats = account.control.stats().await.unwrap();
    assert!(stats.max_in_one_second > 7 && stats.rate_refusals >= 5 && stats.block_refusals > 0, "{stats:?}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(account.get("/api/v4/account").await.status(), 200);
}

#[tokio::test]
async fn code_gives_tokens_that_are_refreshed_and_a_lost_reply_is_made_good() {
    let account = begin(Provider::Kommo, seed(4), json!({})).await;
    let page = account.get("/oauth?client_id=simulated-client&state=s1&mode=popup").await;
    let location = page.headers()["location"].to_str().unwrap().to_owned();
    let query: std::collections::HashMap<_, _> =
        reqwest::Url::parse(&location).unwrap().query_pairs().into_owned().collect();
    assert_eq!((query["state"].as_str(), query["referer"].as_str()), ("s1", "acme.kommo.com"));
    let given = grant("authorization_code", "code", &query["code"]);
    let request = account.http.post(account.url("/oauth2/access_token")).json(&given);
    let (status, first) = read(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["access_token"].as_str().unwrap().split('.').count(), 3, "it is a JWT");

    account
        .fault(json!({"path": "/oauth2/access_token", "count": 1, "fault": {"kind": "reset", "carried_out": true}}))
        .await;
    let token = first["refresh_token"].as_str().unwrap();
    let lost = account.http.post(account.url("/oauth2/access_token"));
    assert!(lost.json(&grant("refresh_token", "refresh_token", token)).send().await.is_err());
    let (status, second) = refresh(&account, token).await;
    assert_eq!(status, 200, "the old one is valid until the new one is used: {second}");
    let (status, _) = refresh(&account, second["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 200);
    let (status, refused) = refresh(&account, token).await;
    assert_eq!((status, refused["hint"].as_str()), (401, Some("Token has been revoked")));
    let stats = account.control.stats().await.unwrap();
    assert_eq!((stats.refreshes, stats.refreshes_refused, stats.codes_redeemed), (3, 1, 1));
    assert_eq!(stats.max_refreshes_at_once, 1);
}

#[tokio::test]
async fn token_requests_must_be_json_with_the_right_client() {
    let account = begin(Provider::Kommo, seed(4), json!({})).await;
    let url = account.url("/oauth2/access_token");
    let form = grant("refresh_token", "refresh_token", "x").to_string();
    let as_form = account.http.post(&url).header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(as_form.send().await.unwrap().status(), 400);
    let mut wrong = grant("refresh_token", "refresh_token", "x");
    wrong["client_secret"] = "another".into();
    assert_eq!(account.http.post(&url).json(&wrong).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn refreshes_at_the_same_time_are_seen() {
    let account = begin(Provider::Kommo, seed(4), json!({"latency_ms": 200})).await;
    let (_, token) = account.control.grant().await.unwrap();
    let _ = tokio::join!(refresh(&account, &token), refresh(&account, &token));
    assert_eq!(account.control.stats().await.unwrap().max_refreshes_at_once, 2);
}

#[tokio::test]
async fn account_that_has_moved_is_found_by_its_refresh_token() {
    let mut account = begin(Provider::Kommo, seed(4), json!({})).await;
    let (_, token) = account.control.grant().await.unwrap();
    let old = account.url("/api/v4/account");
    account.control.move_to("acme2").await.unwrap();
    assert_eq!(account.http.get(&old).bearer_auth(TOKEN).send().await.unwrap().status(), 404);
    let anywhere = format!("http://{}/kommo/api-b/oauth2/account/current/subdomain", account.address);
    let asked = account.http.get(&anywhere).header("X-Refresh-Token", &token).send().await.unwrap();
    assert_eq!(read(asked).await.1["domain"], "acme2.kommo.com");
    assert_eq!(account.http.get(&anywhere).header("X-Refresh-Token", "x").send().await.unwrap().status(), 401);
    assert_eq!(account.ask("/api/v4/account").await.1["subdomain"], "acme2");
    assert_eq!(refresh(&account, &token).await.0, 200);
    account.control.revoke(Revoked::All).await.unwrap();
    assert_eq!(account.get("/api/v4/account").await.status(), 401);
}

#[tokio::test]
async fn writes_change_the_truth() {
    let account = begin(Provider::Kommo, seed(8), json!({})).await;
    let id = account.true_ids("deals").await[0].clone();
    let change = json!({
        "name": "Renamed",
        "price": 500,
        "custom_fields_values": [{"field_id": 1_234_522, "values": [{"value": "7"}]}],
    });
    let (status, body) = account.patch(&format!("/api/v4/leads/{id}"), change).await;
    assert_eq!(status, 200, "{body}");
    let truth = &account.control.truth("deals").await.unwrap()["rows"][0];
    assert_eq!((truth["name"].as_str(), truth["amount"].as_str()), (Some("Renamed"), Some("500")));
    assert_eq!(truth["custom"]["1234522"], 7);
    let (status, _) = account.patch(&format!("/api/v4/leads/{id}"), json!({"price": "much"})).await;
    assert_eq!(status, 400);
    assert_eq!(account.patch("/api/v4/leads/1", json!({"price": 1})).await.0, 404);
}

#[tokio::test]
async fn notes_and_catalogs_are_served() {
    let account = begin(Provider::Kommo, seed(40), json!({})).await;
    let mut notes = Vec::new();
    for entity in ["leads", "contacts", "companies"] {
        let found = scan(&account, &format!("/api/v4/{entity}/notes?limit=7"), "notes").await;
        let first = found[0]["id"].to_string();
        assert_eq!(account.ask(&format!("/api/v4/{entity}/notes/{first}")).await.1["id"].to_string(), first);
        notes.extend(ids(&found.into()));
    }
    assert_eq!(sorted(notes), sorted(account.true_ids("notes").await));
    let (_, pipelines) = account.ask("/api/v4/leads/pipelines").await;
    let statuses = &pipelines["_embedded"]["pipelines"][1]["_embedded"]["statuses"];
    assert_eq!(statuses.as_array().unwrap().len(), 5);
    assert_eq!(account.ask("/api/v4/users").await.1["_embedded"]["users"].as_array().unwrap().len(), 5);
    assert_eq!(account.ask("/api/v4/account").await.1["subdomain"], "acme");
}
