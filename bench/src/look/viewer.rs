//! Who looks at the status page, as a browser does that has it open: again each second, over one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often the page is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// From the request to the first byte of the answer, in seconds.
    pub first_byte: f64,
    /// Bytes of it.
    pub size: usize,
}

/// Somebody who looks.
pub struct Viewer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<Seen>>>,
}

impl Viewer {
    /// Begins to look at the page at this address, at once and then each second.
    pub fn begin(at: SocketAddr) -> Viewer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        Viewer { stop, thread: thread::spawn(move || watch(at, &stopped)) }
    }

    /// Looks no longer. Returns what was seen.
    pub fn end(self) -> Result<Vec<Seen>, Failure> {
        self.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        let seen = self.thread.join().map_err(|_| Failure::of("the viewer", "it panicked"))?;
        seen.map_err(|error| Failure::of("the status page", error))
    }
}

fn watch(at: SocketAddr, stop: &AtomicBool) -> io::Result<Vec<Seen>> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Relaxed) {
        seen.push(look(&mut stream, at)?);
        next += EVERY;
        while !stop.load(Relaxed) && Instant::now() < next {
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }
    Ok(seen)
}

/// Looks at the page once.
fn look(stream: &mut TcpStream, at: SocketAddr) -> io::Result<Seen> {
    let begun = Instant::now();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 64 << 10];
    let mut first_byte = None;
    loop {
        let read = stream.read(&mut chunk)?;
        first_byte.get_or_insert_with(|| begun.elapsed().as_secs_f64());
        answer.extend_from_slice(&chunk[..read]);
        match whole(&answer)? {
            Some(size) => return Ok(Seen { first_byte: first_byte.unwrap_or_default(), size }),
            None if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

/// How large the page is, when all of it has come.
fn whole(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| invalid("its head is no text"))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(invalid(head.lines().next().unwrap_or_default()));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(|| invalid("it does not say how long it is"))?;
    Ok((answer.len() >= end + 4 + length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_when_as_much_has_come_as_it_says() {
        let page = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for end in 0..page.len() {
            assert_eq!(whole(&page[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(whole(page).unwrap(), Some(5));
        assert!(whole(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
