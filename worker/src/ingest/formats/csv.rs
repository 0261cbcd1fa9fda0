//! Tables as text: fields parted by commas, semicolons or tabs (RFC 4180 and its kin). A record is a line, its fields parted by tabs.

use csv::ReaderBuilder;
use millrace_shared::media::delimiter_of;

use super::{Input, text};
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let source = text::read(input, limits, sink, |_| None)?;
    let delimiter = delimiter_of(&source).unwrap_or(b',');
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(source.as_bytes());
    for record in reader.records() {
        let record = record.map_err(|_| Failure::malformed("a record cannot be read"))?;
        for (index, field) in record.iter().enumerate() {
            if index > 0 {
                sink.text("\t")?;
            }
            // A record is a line, so a field cannot have several.
            sink.text(&field.trim().replace(['\n', '\r', '\t'], " "))?;
        }
        sink.line_break();
    }
    Ok(())
}
