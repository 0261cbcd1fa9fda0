use super::*;

fn range((page, start, end): (u32, u32, u32)) -> ChunkRange {
    ChunkRange { page, start, end, section: 0, depth: 0 }
}

fn outline(pages: &[(u32, u32)], chunks: &[(u32, u32, u32)]) -> Outline {
    Outline {
        marks: Vec::new(),
        media_type: MediaType::PlainText,
        metadata: Metadata::default(),
        pages: pages.iter().zip(1..).map(|(&(start, end), number)| Page { number, start, end }).collect(),
        words: 0,
        chunks: chunks.iter().copied().map(range).collect(),
        warnings: Vec::new(),
        parts: Vec::new(),
        silent: Vec::new(),
    }
}

fn received(bytes: Vec<u8>) -> Document {
    match read_reply(bytes).unwrap().0.unwrap() {
        Answer::Document(read) => read.document,
        Answer::Drawn(picture) => panic!("{picture:?} is no document"),
    }
}

fn sent(reply: Reply, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_reply(&mut bytes, &Header { reply, usage: Usage::default() }, text).unwrap();
    bytes
}

#[test]
fn a_document_survives_the_wire() {
    let text = "水車の日誌\n\nzweite Seite";
    let reply = Reply::Document(Box::new(outline(&[(0, 5), (7, 19)], &[(1, 0, 5), (2, 7, 19)])));
    let document = received(sent(reply, text));
    assert_eq!(document.text, text);
    let pieces: Vec<_> = document.chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(pieces, ["水車の日誌", "zweite Seite"]);
}

#[test]
fn offsets_that_do_not_fit_are_refused() {
    for (pages, chunks) in [
        (&[(0, 4)][..], &[][..]),
        (&[(2, 1)], &[]),
        (&[(0, 3)], &[(1, 0, 4)]),
        (&[(0, 3)], &[(2, 0, 1)]),
        (&[(0, 3)], &[(1, 1, 2), (1, 0, 1)]),
        (&[(0, 3)], &[(1, 1, 0)]),
        (&[(0, 3)], &[(1, 0, 2), (1, 0, 3)]),
        (&[(0, 3)], &[(1, 0, 3), (1, 1, 3)]),
        (&[(0, 3)], &[(1, 1, 3), (1, 2, 4)]),
    ] {
        assert!(assemble(outline(pages, chunks), "abc".to_owned()).is_err(), "{pages:?} {chunks:?}");
    }
    assert!(assemble(outline(&[(0, 3)], &[(1, 0, 3)]), "abc".to_owned()).is_ok());
    let overlapping = assemble(outline(&[(0, 3)], &[(1, 0, 2), (1, 1, 3)]), "abc".to_owned()).unwrap();
    assert_eq!(overlapping.chunks[1].text, "bc");
}

#[test]
fn chunks_that_repeat_the_text_again_and_again_are_refused() {
    let text = "x".repeat(100);
    let chunks: Vec<_> = (0..50).map(|number| (1, number, number + 50)).collect();
    assert!(assemble(outline(&[(0, 100)], &chunks), text.clone()).is_err());
    assert!(assemble(outline(&[(0, 100)], &chunks[..16]), text).is_ok());
}

fn mark(level: u8, start: u32, end: u32, title: Option<&str>) -> Mark {
    Mark { level, start, end, title: title.map(str::to_owned) }
}

#[test]
fn headings_have_their_titles_and_chunks_their_paths() {
    let marks = vec![mark(1, 0, 0, Some("Part")), mark(2, 0, 3, None), mark(2, 6, 7, None), mark(0, 8, 8, None)];
    let ranges = [(0, 0, 5, 2, 2), (0, 6, 7, 3, 1), (0, 8, 9, 4, 9)];
    let chunks = ranges.map(|(_, start, end, section, depth)| ChunkRange { page: 1, start, end, section, depth });
    let outline = Outline { marks, chunks: chunks.to_vec(), ..outline(&[(0, 9)], &[]) };
    let document = received(sent(Reply::Document(Box::new(outline)), "a\nb x\nc x"));
    let titles: Vec<_> = document.headings.iter().map(|heading| heading.title.as_str()).collect();
    assert_eq!(titles, ["Part", "a b", "c"]);
    let paths: Vec<Vec<&str>> = document.chunks.iter().map(|chunk| chunk.headings.titles().collect()).collect();
    assert_eq!(paths, [vec!["Part", "a b"], vec!["Part"], vec![]]);
}

#[test]
fn headings_that_the_sink_would_not_make_are_refused() {
    for marks in [
        vec![mark(1, 0, 4, None)],
        vec![mark(1, 2, 1, None)],
        vec![mark(10, 0, 1, None)],
        vec![mark(0, 0, 1, None)],
        vec![mark(0, 0, 0, Some("x"))],
        vec![mark(1, 0, 0, None)],
        vec![mark(1, 0, 1, Some("x"))],
        vec![mark(1, 0, 0, Some(""))],
        vec![mark(1, 0, 0, Some("two\nlines"))],
        vec![mark(1, 0, 0, Some(&"x".repeat(201)))],
        vec![mark(1, 0, 0, Some("x")), mark(1, 0, 0, Some("x"))],
        vec![mark(1, 0, 2, None), mark(1, 1, 3, None)],
        vec![mark(1, 1, 2, None), mark(1, 0, 1, None)],
    ] {
        assert_eq!(headings_of(&marks, "abc"), None, "{marks:?}");
    }
    assert_eq!(headings_of(&vec![mark(1, 0, 0, Some("x")); MAX_MARKS + 1], "abc"), None);
    for (section, depth) in [(2, 1), (u32::MAX, 0)] {
        let chunk = ChunkRange { section, depth, ..range((1, 0, 3)) };
        let outline = Outline { marks: vec![mark(1, 0, 1, None)], chunks: vec![chunk], ..outline(&[(0, 3)], &[]) };
        assert!(assemble(outline, "abc".to_owned()).is_err(), "section {section}");
    }
}

#[test]
fn silent_pages_that_are_none_are_refused() {
    for (silent, is_right) in
        [(vec![1, 2], true), (vec![3], false), (vec![2, 1], false), (vec![1, 1], false), (vec![0], false)]
    {
        let outline = Outline { silent: silent.clone(), ..outline(&[(0, 1), (1, 2)], &[]) };
        let reply = read_reply(sent(Reply::Document(Box::new(outline)), "ab"));
        assert_eq!(reply.is_ok(), is_right, "{silent:?}");
    }
}

#[test]
fn a_cut_off_reply_is_an_error() {
    let mut bytes = sent(Reply::Failed(Failure::Encrypted), "");
    bytes.pop();
    assert!(matches!(read_reply(bytes), Err(ReplyError::Short)));
    assert!(matches!(read_reply(Vec::new()), Err(ReplyError::Short)));
}
