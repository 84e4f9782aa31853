//! Where the parser is in its text, and the tokens it takes from there.

use super::ParseError;
use crate::text;

/// A position in the text.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    /// An error at the next token.
    pub(super) fn error(&mut self, message: impl Into<String>) -> ParseError {
        self.space();
        self.error_at(self.at, message)
    }
    /// An error at a byte offset taken earlier with [`offset`](Self::offset).
    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        ParseError { line, column, message: message.into() }
    }
    /// Offset of the next token.
    pub(super) fn offset(&mut self) -> usize {
        self.space();
        self.at
    }
    /// Skips white space and `//` comments.
    fn space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }
    /// The next character that is not space.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.space();
        self.rest().chars().next()
    }
    /// Whether only space is left.
    pub(super) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }
    /// Takes `token` if it is next. A token that ends in a letter must not be followed by one.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.space();
        let Some(after) = self.rest().strip_prefix(token) else { return false };
        let word = token.ends_with(|c: char| c.is_ascii_alphabetic());
        if word && after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return false;
        }
        self.at += token.len();
        true
    }
    /// Takes the separator of two sizes, `x`, which a digit may follow.
    pub(super) fn eat_x(&mut self) -> bool {
        let found = self.rest().starts_with('x');
        self.at += usize::from(found);
        found
    }
    /// Takes `token` or complains.
    pub(super) fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }
    /// Takes characters while `ok` holds.
    pub(super) fn take(&mut self, ok: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !ok(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }
    /// An identifier: letters, digits and `_`.
    pub(super) fn ident(&mut self) -> Result<&'a str> {
        self.space();
        let found = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        if found.is_empty() { Err(self.error("expected an identifier")) } else { Ok(found) }
    }
    /// A quoted string.
    pub(super) fn string(&mut self) -> Result<String> {
        let start = self.offset();
        self.expect("\"")?;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        let unfinished = "unfinished string";
        loop {
            match chars.next() {
                Some((i, '"')) => {
                    self.at += i + 1;
                    return Ok(out);
                }
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => out.push(c),
                    Some((_, 'u')) => {
                        let hex: String = chars.by_ref().map(|(_, c)| c).skip(1).take_while(|&c| c != '}').collect();
                        let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                        out.push(c.ok_or_else(|| self.error_at(start, "bad escape in string"))?);
                    }
                    _ => return Err(self.error_at(start, "bad escape in string")),
                },
                Some((_, '\n')) | None => return Err(self.error_at(start, unfinished)),
                Some((_, c)) => out.push(c),
            }
        }
    }
    /// A name: bare or quoted.
    pub(super) fn name(&mut self) -> Result<String> {
        if self.rest().starts_with('"') {
            return self.string();
        }
        let found = self.take(text::is_name_char);
        if found.is_empty() { Err(self.error("expected a name")) } else { Ok(found.to_string()) }
    }
    /// The characters of a number, `true`, `inf`, `nan:7fc00000`.
    pub(super) fn word(&mut self) -> Result<&'a str> {
        self.space();
        let found = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | ':' | '_'));
        if found.is_empty() { Err(self.error("expected a number")) } else { Ok(found) }
    }
    /// A number of a type.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let start = self.offset();
        let word = self.word()?;
        word.parse().map_err(|_| self.error_at(start, format!("`{word}` is not a fitting number")))
    }
    /// Decimal digits.
    pub(super) fn digits(&mut self) -> Result<u64> {
        let start = self.offset();
        let found = self.take(|c| c.is_ascii_digit());
        found.parse().map_err(|_| self.error_at(start, "expected a size"))
    }
    /// `open item, item … close`, possibly empty.
    pub(super) fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(open)?;
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }
}
