//! Search: filters within groups by AND, groups by OR; one sort; no more than 10,000 results; no archived records, no associations.
//!
//! Records that changed within the index's lag are not found at all. Where the filters bound the time of the last change, only records changed
//! within those bounds are looked at, so that a scan by time does not look at all records for each page.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, error, invalid, properties};
use crate::account::State;
use crate::exchange::{Reply, document};
use crate::provider::Object;
use crate::rows::{Row, Store};
use crate::serve::Call;
use crate::time;

const BODY_CHARACTERS: usize = 3000;
const GROUPS: usize = 5;
const FILTERS_OF_GROUP: usize = 6;
const FILTERS: usize = 18;
const PAGE: usize = 10;
const MOST: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Query {
    #[serde(default)]
    filter_groups: Vec<Group>,
    #[serde(default)]
    sorts: Vec<Value>,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default)]
    limit: Option<Value>,
    #[serde(default)]
    after: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: String,
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    high_value: Option<Value>,
    #[serde(default)]
    values: Vec<String>,
}

/// `POST /crm/v3/objects/{type}/search`
pub(super) fn search(state: &mut State, call: &Call<'_>, object: Object) -> Answer {
    let query = parse(state, call)?;
    let limit = number(query.limit.as_ref(), "limit")?.unwrap_or(PAGE);
    if limit == 0 || limit > MOST {
        return Err(invalid(&format!("limit must be between 1 and {MOST}, but was {limit}")));
    }
    let after = number(query.after.as_ref(), "after")?.unwrap_or(0);
    if after + limit > state.switches.search_cap {
        return Err(invalid(&format!(
            "There was a problem with the request: paging past {} results",
            state.switches.search_cap
        )));
    }
    let sort = Sort::of(&query, object)?;
    let indexed_until = call.now_ms - state.switches.search_lag_ms;
    let mut found = Finder { store: &state.store, object, query: &query, sort: &sort }.find(indexed_until);
    sort.apply(&state.store, object, &mut found);

    let total = found.len();
    let page: Vec<u64> = found.into_iter().skip(after).take(limit).collect();
    let asked: Vec<&str> = query.properties.iter().map(String::as_str).collect();
    let table = state.store.table(object);
    let rows = page.iter().filter_map(|id| table.get(*id));
    let results: Vec<Value> = rows.map(|row| properties::shown(&state.store, object, row, &asked)).collect();
    let mut shown = document([("total", total.into()), ("results", results.into())]);
    let next = after + page.len();
    if next < total && !page.is_empty() {
        shown["paging"] = json!({"next": {"after": next.to_string()}});
    }
    state.served(object, &page);
    Ok(Reply::json(200, shown))
}

fn parse(state: &State, call: &Call<'_>) -> Result<Query, Reply> {
    const KNOWN: [&str; 7] = ["filterGroups", "filters", "sorts", "query", "properties", "limit", "after"];
    let mut given = super::body(call.request)?;
    if String::from_utf8_lossy(&call.request.body).chars().count() > BODY_CHARACTERS {
        return Err(invalid(&format!("The request body must not have more than {BODY_CHARACTERS} characters")));
    }
    let unknown = given.as_object().and_then(|given| given.keys().find(|key| !KNOWN.contains(&key.as_str())));
    if let Some(unknown) = unknown.filter(|_| state.switches.strict_parameters) {
        return Err(invalid(&format!("Invalid input JSON: unknown field {unknown}")));
    }
    if given["filterGroups"].is_null() && given["filters"].is_array() {
        given["filterGroups"] = json!([{"filters": given["filters"].take()}]);
    }
    let query: Query =
        serde_json::from_value(given).map_err(|problem| invalid(&format!("Invalid input JSON: {problem}")))?;
    let filters: usize = query.filter_groups.iter().map(|group| group.filters.len()).sum();
    let is_wide = query.filter_groups.iter().any(|group| group.filters.len() > FILTERS_OF_GROUP);
    if query.filter_groups.len() > GROUPS || is_wide || filters > FILTERS {
        return Err(invalid("Too many filters: at most 5 groups of 6, and 18 in all"));
    }
    for filter in query.filter_groups.iter().flat_map(|group| &group.filters) {
        filter.check()?;
    }
    Ok(query)
}

fn number(given: Option<&Value>, name: &str) -> Result<Option<usize>, Reply> {
    let Some(given) = given else { return Ok(None) };
    let number =
        given.as_u64().or_else(|| given.as_str()?.parse().ok()).and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or_else(|| invalid(&format!("Unable to parse value for {name}: {given}")))
}

/// From the first, before the second.
type Span = (i64, i64);

const EVERYTHING: Span = (i64::MIN, i64::MAX);

fn is_within(span: Span, value: i64) -> bool {
    span.0 <= value && value < span.1
}

struct Finder<'a> {
    store: &'a Store,
    object: Object,
    query: &'a Query,
    sort: &'a Sort,
}

impl Finder<'_> {
    /// What fits, by id where that is the order that is wanted, else by the time of the last change.
    fn find(&self, indexed_until: i64) -> Vec<u64> {
        let table = self.store.table(self.object);
        let ids = self.span(|filter| filter.property_name == "hs_object_id");
        let times = self.span(|filter| properties::is_modified(self.object, &filter.property_name));
        let times = (times.0, times.1.min(indexed_until.saturating_add(1)));
        let candidates: Box<dyn Iterator<Item = u64>> = if self.sort.property == "hs_object_id" {
            let first = table.live_ids().partition_point(|id| number_of(*id) < ids.0);
            let within = table.live_ids()[first..].iter().copied().take_while(move |id| number_of(*id) < ids.1);
            // A scan by id bounds no times, and then there is nothing to look up.
            let all = table.by_update();
            let is_any = [all.first(), all.last()].iter().flatten().all(|(at, _)| is_within(times, *at));
            let is_in_time =
                move |id: &u64| is_any || table.get(*id).is_some_and(|row| is_within(times, row.updated_at_ms));
            Box::new(within.filter(is_in_time))
        } else {
            let within = table.updated_between(times.0, times.1).iter().map(|(_, id)| *id);
            Box::new(within.filter(move |id| is_within(ids, number_of(*id))))
        };
        if self.is_by_spans_alone() {
            return candidates.collect();
        }
        candidates.filter(|id| table.get(*id).is_some_and(|row| self.fits(row))).collect()
    }

    /// What the bounds of these filters leave, in any of the groups.
    fn span(&self, is_meant: impl Fn(&Filter) -> bool) -> Span {
        let of_group = |group: &Group| {
            let bounds =
                group.filters.iter().filter(|filter| filter.has_bounds() && is_meant(filter)).map(Filter::bounds);
            bounds.fold(EVERYTHING, |one, other| (one.0.max(other.0), one.1.min(other.1)))
        };
        let groups = self.query.filter_groups.iter().map(of_group);
        groups.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1))).unwrap_or(EVERYTHING)
    }

    /// Whether the spans say all that the filters say.
    fn is_by_spans_alone(&self) -> bool {
        let is_bound = |filter: &Filter| {
            let name = filter.property_name.as_str();
            filter.has_bounds() && (name == "hs_object_id" || properties::is_modified(self.object, name))
        };
        let is_plain = match self.query.filter_groups.as_slice() {
            [] => true,
            [one] => one.filters.iter().all(is_bound),
            _ => false,
        };
        is_plain && self.query.query.is_none()
    }

    fn fits(&self, row: &Row) -> bool {
        let groups = &self.query.filter_groups;
        let fits = |filter: &Filter| filter.fits(self.store, self.object, row);
        let words = self.query.query.as_ref().map(|words| words.to_lowercase());
        (groups.is_empty() || groups.iter().any(|group| group.filters.iter().all(fits)))
            && words.is_none_or(|words| row.shown_name().to_lowercase().contains(&words))
    }
}

fn number_of(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

impl Filter {
    fn check(&self) -> Result<(), Reply> {
        let has_value = match self.operator.as_str() {
            "EQ" | "NEQ" | "LT" | "LTE" | "GT" | "GTE" | "CONTAINS_TOKEN" => self.value.is_some(),
            "BETWEEN" => self.value.is_some() && self.high_value.is_some(),
            "IN" | "NOT_IN" => !self.values.is_empty(),
            "HAS_PROPERTY" | "NOT_HAS_PROPERTY" => true,
            other => return Err(invalid(&format!("Invalid input JSON: {other} is no operator"))),
        };
        if has_value {
            return Ok(());
        }
        Err(error(400, "VALIDATION_ERROR", &format!("A filter on {} lacks its value", self.property_name)))
    }

    fn has_bounds(&self) -> bool {
        matches!(self.operator.as_str(), "EQ" | "LT" | "LTE" | "GT" | "GTE" | "BETWEEN")
    }

    fn bounds(&self) -> Span {
        let read = |value: Option<&Value>| value.and_then(time_of);
        let Some(value) = read(self.value.as_ref()) else { return (i64::MAX, i64::MIN) };
        match self.operator.as_str() {
            "GT" => (value.saturating_add(1), i64::MAX),
            "GTE" => (value, i64::MAX),
            "LT" => (i64::MIN, value),
            "LTE" => (i64::MIN, value.saturating_add(1)),
            "EQ" => (value, value.saturating_add(1)),
            _ => (value, read(self.high_value.as_ref()).unwrap_or(i64::MIN).saturating_add(1)),
        }
    }

    fn fits(&self, store: &Store, object: Object, row: &Row) -> bool {
        // What scans filter by, without writing it down for each record.
        let number = match self.property_name.as_str() {
            "hs_object_id" => Some(number_of(row.id)),
            name if properties::is_modified(object, name) => Some(row.updated_at_ms),
            _ => None,
        };
        if let Some(number) = number.filter(|_| self.has_bounds()) {
            return is_within(self.bounds(), number);
        }
        let has = properties::property(store, object, row, &self.property_name);
        match (self.operator.as_str(), &has) {
            ("HAS_PROPERTY", has) => return has.is_some(),
            ("NOT_HAS_PROPERTY", has) => return has.is_none(),
            ("NEQ" | "NOT_IN", None) => return true,
            (_, None) => return false,
            _ => {}
        }
        let has = has.unwrap_or_default();
        let compared = |value: Option<&Value>| value.and_then(|value| compare(&has, value));
        let order = compared(self.value.as_ref());
        let is_in =
            || self.values.iter().any(|value| compare(&has, &Value::from(value.as_str())) == Some(Ordering::Equal));
        match self.operator.as_str() {
            "EQ" => order == Some(Ordering::Equal),
            "NEQ" => order != Some(Ordering::Equal),
            "LT" => order == Some(Ordering::Less),
            "LTE" => order.is_some_and(Ordering::is_le),
            "GT" => order == Some(Ordering::Greater),
            "GTE" => order.is_some_and(Ordering::is_ge),
            "BETWEEN" => {
                order.is_some_and(Ordering::is_ge) && compared(self.high_value.as_ref()).is_some_and(Ordering::is_le)
            }
            "IN" => is_in(),
            "NOT_IN" => !is_in(),
            _ => {
                let wanted = self.value.as_ref().and_then(Value::as_str).unwrap_or_default().to_lowercase();
                has.to_lowercase().contains(wanted.trim_matches('*'))
            }
        }
    }
}

/// Milliseconds of Unix time, or the vendor's texts for times.
fn time_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok().or_else(|| time::parse(text))))
}

/// As numbers or times where both are, else as texts without regard to case.
fn compare(has: &str, value: &Value) -> Option<Ordering> {
    let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(has) = time::parse(has) {
        return Some(has.cmp(&time_of(value)?));
    }
    if let (Ok(has), Ok(given)) = (has.parse::<u64>(), given.parse::<u64>()) {
        return Some(has.cmp(&given));
    }
    if let (Ok(has), Ok(given)) = (has.parse::<f64>(), given.parse::<f64>()) {
        return has.partial_cmp(&given);
    }
    Some(has.to_lowercase().cmp(&given.to_lowercase()))
}

struct Sort {
    property: String,
    is_descending: bool,
}

impl Sort {
    /// By creation, the newest first, unless told.
    fn of(query: &Query, object: Object) -> Result<Self, Reply> {
        let created = if object == Object::Notes { "hs_createdate" } else { "createdate" };
        match query.sorts.as_slice() {
            [] => Ok(Self { property: created.to_owned(), is_descending: true }),
            [Value::String(name)] => {
                let (property, is_descending) =
                    name.strip_prefix('-').map_or((name.as_str(), false), |name| (name, true));
                Ok(Self { property: property.to_owned(), is_descending })
            }
            [one] => {
                let property = one["propertyName"].as_str().ok_or_else(|| invalid("A sort lacks its propertyName"))?;
                let is_descending = match one["direction"].as_str() {
                    None | Some("ASCENDING") => false,
                    Some("DESCENDING") => true,
                    Some(other) => return Err(invalid(&format!("{other} is no direction"))),
                };
                Ok(Self { property: property.to_owned(), is_descending })
            }
            _ => Err(invalid("Only one sort is supported")),
        }
    }

    /// `found` comes by id where that is wanted, else in the order of the last change.
    fn apply(&self, store: &Store, object: Object, found: &mut [u64]) {
        let table = store.table(object);
        if self.property != "hs_object_id" && !properties::is_modified(object, &self.property) {
            let is_created = self.property == "createdate" || self.property == "hs_createdate";
            found.sort_by_cached_key(|id| {
                let row = table.get(*id);
                let created = row.filter(|_| is_created).map(|row| row.created_at_ms);
                let value = row
                    .filter(|_| !is_created)
                    .and_then(|row| properties::property(store, object, row, &self.property));
                (created, value, *id)
            });
        }
        if self.is_descending {
            found.reverse();
        }
    }
}
