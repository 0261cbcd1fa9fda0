//! What elements mean for the text: which part it, which hide theirs, and which the tokenizer must read raw.

use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, TokenSinkResult};

pub(super) fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
        _ => None,
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gap {
    #[default]
    None,
    Line,
    Paragraph,
}

pub(super) fn gap_of(name: &str) -> Gap {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "table" | "section" | "article" | "aside"
        | "header" | "footer" | "main" | "nav" | "figure" | "hr" | "dl" | "form" | "fieldset" | "details" => {
            Gap::Paragraph
        }
        "div" | "dt" | "dd" | "address" | "center" | "caption" | "figcaption" | "legend" | "summary" | "option"
        | "optgroup" | "body" | "head" | "html" | "thead" | "tbody" | "tfoot" | "dialog" | "hgroup" | "search" => {
            Gap::Line
        }
        _ => Gap::None,
    }
}

/// What a browser with scripts shows nothing of. The `hidden` attribute counts only on elements that need an end tag:
/// on others the end cannot be found without a tree.
pub(super) fn is_hidden(name: &str, tag: &Tag) -> bool {
    match name {
        "script" | "style" | "noscript" | "template" | "svg" | "annotation" | "annotation-xml" | "iframe"
        | "object" | "noembed" | "noframes" | "audio" | "video" | "canvas" | "datalist" => true,
        "div" | "section" | "article" | "aside" | "nav" | "span" | "ul" | "ol" | "table" | "dialog" => {
            tag.attrs.iter().any(|attribute| &*attribute.name.local == "hidden")
        }
        _ => false,
    }
}

pub(super) fn first_number(tag: &Tag) -> u32 {
    attribute(tag, "start").trim().parse().unwrap_or(1)
}

/// The value of an attribute; empty where there is none.
pub(super) fn attribute(tag: &Tag, name: &str) -> String {
    let found = tag.attrs.iter().find(|attribute| &*attribute.name.local == name);
    found.map_or_else(String::new, |attribute| attribute.value.to_string())
}

/// The states that the tree builder would put the tokenizer in (HTML standard, 13.2.6.4).
pub(super) fn raw_content(tag: &Tag, is_xml: bool) -> TokenSinkResult<()> {
    if tag.kind == TagKind::EndTag || (is_xml && tag.self_closing) {
        return TokenSinkResult::Continue;
    }
    match &*tag.name {
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" | "noscript" => TokenSinkResult::RawData(RawKind::Rawtext),
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "plaintext" => TokenSinkResult::Plaintext,
        _ => TokenSinkResult::Continue,
    }
}

pub(super) fn is_html_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}
