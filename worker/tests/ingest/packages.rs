//! Packages of parts that mean harm, and rich text that does: spreadsheets, presentations, books.

use crate::make::{ods, package, xlsx};
use crate::{code, extract_bytes, limits};

#[tokio::test]
async fn cells_and_rows_that_are_repeated_for_ever_end() {
    let cell = |text: &str, times: u32| {
        format!(
            r#"<table:table-cell table:number-columns-repeated="{times}"><text:p>{text}</text:p></table:table-cell>"#
        )
    };
    let row = |cells: &str, times: u32| {
        format!(r#"<table:table-row table:number-rows-repeated="{times}">{cells}</table:table-row>"#)
    };
    let sheet = |rows: &str| ods(&format!(r#"<table:table table:name="One">{rows}</table:table>"#));

    let padded = sheet(&format!("{}{}", row(&cell("", u32::MAX), u32::MAX), row(&cell("end", 1), 1)));
    assert_eq!(extract_bytes(&padded, limits()).await.unwrap().text, "One\n\nend");

    let repeated = sheet(&row(&cell("word", u32::MAX), u32::MAX));
    let document = extract_bytes(&repeated, limits()).await.unwrap();
    assert_eq!(document.words, 1_000_000 + 1, "a thousand of each");

    let many = sheet(&row(&cell("word", 1_000), 1_000).repeat(30));
    assert_eq!(code(&extract_bytes(&many, limits()).await), "too_large");
}

#[tokio::test]
async fn a_sheet_at_the_edge_of_the_grid_is_a_few_lines() {
    let cell =
        |place: &str, text: &str| format!(r#"<row><c r="{place}" t="inlineStr"><is><t>{text}</t></is></c></row>"#);
    let wide = xlsx(&[cell("A1", "first"), cell("XFD1048576", "last")].concat(), "<sst/>");
    let document = extract_bytes(&wide, limits()).await.unwrap();
    assert_eq!(document.text, format!("One\n\nfirst\n{}last", "\t".repeat(50)));
}

#[tokio::test]
async fn a_spreadsheet_bomb_is_a_typed_failure() {
    let strings = format!("<sst><si><t>{}</t></si></sst>", "a".repeat(400 << 20));
    let bomb = xlsx(r#"<row><c r="A1" t="s"><v>0</v></c></row>"#, &strings);
    assert!(bomb.len() < 1 << 20, "it is no bomb: {}", bomb.len());
    let result = extract_bytes(&bomb, limits()).await;
    assert!(["limit_memory", "too_large", "limit_time"].contains(&code(&result)), "{result:?}");
}

#[tokio::test]
async fn entities_of_a_document_type_give_nothing() {
    let content =
        br#"<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd"><!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>
        <office:document-content><text:p>before &file;&b; after</text:p></office:document-content>"#;
    let file = package(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", content)]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "before after");
}

#[tokio::test]
async fn a_book_reads_nothing_but_its_own_parts() {
    let container = br#"<container><rootfiles><rootfile full-path="../../etc/book.opf"/></rootfiles></container>"#;
    let opf = br#"<package><metadata><dc:title>Mill</dc:title></metadata><manifest>
        <item id="a" href="../../../etc/passwd" media-type="application/xhtml+xml"/>
        <item id="b" href="file:///etc/passwd" media-type="application/xhtml+xml"/>
        <item id="c" href="one%20two.xhtml" media-type="application/xhtml+xml"/></manifest>
        <spine><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/><itemref idref="none"/></spine></package>"#;
    let book = package(&[
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", container),
        ("../../etc/book.opf", opf),
        ("../../etc/one two.xhtml", b"<html><body><p>The wheel turns.</p></body></html>"),
    ]);
    let document = extract_bytes(&book, limits()).await.unwrap();
    assert_eq!((document.text.as_str(), document.metadata.title.as_deref()), ("The wheel turns.", Some("Mill")));
    assert_eq!((document.pages.len(), document.warnings.len()), (3, 2));
}

#[tokio::test]
async fn what_is_encrypted_is_told_as_such() {
    let manifest = br#"<manifest:manifest><manifest:file-entry manifest:full-path="content.xml"><manifest:encryption-data/></manifest:file-entry></manifest:manifest>"#;
    let text = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("META-INF/manifest.xml", manifest),
        ("content.xml", b"\x00\x01garbage"),
    ]);
    assert_eq!(code(&extract_bytes(&text, limits()).await), "encrypted");
}

#[tokio::test]
async fn nesting_without_end_overflows_nothing() {
    for element in ["table:table", "table:table-row", "text:list", "text:list-item", "text:p", "text:note"] {
        let content = format!("<{element}>").repeat(500_000);
        let file =
            package(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", content.as_bytes())]);
        let result = extract_bytes(&file, limits()).await;
        assert_eq!(code(&result), "malformed", "{element}: {result:?}");
    }
}

#[tokio::test]
async fn groups_without_end_and_numbers_without_sense_end_typed() {
    for (text, expected) in [
        ("{\\rtf1 ".repeat(1_000_000), "malformed"),
        (format!("{{\\rtf1 one{}", "}".repeat(1_000_000)), "ok"),
        ("{\\rtf1 one}".to_owned(), "ok"),
        ("{\\rtf1 one".to_owned(), "malformed"),
        ("{\\rtf1 \\bin2147483647 x".to_owned(), "malformed"),
        ("{\\rtf1 \\uc2147483647\\u-99999999 \\u55357 \\f-7 one}".to_owned(), "ok"),
    ] {
        let result = extract_bytes(text.as_bytes(), limits()).await;
        assert_eq!(code(&result), expected, "{:?}", &text[..text.len().min(40)]);
    }
}

#[tokio::test]
async fn rich_text_is_read_in_the_code_pages_of_its_fonts() {
    let text = concat!(
        r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 Serif;}{\f1\fcharset204 Serif;}{\f2\fcharset128 Serif;}}",
        r"{\info{\title M\'fchle}}{\f0 M\'fchle }{\f1\'ee\'ea\'ee }{\f2\'90\'85}\par{\v hidden}{\deleted gone}",
        r"\uc1\u-10179?\u-8704? end{\*\unknown left out}{\pict 0102}\page two\~words}",
    );
    let document = extract_bytes(text.as_bytes(), limits()).await.unwrap();
    assert_eq!(document.metadata.title.as_deref(), Some("Mühle"));
    assert_eq!(document.text, "Mühle око 水\n\n😀 end\n\ntwo words");
    assert_eq!(document.pages.len(), 2);
}

#[tokio::test]
async fn a_document_states_who_wrote_it_and_when() {
    let meta = br"<office:document-meta><office:meta><dc:creator>Whoever changed it</dc:creator>
        <meta:initial-creator>The millers</meta:initial-creator><meta:creation-date>2026-03-01T08:00:00</meta:creation-date>
        <dc:date>2026-03-02T09:30:00.5</dc:date><dc:language>de-AT</dc:language></office:meta></office:document-meta>";
    let file = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("meta.xml", meta),
        ("content.xml", b"<office:document-content><text:p>Wasser</text:p></office:document-content>"),
    ]);
    let stated = extract_bytes(&file, limits()).await.unwrap().metadata;
    assert_eq!((stated.author.as_deref(), stated.language.as_deref()), (Some("The millers"), Some("de")));
    assert_eq!(stated.created.unwrap().to_rfc3339(), "2026-03-01T08:00:00+00:00");
    assert_eq!(stated.modified.unwrap().to_rfc3339(), "2026-03-02T09:30:00.500+00:00");
}

#[tokio::test]
async fn what_stands_twice_is_read_once_and_what_describes_a_picture_is_no_text() {
    let slide = br#"<p:sld><p:sp><p:txBody><mc:AlternateContent><mc:Choice><a:p><a:t>once</a:t></a:p></mc:Choice>
        <mc:Fallback><a:p><a:t>twice</a:t></a:p></mc:Fallback></mc:AlternateContent></p:txBody></p:sp>
        <p:sp><p:nvPr><p:ph type="sldNum"/></p:nvPr><a:p><a:t>7</a:t></a:p></p:sp></p:sld>"#;
    let relation = |id: &str, kind: &str, target: &str| {
        format!(r#"<Relationships><Relationship Id="{id}" Type="x/{kind}" Target="{target}"/></Relationships>"#)
    };
    let show = package(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", relation("r1", "officeDocument", "ppt/presentation.xml").as_bytes()),
        (
            "ppt/presentation.xml",
            br#"<p:presentation><p:sldIdLst><p:sldId id="256" r:id="s1"/></p:sldIdLst></p:presentation>"#,
        ),
        ("ppt/_rels/presentation.xml.rels", relation("s1", "slide", "slides/slide1.xml").as_bytes()),
        ("ppt/slides/slide1.xml", slide),
    ]);
    assert_eq!(extract_bytes(&show, limits()).await.unwrap().text, "once");

    let content = br"<office:document-content><text:p>before <draw:frame><svg:title>A picture</svg:title><svg:desc>of a mill</svg:desc>
        <draw:image><office:binary-data>aGVsbG8=</office:binary-data></draw:image></draw:frame>after</text:p></office:document-content>";
    let text = package(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", content)]);
    assert_eq!(extract_bytes(&text, limits()).await.unwrap().text, "before after");
}

#[tokio::test]
async fn comments_stand_behind_the_text_with_who_wrote_them() {
    const TYPE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let root = format!(
        r#"<Relationships><Relationship Id="r1" Type="{TYPE}/officeDocument" Target="word/document.xml"/></Relationships>"#
    );
    let relations = format!(
        r#"<Relationships><Relationship Id="r1" Type="{TYPE}/comments" Target="comments.xml"/></Relationships>"#
    );
    let body = r#"<w:document><w:body><w:p><w:commentRangeStart w:id="0"/><w:r><w:t>The sluice</w:t></w:r><w:commentRangeEnd w:id="0"/>
        <w:r><w:commentReference w:id="0"/></w:r></w:p></w:body></w:document>"#;
    let comments = r#"<w:comments><w:comment w:id="0" w:author="Mill office"><w:p><w:r><w:t>Which one?</w:t></w:r></w:p></w:comment>
        <w:comment w:id="1"><w:p><w:r><w:t>The upper one.</w:t></w:r></w:p></w:comment></w:comments>"#;
    let file = package(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        ("word/document.xml", body.as_bytes()),
        ("word/_rels/document.xml.rels", relations.as_bytes()),
        ("word/comments.xml", comments.as_bytes()),
    ]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "The sluice\n\n[Mill office] Which one?\n\nThe upper one.");
}
