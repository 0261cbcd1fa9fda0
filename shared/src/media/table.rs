//! Whether a text is a table: records of fields that are parted by commas, semicolons or tabs.

/// How many records are looked at.
const RECORDS: usize = 50;
/// Fewer say nothing.
const LEAST_RECORDS: usize = 3;
/// Of two columns, more are wanted: two lines of prose have a comma each soon enough.
const LEAST_OF_PAIRS: usize = 5;

/// What parts the fields of a table; `None` if the text is none: its first records must all have the same number of fields, two or more, and
/// commas must not be followed by blanks, as they are in prose.
pub fn delimiter_of(text: &str) -> Option<u8> {
    b"\t;,".iter().copied().find(|delimiter| is_table(text, *delimiter))
}

fn is_table(text: &str, delimiter: u8) -> bool {
    let (mut records, mut fields, mut columns) = (0, 1, None);
    let (mut quoted, mut delimiters, mut before_blanks) = (false, 0, 0);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            _ if quoted => {}
            byte if byte == delimiter => {
                fields += 1;
                delimiters += 1;
                before_blanks += usize::from(bytes.peek() == Some(&b' '));
            }
            b'\n' => {
                if *columns.get_or_insert(fields) != fields {
                    return false;
                }
                records += 1;
                fields = 1;
                if records == RECORDS {
                    break;
                }
                // Empty lines end a table, if they are at the end.
                if matches!(bytes.peek(), Some(b'\n' | b'\r')) && bytes.clone().all(|byte| byte.is_ascii_whitespace()) {
                    break;
                }
            }
            _ => {}
        }
    }
    // The last line may have no end, or may have been cut off by the end of the head: it proves nothing.
    let columns = columns.unwrap_or(1);
    let least = if columns == 2 { LEAST_OF_PAIRS } else { LEAST_RECORDS };
    columns >= 2 && records >= least && before_blanks * 10 <= delimiters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_by_what_parts_their_fields() {
        assert_eq!(delimiter_of("day,level,gate\n1,2.5,open\n2,2.4,\"open, half\"\n"), Some(b','));
        assert_eq!(delimiter_of("Tag;Pegel;Tor\n1;2,5;auf\n2;2,4;zu\n3;2,4;zu"), Some(b';'));
        assert_eq!(delimiter_of("a\tb\tc\r\n1\t2\t3\r\n4\t5\t6\r\n\r\n"), Some(b'\t'));
        assert_eq!(delimiter_of("note,\"two\nlines\",x\na,b,c\nd,e,f\n"), Some(b','));
    }

    #[test]
    fn prose_lists_and_short_texts_are_no_tables() {
        let prose = "Dear miller,\nthe sluice, as you know, leaks.\nCome soon, please.\nYours, the owner\n";
        let poem = "Water, turn\nwheel, learn\nstone, grind\nflour, find\nbread, bake\ncake, cake\n";
        for text in [prose, poem, "a,b\nc,d\n", "one\ntwo\nthree\n", "", "a,b,c", "k: v\nk: v\nk: v\n"] {
            assert_eq!(delimiter_of(text), None, "{text:?}");
        }
    }
}
