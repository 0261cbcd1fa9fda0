//! What goes wrong, and when: each fault names the requests that it is for, how many it lets pass and how many it spoils.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dice::Dice;
use crate::exchange::{Content, Reply};

/// A fault as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The vendor's path, with `*` for any characters; all paths unless given.
    #[serde(default = "any")]
    pub path: String,
    /// The method; all unless given.
    #[serde(default)]
    pub method: Option<String>,
    /// So many fitting requests pass first.
    #[serde(default)]
    pub after: u64,
    /// So many are spoiled; no end unless given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Each is spoiled with this probability; 1 unless given.
    #[serde(default = "one")]
    pub probability: f64,
    /// What happens to them.
    pub fault: FaultKind,
}

fn any() -> String {
    "*".to_owned()
}

fn one() -> f64 {
    1.0
}

/// What happens to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The vendor's refusal of too many requests.
    RateLimit {
        /// With this `Retry-After`.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// The vendor's refusal of a blocked address.
    Blocked,
    /// A status with the vendor's kind of body.
    Status {
        /// The status.
        status: u16,
        /// Whether the request was carried out for all that.
        #[serde(default)]
        carried_out: bool,
        /// With this `Retry-After`.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// The vendor's refusal of the token.
    InvalidToken,
    /// All tokens of this kind are void from now on, for this request and all later ones.
    Revoke {
        /// Which.
        tokens: crate::oauth::Revoked,
    },
    /// The vendor's refusal of a grant; for token requests.
    InvalidGrant,
    /// The connection is reset without a reply.
    Reset {
        /// Whether the request was carried out before: the reply is lost.
        #[serde(default)]
        carried_out: bool,
    },
    /// The body comes in pieces with pauses.
    Drip {
        /// The length of a piece.
        bytes: usize,
        /// The pause after each.
        pause_ms: u64,
    },
    /// The body ends early.
    Truncate {
        /// After so many bytes.
        keep_bytes: usize,
        /// Whether the headers promised more, so that the connection breaks; else it looks whole and is no JSON.
        #[serde(default)]
        abrupt: bool,
    },
    /// The status stays, and there is no body.
    EmptyBody,
    /// A page for people.
    Html {
        /// Its status.
        status: u16,
    },
    /// The reply comes late, and so does what it does.
    Delay {
        /// So late.
        ms: u64,
    },
    /// A field of this name, wherever it stands in the reply, is not as it was.
    SchemaDrift {
        /// Its name.
        field: String,
        /// What became of it.
        change: Drift,
    },
}

/// What became of a field.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It is gone.
    Remove,
    /// It has another name.
    Rename(String),
    /// It is null.
    Null,
    /// It is a text.
    Text,
    /// It is a number.
    Number,
    /// It is a list with the one value.
    List,
    /// It is an object with the value within.
    Object,
    /// It is this.
    Value(Value),
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
    fired: u64,
}

/// The faults of an account.
#[derive(Debug)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    dice: Dice,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { armed: Vec::new(), dice: Dice::new(seed) }
    }

    pub(crate) fn add(&mut self, faults: Vec<Fault>) {
        self.armed.extend(faults.into_iter().map(|fault| Armed { fault, seen: 0, fired: 0 }));
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    /// What there is, and how often each has happened.
    pub(crate) fn told(&self) -> Value {
        self.armed.iter().map(|armed| serde_json::json!({"fault": armed.fault, "fired": armed.fired})).collect()
    }

    /// What happens to this request.
    pub(crate) fn draw(&mut self, method: &str, path: &str) -> Vec<FaultKind> {
        let mut drawn = Vec::new();
        for armed in &mut self.armed {
            let fault = &armed.fault;
            let fits = fault.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method));
            if !fits || !matches(&fault.path, path) {
                continue;
            }
            armed.seen += 1;
            let is_its_turn = armed.seen > fault.after && fault.count.is_none_or(|count| armed.fired < count);
            if is_its_turn && self.dice.chance(fault.probability) {
                armed.fired += 1;
                drawn.push(fault.fault.clone());
            }
        }
        drawn
    }
}

/// Whether a path fits a pattern in which `*` stands for any characters.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Changes all fields of a name.
pub(crate) fn drift(reply: &mut Reply, field: &str, change: &Drift) {
    if let Content::Json(value) = &mut reply.content {
        drift_value(value, field, change);
    }
}

fn drift_value(value: &mut Value, field: &str, change: &Drift) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| drift_value(value, field, change)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| drift_value(value, field, change));
            let Some(was) = fields.remove(field) else { return };
            let (name, is) = drifted(field, was, change);
            if let Some(is) = is {
                fields.insert(name.to_owned(), is);
            }
        }
        _ => {}
    }
}

fn drifted<'a>(field: &'a str, was: Value, change: &'a Drift) -> (&'a str, Option<Value>) {
    let is = match change {
        Drift::Remove => return (field, None),
        Drift::Rename(name) => return (name, Some(was)),
        Drift::Null => Value::Null,
        Drift::Text => was.as_str().map_or_else(|| was.to_string(), str::to_owned).into(),
        Drift::Number => was.as_str().and_then(|text| text.parse::<i64>().ok()).unwrap_or(42).into(),
        Drift::List => vec![was].into(),
        Drift::Object => serde_json::json!({"value": was}),
        Drift::Value(value) => value.clone(),
    };
    (field, Some(is))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, fits) in [
            ("*", "/api/v4/leads", true),
            ("/api/v4/leads", "/api/v4/leads", true),
            ("/api/v4/leads", "/api/v4/leads/1", false),
            ("/api/v4/leads*", "/api/v4/leads/1", true),
            ("*/notes/*", "/api/v4/leads/notes/1", true),
            ("*/notes/*", "/api/v4/leads/notes", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn fault_lets_pass_and_spoils_as_many_as_told() {
        let mut faults = Faults::new(1);
        let fault = json!({"path": "/a*", "after": 2, "count": 1, "fault": {"kind": "blocked"}});
        faults.add(vec![serde_json::from_value(fault).unwrap()]);
        let drawn: Vec<usize> = (0..4).map(|_| faults.draw("GET", "/a/b").len()).collect();
        assert_eq!(drawn, [0, 0, 1, 0]);
    }

    #[test]
    fn fields_drift_wherever_they_stand() {
        let mut reply = Reply::json(200, json!({"rows": [{"at": 5, "in": {"at": "6"}}]}));
        drift(&mut reply, "at", &Drift::Text);
        assert_eq!(reply.bytes(), br#"{"rows":[{"at":"5","in":{"at":"6"}}]}"#);
        drift(&mut reply, "at", &Drift::Rename("when".to_owned()));
        assert_eq!(reply.bytes(), br#"{"rows":[{"in":{"when":"6"},"when":"5"}]}"#);
    }
}
