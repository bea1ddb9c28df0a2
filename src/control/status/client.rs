//! One client of the status page: reads requests, writes answers, and has only so much time for each.

use std::io;
use std::time::{Duration, Instant};

use super::Reach;
use super::request::{Refusal, Request};
use super::response::Response;
use crate::endpoint::{Endpoint, Readiness, Socket};

/// The longest request.
const MOST_REQUEST: usize = 8 << 10;

/// How many answers a client gets before it has to come again: others have their turns then.
const MOST_ANSWERS: u32 = 1000;

/// How long a request may take, and how long an answer may wait for being read at all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a whole answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take for its next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client is given to read the last answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most of what a client still sends then that is thrown away: others are waiting.
const MOST_THROWN_AWAY: usize = 1 << 20;

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has not sent a whole request.
    Reading,
    /// It waits for the answer to this.
    Waiting(Request),
    /// It is sent an answer, after which the connection goes on or not.
    Writing { keeps: bool, give_up: Instant },
    /// It has been sent its last answer, and what it still sends is thrown away: a close with something unread would be a
    /// reset, which could cost it the answer.
    Closing,
}

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for an event.
    Waits,
    /// It asks for this, and waits for [`Client::answer`].
    Asks(Request),
    /// It is over.
    Ended,
}

/// A client of the status page.
#[derive(Debug)]
pub(super) struct Client<E> {
    pub(super) socket: E,
    /// Who can reach the page.
    reach: Reach,
    phase: Phase,
    /// When the phase began, or something was last taken of an answer.
    since: Instant,
    /// How many answers it has had.
    answers: u32,
    ready: Readiness,
    input: Vec<u8>,
    at_end: bool,
    output: Vec<u8>,
    written: usize,
    thrown_away: usize,
}

impl<E: Endpoint> Client<E> {
    /// One that has just been accepted.
    pub(super) fn new(socket: E, reach: Reach, now: Instant) -> Client<E> {
        Client {
            socket,
            reach,
            phase: Phase::Reading,
            since: now,
            answers: 0,
            ready: Readiness { readable: true, writable: true, ..Readiness::default() },
            input: Vec::new(),
            at_end: false,
            output: Vec::new(),
            written: 0,
            thrown_away: 0,
        }
    }

    /// Notes what an event has said.
    pub(super) fn note(&mut self, event: Readiness) {
        self.ready.add(event);
    }

    /// What it asks for and waits for.
    pub(super) fn request(&self) -> Option<Request> {
        match self.phase {
            Phase::Waiting(request) => Some(request),
            _ => None,
        }
    }

    /// Since when it has asked for nothing, if that is so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.phase == Phase::Reading).then_some(self.since)
    }

    /// When it is ended if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeout = match self.phase {
            Phase::Reading if self.answers > 0 && self.input.is_empty() => IDLE_TIMEOUT,
            Phase::Reading => TIMEOUT,
            Phase::Writing { give_up, .. } => return Some(give_up.min(self.since + TIMEOUT)),
            // Those who are asked have a time of their own.
            Phase::Waiting(_) => return None,
            Phase::Closing => CLOSE_TIMEOUT,
        };
        Some(self.since + timeout)
    }

    /// Answers what it waits for; [`Client::run`] sends it.
    pub(super) fn answer(&mut self, response: &Response, now: Instant) {
        if let Phase::Waiting(Request { head, keeps, .. }) = self.phase {
            self.write(response, head, keeps, now);
        }
    }

    fn write(&mut self, response: &Response, head: bool, keeps: bool, now: Instant) {
        let keeps = keeps && self.answers < MOST_ANSWERS;
        self.output.clear();
        self.written = 0;
        response.write(head, keeps, &mut self.output);
        self.enter(Phase::Writing { keeps, give_up: now + ANSWER_TIMEOUT }, now);
        self.answers += 1;
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }

    /// Goes on as far as can be.
    pub(super) fn run(&mut self, now: Instant) -> Progress {
        loop {
            let goes_on = match self.phase {
                Phase::Reading => self.read(now),
                Phase::Waiting(request) => return Progress::Asks(request),
                Phase::Writing { keeps, .. } => self.send(keeps, now),
                Phase::Closing => self.throw_away(),
            };
            match goes_on {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waits,
                Err(_) => return Progress::Ended,
            }
        }
    }

    /// Takes a request from what has come, or reads more.
    fn read(&mut self, now: Instant) -> io::Result<()> {
        match Request::parse(&self.input, self.reach) {
            Ok(Some((request, length))) => {
                self.input.drain(..length);
                self.enter(Phase::Waiting(request), now);
                Ok(())
            }
            Ok(None) if self.input.len() >= MOST_REQUEST => self.refuse(Refusal::TooLong, now),
            Ok(None) => self.receive(now),
            Err(refusal) => self.refuse(refusal, now),
        }
    }

    fn refuse(&mut self, refusal: Refusal, now: Instant) -> io::Result<()> {
        self.input.clear();
        self.write(&Response::refusal(refusal), false, false, now);
        Ok(())
    }

    fn receive(&mut self, now: Instant) -> io::Result<()> {
        if self.at_end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = [0; MOST_REQUEST];
        let length = self.receive_into(&mut buffer[..MOST_REQUEST - self.input.len()])?;
        if self.input.is_empty() {
            self.since = now;
        }
        self.at_end = length == 0;
        self.input.extend_from_slice(&buffer[..length]);
        Ok(())
    }

    fn receive_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.ready.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.socket.receive(buffer);
        self.ready.readable = !would_block(&result);
        result
    }

    fn send(&mut self, keeps: bool, now: Instant) -> io::Result<()> {
        if self.written == self.output.len() {
            // A large answer is not kept for the next one.
            self.output = Vec::new();
            if keeps {
                self.enter(Phase::Reading, now);
            } else {
                self.socket.finish()?;
                self.enter(Phase::Closing, now);
            }
            return Ok(());
        }
        if !self.ready.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.socket.send(&self.output[self.written..]);
        self.ready.writable = !would_block(&result);
        self.written += result?;
        self.since = now;
        Ok(())
    }

    fn throw_away(&mut self) -> io::Result<()> {
        let mut buffer = [0; MOST_REQUEST];
        let length = self.receive_into(&mut buffer)?;
        self.thrown_away += length;
        if length == 0 || self.thrown_away > MOST_THROWN_AWAY {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn would_block(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A client with a real socket.
pub(super) type SocketClient = Client<Socket>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::splice::KernelPipe;
    use crate::control::status::request::Target;
    use crate::endpoint::SideName;
    use std::collections::VecDeque;
    use std::fmt;
    use std::os::fd::RawFd;

    /// Reads what was said, piece by piece, and takes so many bytes.
    #[derive(Debug, Default)]
    struct Peer {
        says: VecDeque<&'static [u8]>,
        takes: usize,
        heard: Vec<u8>,
        is_finished: bool,
    }

    impl Endpoint for Peer {
        const SHORT_MEANS_BLOCKED: bool = false;

        type Pipe = KernelPipe;

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.says.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
            let length = piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&piece[..length]);
            if length < piece.len() {
                self.says.push_front(&piece[length..]);
            }
            Ok(length)
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.takes);
            self.takes -= length;
            self.heard.extend(&bytes[..length]);
            if length == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(length) }
        }

        fn finish(&mut self) -> io::Result<()> {
            self.is_finished = true;
            Ok(())
        }

        fn descriptor(&self) -> RawFd {
            0
        }

        fn write_route(&self, _side: SideName, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    fn client(says: &[&'static [u8]], takes: usize, now: Instant) -> Client<Peer> {
        let says = says.iter().copied().collect();
        Client::new(Peer { says, takes, ..Peer::default() }, Reach::Machine, now)
    }

    fn heard(client: &Client<Peer>) -> String {
        String::from_utf8(client.socket.heard.clone()).unwrap()
    }

    const EVERYTHING: Readiness = Readiness {
        readable: true,
        writable: true,
        read_closed: false,
        write_closed: false,
        error: false,
        urgent: false,
    };

    #[test]
    fn requests_come_in_pieces_or_together_and_are_answered_in_turn() {
        let now = Instant::now();
        let mut client = client(&[b"GET /heal", b"thz HTTP/1.1\r\n\r\nHEAD / HTTP/1.0\r\n", b"\r\n"], 100_000, now);
        let Progress::Asks(request) = client.run(now) else { panic!("no request") };
        assert_eq!(request.target, Target::Health);
        assert_eq!(client.run(now), Progress::Asks(request), "it waits for its answer");
        client.answer(&Response::health(false), now);
        let Progress::Asks(request) = client.run(now) else { panic!("no second request") };
        assert!(request.head && !request.keeps && heard(&client).ends_with("\r\n\r\nok\n"));
        client.answer(&Response::not_found(), now);
        assert_eq!(client.run(now), Progress::Waits);
        assert!(client.socket.is_finished && heard(&client).ends_with("\r\n\r\n"));
        client.socket.says.push_back(b"");
        client.note(EVERYTHING);
        assert_eq!(client.run(now), Progress::Ended);
    }

    #[test]
    fn a_long_request_is_refused_and_the_rest_of_it_thrown_away() {
        let now = Instant::now();
        let long: &'static [u8] = Box::leak(vec![b'a'; MOST_REQUEST + 5000].into_boxed_slice());
        let mut client = client(&[b"GET /", long, b"more"], 100_000, now);
        assert_eq!(client.run(now), Progress::Waits);
        assert!(heard(&client).starts_with("HTTP/1.1 431 "), "{}", heard(&client));
        assert!(client.socket.says.is_empty() && client.socket.is_finished);
        assert_eq!(client.deadline(), Some(now + CLOSE_TIMEOUT));
    }

    #[test]
    fn who_sends_on_and_on_after_the_last_answer_keeps_nobody_busy() {
        let now = Instant::now();
        let mut says = vec![&b"POST / HTTP/1.1\r\n\r\n"[..]];
        says.resize(2 * MOST_THROWN_AWAY / MOST_REQUEST, &[b'a'; MOST_REQUEST]);
        let mut client = client(&says, 100_000, now);
        assert_eq!(client.run(now), Progress::Ended);
        assert!(heard(&client).starts_with("HTTP/1.1 405 ") && !client.socket.says.is_empty());
    }

    #[test]
    fn everything_has_its_time() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut client = client(&[b"GET / HTTP/1.1\r\n"], 10, start);
        assert_eq!(client.deadline(), Some(after(10)), "from its beginning");
        assert_eq!(client.run(after(3)), Progress::Waits);
        assert_eq!(client.deadline(), Some(after(13)), "from the first byte");
        client.socket.says.push_back(b"a: b\r\n");
        client.note(EVERYTHING);
        assert_eq!(client.run(after(9)), Progress::Waits);
        assert_eq!(client.deadline(), Some(after(13)), "who sends slowly wins nothing");
        client.socket.says.push_back(b"\r\n");
        client.note(EVERYTHING);
        assert!(matches!(client.run(after(10)), Progress::Asks(_)));
        assert_eq!((client.deadline(), client.idle_since()), (None, None));
        client.answer(&Response::health(false), after(10));
        assert_eq!(client.run(after(11)), Progress::Waits);
        assert_eq!(client.deadline(), Some(after(21)), "it has taken ten bytes");
        // Who takes a little now and then has a bound as well.
        for second in 12..65 {
            client.socket.takes = 1;
            client.note(EVERYTHING);
            assert_eq!(client.run(after(second)), Progress::Waits);
        }
        assert_eq!(client.deadline(), Some(after(70)));
        client.socket.takes = 100_000;
        client.note(EVERYTHING);
        assert_eq!(client.run(after(65)), Progress::Waits);
        assert_eq!((client.deadline(), client.idle_since()), (Some(after(140)), Some(after(65))));
    }

    #[test]
    fn nobody_is_answered_for_ever() {
        let now = Instant::now();
        let mut client = client(&[], 10_000_000, now);
        let mut answers = 0;
        while !client.socket.is_finished {
            client.socket.says.push_back(b"GET /healthz HTTP/1.1\r\n\r\n");
            client.note(EVERYTHING);
            assert!(matches!(client.run(now), Progress::Asks(_)));
            client.answer(&Response::health(false), now);
            assert_eq!(client.run(now), Progress::Waits);
            answers += 1;
        }
        assert_eq!(answers, MOST_ANSWERS + 1);
        assert!(heard(&client).ends_with("\r\n\r\nok\n"));
    }

    #[test]
    fn who_leaves_is_gone() {
        let now = Instant::now();
        let mut nobody = client(&[b""], 0, now);
        assert_eq!(nobody.run(now), Progress::Ended);
        let mut half = client(&[b"GET / HTTP/1.1\r\n", b""], 0, now);
        assert_eq!(half.run(now), Progress::Ended);
        // Who sends no more may still read.
        let mut whole = client(&[b"GET / HTTP/1.1\r\n\r\n", b""], 100_000, now);
        assert!(matches!(whole.run(now), Progress::Asks(_)));
        whole.answer(&Response::health(false), now);
        assert_eq!(whole.run(now), Progress::Ended);
        assert!(heard(&whole).ends_with("\r\n\r\nok\n"));
    }
}
