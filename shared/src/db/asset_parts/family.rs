//! What goes with what: documents that were not uploaded for themselves and that nothing holds which stays.
//!
//! A document may have very many holders, a picture of a signature as many as there are mails. So of one that stays no more is read than that
//! something outside holds it; links are read from the holders' side, of those holders alone that may go.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::ids::{AssetId, JobId, OrgId};
use crate::storage::ObjectKey;

/// What may go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Going {
    /// A document, whoever holds it, with what only it holds.
    Document(AssetId),
    /// What a document, which stays, held and holds no more, where nothing else holds it.
    LetGo {
        /// The document.
        by: AssetId,
        /// What it held.
        children: Vec<AssetId>,
    },
}

impl Going {
    fn beginning(&self) -> &[AssetId] {
        match self {
            Self::Document(root) => std::slice::from_ref(root),
            Self::LetGo { children, .. } => children,
        }
    }

    /// What goes whatever holds it.
    fn root(&self) -> Option<AssetId> {
        match self {
            Self::Document(root) => Some(*root),
            Self::LetGo { .. } => None,
        }
    }

    /// What stays whatever holds it.
    fn stays(&self) -> Option<AssetId> {
        match self {
            Self::Document(_) => None,
            Self::LetGo { by, .. } => Some(*by),
        }
    }
}

/// An asset that is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Doomed {
    /// Its id.
    pub id: AssetId,
    /// The job that processes it.
    pub job_id: JobId,
    /// Where its bytes are; one of a URL may have none yet.
    pub storage_key: Option<ObjectKey>,
}

/// What goes, and what stays though it loses a holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// What goes, by id.
    pub doomed: Vec<Doomed>,
    /// What something else holds, by id. Two that go at once and hold the same must both lock it: otherwise each would leave it to the other.
    pub bystanders: Vec<AssetId>,
}

/// What goes, and what stays though it loses a holder. Nothing where it is all gone.
///
/// # Errors
/// When the database is away.
pub async fn of(connection: &mut PgConnection, org: OrgId, going: &Going) -> sqlx::Result<Family> {
    let below = below(connection, org, going).await?;
    let held = held_outside(connection, org, &below).await?;
    let links = links_of(connection, org, &below).await?;
    let doomed = doomed(&below, &held, &links, going.root());
    let touched = links.iter().filter(|(parent, _)| doomed.contains(parent)).map(|(_, child)| child);
    let touched: HashSet<AssetId> = touched.chain(going.beginning()).copied().collect();
    let mut bystanders: Vec<AssetId> =
        below.into_iter().filter(|id| touched.contains(id) && !doomed.contains(id)).collect();
    bystanders.sort_unstable();
    let doomed: Vec<AssetId> = doomed.into_iter().collect();
    let doomed =
        sqlx::query_as("SELECT id, job_id, storage_key FROM assets WHERE org_id = $1 AND id = ANY($2) ORDER BY id")
            .bind(org)
            .bind(doomed)
            .fetch_all(connection)
            .await?;
    Ok(Family { doomed, bystanders })
}

/// All that may go: what is there to begin with, and what that holds, at any depth, but for what was uploaded for itself.
async fn below(connection: &mut PgConnection, org: OrgId, going: &Going) -> sqlx::Result<Vec<AssetId>> {
    sqlx::query_scalar(
        "WITH RECURSIVE below (id) AS (
             SELECT id FROM assets WHERE org_id = $1 AND id = ANY($2) AND (id = $3 OR NOT uploaded)
             UNION
             SELECT child.id FROM below
             JOIN asset_parts AS part ON part.org_id = $1 AND part.parent_id = below.id
             JOIN assets AS child ON child.org_id = $1 AND child.id = part.child_id AND NOT child.uploaded
             WHERE child.id IS DISTINCT FROM $4
         )
         SELECT id FROM below",
    )
    .bind(org)
    .bind(going.beginning())
    .bind(going.root())
    .bind(going.stays())
    .fetch_all(connection)
    .await
}

/// Which of these are held by something that is none of them.
async fn held_outside(connection: &mut PgConnection, org: OrgId, ids: &[AssetId]) -> sqlx::Result<HashSet<AssetId>> {
    // The order is that of an index. Without it Postgres may take reading the whole table for the quickest way to the first that fits.
    let held: Vec<AssetId> = sqlx::query_scalar(
        "SELECT one.id FROM UNNEST($2::uuid[]) AS one (id) CROSS JOIN LATERAL (
             SELECT 1 FROM asset_parts AS part
             WHERE part.org_id = $1 AND part.child_id = one.id AND part.parent_id <> ALL($2)
             ORDER BY part.parent_id LIMIT 1
         ) AS outside",
    )
    .bind(org)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(held.into_iter().collect())
}

/// Parents and children among these.
async fn links_of(connection: &mut PgConnection, org: OrgId, ids: &[AssetId]) -> sqlx::Result<Vec<(AssetId, AssetId)>> {
    let links: Vec<(AssetId, AssetId)> = sqlx::query_as(
        "SELECT DISTINCT parent_id, child_id FROM asset_parts
         WHERE org_id = $1 AND parent_id = ANY($2) AND child_id IS NOT NULL",
    )
    .bind(org)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let ids: HashSet<AssetId> = ids.iter().copied().collect();
    Ok(links.into_iter().filter(|(_, child)| ids.contains(child)).collect())
}

/// Of `below`, what nothing holds that stays: neither something outside (`held`), nor one of them that stays itself. Documents that hold each
/// other do not keep each other. `root` goes whatever holds it.
fn doomed(
    below: &[AssetId],
    held: &HashSet<AssetId>,
    links: &[(AssetId, AssetId)],
    root: Option<AssetId>,
) -> HashSet<AssetId> {
    let mut children: HashMap<AssetId, Vec<AssetId>> = HashMap::new();
    for &(parent, child) in links {
        children.entry(parent).or_default().push(child);
    }
    let mut doomed: HashSet<AssetId> = below.iter().copied().collect();
    let mut stay: Vec<AssetId> = held.iter().copied().collect();
    while let Some(id) = stay.pop() {
        if Some(id) != root && doomed.remove(&id) {
            stay.extend(children.get(&id).into_iter().flatten());
        }
    }
    doomed
}

/// The jobs of all that may go.
///
/// # Errors
/// When the database is away.
pub async fn jobs(connection: &mut PgConnection, org: OrgId, going: &Going) -> sqlx::Result<Vec<JobId>> {
    let below = below(connection, org, going).await?;
    sqlx::query_scalar("SELECT job_id FROM assets WHERE org_id = $1 AND id = ANY($2)")
        .bind(org)
        .bind(below)
        .fetch_all(connection)
        .await
}

/// Locks a family, so that no document can begin or cease to hold any of it.
///
/// # Errors
/// When the database is away.
pub async fn lock(connection: &mut PgConnection, org: OrgId, family: &Family) -> sqlx::Result<()> {
    let doomed = family.doomed.iter().map(|asset| asset.id);
    let ids: Vec<AssetId> = doomed.chain(family.bystanders.iter().copied()).collect();
    sqlx::query("SELECT FROM assets WHERE org_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE")
        .bind(org)
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>() -> [AssetId; N] {
        std::array::from_fn(|_| AssetId::new())
    }

    #[test]
    fn what_something_else_holds_stays_with_all_that_it_holds() {
        let [root, shared, below_shared, alone, below_alone, loose] = ids();
        let links = [
            (root, shared),
            (shared, below_shared),
            (root, alone),
            (alone, below_alone),
            (root, below_shared),
            (alone, loose),
            (below_alone, loose),
        ];
        let below = [root, shared, below_shared, alone, below_alone, loose];
        let held = HashSet::from([shared]);
        assert_eq!(doomed(&below, &held, &links, Some(root)), HashSet::from([root, alone, below_alone, loose]));
        assert_eq!(doomed(&[root], &HashSet::from([root]), &[], Some(root)), HashSet::from([root]));
        assert_eq!(doomed(&[root], &HashSet::from([root]), &[], None), HashSet::new());
    }

    #[test]
    fn two_that_hold_each_other_do_not_keep_each_other() {
        let [root, one, other] = ids();
        let links = [(root, one), (one, other), (other, one), (other, root)];
        let below = [root, one, other];
        assert_eq!(doomed(&below, &HashSet::new(), &links, Some(root)), HashSet::from(below));
        assert_eq!(doomed(&below, &HashSet::from([other]), &links, Some(root)), HashSet::from([root]));
        assert_eq!(doomed(&[one, other], &HashSet::new(), &links, None), HashSet::from([one, other]));
    }
}
