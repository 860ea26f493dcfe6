//! An HTTP server that answers as a test tells it, for what no real registry would say. Also used by
//! the tests of `copy`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// How long its body should be.
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    /// `METHOD /path`, without the query.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    cut: Option<usize>,
    silent: bool,
    drips: bool,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), cut: None, silent: false, drips: false }
    }

    /// No answer at all, for ever.
    pub(crate) fn silence() -> Self {
        Self { silent: true, ..Self::new(200) }
    }

    /// The connection is closed without an answer.
    pub(crate) fn hang_up() -> Self {
        Self::new(0)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The body comes a byte a second.
    pub(crate) fn dripping(mut self) -> Self {
        self.drips = true;
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

/// The server; gone when dropped.
pub(crate) struct Scripted {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (answer, log) = (Arc::new(answer), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, log) = (answer.clone(), log.clone());
                tokio::spawn(async move { serve(socket, &*answer, &log).await });
            }
        });
        Self { host, seen, task }
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("whole").clone()
    }

    /// Every request so far, as `METHOD /path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one connection. A request whose path begins with `/takes/N/` is answered when N bytes of its
/// body have come, and is then drained, as servers do that have refused.
pub(crate) async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&Seen) -> Reply + ?Sized),
    log: &Mutex<Vec<Seen>>,
) -> Option<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let mut request = read_head(&mut socket).await?;
        let length = request.length();
        let taken = length.min(takes(&request.path));
        let unread = taken < length;
        request.body.resize(taken, 0);
        socket.read_exact(&mut request.body).await.ok()?;
        log.lock().expect("whole").push(request.clone());
        let reply = answer(&request);
        if reply.silent {
            std::future::pending::<()>().await;
        }
        if reply.status == 0 {
            return None;
        }
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
        }
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
        if request.method != "HEAD" {
            let end = reply.cut.unwrap_or(reply.body.len());
            let piece = if reply.drips { 1 } else { end.max(1) };
            for (number, piece) in reply.body[..end].chunks(piece).enumerate() {
                if number > 0 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                socket.write_all(piece).await.ok()?;
                socket.flush().await.ok()?;
            }
        }
        socket.flush().await.ok()?;
        if unread {
            socket.shutdown().await.ok()?;
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok()?;
        }
        if reply.cut.is_some() {
            return None;
        }
    }
}

fn takes(path: &str) -> usize {
    let bytes = path.strip_prefix("/takes/").and_then(|rest| rest.split(['/', '?']).next());
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(usize::MAX)
}

async fn read_head(socket: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if socket.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        match String::from_utf8_lossy(&line).trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: HashMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Seen { method, path, headers, body: Vec::new() })
}
