//! The server's part in datagrams: one thread for those of UDP, one for each connection that carries them framed. The
//! first byte of a datagram says what is done with it, so there is no greeting and no state for each source.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use crate::datagram::{self, Batch, Kind, To};
use crate::framing::{self, Frames};
use crate::sink::{Counts, Sink, Watcher};

/// How many datagrams one system call takes.
const BATCH: usize = 64;
/// How many bytes of a stream one read takes.
const READ: usize = 256 * 1024;

/// Serves datagrams of UDP.
pub fn datagrams(socket: &UdpSocket, counts: &Counts, watcher: &Watcher) -> io::Result<()> {
    let mut batch = Batch::new(BATCH);
    let mut echoes = Vec::with_capacity(BATCH);
    let mut sink = Sink::new(counts, watcher);
    loop {
        let received = batch.receive(socket)?;
        echoes.clear();
        for slot in 0..received {
            let datagram = batch.datagram(slot);
            match datagram::parse(datagram) {
                Some((Kind::Echo, _)) => echoes.push(slot),
                Some((Kind::Count, number)) => sink.take(number, datagram.len()),
                Some((Kind::Watch, _)) => watcher.welcome(batch.sender(slot))?,
                None => {}
            }
        }
        batch.send(socket, &echoes, To::Sender)?;
        sink.publish();
    }
}

/// Accepts connections that carry datagrams, and serves each in a thread of its own: there are only a few.
pub fn framed(listener: &TcpListener, counts: &Arc<Counts>, watcher: &Arc<Watcher>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let (counts, watcher) = (Arc::clone(counts), Arc::clone(watcher));
        thread::Builder::new().name("framed".to_owned()).spawn(move || {
            // A proxy may end its connection in any way.
            let _ = frames(stream, &counts, &watcher);
        })?;
    }
}

/// Serves one connection to its end.
fn frames(mut stream: TcpStream, counts: &Counts, watcher: &Watcher) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut frames = Frames::new(READ);
    let mut sink = Sink::new(counts, watcher);
    let mut echoes = Vec::new();
    loop {
        let read = stream.read(frames.room())?;
        if read == 0 {
            return Ok(());
        }
        frames.filled(read);
        echoes.clear();
        while let Some(datagram) = frames.next() {
            match datagram::parse(datagram) {
                Some((Kind::Echo, _)) => framing::append(&mut echoes, datagram),
                Some((Kind::Count, number)) => sink.take(number, datagram.len()),
                Some((Kind::Watch, _)) | None => {}
            }
        }
        stream.write_all(&echoes)?;
        sink.publish();
    }
}
