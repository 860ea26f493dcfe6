//! The table of routes, kept by the facts of the database as the webhook keeps its own. The auditor judges
//! by it; it is read anew when the database was replaced.

use std::convert::Infallible;
use std::time::Duration;

use domain::fact::Revision;
use routing::Table;
use store::DatabaseUrl;
use store::feed::{Feed, FeedError};
use tokio::sync::watch;

use crate::worker::chain;

/// Facts that are in memory beside the table while it is loaded.
const PAGE: usize = 2_000;
/// How long the database is left alone after it has failed.
const PAUSE: Duration = Duration::from_secs(1);
const CONFIRM_EVERY: Duration = Duration::from_secs(5);

/// Follows the database for as long as anybody looks at the table; there is none until it was read.
pub(super) fn follow(database: DatabaseUrl, empty: Table) -> watch::Receiver<Option<Table>> {
    let (table, seen) = watch::channel(None);
    tokio::spawn(async move {
        while !table.is_closed() {
            let Err(error) = once(&database, &empty, &table).await;
            tracing::warn!(error = %chain(&error), "the routes cannot be followed, reading them again");
            tokio::time::sleep(PAUSE).await;
        }
    });
    seen
}

async fn once(
    database: &DatabaseUrl,
    empty: &Table,
    table: &watch::Sender<Option<Table>>,
) -> Result<Infallible, FeedError> {
    let feed = Feed::open(database).await?;
    let (mut next, mut after) = (empty.clone(), Revision(0));
    let mut is_new = true;
    loop {
        loop {
            let page = feed.page(after, PAGE).await?;
            is_new |= !page.facts.is_empty();
            page.facts.into_iter().for_each(|fact| next.apply(fact));
            after = page.upto;
            if page.upto >= page.head {
                break;
            }
        }
        if std::mem::take(&mut is_new) {
            table.send_replace(Some(next.clone()));
        }
        while !feed.changed(CONFIRM_EVERY).await? {}
    }
}
