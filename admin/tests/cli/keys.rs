use anyhow::{Context as _, Result};
use millrace_shared::{
    auth::{ApiKey, Role},
    db::api_keys,
    ids::OrgId,
};

use crate::place::Place;

async fn holder(place: &Place, key: &str) -> Result<Option<(OrgId, Role)>> {
    let hash = ApiKey::parse(key)?.hash();
    let principal = api_keys::authenticate(&mut place.connection().await?, &[hash]).await?.pop().flatten();
    Ok(principal.map(|principal| (principal.org, principal.role)))
}

#[tokio::test]
async fn a_new_key_stands_alone_on_standard_output_and_works() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    let made = place.run(&["keys", "create", "--org", &org, "--role", "operator", "--name", "night shift"]).await?;
    assert!(made.stderr.contains(&org), "{made:?}");
    let key = made.ok();
    assert_eq!(holder(&place, &key).await?, Some((place.org, Role::Operator)));
    Ok(())
}

#[tokio::test]
async fn a_new_organisation_comes_with_its_first_key() -> Result<()> {
    let place = Place::new().await?;
    let made = place.run(&["keys", "create", "--org", "new", "--role", "submitter", "--json"]).await?.document();
    let mut fields: Vec<&String> = made.as_object().context("no object")?.keys().collect();
    fields.sort();
    assert_eq!(fields, ["id", "key", "org_id", "role"]);
    let org: OrgId = made["org_id"].as_str().context("no org_id")?.parse()?;
    assert_ne!(org, place.org);
    let key = made["key"].as_str().context("no key")?;
    assert_eq!(holder(&place, key).await?, Some((org, Role::Submitter)));
    Ok(())
}

#[tokio::test]
async fn an_unknown_organisation_gets_no_key() -> Result<()> {
    let place = Place::new().await?;
    let said = place.run(&["keys", "create", "--org", &OrgId::new().to_string(), "--role", "admin"]).await?.fails(3);
    assert!(said.contains("there is no organisation"), "{said}");
    Ok(())
}

#[tokio::test]
async fn lists_show_which_keys_there_are_and_never_a_key() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    let key = place.run(&["keys", "create", "--org", &org, "--role", "admin", "--name", "a\u{1b}[2Jname"]).await?.ok();
    place.new_org().await?;

    let listed = place.run(&["keys", "list", "--org", &org, "--json"]).await?;
    let keys = listed.objects();
    assert_eq!(keys.len(), 2, "the first key of the organisation, and this one");
    assert_eq!((&keys[0]["name"], &keys[0]["role"]), (&"a\u{1b}[2Jname".into(), &"admin".into()));
    assert_eq!(keys[0]["prefix"].as_str().map(|prefix| key.starts_with(prefix)), Some(true));
    assert!(keys[0]["revoked_at"].is_null() && keys[0]["last_used_at"].is_null());

    let table = place.run(&["keys", "list"]).await?.ok();
    assert_eq!(table.lines().count(), 4, "a header and three keys:\n{table}");
    for text in [&table, &listed.stdout] {
        assert!(!text.contains(&key), "{text}");
    }
    assert!(table.contains("a [2Jname") && !table.contains('\u{1b}'), "{table}");
    Ok(())
}

#[tokio::test]
async fn a_revoked_key_stops_at_once_and_for_good() -> Result<()> {
    let place = Place::new().await?;
    let made =
        place.run(&["keys", "create", "--org", &place.org.to_string(), "--role", "admin", "--json"]).await?.document();
    let (key, id) = (made["key"].as_str().context("no key")?, made["id"].as_str().context("no id")?);
    assert!(holder(&place, key).await?.is_some());
    assert_eq!(place.run(&["keys", "revoke", id]).await?.ok(), format!("revoked {id}"));
    assert_eq!(holder(&place, key).await?, None);

    place.run(&["keys", "revoke", id]).await?.fails(3);
    let again = place.run(&["keys", "revoke", id, "--json"]).await?;
    assert_eq!((again.code, &again.objects()[0]["revoked"]), (3, &false.into()));
    let listed = place.run(&["keys", "list", "--json"]).await?.objects();
    assert!(listed.iter().any(|key| key["id"] == id && key["revoked_at"].is_string()), "{listed:?}");
    Ok(())
}
