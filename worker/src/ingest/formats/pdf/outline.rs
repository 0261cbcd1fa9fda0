//! The outline (bookmarks; ISO 32000-2, 12.3): which sections begin where.
//!
//! A bookmark leads to a place on a page, by an array or by a name that stands for one. It heads the text from there on.

use std::collections::HashMap;

use otf_pdf_doc::{Document, OutlineItem, Page, Store, name_tree};
use otf_pdf_syntax::{Dict, ObjId, Object};

use super::glyphs::Display;

/// More bookmarks than these are an index rather than an outline.
const MAX_BOOKMARKS: usize = 10_000;

/// Where a section begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bookmark {
    /// From 1.
    pub level: u8,
    pub title: String,
    /// How high on the page as it is displayed, in points; the whole page where it does not say.
    pub top: Option<f64>,
}

/// The bookmarks of each page that has any, by the page's index, in the order of the outline.
pub(super) fn by_page(document: &Document, pages: &[Page]) -> HashMap<usize, Vec<Bookmark>> {
    let mut outline = Outline {
        document,
        pages,
        indexes: pages.iter().enumerate().filter_map(|(index, page)| Some((page.id?, index))).collect(),
        names: None,
        found: HashMap::new(),
        count: 0,
    };
    // Without an outline a document loses nothing but its headings.
    if let Ok(items) = document.outlines() {
        outline.take(&items, 1);
    }
    outline.found
}

struct Outline<'d> {
    document: &'d Document,
    pages: &'d [Page],
    indexes: HashMap<ObjId, usize>,
    /// Destinations by name, read when the first is asked for.
    names: Option<HashMap<Vec<u8>, Object>>,
    found: HashMap<usize, Vec<Bookmark>>,
    count: usize,
}

impl Outline<'_> {
    fn take(&mut self, items: &[OutlineItem], level: u8) {
        for item in items {
            self.count += 1;
            if self.count > MAX_BOOKMARKS {
                return;
            }
            if let Some((page, top)) = self.place(item) {
                let title = item.title.trim().to_owned();
                self.found.entry(page).or_default().push(Bookmark { level, title, top });
            }
            self.take(&item.children, level.saturating_add(1));
        }
    }

    fn place(&mut self, item: &OutlineItem) -> Option<(usize, Option<f64>)> {
        let action = item.action.as_ref().filter(|action| action.get_name(b"S") == Some(b"GoTo"));
        let target = item.dest.clone().or_else(|| action?.get(b"D").cloned())?;
        let target = match self.document.store().resolve(&target) {
            Object::Name(name) => self.named(name.as_bytes())?,
            Object::String(name) => self.named(&name.bytes)?,
            other => other,
        };
        let target = match target {
            Object::Dict(dict) => self.document.store().resolve(dict.get(b"D")?),
            other => other,
        };
        let target = target.as_array()?;
        let page = match target.first()? {
            Object::Ref(id) => *self.indexes.get(id)?,
            number => usize::try_from(number.as_int()?).ok().filter(|index| *index < self.pages.len())?,
        };
        Some((page, self.top(&self.pages[page], target)))
    }

    /// The upper edge of a destination; in which number it stands depends on its kind (table 149).
    fn top(&self, page: &Page, target: &[Object]) -> Option<f64> {
        let number = |index: usize| self.document.store().resolve(target.get(index)?).as_f64();
        let (left, top) = match target.get(1)?.as_name()? {
            b"XYZ" => (number(2), number(3)),
            b"FitH" | b"FitBH" => (None, number(2)),
            b"FitR" => (number(2), number(5)),
            _ => (None, None),
        };
        let top = Display::of(page).point((left.unwrap_or(page.crop_box.llx), top?)).1;
        top.is_finite().then_some(top)
    }

    fn named(&mut self, name: &[u8]) -> Option<Object> {
        let names = self.names.get_or_insert_with(|| all_names(self.document));
        names.get(name).cloned()
    }
}

/// Destinations by name: in a dictionary of the catalog (PDF 1.1), or in a name tree (since 1.2).
fn all_names(document: &Document) -> HashMap<Vec<u8>, Object> {
    let store = document.store();
    let catalog = document.catalog();
    let part = |dict: &Dict, key: &[u8]| store.resolve_dict(dict.get(key)?);
    let mut names: HashMap<Vec<u8>, Object> = HashMap::new();
    for (name, target) in part(&catalog, b"Dests").iter().flat_map(|dests| dests.iter()) {
        names.insert(name.as_bytes().to_vec(), store.resolve(target));
    }
    let tree = part(&catalog, b"Names").and_then(|dict| dict.get(b"Dests").cloned());
    for (name, target) in tree.and_then(|tree| read_tree(store, &tree)).unwrap_or_default() {
        names.insert(name, store.resolve(&target));
    }
    names
}

fn read_tree(store: &Store, tree: &Object) -> Option<Vec<(Vec<u8>, Object)>> {
    name_tree(store, tree).ok()
}
