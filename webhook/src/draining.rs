//! The last seconds of a webhook that is asked to stop: it answers on until API servers have heard that its
//! endpoint is gone, and has each leave its connection with an answer. An API server speaks HTTP/1.1 and tries
//! nothing again: a connection that is closed while it writes is a refused pod. `run` puts it around the service.

use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Response, Version};
use runtime::Shutdown;

/// A shutdown that begins so long after another one.
pub(crate) fn after(shutdown: &Shutdown, drain: Duration) -> Shutdown {
    let (first, second) = (shutdown.clone(), Shutdown::new(shutdown.grace()));
    let begins = second.clone();
    tokio::spawn(async move {
        first.begun().await;
        tokio::time::sleep(drain).await;
        begins.begin();
    });
    second
}

/// Asks a client to come back on another connection. In HTTP/2 the server says so by itself.
pub(crate) fn part<B>(response: &mut Response<B>, version: Version) {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
