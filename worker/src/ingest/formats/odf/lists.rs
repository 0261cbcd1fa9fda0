//! The lists that are open, and the marks of their items.

use std::collections::HashMap;

use quick_xml::events::BytesStart;

use super::count_of;
use crate::ingest::formats::package::attribute;

/// Lists within lists; deeper ones are not indented further.
const MAX_LISTS: usize = 32;

/// A list that is open: its style and how many items it has had.
#[derive(Default)]
struct List {
    style: Option<String>,
    items: u32,
}

#[derive(Default)]
pub(super) struct Lists {
    open: Vec<List>,
    /// Open lists beyond [`MAX_LISTS`].
    flattened: usize,
    /// The mark of the list item that is open, until its first paragraph takes it.
    mark: Option<String>,
    /// Styles of numbered lists by name and level, with what stands behind the number.
    numbered: HashMap<(String, usize), String>,
    /// The style that is being defined.
    style: String,
}

impl Lists {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn define(&mut self, style: String) {
        self.style = style;
    }

    pub fn define_numbered(&mut self, tag: &BytesStart<'_>) {
        // A number without a format is not shown.
        if attribute(tag, b"num-format").is_none_or(|format| format.is_empty()) {
            return;
        }
        let level = count_of(tag, b"level");
        let suffix = attribute(tag, b"num-suffix").unwrap_or_default();
        self.numbered.insert((self.style.clone(), level), suffix);
    }

    pub fn begin(&mut self, tag: &BytesStart<'_>) {
        if self.open.len() >= MAX_LISTS {
            self.flattened += 1;
            return;
        }
        let outer = self.open.last().and_then(|list| list.style.clone());
        self.open.push(List { style: attribute(tag, b"style-name").or(outer), items: 0 });
    }

    pub fn end(&mut self) {
        if self.flattened > 0 {
            self.flattened -= 1;
        } else {
            self.open.pop();
        }
    }

    pub fn begin_item(&mut self) {
        let level = self.open.len();
        let Some(list) = self.open.last_mut() else { return };
        list.items += 1;
        let style = list.style.clone().unwrap_or_default();
        let indent = "  ".repeat(level - 1);
        self.mark = Some(match self.numbered.get(&(style, level)) {
            Some(suffix) => format!("{indent}{}{suffix} ", list.items),
            None => format!("{indent}- "),
        });
    }

    pub fn end_item(&mut self) {
        self.mark = None;
    }

    /// The mark of the item that is open; once.
    pub fn take_mark(&mut self) -> Option<String> {
        self.mark.take()
    }
}
