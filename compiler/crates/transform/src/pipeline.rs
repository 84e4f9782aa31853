//! Pipelines as text: `fold,cse,fuse-conv-bn{max-sharers=4},(simplify,dce)*`.
//!
//! A group in parentheses with a star runs until a round changes nothing.

use crate::pass::Pass;
use crate::table;
use mnnc_ir::Diagnostic;
use std::collections::BTreeMap;
use std::fmt;

/// One step of a pipeline.
#[derive(Clone)]
pub enum Step {
    /// A pass with the options that were given.
    Pass(&'static Pass, BTreeMap<&'static str, u64>),
    /// Steps that run until nothing changes.
    Group(Vec<Step>),
}

/// A parsed pipeline.
#[derive(Clone, Default)]
pub struct Pipeline {
    /// In order of execution.
    pub steps: Vec<Step>,
}

/// Groups may nest no deeper than this.
const MAX_DEPTH: usize = 8;

impl Pipeline {
    /// Parses a pipeline. Empty text is the pipeline that does nothing.
    pub fn parse(text: &str) -> Result<Pipeline, Diagnostic> {
        let mut p = Parser { text, at: 0 };
        p.space();
        if p.rest().is_empty() {
            return Ok(Pipeline::default());
        }
        let steps = p.steps(0)?;
        if p.rest().is_empty() { Ok(Pipeline { steps }) } else { Err(p.error("expected `,` or the end")) }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(f, &self.steps)
    }
}

fn list(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    for (i, step) in steps.iter().enumerate() {
        if i > 0 {
            f.write_str(",")?;
        }
        match step {
            Step::Pass(pass, options) => {
                f.write_str(pass.name)?;
                if !options.is_empty() {
                    let options: Vec<String> = options.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    write!(f, "{{{}}}", options.join(","))?;
                }
            }
            Step::Group(steps) => {
                f.write_str("(")?;
                list(f, steps)?;
                f.write_str(")*")?;
            }
        }
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    fn eat(&mut self, token: char) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len_utf8() } else { 0 };
        self.space();
        found
    }
    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        self.at += len;
        self.space();
        &rest[..len]
    }
    fn error(&self, message: impl fmt::Display) -> Diagnostic {
        Diagnostic::usage(format!("pipeline, column {}: {message}", self.text[..self.at].chars().count() + 1))
            .remedy("write it as `fold,(simplify,cse)*,dce`; `mnnc opt --list` shows the passes")
    }
    fn steps(&mut self, depth: usize) -> Result<Vec<Step>, Diagnostic> {
        let mut steps = vec![self.step(depth)?];
        while self.eat(',') {
            steps.push(self.step(depth)?);
        }
        Ok(steps)
    }
    fn step(&mut self, depth: usize) -> Result<Step, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(self.error("groups nested too deeply"));
        }
        if self.eat('(') {
            let steps = self.steps(depth + 1)?;
            if !self.eat(')') || !self.eat('*') {
                return Err(self.error("expected `)*`"));
            }
            return Ok(Step::Group(steps));
        }
        let start = self.at;
        let name = self.word();
        let Some(pass) = table::find(name) else {
            self.at = start;
            return Err(self.error(format!("`{name}` is no pass")));
        };
        let mut options = BTreeMap::new();
        if self.eat('{') {
            while !self.eat('}') {
                let (key, value) = self.option(pass)?;
                options.insert(key, value);
                if !self.eat(',') && !self.rest().starts_with('}') {
                    return Err(self.error("expected `,` or `}`"));
                }
            }
        }
        Ok(Step::Pass(pass, options))
    }
    fn option(&mut self, pass: &'static Pass) -> Result<(&'static str, u64), Diagnostic> {
        let start = self.at;
        let key = self.word();
        let Some(decl) = pass.options.iter().find(|o| o.name == key) else {
            self.at = start;
            let known: Vec<&str> = pass.options.iter().map(|o| o.name).collect();
            return Err(self.error(format!("{} has no option `{key}`; it has: {}", pass.name, known.join(", "))));
        };
        if !self.eat('=') {
            return Err(self.error("expected `=`"));
        }
        let start = self.at;
        let value = self.word();
        let Ok(value) = value.parse() else {
            self.at = start;
            return Err(self.error(format!("`{value}` is not a whole number")));
        };
        Ok((decl.name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["", "dce", "fold{max-bytes=1024},(cse,dce)*", "(fold,(dce)*)*"] {
            assert_eq!(Pipeline::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Pipeline::parse(" fold { max-bytes = 8 } , ( cse , dce ) * ").unwrap().to_string(),
            "fold{max-bytes=8},(cse,dce)*"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("dce,nope", "column 5: `nope` is no pass"),
            ("fold{size=1}", "column 6: fold has no option `size`"),
            ("fold{max-bytes=x}", "column 16: `x` is not a whole number"),
            ("(dce", "column 5: expected `)*`"),
            ("dce)", "column 4: expected `,` or the end"),
        ];
        for (text, want) in cases {
            let e = Pipeline::parse(text).err().expect(text).to_string();
            assert!(e.contains(want), "{e}");
        }
    }
}
