//! Admission over TLS beside its floor: throughput when saturated, latency at a fixed rate.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::certificates::Authority;

use crate::load::{self, Server};
use crate::programs::Program;
use crate::report::{Figure, median, percentile, shown};
use crate::review::Reviews;

/// Rounds of each kind, ours and the floor's in turn: many and short, so that what else the machine does
/// falls on both.
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(2);
/// Requests a second of the fixed rate.
const RATE: u32 = 1_000;
/// Answers that are looked into.
const CHECKED: u32 = 200;

/// Looks into answers: each must move its image to where it was pushed.
pub(crate) async fn check(server: &Server, reviews: &Reviews) -> Result<()> {
    let mut connection = server.connect().await?;
    for _ in 0..CHECKED {
        let number = reviews.sent();
        let answer = connection.post(reviews.next()).await?;
        reviews.check(number, &answer)?;
    }
    Ok(())
}

/// A server and its process.
pub(crate) struct Measured {
    pub(crate) server: Server,
    pub(crate) program: Program,
}

impl Measured {
    /// The server of a process that shows a certificate of this authority's.
    pub(crate) fn new(program: Program, authority: &Authority) -> Result<Self> {
        Ok(Self { server: Server::new(program.address, authority.pem())?, program })
    }

    /// Requests a second when saturated, and the CPU time that the process spends on each.
    async fn saturated(&self, reviews: &Arc<Reviews>, threads: usize) -> Result<(f64, Duration)> {
        let before = self.program.cpu()?;
        let rate = load::saturate(&self.server, reviews, ROUND, threads).await?;
        Ok((rate, self.program.cpu()?.saturating_sub(before).div_f64(rate * ROUND.as_secs_f64())))
    }
}

/// Both servers when saturated, by a load generator that leaves them one core, and by one that competes
/// for all of them.
pub(crate) async fn saturation(
    ours: &Measured,
    floor: &Measured,
    reviews: &Arc<Reviews>,
) -> Result<Vec<Figure>> {
    let all = thread::available_parallelism()?.get();
    let mut figures = saturated_by(1, ours, floor, reviews).await?;
    figures.extend(saturated_by(all.max(2), ours, floor, reviews).await?);
    Ok(figures)
}

async fn saturated_by(
    threads: usize,
    ours: &Measured,
    floor: &Measured,
    reviews: &Arc<Reviews>,
) -> Result<Vec<Figure>> {
    for measured in [floor, ours] {
        measured.saturated(reviews, threads).await?;
    }
    let (mut ratios, mut rates, mut below) = (Vec::new(), Vec::new(), Vec::new());
    let (mut costs, mut costs_below) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (rate_below, cost_below) = floor.saturated(reviews, threads).await?;
        let (rate, cost) = ours.saturated(reviews, threads).await?;
        ratios.push(rate / rate_below);
        rates.push(rate);
        below.push(rate_below);
        costs.push(cost);
        costs_below.push(cost_below);
    }
    let (ratio, rate) = (median(&mut ratios), median(&mut rates));
    let what = format!("saturated by {threads} thread{}", if threads == 1 { "" } else { "s" });
    Ok(vec![
        Figure::new(format!("{what}: ours to floor"), format!("{ratio:.2}")).target("≥ 0.45", ratio >= 0.45),
        Figure::new(format!("{what}: requests/s"), format!("{rate:.0}"))
            .beside(format!("{:.0}", median(&mut below)))
            .target("≥ 10000", rate >= 10_000.0),
        Figure::new(format!("{what}: CPU of the server a request"), shown(median(&mut costs)))
            .beside(shown(median(&mut costs_below))),
    ])
}

/// Both servers at a fixed rate.
pub(crate) async fn latency(ours: &Server, floor: &Server, reviews: &Arc<Reviews>) -> Result<Vec<Figure>> {
    let mut quantiles: [[Vec<Duration>; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (server, [p50, p99]) in [floor, ours].into_iter().zip(&mut quantiles) {
            let mut took = load::paced(server, reviews, RATE, ROUND).await?;
            ensure!(!took.is_empty(), "nothing was sent");
            p50.push(percentile(&mut took, 50));
            p99.push(percentile(&mut took, 99));
        }
    }
    let [[floor_p50, floor_p99], [p50, p99]] =
        quantiles.map(|server| server.map(|mut took| median(&mut took)));
    let above = p99.saturating_sub(floor_p99);
    Ok(vec![
        Figure::new(format!("at {RATE}/s: p99 above the floor's"), shown(above))
            .target("≤ 2 ms", above <= Duration::from_millis(2)),
        Figure::new(format!("at {RATE}/s: p50"), shown(p50)).beside(shown(floor_p50)),
        Figure::new(format!("at {RATE}/s: p99"), shown(p99)).beside(shown(floor_p99)),
    ])
}

/// Checks against the webhook's own count that every review of this run was routed.
pub(crate) async fn check_outcomes(webhook: &Program) -> Result<()> {
    let page = webhook.admin("/metrics").await?;
    for line in page.lines().filter(|line| line.starts_with("drayage_admission_requests_total")) {
        let routed = line.contains(r#"outcome="routed""#);
        ensure!(routed || line.ends_with(" 0"), "a review was not routed: {line}");
    }
    Ok(())
}
