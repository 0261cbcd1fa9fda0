//! The pieces an RTF file is made of.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    /// A control word, with its number.
    Word(&'a [u8], Option<i32>),
    /// A control symbol: a backslash and this.
    Symbol(u8),
    /// A byte of text, in the encoding that holds there.
    Byte(u8),
}

/// Cuts a file into tokens. Every file can be cut; what makes no sense comes out as text.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn control(&mut self) -> Option<Token<'a>> {
        let letters = self.rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if letters == 0 {
            let (&symbol, rest) = self.rest.split_first()?;
            self.rest = rest;
            return Some(if symbol == b'\'' { Token::Byte(self.hexadecimal()) } else { Token::Symbol(symbol) });
        }
        let (word, rest) = self.rest.split_at(letters);
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = rest[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = if digits == 0 { 0 } else { sign + digits };
        let number = std::str::from_utf8(&rest[..length]).ok().and_then(|digits| digits.parse::<i32>().ok());
        // One blank ends the word and is a part of it.
        let blank = usize::from(rest.get(length) == Some(&b' '));
        self.rest = &rest[length + blank..];
        if word == b"bin" {
            let count = usize::try_from(number.unwrap_or(0)).unwrap_or(0);
            self.rest = self.rest.get(count..).unwrap_or_default();
        }
        Some(Token::Word(word, number))
    }

    fn hexadecimal(&mut self) -> u8 {
        let digits = self.rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return b'?' };
        self.rest = &self.rest[2..];
        byte
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'{' => return Some(Token::Open),
                b'}' => return Some(Token::Close),
                b'\\' => return self.control(),
                // Lines of the file are not those of the text.
                b'\n' | b'\r' | 0 => {}
                b'\t' => return Some(Token::Word(b"tab", None)),
                byte => return Some(Token::Byte(byte)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_their_number_and_one_blank() {
        let tokens: Vec<_> = Tokens::new(b"{\\b0  x\\u-12?\\'e9\\~\\bin3 }}}y\\").collect();
        let expected = [
            Token::Open,
            Token::Word(b"b", Some(0)),
            Token::Byte(b' '),
            Token::Byte(b'x'),
            Token::Word(b"u", Some(-12)),
            Token::Byte(b'?'),
            Token::Byte(0xe9),
            Token::Symbol(b'~'),
            Token::Word(b"bin", Some(3)),
            Token::Byte(b'y'),
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn numbers_out_of_range_and_hexadecimal_that_is_none_end_well() {
        let tokens: Vec<_> = Tokens::new(b"\\u99999999999x\\'g1\\bin-5 z").collect();
        assert_eq!(tokens[0], Token::Word(b"u", None));
        assert_eq!(tokens.last(), Some(&Token::Byte(b'z')));
    }
}
