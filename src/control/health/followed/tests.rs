use super::*;
use crate::config::settings::ServiceSettings;
use crate::service::Service;
use crate::service::pool::{Checked, Choice};

fn endpoints(argument: &str) -> Endpoints {
    Endpoints::parse(argument).unwrap()
}

fn followed(remote: Endpoints, resolve: bool) -> Followed {
    let mut settings = ServiceSettings::new("", vec![endpoints("127.0.0.1:0")], remote);
    settings.pool.resolve = resolve.then_some(std::time::Duration::from_secs(1));
    let service = Arc::new(Service::new(&settings, None, 0).unwrap());
    Followed::new(Wanted::new(&Running { settings, service }), None, 0)
}

fn addresses(of: &[&str]) -> Vec<EndpointAddress> {
    of.iter().map(|address| EndpointAddress::Tcp(address.parse().unwrap())).collect()
}

fn found(of: &[&str]) -> Vec<Found> {
    let found = |address| Found { address, weight: None, is_backup: false };
    addresses(of).into_iter().map(found).collect()
}

/// The names of the remotes, as sessions see them.
fn remotes(followed: &mut Followed) -> Vec<String> {
    followed.replace_if_stale(0);
    followed.wanted.pool.set().members().iter().map(|member| member.remote.name.clone()).collect()
}

const ONE: &str = "192.0.2.1:80";
const TWO: &str = "192.0.2.2:80";
const THREE: &str = "192.0.2.3:80";

#[test]
fn what_a_name_stands_for_is_judged_by_the_listeners_of_now() {
    let mut web = followed(endpoints("srv:_http._tcp.web.test"), false);
    let (none, second, both) = (addresses(&[]), addresses(&[TWO]), addresses(&[ONE, TWO]));
    assert!(web.answer(0, Ok(found(&[ONE, TWO])), &none, 0));
    assert_eq!(remotes(&mut web), [ONE, TWO]);
    assert!(!web.judge_again(&none, 0), "nothing has changed");
    // A reload listens at one of them, and another no longer.
    assert!(web.judge_again(&second, 0));
    assert_eq!(remotes(&mut web), [ONE]);
    assert!(!web.judge_again(&second, 0));
    assert!(web.judge_again(&none, 0));
    assert_eq!(remotes(&mut web), [ONE, TWO]);
    // Nothing at all is better than the program itself.
    assert!(web.judge_again(&both, 0));
    assert_eq!(remotes(&mut web), [""; 0]);
    assert!(web.judge_again(&second, 0));
    assert_eq!(remotes(&mut web), [ONE]);
    // But an answer in which there is nothing else leaves what there is.
    assert!(!web.answer(0, Ok(found(&[TWO])), &second, 0));
    assert!(!web.judge_again(&second, 0));
    assert_eq!(remotes(&mut web), [ONE]);
}

#[test]
fn what_was_known_before_the_first_answer_is_judged_too() {
    let name = Endpoints { argument: "web.test:80".into(), addresses: addresses(&[ONE, TWO]) };
    let mut web = followed(name.clone(), true);
    assert!(web.judge_again(&addresses(&[ONE]), 0));
    assert_eq!(remotes(&mut web), [TWO]);
    // Of an address that was written as one, the configuration's own check decides.
    let mut fixed = followed(endpoints(ONE), true);
    assert!(!fixed.judge_again(&addresses(&[ONE]), 0));
    assert_eq!(remotes(&mut fixed), [ONE]);
}

#[test]
fn a_remote_that_comes_back_while_a_reload_is_under_way_is_used() {
    let mut settings = ServiceSettings::new("", vec![endpoints("127.0.0.1:0")], endpoints(ONE));
    settings.remotes.push(RemoteSettings::new(endpoints(TWO)));
    let former = Service::new(&settings, None, 0).unwrap();
    let second = former.pool.set().members()[1].remote.clone();
    assert!(second.set_checked(Checked::Down, &"no answer", 1));
    let service = Arc::new(Service::new(&settings, Some(&former), 2).unwrap());
    // The keeper has only the former service yet.
    assert!(second.set_checked(Checked::Up, &"checks pass", 3));
    let followed = Followed::new(Wanted::new(&Running { settings, service }), None, 4);
    let choose = || match followed.wanted.pool.choose(|| None, &[], 5) {
        Choice::Remote(lease) => lease.name.clone(),
        other => panic!("{other:?}"),
    };
    let mut chosen = [choose(), choose()];
    chosen.sort();
    assert_eq!(chosen, [ONE, TWO]);
}

#[test]
fn an_address_that_comes_back_while_it_has_sessions_is_the_same_remote() {
    let mut web = followed(endpoints("srv:_http._tcp.web.test"), false);
    assert!(web.answer(0, Ok(found(&[ONE])), &[], 0));
    web.replace_if_stale(0);
    let Choice::Remote(lease) = web.wanted.pool.choose(|| None, &[], 0) else { panic!("no remote") };
    let (id, sessions) = (lease.id, |web: &Followed| web.remotes().map(|remote| remote.sessions()).sum::<u32>());
    for gone in [TWO, THREE] {
        assert!(web.answer(0, Ok(found(&[gone])), &[], 0));
        assert_eq!((web.has(id), sessions(&web)), (false, 0));
    }
    assert!(web.answer(0, Ok(found(&[ONE, TWO])), &[], 0));
    assert_eq!((web.has(id), sessions(&web)), (true, 1));
    // Nobody remembers one without a session.
    drop(lease);
    assert!(web.answer(0, Ok(found(&[TWO])), &[], 0));
    web.replace_if_stale(0);
    assert!(web.answer(0, Ok(found(&[ONE, TWO])), &[], 0));
    assert!(!web.has(id));
}
