//! Names of things, wherever they come from: labels for people, of which nothing is ever built.

/// The longest label.
const CHARS: usize = 255;

/// The last part of whatever a file is said to be called, without control characters; `None` where nothing is left of it.
#[must_use]
pub fn of_file(file_name: &str) -> Option<String> {
    of_text(file_name.rsplit(['/', '\\']).next().unwrap_or_default())
}

/// What somebody calls a thing, without control characters; `None` where nothing is left of it.
#[must_use]
pub fn of_text(text: &str) -> Option<String> {
    let label: String = text.chars().filter(|letter| !letter.is_control()).take(CHARS).collect();
    let label = label.trim();
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_never_a_path() {
        for (given, label) in [
            ("report.pdf", Some("report.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Users\\x\\a.docx", Some("a.docx")),
            ("a\u{0}b\r\n.txt", Some("ab.txt")),
            ("", None),
            ("..", Some("..")),
            ("  \u{7f} ", None),
            ("/", None),
        ] {
            assert_eq!(of_file(given).as_deref(), label, "{given:?}");
        }
        assert_eq!(of_file(&"ä".repeat(300)).expect("a label").chars().count(), 255);
    }

    #[test]
    fn a_text_keeps_its_slashes_and_loses_what_cannot_be_seen() {
        assert_eq!(of_text(" Import 1/2\u{7} ").as_deref(), Some("Import 1/2"));
        assert_eq!(of_text("\n \u{0}"), None);
    }
}
