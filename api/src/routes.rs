//! `GET /v1/routes`: the route feed for webhooks that are not beside the database. One task of the process
//! watches the database; requests that wait for news wait for it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use domain::fact::{FactPage, Revision};
use runtime::Shutdown;
use store::Store;
use store::feed::Feed;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authentication::RouteReader;
use crate::error::ApiError;
use crate::openapi::Refusals;
use crate::paging::QueryValues;

/// Facts of a page, about.
const PAGE: usize = 2_000;
/// The longest a request waits for news; well below the time limit of requests.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks while the database cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The feed and what tells of news. Clones share it.
#[derive(Clone)]
pub(crate) struct Routes {
    feed: Feed,
    news: watch::Receiver<()>,
}

impl Routes {
    /// Watches the database until the shutdown, which also ends all waiting.
    pub(crate) fn follow(feed: Feed, store: Store, shutdown: Shutdown) -> Self {
        let (sender, news) = watch::channel(());
        tokio::spawn(async move {
            tokio::select! {
                () = tell(&store, &sender) => {}
                () = shutdown.begun() => {}
            }
        });
        Self { feed, news }
    }

    /// The facts after a revision, as soon as there are any or `wait` has passed.
    async fn after(&self, revision: Revision, wait: Duration) -> Result<FactPage, ApiError> {
        let deadline = Instant::now() + wait;
        let mut news = self.news.clone();
        loop {
            // Only what is committed from here on is news: the page holds the rest.
            news.mark_unchanged();
            let page = self.feed.page(revision, PAGE).await.map_err(ApiError::internal)?;
            // A head below what was asked for is news as well: an older database has been restored.
            if page.head != revision || Instant::now() >= deadline {
                return Ok(page);
            }
            let waited = tokio::time::timeout_at(deadline, news.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return Ok(page);
            }
        }
    }
}

async fn tell(store: &Store, news: &watch::Sender<()>) {
    loop {
        match store.changed(LOOK_EVERY).await {
            Ok(true) => news.send_replace(()),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = %anyhow::Error::from(error), "the database cannot be watched");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Gives the facts about routes after a revision, about 2,000 of them, always whole revisions.
///
/// All facts have been seen when `upto` equals `head`. With `wait` an answer without facts is kept back
/// until there are some, at most so many seconds. Another `database` than before, or a `head` below what
/// was seen, asks for a new beginning at 0. Takes a RouteReaderKey or an admin key.
#[utoipa::path(get, path = "/v1/routes", tag = "routes",
    params(("after" = Option<u64>, Query, description = "The revision that was seen last, 0 at first"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for news, 0 to 20")),
    responses((status = 200, description = "`database`, `facts`, `upto` and `head`",
        body = serde_json::Value), Refusals))]
pub(crate) async fn list(
    _: RouteReader,
    State(routes): State<Routes>,
    query: QueryValues,
) -> Result<Json<FactPage>, ApiError> {
    let after = query.number("after")?.unwrap_or(0);
    let wait = Duration::from_secs(query.number("wait")?.unwrap_or(0)).min(WAIT_LIMIT);
    Ok(Json(routes.after(Revision(after), wait).await?))
}
