//! Plots as inline SVG. Colours are those of the page, so that plots follow its light and dark mode.

use std::fmt::Write;

use super::page::escaped;

/// Where bars begin: names stand to the left.
const LEFT: f64 = 260.0;
/// Length of the longest bar.
const LENGTH: f64 = 480.0;
/// Room for the figure behind a bar.
const RIGHT: f64 = 90.0;
/// Height of a row.
const ROW: f64 = 16.0;
/// Characters of a name that fit beside bars.
const NAME: usize = 40;

fn open(title: &str, width: f64, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' aria-label='{title}'><title>{title}</title>\n"
    )
}

/// A row's name, shortened at its front: names of a network differ at their ends.
fn name(svg: &mut String, y: f64, name: &str) {
    let length = name.chars().count();
    let shown: String = match length.checked_sub(NAME) {
        Some(more) if more > 0 => "…".chars().chain(name.chars().skip(more + 1)).collect(),
        _ => name.into(),
    };
    let (x, shown, name) = (LEFT - 6.0, escaped(&shown), escaped(name));
    let _ = write!(svg, "<text x='{x}' y='{y}' text-anchor='end'><title>{name}</title>{shown}</text>");
}

fn bar(svg: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    let _ = write!(svg, "<rect class='{class}' x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}'/>");
}

fn figure(svg: &mut String, x: f64, y: f64, text: &str) {
    let _ = write!(svg, "<text x='{x:.1}' y='{y:.1}'>{}</text>", escaped(text));
}

/// The largest of all, and nothing that is no number.
fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0, f64::max).max(f64::MIN_POSITIVE)
}

/// Horizontal bars, one a name. Those that `warn` accepts stand out; a missing value has no bar.
pub fn bars(title: &str, unit: &str, rows: &[(String, Option<f64>)], warn: impl Fn(f64) -> bool) -> String {
    let most = most(rows.iter().filter_map(|r| r.1));
    let mut svg = open(title, LEFT + LENGTH + RIGHT, ROW * rows.len() as f64 + 4.0);
    for (i, (label, value)) in rows.iter().enumerate() {
        let y = ROW * i as f64 + 2.0;
        name(&mut svg, y + 11.0, label);
        if let Some(value) = value {
            let class = if warn(*value) { "bar warn" } else { "bar" };
            let long = (value / most * LENGTH).clamp(0.0, LENGTH);
            bar(&mut svg, class, (LEFT, y), (long, ROW - 3.0));
            figure(&mut svg, LEFT + long + 5.0, y + 11.0, &format!("{value:.1} {unit}"));
        }
        svg.push('\n');
    }
    svg + "</svg>\n"
}

/// Two bars a name, before and after; `show` writes the figures.
pub fn pairs(title: &str, rows: &[(String, f64, f64)], show: impl Fn(f64) -> String) -> String {
    let most = most(rows.iter().flat_map(|r| [r.1, r.2]));
    let mut svg = open(title, LEFT + LENGTH + RIGHT, ROW * rows.len() as f64 + 4.0);
    for (i, (label, before, after)) in rows.iter().enumerate() {
        let y = ROW * i as f64 + 2.0;
        name(&mut svg, y + 11.0, label);
        let half = (ROW - 3.0) / 2.0;
        let long = |value: f64| (value / most * LENGTH).clamp(0.0, LENGTH);
        bar(&mut svg, "old", (LEFT, y), (long(*before), half));
        bar(&mut svg, "bar", (LEFT, y + half), (long(*after), half));
        figure(&mut svg, LEFT + long(before.max(*after)) + 5.0, y + 11.0, &show(*after));
        svg.push('\n');
    }
    svg + "</svg>\n"
}

/// A histogram with a logarithmic ordinate; what lies outside `range` stands out.
pub fn histogram(name: &str, (low, high): (f64, f64), counts: &[u64], range: (f64, f64)) -> String {
    let (width, height) = (230.0, 80.0);
    let most = (counts.iter().copied().max().unwrap_or(0) as f64 + 1.0).ln().max(f64::MIN_POSITIVE);
    let step = width / counts.len().max(1) as f64;
    let mut svg = String::from("<figure>") + &open(name, width, height + 14.0);
    for (i, &n) in counts.iter().enumerate() {
        let tall = (n as f64 + 1.0).ln() / most * height;
        let middle = low + (high - low) * (i as f64 + 0.5) / counts.len() as f64;
        let class = if middle < range.0 || middle > range.1 { "bar warn" } else { "bar" };
        bar(&mut svg, class, (i as f64 * step, height - tall), (step * 0.9, tall));
    }
    figure(&mut svg, 2.0, height + 11.0, &format!("{low:.3}"));
    let _ = write!(svg, "<text x='{}' y='{}' text-anchor='end'>{high:.3}</text></svg>", width - 2.0, height + 11.0);
    svg + &format!("<figcaption>{}</figcaption></figure>\n", escaped(name))
}

/// A trial in a plot of cost against error.
pub struct Dot {
    pub cost: f64,
    pub error: f64,
    /// What it says when pointed at.
    pub label: String,
    /// Whether no other is better in both.
    pub best: bool,
    pub chosen: bool,
}

/// Trials by cost and error, the best of them joined by a line, the chosen one large. Errors that are no number are left out.
pub fn frontier(title: &str, (cost, error): (&str, &str), dots: &[Dot], show: impl Fn(f64) -> String) -> String {
    let (left, top, width, height) = (70.0, 12.0, 640.0, 300.0);
    let dots: Vec<&Dot> = dots.iter().filter(|d| d.cost.is_finite() && d.error.is_finite()).collect();
    let (right, worst) = (most(dots.iter().map(|d| d.cost)), most(dots.iter().map(|d| d.error)));
    // Accuracy can also be gained.
    let least = dots.iter().map(|d| d.error).fold(0.0, f64::min);
    let rise = |error: f64| (error - least) / (worst - least) * height;
    let place = |d: &Dot| (left + d.cost / right * width, top + height - rise(d.error));
    let mut svg = open(title, left + width + 20.0, top + height + 40.0);
    let axes = format!("M{left} {top}V{}H{}", top + height, left + width);
    let _ = writeln!(svg, "<path class='axis' d='{axes}'/>");
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let (x, y) = (left + share * width, top + height - share * height);
        let _ = write!(
            svg,
            "<text x='{x}' y='{}' text-anchor='middle'>{}</text>",
            top + height + 14.0,
            escaped(&show(share * right))
        );
        let _ = writeln!(
            svg,
            "<text x='{}' y='{}' text-anchor='end'>{:.3}</text>",
            left - 5.0,
            y + 4.0,
            least + share * (worst - least)
        );
    }
    let _ = write!(
        svg,
        "<text x='{}' y='{}' text-anchor='middle'>{}</text>",
        left + width / 2.0,
        top + height + 32.0,
        escaped(cost)
    );
    let _ = writeln!(svg, "<text x='{}' y='{}'>{}</text>", left + 6.0, top + 10.0, escaped(error));
    let mut best: Vec<(f64, f64)> = dots.iter().filter(|d| d.best).map(|d| place(d)).collect();
    best.sort_by(|a, b| a.0.total_cmp(&b.0));
    let line: Vec<String> = best.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class='line' points='{}'/>", line.join(" "));
    for d in dots {
        let (x, y) = place(d);
        let class = if d.best || d.chosen { "bar" } else { "old" };
        let radius = if d.chosen { 6.0 } else { 3.0 };
        let _ = writeln!(
            svg,
            "<circle class='{class}' cx='{x:.1}' cy='{y:.1}' r='{radius}'><title>{}</title></circle>",
            escaped(&d.label)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::{Dot, bars, frontier, histogram, pairs};

    #[test]
    fn names_cannot_break_out_of_plots() {
        let dot = |error: f64| Dot { cost: 2.0, error, label: "<i>".into(), best: true, chosen: error > 0.0 };
        let plots = [
            bars("<b>", "dB", &[("<b>".into(), Some(3.0)), ("none".into(), None)], |v| v < 5.0),
            pairs("'", &[("<b>".repeat(30), 4.0, 1.0)], |v| format!("<{v}>")),
            histogram("'x<b>", (0.0, 1.0), &[1, 0, 9], (0.0, 0.5)),
            frontier("t", ("<b>", "e"), &[dot(0.0), dot(1.0), dot(-0.5), dot(f64::INFINITY)], |v| v.to_string()),
        ];
        for plot in &plots {
            assert!(!plot.contains("<b>") && !plot.contains("<i>"), "{plot}");
            assert_eq!(plot.matches("<svg").count(), plot.matches("</svg>").count());
        }
        assert!(plots[0].contains("bar warn") && plots[1].contains("…"));
        assert_eq!(plots[3].matches("<circle").count(), 3);
        assert!(plots[3].contains("cy='312.0'") && plots[3].contains(">-0.500</text>"), "{}", plots[3]);
    }
}
