//! HTTP/1.1 messages as bytes (RFC 9112): heads that can be changed, bodies piece by piece. Strict
//! enough for what our programs and docker-registry send, and not more. Called by `connection`.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The start line and the headers of a message.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) start: String,
    pub(super) headers: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks until an empty one.
    Chunked,
    /// Until the connection ends.
    Close,
}

/// A body that is being read.
#[derive(Debug)]
pub(super) struct Body {
    framing: Framing,
    left: u64,
    over: bool,
}

impl Head {
    /// Reads one; `None` when the connection ends before it.
    pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if from.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            match String::from_utf8_lossy(&line).trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let mut lines = lines.into_iter();
        let start = lines.next().unwrap_or_default();
        let field = |line: String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Ok(Some(Self { start, headers: lines.filter_map(field).collect() }))
    }

    /// One word of the start line.
    pub(super) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Replaces a header, or takes it away.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// What the headers say of the body; `otherwise` where they say nothing.
    pub(super) fn framing(&self, otherwise: Framing) -> Framing {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some(_), _) => Framing::Chunked,
            (None, Some(length)) => length.parse().map_or(otherwise, Framing::Length),
            (None, None) => otherwise,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("{}\r\n{}\r\n", self.start, headers.collect::<String>()).into_bytes()
    }
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::Chunked | Framing::Close => 0,
        };
        Self { framing, left, over: framing == Framing::Length(0) }
    }

    /// The next piece without its framing; `None` after the last.
    pub(super) async fn next(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        if self.over {
            return Ok(None);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            self.left = chunk_size(from).await?;
            if self.left == 0 {
                self.over = true;
                return line(from).await.map(|_| None);
            }
        }
        let available = from.fill_buf().await?;
        let piece = match self.framing {
            Framing::Close => available.to_vec(),
            _ => available[..available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))].to_vec(),
        };
        from.consume(piece.len());
        match (self.framing, piece.is_empty()) {
            (Framing::Close, true) => return Ok(None),
            (_, true) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Framing::Close, false) => return Ok(Some(piece)),
            _ => self.left -= piece.len() as u64,
        }
        match (self.framing, self.left) {
            (Framing::Length(_), 0) => self.over = true,
            // The line break after a chunk.
            (Framing::Chunked, 0) => drop(from.read_u16().await?),
            _ => {}
        }
        Ok(Some(piece))
    }

    /// All that is left of it.
    pub(super) async fn all(mut self, from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next(from).await? {
            whole.extend(piece);
        }
        Ok(whole)
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    Ok(line)
}

async fn chunk_size(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<u64> {
    let line = line(from).await?;
    let size = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(size, 16).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
