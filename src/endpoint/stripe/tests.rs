//! Stripes at whose other ends nobody keeps the rules of fairness.

use mio::{Poll, Token};
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use super::{Arrival, Line, Slot, StripeEndpoint};
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::splice::KernelPipe;
use crate::endpoint::tcp::TcpEndpoint;
use crate::endpoint::{Endpoint, Lane, Readiness};
use crate::service::stripes::{Home, Stripes};
use crate::service::{SocketOptions, StripeOptions};
use crate::stripe::SessionId;
use crate::stripe::channel::Channel;
use crate::stripe::frame::{Ack, CloseCode, Frame, Header};

const ID: SessionId = SessionId([1; 16]);

/// The end of a stripe that was dialled, and the sockets at the other ends of its lanes.
struct Scene {
    stripe: StripeEndpoint,
    poll: Poll,
    peers: Vec<TcpStream>,
}

impl Scene {
    fn new(lanes: u8) -> Scene {
        let stripes = Arc::new(Stripes::default());
        assert_eq!(stripes.home(ID, "", true, 0, std::time::Instant::now()), Home::New);
        let (mut line, _peer) = connection();
        let (options, registered) = (Arc::new(StripeOptions::default()), stripes.registered(ID));
        let stripe = StripeEndpoint::accepted(ID, options, registered, &mut line, 0);
        let mut scene = Scene { stripe, poll: Poll::new().expect("a poll"), peers: Vec::new() };
        (0..lanes).for_each(|number| scene.add(number));
        scene
    }

    fn add(&mut self, number: u8) {
        let (line, peer) = connection();
        let arrival = Arrival { number, line, channel: Channel::Plain, left: Vec::new(), round_trip: 0 };
        let added = self.stripe.add_lane(arrival, None, self.poll.registry(), &token, 0);
        added.expect("a lane");
        let ready = Readiness { writable: true, ..Readiness::default() };
        self.stripe.note_lane(Lane(number), ready);
        self.peers.push(peer);
    }

    /// Sends frames that bring nothing on all lanes, until these are full, and returns how many bytes that were.
    fn flood(&mut self) -> usize {
        let pongs = Frame::Pong(1).header().bytes().repeat(10_000);
        let mut sent = 0;
        for peer in &mut self.peers {
            peer.set_nonblocking(true).expect("a socket");
            while let Ok(count) = peer.write(&pongs[sent % 9..]) {
                sent += count;
            }
            peer.shutdown(Shutdown::Write).expect("a socket");
            // The next lane begins with a frame.
            sent = sent.next_multiple_of(9);
        }
        sent
    }

    /// How many bytes can still be read from the lanes.
    fn rest(&mut self) -> usize {
        let mut rest = 0;
        for slot in &mut self.stripe.slots {
            let Slot::Open(lane, _) = slot else { continue };
            let mut buffer = vec![0; 1 << 20];
            loop {
                match lane.line.read_some(&mut buffer) {
                    Ok(came) => rest += came.unwrap_or(0),
                    Err(error) => break assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
                }
            }
        }
        rest
    }
}

fn token(Lane(number): Lane) -> Token {
    Token(usize::from(number))
}

fn connection() -> (Line, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address");
    let options = SocketOptions { no_delay: true, keepalive: None };
    let line = Line::new(TcpEndpoint::connect(address, &options).expect("a listener"));
    (line, listener.accept().expect("a connection").0)
}

#[test]
fn no_call_reads_for_as_long_as_something_comes() {
    let calls: [fn(&mut StripeEndpoint); 3] = [
        |stripe| assert_eq!(stripe.receive(&mut [0; 1000]).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock)),
        |stripe| {
            let mut pipe = KernelPipe::open().expect("a pipe");
            assert_eq!(stripe.splice_to(&mut pipe, 1000).map_err(|e| e.kind()), Ok(0));
        },
        |stripe| assert!(stripe.settle()),
    ];
    for call in calls {
        let mut scene = Scene::new(4);
        let sent = scene.flood();
        assert!(sent > 1 << 20, "{sent} bytes");
        call(&mut scene.stripe);
        // It is known that there is more.
        assert!(scene.stripe.readiness().readable);
        let read = sent - scene.rest();
        assert!((1..1 << 20).contains(&read), "{read} of {sent} bytes were read");
    }
}

#[test]
fn a_session_whose_first_lane_could_not_be_added_ends() {
    let mut scene = Scene::new(0);
    let timeout = scene.stripe.options.lane_timeout;
    assert!(scene.stripe.deadline().is_some_and(|at| at <= timeout));
    assert!(scene.stripe.tend(scene.poll.registry(), &token, timeout).error);
}

#[test]
fn the_end_is_told_though_nobody_reads() {
    for code in [CloseCode::Reset, CloseCode::UnknownSession] {
        let mut scene = Scene::new(1);
        assert!(!scene.stripe.settle());
        scene.peers[0].write_all(Frame::Close(code).header().bytes()).expect("a lane");
        scene.stripe.note_lane(Lane(0), Readiness { readable: true, ..Readiness::default() });
        assert!(scene.stripe.settle());
        assert!(scene.stripe.tend(scene.poll.registry(), &token, 1).error);
        assert!(!scene.stripe.settle());
    }
}

#[test]
fn the_last_acknowledgement_is_told_though_nobody_reads() {
    let mut scene = Scene::new(1);
    scene.peers[0].write_all(Frame::End { offset: 0 }.header().bytes()).expect("a lane");
    assert_eq!(scene.stripe.receive(&mut [0; 10]).expect("an end"), 0);
    scene.stripe.finish().expect("a lane");
    assert!(scene.stripe.would_lose() && !scene.stripe.settle());
    let ack = Ack { cumulative: 1, window_end: 65_536, on_this_lane: 1, delay: 0 };
    scene.peers[0].write_all(Frame::Ack(ack).header().bytes()).expect("a lane");
    scene.stripe.note_lane(Lane(0), Readiness { readable: true, ..Readiness::default() });
    assert!(scene.stripe.settle() && !scene.stripe.would_lose());
}

#[test]
fn bytes_that_are_read_when_nobody_asked_are_told_of() {
    let mut scene = Scene::new(1);
    // More than one call reads that asks for bytes, and less than the next one that does not.
    let pongs = Frame::Pong(1).header().bytes().repeat(400_000 / 9);
    let frames = [&pongs[..], Header::of_data(0, 5).bytes(), b"hello"].concat();
    let mut peer = scene.peers[0].try_clone().expect("a socket");
    let writer = std::thread::spawn(move || peer.write_all(&frames).expect("a lane"));
    writer.join().expect("a writer");
    let mut buffer = [0; 100];
    assert_eq!(scene.stripe.receive(&mut buffer).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    let mut runs_again = false;
    while !scene.stripe.engine.readable() {
        scene.stripe.note_lane(Lane(0), Readiness { readable: true, ..Readiness::default() });
        runs_again = scene.stripe.settle();
    }
    assert!(runs_again);
    let came = scene.stripe.receive(&mut buffer).expect("bytes");
    assert_eq!(&buffer[..came], b"hello");
}
