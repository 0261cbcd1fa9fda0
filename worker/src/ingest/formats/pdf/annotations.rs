//! What stands on a page without being in its content: annotations, and the fields of forms (ISO 32000-2, 12.5 and 12.7).
//!
//! An annotation shows its appearance, a form drawn over the page. Fields that were filled in by a program often have
//! a value and no appearance, as have free texts: viewers draw those by themselves, and here the value is written behind the page's text.

use otf_pdf_content::Matrix;
use otf_pdf_doc::{Page, Store, decode_text_string};
use otf_pdf_syntax::{Dict, Error, ObjId, Object, Stream};

use super::interpreter::Interpreter;
use super::state::{State, matrix, numbers};

/// Flags of annotations that nobody sees: hidden, and not to be viewed (table 167).
const UNSEEN: i64 = 2 | 32;
/// A field inherits from so many ancestors at most.
const MAX_ANCESTORS: usize = 32;
/// The flag of a text field that holds a password (table 231).
const PASSWORD: i64 = 1 << 13;
/// The flag of a choice that shows what was chosen alone, and not all that could be (table 233).
const DROP_DOWN: i64 = 1 << 17;

impl Interpreter<'_, '_> {
    /// Draws the page's annotations; gives the texts of those that have no appearance.
    pub fn run_annotations(&mut self, page: &Page, resources: &Dict) -> Result<Vec<String>, Error> {
        let store = self.store();
        let annotations = page.dict.get(b"Annots").map(|annotations| store.resolve(annotations)).unwrap_or_default();
        let mut texts = Vec::new();
        for annotation in annotations.as_array().unwrap_or_default() {
            let Some(dict) = store.resolve_dict(annotation) else { continue };
            let shown = dict.get(b"OC").is_none_or(|group| self.layers().shows(store, group));
            if !shown || dict.get_int(b"F").unwrap_or(0) & UNSEEN != 0 || dict.get_name(b"Subtype") == Some(b"Popup") {
                continue;
            }
            match appearance(store, &dict) {
                Appearance::Form(id, form) => self.draw_appearance(&dict, id, &form, resources)?,
                Appearance::Blank => {}
                Appearance::Missing => texts.extend(own_text(store, &dict)),
            }
        }
        Ok(texts)
    }

    /// Draws an appearance so that its box, turned by its matrix, fills the annotation's rectangle (12.5.5).
    fn draw_appearance(&mut self, dict: &Dict, id: ObjId, form: &Stream, resources: &Dict) -> Result<(), Error> {
        let store = self.store();
        let place = numbers::<4>(store, dict.get(b"Rect"));
        let edges = numbers::<4>(store, form.dict.get(b"BBox"));
        let (Some([left, bottom, right, top]), Some([x0, y0, x1, y1])) = (place, edges) else { return Ok(()) };
        let own = numbers::<6>(store, form.dict.get(b"Matrix")).map_or(Matrix::IDENTITY, matrix);
        let corners = [(x0, y0), (x1, y0), (x0, y1), (x1, y1)].map(|(x, y)| own.apply(x, y));
        let least =
            corners.iter().fold((f64::MAX, f64::MAX), |least, corner| (least.0.min(corner.0), least.1.min(corner.1)));
        let most =
            corners.iter().fold((f64::MIN, f64::MIN), |most, corner| (most.0.max(corner.0), most.1.max(corner.1)));
        let (width, height) = (most.0 - least.0, most.1 - least.1);
        if width < 1e-9 || height < 1e-9 {
            return Ok(());
        }
        let (across, up) = ((right - left).abs() / width, (top - bottom).abs() / height);
        let shift = (left.min(right) - least.0 * across, bottom.min(top) - least.1 * up);
        let fit = Matrix::new(across, 0.0, 0.0, up, shift.0, shift.1);
        self.draw_form(id, form, resources, State::new(fit))
    }
}

enum Appearance {
    Form(ObjId, Stream),
    /// There are appearances, and the one for its state is none.
    Blank,
    Missing,
}

fn appearance(store: &Store, dict: &Dict) -> Appearance {
    let normal = dict.get(b"AP").and_then(|appearances| store.resolve_dict(appearances)?.get(b"N").cloned());
    let Some(normal) = normal else { return Appearance::Missing };
    let chosen = match store.resolve(&normal) {
        Object::Stream(_) => Some(normal),
        Object::Dict(states) => dict.get_name(b"AS").and_then(|state| states.get(state).cloned()),
        _ => return Appearance::Missing,
    };
    match chosen.map(|chosen| (chosen.as_ref(), store.resolve(&chosen))) {
        Some((Some(id), Object::Stream(form))) => Appearance::Form(id, form),
        _ => Appearance::Blank,
    }
}

/// The text of a field or of a free text that has no appearance.
fn own_text(store: &Store, dict: &Dict) -> Option<String> {
    let text = match dict.get_name(b"Subtype")? {
        b"FreeText" => store.resolve(dict.get(b"Contents")?),
        b"Widget" => {
            let flags = inherited(store, dict, b"Ff").and_then(|flags| flags.as_int()).unwrap_or(0);
            match inherited(store, dict, b"FT")?.as_name()? {
                b"Tx" if flags & PASSWORD == 0 => inherited(store, dict, b"V")?,
                b"Ch" if flags & DROP_DOWN == 0 => return Some(options(store, dict)),
                b"Ch" => inherited(store, dict, b"V")?,
                _ => return None,
            }
        }
        _ => return None,
    };
    match text {
        Object::String(text) => Some(decode_text_string(&text.bytes)),
        // Long values may be streams.
        Object::Stream(stream) => Some(decode_text_string(&store.decode_stream(&stream).ok()?.data)),
        _ => None,
    }
}

/// What a list shows: all that can be chosen, each by its label if it has one.
fn options(store: &Store, dict: &Dict) -> String {
    let options = inherited(store, dict, b"Opt").unwrap_or_default();
    let labels = options.as_array().unwrap_or_default().iter().filter_map(|option| match store.resolve(option) {
        Object::String(label) => Some(decode_text_string(&label.bytes)),
        Object::Array(pair) => pair.last().and_then(Object::as_string).map(decode_text_string),
        _ => None,
    });
    labels.collect::<Vec<_>>().join("\n")
}

/// A field's entry, or that of the nearest ancestor that has it.
fn inherited(store: &Store, field: &Dict, key: &[u8]) -> Option<Object> {
    let mut field = field.clone();
    for _ in 0..MAX_ANCESTORS {
        if let Some(value) = field.get(key) {
            return Some(store.resolve(value));
        }
        field = store.resolve_dict(field.get(b"Parent")?)?;
    }
    None
}
