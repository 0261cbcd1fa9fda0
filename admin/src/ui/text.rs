/// One line of text that came from outside: errors and names may hold line breaks, and escapes that would steer the terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|letter: char| letter.is_control()).map(str::trim).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Text from outside over several lines, each indented by `indent` except the first.
pub fn block(text: &str, indent: usize) -> String {
    let clean = |line: &str| line.replace('\t', "  ").chars().filter(|letter| !letter.is_control()).collect::<String>();
    let lines: Vec<String> = text.trim_end().lines().map(clean).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_breaks_do_not_reach_the_terminal() {
        assert_eq!(one_line("no\r\n\tsuch \u{1b}[31mfile\u{7}"), "no such [31mfile");
        assert_eq!(block("one\ntwo\u{1b}[2J\n", 2), "one\n  two[2J");
    }

    #[test]
    fn thousands_are_apart() {
        let texts = [0, 999, 1_000, 12_345_678].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "12,345,678"]);
    }
}
