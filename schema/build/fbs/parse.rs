//! Schema text to declarations.

/// Everything that a schema declares, in its order.
#[derive(Default)]
pub struct Schema {
    pub enums: Vec<Enum>,
    pub unions: Vec<Union>,
    pub tables: Vec<Table>,
    pub root: String,
}

/// `enum NAME : REPR { VALUE = N, ... }`
pub struct Enum {
    pub name: String,
    pub repr: String,
    pub values: Vec<(String, i64)>,
}

/// `union NAME { TABLE, ... }`; tags count from 1.
pub struct Union {
    pub name: String,
    pub members: Vec<String>,
}

/// `table NAME { ... }`; a field's id is its place, a union taking two.
pub struct Table {
    pub name: String,
    pub fields: Vec<Field>,
    pub doc: Vec<String>,
}

pub struct Field {
    pub name: String,
    pub ty: String,
    pub is_vector: bool,
    pub default: Option<String>,
    pub doc: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Mark(char),
    Comment(String),
}

struct Tokens {
    items: Vec<(usize, Token)>,
    at: usize,
}

impl Tokens {
    fn new(text: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (code, comment) = match line.find("//") {
                Some(at) => (&line[..at], Some(line[at + 2..].trim().to_string())),
                None => (line, None),
            };
            let mut word = String::new();
            for c in code.chars().chain([' ']) {
                if c.is_ascii_alphanumeric() || "_.+-".contains(c) {
                    word.push(c);
                    continue;
                }
                if !word.is_empty() {
                    items.push((number + 1, Token::Word(std::mem::take(&mut word))));
                }
                if "{}[]():;,=".contains(c) {
                    items.push((number + 1, Token::Mark(c)));
                } else if !c.is_whitespace() {
                    return Err(format!("line {}: unexpected {c:?}", number + 1));
                }
            }
            if let Some(text) = comment {
                items.push((number + 1, Token::Comment(text)));
            }
        }
        Ok(Self { items, at: 0 })
    }

    fn comments(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        while let Some((_, Token::Comment(text))) = self.items.get(self.at) {
            found.push(text.clone());
            self.at += 1;
        }
        found
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.items.get(self.at)?.1.clone();
        self.at += 1;
        Some(token)
    }

    fn error(&self, wanted: &str) -> String {
        let last = self.at.saturating_sub(1).min(self.items.len().saturating_sub(1));
        match self.items.get(last) {
            Some((line, token)) => format!("line {line}: expected {wanted}, found {token:?}"),
            None => format!("empty schema: expected {wanted}"),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(self.error("a name")),
        }
    }

    fn mark(&mut self, mark: char) -> Result<(), String> {
        match self.next() {
            Some(Token::Mark(found)) if found == mark => Ok(()),
            _ => Err(self.error(&format!("{mark:?}"))),
        }
    }

    fn take(&mut self, mark: char) -> bool {
        let found = matches!(self.items.get(self.at), Some((_, Token::Mark(c))) if *c == mark);
        self.at += usize::from(found);
        found
    }
}

/// Parses a schema; types are checked where code is made from them.
pub fn parse(text: &str) -> Result<Schema, String> {
    let mut tokens = Tokens::new(text)?;
    let mut schema = Schema::default();
    loop {
        let doc = tokens.comments();
        let Some(token) = tokens.next() else { break };
        match token {
            Token::Word(word) if word == "namespace" => {
                tokens.word()?;
                tokens.mark(';')?;
            }
            Token::Word(word) if word == "root_type" => {
                schema.root = tokens.word()?;
                tokens.mark(';')?;
            }
            Token::Word(word) if word == "enum" => schema.enums.push(parse_enum(&mut tokens)?),
            Token::Word(word) if word == "union" => schema.unions.push(parse_union(&mut tokens)?),
            Token::Word(word) if word == "table" => {
                // A heading (`// ---- ...`) belongs to the file, not to the table below it.
                let doc = doc.into_iter().filter(|line| !line.starts_with("----")).collect();
                schema.tables.push(parse_table(&mut tokens, doc)?);
            }
            _ => return Err(tokens.error("enum, union, table, namespace or root_type")),
        }
    }
    Ok(schema)
}

fn parse_enum(tokens: &mut Tokens) -> Result<Enum, String> {
    let name = tokens.word()?;
    tokens.mark(':')?;
    let repr = tokens.word()?;
    tokens.mark('{')?;
    let mut values = Vec::new();
    while !tokens.take('}') {
        let value = tokens.word()?;
        tokens.mark('=')?;
        let number = tokens.word()?.parse().map_err(|_| tokens.error("a number"))?;
        values.push((value, number));
        tokens.take(',');
    }
    Ok(Enum { name, repr, values })
}

fn parse_union(tokens: &mut Tokens) -> Result<Union, String> {
    let name = tokens.word()?;
    tokens.mark('{')?;
    let mut members = Vec::new();
    while !tokens.take('}') {
        members.push(tokens.word()?);
        tokens.take(',');
    }
    Ok(Union { name, members })
}

fn parse_table(tokens: &mut Tokens, doc: Vec<String>) -> Result<Table, String> {
    let name = tokens.word()?;
    tokens.mark('{')?;
    let mut fields = Vec::new();
    loop {
        let doc = tokens.comments();
        if tokens.take('}') {
            break;
        }
        let name = tokens.word()?;
        tokens.mark(':')?;
        let is_vector = tokens.take('[');
        let ty = tokens.word()?;
        if is_vector {
            tokens.mark(']')?;
        }
        let default = if tokens.take('=') { Some(tokens.word()?) } else { None };
        if tokens.take('(') {
            // `(key)` orders vectors of this table by the field; the writer sorts them itself.
            tokens.word()?;
            tokens.mark(')')?;
        }
        tokens.mark(';')?;
        fields.push(Field { name, ty, is_vector, default, doc });
    }
    Ok(Table { name, fields, doc })
}
