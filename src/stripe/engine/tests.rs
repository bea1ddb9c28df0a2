//! Two engines that are joined frame by frame, and engines that are told single frames.

use super::*;
use crate::stripe::INITIAL_WINDOW;
use crate::stripe::frame::Header;
use std::collections::VecDeque;

const CONFIG: Config =
    Config { mode: Mode::UntilCongested, window: 1 << 20, lane_timeout: 30_000_000, ping_after: 15_000_000 };

/// Frames on their way, with their payloads.
type Way = VecDeque<(Header, Vec<u8>)>;

/// Two engines whose lanes take everything and deliver it after a millisecond, one frame of each lane in turn.
struct Pair {
    ends: [Engine; 2],
    lanes: Vec<[Way; 2]>,
    now: u64,
}

impl Pair {
    fn new(config: Config, lanes: usize) -> Pair {
        let mut ends = [Engine::new(config, 0), Engine::new(config, 0)];
        for lane in 0..lanes {
            ends.iter_mut().for_each(|end| end.lane_up(lane, Some(1000), 0));
        }
        Pair { ends, lanes: (0..lanes).map(|_| Default::default()).collect(), now: 0 }
    }

    fn send(&mut self) {
        let mut burst = Burst::default();
        for (engine, way) in self.ends.iter_mut().zip(0..) {
            engine.tick(self.now);
            while let Some(lane) = engine.next_burst(&mut burst, self.now) {
                for frame in &burst.frames {
                    let payload = engine.payload(frame.payload.clone()).to_vec();
                    self.lanes[lane][way].push_back((frame.header, payload));
                }
            }
        }
        self.now += 1000;
    }

    fn deliver(&mut self) {
        for lane in 0..self.lanes.len() {
            for way in 0..2 {
                if let Some((header, payload)) = self.lanes[lane][way].pop_front() {
                    let bytes = [header.bytes(), &payload].concat();
                    let (frame, length) = Frame::decode(&bytes).unwrap().unwrap();
                    assert_eq!(length, bytes.len());
                    assert_eq!(self.ends[1 - way].received(lane, frame, None, self.now), Ok(None));
                }
            }
        }
    }
}

fn contents(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

fn everything_arrives(mode: Mode) {
    let mut pair = Pair::new(Config { mode, ..CONFIG }, 4);
    let sent = [contents(3_000_000, 1), contents(2_000_001, 2)];
    let (mut written, mut got) = ([0; 2], [Vec::new(), Vec::new()]);
    let mut deaths = 0;
    for turn in 0.. {
        assert!(turn < 100_000, "nothing moves");
        for end in 0..2 {
            written[end] += pair.ends[end].write(&sent[end][written[end]..]);
            if written[end] == sent[end].len() {
                pair.ends[end].finish();
            }
            let mut buffer = [0; 50_000];
            while let Read::Bytes(length) = pair.ends[1 - end].read(&mut buffer, pair.now) {
                got[end].extend_from_slice(&buffer[..length]);
            }
        }
        pair.send();
        pair.deliver();
        if turn % 10 == 5 {
            let lane = turn / 10 % 4;
            deaths += 1;
            pair.ends.iter_mut().for_each(|end| end.lane_down(lane, pair.now));
            pair.lanes[lane] = Default::default();
            pair.ends.iter_mut().for_each(|end| end.lane_up(lane, Some(1000), pair.now));
        }
        if pair.ends.iter().all(Engine::is_finished) {
            break;
        }
    }
    assert!(got == sent, "something else arrived");
    assert!(deaths > 3, "no lane died");
}

#[test]
fn everything_arrives_until_congested() {
    everything_arrives(Mode::UntilCongested);
}

#[test]
fn everything_arrives_round_robin() {
    everything_arrives(Mode::RoundRobin);
}

#[test]
fn everything_arrives_redundant() {
    everything_arrives(Mode::Redundant);
}

/// What one engine sends on one lane, to an engine that answers, until 20,000 bytes and the end have arrived.
fn recorded() -> Vec<u8> {
    let mut pair = Pair::new(CONFIG, 1);
    let mut recorded = Vec::new();
    for part in contents(20_000, 3).chunks(700) {
        pair.ends[0].write(part);
        if pair.ends[0].unacknowledged() == 20_000 {
            pair.ends[0].finish();
        }
        pair.ends[1].write(&part[..10]);
        pair.send();
        let frames = pair.lanes[0][0].iter();
        recorded.extend(frames.flat_map(|(header, payload)| [header.bytes(), payload].concat()));
        while !pair.lanes[0].iter().all(VecDeque::is_empty) {
            pair.deliver();
        }
    }
    recorded
}

/// A fresh engine gets these bytes on a lane: says what it would have the session read.
fn fed(bytes: &[u8]) -> Vec<u8> {
    let mut engine = Engine::new(CONFIG, 0);
    engine.lane_up(0, None, 0);
    engine.write(&contents(400, 9));
    let (mut burst, mut got, mut buffer) = (Burst::default(), Vec::new(), [0; 5000]);
    let mut used = 0;
    while let Ok(Some((frame, length))) = Frame::decode(&bytes[used..]) {
        used += length;
        if engine.received(0, frame, None, 1000).is_err() {
            break;
        }
        while let Read::Bytes(length) = engine.read(&mut buffer, 1000) {
            got.extend_from_slice(&buffer[..length]);
        }
        while engine.next_burst(&mut burst, 1000).is_some() {}
        engine.check();
        assert!(engine.memory().0 < 400_000);
    }
    engine.tick(10_000_000);
    engine.lane_down(0, 10_000_000);
    engine.check();
    got
}

#[test]
fn what_is_cut_off_delivers_what_came_before_and_no_more() {
    let (bytes, stream) = (recorded(), contents(20_000, 3));
    assert_eq!(fed(&bytes), stream);
    for end in (0..bytes.len()).step_by(7) {
        let got = fed(&bytes[..end]);
        assert!(stream.starts_with(&got), "cut at {end}");
    }
}

#[test]
fn a_byte_that_is_wrong_does_no_harm_beyond_itself() {
    let (mut bytes, stream) = (recorded(), contents(20_000, 3));
    let mut at = 0;
    while let Ok(Some((frame, length))) = Frame::decode(&bytes[at..]) {
        let payload = if let Frame::Data { payload, .. } = frame { payload.len() } else { 0 };
        // All of the header, and a byte of the payload.
        for wrong in at..(at + length - payload + usize::from(payload > 0)) {
            for flip in [1, 0x80, 0xff] {
                bytes[wrong] ^= flip;
                let got = fed(&bytes);
                // Bytes of another place may stand where the place was changed; nothing is added.
                assert!(got.len() <= stream.len() + 5000, "byte {wrong}");
                let changed = got.iter().zip(&stream).filter(|(got, sent)| got != sent).count();
                assert!(
                    wrong >= at + length - payload || changed <= 700 + got.len().saturating_sub(at),
                    "byte {wrong}"
                );
                bytes[wrong] ^= flip;
            }
        }
        at += length;
    }
    assert_eq!(at, bytes.len());
}

fn engine() -> Engine {
    let mut engine = Engine::new(CONFIG, 0);
    engine.lane_up(0, None, 0);
    engine
}

fn data(engine: &mut Engine, offset: u64, payload: &[u8]) -> Result<Option<Event>, Violation> {
    engine.received(0, Frame::Data { offset, payload }, None, 0)
}

#[test]
fn what_overlaps_is_delivered_once_and_as_it_came_first() {
    let mut engine = engine();
    data(&mut engine, 4, b"4567").unwrap();
    data(&mut engine, 10, b"ab").unwrap();
    data(&mut engine, 2, b"23xxxx89xx").unwrap();
    assert!(!engine.readable());
    data(&mut engine, 0, b"01yyyyyyyyyyz").unwrap();
    data(&mut engine, 1, b"nothing").unwrap();
    let mut buffer = [0; 50];
    assert_eq!(engine.read(&mut buffer, 0), Read::Bytes(13));
    assert_eq!(&buffer[..13], b"0123456789abz");
    assert_eq!(engine.duplicates(), 6 + 10 + 7);
    engine.check();
}

#[test]
fn the_rules_are_kept_by_the_peer_or_it_is_told() {
    let complaint = |result: Result<Option<Event>, Violation>| result.unwrap_err().0;
    let ack =
        |cumulative, on_this_lane| Frame::Ack(Ack { cumulative, window_end: u64::MAX, on_this_lane, delay: u32::MAX });
    let mut e = engine();
    assert_eq!(complaint(data(&mut e, 65_536, b"a")), "data out of the window");
    assert_eq!(complaint(data(&mut e, MOST_OFFSET - 1, b"a")), "data out of the window");
    assert_eq!(complaint(data(&mut e, MOST_OFFSET, b"a")), "an offset that is too large");
    assert_eq!(complaint(data(&mut e, u64::MAX, b"a")), "an offset that is too large");
    data(&mut e, 5, b"a").unwrap();
    let end = |e: &mut Engine, offset| e.received(0, Frame::End { offset }, None, 0);
    assert_eq!(complaint(end(&mut e, 5)), "an end of the stream before bytes of it");
    assert_eq!(complaint(end(&mut e, u64::MAX)), "an offset that is too large");
    end(&mut e, 6).unwrap();
    end(&mut e, 6).unwrap();
    assert_eq!(complaint(end(&mut e, 7)), "another end of the stream");
    assert_eq!(complaint(data(&mut e, 6, b"a")), "data beyond the end of the stream");
    assert_eq!(complaint(e.received(0, ack(1, 0), None, 0)), "an ACK of what was not sent");
    assert_eq!(complaint(e.received(0, ack(0, 1), None, 0)), "an ACK of what was not sent");
    let finished = Frame::Close(CloseCode::Finished);
    assert_eq!(complaint(e.received(0, finished, None, 0)), "a CLOSE as finished before the end");
    e.received(0, ack(0, 0), None, 0).unwrap();
    // The window has no end now, and still no more is kept than ours.
    assert_eq!(e.write(&vec![1; 3 << 20]), 1 << 20);
    let mut burst = Burst::default();
    while e.next_burst(&mut burst, 0).is_some() {}
    e.received(0, ack(1000, 100), None, 0).unwrap();
    e.received(0, ack(10, 50), None, 0).unwrap();
    e.received(0, ack(1001, 10_001), None, 0).unwrap();
    e.lane_down(0, 5);
    e.check();
    e.lane_up(1, None, 5);
    assert_eq!(e.next_burst(&mut burst, 5), Some(1));
    let first = burst.frames.iter().find(|frame| !frame.payload.is_empty()).unwrap();
    assert_eq!(first.payload.start, 1001, "what is acknowledged is sent again");
    assert_eq!(e.unacknowledged(), (1 << 20) - 1001);
    e.check();
}

#[test]
fn bytes_with_gaps_cost_a_bounded_memory_and_then_the_lane() {
    let window = 1 << 20;
    let mut engine = Engine::new(Config { window, ..CONFIG }, 0);
    engine.lane_up(0, None, 0);
    let mut burst = Burst::default();
    let mut told = 0;
    let refused = (1..).find(|number| {
        while engine.next_burst(&mut burst, 0).is_some() {
            for frame in &burst.frames {
                if let Ok(Some((Frame::Ack(ack), _))) = Frame::decode(frame.header.bytes()) {
                    told = ack.window_end;
                }
            }
        }
        assert!(told <= window);
        data(&mut engine, 2 * number, b"a").is_err()
    });
    assert!(refused.is_some_and(|number| number <= 65_537), "{refused:?}");
    let (bytes, rest) = engine.memory();
    assert!(bytes as u64 <= window && rest < 4 << 20, "{bytes} {rest}");
    engine.check();
}

#[test]
fn an_idle_engine_is_small() {
    let mut pair = Pair::new(CONFIG, 4);
    for turn in 0..2000 {
        if turn < 100 {
            pair.ends[0].write(&contents(100_000, turn));
        }
        pair.send();
        pair.deliver();
        let mut buffer = [0; 100_000];
        while let Read::Bytes(_) = pair.ends[1].read(&mut buffer, pair.now) {}
    }
    for end in &pair.ends {
        assert_eq!(end.unacknowledged(), 0);
        let (bytes, rest) = end.memory();
        assert_eq!(bytes, 0);
        assert!(rest < 3072, "{rest} bytes, {} of them for the engine", size_of::<Engine>());
    }
}

#[test]
fn a_small_message_takes_little_memory() {
    let mut pair = Pair::new(CONFIG, 4);
    for turn in 0..300 {
        pair.ends[0].write(&contents(128, turn));
        let (bytes, _) = pair.ends[0].memory();
        assert!(bytes <= 1024, "{bytes} bytes");
        for _ in 0..30 {
            pair.send();
            pair.deliver();
        }
        assert!(pair.ends[1].memory().0 <= 1024);
        assert_eq!(pair.ends[1].read(&mut [0; 1000], pair.now), Read::Bytes(128));
    }
}

/// What the engine has to send: the lane, and whether the frames are an ACK with this window end.
fn sent(engine: &mut Engine, now: u64) -> Vec<(usize, Option<u64>)> {
    let mut burst = Burst::default();
    let mut sent = Vec::new();
    while let Some(lane) = engine.next_burst(&mut burst, now) {
        let window_end = |frame: &BurstFrame| match Frame::decode(frame.header.bytes()) {
            Ok(Some((Frame::Ack(ack), _))) => Some(ack.window_end),
            _ => None,
        };
        sent.push((lane, burst.frames.iter().find_map(window_end)));
    }
    sent
}

#[test]
fn news_of_the_window_that_go_along_with_data_go_on_all_lanes() {
    let config = Config { window: 1000, ..CONFIG };
    let mut engine = Engine::new(config, 0);
    (0..3).for_each(|lane| engine.lane_up(lane, Some(1000), 0));
    sent(&mut engine, 0);
    // The peer fills the window, on a lane that is told so late.
    for offset in (0..INITIAL_WINDOW).step_by(1024) {
        engine.received(0, Frame::Data { offset, payload: &[7; 1024] }, None, 1000).unwrap();
    }
    sent(&mut engine, 30_000);
    engine.received(0, Frame::Data { offset: 0, payload: &[7; 8] }, None, 30_000).unwrap();
    assert_eq!(sent(&mut engine, 30_000), []);
    // Then all is read, and something written that goes on that lane.
    let mut buffer = vec![0; INITIAL_WINDOW as usize];
    assert_eq!(engine.read(&mut buffer, 31_000), Read::Bytes(buffer.len()));
    engine.write(b"an answer");
    let mut told: Vec<usize> = sent(&mut engine, 31_000)
        .into_iter()
        .filter(|(_, window_end)| *window_end == Some(INITIAL_WINDOW + 1000))
        .map(|(lane, _)| lane)
        .collect();
    told.sort();
    assert_eq!(told, [0, 1, 2]);
}

#[test]
fn a_lane_that_was_slow_once_is_tried_again() {
    let mut pair = Pair::new(CONFIG, 2);
    let mut now = 0;
    // Lane 0 has taken a second for what went on it, and so seems slow.
    let mut burst = Burst::default();
    let sender = &mut pair.ends[0];
    sender.write(&[1; 200_000]);
    let mut sent = 0;
    while let Some(lane) = sender.next_burst(&mut burst, now) {
        if lane == 0 {
            sent += burst.frames.iter().map(|frame| frame.payload.end - frame.payload.start).sum::<u64>();
        }
    }
    now += 1_000_000;
    let ack = |cumulative, on_this_lane| Frame::Ack(Ack { cumulative, window_end: 1 << 20, on_this_lane, delay: 0 });
    sender.received(0, ack(0, sent), None, now).unwrap();
    assert!(sender.lane_report(0).rate.is_some_and(|rate| rate < 1_000_000), "{sent}");
    now += 4_000_000;
    sender.tick(now);
    assert!(sender.lane_report(0).rate.is_some());
    now += 2_000_000;
    sender.tick(now);
    assert!(sender.lane_report(0).rate.is_none());
}

/// A few bytes now and then do not show that it is faster, and do not confirm that it is slow either.
#[test]
fn a_lane_that_was_slow_once_is_tried_again_though_it_carries_a_little() {
    let mut pair = Pair::new(CONFIG, 1);
    let sender = &mut pair.ends[0];
    let mut burst = Burst::default();
    let (mut now, mut sent) = (0, 0);
    let mut send = |sender: &mut Engine, bytes: usize, now| {
        sender.write(&vec![1; bytes]);
        while sender.next_burst(&mut burst, now).is_some() {
            sent += burst.frames.iter().map(|frame| frame.payload.end - frame.payload.start).sum::<u64>();
        }
        Frame::Ack(Ack { cumulative: sent, window_end: 1 << 20, on_this_lane: sent, delay: 0 })
    };
    let ack = send(sender, 100_000, now);
    now += 1_000_000;
    sender.received(0, ack, None, now).unwrap();
    assert!(sender.lane_report(0).rate.is_some_and(|rate| rate < 1_000_000));
    for _ in 0..60 {
        let ack = send(sender, 10, now);
        now += 100_000;
        sender.received(0, ack, None, now).unwrap();
        sender.tick(now);
    }
    assert!(sender.lane_report(0).rate.is_none());
}
