//! How a connection ends on which a request was refused, perhaps before its body was read. The
//! answer says that the connection closes, so that nobody sends on it; and what the client is still
//! sending is read away for a moment, since closing on unread bytes would reset the connection and
//! could take the answer with it. `server` puts both around every connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Error;

/// How long a client may go on sending after its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of it are read away.
const LINGER_BYTES: usize = 16 << 20;

/// The service, saying `Connection: close` in the refusal of a request that had a body.
pub(super) fn announcing<S, B>(
    service: S,
) -> impl Service<Request<Incoming>, Response = Response<B>, Error = S::Error, Future: Send>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send,
    S::Error: Into<Error>,
    B: Body,
{
    service_fn(move |request: Request<Incoming>| {
        // In HTTP/2 a stream ends alone.
        let unread = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let answer = service.call(request);
        async move {
            let mut response = answer.await?;
            if unread && (response.status().is_client_error() || response.status().is_server_error()) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    })
}

/// A socket whose shutdown reads away what has arrived and nobody will read.
#[derive(Debug)]
pub(super) struct Lingering {
    stream: TcpStream,
    shut: bool,
    discarded: usize,
    until: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, shut: false, discarded: 0, until: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.shut = true;
        }
        let mut discarded = [0; 8 << 10];
        while self.discarded < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut discarded);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.discarded += buffer.filled().len(),
                // The client has closed as well, or is gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                // Nothing is unread, as at every ordinary end.
                Poll::Pending if self.discarded == 0 => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                    return until.as_mut().poll(context).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
