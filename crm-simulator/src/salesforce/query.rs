//! Runs queries: finds the records once, gives them page by page.
//!
//! Where a filter bounds the time of the last change, or the id, only the records within are looked at, and no more than a `LIMIT` asks for where
//! they come in order already: a scan by time must not look at all records for each page.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::schema::{self, Scalar, Type};
use super::soql::{self, Expression, Literal, Operator, Query};
use super::{Answer, error};
use crate::account::State;
use crate::exchange::{Reply, document};
use crate::provider::{Object, Provider};
use crate::rows::{Store, read_id};
use crate::serve::Call;

/// Whether deleted records are among what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    Hidden,
    Shown,
}

/// What a query found, for its further pages.
#[derive(Debug)]
pub(crate) struct Located {
    number: u64,
    object: Object,
    fields: Vec<String>,
    ids: Vec<u64>,
}

/// A user has no more of them open; the oldest goes.
const OPEN_LOCATORS: usize = 10;

/// `GET /services/data/vXX.X/query?q=` and `queryAll?q=`
pub(super) fn query(state: &mut State, call: &Call<'_>, deleted: Deleted) -> Answer {
    let malformed = |problem: String| error(400, "MALFORMED_QUERY", &problem);
    let text = call.request.parameter("q").ok_or_else(|| malformed("A query string has to be specified".to_owned()))?;
    let query = soql::parse(text).map_err(malformed)?;
    let of = Type::parse(&query.from)
        .ok_or_else(|| error(400, "INVALID_TYPE", &format!("sObject type '{}' is not supported.", query.from)))?;
    let query = resolve(&state.store, of, query)?;
    let Type::Records(object) = of else { return Ok(fixed(state, call, (of, &query))) };
    let ids = find(&state.store, object, &query, deleted);
    if query.is_count {
        return Ok(Reply::json(200, json!({"totalSize": ids.len(), "done": true, "records": []})));
    }
    let number = state.dice.next();
    let name = crate::rows::salesforce_id("0r8", number % 1_000_000_000);
    let located = Located { number: state.counters.stats.requests, object, fields: query.fields, ids };
    let reply = page(state, call, (&name, &located), 0);
    while state.locators.len() >= OPEN_LOCATORS {
        let oldest = state.locators.iter().min_by_key(|(_, located)| located.number).map(|(name, _)| name.clone());
        oldest.map(|oldest| state.locators.remove(&oldest));
    }
    state.locators.insert(name, located);
    Ok(reply)
}

/// `GET {nextRecordsUrl}`
pub(super) fn more(state: &mut State, call: &Call<'_>, locator: &str) -> Answer {
    let invalid = || error(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    let (name, at) = locator.split_once('-').ok_or_else(invalid)?;
    let at = at.parse().map_err(|_| invalid())?;
    let (name, located) = state.locators.remove_entry(name).ok_or_else(invalid)?;
    let reply = page(state, call, (&name, &located), at);
    state.locators.insert(name, located);
    Ok(reply)
}

fn page(state: &mut State, call: &Call<'_>, (name, located): (&str, &Located), at: usize) -> Reply {
    let asked = call.request.header("sforce-query-options").and_then(|options| options.split_once("batchSize="));
    let asked: usize = asked.and_then(|(_, size)| size.trim().parse().ok()).unwrap_or(2000);
    let size = asked.clamp(200, 2000).min(state.switches.page_rows).max(1);
    let at = at.min(located.ids.len());
    let end = (at + size).min(located.ids.len());
    let ids = &located.ids[at..end];
    let version = version(&call.request.path);
    let of = Type::Records(located.object).name();
    let table = state.store.table(located.object);
    // What was purged since the query found it is missing, as records are that vanish under a cursor.
    let rows = ids.iter().filter_map(|id| table.get(*id));
    let records: Vec<Value> = rows
        .map(|row| {
            let value = |field: &String| {
                let value = schema::value(&state.store, located.object, row, field).shown(&state.store);
                (field.clone(), value)
            };
            let mut record: Map<String, Value> = located.fields.iter().map(value).collect();
            let url = format!("/services/data/{version}/sobjects/{of}/{}", state.store.id(located.object, row.id));
            record.insert("attributes".to_owned(), json!({"type": of, "url": url}));
            record.into()
        })
        .collect();
    let mut shown = document([
        ("totalSize", located.ids.len().into()),
        ("done", (end == located.ids.len()).into()),
        ("records", records.into()),
    ]);
    if end < located.ids.len() {
        shown["nextRecordsUrl"] = format!("/services/data/{version}/query/{name}-{end}").into();
    }
    state.served(located.object, ids);
    Reply::json(200, shown)
}

pub(super) fn version(path: &str) -> &str {
    path.split('/').find(|part| part.starts_with('v')).unwrap_or("v60.0")
}

/// Gives all fields the names that the vendor has for them.
fn resolve(store: &Store, of: Type, query: Query) -> Result<Query, Reply> {
    let name = |field: &String| {
        of.field(store, field).ok_or_else(|| {
            let message = format!("No such column '{field}' on entity '{}'.", of.name());
            error(400, "INVALID_FIELD", &message)
        })
    };
    let fields = query.fields.iter().map(name).collect::<Result<_, _>>()?;
    let order = query.order.iter();
    let order =
        order.map(|(field, descending, last)| Ok((name(field)?, *descending, *last))).collect::<Result<_, Reply>>()?;
    let filter = query.filter.map(|filter| resolve_filter(filter, &name)).transpose()?;
    Ok(Query { fields, order, filter, ..query })
}

fn resolve_filter(filter: Expression, name: &dyn Fn(&String) -> Result<String, Reply>) -> Result<Expression, Reply> {
    let all =
        |all: Vec<Expression>| all.into_iter().map(|one| resolve_filter(one, name)).collect::<Result<Vec<_>, _>>();
    Ok(match filter {
        Expression::All(within) => Expression::All(all(within)?),
        Expression::Any(within) => Expression::Any(all(within)?),
        Expression::Not(within) => Expression::Not(Box::new(resolve_filter(*within, name)?)),
        Expression::Compare { field, operator, value } => {
            let field = name(&field)?;
            check(&field, &value)?;
            Expression::Compare { field, operator, value }
        }
        Expression::In { field, values, is_negated } => {
            let field = name(&field)?;
            values.iter().try_for_each(|value| check(&field, value))?;
            Expression::In { field, values, is_negated }
        }
    })
}

fn is_time(field: &str) -> bool {
    matches!(field, "CreatedDate" | "LastModifiedDate" | "SystemModstamp")
}

fn is_modified(field: &str) -> bool {
    matches!(field, "LastModifiedDate" | "SystemModstamp")
}

/// Times without quotes, ids and names with them, or the vendor refuses.
fn check(field: &str, value: &Literal) -> Result<(), Reply> {
    let kind = match value {
        Literal::Null => return Ok(()),
        Literal::Time(_) if is_time(field) => return Ok(()),
        _ if is_time(field) => "dateTime",
        Literal::Text(_) if field.ends_with("Id") => return Ok(()),
        _ if field.ends_with("Id") => "ID",
        _ => return Ok(()),
    };
    let message = format!("value of filter criterion for field '{field}' must be of type {kind}");
    Err(error(400, "INVALID_FIELD", &message))
}

/// What is left when the others are known not to fit: from the first, before the second.
type Span = (i64, i64);

const EVERYTHING: Span = (i64::MIN, i64::MAX);

/// The times of change, or the ids, of records that a filter can hold for.
fn span(filter: &Expression, of: &dyn Fn(&str, &Literal) -> Option<i64>) -> Span {
    match filter {
        Expression::All(all) => {
            let spans = all.iter().map(|one| span(one, of));
            spans.fold(EVERYTHING, |one, other| (one.0.max(other.0), one.1.min(other.1)))
        }
        Expression::Any(any) => {
            let spans = any.iter().map(|one| span(one, of));
            spans.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))).unwrap_or(EVERYTHING)
        }
        Expression::Compare { field, operator, value } => {
            let Some(value) = of(field, value) else { return EVERYTHING };
            match operator {
                Operator::Equal => (value, value.saturating_add(1)),
                Operator::Greater => (value.saturating_add(1), i64::MAX),
                Operator::GreaterOrEqual => (value, i64::MAX),
                Operator::Less => (i64::MIN, value),
                Operator::LessOrEqual => (i64::MIN, value.saturating_add(1)),
                Operator::NotEqual | Operator::Like => EVERYTHING,
            }
        }
        Expression::Not(_) | Expression::In { .. } => EVERYTHING,
    }
}

fn find(store: &Store, object: Object, query: &Query, deleted: Deleted) -> Vec<u64> {
    let table = store.table(object);
    // Users who are active no more are users all the same.
    let with_deleted = deleted == Deleted::Shown || object == Object::Owners;
    let time = |field: &str, value: &Literal| match value {
        Literal::Time(ms) if is_modified(field) => Some(*ms),
        _ => None,
    };
    let id = |field: &str, value: &Literal| match value {
        Literal::Text(text) if field == "Id" => i64::try_from(read_id(Provider::Salesforce, object, text)?).ok(),
        _ => None,
    };
    let times = query.filter.as_ref().map_or(EVERYTHING, |filter| span(filter, &time));
    let ids = query.filter.as_ref().map_or(EVERYTHING, |filter| span(filter, &id));

    let is_in_ids = |(_, id): &&(i64, u64)| i64::try_from(*id).is_ok_and(|id| ids.0 <= id && id < ids.1);
    let mut candidates: Vec<(i64, u64)> =
        table.updated_between(times.0, times.1).iter().filter(is_in_ids).copied().collect();
    if with_deleted {
        let gone = table.deleted_by_update().iter().filter(|(at, _)| (times.0..times.1).contains(at));
        candidates.extend(gone.filter(is_in_ids));
        candidates.sort_unstable();
    }
    let order: Vec<(&str, bool)> =
        query.order.iter().map(|(field, descending, _)| (field.as_str(), *descending)).collect();
    let is_sorted = match order.as_slice() {
        [(field, false)] | [(field, false), ("Id", false)] if is_modified(field) => true,
        [] | [("Id", false), ..] => {
            candidates.sort_unstable_by_key(|(_, id)| *id);
            true
        }
        _ => false,
    };
    let fits = |(_, id): &(i64, u64)| {
        let Some(row) = table.get(*id) else { return false };
        let value = |field: &str| schema::value(store, object, row, field);
        query.filter.as_ref().is_none_or(|filter| holds(store, filter, &value))
    };
    let found = candidates.into_iter().filter(fits).map(|(_, id)| id);
    let (skip, most) = (query.offset, query.limit.unwrap_or(usize::MAX));
    if is_sorted {
        return found.skip(skip).take(most).collect();
    }
    let mut found: Vec<u64> = found.collect();
    found.sort_by(|one, other| {
        let value =
            |id: &u64, field: &str| table.get(*id).map_or(Scalar::Null, |row| schema::value(store, object, row, field));
        in_order(&query.order, &|field| value(one, field), &|field| value(other, field)).then(one.cmp(other))
    });
    found.into_iter().skip(skip).take(most).collect()
}

fn in_order(order: &[(String, bool, bool)], one: &dyn Fn(&str) -> Scalar, other: &dyn Fn(&str) -> Scalar) -> Ordering {
    for (field, is_descending, nulls_last) in order {
        let (one, other) = (one(field), other(field));
        let compared = match (&one, &other) {
            (Scalar::Null, Scalar::Null) => Ordering::Equal,
            (Scalar::Null, _) => {
                if *nulls_last {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (_, Scalar::Null) => {
                if *nulls_last {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            _ if *is_descending => compare(&one, &other).reverse(),
            _ => compare(&one, &other),
        };
        if compared.is_ne() {
            return compared;
        }
    }
    Ordering::Equal
}

fn compare(one: &Scalar, other: &Scalar) -> Ordering {
    match (one, other) {
        (Scalar::Text(one), Scalar::Text(other)) => one.to_lowercase().cmp(&other.to_lowercase()),
        (Scalar::Number(one), Scalar::Number(other)) => one.total_cmp(other),
        (Scalar::Flag(one), Scalar::Flag(other)) => one.cmp(other),
        (Scalar::Time(one), Scalar::Time(other)) => one.cmp(other),
        (Scalar::Key(of, one), Scalar::Key(other_of, other)) => (of, one).cmp(&(other_of, other)),
        _ => Ordering::Equal,
    }
}

fn holds(store: &Store, filter: &Expression, value: &dyn Fn(&str) -> Scalar) -> bool {
    match filter {
        Expression::All(all) => all.iter().all(|one| holds(store, one, value)),
        Expression::Any(any) => any.iter().any(|one| holds(store, one, value)),
        Expression::Not(one) => !holds(store, one, value),
        Expression::In { field, values, is_negated } => {
            let has = value(field);
            values.iter().any(|one| is(store, &has, (Operator::Equal, one))) != *is_negated
        }
        Expression::Compare { field, operator, value: literal } => is(store, &value(field), (*operator, literal)),
    }
}

fn is(store: &Store, has: &Scalar, (operator, literal): (Operator, &Literal)) -> bool {
    let order = match (has, literal) {
        (Scalar::Null, Literal::Null) => Some(Ordering::Equal),
        (Scalar::Text(has), Literal::Text(text)) if operator == Operator::Like => return like(has, text),
        (Scalar::Text(has), Literal::Text(text) | Literal::Date(text)) => {
            Some(has.to_lowercase().cmp(&text.to_lowercase()))
        }
        (Scalar::Number(has), Literal::Number(number)) => Some(has.total_cmp(number)),
        (Scalar::Flag(has), Literal::Flag(flag)) => Some(has.cmp(flag)),
        (Scalar::Time(has), Literal::Time(ms)) => Some(has.cmp(ms)),
        (Scalar::Key(object, id), Literal::Text(text)) => Some(match read_id(Provider::Salesforce, *object, text) {
            Some(other) => id.cmp(&other),
            // An id of another kind, or less than a whole one: as texts.
            None => store.id(*object, *id).as_str().cmp(text.as_str()),
        }),
        _ => None,
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => order.is_some_and(Ordering::is_le),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Operator::Like => false,
    }
}

/// `%` stands for any characters.
fn like(has: &str, pattern: &str) -> bool {
    crate::faults::matches(&pattern.to_lowercase().replace('%', "*"), &has.to_lowercase())
}

/// Queries of what are no records of the store: there is little of it, and it comes in one page.
fn fixed(state: &State, call: &Call<'_>, (of, query): (Type, &Query)) -> Reply {
    let version = version(&call.request.path);
    let mut found = schema::fixed(state, of);
    found.retain(|record| {
        let value = |field: &str| schema::fixed_value(record, field);
        query.filter.as_ref().is_none_or(|filter| holds(&state.store, filter, &value))
    });
    found.sort_by(|one, other| {
        in_order(&query.order, &|field| schema::fixed_value(one, field), &|field| schema::fixed_value(other, field))
    });
    let shown = found.iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX)).map(|record| {
        let fields = query.fields.iter().map(|field| (field.clone(), record.get(field).cloned().unwrap_or_default()));
        let mut shown: Map<String, Value> = fields.collect();
        let id = record.get("Id").and_then(Value::as_str).unwrap_or_default();
        let url = format!("/services/data/{version}/sobjects/{}/{id}", of.name());
        shown.insert("attributes".to_owned(), json!({"type": of.name(), "url": url}));
        Value::from(shown)
    });
    let records: Vec<Value> = if query.is_count { Vec::new() } else { shown.collect() };
    let total = if query.is_count { found.len() } else { records.len() };
    Reply::json(200, json!({"totalSize": total, "done": true, "records": records}))
}
