//! What word processors, spreadsheets and books say beside their plain text, and where their pages break.

use crate::make::package;
use crate::{code, extract_bytes, limits};

const TYPES: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

fn relations(targets: &[(&str, &str)]) -> String {
    let each = |(number, (kind, target)): (usize, &(&str, &str))| {
        format!(r#"<Relationship Id="r{number}" Type="{TYPES}/{kind}" Target="{target}"/>"#)
    };
    format!("<Relationships>{}</Relationships>", targets.iter().enumerate().map(each).collect::<String>())
}

/// A DOCX of a body and other parts: what they are, their names and contents.
fn docx(body: &str, parts: &[(&str, &str, &str)]) -> Vec<u8> {
    let document = format!("<w:document><w:body>{body}</w:body></w:document>");
    let targets: Vec<(&str, &str)> = parts.iter().map(|(kind, name, _)| (*kind, *name)).collect();
    let names: Vec<String> = parts.iter().map(|(_, name, _)| format!("word/{name}")).collect();
    let (root, own) = (relations(&[("officeDocument", "word/document.xml")]), relations(&targets));
    let mut all: Vec<(&str, &[u8])> = vec![
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", root.as_bytes()),
        ("word/document.xml", document.as_bytes()),
        ("word/_rels/document.xml.rels", own.as_bytes()),
    ];
    all.extend(names.iter().zip(parts).map(|(name, (.., content))| (name.as_str(), content.as_bytes())));
    package(&all)
}

fn clause(text: &str) -> String {
    format!(r#"<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr><w:r>{text}</w:r></w:p>"#)
}

#[tokio::test]
async fn an_item_that_spans_pages_has_one_number() {
    let numbering = r#"<w:numbering><w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:start w:val="0"/>
        <w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl></w:abstractNum>
        <w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>"#;
    let body = [
        clause("<w:t>one</w:t>"),
        clause("<w:t>two begins </w:t><w:lastRenderedPageBreak/><w:t>and ends</w:t>"),
        clause(""),
        clause("<w:t>four</w:t>"),
        format!(
            "<w:tbl><w:tr><w:tc>{}</w:tc><w:tc><w:p><w:r><w:t>five</w:t></w:r></w:p></w:tc></w:tr></w:tbl>",
            clause("")
        ),
    ];
    let file = docx(&body.concat(), &[("numbering", "numbering.xml", numbering)]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "0. one\n1. two begins\n\nand ends\n\n3. four\n\n4.\tfive");
    assert_eq!(document.pages.len(), 2);
}

#[tokio::test]
async fn a_heading_that_spans_pages_is_one_heading_in_opendocument() {
    let content = r#"<office:document-content><text:h text:outline-level="1">High <text:soft-page-break/>water</text:h>
        <text:list><text:list-item><text:p>open <text:soft-page-break/>the sluice</text:p></text:list-item>
        <text:list-item><text:p>wait</text:p></text:list-item></text:list></office:document-content>"#;
    let styles = r#"<office:document-styles><style:header><text:p>Mill</text:p></style:header>
        <style:header-left><text:p>Mill</text:p><text:p>Even</text:p></style:header-left><style:footer-first><text:p>First</text:p>
        </style:footer-first></office:document-styles>"#;
    let file = package(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("styles.xml", styles.as_bytes()),
        ("content.xml", content.as_bytes()),
    ]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "Mill\n\nEven\n\nHigh\n\nwater\n\n- open\n\nthe sluice\n- wait\n\nFirst");
    let headings: Vec<_> = document.headings.iter().map(|heading| heading.title.as_str()).collect();
    assert_eq!(headings, ["High"]);
}

#[tokio::test]
async fn diagrams_of_a_text_are_read() {
    let diagram = r"<dgm:dataModel><dgm:pt><dgm:t><a:p><a:r><a:t>Head </a:t></a:r><a:r><a:t>miller</a:t></a:r></a:p></dgm:t></dgm:pt>
        <dgm:pt><dgm:t><a:p><a:endParaRPr/></a:p></dgm:t></dgm:pt><dgm:pt><dgm:t><a:p><a:r><a:t>Apprentice</a:t></a:r></a:p></dgm:t></dgm:pt>
        </dgm:dataModel>";
    let file = docx("<w:p><w:r><w:t>Who does what</w:t></w:r></w:p>", &[("diagramData", "data1.xml", diagram)]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "Who does what\n\nHead miller\nApprentice");
}

#[tokio::test]
async fn what_stands_beside_the_cells_is_read() {
    let sheet =
        r#"<worksheet><sheetData><row><c r="A1" t="inlineStr"><is><t>level</t></is></c></row></sheetData></worksheet>"#;
    let drawing =
        "<xdr:wsDr><xdr:sp><xdr:txBody><a:p><a:r><a:t>Read at dawn</a:t></a:r></a:p></xdr:txBody></xdr:sp></xdr:wsDr>";
    let comments = r#"<comments><authors><author>Warden</author><author>tc={1}</author></authors><commentList>
        <comment ref="A1" authorId="0"><text><r><t>Warden:</t></r><r><t xml:space="preserve">
 too low</t></r></text></comment>
        <comment ref="B2" authorId="1"><text><t>[Threaded comment] why?</t></text></comment></commentList></comments>"#;
    let thread = r#"<ThreadedComments><threadedComment ref="B2" personId="{P}"><text>why?</text></threadedComment></ThreadedComments>"#;
    let persons = r#"<personList><person displayName="Head miller" id="{P}"/></personList>"#;
    let book =
        format!(r#"<workbook xmlns:r="{TYPES}"><sheets><sheet name="One" sheetId="1" r:id="r0"/></sheets></workbook>"#);
    let file = package(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", relations(&[("officeDocument", "xl/workbook.xml")]).as_bytes()),
        ("xl/workbook.xml", book.as_bytes()),
        (
            "xl/_rels/workbook.xml.rels",
            relations(&[("worksheet", "worksheets/sheet1.xml"), ("person", "persons/person.xml")]).as_bytes(),
        ),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
        (
            "xl/worksheets/_rels/sheet1.xml.rels",
            relations(&[
                ("drawing", "../drawings/drawing1.xml"),
                ("comments", "../comments1.xml"),
                ("threadedComment", "../threadedComments/threadedComment1.xml"),
            ])
            .as_bytes(),
        ),
        ("xl/drawings/drawing1.xml", drawing.as_bytes()),
        ("xl/comments1.xml", comments.as_bytes()),
        ("xl/threadedComments/threadedComment1.xml", thread.as_bytes()),
        ("xl/persons/person.xml", persons.as_bytes()),
    ]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!(document.text, "One\n\nlevel\n\nRead at dawn\n\n[A1, Warden] too low\n\n[B2, Head miller] why?");
}

/// A book of one chapter, with one more file.
fn book(chapter: &str, name: &str, content: &str) -> Vec<u8> {
    let opf = r#"<package><manifest><item id="a" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>
        <spine><itemref idref="a"/></spine></package>"#;
    package(&[
        ("mimetype", b"application/epub+zip"),
        (
            "META-INF/container.xml",
            br#"<container><rootfiles><rootfile full-path="text/book.opf"/></rootfiles></container>"#,
        ),
        ("text/book.opf", opf.as_bytes()),
        ("text/one.xhtml", chapter.as_bytes()),
        (name, content.as_bytes()),
    ])
}

#[tokio::test]
async fn a_chapter_without_a_title_has_its_text() {
    let chapter = "<html><head><title/></head><body><p>The wheel turns.</p></body></html>";
    let document = extract_bytes(&book(chapter, "other", ""), limits()).await.unwrap();
    assert_eq!(document.text, "The wheel turns.");
}

#[tokio::test]
async fn a_book_whose_rights_are_managed_is_told_as_encrypted() {
    let chapter = "<html><body><p>\u{1}\u{2}not what it says</p></body></html>";
    let reference = |name: &str| {
        format!(
            r#"<encryption><EncryptedData><CipherData><CipherReference URI="{name}"/></CipherData></EncryptedData></encryption>"#
        )
    };
    for (name, content, expected) in [
        ("META-INF/license.lcpl", "{}".to_owned(), "encrypted"),
        ("META-INF/sinf.xml", "<sinf/>".to_owned(), "encrypted"),
        ("META-INF/encryption.xml", reference("text/one.xhtml"), "encrypted"),
        ("META-INF/encryption.xml", reference("fonts/serif.otf"), "ok"),
    ] {
        assert_eq!(code(&extract_bytes(&book(chapter, name, &content), limits()).await), expected, "{name} {content}");
    }
}
