//! A page of HTML that needs nothing else: tables and plots as inline SVG.

use std::fmt::Write;

use super::Table;

/// A page under construction.
pub struct Page {
    body: String,
    title: String,
}

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}\
    table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}\
    td:first-child,th:first-child{text-align:left}svg{background:#fafafa;border:1px solid #ddd;margin:.3em}\
    figure{display:inline-block;margin:.3em}figcaption{font-size:12px;color:#555}.bar{fill:#3b7dd8}.warn{fill:#d8593b}text{font:11px system-ui,sans-serif;fill:#444}";

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Page {
        Page { title: title.into(), body: format!("<h1>{}</h1>\n", escaped(title)) }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escaped(text));
    }

    /// A table.
    pub fn table(&mut self, table: &Table) {
        self.body.push_str("<table>\n");
        for (i, row) in table.texts().into_iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let cells: String = row.iter().map(|c| format!("<{tag}>{}</{tag}>", escaped(c))).collect();
            let _ = writeln!(self.body, "<tr>{cells}</tr>");
        }
        self.body.push_str("</table>\n");
    }

    /// Horizontal bars, one a name. Those that `warn` accepts stand out; a missing value has no bar.
    pub fn bars(&mut self, unit: &str, rows: &[(String, Option<f64>)], warn: impl Fn(f64) -> bool) {
        let most = rows.iter().filter_map(|r| r.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let (left, width, step) = (260.0, 480.0, 16.0);
        let height = step * rows.len() as f64 + 4.0;
        let _ = writeln!(self.body, "<svg width='{}' height='{height}' role='img'>", left + width + 90.0);
        for (i, (name, value)) in rows.iter().enumerate() {
            let y = step * i as f64 + 2.0;
            let _ = write!(
                self.body,
                "<text x='{}' y='{}' text-anchor='end'>{}</text>",
                left - 6.0,
                y + 11.0,
                escaped(name)
            );
            if let Some(value) = value {
                let class = if warn(*value) { "bar warn" } else { "bar" };
                let long = (value / most * width).clamp(0.0, width);
                let _ = write!(
                    self.body,
                    "<rect class='{class}' x='{left}' y='{y}' width='{long:.1}' height='{}'/><text x='{:.1}' y='{}'>{value:.1} {}</text>",
                    step - 3.0,
                    left + long + 5.0,
                    y + 11.0,
                    escaped(unit)
                );
            }
            self.body.push('\n');
        }
        self.body.push_str("</svg>\n");
    }

    /// A histogram with a logarithmic ordinate; what lies outside `range` stands out.
    pub fn histogram(&mut self, name: &str, (low, high): (f64, f64), counts: &[u64], range: (f64, f64)) {
        let (width, height) = (230.0, 80.0);
        let most = (counts.iter().copied().max().unwrap_or(0) as f64 + 1.0).ln().max(f64::MIN_POSITIVE);
        let bar = width / counts.len().max(1) as f64;
        let _ = write!(self.body, "<figure><svg width='{width}' height='{}' role='img'>", height + 14.0);
        for (i, &n) in counts.iter().enumerate() {
            let tall = (n as f64 + 1.0).ln() / most * height;
            let middle = low + (high - low) * (i as f64 + 0.5) / counts.len() as f64;
            let class = if middle < range.0 || middle > range.1 { "bar warn" } else { "bar" };
            let _ = write!(
                self.body,
                "<rect class='{class}' x='{:.1}' y='{:.1}' width='{:.1}' height='{tall:.1}'/>",
                i as f64 * bar,
                height - tall,
                bar * 0.9
            );
        }
        let _ = writeln!(
            self.body,
            "<text x='2' y='{0}'>{low:.3}</text><text x='{1}' y='{0}' text-anchor='end'>{high:.3}</text></svg><figcaption>{2}</figcaption></figure>",
            height + 11.0,
            width - 2.0,
            escaped(name)
        );
    }

    /// The whole page.
    pub fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{}</title><style>{STYLE}</style></head>\n<body>\n{}</body></html>\n",
            escaped(&self.title),
            self.body
        )
    }
}

/// Names come from models: no markup gets through.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Page;
    use crate::report::{Cell, Table};

    #[test]
    fn names_cannot_break_out() {
        let mut page = Page::new("<script>");
        let mut table = Table::new(&[("a", "a")]);
        table.row([Cell::Text("</td>&".into())]);
        page.table(&table);
        page.bars("dB", &[("<b>".into(), Some(3.0)), ("none".into(), None)], |v| v < 5.0);
        page.histogram("'x", (0.0, 1.0), &[1, 0, 9], (0.0, 0.5));
        let html = page.finish();
        assert!(!html.contains("<script>") && !html.contains("<b>") && html.contains("&lt;/td&gt;&amp;"));
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert!(html.contains("bar warn"));
    }
}
