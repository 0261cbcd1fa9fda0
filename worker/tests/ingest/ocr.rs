//! Scanned pages and pictures, read by the real tesseract. A machine without it fails these tests, and says what to install.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use image::{DynamicImage, ImageFormat};
use millrace_shared::config::OcrConfig;
use millrace_worker::ingest::{Document, IngestLimits, OcrLimits, Warning, WarningCode};

use crate::make::{deflated_bytes, pdf, stream};
use crate::{code, extract, extract_bytes, fixture, limits};

/// What the fixture says.
pub const SCANNED: &str = "The miller opens the sluice at dawn and waits until the waterwheel turns evenly. Only then are the stones lowered, first\n\
                           the upper one and after it the lower.\n\nIn winter ice is broken before the gate is raised.";

pub fn with_ocr() -> IngestLimits {
    let config = OcrConfig::of_languages("eng").unwrap();
    let own_program = PathBuf::from(env!("CARGO_BIN_EXE_millrace-worker"));
    let ocr = OcrLimits::find(&config, &own_program).unwrap_or_else(|error| panic!("{error}"));
    // An unoptimised build on a busy machine draws slowly, and the fixture has 200 dots per inch.
    IngestLimits {
        ocr: Some(OcrLimits { dpi: 200, page_limit: Duration::from_secs(150), ..ocr }),
        wall_limit: Duration::from_secs(150),
        ..limits()
    }
}

pub fn scan() -> DynamicImage {
    image::open(fixture("scans/sluice-en.png")).unwrap()
}

fn file_of(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub enum Page<'a> {
    Text(&'a str),
    Scan(&'a DynamicImage),
}

/// A PDF of pages of 500 × 340 points, either words or a picture each.
pub fn pdf_of(pages: &[Page<'_>]) -> Vec<u8> {
    let kids: String = (0..pages.len()).map(|index| format!("{} 0 R ", 3 + 3 * index)).collect();
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", pages.len()).into_bytes(),
    ];
    for (page, index) in pages.iter().zip(0..) {
        let (content, resource) = (4 + 3 * index, 5 + 3 * index);
        let resources = match page {
            Page::Text(_) => format!("/Font << /F {resource} 0 R >>"),
            Page::Scan(_) => format!("/XObject << /P {resource} 0 R >>"),
        };
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 340] /Contents {content} 0 R /Resources << {resources} >> >>"
            )
            .into_bytes(),
        );
        match page {
            Page::Text(words) => {
                objects.push(stream("", format!("BT /F 12 Tf 50 300 Td ({words}) Tj ET").as_bytes()));
                objects.push(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec());
            }
            Page::Scan(picture) => {
                let grey = picture.to_luma8();
                let entries = format!(
                    "/Type /XObject /Subtype /Image /Width {} /Height {} /BitsPerComponent 8 /ColorSpace /DeviceGray /Filter /FlateDecode",
                    grey.width(),
                    grey.height()
                );
                objects.push(stream("", b"500 0 0 340 0 0 cm /P Do"));
                objects.push(stream(&entries, &deflated_bytes(grey.as_raw())));
            }
        }
    }
    pdf(&objects)
}

fn page_text(document: &Document, number: usize) -> String {
    let page = document.pages[number - 1];
    document.text.chars().skip(page.start as usize).take((page.end - page.start) as usize).collect()
}

fn told(document: &Document) -> Vec<(WarningCode, Option<u32>)> {
    document.warnings.iter().map(|warning: &Warning| (warning.code, warning.page)).collect()
}

#[tokio::test]
async fn a_scanned_page_has_its_text_at_its_place_between_pages_of_words() {
    let scan = scan();
    let file = pdf_of(&[Page::Text("Before the scan."), Page::Scan(&scan), Page::Text("Behind the scan.")]);
    let limits = IngestLimits { chunk_chars: 120, ..with_ocr() };
    let document = extract_bytes(&file, limits.clone()).await.unwrap();
    assert_eq!(document.text, format!("Before the scan.\n\n{SCANNED}\n\nBehind the scan."));
    assert_eq!([1, 2, 3].map(|page| page_text(&document, page)), ["Before the scan.", SCANNED, "Behind the scan."]);
    assert_eq!(told(&document), [(WarningCode::ReadByOcr, Some(2))]);
    let message = &document.warnings[0].message;
    let percent: u32 = message
        .strip_prefix("page 2 was read by character recognition, with a mean confidence of ")
        .unwrap()
        .strip_suffix(" %")
        .unwrap()
        .parse()
        .unwrap();
    assert!((80..=100).contains(&percent), "{message}");
    assert_eq!((document.words, document.metadata.language.as_deref()), (45, Some("en")));
    assert_eq!(document.chunks.iter().map(|chunk| chunk.page).collect::<Vec<_>>(), [1, 2, 2, 2, 3]);
    for chunk in &document.chunks {
        let length = (chunk.end - chunk.start) as usize;
        let slice: String = document.text.chars().skip(chunk.start as usize).take(length).collect();
        assert_eq!(slice, chunk.text);
    }
    assert_eq!(document, extract_bytes(&file, limits).await.unwrap(), "the same bytes give the same document");
}

#[tokio::test]
async fn a_scan_is_read_whichever_side_was_up() {
    let turned = scan().rotate180();
    let document = extract_bytes(&pdf_of(&[Page::Scan(&turned)]), with_ocr()).await.unwrap();
    assert_eq!(document.text, SCANNED);
}

#[tokio::test]
async fn pictures_are_documents_of_one_page() {
    for (format, media_type) in [
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Tiff, "image/tiff"),
        (ImageFormat::WebP, "image/webp"),
    ] {
        let document = extract_bytes(&file_of(&scan(), format), with_ocr()).await.unwrap();
        assert_eq!((document.media_type.as_str(), document.text.as_str()), (media_type, SCANNED));
        assert_eq!((document.pages.len(), told(&document)), (1, vec![(WarningCode::ReadByOcr, Some(1))]));
    }
}

#[tokio::test]
async fn what_shows_through_a_picture_is_paper() {
    let mut see_through = scan().to_rgba8();
    for dot in see_through.pixels_mut().filter(|dot| dot.0[0] > 127) {
        dot.0 = [0, 0, 0, 0];
    }
    let document = extract_bytes(&file_of(&see_through.into(), ImageFormat::Png), with_ocr()).await.unwrap();
    assert_eq!(document.text, SCANNED);
}

/// Joins TIFFs of one page each, as far as this encoder writes them: little-endian, with the directory at the end.
fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let long = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut file, shift) = (first.to_vec(), u32::try_from(first.len()).unwrap());
    let directory = long(&file, 4) as usize;
    let entries = usize::from(u16::from_le_bytes([file[directory], file[directory + 1]]));
    let next_at = directory + 2 + entries * 12;
    file[next_at..next_at + 4].copy_from_slice(&(long(second, 4) + shift).to_le_bytes());
    let mut behind = second.to_vec();
    let directory = long(second, 4) as usize;
    let entries = usize::from(u16::from_le_bytes([second[directory], second[directory + 1]]));
    for at in (0..entries).map(|index| directory + 2 + index * 12) {
        let (tag, kind) =
            (u16::from_le_bytes([second[at], second[at + 1]]), u16::from_le_bytes([second[at + 2], second[at + 3]]));
        let bytes = long(second, at + 4) * [0, 1, 1, 2, 4, 8][usize::from(kind)];
        // Values that do not fit are elsewhere in the file, and so are strips.
        if bytes > 4 || tag == 273 {
            behind[at + 8..at + 12].copy_from_slice(&(long(second, at + 8) + shift).to_le_bytes());
        }
        // Many strips have their places elsewhere.
        if tag == 273 && bytes > 4 {
            for strip in (0..long(second, at + 4)).map(|index| (long(second, at + 8) + 4 * index) as usize) {
                behind[strip..strip + 4].copy_from_slice(&(long(second, strip) + shift).to_le_bytes());
            }
        }
    }
    file.extend(behind);
    file
}

#[tokio::test]
async fn a_tiff_has_as_many_pages_as_it_has_pictures() {
    let scan = scan();
    let lower = scan.crop_imm(0, 260, scan.width(), 200);
    let file = joined(&file_of(&scan, ImageFormat::Tiff), &file_of(&lower, ImageFormat::Tiff));
    let document = extract_bytes(&file, with_ocr()).await.unwrap();
    assert_eq!(page_text(&document, 1), SCANNED);
    assert_eq!(page_text(&document, 2), "In winter ice is broken before the gate is raised.");
    assert_eq!((document.pages.len(), told(&document)), (2, vec![(WarningCode::ReadByOcr, None)]));
}

#[tokio::test]
async fn without_ocr_nothing_changes() {
    let file = pdf_of(&[Page::Scan(&scan())]);
    let document = extract_bytes(&file, limits()).await.unwrap();
    assert_eq!((document.words, told(&document)), (0, vec![(WarningCode::NeedsOcr, None)]));
    let error = extract(&fixture("scans/sluice-en.png"), limits()).await.unwrap_err();
    let message = "files of type image/png cannot be read; character recognition, which would read it, is off; docs/formats.md lists those that can";
    assert_eq!((error.code(), error.to_string().as_str()), ("unsupported_media_type", message));
}

#[tokio::test]
async fn a_picture_without_words_is_told_as_one() {
    let empty = DynamicImage::new_luma8(400, 272);
    let alone = extract_bytes(&pdf_of(&[Page::Scan(&empty)]), with_ocr()).await.unwrap();
    assert_eq!(told(&alone), [(WarningCode::NeedsOcr, None)]);
    assert!(alone.warnings[0].message.ends_with("found no words in their pictures"), "{:?}", alone.warnings);
    let beside = extract_bytes(&pdf_of(&[Page::Text("Words."), Page::Scan(&empty)]), with_ocr()).await.unwrap();
    assert_eq!(told(&beside), [(WarningCode::PageWithoutText, Some(2))]);
    assert!(beside.warnings[0].message.ends_with("and character recognition found no words"), "{:?}", beside.warnings);
}

#[tokio::test]
async fn pages_beyond_the_limit_are_told_and_the_others_read() {
    let (scan, mut limits) = (scan(), with_ocr());
    limits.ocr.as_mut().unwrap().max_pages = 1;
    let document =
        extract_bytes(&pdf_of(&[Page::Scan(&scan), Page::Scan(&scan), Page::Scan(&scan)]), limits).await.unwrap();
    assert_eq!(document.text, SCANNED);
    assert_eq!(told(&document), [(WarningCode::ReadByOcr, Some(1)), (WarningCode::OcrFailed, None)]);
    let message = "character recognition of pages 2, 3 failed: MILLRACE_OCR_MAX_PAGES allows 1 pages of a document";
    assert_eq!(document.warnings[1].message, message);
}

#[tokio::test]
async fn pictures_that_are_no_pictures_end_as_typed_failures() {
    let png = file_of(&scan(), ImageFormat::Png);
    let mut vast = png.clone();
    vast[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let header = crc32fast::hash(&vast[12..29]);
    vast[29..33].copy_from_slice(&header.to_be_bytes());
    let tiff = file_of(&scan(), ImageFormat::Tiff);
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let mut beyond = tiff.clone();
    beyond[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut vast_tiff = tiff.clone();
    // The first two entries are width and height.
    for at in [directory + 2, directory + 14] {
        vast_tiff[at + 2..at + 4].copy_from_slice(&4_u16.to_le_bytes());
        vast_tiff[at + 8..at + 12].copy_from_slice(&4_000_000_000_u32.to_le_bytes());
    }
    for (name, file, expected) in [
        ("a header of 10 billion dots", vast, &["too_large"][..]),
        ("half a file", png[..png.len() / 2].to_vec(), &["malformed"]),
        ("a header alone", png[..33].to_vec(), &["malformed"]),
        ("a directory beyond the end", beyond, &["malformed"]),
        ("a TIFF of 16 quintillion dots", vast_tiff, &["too_large", "malformed"]),
        ("half a JPEG's header", file_of(&scan(), ImageFormat::Jpeg)[..100].to_vec(), &["malformed"]),
        ("half a WebP", file_of(&scan(), ImageFormat::WebP)[..500].to_vec(), &["malformed"]),
    ] {
        let result = extract_bytes(&file, with_ocr()).await;
        assert!(expected.contains(&code(&result)), "{name}: {result:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_told_with_the_setting_and_the_fix() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_millrace-worker"));
    let empty = tempfile::tempdir().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for (languages, path, expected) in [
        ("eng", empty.path().as_os_str(), ["MILLRACE_OCR_LANGUAGES", "`tesseract`", "apt-get install tesseract-ocr"]),
        (
            "eng+tlh_x",
            &path,
            ["MILLRACE_OCR_LANGUAGES names tlh_x", "it has eng", "apt-get install tesseract-ocr-tlh-x"],
        ),
    ] {
        let worker = tokio::process::Command::new(&program)
            .env_clear()
            .env("PATH", path)
            .env("DATABASE_URL", "postgres://127.0.0.1:1/none")
            .env("REDIS_URL", "redis://127.0.0.1:1")
            .env("MILLRACE_WORKER_BIND", "127.0.0.1:0")
            .env("MILLRACE_OCR_LANGUAGES", languages)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(60), worker).await.expect("it refuses to start").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        assert!(!said.contains("worker started"), "{said}");
    }
}
