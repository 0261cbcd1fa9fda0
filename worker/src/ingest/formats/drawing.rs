//! Text in DrawingML: what shapes, diagrams and text boxes of Office Open XML say.

use quick_xml::events::Event;

use super::package::{XmlPart, push_characters};
use crate::ingest::wire::Failure;

/// The paragraphs of a part, in its order, those without text left out.
pub(super) fn paragraphs(mut part: XmlPart<'_>) -> Result<Vec<String>, Failure> {
    let mut paragraphs = Vec::new();
    let (mut open, mut in_text, mut skipped) = (None::<String>, false, 0_usize);
    while let Some(event) = part.next()? {
        match event {
            Event::Start(_) if skipped > 0 => skipped += 1,
            Event::End(_) if skipped > 0 => skipped -= 1,
            _ if skipped > 0 => {}
            // What stands twice, once for readers who know less, is taken once.
            Event::Start(tag) if tag.local_name().as_ref() == b"Fallback" => skipped = 1,
            Event::Start(tag) if tag.local_name().as_ref() == b"p" => open = Some(String::new()),
            Event::Start(tag) if tag.local_name().as_ref() == b"t" => in_text = true,
            Event::Start(tag) | Event::Empty(tag) if tag.local_name().as_ref() == b"br" => {
                open.iter_mut().for_each(|text| text.push('\n'));
            }
            Event::End(tag) if tag.local_name().as_ref() == b"t" => in_text = false,
            Event::End(tag) if tag.local_name().as_ref() == b"p" => {
                let text = open.take().unwrap_or_default();
                paragraphs.extend(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
            }
            event if in_text => {
                if let Some(text) = &mut open {
                    push_characters(&event, text);
                }
            }
            _ => {}
        }
    }
    Ok(paragraphs)
}
