//! Registers sessions at the edge with `POST /api/client`, one after the other, before the clock
//! starts.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

use crate::fault::{Fault, shown};

/// A session, and the token that opens it.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// Its id, a UUID.
    #[serde(rename = "client_id")]
    pub session_id: String,
    /// Its token; empty if none is needed.
    pub token: String,
}

/// The longest answer that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Registers `count` anonymous sessions.
pub fn register(edge: SocketAddr, count: usize) -> Result<Vec<Registered>, Fault> {
    let request =
        format!("POST /api/client HTTP/1.1\r\nHost: {edge}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
    let mut connection = None;
    (0..count)
        .map(|number| {
            let stream = match &mut connection {
                Some(stream) => stream,
                none => none.insert(connect(edge)?),
            };
            stream.get_mut().write_all(request.as_bytes())?;
            let answer = read_answer(stream)?;
            if answer.closes {
                connection = None;
            }
            serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.starts_with('2')).ok_or_else(|| Fault::Refused {
                conn: number,
                answer: format!("HTTP {}: {}", answer.status, shown(&answer.body)),
            })
        })
        .collect()
}

fn connect(edge: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(edge)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(BufReader::new(stream))
}

/// The parts of an HTTP answer that are used here.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    /// Whether the connection ends with it.
    closes: bool,
    body: Vec<u8>,
}

/// Reads one answer.
fn read_answer(answers: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let status = line.split(' ').nth(1).unwrap_or("no status").trim().to_owned();
    let (mut length, mut closes) = (0, false);
    loop {
        line.clear();
        if answers.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
    }
    if length > MAX_BODY {
        return Err(io::Error::other("the answer is too long"));
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok(Answer { status, closes, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let text = "HTTP/1.1 201 Created\r\ncontent-LENGTH: 4\r\nX: y\r\n\r\nbody\
                    HTTP/1.1 429 Slow\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let mut answers = text.as_bytes();
        let first = Answer { status: "201".into(), closes: false, body: b"body".to_vec() };
        assert_eq!(read_answer(&mut answers).expect("valid"), first);
        let second = Answer { status: "429".into(), closes: true, body: Vec::new() };
        assert_eq!(read_answer(&mut answers).expect("valid"), second);
        assert!(read_answer(&mut answers).is_err());
    }
}
