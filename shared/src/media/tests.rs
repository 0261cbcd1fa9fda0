use std::io::Write;

use flate2::{Compression, write::DeflateEncoder};

use super::*;

fn zip_entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(content).unwrap();
    let deflated = deflated.finish().unwrap();
    let mut entry = b"PK\x03\x04\x14\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    entry.extend_from_slice(&u32::try_from(deflated.len()).unwrap().to_le_bytes());
    entry.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
    entry.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
    entry.extend_from_slice(&[0, 0]);
    entry.extend_from_slice(name.as_bytes());
    entry.extend_from_slice(&deflated);
    entry
}

fn unsupported(mime: &str) -> MediaType {
    MediaType::Unsupported(mime.to_owned())
}

#[test]
fn a_pdf_is_told_by_its_header_even_behind_junk() {
    assert_eq!(detect(b"%PDF-1.7\n1 0 obj"), MediaType::Pdf);
    let mut junk = vec![0xff; 900];
    junk.extend_from_slice(b"%PDF-1.4\n1 0 obj\n<<>>");
    assert_eq!(detect(&junk), MediaType::Pdf);
}

#[test]
fn prose_that_quotes_a_pdf_header_is_prose() {
    assert_eq!(detect(b"A file that starts with %PDF-1.7 is a PDF."), MediaType::PlainText);
}

#[test]
fn office_files_are_told_by_their_content_types_or_parts() {
    let mut docx = zip_entry(
        "[Content_Types].xml",
        b"<Types><Override ContentType='application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/></Types>",
    );
    docx.extend(zip_entry("custom/doc.xml", b"<w:document/>"));
    assert_eq!(detect(&docx), MediaType::Docx);

    let mut by_part = zip_entry("_rels/.rels", b"<Relationships/>");
    by_part.extend(zip_entry("word/document.xml", b"<w:document/>"));
    assert_eq!(detect(&by_part), MediaType::Docx);

    let mut sheet = zip_entry("_rels/.rels", b"<Relationships/>");
    sheet.extend(zip_entry("xl/workbook.xml", b"<workbook/>"));
    assert_eq!(detect(&sheet), MediaType::Xlsx);

    for (main, expected) in [
        ("presentationml.slideshow.main+xml", MediaType::Pptx),
        ("spreadsheetml.template.main+xml", MediaType::Xlsx),
        ("wordprocessingml.template.main+xml", MediaType::Docx),
    ] {
        let types =
            format!("<Types><Override ContentType='application/vnd.openxmlformats-officedocument.{main}'/></Types>");
        assert_eq!(detect(&zip_entry("[Content_Types].xml", types.as_bytes())), expected);
    }
}

#[test]
fn open_documents_and_books_are_told_by_the_type_they_begin_with() {
    for (mime, expected) in [
        ("application/vnd.oasis.opendocument.text", MediaType::Odt),
        ("application/vnd.oasis.opendocument.text-template", MediaType::Odt),
        ("application/vnd.oasis.opendocument.spreadsheet", MediaType::Ods),
        ("application/vnd.oasis.opendocument.presentation", MediaType::Odp),
        ("application/epub+zip", MediaType::Epub),
        ("application/vnd.oasis.opendocument.graphics", unsupported("application/vnd.oasis.opendocument.graphics")),
    ] {
        assert_eq!(detect(&zip_entry("mimetype", mime.as_bytes())), expected);
    }
}

#[test]
fn rich_text_is_told_by_its_first_word() {
    assert_eq!(detect(b"{\\rtf1\\ansi{\\pict\\bin4 \0\x01\x02\x03}}"), MediaType::Rtf);
    assert_eq!(detect(b"\n{\\rtf1 x}"), MediaType::Rtf);
}

#[test]
fn a_table_is_told_from_prose_and_from_markdown() {
    assert_eq!(detect(b"day,level\n1,2\n2,3\n3,4\n4,5\n5,6\n"), MediaType::Csv);
    assert_eq!(detect(b"day;level;gate\r\n1;2;open\r\n2;3;shut\r\n"), MediaType::Csv);
    assert_eq!(detect(b"| day | level |\n|---|---|\n| 1 | 2 |\n\n# Levels\n"), MediaType::Markdown);
}

#[test]
fn other_containers_are_unsupported_by_their_own_name() {
    assert_eq!(detect(&zip_entry("notes.txt", b"hi")), MediaType::Zip);
    assert_eq!(detect(&zip_entry("mimetype", b"application/vnd.ms-cab")), unsupported("application/vnd.ms-cab"));
    let mut ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    assert_eq!(detect(&ole), unsupported("application/x-ole-storage"));
    ole.extend("WordDocument".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(detect(&ole), unsupported("application/msword"));
}

#[test]
fn a_container_cannot_name_a_type_that_is_no_container() {
    assert_eq!(detect(&zip_entry("mimetype", b"application/pdf")), MediaType::Zip);
}

/// A compound file whose directory has these names, the root's first.
fn ole(names: &[&str], class: [u8; 16]) -> Vec<u8> {
    let mut file = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    file.resize(512, 0);
    for name in names {
        let mut entry: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        entry.resize(128, 0);
        file.extend(entry);
    }
    file[512 + 80..512 + 96].copy_from_slice(&class);
    file.resize(2_048, 0);
    file
}

#[test]
fn an_outlook_item_is_told_by_its_root_and_not_by_what_it_holds() {
    let class = *b"\x0b\x0d\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    assert_eq!(detect(&ole(&["Root Entry"], class)), MediaType::Msg);
    let with_a_letter = ole(&["Root Entry", "__substg1.0_0037001F", "x", "y", "WordDocument"], [0; 16]);
    assert_eq!(detect(&with_a_letter), MediaType::Msg);
    let with_a_message = ole(&["Root Entry", "Workbook", "x", "y", "__substg1.0_0037001F"], [0; 16]);
    assert_eq!(detect(&with_a_message), MediaType::Xls);
}

#[test]
fn mail_is_told_by_its_header_fields() {
    for mail in [
        "From: a@example.org\r\nDate: Mon, 2 Mar 2026 08:15:00 +0100\r\nSubject: x\r\n\r\nWords.",
        "Return-Path: <a@example.org>\nReceived: from x\n\tby y; Mon, 2 Mar 2026 08:15:00 +0100\nFrom: a\n\nWords.",
        "Subject: only\nFrom: =?utf-8?q?M=C3=BCller?= <a@example.org>\nMIME-Version: 1.0\n",
        "\u{feff}From: a@example.org\nMessage-ID: <1@example.org>\n\n# Heading\n",
    ] {
        assert_eq!(detect(mail.as_bytes()), MediaType::Eml, "{mail}");
    }
    assert_eq!(
        detect(b"From: a@b\nMIME-Version: 1.0\nContent-Transfer-Encoding: binary\n\n\0\x01\x02"),
        MediaType::Eml
    );
}

#[test]
fn text_with_colons_is_no_mail() {
    for text in [
        "From: the miller\nTo: the baker\nSubject: flour\n\nA memo.",
        "From: the miller\nDate: next Monday\n\nA memo.",
        "name: value\nother: value\n\nWords.",
        "From: a@example.org\nthis line is no field\nMIME-Version: 1.0\n\nWords.",
        "MIME-Version: 1.0\nMessage-ID: <x>\n\nNobody wrote it.",
        "A sentence first.\nFrom: a@example.org\nMIME-Version: 1.0\n\n",
        "From a@example.org Mon Mar  2 08:15:00 2026\nFrom: a@example.org\nMIME-Version: 1.0\n\nA mailbox.",
        "\nFrom: a@example.org\nMIME-Version: 1.0\n\n",
        " From: a@example.org\nMIME-Version: 1.0\n\n",
    ] {
        assert_eq!(detect(text.as_bytes()), MediaType::PlainText, "{text}");
    }
}

#[test]
fn binaries_are_unsupported() {
    assert_eq!(detect(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), MediaType::Png);
    assert_eq!(
        detect(&[b"\x7fELF\x02\x01\x01\0".as_slice(), &[0; 56]].concat()),
        unsupported("application/x-executable")
    );
    assert_eq!(detect(b"\0\x01\x02\x03"), unsupported("application/octet-stream"));
    assert_eq!(detect(b""), unsupported("application/x-empty"));
}

#[test]
fn prose_is_not_claimed_by_short_signatures() {
    assert_eq!(detect(b"BMW and other makers of engines."), MediaType::PlainText);
    assert_eq!(detect(b"MZ is how a DOS program starts."), MediaType::PlainText);
}

#[test]
fn html_is_told_by_doctype_or_tags() {
    for html in [
        "<!DOCTYPE html><p>x",
        "\u{feff}  <!-- c --><HTML lang=en>",
        "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \"x\"><html/>",
        "<p>One paragraph</p><p>and another</p>",
    ] {
        assert_eq!(detect(html.as_bytes()), MediaType::Html, "{html}");
    }
    assert_eq!(detect(b"<?xml version=\"1.0\"?><feed/>"), unsupported("application/xml"));
    assert_eq!(detect(b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"), unsupported("image/svg+xml"));
    assert_eq!(detect(b"<3 is a heart, and 2 < 3."), MediaType::PlainText);
}

#[test]
fn markdown_needs_more_than_a_hash_or_a_dash() {
    for markdown in [
        "# Title\n\nA paragraph.",
        "Text with a [link](https://example.org).\n\n- one\n- two\n",
        "<p align=\"center\"><img src=\"logo.svg\"></p>\n\n# Millrace\n\nText.",
        "---\ntitle: x\n---\n\n# Heading\n\nText",
    ] {
        assert_eq!(detect(markdown.as_bytes()), MediaType::Markdown, "{markdown}");
    }
    for plain in [
        "#!/bin/sh\n# a comment\necho hi\n",
        "# comment one\nkey = 1\n# comment two\nother = 2\n",
        "Shopping:\n- flour\n- salt\n",
        "a[i](x)",
        "Dear all,\n> quoted\nthanks",
    ] {
        assert_eq!(detect(plain.as_bytes()), MediaType::PlainText, "{plain}");
    }
}

#[test]
fn text_is_told_in_every_known_encoding() {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("Wasserrad".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(detect(&utf16), MediaType::PlainText);
    assert_eq!(detect(b"M\xfchle am Bach"), MediaType::PlainText);
    assert_eq!(sniff_encoding(b"M\xfchle am Bach"), Some(TextEncoding::Legacy));
    assert_eq!(sniff_encoding("Mühle".as_bytes()), Some(TextEncoding::Utf8));
}

#[test]
fn a_character_cut_off_by_the_head_is_forgiven() {
    let text = "水車".repeat(30_000);
    assert_eq!(detect(&text.as_bytes()[..HEAD_BYTES]), MediaType::PlainText);
    let utf16: Vec<u8> = [0xfe, 0xff].into_iter().chain("x🌊".encode_utf16().flat_map(u16::to_be_bytes)).collect();
    assert_eq!(detect(&utf16[..utf16.len() - 2]), MediaType::PlainText);
}

#[test]
fn the_name_survives_serialisation() {
    for media_type in [MediaType::Docx, MediaType::Markdown, MediaType::Tiff, unsupported("image/gif")] {
        let json = serde_json::to_string(&media_type).unwrap();
        assert_eq!(serde_json::from_str::<MediaType>(&json).unwrap(), media_type);
    }
}
