use super::*;

fn sink(parts: u32, bytes: u64) -> (PartSink, File) {
    let file = tempfile::tempfile().unwrap();
    (PartSink::new(file.try_clone().unwrap(), Unpack::UpTo { parts, bytes }), file)
}

fn outcome(parts: &[Part]) -> Vec<&str> {
    parts.iter().map(|part| part.left_out().map_or("kept", LeftOut::code)).collect()
}

#[test]
fn what_is_kept_is_read_back_and_what_is_not_has_its_reason() {
    let (mut sink, file) = sink(2, 20);
    for (name, content) in [("a.txt", &b"first words"[..]), ("p.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("none", b"")]
    {
        sink.offer(name, None, &mut &content[..]).unwrap();
    }
    sink.offer("long.txt", None, &mut &[b'x'; 10][..]).unwrap();
    sink.offer("b.txt", None, &mut &b"last word"[..]).unwrap();
    sink.offer("c.txt", None, &mut &b"no more"[..]).unwrap();
    let (mut parts, warnings) = sink.finish();
    assert_eq!(outcome(&parts), ["kept", "unsupported_media_type", "empty", "too_large", "kept", "too_many"]);
    let told: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "left out, being more than may be kept of one document: c.txt",
            "left out, being larger than may be kept of one document: long.txt"
        ]
    );
    let contents = Contents::check(file, &mut parts, Unpack::UpTo { parts: 2, bytes: 20 }).unwrap();
    let mut buffer = [0; 100];
    let count = contents.read_at(&parts[4], 5, &mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"word");
}

#[test]
fn a_hundred_thousand_that_are_left_out_are_not_all_listed() {
    let (mut sink, _) = sink(0, 0);
    for number in 0..100_000 {
        sink.offer(&number.to_string(), None, &mut &b"text"[..]).unwrap();
    }
    let (parts, warnings) = sink.finish();
    assert_eq!((parts.len(), warnings.len()), (1_000, 2));
    assert_eq!(warnings[1].message, "99000 more parts that were left out are not listed");
}

#[test]
fn a_name_leads_nowhere() {
    for (name, expected) in [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/cron.d/x", "etc/cron.d/x"),
        ("C:\\Users\\x\\a.docx", "Users/x/a.docx"),
        ("a\u{0}b\r\n.txt", "ab.txt"),
        ("photo\u{202e}gpj.exe", "photogpj.exe"),
        ("..", "unnamed"),
        ("", "unnamed"),
    ] {
        assert_eq!(label(name), expected, "{name:?}");
    }
    let long = label(&format!("{}/end.txt", "ä".repeat(300)));
    assert!(long.chars().count() == 255 && long.ends_with("/end.txt"));
}

#[test]
fn ranges_that_a_child_makes_up_are_refused() {
    let part = |offset, length| Part {
        name: "x".to_owned(),
        media_type: None,
        size_bytes: None,
        content: PartContent::Kept { offset, length },
    };
    let check = |ranges: &[(u64, u64)], unpack| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        let mut parts: Vec<Part> = ranges.iter().map(|&(offset, length)| part(offset, length)).collect();
        Contents::check(file, &mut parts, unpack)
    };
    let allowed = Unpack::UpTo { parts: 2, bytes: 80 };
    assert!(check(&[(0, 40), (40, 40)], allowed).is_ok());
    for wrong in [
        &[(0, 81)][..],
        &[(0, 40), (39, 10)],
        &[(40, 10), (0, 10)],
        &[(u64::MAX, 2)],
        &[(0, 0)],
        &[(0, 1), (1, 1), (2, 1)],
    ] {
        assert!(check(wrong, allowed).is_err(), "{wrong:?}");
    }
    assert!(check(&[(0, 1)], Unpack::TooDeep).is_err());
    assert!(check(&[(0, 100), (100, 100)], Unpack::UpTo { parts: 9, bytes: 1_000 }).is_err(), "past the file's end");
}
