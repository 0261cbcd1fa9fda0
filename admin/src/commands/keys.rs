//! API keys and, with `--org new`, organisations.

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use millrace_shared::{
    auth::{ApiKey, Role},
    db::{
        api_keys::{self, KeyRecord},
        organisations,
    },
    ids::{KeyId, OrgId},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::App,
    args::{KeysCommand, NewOrOrg},
    exit::{Exit, Failure},
    ui::{self, Cell, Column, Table, Tone},
};

pub async fn run(app: &App, command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::Create { org, role, name } => create(app, org, role, &name).await,
        KeysCommand::List { org } => list(app, org).await,
        KeysCommand::Revoke { ids } => revoke(app, &ids).await,
    }
}

async fn create(app: &App, org: NewOrOrg, role: Role, name: &str) -> Result<()> {
    let mut transaction = app.transaction().await?;
    let org = match org {
        NewOrOrg::New => organisations::create(&mut transaction, OrgId::new()).await?.id,
        NewOrOrg::Existing(org) if organisations::exists(&mut transaction, org).await? => org,
        NewOrOrg::Existing(org) => {
            return Err(Failure::of(Exit::NotFound, format!("there is no organisation {org}; `--org new` makes one")));
        }
    };
    let key = ApiKey::generate();
    let record = api_keys::create(&mut transaction, org, role, name, &key).await?;
    transaction.commit().await.context("the key was not stored")?;
    if app.out.json {
        let id = record.id;
        return app.out.document(&json!({ "key": key.reveal(), "org_id": org, "id": id, "role": role }));
    }
    app.out.note(&format!("organisation  {org}"));
    app.out.note(&format!("key id        {}", record.id));
    app.out.note(&format!("role          {role}"));
    app.out.note("The key itself is shown only now:");
    app.out.line(key.reveal())
}

/// A key as `--json` lists it.
#[derive(Serialize)]
struct Listed<'a> {
    id: KeyId,
    org_id: OrgId,
    role: Role,
    name: &'a str,
    prefix: &'a str,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl<'a> From<&'a KeyRecord> for Listed<'a> {
    fn from(key: &'a KeyRecord) -> Self {
        Self {
            id: key.id,
            org_id: key.org_id,
            role: key.role,
            name: &key.label,
            prefix: &key.prefix,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

async fn list(app: &App, org: Option<OrgId>) -> Result<()> {
    let keys = api_keys::list(&mut *app.connection().await?, org).await?;
    if app.out.json {
        return keys.iter().try_for_each(|key| app.out.document(&Listed::from(key)));
    }
    if keys.is_empty() {
        app.out.note("no keys");
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::Left("ID"),
        Column::Left("PREFIX"),
        Column::Left("ROLE"),
        Column::Left("CREATED"),
        Column::Left("LAST USED"),
        Column::Left("REVOKED"),
        Column::Left("ORGANISATION"),
        Column::Cut("NAME"),
    ]);
    for key in &keys {
        let revoked = key.revoked_at.map(|time| Cell::toned(ui::ago(time), Tone::Bad));
        table.row(vec![
            Cell::new(key.id.to_string()),
            Cell::new(format!("{}…", key.prefix)),
            Cell::new(key.role.as_str()),
            Cell::new(ui::ago(key.created_at)),
            Cell::maybe(key.last_used_at.map(ui::ago)),
            revoked.unwrap_or_else(Cell::nothing),
            Cell::new(key.org_id.to_string()),
            Cell::maybe(Some(&key.label).filter(|label| !label.is_empty())),
        ]);
    }
    app.out.table(&table)
}

async fn revoke(app: &App, ids: &[KeyId]) -> Result<()> {
    let mut connection = app.connection().await?;
    let mut missing = false;
    for id in ids {
        let revoked = api_keys::revoke(&mut connection, *id).await?;
        if app.out.json {
            app.out.document(&json!({ "id": id, "revoked": revoked }))?;
        } else if revoked {
            app.out.line(&format!("revoked {id}"))?;
        }
        if !revoked {
            missing = true;
            app.out.note(&format!("{id}: no such key, or it was revoked before"));
        }
    }
    if missing { Err(Failure::told(Exit::NotFound)) } else { Ok(()) }
}
