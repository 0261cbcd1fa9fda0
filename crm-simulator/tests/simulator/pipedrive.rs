use millrace_crm_simulator::Provider;
use serde_json::{Value, json};

use crate::{Account, TOKEN, begin, ids, read, seed, sorted};

async fn scan(account: &Account, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, body) = account.ask(&format!("{path}{cursor}")).await;
        assert_eq!(status, 200, "{body}");
        rows.extend(body["data"].as_array().unwrap().clone());
        match body["additional_data"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn cursors_lead_through_every_order() {
    let account = begin(Provider::Pipedrive, seed(90), json!({})).await;
    let truth = sorted(account.true_ids("contacts").await);
    for order in ["id", "update_time", "add_time"] {
        for direction in ["asc", "desc"] {
            let path = format!("/api/v2/persons?limit=20&sort_by={order}&sort_direction={direction}");
            let rows = scan(&account, &path).await;
            let times: Vec<&str> = rows.iter().map(|row| row["update_time"].as_str().unwrap()).collect();
            if order == "update_time" {
                assert!(times.is_sorted_by(|one, next| if direction == "asc" { one <= next } else { one >= next }));
            }
            assert_eq!(sorted(ids(&rows.into())), truth, "{order} {direction}");
        }
    }
}

#[tokio::test]
async fn changed_and_deleted_deals_are_found() {
    let account = begin(Provider::Pipedrive, seed(40), json!({})).await;
    let changed = account.change(json!({"op": "update", "object": "deals", "count": 3})).await;
    let found = scan(&account, "/api/v2/deals?updated_since=2026-06-01T00:00:00Z").await;
    assert_eq!(sorted(ids(&found.into())), sorted(changed));
    let gone = account.change(json!({"op": "delete", "object": "deals", "count": 2})).await;
    let deleted = scan(&account, "/api/v2/deals?status=deleted").await;
    assert!(deleted.iter().all(|deal| deal["is_deleted"] == true));
    assert_eq!(sorted(ids(&deleted.into())), sorted(gone.clone()));
    let path = format!("/api/v2/deals/{}", gone[0]);
    assert_eq!(account.ask(&path).await.1["data"]["is_deleted"], true);
    account.switch(json!({"deleted_by_id": "not_found"})).await;
    assert_eq!(account.ask(&path).await.0, 404);
    account.control.advance_clock(31 * 86_400_000).await.unwrap();
    assert!(scan(&account, "/api/v2/deals?status=deleted").await.is_empty());
}

#[tokio::test]
async fn next_cursor_can_be_in_either_place_and_nonsense_is_refused() {
    let account = begin(Provider::Pipedrive, seed(40), json!({"next_cursor": "pagination"})).await;
    let (_, body) = account.ask("/api/v2/persons?limit=5").await;
    assert!(body["additional_data"]["pagination"]["next_cursor"].is_string());
    assert!(body["additional_data"]["next_cursor"].is_null());
    for wrong in ["limit=501", "cursor=x", "sort_by=name", "updated_since=yesterday", "start=5", "status=open"] {
        assert_eq!(account.ask(&format!("/api/v2/persons?{wrong}")).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn api_tokens_and_first_version_endpoints_work() {
    let account = begin(Provider::Pipedrive, seed(40), json!({})).await;
    let me = account.http.get(account.url("/v1/users/me")).header("x-api-token", TOKEN).send().await.unwrap();
    assert!(read(me).await.1["data"]["company_id"].is_u64());
    assert_eq!(account.http.get(account.url("/v1/users")).send().await.unwrap().status(), 401);
    assert_eq!(account.ask("/v1/users").await.1["data"].as_array().unwrap().len(), 5);
    let (mut seen, mut start) = (Vec::new(), 0);
    loop {
        let (_, body) = account.ask(&format!("/v1/notes?start={start}&limit=6")).await;
        seen.extend(ids(&body["data"]));
        let pagination = &body["additional_data"]["pagination"];
        if pagination["more_items_in_collection"] == false {
            break;
        }
        start = pagination["next_start"].as_u64().unwrap();
    }
    assert_eq!(seen, account.true_ids("notes").await);
    let (_, deal) = account.ask(&format!("/api/v2/deals/{}", account.true_ids("deals").await[0])).await;
    let truth = &account.control.truth("deals").await.unwrap()["rows"][0];
    assert_eq!((&deal["data"]["title"], &deal["data"]["status"]), (&truth["name"], &truth["status"]));
    assert_eq!(account.ask("/api/v2/stages").await.1["data"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn writes_change_the_truth() {
    let account = begin(Provider::Pipedrive, seed(8), json!({})).await;
    let id = account.true_ids("contacts").await[0].clone();
    let change = json!({"name": "Ann Lee", "emails": [{"value": "ann@example.com", "primary": true, "label": "work"}]});
    let (status, body) = account.patch(&format!("/api/v2/persons/{id}"), change).await;
    assert_eq!((status, body["data"]["last_name"].as_str()), (200, Some("Lee")));
    let truth = &account.control.truth("contacts").await.unwrap()["rows"][0];
    assert_eq!((&truth["name"], &truth["emails"]), (&json!("Ann Lee"), &json!(["ann@example.com"])));
    assert_eq!(account.patch(&format!("/api/v2/persons/{id}"), json!({"nonsense": 1})).await.0, 400);
}

#[tokio::test]
async fn client_shows_itself_by_basic_credentials_and_learns_its_domain() {
    let account = begin(Provider::Pipedrive, seed(4), json!({})).await;
    let (_, token) = account.control.grant().await.unwrap();
    let request = account.http.post(account.url("/oauth/token"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    let refused = request.try_clone().unwrap().body(body.clone()).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let given = request.basic_auth("simulated-client", Some("simulated-secret")).body(body).send().await.unwrap();
    assert_eq!(read(given).await.1["api_domain"], account.control.base_url());
}
