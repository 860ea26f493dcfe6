//! What one admission costs without a server around it: the table is read through the feed as the webhook
//! reads it, then asked in this thread.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::fact::Revision;
use drayage_webhook::admission;
use routing::images::Pod;
use routing::patch::{Change, Outcome, Unrouted};
use routing::{Table, mutate};
use serde_json::value::RawValue;
use store::feed::Feed;

use crate::fill::Ledger;
use crate::report::{Figure, median, shown};
use crate::review::Reviews;

const CALLS: usize = 50_000;
const PAGE: usize = 2_000;

/// `mutate` alone, and from the bytes of a review to the bytes of its answer.
pub(crate) async fn mutation(ledger: &Ledger, reviews: &Reviews) -> Result<Vec<Figure>> {
    let table = table(ledger).await?;
    let (mut alone, mut whole) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    for _ in 0..CALLS {
        let review = reviews.next();
        let pod = object(&review)?;
        let pod: Pod<'_> = serde_json::from_str(pod.get())?;
        let start = Instant::now();
        let mutation = mutate(&Change::Create(&pod), &table, Unrouted::Allow);
        alone.push(start.elapsed());
        ensure!(mutation.outcome == Outcome::Routed, "not routed: {mutation:?}");

        let start = Instant::now();
        let request = admission::read(&review)?;
        let (answer, _) = admission::admit(&request, &table, Unrouted::Allow);
        let answer = answer.to_json()?;
        whole.push(start.elapsed());
        ensure!(!answer.is_empty(), "an empty answer");
    }
    let (alone, whole) = (median(&mut alone), median(&mut whole));
    let routes = table.routes();
    Ok(vec![
        Figure::new(format!("mutate alone, {routes} routes"), shown(alone))
            .target("≤ 20 µs", alone <= Duration::from_micros(20)),
        Figure::new(format!("from review to answer, without HTTP, {routes} routes"), shown(whole)),
    ])
}

/// The pod of a review, as it lies there.
fn object(review: &[u8]) -> Result<&RawValue> {
    let review: std::collections::HashMap<&str, &RawValue> = serde_json::from_slice(review)?;
    let request: std::collections::HashMap<&str, &RawValue> =
        serde_json::from_str(review.get("request").context("a request")?.get())?;
    request.get("object").copied().context("a pod")
}

async fn table(ledger: &Ledger) -> Result<Table> {
    let feed = Feed::open(&ledger.url()?).await?;
    let mut table = Table::new(*b"not random, once", &[]);
    let mut after = Revision(0);
    loop {
        let page = feed.page(after, PAGE).await?;
        page.facts.into_iter().for_each(|fact| table.apply(fact));
        if page.upto >= page.head {
            return Ok(table);
        }
        after = page.upto;
    }
}
