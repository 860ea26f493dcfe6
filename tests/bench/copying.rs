//! Copying beside the other copiers of this machine: between real registries, ours inside the running
//! syncer, in turn within one run. Every copy goes to a registry that was empty before.

mod delay;
mod ours;
mod peers;
mod shape;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::registry::Registry;

use self::delay::Delay;
use self::ours::Ours;
use self::peers::Peer;
use self::shape::Shape;
use crate::report::{Figure, mebibytes, median, shown};

/// How far away the distant registry is: there and back.
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// Rounds of each shape, of which the median counts; of the distant registry there is one.
const ROUNDS: usize = 3;
/// What the syncer may hold, and what of it above what it holds idle while it copies one large layer.
const RESIDENT_LIMIT: u64 = 96 << 20;
const ABOVE_IDLE_LIMIT: u64 = 40 << 20;

/// What one copier spent on one shape.
#[derive(Clone, Copy, Debug)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    /// Bytes of memory.
    peak: u64,
}

/// The median of some rounds.
fn middle(costs: &[Cost]) -> Cost {
    let wall = median(&mut costs.iter().map(|cost| cost.wall).collect::<Vec<_>>());
    let cpu = median(&mut costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>());
    let peak = median(&mut costs.iter().map(|cost| cost.peak).collect::<Vec<_>>());
    Cost { wall, cpu, peak }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-9)
}

/// A source registry that holds one shape.
struct Source {
    registry: Registry,
    shape: Shape,
}

impl Source {
    async fn holding(shape: Shape) -> Result<Self> {
        eprintln!("  {} to copy", mebibytes(shape.distinct_bytes()));
        let registry = Registry::open().await?;
        for (tag, image) in shape.images() {
            registry.push(image, Shape::REPOSITORY, tag).await?;
        }
        Ok(Self { registry, shape })
    }

    /// What a peer spends, copying to a registry that was empty.
    async fn by(&self, peer: &Peer, away: Option<Duration>) -> Result<Cost> {
        let (registry, way) = destination(away).await?;
        peer.copy(self, way.as_ref().map_or_else(|| registry.host(), Delay::host)).await
    }

    /// What we spend.
    async fn by_us(&self, away: Option<Duration>) -> Result<(Cost, Ours)> {
        let (registry, way) = destination(away).await?;
        let mut ours = Ours::start(self, registry, way).await?;
        let cost = ours.copy_all().await?;
        Ok((cost, ours))
    }
}

async fn destination(away: Option<Duration>) -> Result<(Registry, Option<Delay>)> {
    let registry = Registry::open().await?;
    let way = match away {
        Some(round_trip) => Some(Delay::before(registry.address(), round_trip).await?),
        None => None,
    };
    Ok((registry, way))
}

/// Eight layers of 32 MiB.
pub(crate) async fn eight_layers() -> Result<Vec<Figure>> {
    one_image(Shape::eight_layers()?, 1.0, 0.30).await
}

/// One layer of 1 GiB.
pub(crate) async fn one_layer() -> Result<Vec<Figure>> {
    one_image(Shape::one_layer()?, 1.05, 0.20).await
}

async fn one_image(shape: Shape, wall_limit: f64, cpu_limit: f64) -> Result<Vec<Figure>> {
    let name = shape.name;
    let source = Source::holding(shape).await?;
    let peers = Peer::found()?;
    let mut theirs = vec![Vec::new(); peers.len()];
    let (mut ours, mut above_idle) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (peer, costs) in peers.iter().zip(&mut theirs) {
            costs.push(source.by(peer, None).await?);
        }
        let (cost, daemon) = source.by_us(None).await?;
        above_idle.push(cost.peak.saturating_sub(daemon.idle));
        ours.push(cost);
    }
    let ours = middle(&ours);
    let theirs: Vec<_> = theirs.iter().map(|costs| middle(costs)).collect();
    let named = || peers.iter().map(|peer| peer.name).zip(&theirs);
    let (fastest, fast) = named().min_by_key(|(_, cost)| cost.wall).context("a peer")?;
    let (_, skopeo) = named().next().context("skopeo")?;
    let (wall, cpu) = (ratio(ours.wall, fast.wall), ratio(ours.cpu, skopeo.cpu));
    let above_idle = median(&mut above_idle);
    let mut figures = vec![
        Figure::new(format!("{name}: time to that of {fastest}, the fastest"), format!("{wall:.2}"))
            .target(format!("≤ {wall_limit:.2}"), wall <= wall_limit),
        Figure::new(format!("{name}: CPU to that of skopeo copy"), format!("{cpu:.2}"))
            .target(format!("≤ {cpu_limit:.2}"), cpu <= cpu_limit),
    ];
    for (peer, theirs) in named() {
        figures.push(
            Figure::new(format!("{name}: time, beside {peer}"), shown(ours.wall)).beside(shown(theirs.wall)),
        );
        figures.push(
            Figure::new(format!("{name}: CPU, beside {peer}"), shown(ours.cpu)).beside(shown(theirs.cpu)),
        );
        figures.push(
            Figure::new(format!("{name}: peak memory, beside {peer}"), mebibytes(ours.peak))
                .beside(mebibytes(theirs.peak))
                .target(format!("≤ {}", mebibytes(RESIDENT_LIMIT)), ours.peak <= RESIDENT_LIMIT),
        );
    }
    figures.push(
        Figure::new(format!("{name}: memory above idle"), mebibytes(above_idle))
            .target(format!("≤ {}", mebibytes(ABOVE_IDLE_LIMIT)), above_idle <= ABOVE_IDLE_LIMIT),
    );
    Ok(figures)
}

/// Fifty images that share six layers, with one of their own each: to an empty registry, to one where all
/// lies already, and to an empty one that is far away.
pub(crate) async fn fifty_images() -> Result<Vec<Figure>> {
    let source = Source::holding(Shape::fifty_images()?).await?;
    let sync = Peer::skopeo_sync()?;
    let (mut cold, mut cold_theirs) = (Vec::new(), Vec::new());
    let (mut again, mut again_theirs) = (Vec::new(), Vec::new());
    let mut uploaded = 0;
    for _ in 0..ROUNDS {
        let registry = Registry::open().await?;
        cold_theirs.push(sync.copy(&source, registry.host()).await?);
        again_theirs.push(sync.copy(&source, registry.host()).await?);
        let (cost, mut ours) = source.by_us(None).await?;
        cold.push(cost);
        uploaded = ours.uploaded()?;
        again.push(ours.copy_all().await?);
        ensure!(ours.uploaded()? == uploaded, "something was uploaded again");
    }
    let (cold, cold_theirs) = (middle(&cold), middle(&cold_theirs));
    let (again, again_theirs) = (middle(&again), middle(&again_theirs));
    let (faster, cpu) = (ratio(cold_theirs.wall, cold.wall), ratio(cold.cpu, cold_theirs.cpu));
    let bytes = uploaded as f64 / source.shape.distinct_bytes() as f64;
    let nothing = ratio(again.wall, again_theirs.wall);
    eprintln!("  {} away, in one round", shown(ROUND_TRIP));
    let (far, _) = source.by_us(Some(ROUND_TRIP)).await?;
    let far_theirs = source.by(&sync, Some(ROUND_TRIP)).await?;
    let far_faster = ratio(far_theirs.wall, far.wall);
    let name = source.shape.name;
    Ok(vec![
        Figure::new(format!("{name}: times faster than skopeo sync"), format!("{faster:.1}"))
            .target("≥ 2.3", faster >= 2.3),
        Figure::new(format!("{name}: time"), shown(cold.wall)).beside(shown(cold_theirs.wall)),
        Figure::new(format!("{name}: CPU to that of skopeo sync"), format!("{cpu:.2}"))
            .target("≤ 0.33", cpu <= 0.33),
        Figure::new(format!("{name}: CPU"), shown(cold.cpu)).beside(shown(cold_theirs.cpu)),
        Figure::new(format!("{name}: peak memory"), mebibytes(cold.peak))
            .beside(mebibytes(cold_theirs.peak))
            .target(format!("≤ {}", mebibytes(RESIDENT_LIMIT)), cold.peak <= RESIDENT_LIMIT),
        Figure::new(format!("{name}: bytes uploaded to distinct bytes"), format!("{bytes:.3}"))
            .target("within 1 %", (bytes - 1.0).abs() <= 0.01),
        Figure::new(format!("{name}, nothing to do: time to that of skopeo sync"), format!("{nothing:.2}"))
            .target("≤ 0.50", nothing <= 0.5),
        Figure::new(format!("{name}, nothing to do: time"), shown(again.wall))
            .beside(shown(again_theirs.wall)),
        Figure::new(
            format!("{name}, {} away: times faster than skopeo sync", shown(ROUND_TRIP)),
            format!("{far_faster:.1}"),
        )
        .target("≥ 20", far_faster >= 20.0),
        Figure::new(format!("{name}, {} away: time", shown(ROUND_TRIP)), shown(far.wall))
            .beside(shown(far_theirs.wall)),
    ])
}
