//! One connection of a client through a proxy: each request is passed to the upstream over a connection
//! of its own, unless a rule says otherwise. Called by the proxy for every connection that it accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::Shared;
use super::message::{Body, Framing, Head};
use super::rule::{Fault, Reply};
use super::seen::Passing;

type Reader = BufReader<tokio::net::tcp::OwnedReadHalf>;

/// How a request leaves its connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Ready for the next one.
    Open,
    /// To be closed in good order.
    Closed,
    /// To be reset.
    Reset,
}

/// Serves a connection until it ends.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (reader, mut writer) = client.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(head) = Head::read(&mut reader).await? {
        let (passing, fault) = shared.meet(head);
        let exchange = Exchange { passing: &passing, upstream: shared.upstream };
        match exchange.run(&mut reader, &mut writer, fault).await {
            Ok(End::Open) => {}
            Ok(End::Reset) => return reset(reader, writer),
            Ok(End::Closed) | Err(_) => break,
        }
    }
    writer.shutdown().await?;
    // What still comes is taken, or the answer would be lost to a reset.
    tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.map(drop)
}

fn reset(reader: Reader, writer: OwnedWriteHalf) -> io::Result<()> {
    let stream = reader.into_inner().reunite(writer).map_err(io::Error::other)?;
    stream.set_zero_linger()
}

struct Exchange<'a> {
    passing: &'a Passing,
    upstream: Option<SocketAddr>,
}

impl Exchange<'_> {
    async fn run(&self, from: &mut Reader, to: &mut OwnedWriteHalf, fault: Option<Fault>) -> io::Result<End> {
        let body = Body::new(self.passing.head.framing(Framing::Length(0)));
        match fault {
            Some(Fault::Answer(reply)) => {
                let whole = body.all(from).await?;
                self.passing.sent.store(whole.len() as u64, Ordering::SeqCst);
                self.answer(to, reply, 0).await?;
                return Ok(End::Open);
            }
            Some(Fault::AnswerUnread(reply)) => {
                self.answer(to, reply.with("connection", "close"), 0).await?;
                return Ok(End::Closed);
            }
            Some(Fault::ResetRequest(0)) => return Ok(End::Reset),
            Some(Fault::StallRequest(0)) => return std::future::pending().await,
            _ => {}
        }
        let Some(upstream) = self.upstream else {
            body.all(from).await?;
            self.answer(to, Reply { status: 404, ..Reply::default() }, 0).await?;
            return Ok(End::Open);
        };
        let (reader, mut writer) = TcpStream::connect(upstream).await?.into_split();
        let mut reader = BufReader::new(reader);
        let mut head = self.passing.head.clone();
        head.set("connection", Some("close".to_owned()));
        writer.write_all(&head.bytes()).await?;
        let limit = match fault {
            Some(Fault::ResetRequest(bytes) | Fault::StallRequest(bytes)) => bytes,
            _ => u64::MAX,
        };
        // The upstream may answer before it has read everything.
        let mut early = false;
        let head = tokio::select! {
            biased;
            passed = self.pass(body, from, &mut writer, limit) => match (passed?, &fault) {
                (true, _) => Head::read(&mut reader).await?,
                (false, Some(Fault::StallRequest(_))) => return std::future::pending().await,
                (false, _) => return Ok(End::Reset),
            },
            head = Head::read(&mut reader) => {
                early = true;
                head?
            }
        };
        let (Some(head), false) = (head, matches!(fault, Some(Fault::LoseAnswer))) else {
            return Ok(End::Reset);
        };
        let end = self.give(head, &mut reader, to, fault).await?;
        Ok(if early && end == End::Open { End::Closed } else { end })
    }

    /// Passes the body on; whether all of it, or it would have been more than `limit` bytes.
    async fn pass(
        &self,
        mut body: Body,
        from: &mut Reader,
        to: &mut OwnedWriteHalf,
        limit: u64,
    ) -> io::Result<bool> {
        let chunked = self.passing.head.framing(Framing::Close) == Framing::Chunked;
        while let Some(mut piece) = body.next(from).await? {
            let left = limit - self.passing.sent.load(Ordering::SeqCst);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            self.passing.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            if chunked {
                to.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                piece.extend(b"\r\n");
            }
            // An upstream that has answered and gone need not take the rest.
            if to.write_all(&piece).await.is_err() {
                return std::future::pending().await;
            }
            if self.passing.sent.load(Ordering::SeqCst) >= limit {
                return Ok(false);
            }
        }
        if chunked {
            to.write_all(b"0\r\n\r\n").await?;
        }
        Ok(true)
    }

    /// Gives the client what the upstream answers, as far as the fault lets it.
    async fn give(
        &self,
        head: Head,
        from: &mut Reader,
        to: &mut OwnedWriteHalf,
        fault: Option<Fault>,
    ) -> io::Result<End> {
        let status: u16 = head.word(1).parse().unwrap_or_default();
        let bodiless = self.passing.head.word(0) == "HEAD" || matches!(status, 204 | 304);
        let framing = if bodiless { Framing::Length(0) } else { head.framing(Framing::Close) };
        let length = head.header("content-length").map(str::to_owned);
        let mut reply = Reply { status, headers: head.headers, body: Body::new(framing).all(from).await? };
        for name in ["connection", "content-length", "transfer-encoding"] {
            reply.set(name, None);
        }
        // What a HEAD says of the length is an answer, not framing.
        if bodiless && let Some(length) = length {
            reply = reply.with("content-length", length);
        }
        let (limit, end) = match fault {
            Some(Fault::ResetAnswer(bytes)) => (bytes, End::Reset),
            Some(Fault::CutAnswer(bytes)) => (bytes, End::Closed),
            Some(Fault::StallAnswer(bytes)) => {
                self.beginning(to, reply, bytes).await?;
                return std::future::pending().await;
            }
            Some(Fault::Announce(more)) => {
                self.answer(to, reply, more).await?;
                return Ok(End::Closed);
            }
            Some(Fault::Change(change)) => {
                change(&mut reply);
                (u64::MAX, End::Open)
            }
            _ => (u64::MAX, End::Open),
        };
        match end {
            End::Open => self.answer(to, reply, 0).await?,
            _ => self.beginning(to, reply, limit).await?,
        }
        Ok(end)
    }

    /// The head of an answer and the beginning of its body.
    async fn beginning(&self, to: &mut OwnedWriteHalf, mut reply: Reply, limit: u64) -> io::Result<()> {
        let missing = reply.body.len() as u64 - limit.min(reply.body.len() as u64);
        reply.body.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        self.answer(to, reply, missing as i64).await
    }

    /// Writes an answer that announces so many bytes more than it has.
    async fn answer(&self, to: &mut OwnedWriteHalf, reply: Reply, more: i64) -> io::Result<()> {
        let mut head = Head { start: format!("HTTP/1.1 {} X", reply.status), headers: reply.headers.clone() };
        if reply.header("content-length").is_none() && reply.status != 204 {
            head.set("content-length", Some((reply.body.len() as i64 + more).to_string()));
        }
        self.passing.status.store(reply.status, Ordering::SeqCst);
        to.write_all(&head.bytes()).await?;
        if self.passing.head.word(0) != "HEAD" {
            to.write_all(&reply.body).await?;
            self.passing.received.fetch_add(reply.body.len() as u64, Ordering::SeqCst);
        }
        to.flush().await
    }
}
