//! Lists by page number, as they are: what moves between pages while somebody reads them is repeated or missed.

use serde_json::{Value, json};

use super::render::{self, Shape};
use super::{entity, hal, not_valid};
use crate::account::State;
use crate::exchange::{self, Reply, Request};
use crate::provider::Object;
use crate::rows::{Row, Table};
use crate::serve::Call;

type Answer = Result<Reply, Reply>;

const PAGE: usize = 50;
const MOST: usize = 250;

/// A page that is asked for.
pub(super) struct Paging {
    pub(super) page: usize,
    pub(super) limit: usize,
}

impl Paging {
    pub(super) fn of(state: &State, request: &Request) -> Result<Self, Reply> {
        let number = |name: &str, default: usize| match request.parameter(name) {
            None => Ok(default),
            Some(given) => given.parse().map_err(|_| not_valid(name, "This value should be of type integer.")),
        };
        let (page, limit) = (number("page", 1)?, number("limit", PAGE)?);
        if limit == 0 || limit > MOST {
            return Err(not_valid("limit", "This value should be between 1 and 250."));
        }
        let max_page = state.switches.max_page;
        if page == 0 || (max_page > 0 && page as u64 > max_page) {
            return Err(not_valid("page", "This value is not valid."));
        }
        Ok(Self { page, limit })
    }

    pub(super) fn skipped(&self) -> usize {
        (self.page - 1).saturating_mul(self.limit)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Id,
    Created,
    Updated,
}

/// `GET /api/v4/{entity}`
pub(super) fn list(state: &mut State, call: &Call<'_>, object: Object) -> Answer {
    let request = call.request;
    let paging = Paging::of(state, request)?;
    let with = request.list("with");
    let shows_deleted = object == Object::Deals && with.contains(&"only_deleted");
    let table = state.store.table(object);
    let (ids, has_more) = page_of(table, request, &paging, shows_deleted)?;
    let rows = ids.iter().filter_map(|id| table.get(*id));
    let shape = Shape { state, call, with: &with };
    let shown: Vec<Value> =
        rows.map(|row| if shows_deleted { shape.deleted(row) } else { shape.record(object, row) }).collect();
    let reply = document(call, &paging, (entity(object), shown), has_more);
    state.served(object, &ids);
    Ok(reply)
}

fn page_of(table: &Table, request: &Request, paging: &Paging, shows_deleted: bool) -> Result<(Vec<u64>, bool), Reply> {
    let range = updated_range(request)?;
    let (order, is_descending) = order(request)?;
    let skip = paging.skipped();
    let take = |ids: &mut dyn Iterator<Item = u64>| {
        let mut rest = ids.skip(skip);
        let page: Vec<u64> = rest.by_ref().take(paging.limit).collect();
        let has_more = rest.next().is_some();
        (page, has_more)
    };
    // The two orders that scans use need no copy of what comes before the page.
    if !shows_deleted && range.is_none() && order == Order::Id {
        let ids = table.live_ids().iter().copied();
        return Ok(if is_descending { take(&mut ids.rev()) } else { take(&mut ids.clone()) });
    }
    let (from, end) = range.unwrap_or((i64::MIN, i64::MAX));
    let changed = if shows_deleted { table.deleted_by_update() } else { table.updated_between(from, end) };
    if order == Order::Updated && !shows_deleted {
        let ids = changed.iter().map(|(_, id)| *id);
        return Ok(if is_descending { take(&mut ids.rev()) } else { take(&mut ids.clone()) });
    }
    let in_range = changed.iter().filter(|(at, _)| (from..end).contains(at));
    let mut ids: Vec<u64> = in_range.map(|(_, id)| *id).collect();
    match order {
        Order::Id => ids.sort_unstable(),
        Order::Created => ids.sort_by_key(|id| (table.get(*id).map(|row| row.created_at_ms), *id)),
        Order::Updated => {}
    }
    if is_descending {
        ids.reverse();
    }
    Ok(take(&mut ids.into_iter()))
}

/// `filter[updated_at][from|to]` in milliseconds: from, and before. Both ends are within.
fn updated_range(request: &Request) -> Result<Option<(i64, i64)>, Reply> {
    let seconds = |name: &str| match request.parameter(name) {
        None => Ok(None),
        Some(given) => {
            given.parse::<i64>().map(Some).map_err(|_| not_valid(name, "This value should be of type integer."))
        }
    };
    let from = seconds("filter[updated_at][from]")?;
    let to = seconds("filter[updated_at][to]")?;
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let from = from.map_or(i64::MIN, |from| from.saturating_mul(1000));
    let end = to.map_or(i64::MAX, |to| to.saturating_add(1).saturating_mul(1000));
    Ok(Some((from, end)))
}

/// By id unless told.
fn order(request: &Request) -> Result<(Order, bool), Reply> {
    let known = [("updated_at", Order::Updated), ("created_at", Order::Created), ("id", Order::Id)];
    for (name, order) in known {
        match request.parameter(&format!("order[{name}]")) {
            None => {}
            Some("asc") => return Ok((order, false)),
            Some("desc") => return Ok((order, true)),
            Some(_) => return Err(not_valid("order", "The value you selected is not a valid choice.")),
        }
    }
    match request.query.iter().find(|(name, _)| name.starts_with("order")) {
        Some(_) => Err(not_valid("order", "The value you selected is not a valid choice.")),
        None => Ok((Order::Id, false)),
    }
}

/// A page as a HAL document; 204 where there is nothing on it.
pub(super) fn document(call: &Call<'_>, paging: &Paging, (name, rows): (&str, Vec<Value>), has_more: bool) -> Reply {
    if rows.is_empty() {
        return Reply::empty(204);
    }
    let link = |page: usize| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(call.request.query.iter().filter(|(name, _)| name != "page"));
        query.append_pair("page", &page.to_string());
        json!({"href": format!("{}{}?{}", call.base, call.request.path, query.finish())})
    };
    let mut links = json!({"self": link(paging.page)});
    if has_more {
        links["next"] = link(paging.page + 1);
    }
    if paging.page > 1 {
        links["prev"] = link(paging.page - 1);
        links["first"] = link(1);
    }
    let embedded = exchange::document([(name, rows.into())]);
    hal(exchange::document([("_page", paging.page.into()), ("_links", links), ("_embedded", embedded)]))
}

/// `GET /api/v4/{entity}/{id}`: 204 where there is none.
pub(super) fn get(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let Some(row) = id.parse().ok().and_then(|id| state.store.table(object).live(id)) else {
        return Ok(Reply::empty(204));
    };
    let with = call.request.list("with");
    Ok(hal(Shape { state, call, with: &with }.record(object, row)))
}

fn is_about(row: &Row, object: Object) -> bool {
    !row.links(object).is_empty()
}

/// `GET /api/v4/{entity}/notes` and `GET /api/v4/{entity}/{id}/notes`
pub(super) fn notes(state: &mut State, call: &Call<'_>, object: Object, about: Option<&str>) -> Answer {
    let paging = Paging::of(state, call.request)?;
    let range = updated_range(call.request)?.unwrap_or((i64::MIN, i64::MAX));
    let (order, is_descending) = order(call.request)?;
    let table = state.store.table(Object::Notes);
    let about: Option<u64> = about.map(|id| id.parse().unwrap_or(0));
    let fits = |row: &&Row| {
        is_about(row, object)
            && (range.0..range.1).contains(&row.updated_at_ms)
            && about.is_none_or(|id| row.links(object).contains(&id))
    };
    let ids: Box<dyn Iterator<Item = u64>> = if order == Order::Updated {
        Box::new(table.by_update().iter().map(|(_, id)| *id))
    } else {
        Box::new(table.live_ids().iter().copied())
    };
    let mut rows: Vec<&Row> = ids.filter_map(|id| table.get(id)).filter(fits).collect();
    if is_descending {
        rows.reverse();
    }
    let has_more = rows.len() > paging.skipped() + paging.limit;
    let page = rows.into_iter().skip(paging.skipped()).take(paging.limit);
    let (ids, shown): (Vec<u64>, Vec<Value>) = page.map(|row| (row.id, render::note(state, call, object, row))).unzip();
    let reply = document(call, &paging, ("notes", shown), has_more);
    state.served(Object::Notes, &ids);
    Ok(reply)
}

/// `GET /api/v4/{entity}/notes/{id}`: 204 where there is none.
pub(super) fn note(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let row = id.parse().ok().and_then(|id| state.store.table(Object::Notes).live(id));
    Ok(row
        .filter(|row| is_about(row, object))
        .map_or_else(|| Reply::empty(204), |row| hal(render::note(state, call, object, row))))
}
