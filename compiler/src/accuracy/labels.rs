//! Which class each picture shows.

use std::collections::HashMap;
use std::path::Path;

use mnnc_ir::diag::Diagnostic;

use crate::error::{self, Result};

/// Names of files with their classes, in the order of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Labels {
    /// File names and classes, counted from 0.
    pub rows: Vec<(String, usize)>,
    classes: HashMap<String, usize>,
}

impl Labels {
    /// The class of a file, by its name without the folder.
    pub fn class(&self, file: &str) -> Option<usize> {
        self.classes.get(file).copied()
    }

    /// Reads a list with a file name and a class a line, parted by a comma, a semicolon or white space (the last of a line). Empty lines and lines
    /// that start with `#` are skipped, and so is a first line whose class is no number: a title.
    ///
    /// # Errors
    /// The file cannot be read, a line has no class, a file is listed twice, nothing is listed.
    pub fn read(path: &Path) -> Result<Labels> {
        let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
        Labels::parse(&text).map_err(|d| d.file(path.display()).into())
    }

    fn parse(text: &str) -> std::result::Result<Labels, Diagnostic> {
        let mut rows: Vec<(String, usize)> = Vec::new();
        let mut classes = HashMap::new();
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
        for (order, (number, line)) in lines.enumerate() {
            let parted = line.rsplit_once([',', ';']).or_else(|| line.rsplit_once(char::is_whitespace));
            let class = parted.and_then(|(name, class)| Some((name.trim(), class.trim().parse().ok()?)));
            match class {
                Some((name, class)) if classes.insert(name.to_owned(), class).is_some() => {
                    return Err(Diagnostic::bad_input(format!(
                        "line {}: {name} is listed twice (class {class})",
                        number + 1
                    )));
                }
                Some((name, class)) => rows.push((name.to_owned(), class)),
                None if order == 0 => {}
                None => {
                    return Err(Diagnostic::bad_input(format!("line {} ends in no class: {line}", number + 1))
                        .remedy("write FILE,CLASS with classes counted from 0"));
                }
            }
        }
        if rows.is_empty() {
            return Err(Diagnostic::bad_input("it lists no pictures").remedy("write FILE,CLASS a line"));
        }
        Ok(Labels { rows, classes })
    }
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn common_forms_are_read() {
        let rows = vec![("a b.jpg".to_string(), 3), ("c.png".to_string(), 0)];
        for text in ["file,class\na b.jpg,3\n\nc.png, 0\n", "# mine\r\na b.jpg 3\r\nc.png\t0", "a b.jpg;3\nc.png;0"] {
            let labels = Labels::parse(text).unwrap();
            assert_eq!(labels.rows, rows, "{text}");
            assert_eq!((labels.class("a b.jpg"), labels.class("d.png")), (Some(3), None));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| Labels::parse(text).unwrap_err().to_string();
        assert!(refused("a,1\nb,cat\n").contains("line 2 ends in no class: b,cat"));
        assert!(refused("a,1\na,2\n").contains("line 2: a is listed twice"));
        assert!(refused("file,class\n").contains("lists no pictures"));
    }
}
