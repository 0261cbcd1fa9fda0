//! Every document of `fixtures/documents`, down to the last character.

use std::fmt::Write;

use millrace_worker::ingest::{Document, IngestLimits};

use crate::{extract, fixture, fixtures, limits};

fn slice(document: &Document, start: u32, end: u32) -> String {
    document.text.chars().skip(start as usize).take((end - start) as usize).collect()
}

fn time(time: Option<chrono::DateTime<chrono::Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339())
}

/// The document as a reviewer reads it.
fn page_by_page(document: &Document) -> String {
    let mut shown = format!(
        "type: {}\ntitle: {}\nauthor: {}\ncreated: {}\nmodified: {}\nlanguage: {}\nwords: {}\nchunks: {}\n",
        document.media_type,
        document.metadata.title.as_deref().unwrap_or("-"),
        document.metadata.author.as_deref().unwrap_or("-"),
        time(document.metadata.created),
        time(document.metadata.modified),
        document.metadata.language.as_deref().unwrap_or("-"),
        document.words,
        document.chunks.len()
    );
    for warning in &document.warnings {
        writeln!(shown, "warning: {:?} {:?} {}", warning.code, warning.page, warning.message).unwrap();
    }
    for part in &document.parts {
        let told = part.left_out().map_or_else(|| "kept".to_owned(), |why| why.code().to_owned());
        let media_type = part.media_type.as_ref().map_or("-", |media_type| media_type.as_str());
        writeln!(shown, "part: {} {media_type} {:?} {told}", part.name, part.size_bytes).unwrap();
    }
    for heading in &document.headings {
        writeln!(shown, "heading: {} {}", heading.level, heading.title).unwrap();
    }
    for page in &document.pages {
        writeln!(shown, "--- page {}\n{}", page.number, slice(document, page.start, page.end)).unwrap();
    }
    shown
}

#[tokio::test]
async fn every_document_gives_its_text() {
    let files = fixtures("documents");
    assert!(files.len() >= 10, "the fixtures are missing");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let document = extract(&file, limits()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        insta::assert_snapshot!(name, page_by_page(&document));
    }
}

fn small_chunks() -> IngestLimits {
    IngestLimits { chunk_chars: 150, chunk_overlap_chars: 60, ..limits() }
}

/// Every chunk of every document: its page, its headings and how it begins and ends.
#[tokio::test]
async fn chunks_follow_the_structure_of_every_document() {
    let mut shown = String::new();
    for file in fixtures("documents") {
        let document = extract(&file, small_chunks()).await.unwrap();
        writeln!(shown, "{}", file.file_name().unwrap().to_str().unwrap()).unwrap();
        for chunk in &document.chunks {
            let path = chunk.headings.titles().collect::<Vec<_>>().join(" > ");
            let chars: Vec<char> = chunk.text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
            let (begin, end) = (&chars[..chars.len().min(24)], &chars[chars.len().saturating_sub(12)..]);
            let (begin, end) = (begin.iter().collect::<String>(), end.iter().collect::<String>());
            writeln!(shown, "  p{} {}..{} [{path}] {begin} … {end}", chunk.page, chunk.start, chunk.end).unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test]
async fn offsets_lead_back_to_every_chunk_heading_and_page() {
    for file in fixtures("documents") {
        let document = extract(&file, small_chunks()).await.unwrap();
        let mut place = 0;
        for (chunk, ordinal) in document.chunks.iter().zip(0..) {
            let page = document.pages[chunk.page as usize - 1];
            assert_eq!(chunk.ordinal, ordinal);
            assert_eq!(slice(&document, chunk.start, chunk.end), chunk.text);
            assert!(page.start <= chunk.start && chunk.end <= page.end, "{chunk:?} leaves {page:?}");
            assert!(!chunk.text.trim().is_empty() && chunk.text.chars().count() <= 150);
            assert!(chunk.start + 60 >= place, "{chunk:?} repeats too much");
            if place < chunk.start {
                assert!(slice(&document, place, chunk.start).trim().is_empty(), "text before {chunk:?} is in no chunk");
            }
            place = chunk.end;
        }
        // The title of a bookmark stands nowhere in the text.
        for heading in document.headings.iter().filter(|heading| heading.start < heading.end) {
            assert_eq!(slice(&document, heading.start, heading.end), heading.title);
        }
        assert!(slice(&document, place, u32::MAX).trim().is_empty());
        assert_eq!(document.chunks.is_empty(), document.words == 0);
    }
}

#[tokio::test]
async fn the_same_bytes_give_the_same_document() {
    for file in ["documents/handbuch-de.pdf", "documents/release-notes-en.md", "documents/smena-ru.docx"].map(fixture) {
        let once = extract(&file, small_chunks()).await.unwrap();
        assert_eq!(once, extract(&file, small_chunks()).await.unwrap());
    }
}

#[tokio::test]
async fn a_pdf_with_an_empty_user_password_is_read() {
    let plain = extract(&fixture("documents/notas-levada-pt.pdf"), limits()).await.unwrap();
    let encrypted = extract(&fixture("hostile/empty-user-password.pdf"), limits()).await.unwrap();
    assert_eq!(plain.text, encrypted.text);
}
