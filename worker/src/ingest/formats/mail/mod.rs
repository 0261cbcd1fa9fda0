//! Mail: its header as a mail program shows it, then its words; what is attached becomes parts.
//!
//! The subject is the title, who wrote it the author, when it was sent the time of making. Of a body in several forms the plain one is taken, for
//! it is what its sender wants to be read where nothing else can be shown; HTML comes next.

mod eml;
mod msg;
mod rich;

pub(super) use eml::extract as extract_eml;
pub(super) use msg::{extract as extract_msg, is_message};

use super::html;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// What stands above the words.
#[derive(Debug, Default)]
struct Head {
    from: String,
    to: String,
    cc: String,
    /// As a person reads it.
    date: String,
    /// As RFC 3339 writes it.
    sent: String,
    subject: String,
}

impl Head {
    fn write(&self, sink: &mut TextSink) -> Result<(), Failure> {
        sink.metadata.set_title(&self.subject);
        sink.metadata.set_author(&self.from);
        sink.metadata.set_created(&self.sent);
        for (name, value) in
            [("From", &self.from), ("To", &self.to), ("Cc", &self.cc), ("Date", &self.date), ("Subject", &self.subject)]
        {
            let value = one_line(value);
            if !value.is_empty() {
                sink.text(&format!("{name}: {value}"))?;
                sink.line_break();
            }
        }
        sink.paragraph_break();
        Ok(())
    }
}

/// Writes a body of HTML, whose own title and author are not those of the mail.
fn write_html(source: &str, sink: &mut TextSink) -> Result<(), Failure> {
    let stated = sink.metadata.clone();
    let done = html::write_fragment(source, sink);
    let language = sink.metadata.language.take();
    sink.metadata = stated;
    sink.metadata.language = sink.metadata.language.take().or(language);
    done
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
