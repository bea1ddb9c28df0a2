//! What the scheduler does when a remote has been found down.

use super::*;
use crate::config::balancing::OnDown;
use crate::service::pool::RemoteId;
use crate::thread::sessions::{Budgets, Host, Sessions};

/// Where sessions dial, and how they end.
#[derive(Default)]
struct Watch {
    /// Those at even ports connect at once, the others never.
    dialled: Vec<u16>,
    ends: Vec<(usize, End)>,
}

impl Host<Fake> for Watch {
    fn admit(&mut self, _key: usize, _client: &mut Fake, _service: &Service) -> io::Result<()> {
        Ok(())
    }

    fn dial(
        &mut self,
        _key: usize,
        _service: &Service,
        address: &RemoteAddress,
        _client: &Caller<'_, Fake>,
    ) -> Dial<Fake> {
        let RemoteAddress::Tcp(address) = address else { panic!("{address:?}") };
        self.dialled.push(address.port());
        let state = State::default();
        state.slow.set(address.port() % 2 == 1);
        Dial::Started(Fake { datagrams: false, state: Rc::new(state) })
    }

    fn has_room(&mut self) -> bool {
        true
    }

    fn count_source(&mut self) {}

    fn ended(&mut self, key: usize, end: End) {
        self.ends.push((key, end));
    }
}

/// A thread with a session for each of so many clients, of a service with remotes at these ports.
fn thread_of(settings: &PoolSettings, ports: &[u16], clients: usize) -> (Sessions<Fake>, Watch, Vec<RemoteId>) {
    let scene = Scene::of_settings(false, None, settings, ports.iter().map(|&port| at_ports(&[port])).collect());
    let service = scene.session.service.clone();
    let ids = service.pool.set().members().iter().map(|member| member.remote.id).collect();
    let mut sessions = Sessions::new(scene.pools, Pace::START, Budgets::default());
    let mut watch = Watch::default();
    for key in 0..clients {
        let client = Fake { datagrams: false, state: Rc::default() };
        assert_eq!(sessions.start(client, service.clone(), None, &mut watch), Some(key));
    }
    (sessions, watch, ids)
}

#[test]
fn sessions_that_are_being_connected_to_it_go_to_another_at_once() {
    let (mut sessions, mut watch, ids) = thread_of(&PoolSettings::default(), &[1, 3], 2);
    assert_eq!(watch.dialled, [1, 3]);
    for on_down in [OnDown::Keep, OnDown::Reset] {
        sessions.remote_is_down(ids[0], on_down, &mut watch);
        // Once: who has left it does not come back.
        assert_eq!((&watch.dialled[..], &watch.ends[..]), (&[1, 3, 3][..], &[][..]));
    }
    // There is no other any more for the first one, which goes on, but for the second there is.
    sessions.remote_is_down(ids[1], OnDown::Reset, &mut watch);
    assert_eq!((&watch.dialled[..], &watch.ends[..]), (&[1, 3, 3, 1][..], &[][..]));
}

#[test]
fn sessions_that_may_try_no_other_stay() {
    let none_again = PoolSettings { retries: Some(0), ..PoolSettings::default() };
    for (settings, ports) in [(none_again, &[1, 3][..]), (PoolSettings::default(), &[1][..])] {
        let (mut sessions, mut watch, ids) = thread_of(&settings, ports, 1);
        sessions.remote_is_down(ids[0], OnDown::Reset, &mut watch);
        assert_eq!((&watch.dialled[..], &watch.ends[..]), (&[1][..], &[][..]));
        assert_eq!(sessions.timer(0), Some(1000), "it is given up in time");
    }
}

#[test]
fn sessions_that_are_joined_to_it_end_only_if_they_are_to() {
    let (mut sessions, mut watch, ids) = thread_of(&PoolSettings::default(), &[2, 4], 4);
    sessions.remote_is_down(ids[0], OnDown::Keep, &mut watch);
    assert_eq!(watch.ends, []);
    sessions.remote_is_down(ids[0], OnDown::Reset, &mut watch);
    assert_eq!(watch.ends, [(0, End::RemoteDown), (2, End::RemoteDown)]);
    assert_eq!(sessions.iter().map(|(key, _)| key).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(watch.dialled, [2, 4, 2, 4], "nobody is connected anew");
}

#[test]
fn a_session_whose_remote_has_ended_is_none_of_it() {
    let (mut sessions, mut watch, ids) = thread_of(&PoolSettings::default(), &[2, 4], 1);
    let gone = Readiness { readable: true, read_closed: true, ..Readiness::default() };
    sessions.note(0, SideName::Remote, None, gone);
    sessions.run_sparse(&mut watch);
    sessions.remote_is_down(ids[0], OnDown::Reset, &mut watch);
    assert_eq!(watch.ends, []);
}
