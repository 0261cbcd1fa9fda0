//! Files that mean harm, or might as well: each ends as a typed failure, and the process that asked lives on.

use std::time::Duration;

use millrace_worker::ingest::{ExtractError, Extractor, IngestLimits};
use tokio_util::sync::CancellationToken;

use crate::make::{deflated, docx, docx_of, docx_repeating, endless_pdf, pdf, stream};
use crate::{code, extract, extract_bytes, fixture, fixtures, limits};

#[tokio::test]
async fn what_is_no_document_is_named() {
    let mut office = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    office.extend("WordDocument".encode_utf16().flat_map(u16::to_le_bytes));
    for (bytes, expected) in [
        (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "image/png"),
        (&office, "application/msword"),
        (b"\0\x01\x02\x03\x04", "application/octet-stream"),
        (b"", "application/x-empty"),
    ] {
        match extract_bytes(bytes, limits()).await {
            Err(ExtractError::UnsupportedMediaType { detected, .. }) => assert_eq!(detected, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let result = extract(&fixture("hostile/needs-password.pdf"), limits()).await;
    assert_eq!(code(&result), "encrypted");
    let mut office = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    office.resize(100_000, 0);
    office.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(code(&extract_bytes(&office, limits()).await), "encrypted");
}

#[tokio::test]
async fn a_docx_bomb_is_too_large() {
    let many_paragraphs = docx_repeating(&"<w:p/>".repeat(10_000), 700);
    assert!(many_paragraphs.len() < 1 << 20, "it is no bomb: {}", many_paragraphs.len());
    let result = extract_bytes(&many_paragraphs, limits()).await;
    assert_eq!(code(&result), "too_large", "{result:?}");

    let one_text = docx_of(|part| {
        part.write_all(b"<w:document><w:body><w:p><w:r><w:t>").unwrap();
        for _ in 0..20 {
            part.write_all(&[b'a'; 1 << 20]).unwrap();
        }
    });
    let result = extract_bytes(&one_text, limits()).await;
    assert_eq!(code(&result), "too_large", "{result:?}");
}

#[tokio::test]
async fn more_text_than_allowed_is_too_large_and_never_cut() {
    let result =
        extract_bytes("word ".repeat(1_000).as_bytes(), IngestLimits { max_text_chars: 4_000, ..limits() }).await;
    assert_eq!(code(&result), "too_large", "{result:?}");
}

#[tokio::test]
async fn a_pdf_stream_bomb_is_a_typed_failure() {
    let megabytes = |count: usize| std::iter::repeat_n(&[b' '; 1 << 20][..], count);
    let bomb = stream("/Filter /FlateDecode", &deflated(megabytes(300)));
    let file = pdf(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>".to_vec(),
        bomb,
    ]);
    let result = extract_bytes(&file, limits()).await;
    assert!(["too_large", "limit_memory"].contains(&code(&result)), "{result:?}");
}

#[tokio::test]
async fn memory_past_the_limit_is_told_as_such() {
    let text = "A line about water.\n".repeat(5 << 20);
    let result = extract_bytes(
        text.as_bytes(),
        IngestLimits { memory_limit_bytes: 192 << 20, max_text_chars: 1 << 30, ..limits() },
    )
    .await;
    assert!(matches!(result, Err(ExtractError::LimitMemory { limit_mib: 192 })), "{result:?}");
}

#[tokio::test]
async fn processor_time_past_the_limit_is_told_as_such() {
    let result = extract_bytes(&endless_pdf(), IngestLimits { cpu_limit: Duration::from_secs(1), ..limits() }).await;
    assert!(matches!(result, Err(ExtractError::LimitTime { kind: "processor", .. })), "{result:?}");
}

#[tokio::test]
async fn elapsed_time_past_the_limit_is_told_as_such() {
    let result =
        extract_bytes(&endless_pdf(), IngestLimits { wall_limit: Duration::from_millis(300), ..limits() }).await;
    assert!(matches!(result, Err(ExtractError::LimitTime { kind: "elapsed", .. })), "{result:?}");
}

#[tokio::test]
async fn loops_in_a_pdf_end() {
    let page_tree = pdf(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 3 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [2 0 R] /Count 1 /Parent 2 0 R >>".to_vec(),
    ]);
    let form = pdf(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /XObject << /F 5 0 R >> >> >>"
            .to_vec(),
        stream("", b"/F Do"),
        stream(
            "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /F 5 0 R >> >>",
            b"/F Do /F Do",
        ),
    ]);
    let reference = pdf(&[b"1 0 R".to_vec()]);
    let mut previous = pdf(&[b"<< /Type /Catalog /Pages 1 0 R >>".to_vec()]);
    let at = previous.windows(4).position(|word| word == b"xref").unwrap();
    let trailer = previous.windows(7).position(|word| word == b"trailer").unwrap();
    previous.splice(trailer + 11..trailer + 11, format!(" /Prev {at} ").bytes());
    for file in [page_tree, form, reference, previous] {
        assert_ends_typed("a loop", extract_bytes(&file, limits()).await);
    }
}

#[tokio::test]
async fn deep_nesting_ends_typed() {
    let tables = "<w:tbl><w:tr><w:tc>".repeat(200_000);
    let boxes = "<w:p><w:r><w:txbxContent>".repeat(200_000);
    let mut arrays = b"<< /Type /Catalog /Pages ".to_vec();
    arrays.extend([b'['; 300_000]);
    for (what, bytes) in [
        ("open tables", docx(&tables)),
        ("closed tables", docx(&format!("{tables}{}", "</w:tc></w:tr></w:tbl>".repeat(200_000)))),
        ("text boxes", docx(&format!("{boxes}{}", "</w:txbxContent></w:r></w:p>".repeat(200_000)))),
        ("arrays", pdf(&[arrays])),
        ("quotes", format!("# Deep\n\n{} end", "> ".repeat(20_000)).into_bytes()),
        ("brackets", format!("# Deep\n\n{}", "[".repeat(100_000)).into_bytes()),
        ("lists", format!("# Deep\n\n{} end", "- ".repeat(20_000)).into_bytes()),
        ("elements", format!("<!doctype html>{}", "<div>".repeat(1_000_000)).into_bytes()),
    ] {
        assert_ends_typed(what, extract_bytes(&bytes, limits()).await);
    }
}

#[tokio::test]
async fn xml_that_is_cut_off_or_refers_outside_gives_nothing_away() {
    let cut_off = docx_of(|part| {
        part.write_all(b"<w:document><w:body><w:p><w:r><w:t>half").unwrap();
    });
    assert_eq!(code(&extract_bytes(&cut_off, limits()).await), "malformed");

    let outside = docx_of(|part| {
        part.write_all(
            br#"<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname"><!ENTITY y "y"><!ENTITY z "&y;&y;&y;">]>
            <w:document><w:body><w:p><w:r><w:t>a&x;&z;&amp;b</w:t></w:r></w:p></w:body></w:document>"#,
        )
        .unwrap();
    });
    assert_eq!(extract_bytes(&outside, limits()).await.unwrap().text, "a&b");
}

#[tokio::test]
async fn sizes_that_lie_do_not_matter() {
    let honest = docx(&"<w:p><w:r><w:t>The wheel turns.</w:t></w:r></w:p>".repeat(10_000));
    let mut lying = honest.clone();
    // The uncompressed size of every entry in the central directory (APPNOTE.TXT 4.3.12) becomes 7 bytes.
    let mut at = 0;
    while let Some(found) = lying[at..].windows(4).position(|word| word == b"PK\x01\x02") {
        at += found;
        lying[at + 24..at + 28].copy_from_slice(&7_u32.to_le_bytes());
        at += 46;
    }
    assert!(at > 0);
    assert_ends_typed("lying sizes", extract_bytes(&lying, limits()).await);

    let mut endless = pdf(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>".to_vec(),
        b"<< /Length 99999999999 >>\nstream\nBT ET\nendstream".to_vec(),
    ]);
    endless.extend(b"trailer << /Size 4294967295 /Root 1 0 R >>");
    assert_ends_typed("lying PDF", extract_bytes(&endless, limits()).await);
}

#[tokio::test]
async fn truncated_documents_end_typed() {
    for file in fixtures("documents") {
        let whole = std::fs::read(&file).unwrap();
        for part in [10, 3, 2] {
            let name = format!("1/{part} of {}", file.display());
            assert_ends_typed(&name, extract_bytes(&whole[..whole.len() / part], limits()).await);
        }
    }
}

/// Flips, overwrites and repeats some bytes, the same ones in every run.
fn damage(whole: &[u8], random: &mut Xorshift) -> Vec<u8> {
    let mut damaged = whole.to_vec();
    for _ in 0..=random.below(12) {
        let at = random.below(damaged.len());
        match random.below(3) {
            0 => damaged[at] ^= 1 << random.below(8),
            1 => damaged[at] = [0, 0xff, b'<', b'9', b'/'][random.below(5)],
            _ => {
                let end = (at + random.below(64)).min(damaged.len());
                let again = damaged[at..end].to_vec();
                damaged.splice(at..at, again);
            }
        }
    }
    damaged
}

async fn damage_all(rounds: usize) {
    let mut random = Xorshift(0x2545_f491_4f6c_dd1d);
    let limits = limits();
    let extractor = Extractor::new(limits.clone()).unwrap();
    for file in fixtures("documents") {
        let whole = std::fs::read(&file).unwrap();
        for round in 0..rounds {
            let damaged = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(damaged.path(), damage(&whole, &mut random)).unwrap();
            let name = format!("round {round} of {}", file.display());
            match extractor.measure(damaged.path(), &CancellationToken::new()).await {
                Ok((result, usage)) => {
                    assert!(usage.peak_memory_kib << 10 <= limits.memory_limit_bytes, "{name}: {usage:?}");
                    assert_ends_typed(&name, result);
                }
                Err(error) => assert_ends_typed(&name, Err(error)),
            }
        }
    }
}

#[tokio::test]
async fn damaged_documents_end_typed() {
    damage_all(8).await;
}

mod long {
    #[tokio::test]
    #[ignore = "long: ten thousand damaged files"]
    async fn damaged_documents_end_typed() {
        super::damage_all(10_000_usize.div_ceil(super::fixtures("documents").len())).await;
    }
}

/// A document, or a failure that lies in the file: not a crash, not something to try again.
fn assert_ends_typed(what: &str, result: Result<millrace_worker::ingest::Document, ExtractError>) {
    let code = code(&result);
    let expected =
        ["ok", "unsupported_media_type", "encrypted", "malformed", "too_large", "limit_memory", "limit_time"];
    assert!(expected.contains(&code), "{what}: {result:?}");
    if let Err(error) = result {
        let message = error.to_string();
        assert!(!message.contains("/tmp") && !message.contains(".rs"), "{what}: {message}");
    }
}

struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}
