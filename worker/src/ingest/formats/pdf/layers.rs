//! Layers (optional content; ISO 32000-2, 8.11): which groups are off when the document is opened.
//!
//! Text on a layer that is off is not seen by whoever reads the document, and so it is no text of it.

use std::collections::HashSet;

use otf_pdf_doc::{Document, Store};
use otf_pdf_syntax::{Dict, ObjId, Object};

#[derive(Debug, Default)]
pub(super) struct Layers {
    off: HashSet<ObjId>,
}

impl Layers {
    pub fn of(document: &Document) -> Self {
        let store = document.store();
        let resolve = |dict: &Dict, key: &[u8]| dict.get(key).map(|value| store.resolve(value)).unwrap_or_default();
        let references = |object: Object| -> Vec<ObjId> {
            object.as_array().unwrap_or_default().iter().filter_map(Object::as_ref).collect()
        };
        let Some(properties) = document.catalog().get(b"OCProperties").and_then(|dict| store.resolve_dict(dict)) else {
            return Self::default();
        };
        let Object::Dict(usual) = resolve(&properties, b"D") else { return Self::default() };
        let mut off = HashSet::new();
        if usual.get_name(b"BaseState") == Some(b"OFF") {
            off.extend(references(resolve(&properties, b"OCGs")));
        }
        for shown in references(resolve(&usual, b"ON")) {
            off.remove(&shown);
        }
        off.extend(references(resolve(&usual, b"OFF")));
        Self { off }
    }

    /// Whether content of this group, or of this membership dictionary, is seen. A visibility expression is not looked at.
    pub fn shows(&self, store: &Store, group: &Object) -> bool {
        if self.off.is_empty() {
            return true;
        }
        if group.as_ref().is_some_and(|id| self.off.contains(&id)) {
            return false;
        }
        let Some(membership) = store.resolve_dict(group).filter(|dict| dict.is_type(b"OCMD")) else { return true };
        let groups: Vec<Object> = match membership.get(b"OCGs") {
            Some(Object::Ref(id)) => match store.resolve(&Object::Ref(*id)) {
                Object::Array(groups) => groups,
                _ => vec![Object::Ref(*id)],
            },
            Some(Object::Array(groups)) => groups.clone(),
            _ => return true,
        };
        let mut on = groups.iter().filter_map(Object::as_ref).map(|id| !self.off.contains(&id)).peekable();
        if on.peek().is_none() {
            return true;
        }
        match membership.get_name(b"P") {
            Some(b"AllOn") => on.all(|on| on),
            Some(b"AnyOff") => on.any(|on| !on),
            Some(b"AllOff") => on.all(|on| !on),
            _ => on.any(|on| on),
        }
    }
}
