use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_crm_simulator::{AccountSpec, OAuthClient, Provider};
use serde_json::{Value, json};

use crate::{Account, begin, read, seed, sorted};

/// Made for this test, and good for nothing else.
const PRIVATE_KEY: [&str; 17] = [
    "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCzzijbTNBICsWNJsXjyj0KvsXp00eyog1yl3uOyrZ7HbxP9fKZ",
    "YUVfabRMaNiBp6vlGcrl6X/gK5FJmsc+BFg0r1G8U+UVbK6xoW0nFfMWHG1hWV0tYq8pWB1mdv8xoOEfIhmUXj3MFtIFqwZJPoXr",
    "H81GEavbO6wIh8Bl7gU+3iRXm4DkCS/jx6kdtXBMpQ7i5nTsz3K9D21THj8q5fej1kbiHF0dMAMqAnU9aulJkZr8BXE+S+fIHgq0",
    "q9mTQvzbng+VSZAU/aooVl7y5WFmW9SsY264bTP0lDeeKvMqHQi3x8Db3DgdlwHfaQ6VdbwczgKl7IK4BgLUB8LyBfiHAgMBAAEC",
    "ggEABWWHpmVczvy7xyvFvruAL4VgTU9RFJR2kNzpEXUWGwXedAvutxnLSjzS84QmE2Yj66FljJcAhoroNmxV1I+u0g39BwkBlC4J",
    "5DzzGLw46o353nUfLdCLb1M8tqmVqTip6RRN7j0R38FDlnX2n1YoENGIiLTZEqBs3mispqKJN8TILA8a6MgHny7zZkFXMxzUXCZM",
    "cUx2tldigGHlfh5Es+w0Vmy7v0ymILWW5SKNadNhEpoJ/hMj0uDWkkMzsI7R1KuPCsr2tM7esoJ4a8GhqloeHWPb/jm9fnCSNLbd",
    "nO/7tE5b5hJhgvXDROveeRAt99L+y33lN1dZFXCQ25HTsQKBgQDlbzuERb9ZmA1QlzSmAV1ii1P1BMOwwMuwP5VTxmqcxfw9a1Sa",
    "BghrztlfKYUhDfimk/iDVX8CT/pWmA87q+y+kRKk6t5fek/bfNLX9bhMh5pKuvB8LCsTzIy+0eKYWRGg1hJ8UgpvVngAr5LfL6oM",
    "gLEiDsnyDg+vleFpqWK+2QKBgQDIn9jEih+d6gr2G2zy11CXhW24kq5wzHzkzTQUYxTScn39JfMUKwQBYS8f3+kYOWl20RCgU6JZ",
    "8umZax7FPUxNMcQReA0HPz2N7/MSm48HE5/FGBstn69bFviuYa68+S647QXNZbt0Ael79P31fahpdbldNU3xM9hWAOVd0j6WXwKB",
    "gFhY4L4qbWh+mIHz954E4ITVydqLnx8s3kJb+ZBs0xjTVDICZm147T02RZXTUyRLUPgz+nn4LhQh3/AAVb1QkrU+/8Lpff+eBaor",
    "ArWONQ2jGdK08W2fRGc3WOsRvwOTKKqaRDwDC2mcDlGVSiUPIZf25j6LG1BOAdRHDqm1RAThAoGALFITwyd4YJxpm4DniqZCaZbS",
    "bGoLG2QxWyJyFObmnK8qYhhWIOh31A4yKOqARhe40sTQ1XpkbVaagIgHni8yggMye2F4D1fLM2YE3uF6sWeGbjYrGuMiDA+BFJUD",
    "0z+BMN074OpOhQw/FmFDEU6XO+UD9DFobJa1fhpokVd2+CUCgYAv0YWZ+Lzo1ne1scEYS8FWIQk95h1sArYAz8oBIfbsS1l9bexm",
    "uw5czV7OIIPx+FeZ5dmsuJmqb0rHLSnk4GaR3k3gGSHFKspuDltgI//BV7baaqogZEoQDRXnF+iTCNK+ofQcBipj4qMNywjRr87w",
    "sf/7p8b4rVoXNzE9DaIy4A==",
];
const PUBLIC_KEY: [&str; 4] = [
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs84o20zQSArFjSbF48o9Cr7F6dNHsqINcpd7jsq2ex28T/XymWFFX2m0",
    "TGjYgaer5RnK5el/4CuRSZrHPgRYNK9RvFPlFWyusaFtJxXzFhxtYVldLWKvKVgdZnb/MaDhHyIZlF49zBbSBasGST6F6x/NRhGr",
    "2zusCIfAZe4FPt4kV5uA5Akv48epHbVwTKUO4uZ07M9yvQ9tUx4/KuX3o9ZG4hxdHTADKgJ1PWrpSZGa/AVxPkvnyB4KtKvZk0L8",
    "254PlUmQFP2qKFZe8uVhZlvUrGNuuG0z9JQ3nirzKh0It8fA29w4HZcB32kOlXW8HM4CpeyCuAYC1AfC8gX4hwIDAQAB",
];

fn pem(kind: &str, lines: &[&str]) -> String {
    format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n", lines.join("\n"))
}

async fn query(account: &Account, path: &str, soql: &str) -> (u16, Value) {
    let url = account.url(&format!("/services/data/v60.0/{path}"));
    let url = reqwest::Url::parse_with_params(&url, [("q", soql)]).unwrap();
    read(account.http.get(url).bearer_auth(crate::TOKEN).send().await.unwrap()).await
}

async fn all(account: &Account, path: &str, soql: &str) -> Vec<Value> {
    let (status, mut page) = query(account, path, soql).await;
    let mut rows = Vec::new();
    loop {
        assert_eq!(status, 200, "{page}");
        rows.extend(page["records"].as_array().unwrap().clone());
        let Some(next) = page["nextRecordsUrl"].as_str() else { break };
        assert_eq!(page["done"], false);
        page = account.ask(next).await.1;
    }
    assert_eq!(page["totalSize"].as_u64(), Some(rows.len() as u64));
    rows
}

fn ids(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| row["Id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn query_gives_every_record_once_page_by_page() {
    let account = begin(Provider::Salesforce, seed(90), json!({"page_rows": 20})).await;
    let rows = all(&account, "query", "SELECT Id, Name, Email, AccountId, SystemModstamp, Score__c FROM Contact").await;
    let truth = account.control.truth("contacts").await.unwrap();
    assert_eq!(ids(&rows), crate::ids(&truth["rows"]));
    for (row, truth) in rows.iter().zip(truth["rows"].as_array().unwrap()) {
        assert_eq!((&row["Name"], &row["Score__c"]), (&truth["name"], &truth["custom"]["Score__c"]));
        assert_eq!(row["AccountId"], *truth["companies"].get(0).unwrap_or(&Value::Null));
        assert!(row["SystemModstamp"].as_str().unwrap().ends_with(".000+0000"));
        assert_eq!(row["attributes"]["type"], "Contact");
    }
}

#[tokio::test]
async fn keyset_by_time_and_id_leads_through_all_records() {
    let account = begin(Provider::Salesforce, seed(90), json!({})).await;
    let (mut seen, mut since) = (Vec::new(), String::new());
    loop {
        let soql = format!("SELECT Id, SystemModstamp FROM Contact {since} ORDER BY SystemModstamp, Id LIMIT 7");
        let rows = all(&account, "queryAll", &soql).await;
        let Some(last) = rows.last() else { break };
        let (at, id) = (last["SystemModstamp"].as_str().unwrap(), last["Id"].as_str().unwrap());
        since = format!("WHERE SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > '{id}')");
        seen.extend(ids(&rows));
    }
    assert_eq!(seen.len(), 90);
    assert_eq!(sorted(seen), sorted(account.true_ids("contacts").await));
}

#[tokio::test]
async fn deleted_records_are_in_query_all_until_they_are_purged() {
    let account = begin(Provider::Salesforce, seed(40), json!({})).await;
    let gone = account.change(json!({"op": "delete", "object": "deals", "count": 3})).await;
    let deleted = "SELECT Id, IsDeleted FROM Opportunity WHERE IsDeleted = true";
    assert_eq!(sorted(ids(&all(&account, "queryAll", deleted).await)), sorted(gone.clone()));
    assert!(all(&account, "query", deleted).await.is_empty());
    let (status, refused) = account.ask(&format!("/services/data/v60.0/sobjects/Opportunity/{}", gone[0])).await;
    assert_eq!((status, refused[0]["errorCode"].as_str()), (404, Some("ENTITY_IS_DELETED")));
    account.change(json!({"op": "purge", "object": "deals", "ids": gone})).await;
    assert!(all(&account, "queryAll", deleted).await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_its_code() {
    let account = begin(Provider::Salesforce, seed(4), json!({"daily_requests": 8})).await;
    for (soql, code) in [
        ("SELECT Id FROM Contact WHERE", "MALFORMED_QUERY"),
        ("SELECT Nonsense FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nonsense", "INVALID_TYPE"),
        ("SELECT Id FROM Contact WHERE SystemModstamp > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id, CurrencyIsoCode FROM Opportunity", "INVALID_FIELD"),
    ] {
        let (status, refused) = query(&account, "query", soql).await;
        assert_eq!((status, refused[0]["errorCode"].as_str()), (400, Some(code)), "{soql}");
    }
    let path = "/services/data/v60.0/query/0r8000000000001AAA-2000";
    assert_eq!(account.ask(path).await.1[0]["errorCode"], "INVALID_QUERY_LOCATOR");
    let stranger =
        account.http.get(account.url("/services/oauth2/userinfo")).bearer_auth("another").send().await.unwrap();
    assert_eq!(read(stranger).await.1[0]["errorCode"], "INVALID_SESSION_ID");
    let response = account.get("/services/oauth2/userinfo").await;
    assert_eq!(response.headers()["sforce-limit-info"], "api-usage=7/8");
    assert_eq!(account.get("/services/oauth2/userinfo").await.status(), 200);
    let (status, refused) = account.ask("/services/oauth2/userinfo").await;
    assert_eq!((status, refused[0]["errorCode"].as_str()), (403, Some("REQUEST_LIMIT_EXCEEDED")));
}

#[tokio::test]
async fn writes_change_the_truth_and_catalogs_are_served() {
    let account = begin(Provider::Salesforce, seed(8), json!({})).await;
    let id = account.true_ids("contacts").await[0].clone();
    let path = format!("/services/data/v60.0/sobjects/Contact/{id}");
    let change = json!({"LastName": "New", "Email": "new@example.com", "Interests__c": "Sailing;R&D"});
    assert_eq!(account.patch(&path, change).await.0, 204);
    let truth = &account.control.truth("contacts").await.unwrap()["rows"][0];
    assert_eq!((&truth["last_name"], &truth["emails"]), (&json!("New"), &json!(["new@example.com"])));
    assert_eq!(truth["custom"]["Interests__c"], json!(["Sailing", "R&D"]));
    assert_eq!(account.ask(&path).await.1["Interests__c"], "Sailing;R&D");
    assert_eq!(account.patch(&path, json!({"Name": "x"})).await.0, 400);
    let stages = all(&account, "query", "SELECT ApiName, IsWon FROM OpportunityStage WHERE IsWon = true").await;
    assert_eq!(stages.len(), 1);
    assert_eq!(all(&account, "query", "SELECT Id, Email FROM User WHERE IsActive = true").await.len(), 5);
}

#[tokio::test]
async fn refresh_gives_no_new_refresh_token_and_tells_the_instance() {
    let account = begin(Provider::Salesforce, seed(4), json!({})).await;
    let (_, token) = account.control.grant().await.unwrap();
    let body = format!(
        "grant_type=refresh_token&client_id=simulated-client&client_secret=simulated-secret&refresh_token={token}"
    );
    let (status, given) = exchange(&account, body).await;
    assert_eq!((status, &given["instance_url"]), (200, &json!(account.control.base_url())));
    assert!(given["refresh_token"].is_null() && given["expires_in"].is_null());
}

async fn exchange(account: &Account, body: String) -> (u16, Value) {
    let request = account.http.post(account.url("/services/oauth2/token"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    read(request.body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn assertion_signed_by_the_registered_key_gives_an_access_token() {
    let account = begin(Provider::Salesforce, seed(4), json!({})).await;
    let public = pem("PUBLIC", &PUBLIC_KEY);
    let oauth = OAuthClient { jwt_public_key: Some(public), ..OAuthClient::default() };
    account.control.create(&AccountSpec { oauth, ..AccountSpec::default() }).await.unwrap();
    let key = EncodingKey::from_rsa_pem(pem("PRIVATE", &PRIVATE_KEY).as_bytes()).unwrap();
    let now = account.control.advance_clock(0).await.unwrap() / 1000;
    let ask = async |user: &str, end: i64| {
        let claims = json!({
            "iss": "simulated-client", "sub": user, "aud": "https://login.salesforce.com", "exp": end,
        });
        let assertion = encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
        exchange(&account, format!("grant_type={grant}&assertion={assertion}")).await
    };
    let (status, given) = ask("integration@example.com", now + 120).await;
    assert_eq!(status, 200, "{given}");
    assert!(given["refresh_token"].is_null());
    let url = account.url("/services/oauth2/userinfo");
    let asked = account.http.get(url).bearer_auth(given["access_token"].as_str().unwrap()).send().await.unwrap();
    assert!(read(asked).await.1["organization_id"].as_str().unwrap().starts_with("00D"));
    for (user, end) in
        [("integration@example.com", now - 1), ("integration@example.com", now + 3600), ("another", now + 120)]
    {
        assert_eq!(ask(user, end).await.1["error"], "invalid_grant");
    }
}
