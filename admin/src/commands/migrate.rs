use anyhow::Result;
use millrace_shared::db;
use serde_json::json;
use sqlx::migrate::MigrateError;

use crate::app::App;

/// Applies what is pending. Two at once wait for each other.
pub async fn run(app: &App) -> Result<()> {
    let applied = db::migrate(&app.pool).await.map_err(unwrap_database)?;
    if app.out.json {
        let applied: Vec<_> = applied
            .iter()
            .map(|migration| json!({ "version": migration.version, "description": migration.description }))
            .collect();
        return app.out.document(&json!({ "applied": applied }));
    }
    for migration in &applied {
        app.out.line(&format!("applied {:04} {}", migration.version, migration.description))?;
    }
    if applied.is_empty() {
        app.out.line("the database is up to date")?;
    }
    Ok(())
}

/// The error of the database, where it is one: so that an absent server is told as such.
pub fn unwrap_database(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        error => error.into(),
    }
}
