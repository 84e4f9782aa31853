//! What a search found, for people and programs.

use mnnc::accuracy::Pictures;
use mnnc::auto_quant::{Chosen, Metric, Request};
use mnnc::calibrate::Samples;
use mnnc::effect::{Effect, OutputError, Rounded};
use mnnc::error::Result;
use mnnc::quantize::Watcher;
use mnnc::{Compiled, Compiler, Emit, Model};
use mnnc_quant::auto::{Goal, Point};
use serde_json::json;

use crate::cli::effect;
use crate::cli::progress::Bar;
use crate::report::page::Page;
use crate::report::plot::{self, Dot};
use crate::report::{self, Cell, Table, size};

/// What was found, and what it was made of.
pub struct Found<'a> {
    pub request: Request,
    /// The model as it was read.
    pub source: &'a Model,
    /// The model in the form in which its weights were compressed.
    pub float: &'a Model,
    pub chosen: &'a Chosen,
    pub done: &'a Compiled,
}

impl Found<'_> {
    /// What the choice does; with `emit`, also how large the float model would be.
    pub fn effect(
        &self,
        compiler: &Compiler,
        samples: &Samples,
        pictures: Option<&Pictures>,
        emit: Option<Emit>,
    ) -> Result<Effect> {
        let chosen = self.chosen;
        let mut effect = Effect {
            measured_on: format!("{} samples", samples.len()),
            outputs: vec![OutputError::of_noise("all outputs", chosen.point.measured.noise)],
            ..Effect::new(self.source, &chosen.report, self.done)
        };
        let plain = effect::plain(compiler);
        let (before, after) = ((&plain, self.source), (&self.done.by, &chosen.model));
        let bar = Bar::default();
        bar.stage("measuring time");
        effect.time(before, after);
        if let (Goal::Milliseconds(budget), Some(time)) = (self.request.goal, effect.time)
            && time.after_ms > budget
        {
            effect.notes.push(format!(
                "measured by turns with the float model, an inference takes {:.3} ms: the budget of {budget} ms is held only undisturbed",
                time.after_ms
            ));
        }
        effect.accuracy = pictures.map(|p| effect::accuracy(p, before, after, &bar)).transpose()?;
        if !chosen.gains.is_empty() {
            effect.alone_from(&chosen.gains);
        } else if emit.is_some() {
            bar.stage("one layer after the other");
            let rounded = Rounded { float: self.float, graph: chosen.model.graph(), biases: false };
            let few = samples.some(effect::SAMPLES_ALONE);
            effect.alone_on = "samples".into();
            effect.alone(&effect::here(&plain), rounded, &few, &|done, total| bar.progress(done, total));
        }
        if let Some(emit) = emit {
            effect.float_file(&plain, self.source, emit);
            effect.layer_times(self.float.graph(), before, after);
        }
        Ok(effect)
    }

    /// What the page says of the search.
    pub fn more(&self, page: &mut Page) {
        let (chosen, request) = (self.chosen, self.request);
        page.heading("What was tried");
        let metric = request.metric;
        let best = chosen.frontier.best();
        // Noise spans decades: its root is what the eye can compare.
        let height = |error: f64| if metric == Metric::Noise { error.sqrt() } else { error };
        let dot = |p: &Point| Dot {
            cost: p.measured.cost(),
            error: height(p.measured.error),
            label: format!("{}, {}", size(p.measured.bytes), metric.show(p.measured.error)),
            best: best.contains(&p),
            chosen: *p == chosen.point,
        };
        let dots: Vec<Dot> = chosen.frontier.points.iter().map(dot).collect();
        let error = match metric {
            Metric::Relative => "largest relative error",
            Metric::Top1Loss => "loss of top-1, points",
            Metric::Noise => "relative rms of errors",
        };
        let title = "trials: cost and error";
        page.plot(&match request.goal {
            Goal::Milliseconds(_) => {
                plot::frontier(title, ("ms of an inference", error), &dots, |ms| format!("{ms:.3}"))
            }
            _ => plot::frontier(title, ("bytes of weights", error), &dots, |bytes| size(bytes as u64)),
        });
        page.table(&self.frontier());
    }

    /// Trials that no other beats.
    pub fn frontier(&self) -> Table {
        let (chosen, metric) = (self.chosen, self.request.metric);
        let mut table = Table::new(&[
            ("bytes", "weights"),
            ("error", "error"),
            ("sqnr_db", "SQNR dB"),
            ("ms", "ms"),
            ("chosen", ""),
        ]);
        for point in chosen.frontier.best() {
            let m = &point.measured;
            table.row([
                Cell::Bytes(m.bytes),
                metric.show(m.error).into(),
                report::effect::of_noise(m.noise),
                m.milliseconds.map_or(Cell::Empty, |t| Cell::Number(t, 3)),
                if *point == chosen.point { "chosen".into() } else { Cell::Empty },
            ]);
        }
        table
    }

    /// All in a line.
    pub fn line(&self) -> String {
        let Found { chosen, done, request: Request { metric, .. }, .. } = self;
        let (before, after) = chosen.report.bytes();
        let file = done.files.first().map_or_else(String::new, |f| f.display().to_string());
        format!(
            "{file}: {}; weights {:.2} times smaller, error {}, SQNR {}, {} trials",
            size(done.bytes),
            before as f64 / after.max(1) as f64,
            metric.show(chosen.point.measured.error),
            Metric::Noise.show(chosen.point.measured.noise),
            chosen.frontier.points.len(),
        )
    }

    /// All of it, for programs.
    pub fn json(&self) -> serde_json::Value {
        let Found { chosen, done, request: Request { metric, .. }, .. } = self;
        let point = |p: &Point| {
            json!({
                "bytes": p.measured.bytes,
                "error": p.measured.error,
                "noise": p.measured.noise,
                "ms": p.measured.milliseconds,
            })
        };
        json!({
            "files": done.files,
            "bytes": done.bytes,
            "metric": match metric { Metric::Relative => "relative", Metric::Top1Loss => "top1_loss", Metric::Noise => "noise" },
            "chosen": point(&chosen.point),
            "layers": chosen.report.layers,
            "frontier": chosen.frontier.best().into_iter().map(point).collect::<Vec<_>>(),
        })
    }
}
