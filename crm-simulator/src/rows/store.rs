//! All records of an account, what links them, and what changed since somebody asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{CustomField, EditError, Pipeline, Row, Table, set, shown_id};
use crate::dice::Dice;
use crate::provider::{Object, Provider};

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Updated,
    Deleted,
    Restored,
}

/// Something that happened to a record, as webhooks tell it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) object: Object,
    pub(crate) kind: ChangeKind,
    pub(crate) before: Option<Row>,
    pub(crate) after: Row,
}

/// Which records an operation is about.
#[derive(Clone, Debug)]
pub(crate) enum Selected {
    Ids(Vec<u64>),
    /// Any so many that are live; of those that a list has served, or has not, where that is told.
    Random {
        count: usize,
        served: Option<bool>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) provider: Provider,
    /// The number by which the vendor knows the account.
    pub(crate) account_id: u64,
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) custom_fields: Vec<CustomField>,
    /// Whether somebody asks for changes; they are not noted otherwise.
    pub(crate) is_watched: bool,
    tables: BTreeMap<Object, Table>,
    linked_from: HashMap<(Object, u64), BTreeSet<(Object, u64)>>,
    changes: Vec<Change>,
}

const LINKED: [Object; 3] = [Object::Contacts, Object::Companies, Object::Deals];

impl Store {
    pub(crate) fn new(provider: Provider, account_id: u64) -> Self {
        Self {
            provider,
            account_id,
            pipelines: Vec::new(),
            custom_fields: Vec::new(),
            is_watched: false,
            tables: Object::ALL.into_iter().map(|object| (object, Table::default())).collect(),
            linked_from: HashMap::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn table(&self, object: Object) -> &Table {
        self.tables.get(&object).expect("there is a table for each kind of record")
    }

    pub(crate) fn table_mut(&mut self, object: Object) -> &mut Table {
        self.tables.get_mut(&object).expect("there is a table for each kind of record")
    }

    pub(crate) fn id(&self, object: Object, id: u64) -> String {
        shown_id(self.provider, object, id)
    }

    /// Adds generated records.
    pub(crate) fn fill(&mut self, object: Object, rows: Vec<Row>) {
        for row in &rows {
            self.note_links(object, row);
        }
        self.table_mut(object).fill(rows);
    }

    /// The live records that a record links to, or that link to it.
    pub(crate) fn linked(&self, object: Object, row: &Row, to: Object) -> Vec<u64> {
        let forward = row.links(to).iter().copied();
        let backward = self.linked_from.get(&(object, row.id)).into_iter().flatten();
        let backward = backward.filter(|(from, _)| *from == to).map(|(_, id)| *id);
        let table = self.table(to);
        forward.chain(backward).filter(|id| table.live(*id).is_some()).collect()
    }

    pub(crate) fn create(&mut self, object: Object, mut row: Row, now_ms: i64) -> u64 {
        row.id = self.table_mut(object).next_id();
        row.created_at_ms = self.provider.round(now_ms);
        row.updated_at_ms = row.created_at_ms;
        self.put(object, ChangeKind::Created, row.clone());
        row.id
    }

    /// Changes a live record by these fields; `None` when there is no such record.
    ///
    /// # Errors
    /// When a field is none that can be set, or a value is none of its.
    pub(crate) fn update(
        &mut self,
        object: Object,
        id: u64,
        fields: &serde_json::Map<String, serde_json::Value>,
        now_ms: i64,
    ) -> Result<Option<()>, EditError> {
        let Some(row) = self.table(object).live(id) else { return Ok(None) };
        let mut row = row.clone();
        for (key, value) in fields {
            set(&mut row, self.provider, key, value)?;
        }
        row.updated_at_ms = self.provider.round(now_ms);
        self.put(object, ChangeKind::Updated, row);
        Ok(Some(()))
    }

    /// Deletes a live record; it can be restored.
    pub(crate) fn delete(&mut self, object: Object, id: u64, now_ms: i64) -> Option<()> {
        let mut row = self.table(object).live(id)?.clone();
        row.updated_at_ms = self.provider.round(now_ms);
        row.deleted_at_ms = Some(row.updated_at_ms);
        self.put(object, ChangeKind::Deleted, row);
        Some(())
    }

    pub(crate) fn restore(&mut self, object: Object, id: u64, now_ms: i64) -> Option<()> {
        let mut row = self.table(object).get(id).filter(|row| !row.is_live())?.clone();
        row.updated_at_ms = self.provider.round(now_ms);
        row.deleted_at_ms = None;
        self.put(object, ChangeKind::Restored, row);
        Some(())
    }

    /// Ends a record for good, so that no list of deleted ones has it either.
    pub(crate) fn purge(&mut self, object: Object, id: u64, now_ms: i64) -> Option<()> {
        self.delete(object, id, now_ms);
        let row = self.table_mut(object).take(id)?;
        self.forget_links(object, &row);
        Some(())
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The ids that are meant, which need not exist where they were given.
    pub(crate) fn select(&self, object: Object, selected: &Selected, dice: &mut Dice) -> Vec<u64> {
        match selected {
            Selected::Ids(ids) => ids.clone(),
            Selected::Random { count, served } => {
                let table = self.table(object);
                let fits = |id: &u64| served.is_none_or(|served| table.was_served(*id) == served);
                let mut candidates: Vec<u64> = table.live_ids().iter().copied().filter(fits).collect();
                let count = (*count).min(candidates.len());
                for place in 0..count {
                    let other = place + dice.index(candidates.len() - place);
                    candidates.swap(place, other);
                }
                candidates.truncate(count);
                candidates
            }
        }
    }

    fn put(&mut self, object: Object, kind: ChangeKind, row: Row) {
        let after = self.is_watched.then(|| row.clone());
        if let Some(before) = self.table(object).get(row.id).cloned() {
            self.forget_links(object, &before);
        }
        self.note_links(object, &row);
        let before = self.table_mut(object).put(row);
        if let Some(after) = after {
            self.changes.push(Change { object, kind, before, after });
        }
    }

    fn note_links(&mut self, object: Object, row: &Row) {
        for to in LINKED {
            for id in row.links(to) {
                self.linked_from.entry((to, *id)).or_default().insert((object, row.id));
            }
        }
    }

    fn forget_links(&mut self, object: Object, row: &Row) {
        for to in LINKED {
            for id in row.links(to) {
                if let Some(from) = self.linked_from.get_mut(&(to, *id)) {
                    from.remove(&(object, row.id));
                }
            }
        }
    }
}
