//! Fonts: how a shown string splits into codes, how far each code advances, and which letters it stands for.
//!
//! Reading a font's dictionary, its encoding and its ToUnicode map is the parser's. Here is what makes it quick and more
//! complete: answers are kept by code, as a page asks for the same sixty letters thousands of times, and the character sets of East Asia
//! that predate Unicode (`90ms-RKSJ-H`, `GBK-EUC-H`, …; ISO 32000-2, table 116) are decoded without their CMap files.

use std::collections::HashMap;
use std::sync::Arc;

use encoding_rs::Encoding;
use otf_pdf_content::Font;
use otf_pdf_doc::Store;
use otf_pdf_font::load_font;
use otf_pdf_syntax::{Dict, ObjId, Object};

/// The letters of one code.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Letters {
    None,
    One(char),
    Many(Box<str>),
}

impl Letters {
    pub fn of(text: Option<String>) -> Self {
        // A soft hyphen that is drawn is a hyphen that is seen.
        let Some(text) = text.map(|text| text.replace('\u{ad}', "-")) else { return Self::None };
        let mut visible = text.chars().filter(|c| !c.is_control() || *c == '\t');
        match (visible.next(), visible.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(_), Some(_)) => {
                Self::Many(text.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>().into())
            }
        }
    }
}

/// What showing a code does.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub letters: Letters,
    /// By how much of the font size the next glyph is further along; negative is down where the font is vertical.
    pub advance: f64,
}

/// Which font of [`Fonts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FaceId(usize);

/// The fonts of a document, each loaded once.
pub(super) struct Fonts<'d> {
    store: &'d Store,
    faces: Vec<Face>,
    by_object: HashMap<ObjId, FaceId>,
}

/// How a string splits into codes.
#[derive(Debug, Clone, Copy)]
enum Split {
    Bytes,
    Pairs,
    Legacy(Legacy),
    /// By a CMap of the file.
    Declared,
}

struct Face {
    font: Arc<dyn Font>,
    split: Split,
    vertical: bool,
    has_unicode_map: bool,
    /// Answers by the code's high byte and low byte.
    known: Vec<Option<Box<[Option<Shown>; 256]>>>,
}

impl<'d> Fonts<'d> {
    pub fn new(store: &'d Store) -> Self {
        Self { store, faces: Vec::new(), by_object: HashMap::new() }
    }

    /// The font of a font dictionary, or of a reference to one.
    pub fn load(&mut self, font: &Object) -> Option<FaceId> {
        let object = font.as_ref();
        if let Some(known) = object.and_then(|id| self.by_object.get(&id)) {
            return Some(*known);
        }
        let dict = self.store.resolve_dict(font)?;
        let id = FaceId(self.faces.len());
        self.faces.push(Face::load(self.store, &dict));
        if let Some(object) = object {
            self.by_object.insert(object, id);
        }
        Some(id)
    }

    pub fn is_vertical(&self, FaceId(face): FaceId) -> bool {
        self.faces[face].vertical
    }

    /// Splits a string into codes: pairs of a code and how many bytes it took.
    pub fn split(&self, FaceId(face): FaceId, bytes: &[u8], codes: &mut Vec<(u32, usize)>) {
        let face = &self.faces[face];
        codes.clear();
        match face.split {
            Split::Bytes => codes.extend(bytes.iter().map(|&byte| (u32::from(byte), 1))),
            Split::Pairs => codes.extend(bytes.chunks(2).map(|pair| (number(pair), pair.len()))),
            Split::Legacy(legacy) => legacy.split(bytes, codes),
            Split::Declared => codes.extend(face.font.codes(bytes)),
        }
    }

    pub fn shown(&mut self, FaceId(face): FaceId, code: u32) -> Shown {
        self.faces[face].shown(code)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |code, &byte| code << 8 | u32::from(byte))
}

impl Face {
    fn load(store: &Store, dict: &Dict) -> Self {
        let font = load_font(store, dict);
        let vertical = font.is_vertical();
        let has_unicode_map = dict.contains_key(b"ToUnicode");
        Self { split: Split::of(store, dict), font, vertical, has_unicode_map, known: Vec::new() }
    }

    fn shown(&mut self, code: u32) -> Shown {
        let (high, low) = ((code >> 8) as usize, (code & 0xff) as usize);
        if high > 0xff {
            return self.ask(code);
        }
        if self.known.len() <= high {
            self.known.resize_with(high + 1, || None);
        }
        if let Some(known) = self.known[high].as_ref().and_then(|known| known[low].as_ref()) {
            return known.clone();
        }
        let shown = self.ask(code);
        self.known[high].get_or_insert_with(|| Box::new([const { None }; 256]))[low] = Some(shown.clone());
        shown
    }

    fn ask(&self, code: u32) -> Shown {
        let advance = if self.vertical { self.font.vertical_advance(code) } else { self.font.width(code) };
        match self.split {
            Split::Legacy(legacy) if !self.has_unicode_map => {
                let narrow = code < 0x100 && !self.vertical;
                Shown { letters: legacy.letters(code), advance: if narrow { advance.min(0.5) } else { advance } }
            }
            _ => Shown { letters: Letters::of(self.font.unicode(code)), advance },
        }
    }
}

impl Split {
    fn of(store: &Store, dict: &Dict) -> Self {
        if dict.get_name(b"Subtype") != Some(b"Type0") {
            return Self::Bytes;
        }
        match dict.get(b"Encoding").map(|encoding| store.resolve(encoding)) {
            Some(Object::Name(name)) => {
                let name = name.as_bytes();
                let is_unicode =
                    [&b"UCS2"[..], b"UTF16"].iter().any(|kind| name.windows(kind.len()).any(|w| w == *kind));
                match Legacy::named(name) {
                    Some(legacy) => Self::Legacy(legacy),
                    None if is_unicode || name.starts_with(b"Identity") => Self::Pairs,
                    None => Self::Declared,
                }
            }
            _ => Self::Declared,
        }
    }
}

/// A character set of East Asia that is older than Unicode.
#[derive(Debug, Clone, Copy)]
struct Legacy {
    encoding: &'static Encoding,
    /// Bytes that start a code of two.
    leads: [(u8, u8); 2],
    /// Two bytes always, without the high bits (`H` and `V` of JIS X 0208).
    rows_and_cells: bool,
}

impl Legacy {
    fn named(name: &[u8]) -> Option<Self> {
        let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
        let of = |encoding, leads| Some(Self { encoding, leads, rows_and_cells: false });
        const EUC: [(u8, u8); 2] = [(0x81, 0xfe), (0x81, 0xfe)];
        match name {
            b"H" | b"V" => Some(Self { encoding: encoding_rs::EUC_JP, leads: EUC, rows_and_cells: true }),
            b"EUC-H" | b"EUC-V" => of(encoding_rs::EUC_JP, [(0x8e, 0x8e), (0xa1, 0xfe)]),
            _ if has(b"RKSJ") => of(encoding_rs::SHIFT_JIS, [(0x81, 0x9f), (0xe0, 0xfc)]),
            _ if has(b"UCS2") || has(b"UTF") || name.starts_with(b"Uni") => None,
            _ if name.starts_with(b"GB") => of(encoding_rs::GBK, EUC),
            _ if has(b"B5") || name.starts_with(b"HK") => of(encoding_rs::BIG5, EUC),
            _ if name.starts_with(b"KSC") => of(encoding_rs::EUC_KR, EUC),
            _ => None,
        }
    }

    fn split(self, bytes: &[u8], codes: &mut Vec<(u32, usize)>) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let is_lead = self.rows_and_cells || self.leads.iter().any(|(from, to)| (*from..=*to).contains(&first));
            let (code, after) = rest.split_at(if is_lead { rest.len().min(2) } else { 1 });
            codes.push((number(code), code.len()));
            rest = after;
        }
    }

    fn letters(self, code: u32) -> Letters {
        let high_bits = if self.rows_and_cells { 0x8080 } else { 0 };
        let bytes = (code | high_bits).to_be_bytes();
        let bytes = if code > 0xff || self.rows_and_cells { &bytes[2..] } else { &bytes[3..] };
        let (text, failed) = self.encoding.decode_without_bom_handling(bytes);
        if failed { Letters::None } else { Letters::of(Some(text.into_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> String {
        let legacy = Legacy::named(name.as_bytes()).unwrap();
        let mut codes = Vec::new();
        legacy.split(bytes, &mut codes);
        let letters = codes.iter().map(|(code, _)| match legacy.letters(*code) {
            Letters::None => "\u{fffd}".to_owned(),
            Letters::One(one) => one.to_string(),
            Letters::Many(many) => many.into(),
        });
        letters.collect()
    }

    #[test]
    fn character_sets_from_before_unicode_are_read() {
        assert_eq!(read("90ms-RKSJ-H", b"a\x90\x85\x8e\xd4\xb6"), "a水車ｶ");
        assert_eq!(read("H", b"\x3f\x65\x3c\x56"), "水車");
        assert_eq!(read("EUC-H", b"\xbf\xe5\xbc\xd6"), "水車");
        assert_eq!(read("GBK-EUC-H", b"\xcb\xae\xb3\xb5x"), "水车x");
        assert_eq!(read("ETen-B5-V", b"\xa4\xf4\xa8\xae"), "水車");
        assert_eq!(read("KSCms-UHC-H", b"\xb9\xb0"), "물");
    }

    #[test]
    fn names_of_unicode_cmaps_are_no_old_character_sets() {
        for name in ["UniJIS-UCS2-H", "UniGB-UTF16-V", "Identity-H", "Adobe-Japan1-2"] {
            assert!(Legacy::named(name.as_bytes()).is_none(), "{name}");
        }
    }
}
