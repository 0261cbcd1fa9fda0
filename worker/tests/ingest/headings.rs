//! Headings as each format tells them, beyond what the documents of the fixtures have.

use millrace_worker::ingest::Document;

use crate::make::package;
use crate::{extract_bytes, limits};

/// Levels and titles.
fn headings(document: &Document) -> Vec<(u8, &str)> {
    document.headings.iter().map(|heading| (heading.level, heading.title.as_str())).collect()
}

/// How each chunk begins, and the headings that it stands under.
fn paths(document: &Document) -> Vec<(&str, Vec<&str>)> {
    document
        .chunks
        .iter()
        .map(|chunk| (chunk.text.split_whitespace().next().unwrap(), chunk.headings.titles().collect()))
        .collect()
}

#[tokio::test]
async fn paragraphs_of_a_docx_have_the_level_of_their_style_or_their_own() {
    let styles = r#"<w:styles><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
        <w:style w:styleId="Kapitel"><w:name w:val="Kapitel"/><w:basedOn w:val="berschrift1"/></w:style>
        <w:style w:styleId="Deep"><w:name w:val="Deep"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style></w:styles>"#;
    let paragraph =
        |properties: &str, text: &str| format!("<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>");
    let body = [
        paragraph(r#"<w:pStyle w:val="Kapitel"/>"#, "Inherited"),
        paragraph("", "text"),
        paragraph(r#"<w:outlineLvl w:val="1"/>"#, "Own"),
        paragraph(r#"<w:pStyle w:val="Kapitel"/><w:outlineLvl w:val="9"/>"#, "none, says the paragraph"),
        paragraph(r#"<w:pPrChange><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:pPrChange>"#, "once a heading"),
        format!("<w:tbl><w:tr><w:tc>{}</w:tc></w:tr></w:tbl>", paragraph(r#"<w:pStyle w:val="Deep"/>"#, "in a table")),
        paragraph(r#"<w:pStyle w:val="Deep"/>"#, "Deep"),
        paragraph("", "end"),
    ]
    .concat();
    let relation = |id: &str, kind: &str, target: &str| {
        format!(r#"<Relationships><Relationship Id="{id}" Type="x/{kind}" Target="{target}"/></Relationships>"#)
    };
    let file = package(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", relation("r1", "officeDocument", "word/document.xml").as_bytes()),
        ("word/document.xml", format!("<w:document><w:body>{body}</w:body></w:document>").as_bytes()),
        ("word/_rels/document.xml.rels", relation("r1", "styles", "styles.xml").as_bytes()),
        ("word/styles.xml", styles.as_bytes()),
    ]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(headings(&document), [(1, "Inherited"), (2, "Own"), (3, "Deep")]);
}

#[tokio::test]
async fn a_slide_stands_under_its_own_title_and_never_under_that_of_another() {
    let shape = |kind: &str, paragraphs: &str| {
        format!(r#"<p:sp><p:nvPr><p:ph type="{kind}"/></p:nvPr><p:txBody>{paragraphs}</p:txBody></p:sp>"#)
    };
    let titled = format!(
        "<p:sld>{}{}</p:sld>",
        shape("ctrTitle", "<a:p><a:t>The</a:t></a:p><a:p><a:t>wheel</a:t></a:p>"),
        shape("body", "<a:p><a:t>turns</a:t></a:p>")
    );
    let relation =
        |id: &str, kind: &str, target: &str| format!(r#"<Relationship Id="{id}" Type="x/{kind}" Target="{target}"/>"#);
    let relations = |all: &str| format!("<Relationships>{all}</Relationships>").into_bytes();
    let slides = [relation("s1", "slide", "slides/1.xml"), relation("s2", "slide", "slides/2.xml")].concat();
    let show = package(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", &relations(&relation("r1", "officeDocument", "ppt/presentation.xml"))),
        (
            "ppt/presentation.xml",
            br#"<p:presentation><p:sldId id="1" r:id="s1"/><p:sldId id="2" r:id="s2"/></p:presentation>"#,
        ),
        ("ppt/_rels/presentation.xml.rels", &relations(&slides)),
        ("ppt/slides/1.xml", titled.as_bytes()),
        ("ppt/slides/2.xml", format!("<p:sld>{}</p:sld>", shape("body", "<a:p><a:t>untitled</a:t></a:p>")).as_bytes()),
    ]);
    let document = extract_bytes(&show, limits()).await.unwrap();
    assert_eq!(paths(&document), [("The", vec!["The wheel"]), ("untitled", vec![])]);

    let frame = |class: &str, text: &str| {
        format!(r#"<draw:frame presentation:class="{class}"><draw:text-box>{text}</draw:text-box></draw:frame>"#)
    };
    let content = format!(
        "<office:document-content><draw:page>{}{}</draw:page><draw:page>{}</draw:page></office:document-content>",
        frame("title", "<text:p>The</text:p><text:p>wheel</text:p>"),
        frame("outline", "<text:p>turns</text:p>"),
        frame("outline", "<text:p>untitled</text:p>")
    );
    let show = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.presentation"),
        ("content.xml", content.as_bytes()),
    ]);
    let document = extract_bytes(&show, limits()).await.unwrap();
    assert_eq!(paths(&document), [("The", vec!["The wheel"]), ("untitled", vec![])]);
}

#[tokio::test]
async fn rich_text_has_headings_by_outline_level() {
    let text = concat!(
        r"{\rtf1\ansi{\stylesheet{\s1\outlinelevel0 heading 1;}}before\par\pard\outlinelevel0 First\par",
        r"\pard text {\footnote\pard note}\par{\pard\outlinelevel1{\b Sec}ond\par}\pard\outlinelevel0{\page Third}\par\pard end}",
    );
    let document = extract_bytes(text.as_bytes(), limits()).await.unwrap();
    assert_eq!(headings(&document), [(1, "First"), (2, "Second"), (1, "Third")]);
    assert_eq!(
        paths(&document),
        [("before", vec![]), ("First", vec!["First"]), ("Third", vec!["Third"]), ("[1]", vec![])]
    );
}

#[tokio::test]
async fn hypertext_has_headings_where_they_begin_a_line() {
    let page = "<!DOCTYPE html><html><body><h1>One</h1><p>text</p><table><tr><td>cell</td><td><h2>In a cell</h2></td></tr></table>\
        <ul><li><h2>no item</h2></li></ul><h2><div>Wrapped</div> twice</h2><p>text<h3></h3><h2>Open<h3>Inner</h3>text</body></html>";
    let document = extract_bytes(page.as_bytes(), limits()).await.unwrap();
    assert_eq!(headings(&document), [(1, "One"), (2, "In a cell"), (2, "Wrapped twice"), (2, "Open"), (3, "Inner")]);

    let unclosed = format!("<!DOCTYPE html><html><body><h1>never closed<p>{}</body></html>", "word ".repeat(200));
    assert_eq!(headings(&extract_bytes(unclosed.as_bytes(), limits()).await.unwrap()), []);
}
