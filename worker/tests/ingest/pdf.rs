//! What a PDF shows and how: cases that real files are full of, each in a page of its own.

use millrace_worker::ingest::{Document, WarningCode};

use crate::make::pdf_page;
use crate::{extract_bytes, limits};

const FONT: &str = "/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>";

async fn read(content: &str, resources: &str, page_entries: &str, objects: &[&str]) -> Document {
    extract_bytes(&pdf_page(content, resources, page_entries, objects), limits()).await.unwrap()
}

async fn text(content: &str) -> String {
    read(content, FONT, "", &["null"]).await.text
}

#[tokio::test]
async fn narrow_gaps_are_blanks_and_letters_that_are_spaced_out_are_words() {
    assert_eq!(text("BT /F 10 Tf 9 300 Td [(the) -160 (water) -160 (wheel)] TJ ET").await, "the water wheel");
    assert_eq!(
        text("BT /F 10 Tf 9 300 Td [(w) -140 (h) -140 (e) -140 (e) -140 (l) -420 (house)] TJ ET").await,
        "wheel house"
    );
    // Spacing between characters is no part of a letter; nor is it a blank as long as every letter has it.
    assert_eq!(text("BT /F 10 Tf 1.2 Tc 9 300 Td (water) Tj 0 Tc -1.1 Tc (ra) Tj 0 Tc 5.4 0 Td ET").await, "waterra");
}

#[tokio::test]
async fn what_is_drawn_twice_or_in_pieces_is_read_once_and_whole() {
    assert_eq!(text("BT /F 10 Tf 9 300 Td (Bold) Tj 0.3 0 Td (Bold) Tj ET").await, "Bold");
    // Helvetica's `l` is 222 thousandths wide.
    let pieces = "BT /F 10 Tf 9 300 Td (l) Tj 0 -40 Td (below) Tj 2.22 40 Td (oans) Tj ET";
    assert_eq!(text(pieces).await, "loans\nbelow");
}

#[tokio::test]
async fn a_layer_that_is_off_is_no_text() {
    let group = "<< /Type /OCG /Name (Draft) >>";
    let content = "/OC /Off BDC BT /F 10 Tf 9 300 Td (secret) Tj ET EMC BT /F 10 Tf 9 200 Td (seen) Tj ET";
    let document = read(content, &format!("{FONT} /Properties << /Off 5 0 R >>"), "", &[group]).await;
    assert_eq!(document.text, "seen");
}

#[tokio::test]
async fn fields_without_an_appearance_show_their_values() {
    let fields = [
        "null",
        "<< /Type /Annot /Subtype /Widget /FT /Tx /Rect [9 9 99 29] /V (Ada) >>",
        "<< /Type /Annot /Subtype /Widget /FT /Tx /Ff 8192 /Rect [9 9 99 29] /V (pass) >>",
        "<< /Type /Annot /Subtype /Widget /FT /Ch /Ff 0 /Rect [9 9 99 29] /Opt [(oak) [(b) (beech)]] >>",
        "<< /Type /Annot /Subtype /Widget /FT /Ch /Ff 131072 /Rect [9 9 99 29] /Opt [(ash) (elm)] /V (elm) >>",
        "<< /Type /Annot /Subtype /FreeText /F 2 /Rect [9 9 99 29] /Contents (hidden) >>",
        "<< /Type /Annot /Subtype /FreeText /Rect [9 9 99 29] /Contents (note) >>",
    ];
    let entries = "/Annots [6 0 R 7 0 R 8 0 R 9 0 R 10 0 R 11 0 R]";
    let document = read("BT /F 10 Tf 9 300 Td (Name) Tj ET", FONT, entries, &fields).await;
    assert_eq!(document.text, "Name\nAda\noak\nbeech\nelm\nnote");
}

#[tokio::test]
async fn replacement_text_stands_for_its_glyphs() {
    let content = "BT /F 10 Tf 9 300 Td /Span << /ActualText (wheel \\(2\\)) >> BDC (x) Tj (y) Tj EMC ( turns) Tj ET";
    assert_eq!(text(content).await, "wheel (2) turns");
}

#[tokio::test]
async fn character_sets_from_before_unicode_are_read_without_their_tables() {
    let font = "/Font << /F << /Type /Font /Subtype /Type0 /BaseFont /Ryumin /Encoding /90ms-RKSJ-H /DescendantFonts \
                [<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Ryumin /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) \
                /Supplement 2 >> >>] >> >>";
    let document = read("BT /F 10 Tf 9 300 Td <90858ed4> Tj ET", font, "", &["null"]).await;
    assert_eq!(document.text, "水車");
}

#[tokio::test]
async fn a_page_that_shows_something_and_gives_no_text_is_told() {
    let picture = "/XObject << /P 6 0 R >>";
    let image = "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray /Length 1 >>\nstream\nx\nendstream";
    let nameless = "/Font << /F << /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts \
                    [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X >>] >> >>";
    for (content, resources, expected) in [
        ("/P Do", picture, Some(WarningCode::NeedsOcr)),
        ("BT /F 10 Tf 9 300 Td <0012> Tj ET", nameless, Some(WarningCode::NeedsOcr)),
        ("9 9 90 90 re f", "", Some(WarningCode::PageWithoutText)),
        ("", "", None),
        // A picture that is there and never drawn.
        ("q Q", picture, None),
    ] {
        let document = read(content, resources, "", &["null", image]).await;
        assert_eq!(document.text, "");
        assert_eq!(document.warnings.first().map(|warning| warning.code), expected, "{content}");
    }
}

#[tokio::test]
async fn bookmarks_head_what_stands_below_their_place() {
    let objects = [
        "null",
        "<< /Type /Outlines /First 7 0 R /Last 9 0 R >>",
        "<< /Title (One) /Parent 6 0 R /Next 9 0 R /First 8 0 R /Last 8 0 R /Dest [3 0 R /Fit] >>",
        "<< /Title (Inner) /Parent 7 0 R /A << /S /GoTo /D [3 0 R /XYZ 0 260 0] >> >>",
        "<< /Title (Two) /Parent 6 0 R /Prev 7 0 R /Dest (second) >>",
        "<< /Names [(second) << /D [3 0 R /FitH 160] >>] >>",
    ];
    let content = "BT /F 10 Tf 9 300 Td (first) Tj 0 -50 Td (inner) Tj 0 -50 Td (still) Tj 0 -50 Td (second) Tj ET";
    let file = pdf_page(content, FONT, "", &objects);
    let catalog = "/Type /Catalog";
    let at = file.windows(catalog.len()).position(|window| window == catalog.as_bytes()).unwrap() + catalog.len();
    let mut file = file;
    // The cross-reference table is off by this, which the parser makes up for.
    file.splice(at..at, b" /Outlines 6 0 R /Names << /Dests 10 0 R >>".iter().copied());
    let document = extract_bytes(&file, limits()).await.unwrap();
    let headings: Vec<(u8, &str)> =
        document.headings.iter().map(|heading| (heading.level, heading.title.as_str())).collect();
    assert_eq!(headings, [(1, "One"), (2, "Inner"), (1, "Two")]);
    let at = |word: &str| document.text.find(word).unwrap();
    let starts: Vec<usize> = document.headings.iter().map(|heading| heading.start as usize).collect();
    assert_eq!(starts, [at("first"), at("inner"), at("second")]);
}
