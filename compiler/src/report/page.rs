//! A page of HTML that needs nothing else: tables and plots as inline SVG, in light and dark mode.

use std::fmt::Write;

use super::Table;

/// A page under construction.
pub struct Page {
    body: String,
    title: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#222;--faint:#555;--line:#ddd;--back:#fff;--plot:#fafafa;--bar:#3b7dd8;--old:#b5bfca;--warn:#d8593b}
@media(prefers-color-scheme:dark){:root{--text:#ddd;--faint:#aaa;--line:#444;--back:#1b1d20;--plot:#24272b;--bar:#6aa3ee;--old:#626b75;--warn:#ee8060}}
body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:var(--text);background:var(--back)}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}svg{background:var(--plot);border:1px solid var(--line);margin:.3em;max-width:100%;height:auto}
figure{display:inline-block;margin:.3em}figcaption{font-size:12px;color:var(--faint)}
.bar{fill:var(--bar)}.old{fill:var(--old)}.warn{fill:var(--warn)}.axis,.line{fill:none;stroke:var(--faint)}.line{stroke:var(--bar)}
text{font:11px system-ui,sans-serif;fill:var(--faint)}";

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
        self.body.push_str("<div class='wide'><table>\n");
        for (i, row) in table.texts().into_iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            let cells: String = row.iter().map(|c| format!("<{tag}>{}</{tag}>", escaped(c))).collect();
            let _ = writeln!(self.body, "<tr>{cells}</tr>");
        }
        self.body.push_str("</table></div>\n");
    }

    /// A plot, as [`plot`](super::plot) draws it.
    pub fn plot(&mut self, svg: &str) {
        self.body.push_str(svg);
    }

    /// The whole page.
    pub fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>\
             <title>{}</title><style>{STYLE}</style></head>\n<body>\n{}</body></html>\n",
            escaped(&self.title),
            self.body
        )
    }
}

/// Names come from models: no markup gets through.
pub(super) fn escaped(text: &str) -> String {
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
        let html = page.finish();
        assert!(!html.contains("<script>") && html.contains("&lt;/td&gt;&amp;"));
    }
}
