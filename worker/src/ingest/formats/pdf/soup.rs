//! Contents of pages as no producer writes them, by the thousand.

use otf_pdf_doc::Document;
use otf_pdf_syntax::OpenOptions;
use proptest::prelude::*;

use super::font::Fonts;
use super::glyphs::PageText;
use super::interpreter::{Interpreter, Surroundings};
use super::layers::Layers;
use super::runs::runs;

/// A page with a font, a form and nothing else; without a cross-reference table, which the parser makes up for.
const FILE: &[u8] = b"%PDF-1.7\n\
    1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n\
    2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj\n\
    3 0 obj << /Type /Page /Parent 2 0 R /Resources << /Font << /F 4 0 R >> /XObject << /X 5 0 R >> >> >> endobj\n\
    4 0 obj << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> endobj\n\
    5 0 obj << /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 22 >> stream\n\
    BT /F 9 Tf (x) Tj /X Do\nendstream endobj\n\
    trailer << /Root 1 0 R >>";

/// What contents are made of, and what they should not be.
const WORDS: &str = "q|Q|cm|BT|ET|/F|Tf|Tj|TJ|'|\"|Td|TD|Tm|T*|Tc|Tw|Tz|Ts|/X|Do|BMC|BDC|EMC|/OC|<< /ActualText (a) >>|re|W|n|f|BI|ID|EI|[|]|\
                     (a b)|<41 4>|(|0|1|-7.5|1e9|99999999999999999999|-0.00001|12|gs|null|%|<<";

fn content() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&str> = WORDS.split('|').collect();
    let word = prop_oneof![
        8 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(word, 0..120).prop_map(|words| words.join(&b' '))
}

proptest! {
    #[test]
    fn content_of_any_kind_ends_with_sound_glyphs(content in content()) {
        let document = Document::open(FILE.to_vec(), OpenOptions::default()).unwrap();
        let pages = document.pages().unwrap();
        let layers = Layers::of(&document);
        let mut fonts = Fonts::new(document.store());
        let mut text = PageText::default();
        let surroundings = Surroundings { store: document.store(), layers: &layers, max_glyphs: 10_000 };
        let mut interpreter = Interpreter::new(surroundings, &mut fonts, &pages[0], &mut text);
        let _ = interpreter.run_page(&pages[0], &content);
        for glyph in &text.glyphs {
            prop_assert!(text.text.get(glyph.start..glyph.end).is_some());
            prop_assert!(glyph.origin.0.is_finite() && glyph.next.1.is_finite() && glyph.size.is_finite());
        }
        let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).count();
        let drawn = letters(&text.text);
        let read: usize = runs(&text).iter().map(|run| letters(&run.text)).sum();
        prop_assert!(read <= drawn, "{read} letters of {drawn}");
    }
}
