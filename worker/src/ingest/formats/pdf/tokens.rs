//! Content streams, cut into operators and their operands (ISO 32000-2, 7.8.2).
//!
//! A page has some ten thousand operators, most of them drawing lines, so nothing here allocates for an operator: operands
//! lie in one stack that is reused, strings in one buffer, and names and dictionaries stay slices of the stream. What is not
//! well-formed is stepped over byte by byte, as viewers do.

use std::borrow::Cow;
use std::ops::Range;

/// Operands beyond so many belong to no operator that exists; they are dropped.
const MAX_OPERANDS: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand<'a> {
    Number(f64),
    /// As it stands in the stream; see [`decoded_name`].
    Name(&'a [u8]),
    /// Where the string's bytes lie in [`Operands::bytes`].
    String(Range<usize>),
    /// A dictionary with its brackets, not parsed yet.
    Dict(&'a [u8]),
    /// Booleans and null, which no operator of interest takes.
    Other,
}

/// What stands before an operator. The elements of an array lie there one after the other, without the array.
#[derive(Debug, Default)]
pub(super) struct Operands<'a> {
    stack: Vec<Operand<'a>>,
    bytes: Vec<u8>,
}

impl<'a> Operands<'a> {
    /// The last `N` operands, if they are finite numbers.
    pub fn numbers<const N: usize>(&self) -> Option<[f64; N]> {
        let tail = self.stack.get(self.stack.len().checked_sub(N)?..)?;
        let mut numbers = [0.0; N];
        for (number, operand) in numbers.iter_mut().zip(tail) {
            let Operand::Number(value) = operand else { return None };
            *number = *value;
        }
        Some(numbers)
    }

    pub fn all(&self) -> &[Operand<'a>] {
        &self.stack
    }

    pub fn first_name(&self) -> Option<&'a [u8]> {
        match self.stack.first() {
            Some(Operand::Name(name)) => Some(name),
            _ => None,
        }
    }

    pub fn last_string(&self) -> Option<&[u8]> {
        match self.stack.last() {
            Some(Operand::String(range)) => self.string(range),
            _ => None,
        }
    }

    pub fn string(&self, range: &Range<usize>) -> Option<&[u8]> {
        self.bytes.get(range.clone())
    }

    fn clear(&mut self) {
        self.stack.clear();
        self.bytes.clear();
    }

    fn push(&mut self, operand: Operand<'a>) {
        if self.stack.len() < MAX_OPERANDS {
            self.stack.push(operand);
        }
    }
}

pub(super) struct Tokens<'a> {
    data: &'a [u8],
    at: usize,
    pub operands: Operands<'a>,
    /// Whether `operands` belong to an operator that was given out already.
    used: bool,
}

impl<'a> Tokens<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, operands: Operands::default(), used: false }
    }

    /// The next operator; what it takes is in `operands` until the next call. An inline image is one operator, `BI`.
    pub fn next_operator(&mut self) -> Option<&'a [u8]> {
        if std::mem::take(&mut self.used) {
            self.operands.clear();
        }
        loop {
            let byte = *self.data.get(self.at)?;
            match byte {
                b'\0' | b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'[' | b']' | b'{' | b'}' | b')' => self.at += 1,
                b'%' => self.skip_comment(),
                b'/' => {
                    let name = self.name();
                    self.operands.push(Operand::Name(name));
                }
                b'(' => self.literal_string(),
                b'<' if self.data.get(self.at + 1) == Some(&b'<') => self.dictionary(),
                b'<' => self.hex_string(),
                b'>' => self.at += 1,
                b'0'..=b'9' | b'+' | b'-' | b'.' => self.number(),
                _ => {
                    let word = self.regular();
                    if let Some(operator) = self.operator(word) {
                        self.used = true;
                        return Some(operator);
                    }
                }
            }
        }
    }

    /// Words that are no operators by themselves are dealt with here.
    fn operator(&mut self, word: &'a [u8]) -> Option<&'a [u8]> {
        match word {
            b"true" | b"false" | b"null" => {
                self.operands.push(Operand::Other);
                None
            }
            b"BI" => {
                self.operands.clear();
                None
            }
            b"ID" => {
                self.skip_image_data();
                Some(b"BI")
            }
            word => Some(word),
        }
    }

    fn skip_comment(&mut self) {
        while self.data.get(self.at).is_some_and(|byte| !matches!(byte, b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Bytes up to a blank or a delimiter, at least one.
    fn regular(&mut self) -> &'a [u8] {
        let start = self.at;
        self.at += 1;
        while self.data.get(self.at).is_some_and(|&byte| is_regular(byte)) {
            self.at += 1;
        }
        &self.data[start..self.at]
    }

    fn name(&mut self) -> &'a [u8] {
        &self.regular()[1..]
    }

    fn number(&mut self) {
        let start = self.at;
        let mut negative = false;
        // Some producers write `--5` or `5-3`; the first sign counts, and a later one ends the number.
        while let Some(sign @ (b'+' | b'-')) = self.data.get(self.at) {
            negative |= *sign == b'-' && self.at == start;
            self.at += 1;
        }
        let (mut value, mut scale, mut fraction) = (0.0_f64, 1.0_f64, false);
        while let Some(&byte) = self.data.get(self.at) {
            match byte {
                b'0'..=b'9' if fraction => {
                    scale *= 0.1;
                    value += f64::from(byte - b'0') * scale;
                }
                b'0'..=b'9' => value = value * 10.0 + f64::from(byte - b'0'),
                b'.' if !fraction => fraction = true,
                _ => break,
            }
            self.at += 1;
        }
        // What follows without a blank and is no delimiter belongs to nothing: `12abc` is one broken word.
        while self.data.get(self.at).is_some_and(|&byte| is_regular(byte) && !byte.is_ascii_alphabetic()) {
            self.at += 1;
        }
        if value.is_finite() {
            self.operands.push(Operand::Number(if negative { -value } else { value }));
        }
    }

    fn literal_string(&mut self) {
        let start = self.operands.bytes.len();
        self.at += 1;
        let mut depth = 1_u32;
        while let Some(&byte) = self.data.get(self.at) {
            self.at += 1;
            match byte {
                b'(' => depth += 1,
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'\\' => {
                    self.escape();
                    continue;
                }
                b'\r' => {
                    if self.data.get(self.at) == Some(&b'\n') {
                        self.at += 1;
                    }
                    self.operands.bytes.push(b'\n');
                    continue;
                }
                _ => {}
            }
            self.operands.bytes.push(byte);
        }
        let end = self.operands.bytes.len();
        self.operands.push(Operand::String(start..end));
    }

    fn escape(&mut self) {
        let Some(&byte) = self.data.get(self.at) else { return };
        self.at += 1;
        let meant = match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 8,
            b'f' => 12,
            b'0'..=b'7' => {
                let mut code = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(&digit @ b'0'..=b'7') = self.data.get(self.at) else { break };
                    code = code * 8 + u32::from(digit - b'0');
                    self.at += 1;
                }
                code as u8
            }
            b'\r' => {
                if self.data.get(self.at) == Some(&b'\n') {
                    self.at += 1;
                }
                return;
            }
            b'\n' => return,
            other => other,
        };
        self.operands.bytes.push(meant);
    }

    fn hex_string(&mut self) {
        let start = self.operands.bytes.len();
        self.at += 1;
        let mut high = None;
        while let Some(&byte) = self.data.get(self.at) {
            self.at += 1;
            if byte == b'>' {
                break;
            }
            let Some(digit) = char::from(byte).to_digit(16) else { continue };
            match high.take() {
                None => high = Some(digit),
                Some(first) => self.operands.bytes.push((first * 16 + digit) as u8),
            }
        }
        if let Some(first) = high {
            self.operands.bytes.push((first * 16) as u8);
        }
        let end = self.operands.bytes.len();
        self.operands.push(Operand::String(start..end));
    }

    /// Takes a dictionary as a slice; strings in it may hold brackets.
    fn dictionary(&mut self) {
        let start = self.at;
        let mut depth = 0_u32;
        while let Some(&byte) = self.data.get(self.at) {
            let next = self.data.get(self.at + 1);
            match byte {
                b'<' if next == Some(&b'<') => {
                    depth += 1;
                    self.at += 2;
                }
                b'<' => {
                    let end = self.data[self.at..].iter().position(|byte| *byte == b'>');
                    self.at = end.map_or(self.data.len(), |end| self.at + end + 1);
                }
                b'>' if next == Some(&b'>') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                b'(' => {
                    let (kept, stack) = (self.operands.bytes.len(), self.operands.stack.len());
                    self.literal_string();
                    self.operands.bytes.truncate(kept);
                    self.operands.stack.truncate(stack);
                }
                b'%' => self.skip_comment(),
                _ => self.at += 1,
            }
        }
        self.operands.push(Operand::Dict(&self.data[start..self.at]));
    }

    /// From behind `ID` to behind the `EI` that ends the data: one between blanks with something like text behind it, for
    /// binary data may hold the two letters by chance. Without such a one, the first that a blank follows.
    fn skip_image_data(&mut self) {
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
        let rest = self.data.get(self.at + 1..).unwrap_or_default();
        let ends = || {
            let pairs = rest.windows(2).enumerate().filter(|(_, pair)| *pair == b"EI").map(|(at, _)| at);
            pairs.filter(|at| rest.get(at + 2).is_none_or(is_blank))
        };
        let is_likely = |at: &usize| {
            (*at == 0 || is_blank(&rest[at - 1]))
                && rest[at + 2..].iter().take(10).all(|byte| is_blank(byte) || (0x20..0x7f).contains(byte))
        };
        let end = ends().find(is_likely).or_else(|| ends().next());
        self.at = end.map_or(self.data.len(), |end| self.at + 1 + end + 2);
    }
}

fn is_regular(byte: u8) -> bool {
    let is_blank = matches!(byte, 0 | b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
    !is_blank && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

/// A name with its `#41` escapes resolved.
pub(super) fn decoded_name(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'#') {
        return Cow::Borrowed(name);
    }
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match digits {
            Some(code) if byte == b'#' => {
                decoded.push(code);
                rest = &after[2..];
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests;
