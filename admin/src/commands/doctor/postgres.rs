//! Whether Postgres keeps what it is given, and is ready for this build.

use std::time::Instant;

use chrono::Utc;
use millrace_shared::{
    config::{DatabaseConfig, PartialConfig},
    db::{
        self,
        server::{self, ServerFacts},
    },
};
use sqlx::PgConnection;

use super::{Check, Status};
use crate::{commands::migrate, exit::chain, ui};

/// The oldest major version whose features are used.
const LEAST_VERSION: i32 = 14;

pub async fn checks(database: &DatabaseConfig, config: &PartialConfig) -> Vec<Check> {
    const NAME: &str = "postgres";
    let away = |error: sqlx::Error| {
        let found = chain(&error.into());
        vec![Check::failed(NAME, format!("no connection: {found}"), "start Postgres, or correct DATABASE_URL")]
    };
    let pool = match db::pool(database, "millrace doctor") {
        Ok(pool) => pool,
        Err(error) => return away(error),
    };
    let mut connection = match pool.acquire().await {
        Ok(connection) => connection,
        Err(error) => return away(error),
    };
    let asked = Instant::now();
    let facts = match server::facts(&mut connection).await {
        Ok(facts) => facts,
        Err(error) => return away(error),
    };
    let took = asked.elapsed();
    let mut checks = vec![
        Check::ok(NAME, format!("answers in {}", ui::duration(took))),
        version(&facts),
        role(&facts),
        durability(&facts),
        room(&facts, database.max_connections),
    ];
    let migrations = migrations(&mut connection).await;
    let migrated = migrations.status == Status::Ok;
    checks.push(migrations);
    if migrated {
        checks.extend(super::ledger::checks(&mut connection, config.retention.as_ref()).await);
        checks.push(super::secrets::check(&mut connection, config.keyring.as_ref()).await);
    }
    let skew = super::redis::skew(facts.now, Utc::now() - took / 2);
    checks.push(Check::ok("postgres clock", skew));
    checks
}

fn version(facts: &ServerFacts) -> Check {
    const NAME: &str = "postgres version";
    if facts.version_number / 10_000 < LEAST_VERSION {
        return Check::failed(NAME, &facts.version, format!("upgrade to {LEAST_VERSION} or later"));
    }
    Check::ok(NAME, &facts.version)
}

fn role(facts: &ServerFacts) -> Check {
    const NAME: &str = "postgres role";
    if facts.is_standby {
        return Check::failed(NAME, "a standby, which takes no writes", "point DATABASE_URL to the primary");
    }
    Check::ok(NAME, "primary")
}

fn durability(facts: &ServerFacts) -> Check {
    const NAME: &str = "postgres durability";
    let settings = [
        ("fsync", &facts.fsync),
        ("full_page_writes", &facts.full_page_writes),
        ("synchronous_commit", &facts.synchronous_commit),
    ];
    let off: Vec<&str> = settings.iter().filter(|(_, value)| *value == "off").map(|(name, _)| *name).collect();
    if !off.is_empty() {
        let found = format!("{} off: accepted jobs may be lost with the power", off.join(" and "));
        return Check::failed(NAME, found, format!("set {} = on", off.join(" and ")));
    }
    Check::ok(NAME, format!("fsync on, synchronous_commit {}", facts.synchronous_commit))
}

fn room(facts: &ServerFacts, pool: u32) -> Check {
    const NAME: &str = "postgres connections";
    let left = i64::from(facts.max_connections) - facts.open_connections;
    let found =
        format!("{} of {} open, each process takes up to {pool}", facts.open_connections, facts.max_connections);
    if left < i64::from(pool) {
        let fix = "raise max_connections, lower MILLRACE_DATABASE_CONNECTIONS, or put a pooler in front";
        return Check::warning(NAME, found, fix);
    }
    Check::ok(NAME, found)
}

async fn migrations(connection: &mut PgConnection) -> Check {
    const NAME: &str = "migrations";
    match db::pending_migrations(connection).await {
        Ok(pending) if pending.is_empty() => Check::ok(NAME, "none pending"),
        Ok(pending) => {
            let names: Vec<String> =
                pending.iter().map(|migration| format!("{:04} {}", migration.version, migration.description)).collect();
            Check::failed(NAME, format!("pending: {}", names.join(", ")), "run `millrace migrate`")
        }
        Err(error) => {
            let found = chain(&migrate::unwrap_database(error));
            Check::failed(NAME, found, "look at the table _sqlx_migrations")
        }
    }
}
