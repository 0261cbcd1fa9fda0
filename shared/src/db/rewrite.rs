//! Putting partitions into the place of others, with those of their rows that are to stay: what is over is dropped so, as a whole, after the few
//! rows that must survive were copied; and what landed in the default partition gets one of its own.
//!
//! ```text
//!  note changes ──▶ copy what stays (long, blocks nobody) ──▶ one short transaction: lock the ledger, copy again what changed, drop, attach
//! ```
//!
//! While rows are copied, a trigger on the old partitions notes every job that is inserted or changed there. The last transaction copies those
//! again, while nobody can read or write, so that no end, replay or late arrival is lost, and no statement looks for a row where it was before.
//! Killed anywhere before its commit, the old partitions are still there, and the next attempt begins anew.
//!
//! One session at a time may do it, because the notes are one table.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::partitions::{DEFAULT, KEPT, Partition, TABLES, run, set_timeouts, stamp};

/// What may be forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Cutoff {
    /// Jobs that ended before this time.
    pub ended: DateTime<Utc>,
    /// Dead letters that died before this time; `None` where they are kept until they are replayed or discarded.
    pub died: Option<DateTime<Utc>>,
}

impl Cutoff {
    fn survives(&self) -> String {
        let literal = |time: DateTime<Utc>| format!("'{}'::timestamptz", time.to_rfc3339());
        let still_wanted = self.died.map_or_else(String::new, |died| format!(" AND finished_at >= {}", literal(died)));
        format!(
            "(finished_at IS NULL OR finished_at >= {} OR (state = 'dead' AND discarded_at IS NULL{still_wanted}))",
            literal(self.ended)
        )
    }
}

/// Partitions that others are to take the place of.
#[derive(Debug)]
pub struct Rewrite {
    /// What follows the tables' names in those of the old ones.
    old: Vec<String>,
    new: Vec<Target>,
}

/// A new partition.
#[derive(Debug)]
struct Target {
    suffix: String,
    /// As `ATTACH PARTITION` has them.
    bounds: String,
    /// What the bounds say of an id, whose column is put in for `{id}`; nothing for the default partition.
    check: Option<String>,
    /// Which jobs of the old partitions it gets.
    rows: String,
}

impl Target {
    fn name(&self, table: &str) -> String {
        format!("{table}_{}_next", self.suffix)
    }
}

impl Rewrite {
    /// Drops a partition. What must survive it is put together with what survived earlier ones and still must.
    #[must_use]
    pub fn expired(kept: Option<&Partition>, victim: &Partition, cutoff: Cutoff) -> Self {
        let target = Target {
            suffix: format!("{KEPT}{}", stamp(victim.to.time())),
            bounds: format!("FOR VALUES FROM (MINVALUE) TO ('{}')", victim.to),
            check: Some(format!("{{id}} < '{}'", victim.to)),
            rows: cutoff.survives(),
        };
        Self { old: kept.into_iter().chain([victim]).map(|old| old.suffix.clone()).collect(), new: vec![target] }
    }

    /// Makes a partition of rows that are in the default one.
    #[must_use]
    pub fn adopted(new: &Partition) -> Self {
        let within = match new.from {
            Some(from) => format!("{{id}} >= '{from}' AND {{id}} < '{}'", new.to),
            None => format!("{{id}} < '{}'", new.to),
        };
        let jobs = within.replace("{id}", "id");
        let adopted =
            Target { suffix: new.suffix.clone(), bounds: new.bounds(), check: Some(within), rows: format!("({jobs})") };
        let rest = Target {
            suffix: DEFAULT.to_owned(),
            bounds: "DEFAULT".to_owned(),
            check: None,
            rows: format!("NOT ({jobs})"),
        };
        Self { old: vec![DEFAULT.to_owned()], new: vec![adopted, rest] }
    }

    /// Copies what stays.
    ///
    /// # Errors
    /// Those of the database: among them that a lock was not to be had soon.
    pub async fn prepare(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let mut transaction = connection.begin().await?;
        set_timeouts(&mut transaction).await?;
        for old in &self.old {
            // Waits for whoever is writing there, so that what this trigger does not see, the copy does.
            let trigger = format!(
                "CREATE OR REPLACE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON jobs_{old} FOR EACH ROW EXECUTE FUNCTION note_job_change()"
            );
            run(&mut transaction, trigger).await?;
        }
        run(&mut transaction, "DELETE FROM job_changes".to_owned()).await?;
        for new in &self.new {
            for (table, id) in TABLES {
                let name = new.name(table);
                // An earlier attempt may have left one, which was never attached.
                run(&mut transaction, format!("DROP TABLE IF EXISTS {name}")).await?;
                // The check spares the attaching a scan.
                let check = new.check.as_ref().map(|check| format!(", CHECK ({})", check.replace("{id}", id)));
                let create = format!("CREATE TABLE {name} (LIKE {table} INCLUDING ALL{})", check.unwrap_or_default());
                run(&mut transaction, create).await?;
            }
        }
        transaction.commit().await?;

        let mut transaction = connection.begin().await?;
        set_timeouts(&mut transaction).await?;
        self.copy(&mut transaction, "").await?;
        transaction.commit().await?;
        for new in &self.new {
            for (table, _) in TABLES {
                run(connection, format!("ANALYZE {}", new.name(table))).await?;
            }
        }
        Ok(())
    }

    /// Puts the new partitions into the place of the old ones, and drops those. Gives how many jobs the first new one holds.
    ///
    /// # Errors
    /// Those of the database: among them that a lock was not to be had soon, in which case nothing has changed.
    pub async fn swap(&self, connection: &mut PgConnection) -> sqlx::Result<i64> {
        let mut transaction = connection.begin().await?;
        // Sends an autovacuum away, which goes after `deadlock_timeout`, and holds up nobody else.
        run(&mut transaction, "SET LOCAL lock_timeout = '5s'".to_owned()).await?;
        for old in &self.old {
            for (table, _) in TABLES {
                let lock = format!("LOCK TABLE {table}_{old} IN SHARE UPDATE EXCLUSIVE MODE");
                run(&mut transaction, lock).await?;
            }
        }
        set_timeouts(&mut transaction).await?;
        // From here on nobody reads or writes jobs, until the commit.
        run(&mut transaction, "LOCK TABLE ONLY jobs, ONLY job_attempts IN ACCESS EXCLUSIVE MODE".to_owned()).await?;
        self.copy_changes(&mut transaction).await?;
        for (table, _) in TABLES {
            for old in &self.old {
                run(&mut transaction, format!("DROP TABLE {table}_{old}")).await?;
            }
            for new in &self.new {
                let name = format!("{table}_{}", new.suffix);
                run(&mut transaction, format!("ALTER TABLE {} RENAME TO {name}", new.name(table))).await?;
                let attach = format!("ALTER TABLE {table} ATTACH PARTITION {name} {}", new.bounds);
                run(&mut transaction, attach).await?;
            }
        }
        transaction.commit().await?;
        let Some(first) = self.new.first() else { return Ok(0) };
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM jobs_{}", first.suffix)))
            .persistent(false)
            .fetch_one(connection)
            .await
    }

    /// Copies again what has changed since it was copied, or come in since.
    async fn copy_changes(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        const CHANGED: &str = "IN (SELECT c.id FROM job_changes c)";
        for new in &self.new {
            for (table, id) in TABLES {
                run(connection, format!("DELETE FROM {} WHERE {id} {CHANGED}", new.name(table))).await?;
            }
        }
        self.copy(connection, CHANGED).await?;
        run(connection, "DELETE FROM job_changes".to_owned()).await.map(drop)
    }

    /// Copies jobs that stay and their attempts: all, or those whose id is `among` some.
    async fn copy(&self, connection: &mut PgConnection, among: &str) -> sqlx::Result<()> {
        let only = |id: &str| if among.is_empty() { String::new() } else { format!(" AND {id} {among}") };
        for new in &self.new {
            let (jobs, attempts, rows) = (new.name("jobs"), new.name("job_attempts"), &new.rows);
            for old in &self.old {
                let copy = format!("INSERT INTO {jobs} SELECT * FROM jobs_{old} WHERE {rows}{}", only("id"));
                run(connection, copy).await?;
                let copy = format!(
                    "INSERT INTO {attempts} SELECT * FROM job_attempts_{old} a WHERE a.job_id IN (SELECT j.id FROM {jobs} j){}",
                    only("a.job_id")
                );
                run(connection, copy).await?;
            }
        }
        Ok(())
    }
}
