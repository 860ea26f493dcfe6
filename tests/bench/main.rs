//! `make bench`: the figures of docs/benchmarks.md, each beside its floor, a peer or its target, on the
//! machine that it runs on. It says what was found and judges nothing: it fails only when something could
//! not be measured. `KEEP=DIR` leaves the database with 100,000 routes in DIR.

mod admission;
mod copying;
mod fill;
mod ledger;
mod load;
mod programs;
mod pure;
mod report;
mod review;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use harness::certificates::{Authority, Pair};

use crate::admission::Measured;
use crate::fill::Ledger;
use crate::load::Server;
use crate::programs::Program;
use crate::report::{Figure, Report, mebibytes};
use crate::review::Reviews;

/// Routes of the database that admission is measured with.
const ROUTES: u32 = 100_000;
/// Routes to which it grows afterwards.
const MANY_ROUTES: u32 = 1_000_000;

/// Measures the programs of this build on this machine
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything by default
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Admission, and the ledger behind it
    Admission,
    /// Copying, beside skopeo and the other copiers on PATH
    Copying,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { parts } = Args::parse();
    // Nothing else in this process has installed one.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let measured = tokio::select! {
        measured = measure(&parts) => measured,
        // Leaving this way ends the programs and removes the databases.
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the measurement ended early: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// What all measurements share.
struct Bench {
    folder: tempfile::TempDir,
    ledger: Ledger,
    authority: Authority,
    pair: Pair,
    report: Report,
}

async fn measure(parts: &[Part]) -> Result<bool> {
    report::print_machine();
    let mut report = Report::default();
    let wanted = |part| parts.is_empty() || parts.contains(&part);
    if wanted(Part::Copying) {
        eprintln!("copying");
        report.take("eight layers", copying::eight_layers().await);
        report.take("one layer", copying::one_layer().await);
        report.take("fifty images", copying::fifty_images().await);
    }
    if wanted(Part::Admission) {
        report = admission(report).await?;
    }
    report.print();
    Ok(report.is_complete())
}

async fn admission(report: Report) -> Result<Report> {
    eprintln!("making a database with {ROUTES} routes");
    let folder = tempfile::tempdir()?;
    let ledger = Ledger::make(folder.path()).await?;
    ledger.fill(0..ROUTES)?;
    if let Some(kept) = env::var_os("KEEP").filter(|kept| !kept.is_empty()) {
        ledger.keep(Path::new(&kept))?;
    }
    let authority = Authority::new()?;
    let pair = authority.write_pair(folder.path())?;
    let mut bench = Bench { folder, ledger, authority, pair, report };
    let resident = bench.hundred_thousand().await?;
    eprintln!("growing the database to {MANY_ROUTES} routes");
    bench.ledger.fill(ROUTES..MANY_ROUTES)?;
    bench.million(resident).await?;
    Ok(bench.report)
}

impl Bench {
    /// Measures with the first database; gives the webhook's memory when it had read the routes.
    async fn hundred_thousand(&mut self) -> Result<u64> {
        let Self { folder, ledger, authority, pair, report } = self;
        let webhook = Program::webhook(ledger, pair).await?;
        let resident = webhook.resident()?;
        let floor = Program::floor(pair).await?;
        let ours = Measured::new(webhook, authority)?;
        let below = Measured::new(floor, authority)?;
        let reviews = Arc::new(Reviews::new(ROUTES)?);
        eprintln!("reviews of {} bytes on {} connections", reviews.length(), load::CONNECTIONS);
        admission::check(&ours.server, &reviews).await?;
        eprintln!("admission when saturated");
        report.take("saturated", admission::saturation(&ours, &below, &reviews).await);
        eprintln!("admission at a fixed rate");
        report.take("at a fixed rate", admission::latency(&ours.server, &below.server, &reviews).await);
        admission::check_outcomes(&ours.program).await?;
        eprintln!("memory, new routes, what is idle");
        let after = ours.program.resident()?;
        report.take("memory", Ok(memory(resident, after, below.program.resident()?)));
        report.take("mutate", pure::mutation(ledger, &reviews).await);
        report.take("a new route", ledger::visibility(ledger, &ours.server, &reviews).await);
        report.take("what is idle", ledger::idleness(ledger, folder.path(), &ours.program).await);
        Ok(resident)
    }

    /// Measures what might grow with the routes.
    async fn million(&mut self, before: u64) -> Result<()> {
        let Self { folder, ledger, authority, pair, report } = self;
        let webhook = Program::webhook(ledger, pair).await?;
        let each = webhook.resident()?.saturating_sub(before) as f64 / f64::from(MANY_ROUTES - ROUTES);
        report.take(
            "memory",
            Ok(vec![
                Figure::new(format!("memory a route more, to {MANY_ROUTES}"), format!("{each:.0} B"))
                    .target("≤ 150 B", each <= 150.0),
            ]),
        );
        let reviews = Reviews::new(MANY_ROUTES)?;
        let server = Server::new(webhook.address, authority.pem())?;
        eprintln!("the same with {MANY_ROUTES} routes");
        report.take("mutate", pure::mutation(ledger, &reviews).await);
        report.take("a new route", ledger::visibility(ledger, &server, &reviews).await);
        drop(webhook);
        report.take("status", ledger::status_reads(ledger, folder.path(), MANY_ROUTES).await);
        report.take("claims", ledger::claims(ledger).await);
        Ok(())
    }
}

fn memory(ready: u64, loaded: u64, floor: u64) -> Vec<Figure> {
    let limit = 48 << 20;
    vec![
        Figure::new(format!("memory after the load, {ROUTES} routes"), mebibytes(loaded))
            .beside(mebibytes(floor))
            .target("≤ 48 MiB", loaded <= limit),
        Figure::new(format!("memory when ready, {ROUTES} routes"), mebibytes(ready)),
    ]
}
