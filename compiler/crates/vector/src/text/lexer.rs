//! Tokens of the text form.

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A name: letters, digits, `_` and `.`, beginning with a letter.
    Word(&'a str),
    /// `%n`.
    Value(u32),
    /// A number, decimal or `0x`, with its sign.
    Number(i64),
    /// A quoted string.
    Quoted(String),
    /// A single character.
    Punct(char),
}

/// The token at the beginning of `text`, and how many bytes it takes with the space before it. `None` at the end.
pub(super) fn next(text: &str) -> Result<Option<(Token<'_>, usize)>, String> {
    let trimmed = text.trim_start();
    let skipped = text.len() - trimmed.len();
    let Some(first) = trimmed.chars().next() else { return Ok(None) };
    let word_end = |s: &str| s.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(s.len());
    let (token, len) = if first.is_ascii_alphabetic() {
        let end = word_end(trimmed);
        (Token::Word(&trimmed[..end]), end)
    } else if first == '%' {
        let digits = &trimmed[1..];
        let end = word_end(digits);
        let n = digits[..end].parse().map_err(|_| format!("`%{}` is no value", &digits[..end]))?;
        (Token::Value(n), end + 1)
    } else if first.is_ascii_digit() || (first == '-' && trimmed[1..].starts_with(|c: char| c.is_ascii_digit())) {
        let sign = usize::from(first == '-');
        let end = sign + word_end(&trimmed[sign..]);
        let digits = &trimmed[sign..end];
        let parsed = match digits.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        let number = parsed.ok().map(|n| if sign == 1 { -n } else { n }).and_then(|n| i64::try_from(n).ok());
        (Token::Number(number.ok_or_else(|| format!("`{}` is no 64-bit number", &trimmed[..end]))?), end)
    } else if first == '"' {
        quoted(trimmed)?
    } else {
        (Token::Punct(first), first.len_utf8())
    };
    Ok(Some((token, skipped + len)))
}

/// A string as Rust's `{:?}` writes it.
fn quoted(text: &str) -> Result<(Token<'static>, usize), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Quoted(out), at + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('0') => out.push('\0'),
                Some('u') => {
                    let mut hex = String::new();
                    for (_, c) in chars.by_ref() {
                        match c {
                            '{' => {}
                            '}' => break,
                            c => hex.push(c),
                        }
                    }
                    let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    out.push(code.ok_or_else(|| format!("`\\u{{{hex}}}` is no character"))?);
                }
                Some(c @ ('"' | '\'' | '\\')) => out.push(c),
                _ => return Err("unknown escape in a string".to_owned()),
            },
            c => out.push(c),
        }
    }
    Err("string without an end".to_owned())
}
