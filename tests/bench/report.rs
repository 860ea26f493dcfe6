//! What was found: figures beside their floor or a peer and their target as a table for people, and the machine
//! that they are true of.
#![expect(clippy::print_stdout, reason = "the benchmark speaks to a reader")]

use std::fmt::Display;
use std::fs;
use std::time::Duration;

use anyhow::Result;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    what: String,
    ours: String,
    beside: String,
    target: String,
    met: Option<bool>,
}

impl Figure {
    /// A figure of ours alone, without a target.
    pub(crate) fn new(what: impl Display, ours: impl Display) -> Self {
        let (what, ours) = (what.to_string(), ours.to_string());
        Self { what, ours, beside: String::new(), target: String::new(), met: None }
    }

    /// Beside what it is measured against: a floor or a peer.
    pub(crate) fn beside(self, beside: impl Display) -> Self {
        Self { beside: beside.to_string(), ..self }
    }

    /// With a target, and whether it is met.
    pub(crate) fn target(self, target: impl Display, met: bool) -> Self {
        Self { target: target.to_string(), met: Some(met), ..self }
    }
}

/// The figures so far, and what could not be measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    failures: usize,
}

impl Report {
    /// Takes the figures of one measurement up, or says why there are none.
    pub(crate) fn take(&mut self, what: &str, measured: Result<Vec<Figure>>) {
        match measured {
            Ok(figures) => {
                for Figure { what, ours, beside, .. } in &figures {
                    eprintln!("  {what}: {ours} {beside}");
                }
                self.figures.extend(figures);
            }
            Err(error) => {
                eprintln!("{what} could not be measured: {error:?}");
                self.failures += 1;
                self.figures.push(Figure::new(what, "could not be measured"));
            }
        }
    }

    /// Whether everything was measured.
    pub(crate) fn is_complete(&self) -> bool {
        self.failures == 0
    }

    /// Prints the table as Markdown.
    pub(crate) fn print(&self) {
        let met = |figure: &Figure| figure.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned();
        let head = ["figure", "ours", "beside", "target", "met"].map(str::to_owned);
        let rows: Vec<_> = [head]
            .into_iter()
            .chain(self.figures.iter().map(|figure| {
                let Figure { what, ours, beside, target, .. } = figure;
                [what.clone(), ours.clone(), beside.clone(), target.clone(), met(figure)]
            }))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<_> =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
            }
        }
    }
}

/// Prints where and when the figures are taken.
pub(crate) fn print_machine() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores ({}), Linux {}, load {}; commit {}, {}\n",
        model.map_or("unknown", |(_, model)| model),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        runtime::program::COMMIT,
        domain::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
    );
}

/// The middle one of some values.
pub(crate) fn median<T: PartialOrd + Copy>(values: &mut [T]) -> T {
    percentile(values, 50)
}

/// The value that so many in a hundred do not exceed; there is at least one.
pub(crate) fn percentile<T: PartialOrd + Copy>(values: &mut [T], percent: usize) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    values[(values.len() - 1) * percent / 100]
}

/// A duration in the unit that suits it.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1e-3 => format!("{:.1} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

/// Bytes in MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
