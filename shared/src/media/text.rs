//! Text, and which kind: its encoding first, then HTML, Markdown or plain.
//!
//! The heuristics only look at the head. They are meant to be defended, not to be clever: HTML must open like HTML,
//! Markdown must show two kinds of its marks of which one is unmistakable, everything else is plain text.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::MediaType;

/// How a text is encoded, as far as its bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoding {
    /// Told by a byte order mark of `bom_len` bytes.
    Marked {
        /// The encoding the mark stands for.
        encoding: &'static Encoding,
        /// The length of the mark, in bytes.
        bom_len: usize,
    },
    /// Valid UTF-8 without a mark (ASCII included).
    Utf8,
    /// No control bytes, so some single- or multi-byte legacy encoding; which one needs statistics over the whole text.
    Legacy,
}

/// Tells how a head is encoded; `None` where it is not text. A character cut off by the head's end is forgiven.
pub fn sniff_encoding(head: &[u8]) -> Option<TextEncoding> {
    if let Some((encoding, bom_len)) = Encoding::for_bom(head) {
        let marked = TextEncoding::Marked { encoding, bom_len };
        return is_valid_marked(encoding, &head[bom_len..]).then_some(marked);
    }
    if head.iter().any(|&byte| is_binary(byte)) {
        return None;
    }
    match std::str::from_utf8(head) {
        Ok(_) => Some(TextEncoding::Utf8),
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => Some(TextEncoding::Utf8),
        Err(_) => Some(TextEncoding::Legacy),
    }
}

/// Control bytes that no text has: all but tab, line feed, form feed, carriage return and escape (terminal colours).
fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

fn is_valid_marked(encoding: &'static Encoding, body: &[u8]) -> bool {
    let body = if encoding == UTF_16LE || encoding == UTF_16BE { &body[..body.len() & !1] } else { body };
    let text = decode_head(encoding, body);
    !text.contains(char::REPLACEMENT_CHARACTER) && !text.bytes().any(is_binary)
}

/// Decodes without flushing, so that a character cut off by the end of the head leaves no replacement mark.
fn decode_head(encoding: &'static Encoding, body: &[u8]) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(body.len()).unwrap_or(body.len()));
    let _ = decoder.decode_to_string(body, &mut text, false);
    text
}

pub(super) fn detect(head: &[u8]) -> Option<MediaType> {
    let text = match sniff_encoding(head)? {
        TextEncoding::Marked { encoding, bom_len } => decode_head(encoding, &head[bom_len..]),
        TextEncoding::Utf8 => decode_head(UTF_8, head),
        TextEncoding::Legacy => decode_head(encoding_rs::WINDOWS_1252, head),
    };
    Some(classify(&text))
}

fn classify(text: &str) -> MediaType {
    let start = text.trim_start();
    if start.starts_with("{\\rtf") {
        return MediaType::Rtf;
    }
    if start.starts_with("%!PS") {
        return MediaType::unsupported("application/postscript");
    }
    if let Some(media_type) = markup(start) {
        return media_type;
    }
    if looks_like_markdown(text) {
        MediaType::Markdown
    } else if super::delimiter_of(text).is_some() {
        MediaType::Csv
    } else {
        MediaType::PlainText
    }
}

/// HTML, XHTML, SVG or other XML. `None` where the text does not open with markup.
fn markup(start: &str) -> Option<MediaType> {
    if !start.starts_with('<') {
        return None;
    }
    let (root, has_declaration) = first_tag(start);
    let root = root?.to_ascii_lowercase();
    match root.as_str() {
        "!doctype html" | "html" | "head" | "body" | "title" | "meta" | "script" | "style" | "frameset" => {
            Some(MediaType::Html)
        }
        "svg" => Some(MediaType::unsupported("image/svg+xml")),
        _ if has_declaration || root.starts_with('!') => Some(MediaType::unsupported("application/xml")),
        // Markdown may open with a fragment of HTML (a centred logo), so a fragment must show none of its strong marks.
        "a" | "article" | "b" | "blockquote" | "br" | "center" | "div" | "em" | "font" | "footer" | "form" | "h1"
        | "h2" | "h3" | "h4" | "h5" | "h6" | "header" | "hr" | "i" | "iframe" | "img" | "li" | "link" | "main"
        | "nav" | "ol" | "p" | "pre" | "section" | "span" | "strong" | "table" | "ul" => {
            Some(if read_marks(start).strong() > 0 { MediaType::Markdown } else { MediaType::Html })
        }
        _ => None,
    }
}

/// The name of the first tag behind XML declarations, processing instructions and comments, and whether an XML
/// declaration was among them. `!doctype html` counts as a name.
fn first_tag(text: &str) -> (Option<String>, bool) {
    let mut rest = text.trim_start();
    let mut has_declaration = false;
    loop {
        let skipped = if let Some(comment) = rest.strip_prefix("<!--") {
            comment.split_once("-->").map(|(_, after)| after)
        } else if let Some(instruction) = rest.strip_prefix("<?") {
            has_declaration |= instruction.starts_with("xml");
            instruction.split_once("?>").map(|(_, after)| after)
        } else {
            break;
        };
        let Some(after) = skipped else {
            return (None, has_declaration);
        };
        rest = after.trim_start();
    }
    let Some(tag) = rest.strip_prefix('<') else {
        return (None, has_declaration);
    };
    if let Some(doctype) = tag.get(..8).filter(|word| word.eq_ignore_ascii_case("!doctype")) {
        let root =
            tag[doctype.len()..].trim_start().split(|c: char| c == '>' || c.is_whitespace()).next().unwrap_or_default();
        return (Some(format!("{doctype} {root}")), has_declaration);
    }
    let name: String =
        tag.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '!')).collect();
    ((!name.is_empty()).then_some(name), has_declaration)
}

/// Marks of Markdown found in a text. Strong ones hardly occur elsewhere; weak ones also occur in mail and notes.
#[derive(Default)]
struct Marks {
    opening_heading: bool,
    heading: bool,
    fence: bool,
    link: bool,
    table: bool,
    list: bool,
    emphasis: bool,
    code: bool,
    quote: bool,
    underline: bool,
}

impl Marks {
    fn strong(&self) -> usize {
        [self.heading, self.fence, self.link, self.table].iter().filter(|&&seen| seen).count()
    }

    fn any_weak(&self) -> bool {
        self.list || self.emphasis || self.code || self.quote || self.underline
    }
}

fn looks_like_markdown(text: &str) -> bool {
    let marks = read_marks(text);
    marks.opening_heading || marks.strong() >= 2 || (marks.strong() == 1 && marks.any_weak())
}

fn read_marks(text: &str) -> Marks {
    let mut marks = Marks::default();
    // A front matter block is Markdown's only if Markdown follows, so it is no mark by itself.
    let body = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).map_or(text, |(_, body)| body);
    let lines: Vec<&str> = body.lines().map(str::trim_end).collect();
    let opening = lines.iter().position(|line| !line.is_empty());
    for (index, line) in lines.iter().enumerate() {
        let blank = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_none_or(|line| line.is_empty());
        // `# note` in a configuration file or a script is a comment: a heading stands between blank lines.
        if is_heading(line) && blank(index.checked_sub(1)) && blank(Some(index + 1)) {
            marks.heading = true;
            marks.opening_heading |= Some(index) == opening;
        }
        let line = line.trim_start();
        marks.fence |= line.starts_with("```") || line.starts_with("~~~");
        marks.link |= has_link(line);
        marks.table |= is_table_rule(line);
        marks.list |= is_list_item(line);
        marks.quote |= line.starts_with("> ");
        marks.emphasis |= line.matches("**").count() >= 2;
        marks.code |= line.matches('`').count() >= 2;
        marks.underline |= index > 0 && is_underline(line) && !blank(Some(index - 1));
    }
    marks
}

fn is_heading(line: &str) -> bool {
    let level = line.bytes().take_while(|&byte| byte == b'#').count();
    (1..=6).contains(&level) && line[level..].starts_with(' ') && line.len() > level + 1
}

fn is_list_item(line: &str) -> bool {
    if ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark)) {
        return true;
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits) && line[digits..].starts_with(". ")
}

fn is_underline(line: &str) -> bool {
    line.len() >= 3 && (line.bytes().all(|byte| byte == b'=') || line.bytes().all(|byte| byte == b'-'))
}

fn is_table_rule(line: &str) -> bool {
    line.contains('|') && line.contains("---") && line.bytes().all(|byte| b"|-: \t".contains(&byte))
}

fn has_link(line: &str) -> bool {
    line.match_indices("](").any(|(at, _)| {
        let opened = line[..at].contains('[');
        let closed = line[at + 2..].split_once(')').is_some_and(|(target, _)| !target.is_empty());
        opened && closed
    })
}
