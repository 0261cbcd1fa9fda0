use std::io::Read as _;

use anyhow::Result;
use serde_json::Value;

use crate::{
    args::PayloadSource,
    exit::{Exit, Failure},
};

/// Reads a payload from where the arguments say.
pub fn read(source: &PayloadSource) -> Result<Value> {
    let wrong = |message: String| Failure::of(Exit::Usage, message);
    let text = match source {
        PayloadSource::Text(text) => text.clone(),
        PayloadSource::File(file) => std::fs::read_to_string(file)
            .map_err(|error| wrong(format!("the payload cannot be read from {}: {error}", file.display())))?,
        PayloadSource::StandardInput => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| wrong(format!("the payload cannot be read from standard input: {error}")))?;
            text
        }
    };
    serde_json::from_str(&text).map_err(|error| wrong(format!("the payload is not JSON: {error}")))
}
