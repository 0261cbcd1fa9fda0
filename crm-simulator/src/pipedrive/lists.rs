//! Lists: version 2 by cursor, version 1 by a count of records to leave out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Answer, failure, not_valid, render, shown, success};
use crate::account::State;
use crate::exchange::{Reply, Request};
use crate::provider::Object;
use crate::rows::{Row, Table};
use crate::serve::Call;
use crate::switches::{DeletedById, NextCursor};
use crate::time;

const PAGE: usize = 100;
const MOST: usize = 500;
const DAY_MS: i64 = 86_400_000;

const KNOWN: [&str; 19] = [
    "limit",
    "cursor",
    "updated_since",
    "updated_until",
    "sort_by",
    "sort_direction",
    "status",
    "ids",
    "filter_id",
    "owner_id",
    "person_id",
    "org_id",
    "pipeline_id",
    "stage_id",
    "include_fields",
    "include_labels",
    "include_option_labels",
    "custom_fields",
    "api_token",
];

fn limit(request: &Request) -> Result<usize, Reply> {
    let Some(given) = request.parameter("limit") else { return Ok(PAGE) };
    let limit = given.parse().map_err(|_| not_valid("limit must be a number"))?;
    if limit == 0 || limit > MOST { Err(not_valid("limit must be between 1 and 500")) } else { Ok(limit) }
}

struct Wanted {
    limit: usize,
    sort: Sort,
    is_descending: bool,
    /// Times of change: from this one, before that one.
    updated: (i64, i64),
    /// Deals with these; all that are not deleted where none are told.
    statuses: Vec<String>,
    /// Where the last page ended.
    after: Option<(i64, u64)>,
    deleted_after: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Id,
    Updated,
    Added,
}

impl Wanted {
    fn of(state: &State, call: &Call<'_>, object: Object) -> Result<Self, Reply> {
        let request = call.request;
        let unknown = request.query.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()));
        if let Some((name, _)) = unknown.filter(|_| state.switches.strict_parameters) {
            return Err(not_valid(&format!("{name} is not allowed")));
        }
        let time = |name: &str| match request.parameter(name) {
            None => Ok(None),
            Some(given) => time::parse(given).map(Some).ok_or_else(|| not_valid(&format!("{name} must be in RFC3339"))),
        };
        let sort = match request.parameter("sort_by") {
            None | Some("id") => Sort::Id,
            Some("update_time") => Sort::Updated,
            Some("add_time") => Sort::Added,
            Some(_) => return Err(not_valid("sort_by must be one of id, update_time, add_time")),
        };
        let is_descending = match request.parameter("sort_direction") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(not_valid("sort_direction must be one of asc, desc")),
        };
        let statuses: Vec<String> = request.list("status").into_iter().map(str::to_owned).collect();
        let known = |status: &String| ["open", "won", "lost", "deleted"].contains(&status.as_str());
        if (object != Object::Deals && !statuses.is_empty()) || !statuses.iter().all(known) {
            return Err(not_valid("status must be one of open, won, lost, deleted"));
        }
        let after = match request.parameter("cursor") {
            None => None,
            Some(cursor) => Some(read_cursor(cursor).ok_or_else(|| not_valid("cursor is invalid"))?),
        };
        Ok(Self {
            limit: limit(request)?,
            sort,
            is_descending,
            updated: (time("updated_since")?.unwrap_or(i64::MIN), time("updated_until")?.unwrap_or(i64::MAX)),
            statuses,
            after,
            deleted_after: call.now_ms - state.switches.deleted_days * DAY_MS,
        })
    }

    fn fits(&self, row: &Row) -> bool {
        let is_in_time = (self.updated.0..self.updated.1).contains(&row.updated_at_ms);
        let status = if row.is_live() { render::status(row) } else { "deleted" };
        let has_status = self.statuses.is_empty() || self.statuses.iter().any(|wanted| wanted == status);
        is_in_time && has_status && row.deleted_at_ms.is_none_or(|at| at >= self.deleted_after)
    }

    fn key(&self, row: &Row) -> (i64, u64) {
        match self.sort {
            Sort::Id => (0, row.id),
            Sort::Updated => (row.updated_at_ms, row.id),
            Sort::Added => (row.created_at_ms, row.id),
        }
    }

    /// All that can be on a page, in order.
    fn candidates<'a>(&self, table: &'a Table) -> Box<dyn DoubleEndedIterator<Item = (i64, u64)> + 'a> {
        let wants_deleted = self.statuses.iter().any(|status| status == "deleted");
        if !wants_deleted && self.sort == Sort::Id {
            return Box::new(table.live_ids().iter().map(|id| (0, *id)));
        }
        if !wants_deleted && self.sort == Sort::Updated {
            return Box::new(table.updated_between(self.updated.0, self.updated.1).iter().copied());
        }
        let deleted = table.deleted_by_update().iter().filter(|_| wants_deleted);
        let ids = table.by_update().iter().chain(deleted).map(|(_, id)| *id);
        let mut keys: Vec<(i64, u64)> = ids.filter_map(|id| table.get(id)).map(|row| self.key(row)).collect();
        keys.sort_unstable();
        Box::new(keys.into_iter())
    }

    /// The ids of a page, and where it ends if there is more.
    fn page(&self, table: &Table) -> (Vec<u64>, Option<(i64, u64)>) {
        let candidates = self.candidates(table);
        let ordered: Box<dyn Iterator<Item = (i64, u64)>> =
            if self.is_descending { Box::new(candidates.rev()) } else { candidates };
        let is_later = |key: &(i64, u64)| {
            self.after.is_none_or(|after| if self.is_descending { *key < after } else { *key > after })
        };
        let fits = |key: &(i64, u64)| table.get(key.1).is_some_and(|row| self.fits(row));
        let mut found: Vec<(i64, u64)> = ordered.filter(is_later).filter(fits).take(self.limit + 1).collect();
        let has_more = found.len() > self.limit;
        found.truncate(self.limit);
        let end = found.last().copied().filter(|_| has_more);
        (found.into_iter().map(|(_, id)| id).collect(), end)
    }
}

fn write_cursor((key, id): (i64, u64)) -> String {
    URL_SAFE_NO_PAD.encode(json!({"after": [key, id]}).to_string())
}

fn read_cursor(cursor: &str) -> Option<(i64, u64)> {
    let read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    Some((read["after"][0].as_i64()?, read["after"][1].as_u64()?))
}

/// `GET /api/v2/{type}`
pub(super) fn list(state: &mut State, call: &Call<'_>, object: Object) -> Answer {
    let wanted = Wanted::of(state, call, object)?;
    let table = state.store.table(object);
    let (ids, end) = wanted.page(table);
    let rows = ids.iter().filter_map(|id| table.get(*id));
    let data: Vec<Value> = rows.map(|row| shown(&state.store, object, row)).collect();
    let cursor = end.map_or(Value::Null, |end| write_cursor(end).into());
    let additional = match state.switches.next_cursor {
        NextCursor::AdditionalData => json!({"next_cursor": cursor}),
        NextCursor::Pagination => json!({"pagination": {"next_cursor": cursor}}),
    };
    state.served(object, &ids);
    Ok(success(data.into(), additional))
}

/// `GET /api/v2/{type}/{id}` and `GET /v1/notes/{id}`
pub(super) fn get(state: &State, object: Object, id: &str) -> Answer {
    let row = id.parse().ok().and_then(|id| state.store.table(object).get(id));
    let shows_deleted = state.switches.deleted_by_id == DeletedById::Row && object != Object::Notes;
    let row = row.filter(|row| row.is_live() || shows_deleted);
    let row = row.ok_or_else(|| failure(404, "Resource not found"))?;
    Ok(success(shown(&state.store, object, row), Value::Null))
}

/// `GET /v1/notes`
pub(super) fn notes(state: &mut State, request: &Request) -> Answer {
    let limit = limit(request)?;
    let start: usize = match request.parameter("start") {
        None => 0,
        Some(given) => given.parse().map_err(|_| failure(400, "start must be a number"))?,
    };
    let table = state.store.table(Object::Notes);
    let ids = notes_in_order(table, request)?;
    let page: Vec<u64> = ids.iter().skip(start).take(limit).copied().collect();
    let rows = page.iter().filter_map(|id| table.get(*id));
    let data: Vec<Value> = rows.map(|row| shown(&state.store, Object::Notes, row)).collect();
    let has_more = ids.len() > start + limit;
    let mut pagination = json!({"start": start, "limit": limit, "more_items_in_collection": has_more});
    if has_more {
        pagination["next_start"] = (start + limit).into();
    }
    state.served(Object::Notes, &page);
    Ok(success(if data.is_empty() { Value::Null } else { data.into() }, json!({"pagination": pagination})))
}

fn notes_in_order(table: &Table, request: &Request) -> Result<Vec<u64>, Reply> {
    let since = match request.parameter("updated_since") {
        None => i64::MIN,
        Some(given) => time::parse(given).ok_or_else(|| failure(400, "updated_since must be in RFC3339"))?,
    };
    let changed = table.updated_between(since, i64::MAX).iter().map(|(_, id)| *id);
    let mut ids: Vec<u64> = changed.collect();
    let (field, direction) = request.parameter("sort").unwrap_or("id ASC").split_once(' ').unwrap_or(("", ""));
    match field {
        "id" => ids.sort_unstable(),
        "update_time" => {}
        "add_time" => ids.sort_by_key(|id| (table.get(*id).map(|row| row.created_at_ms), *id)),
        _ => return Err(failure(400, "sort is invalid")),
    }
    if direction.eq_ignore_ascii_case("desc") {
        ids.reverse();
    }
    Ok(ids)
}
