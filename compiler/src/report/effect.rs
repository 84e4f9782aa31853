//! What compression did, as tables and as a page: the same for every verb that compresses.

use mnnc::accuracy::Accuracy;
use mnnc::compare::decibels;
use mnnc::effect::{Effect, Layer};
use mnnc_quant::weight::ScaleType;

use super::page::Page;
use super::{Cell, Table, plot, size};

/// Below this signal to noise, in decibels, a layer's bar stands out.
const NOISY: f64 = 20.0;

/// Size, time, error and accuracy, before and after.
pub fn summary(effect: &Effect) -> Table {
    let mut table = Table::new(&[("what", ""), ("before", "before"), ("after", "after"), ("note", "")]);
    let mut row = |what: &str, before: Cell, after: Cell, note: String| {
        table.row([what.into(), before, after, if note.is_empty() { Cell::Empty } else { note.into() }]);
    };
    row("model file", Cell::Bytes(effect.source_bytes), Cell::Empty, String::new());
    let (before, after) = (effect.file.before, effect.file.after);
    row("what is written", before.map_or(Cell::Empty, Cell::Bytes), Cell::Bytes(after), smaller(before, after));
    let (before, after) = (effect.weights.before, effect.weights.after);
    if !effect.layers.is_empty() {
        row("weights", before.map_or(Cell::Empty, Cell::Bytes), Cell::Bytes(after), smaller(before, after));
    }
    if let Some(time) = &effect.time {
        let note = format!("native code, one thread, minimum of {} runs", time.runs);
        row("inference, ms", Cell::Number(time.before_ms, 3), Cell::Number(time.after_ms, 3), note);
    }
    if let Some(worst) = effect.worst() {
        row("SQNR of outputs, dB", "exact".into(), sqnr(worst.sqnr), effect.measured_on.clone());
        row("relative rms of errors", Cell::Error(0.0), Cell::Error(worst.relative_rms), String::new());
    }
    if let Some(compared) = &effect.accuracy {
        let (before, after) = (&compared.before, &compared.after);
        // One picture of some hundreds shows.
        let percent = |share: f64| Cell::Text(format!("{:.2} %", 100.0 * share));
        let share = |a: &Accuracy, f: fn(&Accuracy) -> Option<f64>| f(a).map_or(Cell::Empty, percent);
        let pictures = format!("{} labelled pictures", after.pictures);
        row("top-1", share(before, |a| a.top1), share(after, |a| a.top1), pictures);
        row("top-5", share(before, |a| a.top5), share(after, |a| a.top5), String::new());
        row("same class as the float model", Cell::Empty, share(after, |a| a.agreement), String::new());
        row("SQNR on these pictures, dB", "exact".into(), sqnr(after.sqnr.filter(|db| db.is_finite())), String::new());
    }
    table
}

fn smaller(before: Option<u64>, after: u64) -> String {
    before.map_or_else(String::new, |before| format!("{:.2} times smaller", before as f64 / after.max(1) as f64))
}

/// Signal to noise; `None` is no noise.
fn sqnr(decibels: Option<f64>) -> Cell {
    decibels.map_or("exact".into(), |db| Cell::Number(db, 1))
}

/// Signal to noise, from the power of the noise relative to that of the signal.
pub fn of_noise(noise: f64) -> Cell {
    sqnr((noise > 0.0).then(|| decibels(noise)))
}

/// Every output's error.
pub fn outputs(effect: &Effect) -> Table {
    let mut table = Table::new(&[
        ("output", "output"),
        ("sqnr", "SQNR, dB"),
        ("relative_rms", "relative rms"),
        ("max_error", "max error"),
        ("largest", "largest value"),
    ]);
    for o in &effect.outputs {
        table.row([
            o.output.as_str().into(),
            sqnr(o.sqnr),
            Cell::Error(o.relative_rms),
            o.max_error.map_or(Cell::Empty, Cell::Error),
            o.largest.map_or(Cell::Empty, |x| Cell::Number(x, 3)),
        ]);
    }
    table
}

/// Every layer with weights; what was not measured has no column.
pub fn layers(effect: &Effect) -> Table {
    let timed = effect.layers.iter().any(|l| l.before_ms.or(l.after_ms).is_some());
    let alone = effect.layers.iter().any(|l| l.alone.is_some());
    let mut columns = vec![
        ("name", "layer"),
        ("op", "op"),
        ("shape", "shape"),
        ("bits", "bits"),
        ("block", "block"),
        ("zero", "zero point"),
        ("scales", "scales"),
        ("bytes_before", "before"),
        ("bytes_after", "after"),
    ];
    columns.extend(timed.then_some([("before_ms", "before, ms"), ("after_ms", "after, ms")]).into_iter().flatten());
    columns.extend([("sqnr", "weights, dB"), ("max_error", "max error")]);
    columns.extend(alone.then_some(("alone", "alone, dB")));
    columns.push(("note", "note"));
    let mut table = Table::new(&columns);
    let ms = |time: Option<f64>| time.map_or(Cell::Empty, |ms| Cell::Number(ms, 4));
    for layer in &effect.layers {
        let w = &layer.weights;
        let shape: Vec<String> = w.shape.iter().map(usize::to_string).collect();
        let mut row = vec![
            w.name.as_str().into(),
            w.op.into(),
            shape.join("x").into(),
            Cell::Count(u64::from(w.bits)),
            if w.block == 0 { Cell::Empty } else { Cell::Count(w.block as u64) },
            if w.symmetric { Cell::Empty } else { "yes".into() },
            w.scales.map_or(Cell::Empty, |s| if s == ScaleType::Fp16 { "fp16".into() } else { "fp32".into() }),
            Cell::Bytes(w.bytes_before),
            Cell::Bytes(w.bytes_after),
        ];
        row.extend(timed.then(|| [ms(layer.before_ms), ms(layer.after_ms)]).into_iter().flatten());
        row.extend([sqnr(w.sqnr), Cell::Error(w.max_error)]);
        row.extend(alone.then(|| layer.alone.map_or(Cell::Empty, of_noise)));
        row.push(w.note.as_deref().map_or(Cell::Empty, Cell::from));
        table.row(row);
    }
    table
}

/// The page; `more` adds what only one verb knows.
pub fn page(effect: &Effect, more: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::new(&format!("Compression of {}", effect.model));
    page.table(&summary(effect));
    for note in &effect.notes {
        page.paragraph(note);
    }
    for (name, why) in effect.accuracy.iter().flat_map(|a| &a.skipped) {
        page.paragraph(&format!("skipped: {name}: {why}"));
    }
    if !effect.outputs.is_empty() {
        page.heading("Outputs");
        page.paragraph(&format!("Errors against the float model, on {}.", effect.measured_on));
        page.table(&outputs(effect));
    }
    if !effect.layers.is_empty() {
        plots(effect, &mut page);
        page.heading("Layers");
        let on = if effect.alone_on.is_empty() { String::new() } else { format!(" ({})", effect.alone_on) };
        page.paragraph(&format!(
            "Signal to noise of a layer's weights, and of the outputs when this layer's weights alone are compressed{on}. Larger is better."
        ));
        page.table(&layers(effect));
    }
    more(&mut page);
    page.finish()
}

fn plots(effect: &Effect, page: &mut Page) {
    let named = |value: fn(&Layer) -> Option<f64>| -> Vec<(String, Option<f64>)> {
        effect.layers.iter().map(|l| (l.weights.name.clone(), value(l))).collect()
    };
    page.heading("Bytes of weights, before (grey) and after");
    let bytes = |l: &Layer| (l.weights.name.clone(), l.weights.bytes_before as f64, l.weights.bytes_after as f64);
    let rows: Vec<_> = effect.layers.iter().map(bytes).collect();
    page.plot(&plot::pairs("bytes of weights", &rows, |bytes| size(bytes as u64)));
    let time = |l: &Layer| {
        let some = l.before_ms.or(l.after_ms)?;
        let (before, after) = (l.before_ms.unwrap_or(0.0), l.after_ms.unwrap_or(0.0));
        (some > 0.0).then(|| (l.weights.name.clone(), before, after))
    };
    let rows: Vec<_> = effect.layers.iter().filter_map(time).collect();
    if !rows.is_empty() {
        page.heading("Milliseconds, before (grey) and after");
        page.paragraph(
            "Minimum of a few runs. What follows a layer and has no weights counts with it; a layer that is not there is computed together with a later one.",
        );
        page.plot(&plot::pairs("milliseconds", &rows, |ms| format!("{ms:.4}")));
    }
    page.heading("Signal to noise of weights");
    page.plot(&plot::bars("signal to noise of weights", "dB", &named(|l| l.weights.sqnr), |db| db < NOISY));
    let alone = named(|l| l.alone.filter(|noise| *noise > 0.0).map(decibels));
    if alone.iter().any(|(_, db)| db.is_some()) {
        page.heading("Signal to noise of the outputs, one layer compressed alone");
        page.plot(&plot::bars("signal to noise of outputs", "dB", &alone, |db| db < NOISY));
    }
}
