use super::*;

const DIALER: [u8; 32] = [0x11; 32];
const ACCEPTOR: [u8; 32] = [0x22; 32];
const CHALLENGE: [u8; 16] = *b"a random number!";
const ID: SessionId = SessionId(*b"an id of a strip");

/// What comes behind the opening: it is not to be touched.
const BEHIND: &[u8] = b"behind";

fn key(byte: u8) -> StripeKey {
    StripeKey::new([byte; 32])
}

fn keys_of(key: Option<&StripeKey>) -> &[StripeKey] {
    key.map_or(&[], std::slice::from_ref)
}

/// What each end sends in an opening that is always the same.
struct Recording {
    dialer: Vec<u8>,
    acceptor: Vec<u8>,
    channels: (Channel, Channel),
}

fn record(key: Option<&StripeKey>) -> Recording {
    let (mut dialer, mut acceptor) = (Vec::new(), Vec::new());
    let mut dialing = Dialing::with(key, &mut dialer, Some(&DIALER)).unwrap();
    let mut arriving = Arriving::new(CHALLENGE);
    let first = dialer.len();
    let (used, none) = arriving.receive_with(&dialer, keys_of(key), &mut acceptor, Some(&ACCEPTOR)).unwrap();
    assert!(used == first && none.is_none());
    let (used, channel) = dialing.receive(&acceptor, ID, 0, true, &mut dialer).unwrap();
    assert_eq!(used, acceptor.len());
    let (used, arrived) = arriving.receive(&dialer[first..], keys_of(key), &mut acceptor).unwrap();
    assert_eq!(used, dialer.len() - first);
    let arrived = arrived.unwrap();
    assert_eq!(arrived.join, Join { id: ID, lane: 0, may_be_made: true, challenge: CHALLENGE });
    Recording { dialer, acceptor, channels: (channel.unwrap(), arrived.channel) }
}

fn both() -> [Option<StripeKey>; 2] {
    [None, Some(key(7))]
}

/// What `receive` says last.
type Last<T> = Result<(usize, Option<T>), Refusal>;

/// A new acceptor that gets these pieces: what is left of the last one, what it says at the end, and what it sends.
fn arrive(pieces: &[&[u8]], keys: &[StripeKey]) -> (Last<Arrived>, Vec<u8>) {
    let mut arriving = Arriving::new(CHALLENGE);
    let mut sent = Vec::new();
    let mut last = Ok((0, None));
    for piece in pieces {
        last = arriving.receive_with(piece, keys, &mut sent, Some(&ACCEPTOR));
        if !matches!(last, Ok((_, None))) {
            break;
        }
    }
    (last, sent)
}

/// The same for a dialer.
fn dial(pieces: &[&[u8]], key: Option<&StripeKey>) -> (Last<Channel>, Vec<u8>) {
    let mut sent = Vec::new();
    let mut dialing = Dialing::with(key, &mut sent, Some(&DIALER)).unwrap();
    let mut last = Ok((0, None));
    for piece in pieces {
        last = dialing.receive(piece, ID, 0, true, &mut sent);
        if !matches!(last, Ok((_, None))) {
            break;
        }
    }
    (last, sent)
}

fn refusal<T>(result: Result<T, Refusal>) -> Refusal {
    result.err().expect("a refusal")
}

/// The first bytes of an opening or an answer, with one of them changed.
fn head_with(place: usize, byte: u8) -> Vec<u8> {
    let mut bytes = head(PLAIN).to_vec();
    bytes[place] = byte;
    bytes
}

#[test]
fn an_opening_may_come_in_any_pieces() {
    for key in both() {
        let recording = record(key.as_ref());
        let longer = [&recording.dialer, BEHIND].concat();
        for split in 0..recording.dialer.len() {
            let (before, behind) = longer.split_at(split);
            let (result, sent) = arrive(&[before, behind], keys_of(key.as_ref()));
            let (used, arrived) = result.unwrap();
            assert_eq!(&behind[used..], BEHIND, "{split}");
            assert!(arrived.is_some() && sent == recording.acceptor, "{split}");
        }
        let longer = [&recording.acceptor, BEHIND].concat();
        for split in 0..recording.acceptor.len() {
            let (before, behind) = longer.split_at(split);
            let (result, sent) = dial(&[before, behind], key.as_ref());
            let (used, channel) = result.unwrap();
            assert_eq!(&behind[used..], BEHIND, "{split}");
            assert!(channel.is_some() && sent == recording.dialer, "{split}");
        }
        let single: Vec<_> = recording.dialer.chunks(1).collect();
        assert!(arrive(&single, keys_of(key.as_ref())).0.unwrap().1.is_some());
        let single: Vec<_> = recording.acceptor.chunks(1).collect();
        assert!(dial(&single, key.as_ref()).0.unwrap().1.is_some());
    }
}

#[test]
fn part_of_an_opening_is_waited_for() {
    for key in both() {
        let recording = record(key.as_ref());
        for end in 0..recording.dialer.len() {
            let (result, _) = arrive(&[&recording.dialer[..end]], keys_of(key.as_ref()));
            assert!(matches!(result, Ok((used, None)) if used == end), "{end}");
        }
        for end in 0..recording.acceptor.len() {
            let (result, _) = dial(&[&recording.acceptor[..end]], key.as_ref());
            assert!(matches!(result, Ok((used, None)) if used == end), "{end}");
        }
    }
}

/// With a key, no bit of an opening can be changed.
#[test]
fn a_changed_opening_with_a_key_is_refused() {
    let key = key(7);
    let recording = record(Some(&key));
    for place in 0..recording.dialer.len() * 8 {
        let mut changed = recording.dialer.clone();
        changed[place / 8] ^= 1 << (place % 8);
        assert!(arrive(&[&changed], keys_of(Some(&key))).0.is_err(), "{place}");
    }
    for place in 0..recording.acceptor.len() * 8 {
        let mut changed = recording.acceptor.clone();
        changed[place / 8] ^= 1 << (place % 8);
        let (result, sent) = dial(&[&changed], Some(&key));
        assert!(result.is_err(), "{place}");
        assert_eq!(sent, recording.dialer[..HEAD + FIRST_MESSAGE], "nothing is sent after a refusal");
    }
}

/// Without one, all but the flag and the id of the JOIN must be as they were, and the challenge, which the dialer only
/// repeats.
#[test]
fn a_changed_plain_opening_is_refused() {
    let recording = record(None);
    let free = HEAD + 2..HEAD + 2 + ID.0.len();
    for place in (0..recording.dialer.len()).filter(|place| !free.contains(place)) {
        for bit in 0..8 {
            let mut changed = recording.dialer.clone();
            changed[place] ^= 1 << bit;
            let joined = arrive(&[&changed], &[]).0.ok().and_then(|(_, arrived)| arrived).map(|arrived| arrived.join);
            // Whether it may be made, and which lane it is.
            let only_the_flags = place == HEAD + 1 && bit < 6;
            assert_eq!(joined.is_some(), only_the_flags, "{place} {bit}");
        }
    }
    for place in 0..HEAD {
        for bit in 0..8 {
            let mut changed = recording.acceptor.clone();
            changed[place] ^= 1 << bit;
            assert!(dial(&[&changed], None).0.is_err(), "{place} {bit}");
        }
    }
}

#[test]
fn what_is_no_opening_gets_no_answer() {
    let hello = [0x16, 3, 1, 2, 0, 1, 0];
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &hello, b"SSH-2.0-x\r\n", b"C", b"CPS\0", b"CPSX", &[0; 100]] {
        let (result, sent) = arrive(&[garbage], &[]);
        if garbage == b"C" {
            assert!(result.is_ok());
            continue;
        }
        let refusal = refusal(result);
        assert_eq!((refusal, refusal.answer()), (Refusal::NoOpening, None), "{garbage:?}");
        assert!(sent.is_empty());
        assert!(matches!(dial(&[garbage], None).0, Err(Refusal::NoAnswer)));
    }
    // The first byte is enough.
    assert!(matches!(arrive(&[b"G"], &[]).0, Err(Refusal::NoOpening)));
}

#[test]
fn another_version_and_unknown_features_are_refused() {
    let refused = |bytes: &[u8], keys: &[StripeKey]| {
        let (result, sent) = arrive(&[bytes], keys);
        assert!(sent.is_empty());
        let refusal = refusal(result);
        let answer = refusal.answer().expect("an answer");
        (refusal, answer[5])
    };
    for keys in [&[][..], &[key(1)]] {
        assert_eq!(refused(&head_with(4, 2), keys), (Refusal::OtherVersion(2), 1));
        assert_eq!(refused(&head_with(5, 2), keys), (Refusal::UnknownMode(2), 2));
        assert_eq!(refused(&head_with(6, 0x80), keys), (Refusal::UnknownFeature(0x8000), 2));
        assert_eq!(refused(&head_with(7, 1), keys), (Refusal::UnknownFeature(1), 2));
    }
    let of_dialer = |bytes: &[u8]| refusal(dial(&[bytes], None).0);
    let of_a_later_version = [&MAGIC[..], &[3, OTHER_VERSION, 0, 0]].concat();
    assert_eq!(of_dialer(&of_a_later_version), Refusal::OtherVersion(3));
    assert_eq!(of_dialer(&head_with(4, 3)), Refusal::NoAnswer);
    assert_eq!(of_dialer(&head_with(7, 1)), Refusal::NoAnswer);
}

/// Both ends say the reason; each from where it stands.
fn lines(dialer: Option<&StripeKey>, acceptor: &[StripeKey]) -> [String; 2] {
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    let mut dialing = Dialing::new(dialer, &mut request).unwrap();
    let at_acceptor = refusal(Arriving::new(CHALLENGE).receive(&request, acceptor, &mut answer));
    assert!(answer.is_empty());
    let answer = at_acceptor.answer().expect("an answer");
    let at_dialer = refusal(dialing.receive(&answer, ID, 0, true, &mut request));
    assert_eq!(at_dialer.answer(), None);
    [at_dialer.to_string(), at_acceptor.to_string()]
}

#[test]
fn a_key_on_one_end_only_is_explained_on_both() {
    let key_here = "a key is required here (--stripe-key), and the peer has none";
    let key_there = "the peer requires a key, and --stripe-key is not given here";
    assert_eq!(lines(None, &[key(1)]), [key_there, key_here]);
    assert_eq!(lines(Some(&key(1)), &[]), [key_here, key_there]);
    let other = ["the peer does not accept the key of --stripe-key", "the key of the peer is none of --stripe-key"];
    assert_eq!(lines(Some(&key(1)), &[key(2)]), other);
    assert_eq!(lines(Some(&key(1)), &[key(2), key(3)]), other);
}

#[test]
fn each_of_two_keys_is_accepted() {
    for ours in [1, 2] {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        let mut dialing = Dialing::new(Some(&key(ours)), &mut request).unwrap();
        let mut arriving = Arriving::new(CHALLENGE);
        let keys = [key(1), key(2)];
        assert!(arriving.receive(&request, &keys, &mut answer).unwrap().1.is_none());
        request.clear();
        assert!(dialing.receive(&answer, ID, 0, false, &mut request).unwrap().1.is_some());
        let arrived = arriving.receive(&request, &keys, &mut answer).unwrap().1.unwrap();
        assert_eq!(arrived.join, Join { id: ID, lane: 0, may_be_made: false, challenge: CHALLENGE });
    }
}

#[test]
fn every_refusal_is_understood_by_the_dialer() {
    for code in 1..=255 {
        let refusal = refusal(dial(&[&head(code)], None).0);
        assert_eq!(refusal, Refusal::Refused(code));
        assert_eq!(refusal.to_string().contains("unknown code"), code > TOO_MANY);
    }
    assert_eq!(Refusal::TooManyLanes.answer(), Some(head(TOO_MANY)));
}

/// Two openings of one key have nothing in common that an onlooker could use again.
#[test]
fn an_opening_that_is_played_again_does_nothing() {
    let key = key(7);
    let old = record(Some(&key)).dialer;
    // Fresh keys at the acceptor, even if the challenge were the same.
    let mut answer = Vec::new();
    let result = Arriving::new(CHALLENGE).receive(&old, keys_of(Some(&key)), &mut answer);
    assert_eq!(refusal(result), Refusal::NotAuthentic);
    assert_eq!(Refusal::NotAuthentic.answer(), None);
    assert_eq!(answer.len(), HEAD + SECOND_MESSAGE);
    let old = record(None).dialer;
    let result = Arriving::new([0; 16]).receive(&old, &[], &mut answer);
    assert_eq!(refusal(result), Refusal::WrongChallenge);
}

/// The acceptor checks the challenge also where the dialer has the key.
#[test]
fn a_join_must_be_for_this_lane_and_alone() {
    let key = key(7);
    let through = |frames: &[Frame<'_>]| {
        let (mut request, mut answer, mut record) = (Vec::new(), Vec::new(), Vec::new());
        let mut dialing = Dialing::new(Some(&key), &mut request).unwrap();
        let mut arriving = Arriving::new(CHALLENGE);
        arriving.receive(&request, keys_of(Some(&key)), &mut answer).unwrap();
        let (_, keys) = dialing.handshake.as_mut().unwrap().finish(&answer[HEAD..]).unwrap();
        Channel::keyed(&keys).seal(frames.iter().map(|frame| (frame.header(), &[][..])), &mut record);
        arriving.receive(&record, keys_of(Some(&key)), &mut answer).map(|(_, arrived)| arrived.is_some())
    };
    let join = Frame::Join(Join { id: ID, lane: 0, may_be_made: true, challenge: CHALLENGE });
    let of_another = Frame::Join(Join { id: ID, lane: 0, may_be_made: true, challenge: [0; 16] });
    assert_eq!(through(&[join]), Ok(true));
    assert_eq!(through(&[of_another]), Err(Refusal::WrongChallenge));
    assert_eq!(through(&[join, Frame::Ping(1)]), Err(Refusal::NoJoin));
    assert_eq!(through(&[Frame::Ping(1)]), Err(Refusal::NoJoin));
    // As long as a JOIN.
    let ends = [Frame::Close(crate::stripe::frame::CloseCode::Reset); 17];
    assert_eq!(through(&ends), Err(Refusal::NoJoin));
    let after_plain = |bytes: &[u8]| refusal(arrive(&[&head(PLAIN), bytes], &[]).0);
    assert_eq!(after_plain(&[1; 34]), Refusal::NoJoin);
    assert_eq!(after_plain(&[9; 34]), Refusal::BadJoin(Violation("a frame of an unknown type")));
}

/// Nothing that a stranger sends joins, or ends in a panic: random bytes in random pieces, most of which begin well.
#[test]
fn random_bytes_join_nothing() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let keys = [key(1), key(2)];
    let mut answered = 0;
    for round in 0..20_000 {
        let keys = &keys[..round % 3];
        let mut bytes: Vec<u8> = (0..random() % 150).map(|_| random() as u8).collect();
        let (head, known) = (head(round as u8 / 4 % 2), [0, MAGIC.len(), HEAD, HEAD][round % 4]);
        bytes.splice(0..0, head[..known].iter().copied());
        let mut arriving = Arriving::new(CHALLENGE);
        let mut answer = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + random() as usize % rest.len());
            rest = behind;
            match arriving.receive(piece, keys, &mut answer) {
                Ok((used, None)) => assert_eq!(used, piece.len()),
                Ok((_, Some(_))) => panic!("round {round} joined"),
                Err(refusal) => {
                    answered += u32::from(refusal.answer().is_some());
                    break;
                }
            }
        }
    }
    assert!(answered > 1000);
}

/// The lanes of strangers wait in so many bytes, whatever they have sent; there is nothing else of them here.
#[test]
fn a_stranger_costs_little() {
    assert!(size_of::<Arriving>() <= 144, "{}", size_of::<Arriving>());
}

#[test]
fn both_ends_understand_each_other_afterwards() {
    for key in both() {
        let (mut near, mut far) = record(key.as_ref()).channels;
        let frame = Frame::Ping(17);
        for from_near in [true, false, true, true, false] {
            let (from, to) = if from_near { (&mut near, &mut far) } else { (&mut far, &mut near) };
            let mut bytes = Vec::new();
            from.seal([(frame.header(), &[][..])], &mut bytes);
            assert_eq!(bytes.len(), frame.header().bytes().len() + if key.is_some() { RECORD_OVERHEAD } else { 0 });
            let opened = to.open(&mut bytes).unwrap();
            assert_eq!(Frame::decode(opened), Ok(Some((frame, opened.len()))));
        }
    }
}
