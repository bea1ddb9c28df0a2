//! Ping: 128 bytes there and back, one message at a time on each session.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Controller, Latencies, warm_up};
use crate::clock::{Moment, Window};
use crate::session::{self, Role, closed, poll_once};
use crate::wire::{Order, Tally};

/// Bytes in a message.
const MESSAGE: usize = 128;

/// Runs the client's side.
pub fn run(order: &Order, controller: &mut Controller, sessions: usize) -> io::Result<()> {
    let streams = session::open(order.target, &vec![Role::Echo; sessions])?;
    let mut pings = Pings::new(streams)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let tally = pings.run(&window)?;
    controller.finish(tally)
}

/// The sessions that ping, and the poll that drives them.
pub struct Pings {
    poll: Poll,
    pings: Vec<Ping>,
}

/// One session, with one message under way.
struct Ping {
    stream: TcpStream,
    /// When the message was sent.
    sent: Moment,
    /// How many bytes of it have come back.
    returned: usize,
}

impl Pings {
    /// Registers open sessions.
    pub fn new(streams: Vec<TcpStream>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut pings = Vec::with_capacity(streams.len());
        for mut stream in streams {
            poll.registry().register(&mut stream, Token(pings.len()), Interest::READABLE)?;
            pings.push(Ping { stream, sent: Moment::now(), returned: 0 });
        }
        Ok(Self { poll, pings })
    }

    /// Pings until the window is over. Returns the round trips that ended within it.
    pub fn run(&mut self, window: &Window) -> io::Result<Tally> {
        let mut latencies = Latencies::new()?;
        let mut events = Events::with_capacity(self.pings.len());
        for ping in &mut self.pings {
            ping.send()?;
        }
        while Moment::now() < window.stop() {
            poll_once(&mut self.poll, &mut events, window.stop().from_now())?;
            for event in &events {
                let ping = &mut self.pings[event.token().0];
                if let Some(back) = ping.receive()? {
                    latencies.finished(ping.sent, back, window);
                    ping.send()?;
                }
            }
        }
        for ping in &self.pings {
            latencies.unfinished(ping.sent, window);
        }
        Ok(latencies.tally())
    }
}

impl Ping {
    /// Sends the next message. It fits: nothing else is under way.
    fn send(&mut self) -> io::Result<()> {
        self.sent = Moment::now();
        self.returned = 0;
        match self.stream.write(&[b'p'; MESSAGE])? {
            MESSAGE => Ok(()),
            _ => Err(io::Error::other("the kernel took only a part of a ping")),
        }
    }

    /// Reads what has come back; if that completes the message, says when.
    fn receive(&mut self) -> io::Result<Option<Moment>> {
        let mut buffer = [0; MESSAGE];
        loop {
            match self.stream.read(&mut buffer[self.returned..]) {
                Ok(0) => return Err(closed()),
                Ok(read) => self.returned += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if self.returned == MESSAGE {
                return Ok(Some(Moment::now()));
            }
        }
    }
}
