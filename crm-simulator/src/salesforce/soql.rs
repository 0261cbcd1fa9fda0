//! A reader of as much SOQL as scans need: `SELECT … FROM … WHERE … ORDER BY … LIMIT … OFFSET …`, without subqueries and relationships.

/// A query as it was written.
#[derive(Debug, PartialEq)]
pub(super) struct Query {
    /// None for `COUNT()`.
    pub(super) fields: Vec<String>,
    pub(super) is_count: bool,
    pub(super) from: String,
    pub(super) filter: Option<Expression>,
    /// Fields, whether they are descending, and whether nulls come last.
    pub(super) order: Vec<(String, bool, bool)>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare { field: String, operator: Operator, value: Literal },
    In { field: String, values: Vec<Literal>, is_negated: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Text(String),
    Number(f64),
    Flag(bool),
    Time(i64),
    Date(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

/// What is wrong, in words.
pub(super) type Problem = String;

const SYMBOLS: [&str; 10] = ["<=", ">=", "!=", "<>", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else if first == '\'' {
            let (text, after) = quoted(&rest[1..])?;
            tokens.push(Token::Text(text));
            rest = after;
        } else {
            let is_word = |character: char| character.is_ascii_alphanumeric() || "_.:+-".contains(character);
            let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("unexpected token: '{first}'"));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// A text in quotes, whose first one is taken off already.
fn quoted(text: &str) -> Result<(String, &str), Problem> {
    let mut read = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Ok((read, &text[at + 1..])),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => read.push('\n'),
                Some('r') => read.push('\r'),
                Some('t') => read.push('\t'),
                Some(escaped @ ('\'' | '"' | '\\' | '%' | '_')) => read.push(escaped),
                _ => return Err("illegal string literal: invalid escape".to_owned()),
            },
            _ => read.push(character),
        }
    }
    Err("string literal is not terminated".to_owned())
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

/// Reads a query.
///
/// # Errors
/// With what the vendor would call malformed.
pub(super) fn parse(text: &str) -> Result<Query, Problem> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0 };
    reader.expect("SELECT")?;
    let fields = reader.fields()?;
    reader.expect("FROM")?;
    let from = reader.word()?;
    let filter = if reader.takes("WHERE") { Some(reader.any()?) } else { None };
    let order = if reader.takes("ORDER") { reader.order()? } else { Vec::new() };
    let limit = if reader.takes("LIMIT") { Some(reader.number()?) } else { None };
    let offset = if reader.takes("OFFSET") { reader.number()? } else { 0 };
    if let Some(token) = reader.tokens.get(reader.at) {
        return Err(format!("unexpected token: {token:?}"));
    }
    let is_count = fields.is_empty();
    Ok(Query { fields, is_count, from, filter, order, limit, offset })
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_it = self.is_word(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, word: &str) -> Result<(), Problem> {
        if self.takes(word) { Ok(()) } else { Err(format!("expecting {word}, found {:?}", self.peek())) }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), Problem> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(format!("expecting {symbol}, found {:?}", self.peek())) }
    }

    fn word(&mut self) -> Result<String, Problem> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            other => Err(format!("expecting a name, found {other:?}")),
        }
    }

    fn number(&mut self) -> Result<usize, Problem> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("expecting a number, found '{word}'"))
    }

    /// None for `COUNT()`.
    fn fields(&mut self) -> Result<Vec<String>, Problem> {
        if self.takes("COUNT") {
            self.expect_symbol("(")?;
            self.expect_symbol(")")?;
            return Ok(Vec::new());
        }
        let mut fields = vec![self.word()?];
        while self.takes_symbol(",") {
            fields.push(self.word()?);
        }
        Ok(fields)
    }

    fn any(&mut self) -> Result<Expression, Problem> {
        let first = self.one()?;
        // SOQL does not mix AND and OR without parentheses.
        let (word, other) = if self.is_word("OR") { ("OR", "AND") } else { ("AND", "OR") };
        let mut all = vec![first];
        while self.takes(word) {
            all.push(self.one()?);
        }
        if self.is_word(other) {
            return Err(format!("unexpected token: '{other}'"));
        }
        Ok(match (all.len(), word) {
            (1, _) => all.remove(0),
            (_, "OR") => Expression::Any(all),
            _ => Expression::All(all),
        })
    }

    fn one(&mut self) -> Result<Expression, Problem> {
        if self.takes("NOT") {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        if self.takes_symbol("(") {
            let within = self.any()?;
            self.expect_symbol(")")?;
            return Ok(within);
        }
        let field = self.word()?;
        if self.is_word("NOT") || self.is_word("IN") {
            let is_negated = self.takes("NOT");
            self.expect("IN")?;
            self.expect_symbol("(")?;
            let mut values = vec![self.literal()?];
            while self.takes_symbol(",") {
                values.push(self.literal()?);
            }
            self.expect_symbol(")")?;
            return Ok(Expression::In { field, values, is_negated });
        }
        let operator = self.operator()?;
        Ok(Expression::Compare { field, operator, value: self.literal()? })
    }

    fn operator(&mut self) -> Result<Operator, Problem> {
        if self.takes("LIKE") {
            return Ok(Operator::Like);
        }
        let known = [
            ("=", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<>", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let found = known.into_iter().find(|(symbol, _)| self.takes_symbol(symbol));
        found.map(|(_, operator)| operator).ok_or_else(|| format!("expecting an operator, found {:?}", self.peek()))
    }

    fn literal(&mut self) -> Result<Literal, Problem> {
        if let Some(Token::Text(text)) = self.peek() {
            let text = text.clone();
            self.at += 1;
            return Ok(Literal::Text(text));
        }
        let word = self.word()?;
        Ok(match word.to_ascii_lowercase().as_str() {
            "null" => Literal::Null,
            "true" => Literal::Flag(true),
            "false" => Literal::Flag(false),
            _ => match (word.parse(), crate::time::parse(&word), crate::time::parse(&format!("{word}T00:00:00Z"))) {
                (Ok(number), ..) => Literal::Number(number),
                (_, Some(ms), _) => Literal::Time(ms),
                (.., Some(_)) => Literal::Date(word),
                _ => return Err(format!("unexpected token: '{word}'")),
            },
        })
    }

    fn order(&mut self) -> Result<Vec<(String, bool, bool)>, Problem> {
        self.expect("BY")?;
        let mut order = Vec::new();
        loop {
            let field = self.word()?;
            let is_descending = self.takes("DESC");
            if !is_descending {
                self.takes("ASC");
            }
            let mut nulls_last = false;
            if self.takes("NULLS") {
                nulls_last = self.takes("LAST");
                if !nulls_last {
                    self.expect("FIRST")?;
                }
            }
            order.push((field, is_descending, nulls_last));
            if !self.takes_symbol(",") {
                return Ok(order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scan_by_time_and_id_is_read() {
        let query = parse(
            "SELECT Id, Name FROM Contact WHERE IsDeleted = false AND (SystemModstamp > 2026-01-31T08:00:00Z \
             OR (SystemModstamp = 2026-01-31T08:00:00.000+0000 AND Id > '003')) ORDER BY SystemModstamp ASC, Id LIMIT 2000",
        )
        .unwrap();
        assert_eq!(query.fields, ["Id", "Name"]);
        assert_eq!((query.from.as_str(), query.limit), ("Contact", Some(2000)));
        assert_eq!(query.order.len(), 2);
        let Some(Expression::All(all)) = query.filter else { panic!("an AND") };
        assert!(matches!(&all[1], Expression::Any(any) if matches!(&any[1], Expression::All(two) if two.len() == 2)));
    }

    #[test]
    fn texts_are_unescaped_and_nonsense_is_refused() {
        let query = parse(r"SELECT Id FROM Account WHERE Name = 'O\'Neill \\ Co'").unwrap();
        let Some(Expression::Compare { value, .. }) = query.filter else { panic!("a comparison") };
        assert_eq!(value, Literal::Text(r"O'Neill \ Co".to_owned()));
        for wrong in [
            "SELECT FROM Contact",
            "SELECT Id FROM Contact WHERE",
            "SELECT Id FROM Contact WHERE A = 1 AND B = 2 OR C = 3",
            "SELECT Id FROM Contact WHERE Name = 'open",
            "SELECT Id FROM Contact LIMIT x",
            "SELECT Id FROM Contact; DROP",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
