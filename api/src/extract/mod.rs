//! Extractors whose refusals are ours: every malformed request ends as a problem that names the field.

mod auth;
mod json;
mod object;
mod path;
mod query;

pub use auth::{Operator, Submitter};
pub use json::{Json, OptionalJson, is_json};
pub use object::Object;
pub use path::Path;
pub use query::{Query, from_text};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use millrace_shared::jobs::FieldError;

/// A serde error at a path, as a field of ours. serde names the root `.`, which says nothing to a client, and a missing field by
/// the place where it is missing.
fn field_error(path: &serde_path_to_error::Path, message: &str, root: &str) -> FieldError {
    let path = path.to_string();
    let is_root = path == ".";
    if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let field = if is_root { name.to_owned() } else { format!("{path}.{name}") };
        return FieldError::new(field, "is required");
    }
    FieldError::new(if is_root { root.to_owned() } else { path }, message)
}

/// The media type of a body without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let essence = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
}
