//! A gateway in front of a real registry that does to request bodies what gateways do. It streams, so
//! that memory can be measured beside it. Also used by the tests of `copy`.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It goes through.
    Pass,
    /// It is answered with a status, and its body is not read.
    Refuse(u16),
    /// Both connections are cut when so many bytes of its body have gone through.
    Cut(u64),
}

/// The gateway; gone when dropped.
pub(crate) struct Gateway {
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
    task: JoinHandle<()>,
}

impl Gateway {
    /// A gateway to a registry, which judges a request by its method and the length of its body.
    pub(crate) async fn start(
        registry: &str,
        judge: impl Fn(&str, u64) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let (registry, judge) = (registry.to_owned(), Arc::new(judge));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (registry, judge) = (registry.clone(), judge.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect(registry).await.ok()?;
                    pass(BufReader::new(client), BufReader::new(server), &*judge).await
                });
            }
        });
        Self { host, task }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes requests and answers on until one side goes.
async fn pass(
    mut client: BufReader<TcpStream>,
    mut server: BufReader<TcpStream>,
    judge: &(impl Fn(&str, u64) -> Verdict + ?Sized),
) -> Option<()> {
    loop {
        let (head, length) = head(&mut client).await?;
        let method = head.split(' ').next().unwrap_or_default().to_owned();
        let verdict = judge(&method, length);
        if let Verdict::Refuse(status) = verdict {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            client.write_all(answer.as_bytes()).await.ok()?;
            client.shutdown().await.ok()?;
            // As nginx lingers, so that the answer is read before the connection is reset.
            return tokio::io::copy(&mut client, &mut tokio::io::sink()).await.ok().map(drop);
        }
        server.write_all(head.as_bytes()).await.ok()?;
        match verdict {
            Verdict::Cut(after) if after < length => {
                tokio::io::copy(&mut (&mut client).take(after), &mut server).await.ok()?;
                return None;
            }
            _ => tokio::io::copy(&mut (&mut client).take(length), &mut server).await.ok()?,
        };
        let (head, length) = self::head(&mut server).await?;
        client.write_all(head.as_bytes()).await.ok()?;
        if method != "HEAD" {
            tokio::io::copy(&mut (&mut server).take(length), &mut client).await.ok()?;
        }
    }
}

/// The head of a message and the length of its body.
async fn head(from: &mut BufReader<TcpStream>) -> Option<(String, u64)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((head, length.unwrap_or(0)))
}
