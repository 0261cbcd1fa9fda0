//! Runs a page's content and collects the text that it shows (ISO 32000-2, clauses 8 and 9).
//!
//! Only what decides about text is followed: the graphics state's matrix and clip, the text state, forms, marked content
//! with its replacement text, and layers that are off. Forms that draw forms are bounded in depth and in number, for a few
//! that draw each other twice would otherwise run for ever.

use otf_pdf_content::Matrix;
use otf_pdf_doc::{Page, Store, decode_text_string};
use otf_pdf_syntax::parser::Parser;
use otf_pdf_syntax::{Dict, Error, LimitKind, ObjId, Object, Stream, Strictness};

use super::font::{FaceId, Fonts, Letters};
use super::glyphs::{Display, PageText};
use super::layers::Layers;
use super::state::{Cursor, Path, State, matrix, numbers, set_text_state};
use super::tokens::{Operand, Tokens, decoded_name};

/// How many states may be saved; a page that saves more never restores them.
const MAX_SAVED: usize = 1024;
/// How deep forms may draw forms.
const MAX_FORM_DEPTH: usize = 32;
/// How many forms one page may draw; drawings with tens of thousands of symbols exist.
const MAX_FORMS: u32 = 200_000;

/// A marked-content sequence that is open.
enum Marked {
    Plain,
    /// Its layer is off.
    Hidden,
    /// Its glyphs stand for this text; it is written with the first of them.
    Replaced(Option<Letters>),
}

/// The dictionaries that names in a content stream are looked up in, each resolved once.
struct Resources<'r> {
    dict: &'r Dict,
    fonts: Dict,
    objects: Dict,
    properties: Dict,
    states: Dict,
    known_fonts: Vec<(Vec<u8>, Option<FaceId>)>,
}

impl<'r> Resources<'r> {
    fn new(store: &Store, dict: &'r Dict) -> Self {
        let part = |key: &[u8]| dict.get(key).and_then(|part| store.resolve_dict(part)).unwrap_or_default();
        Self {
            dict,
            fonts: part(b"Font"),
            objects: part(b"XObject"),
            properties: part(b"Properties"),
            states: part(b"ExtGState"),
            known_fonts: Vec::new(),
        }
    }
}

/// What is the same for all pages.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'d, 'p> {
    pub store: &'d Store,
    pub layers: &'p Layers,
    /// More of one page are refused.
    pub max_glyphs: usize,
}

pub(super) struct Interpreter<'d, 'p> {
    store: &'d Store,
    fonts: &'p mut Fonts<'d>,
    layers: &'p Layers,
    display: Display,
    page: &'p mut PageText,
    max_glyphs: usize,
    marked: Vec<Marked>,
    /// The forms that are being drawn, innermost last.
    forms: Vec<ObjId>,
    drawn_forms: u32,
    codes: Vec<(u32, usize)>,
}

impl<'d, 'p> Interpreter<'d, 'p> {
    pub fn new(
        surroundings: Surroundings<'d, 'p>,
        fonts: &'p mut Fonts<'d>,
        page: &Page,
        into: &'p mut PageText,
    ) -> Self {
        let Surroundings { store, layers, max_glyphs } = surroundings;
        Self {
            store,
            fonts,
            layers,
            display: Display::of(page),
            page: into,
            max_glyphs,
            marked: Vec::new(),
            forms: Vec::new(),
            drawn_forms: 0,
            codes: Vec::new(),
        }
    }

    pub fn store(&self) -> &'d Store {
        self.store
    }

    pub fn layers(&self) -> &'p Layers {
        self.layers
    }

    /// Runs a page's content and draws its annotations; gives the texts of fields that have no appearance.
    pub fn run_page(&mut self, page: &Page, content: &[u8]) -> Result<Vec<String>, Error> {
        let none = Dict::new();
        let resources = page.resources.as_ref().unwrap_or(&none);
        // Text beyond the crop box is kept: it is printed on no page that is seen, but it may be all there is.
        let sheet = page.media_box;
        let mut state = State::new(Matrix::IDENTITY);
        state.clip_to([sheet.llx, sheet.lly, sheet.urx, sheet.ury]);
        self.run(content, resources, state)?;
        self.run_annotations(page, resources)
    }

    /// Runs one content stream with its resources.
    pub fn run(&mut self, content: &[u8], resources: &Dict, mut state: State) -> Result<(), Error> {
        let mut resources = Resources::new(self.store, resources);
        let mut saved: Vec<State> = Vec::new();
        let mut cursor = Cursor::START;
        let mut path = Path::default();
        let open = self.marked.len();
        let mut tokens = Tokens::new(content);
        while let Some(operator) = tokens.next_operator() {
            let operands = &tokens.operands;
            match operator {
                b"q" if saved.len() < MAX_SAVED => saved.push(state),
                b"Q" => state = saved.pop().unwrap_or(state),
                b"cm" => {
                    if let Some(matrix) = operands.numbers().map(matrix) {
                        state.matrix = matrix.then(&state.matrix);
                    }
                }
                b"re" => path.rectangle(operands.numbers()),
                b"m" | b"l" => path.points::<2>(operands.numbers()),
                b"c" => path.points::<6>(operands.numbers()),
                b"v" | b"y" => path.points::<4>(operands.numbers()),
                b"W" | b"W*" => path.clips = true,
                b"n" => path.end(&mut state),
                b"f" | b"F" | b"f*" | b"S" | b"s" | b"B" | b"B*" | b"b" | b"b*" => {
                    self.page.has_shapes |= path.is_drawn();
                    path.end(&mut state);
                }
                b"sh" => self.page.has_shapes = true,
                b"BI" => self.page.has_images |= !self.is_hidden(),
                b"BT" => cursor = Cursor::START,
                b"Tf" => {
                    if let Some([size]) = operands.numbers() {
                        state.size = size;
                    }
                    if let Some(name) = operands.first_name() {
                        state.font = self.font(&mut resources, name);
                    }
                }
                b"Tj" | b"TJ" | b"'" | b"\"" => self.show(operator, &tokens, &mut state, &mut cursor)?,
                b"Do" => {
                    if let Some(name) = operands.first_name() {
                        let object = resources.objects.get(&decoded_name(name)).cloned();
                        self.draw(object.as_ref(), &resources, state)?;
                    }
                }
                b"gs" => self.set_state(operands.first_name(), &resources, &mut state),
                b"BMC" | b"BDC" => {
                    let marked = self.marked_content(operands.all(), &resources);
                    self.marked.push(marked);
                }
                b"EMC" if self.marked.len() > open => drop(self.marked.pop()),
                _ => set_text_state(operator, operands, &mut state, &mut cursor),
            }
        }
        self.marked.truncate(open);
        Ok(())
    }

    fn font(&mut self, resources: &mut Resources<'_>, name: &[u8]) -> Option<FaceId> {
        if let Some((_, font)) = resources.known_fonts.iter().find(|(known, _)| known == name) {
            return *font;
        }
        let font = resources.fonts.get(&decoded_name(name)).and_then(|font| self.fonts.load(font));
        resources.known_fonts.push((name.to_vec(), font));
        font
    }

    /// A graphics state parameter dictionary may set the font.
    fn set_state(&mut self, name: Option<&[u8]>, resources: &Resources<'_>, state: &mut State) {
        let dict = name.and_then(|name| self.store.resolve_dict(resources.states.get(&decoded_name(name))?));
        if let Some([font, size]) = dict.as_ref().and_then(|dict| dict.get_array(b"Font")) {
            state.font = self.fonts.load(font);
            state.size = size.as_f64().unwrap_or(state.size);
        }
    }

    fn marked_content(&self, operands: &[Operand<'_>], resources: &Resources<'_>) -> Marked {
        let Some(Operand::Name(tag)) = operands.first() else { return Marked::Plain };
        let (properties, inline) = match operands.get(1) {
            Some(Operand::Name(name)) => (resources.properties.get(&decoded_name(name)).cloned(), None),
            Some(Operand::Dict(source)) => (None, inline_dict(source, self.store)),
            _ => return Marked::Plain,
        };
        if *tag == b"OC" {
            let shown = properties.is_none_or(|group| self.layers.shows(self.store, &group));
            return if shown { Marked::Plain } else { Marked::Hidden };
        }
        let dict = inline.or_else(|| self.store.resolve_dict(properties.as_ref()?));
        let text = dict.as_ref().and_then(|dict| dict.get(b"ActualText")).map(|text| self.store.resolve(text));
        match text {
            Some(Object::String(text)) => Marked::Replaced(Some(Letters::of(Some(decode_text_string(&text.bytes))))),
            _ => Marked::Plain,
        }
    }

    fn is_hidden(&self) -> bool {
        self.marked.iter().any(|marked| matches!(marked, Marked::Hidden))
    }

    /// The operators that show text: `Tj`, `TJ`, `'` and `"`.
    fn show(
        &mut self,
        operator: &[u8],
        tokens: &Tokens<'_>,
        state: &mut State,
        cursor: &mut Cursor,
    ) -> Result<(), Error> {
        if let ([Operand::Number(word), Operand::Number(character), _], b"\"") = (tokens.operands.all(), operator) {
            (state.word_spacing, state.character_spacing) = (*word, *character);
        }
        if matches!(operator, b"'" | b"\"") {
            cursor.move_line(0.0, -state.leading);
        }
        let Some(font) = state.font else { return Ok(()) };
        if operator != b"TJ" {
            let string = tokens.operands.last_string().unwrap_or_default();
            return self.show_string(string, font, state, cursor);
        }
        let vertical = self.fonts.is_vertical(font);
        for operand in tokens.operands.all() {
            match operand {
                Operand::String(range) => {
                    let string = tokens.operands.string(range).unwrap_or_default();
                    self.show_string(string, font, state, cursor)?;
                }
                Operand::Number(adjust) => {
                    let shift = -adjust / 1000.0 * state.size;
                    let (x, y) = if vertical { (0.0, shift) } else { (shift * state.scale, 0.0) };
                    cursor.text = Matrix::translate(x, y).then(&cursor.text);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn show_string(&mut self, string: &[u8], font: FaceId, state: &State, cursor: &mut Cursor) -> Result<(), Error> {
        let vertical = self.fonts.is_vertical(font);
        let hidden = self.is_hidden();
        let mut codes = std::mem::take(&mut self.codes);
        self.fonts.split(font, string, &mut codes);
        let mut to_page = cursor.text.then(&state.matrix);
        let (x, y) = to_page.apply_vector(0.0, state.size);
        let size = x.hypot(y);
        for &(code, length) in &codes {
            let shown = self.fonts.shown(font, code);
            let word_spacing = if length == 1 && code == 32 { state.word_spacing } else { 0.0 };
            let width = shown.advance * state.size;
            let advance = width + state.character_spacing + word_spacing;
            let along = |distance: f64| if vertical { (0.0, distance) } else { (distance * state.scale, 0.0) };
            let origin = to_page.apply(0.0, state.rise);
            // Spacing is a gap between glyphs and no part of them, for it may be one between words.
            let (x, y) = along(width);
            let next = to_page.apply(x, y + state.rise);
            let (x, y) = along(advance);
            cursor.text = Matrix::translate(x, y).then(&cursor.text);
            to_page = cursor.text.then(&state.matrix);
            if !hidden && state.shows(origin) {
                self.add(&shown.letters, origin, next, size)?;
            }
        }
        self.codes = codes;
        Ok(())
    }

    fn add(&mut self, letters: &Letters, origin: (f64, f64), next: (f64, f64), size: f64) -> Result<(), Error> {
        let (origin, next) = (self.display.point(origin), self.display.point(next));
        if ![origin.0, origin.1, next.0, next.1, size].iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        if self.page.glyphs.len() >= self.max_glyphs {
            return Err(Error::Limit(LimitKind::Objects));
        }
        let replaced = self.marked.iter_mut().rev().find_map(|marked| match marked {
            Marked::Replaced(text) => Some(text),
            _ => None,
        });
        match replaced.map(Option::take) {
            Some(Some(text)) => self.page.push(&text, origin, next, size),
            // The text stands there already; it reaches as far as its glyphs.
            Some(None) => {
                if let Some(last) = self.page.glyphs.last_mut() {
                    last.next = next;
                }
            }
            None => {
                self.page.has_unknown_glyphs |= *letters == Letters::None;
                self.page.push(letters, origin, next, size);
            }
        }
        Ok(())
    }

    /// Draws a picture or a form.
    fn draw(&mut self, object: Option<&Object>, outer: &Resources<'_>, state: State) -> Result<(), Error> {
        let Some(id) = object.and_then(Object::as_ref) else { return Ok(()) };
        let Ok(object) = self.store.get(id) else { return Ok(()) };
        let Object::Stream(stream) = &*object else { return Ok(()) };
        let shown = stream.dict.get(b"OC").is_none_or(|group| self.layers.shows(self.store, group));
        if !shown || self.is_hidden() {
            return Ok(());
        }
        match stream.dict.get_name(b"Subtype") {
            Some(b"Image") => self.page.has_images = true,
            Some(b"Form") => self.draw_form(id, stream, outer.dict, state)?,
            _ => {}
        }
        Ok(())
    }

    /// Draws a form, or an annotation's appearance, whose own matrix and box are still to be applied.
    pub fn draw_form(&mut self, id: ObjId, form: &Stream, outer: &Dict, mut state: State) -> Result<(), Error> {
        if self.forms.contains(&id) || self.forms.len() >= MAX_FORM_DEPTH {
            return Ok(());
        }
        self.drawn_forms += 1;
        if self.drawn_forms > MAX_FORMS {
            return Err(Error::Limit(LimitKind::Objects));
        }
        let Ok(content) = self.store.decode_stream(form) else { return Ok(()) };
        let own = form.dict.get(b"Resources").and_then(|resources| self.store.resolve_dict(resources));
        if let Some(numbers) = numbers::<6>(self.store, form.dict.get(b"Matrix")) {
            state.matrix = matrix(numbers).then(&state.matrix);
        }
        if let Some(edges) = numbers::<4>(self.store, form.dict.get(b"BBox")) {
            state.clip_to(edges);
        }
        self.forms.push(id);
        let result = self.run(&content.data, own.as_ref().unwrap_or(outer), state);
        self.forms.pop();
        result
    }
}

/// A dictionary that stands in the content itself.
fn inline_dict(source: &[u8], store: &Store) -> Option<Dict> {
    let mut parser = Parser::new(source, 0, store.limits(), Strictness::Lenient);
    match parser.parse_object() {
        Ok(Object::Dict(dict)) => Some(dict),
        _ => None,
    }
}
