//! The whole, with servers at ports of the kernel's.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use super::fake::{Says, Server, conf};
use super::*;

/// What the tests wait for comes long before.
const PATIENCE: Duration = Duration::from_secs(60);

type Records = Vec<(u16, u16, u16, &'static str, &'static str)>;

/// A server whose records can be changed, with the time to live 0; nothing for those that it does not know.
fn server(records: &Arc<Mutex<Option<Records>>>) -> Server {
    let records = records.clone();
    Server::saying(move |asked| match &*records.lock().unwrap() {
        Some(records) => Says::services(asked, 0, records),
        None => Says::code(2),
    })
}

fn start(conf: ResolvConf) -> (Resolver, Receiver<Answer>) {
    let (tell, told) = channel();
    let tell = move |answer| drop(tell.send(answer));
    (Resolver::start_with(move || conf.clone(), tell).unwrap(), told)
}

fn name(service: ServiceId, remote: usize, argument: &str) -> Name {
    Name { service, remote, argument: argument.into(), every: Some(Duration::from_millis(20)) }
}

#[track_caller]
fn ports(told: &Receiver<Answer>) -> Vec<u16> {
    let found = told.recv_timeout(PATIENCE).unwrap().found.unwrap();
    found.iter().map(|found| found.address.port().unwrap()).collect()
}

#[test]
fn a_name_is_followed_as_it_changes() {
    let records = Arc::new(Mutex::new(Some(vec![(0, 1, 1, "a.", "10.0.0.1"), (0, 1, 2, "a.", "10.0.0.1")])));
    let server = server(&records);
    let (resolver, told) = start(conf(&[&server]));
    resolver.follow(vec![name(ServiceId::next(), 0, "srv:_x._tcp.y")]);
    assert_eq!(ports(&told), [1, 2]);
    let set = |to: Option<Records>| *records.lock().unwrap() = to;
    // Another order changes nothing, and one failure in a row is told.
    set(Some(vec![(0, 1, 2, "a.", "10.0.0.1"), (0, 1, 1, "a.", "10.0.0.1")]));
    thread::sleep(Duration::from_millis(100));
    set(None);
    let reason = told.recv_timeout(PATIENCE).unwrap().found.unwrap_err();
    assert!(reason.starts_with("error resolving address srv:_x._tcp.y DNS server 127.0.0.1:"), "{reason}");
    thread::sleep(Duration::from_millis(100));
    // All at once.
    set(Some((11..18).map(|port| (0, 1, port, "b.", "10.0.0.2")).collect()));
    assert_eq!(ports(&told), [11, 12, 13, 14, 15, 16, 17]);
    set(Some(vec![(0, 1, 11, "b.", "10.0.0.2"), (1, 1, 12, "b.", "10.0.0.2")]));
    let found = told.recv_timeout(PATIENCE).unwrap().found.unwrap();
    assert_eq!(found.iter().map(|found| found.is_backup).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn names_whose_servers_are_silent_do_not_keep_others_waiting() {
    let silent = Server::silent();
    let (resolver, told) = start(ResolvConf { timeout: 10 * PATIENCE, ..conf(&[&silent]) });
    let service = ServiceId::next();
    let mut names: Vec<Name> = (0..MOST_THREADS - 1).map(|n| name(service, n, &format!("srv:_x._tcp.y{n}"))).collect();
    resolver.follow(names.clone());
    names.push(name(service, 99, "localhost:80"));
    resolver.follow(names);
    let answer = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((answer.remote, answer.found.is_ok()), (99, true));
    // Dropped while the servers are waited for.
    let start = Instant::now();
    drop(resolver);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(told.try_recv().is_err());
}

#[test]
fn its_threads_end_with_it_and_tell_nothing_more() {
    let records = Arc::new(Mutex::new(Some(vec![(0, 1, 1, "a.", "10.0.0.1")])));
    let server = server(&records);
    let (resolver, told) = start(conf(&[&server]));
    resolver.follow((0..20).map(|n| name(ServiceId::next(), n, &format!("srv:_x._tcp.y{n}"))).collect());
    let mut remotes: Vec<usize> = (0..20).map(|_| told.recv_timeout(PATIENCE).unwrap().remote).collect();
    remotes.sort_unstable();
    assert_eq!(remotes, (0..20).collect::<Vec<_>>());
    let shared = Arc::downgrade(&resolver.shared);
    assert!(resolver.shared.lock().threads <= MOST_THREADS);
    drop(resolver);
    // Each thread holds what they share.
    let start = Instant::now();
    while shared.strong_count() > 0 {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(1));
    }
    assert!(told.try_recv().is_err());
}

#[test]
fn the_threads_do_nothing_where_no_name_is_due() {
    let (resolver, told) = start(ResolvConf::default());
    let follow = |names: Vec<Name>| resolver.follow(names);
    follow(vec![Name { every: Some(Duration::from_secs(1000)), ..name(ServiceId::next(), 0, "192.0.2.1:80") }]);
    assert_eq!(ports(&told), [80]);
    let start = Instant::now();
    // A name that comes later is looked up at once, and nobody waits for the one before it.
    follow(vec![Name { every: Some(Duration::from_secs(1000)), ..name(ServiceId::next(), 0, "192.0.2.1:81") }]);
    assert_eq!(ports(&told), [81]);
    assert!(start.elapsed() < LINGER / 2, "{:?}", start.elapsed());
    assert!((1..=2).contains(&resolver.shared.lock().threads));
    // Whoever waits is told that there is nothing more to wait for.
    let (start, shared) = (Instant::now(), Arc::downgrade(&resolver.shared));
    drop(resolver);
    while shared.strong_count() > 0 {
        assert!(start.elapsed() < LINGER / 2);
        thread::sleep(Duration::from_millis(1));
    }
}
