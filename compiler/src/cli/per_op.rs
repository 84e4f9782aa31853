//! The table of `mnnc bench --per-op`.

use mnnc::profile::Part;

use crate::report::{Cell, Table};

const COLUMNS: [(&str, &str); 12] = [
    ("node", "node"),
    ("kernel", "kernel"),
    ("steps", "steps"),
    ("ms", "ms"),
    ("share", "share"),
    ("gflops", "GFLOP/s"),
    ("peak_fraction", "of f32 peak"),
    ("bytes", "bytes"),
    ("gbytes_per_s", "GB/s"),
    ("bound_ms", "bound ms"),
    ("bound_by", "bound by"),
    ("bound_fraction", "of bound"),
];

/// A row for each part of a model.
pub fn table(parts: &[Part]) -> Table {
    let total: f64 = parts.iter().map(|part| part.seconds).sum();
    let mut table = Table::new(&COLUMNS);
    for part in parts {
        let seconds = part.seconds.max(1e-12);
        let gflops = part.flops as f64 / seconds / 1e9;
        table.row([
            part.node.as_str().into(),
            part.kernel.as_str().into(),
            Cell::Count(part.steps),
            Cell::Number(part.seconds * 1e3, 4),
            Cell::Share(part.seconds / total.max(1e-12)),
            Cell::Number(gflops, 1),
            Cell::Share(gflops / part.peak),
            Cell::Bytes(part.bytes),
            Cell::Number(part.bytes as f64 / seconds / 1e9, 1),
            Cell::Number(part.bound * 1e3, 4),
            part.limit.name().into(),
            Cell::Share(part.bound / seconds),
        ]);
    }
    table
}

/// One line below the table: what the whole model takes, and what its bounds add up to.
pub fn sum(parts: &[Part]) -> String {
    let total = |of: fn(&Part) -> f64| parts.iter().map(of).sum::<f64>();
    let (seconds, bound) = (total(|p| p.seconds), total(|p| p.bound));
    format!(
        "all steps, one thread: {:.3} ms; the roofline allows {:.3} ms ({:.1} %)\n",
        seconds * 1e3,
        bound * 1e3,
        100.0 * bound / seconds.max(1e-12)
    )
}

#[cfg(test)]
mod tests {
    use super::{sum, table};
    use mnnc::profile::Part;
    use mnnc::roofline::Limit;

    #[test]
    fn shares_are_of_the_whole() {
        let part = |seconds, bound| Part {
            node: "conv".into(),
            kernel: "conv_avx2".into(),
            steps: 2,
            seconds,
            flops: 2_000_000,
            bytes: 1 << 20,
            peak: 100.0,
            bound,
            limit: Limit::Memory("L2"),
        };
        let parts = [part(3e-3, 1e-3), part(1e-3, 1e-3)];
        let rows = table(&parts).json();
        assert_eq!(rows[0]["share"], 0.75);
        assert_eq!(rows[1]["gflops"], 2.0);
        assert_eq!(rows[1]["peak_fraction"], 0.02);
        assert_eq!((&rows[0]["bound_by"], &rows[1]["bound_fraction"]), (&"L2".into(), &1.0.into()));
        assert_eq!(sum(&parts), "all steps, one thread: 4.000 ms; the roofline allows 2.000 ms (50.0 %)\n");
    }
}
