//! Mail and archives: their own text, and what is handed out of them.

use std::io::Write as _;

use millrace_worker::ingest::{Document, ExtractError, Extractor, IngestLimits, Part, Unpack, Unpacked, Until};
use tokio_util::sync::CancellationToken;
use zip::write::SimpleFileOptions;

use crate::make::package;
use crate::outlook::{self, Item};
use crate::{code, extract_bytes, fixture, limits};

const ALLOWED: Unpack = Unpack::UpTo { parts: 200, bytes: 200 << 20 };

async fn unpack(bytes: &[u8], unpack: Unpack) -> Result<Unpacked, ExtractError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Extractor::new(limits())
        .unwrap()
        .unpack(file.path(), unpack, Until { cancel: &CancellationToken::new(), recognising: None })
        .await
}

/// Names of the parts, each with what became of it.
fn parts(document: &Document) -> Vec<String> {
    let told = |part: &Part| match part.left_out() {
        Some(why) => format!("{}: {}", part.name, why.code()),
        None => format!("{}: {}", part.name, part.media_type.as_ref().map_or("?", |known| known.as_str())),
    };
    document.parts.iter().map(told).collect()
}

fn bytes_of(unpacked: &Unpacked, index: usize) -> Vec<u8> {
    let part = &unpacked.document.parts[index];
    let mut bytes = vec![0; usize::try_from(part.size_bytes.unwrap()).unwrap() + 1];
    let count = unpacked.contents.read_at(part, 0, &mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

#[tokio::test]
async fn attachments_come_out_as_they_went_in() {
    let mail = std::fs::read(fixture("documents/pruefbericht-de.eml")).unwrap();
    let unpacked = unpack(&mail, ALLOWED).await.unwrap();
    assert_eq!(
        parts(&unpacked.document),
        [
            "wappen.png: unsupported_media_type",
            "Notas da levada.pdf: application/pdf",
            "Смена воды.docx: application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "Hochwasser am Wochenende.eml: message/rfc822",
        ]
    );
    assert_eq!(bytes_of(&unpacked, 1), std::fs::read(fixture("hostile/empty-user-password.pdf")).unwrap());
    let earlier = extract_bytes(&bytes_of(&unpacked, 3), limits()).await.unwrap();
    assert!(
        earlier
            .text
            .ends_with("Bitte die Schützen ab Samstag ganz öffnen. Der Pegel steigt bis Sonntag auf zwei Meter.")
    );
    assert!(unpacked.document.warnings.is_empty(), "{:?}", unpacked.document.warnings);
}

#[tokio::test]
async fn an_attached_text_comes_out_in_the_bytes_it_went_in() {
    let mail = b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n\
        --x\r\nContent-Type: text/csv; name=a.csv\r\nContent-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nTfxobGU7MTthClJhZDsyO2IKV2VocjszO2MKQmFjaDs0O2QK\r\n\
        --x\r\nContent-Type: text/html; charset=iso-8859-1; name=b.html\r\nContent-Disposition: attachment\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>M=FChle\r\n\
        --x\r\nContent-Type: text/plain; charset=us-ascii; name=c.txt\r\nContent-Disposition: attachment\r\n\r\nM\xfchle\r\n--x--\r\n";
    let unpacked = unpack(mail, ALLOWED).await.unwrap();
    assert_eq!(parts(&unpacked.document), ["a.csv: text/csv", "b.html: text/html", "c.txt: text/plain"]);
    let bytes: Vec<_> = (0..3).map(|index| bytes_of(&unpacked, index)).collect();
    assert_eq!(
        bytes,
        [b"M\xfchle;1;a\nRad;2;b\nWehr;3;c\nBach;4;d\n".to_vec(), b"<p>M\xfchle".to_vec(), b"M\xfchle".to_vec()]
    );
}

#[tokio::test]
async fn an_archive_is_an_archive_whatever_is_stored_in_it() {
    let inner: Vec<(&str, Vec<u8>)> = ["smena-ru.docx", "pegel-de.xlsx", "smena-ru.odt", "cuaderno-campo-es.epub"]
        .into_iter()
        .map(|name| (name, std::fs::read(fixture(&format!("documents/{name}"))).unwrap()))
        .collect();
    for (name, content) in &inner {
        // The first one is stored.
        let archive = package(&[(name, content), ("word/notes.txt", b"words"), ("mimetype", b"application/epub+zip")]);
        let unpacked = unpack(&archive, ALLOWED).await.unwrap();
        assert_eq!(unpacked.document.media_type.as_str(), "application/zip", "{name}");
        assert_eq!(&bytes_of(&unpacked, 0), content, "{name}");
    }
}

#[tokio::test]
async fn an_item_of_the_far_future_is_read() {
    let item = Item::new(&[(0x0039_0040, u64::MAX >> 1)]).text(0x1000, "The wheel turns.");
    let document = extract_bytes(&item.finish(), limits()).await.unwrap();
    assert_eq!((document.text.as_str(), document.metadata.created), ("The wheel turns.", None));
}

#[tokio::test]
async fn a_compound_file_is_handed_out_for_its_own_reader_to_judge() {
    let archive = package(&[("a.bin", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more")]);
    let unpacked = unpack(&archive, ALLOWED).await.unwrap();
    assert_eq!(parts(&unpacked.document), ["a.bin: application/x-ole-storage"]);
}

#[tokio::test]
async fn the_outlook_fixture_is_the_item_that_the_tests_make() {
    let file = fixture("documents/revisione-it.msg");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&file, outlook::fixture()).unwrap();
    }
    assert_eq!(std::fs::read(file).unwrap(), outlook::fixture());
}

#[tokio::test]
async fn an_attached_item_is_an_item_of_its_own() {
    let unpacked = unpack(&outlook::fixture(), ALLOWED).await.unwrap();
    assert_eq!(
        parts(&unpacked.document),
        ["livelli.csv: text/csv", "Richiesta di sopralluogo.msg: application/vnd.ms-outlook"]
    );
    let again = unpack(&outlook::fixture(), ALLOWED).await.unwrap();
    let item = bytes_of(&unpacked, 1);
    assert_eq!(item, bytes_of(&again, 1), "the same item is the same bytes");
    let inner = unpack(&item, ALLOWED).await.unwrap();
    assert_eq!(parts(&inner.document), ["nota.txt: text/plain"]);
    assert_eq!(
        inner.document.text,
        "From: Custode\nSubject: Richiesta di sopralluogo\n\nIl rumore viene da sotto la ruota, si sente fino alla strada."
    );
}

#[tokio::test]
async fn an_item_is_read_in_its_code_page_and_its_rich_text_comes_last() {
    let narrow =
        Item::new(&[(0x3ffd_0003, 1_251)]).narrow(0x0037, b"\xc2\xee\xe4\xe0").narrow(0x1000, b"\xec\xee\xf1\xf2");
    assert_eq!(extract_bytes(&narrow.finish(), limits()).await.unwrap().text, "Subject: Вода\n\nмост");

    let html = Item::new(&[(0x3fde_0003, 28_591)]).text(0x1000, " ").binary(0x1013, b"<title>no</title><p>M\xfchle");
    let document = extract_bytes(&html.finish(), limits()).await.unwrap();
    assert_eq!((document.text.as_str(), document.metadata.title), ("Mühle", None));

    // Uncompressed, as [MS-OXRTFCP] allows.
    let rtf = br"{\rtf1\ansi The wheel turns.}";
    let mut packed = u32::try_from(rtf.len() + 12).unwrap().to_le_bytes().to_vec();
    packed.extend(u32::try_from(rtf.len()).unwrap().to_le_bytes());
    packed.extend(b"MELA\0\0\0\0");
    packed.extend(rtf);
    let rich = Item::new(&[]).binary(0x1009, &packed);
    let rich = rich.finish();
    assert_eq!(extract_bytes(&rich, limits()).await.unwrap().text, "The wheel turns.");
    let too_long = IngestLimits { max_text_chars: 9, ..limits() };
    assert_eq!(code(&extract_bytes(&rich, too_long).await), "too_large");
}

#[tokio::test]
async fn what_an_archive_holds_is_listed_and_what_can_be_read_comes_out() {
    let archive = std::fs::read(fixture("documents/quaderni-it.zip")).unwrap();
    let unpacked = unpack(&archive, ALLOWED).await.unwrap();
    assert_eq!(
        parts(&unpacked.document),
        [
            "quaderni/marzo.txt: text/plain",
            "quaderni/livelli.csv: text/csv",
            "quaderni/perché.md: text/markdown",
            "turni/aprile.zip: application/zip",
            "foto/ruota.png: unsupported_media_type",
            "vuoto.txt: empty",
        ]
    );
    assert_eq!(bytes_of(&unpacked, 1), b"giorno,livello\n1,0.82\n2,0.86\n3,0.91\n4,0.90\n5,0.88\n6,0.87\n");
}

#[tokio::test]
async fn names_in_an_archive_lead_nowhere_and_links_are_not_followed() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in ["../../../etc/passwd", "/etc/cron.d/evil", "C:\\Windows\\x.txt", "..", "a/../../b.txt"] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(name.as_bytes()).unwrap();
    }
    zip.add_symlink("link.txt", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let unpacked = unpack(&zip.finish().unwrap().into_inner(), ALLOWED).await.unwrap();
    let names: Vec<_> = unpacked.document.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["etc/passwd", "etc/cron.d/evil", "Windows/x.txt", "unnamed", "a/b.txt"]);
    assert_eq!(bytes_of(&unpacked, 0), b"../../../etc/passwd");
}

#[tokio::test]
async fn what_is_beyond_the_limits_is_named_in_a_warning() {
    let members: Vec<(String, Vec<u8>)> =
        (0..12).map(|number| (format!("{number}.txt"), vec![b'a' + number; 1_000])).collect();
    let listed: Vec<(&str, &[u8])> =
        members.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let archive = package(&listed);

    let few = unpack(&archive, Unpack::UpTo { parts: 5, bytes: 1 << 20 }).await.unwrap().document;
    assert_eq!(few.parts.iter().filter(|part| part.left_out().is_none()).count(), 5);
    let told: Vec<_> = few.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        told,
        ["left out, being more than may be kept of one document: 5.txt, 6.txt, 7.txt, 8.txt, 9.txt and 2 more"]
    );

    let small = unpack(&archive, Unpack::UpTo { parts: 200, bytes: 3_500 }).await.unwrap().document;
    assert_eq!(small.parts.iter().filter(|part| part.left_out().is_none()).count(), 3);
    assert!(small.warnings[0].message.starts_with("left out, being larger than"), "{:?}", small.warnings);

    let deep = unpack(&archive, Unpack::TooDeep).await.unwrap().document;
    assert!(deep.parts.iter().all(|part| part.left_out().is_some_and(|why| why.code() == "too_deep")));
    assert!(deep.text.starts_with("0.txt\n1.txt\n"), "it is read all the same");
}

fn mail(headers: &str, body: &str) -> Vec<u8> {
    format!("From: a@example.org\r\nMIME-Version: 1.0\r\n{headers}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn mail_that_means_harm_ends_typed_and_within_its_limits() {
    let mut nested = String::new();
    for level in 0..1_000 {
        nested.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
    }
    nested.push_str("Content-Type: text/plain\r\n\r\ndeep\r\n");
    let messages = "Content-Type: message/rfc822\r\n\r\nFrom: a@example.org\r\nMIME-Version: 1.0\r\n".repeat(1_000);
    let without_end = "Content-Type: message/rfc822\r\n\r\n".repeat(200_000);
    let many = "--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment\r\n\r\na,b\r\n1,2\r\n3,4\r\n5,6\r\n"
        .repeat(50_000);
    for (what, bytes) in [
        ("multiparts", mail(nested.trim_end(), "")),
        ("messages", mail(messages.trim_end(), "words")),
        ("messages without end", mail(without_end.trim_end(), "words")),
        ("a header", mail(&format!("Subject: {}", "x".repeat(20 << 20)), "words")),
        ("addresses", mail(&format!("To: {}", "a@example.org, ".repeat(500_000)), "words")),
        ("groups", mail(&format!("To: {}", "(<\"a: ".repeat(500_000)), "words")),
        ("encoded words", mail(&format!("Subject: {}", "=?utf-8?q?a?= ".repeat(500_000)), "words")),
        ("parameters", mail(&format!("Content-Type: text/plain; {}", "name*0*=a; ".repeat(500_000)), "words")),
        ("attachments", mail("Content-Type: multipart/mixed; boundary=b", &many)),
        ("an empty boundary", mail("Content-Type: multipart/mixed; boundary=\"\"", "--\r\n\r\nwords\r\n----\r\n")),
        ("no body", mail("Content-Type: multipart/mixed; boundary=b", "")),
    ] {
        let result = extract_bytes(&bytes, limits()).await;
        assert!(
            ["ok", "malformed", "too_large", "limit_time", "limit_memory"].contains(&code(&result)),
            "{what}: {result:?}"
        );
        if let Ok(document) = result {
            assert!(document.parts.iter().filter(|part| part.left_out().is_none()).count() <= 200, "{what}");
        }
    }
}

#[tokio::test]
async fn an_attachment_that_cannot_be_decoded_does_not_fail_the_mail() {
    let body = "--b\r\nContent-Type: text/plain\r\n\r\nThe words.\r\n\
        --b\r\nContent-Type: application/pdf; name=bad.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n§§§ no base64 !!!\r\n\
        --b\r\nContent-Type: text/plain; name*=utf-8''gut%C3%A9.txt\r\nContent-Disposition: attachment\r\n\r\nMore.\r\n--b--\r\n";
    let document = extract_bytes(&mail("Content-Type: multipart/mixed; boundary=b", body), limits()).await.unwrap();
    assert_eq!(document.text, "From: a@example.org\n\nThe words.");
    assert_eq!(parts(&document), ["bad.pdf: malformed", "guté.txt: text/plain"]);
    assert_eq!(document.warnings.len(), 1, "{:?}", document.warnings);
}

#[tokio::test]
async fn bodies_are_read_in_their_encoding_or_a_guessed_one_and_encryption_is_told() {
    let mut guessed = mail("Subject: x", "");
    guessed.extend(b"M\xfchle am Bach, sch\xf6ne Gr\xfc\xdfe aus der M\xfchle");
    let document = extract_bytes(&guessed, limits()).await.unwrap();
    assert!(document.text.ends_with("Mühle am Bach, schöne Grüße aus der Mühle"), "{}", document.text);
    let flowed = mail("Content-Type: text/plain; format=flowed", "One \r\nline.\r\n");
    assert!(extract_bytes(&flowed, limits()).await.unwrap().text.ends_with("\n\nOne line."));
    let sealed =
        mail("Content-Type: application/pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64", "MIAG");
    let document = extract_bytes(&sealed, limits()).await.unwrap();
    assert_eq!(document.warnings[0].message, "the message is encrypted; only its header was read");
}

#[tokio::test]
async fn an_item_that_means_harm_ends_typed() {
    let whole = outlook::fixture();
    for length in (0..whole.len()).step_by(509) {
        let result = extract_bytes(&whole[..length], limits()).await;
        assert!(["ok", "malformed", "unsupported_media_type"].contains(&code(&result)), "{length}: {result:?}");
    }
    // Every sector leads to itself, to the first one, or back.
    let fat = 512 + 512 * u32::from_le_bytes(whole[76..80].try_into().unwrap()) as usize;
    for target in [|_: u32| 0, |sector: u32| sector, |sector: u32| sector.saturating_sub(1)] {
        let mut looped = whole.clone();
        for (sector, entry) in (0_u32..).zip(looped[fat..fat + 512].chunks_mut(4)) {
            entry.copy_from_slice(&target(sector).to_le_bytes());
        }
        let result = extract_bytes(&looped, limits()).await;
        assert!(["ok", "malformed", "limit_memory", "unsupported_media_type"].contains(&code(&result)), "{result:?}");
    }
}

/// Ten archives of ten archives of ten files that are mostly nothing.
fn bomb() -> Vec<u8> {
    let pack = |members: &[(String, Vec<u8>)]| {
        let listed: Vec<(&str, &[u8])> = [("first", &b"-"[..])]
            .into_iter()
            .chain(members.iter().map(|(name, content)| (name.as_str(), content.as_slice())))
            .collect();
        package(&listed)
    };
    let file = |level: &str, content: &[u8]| {
        (0..10).map(|number| (format!("{level}{number}"), content.to_vec())).collect::<Vec<_>>()
    };
    let innermost = pack(&file("file", &vec![b' '; 3 << 20]));
    pack(&file("outer", &pack(&file("inner", &innermost))))
}

#[tokio::test]
async fn an_archive_that_expands_without_end_is_cut_at_its_limits() {
    let bomb = bomb();
    assert!(bomb.len() < 1 << 20, "it is no bomb: {}", bomb.len());
    let allowed = Unpack::UpTo { parts: 200, bytes: 10 << 20 };
    let outer = unpack(&bomb, allowed).await.unwrap();
    let inner = unpack(&bytes_of(&outer, 1), allowed).await.unwrap();
    let innermost = unpack(&bytes_of(&inner, 1), allowed).await.unwrap();
    let kept: u64 = innermost
        .document
        .parts
        .iter()
        .filter(|part| part.left_out().is_none())
        .filter_map(|part| part.size_bytes)
        .sum();
    assert!((9 << 20..=10 << 20).contains(&kept), "{kept}");
    assert!(innermost.document.warnings.iter().any(|warning| warning.message.contains("larger than")));
}

#[tokio::test]
async fn a_hundred_thousand_members_and_sizes_that_lie_end_within_the_limits() {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for number in 0..100_000 {
        zip.start_file(format!("{number}.txt"), options).unwrap();
        zip.write_all(b"x").unwrap();
    }
    let document = unpack(&zip.finish().unwrap().into_inner(), ALLOWED).await.unwrap().document;
    assert_eq!(document.parts.iter().filter(|part| part.left_out().is_none()).count(), 200);
    assert_eq!(document.parts.len(), 1_200);
    assert!(
        document.warnings.iter().any(|warning| warning.message.starts_with("98800 more")),
        "{:?}",
        document.warnings
    );
    assert!(document.text.ends_with("\n99999.txt"));

    let mut lying = package(&[("a.txt", b"first"), ("b.txt", &vec![b'w'; 1 << 20])]);
    let mut at = 0;
    while let Some(found) = lying[at..].windows(4).position(|word| word == b"PK\x01\x02") {
        at += found;
        lying[at + 24..at + 28].copy_from_slice(&7_u32.to_le_bytes());
        at += 46;
    }
    let unpacked = unpack(&lying, Unpack::UpTo { parts: 9, bytes: 100_000 }).await.unwrap();
    let kept: u64 = unpacked
        .document
        .parts
        .iter()
        .filter(|part| part.left_out().is_none())
        .filter_map(|part| part.size_bytes)
        .sum();
    assert!(kept <= 100_000, "{:?}", unpacked.document.parts);
}

#[tokio::test]
async fn a_member_with_a_password_is_left_out_and_named() {
    let mut archive = package(&[("open.txt", b"Words for all."), ("secret.txt", b"Words for few.")]);
    // The flag of encryption (APPNOTE.TXT 4.4.4), in both headers of the second member.
    for (mark, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = archive.windows(4).rposition(|word| word == mark).unwrap();
        archive[at + flags] |= 1;
    }
    let document = unpack(&archive, ALLOWED).await.unwrap().document;
    assert_eq!(parts(&document), ["open.txt: text/plain", "secret.txt: encrypted"]);
    assert_eq!(document.warnings[0].message, "left out, being protected with a password: secret.txt");
    assert_eq!(document.text, "open.txt\nsecret.txt");
}
