//! What the access log says of sessions: how they ended, and that they last.

use super::*;
use crate::access_log::AccessLog;
use crate::log::Sink;

/// Who ended a session so, and HAProxy's two letters for that.
fn account(scene: &Scene, end: End) -> String {
    let account = scene.session.account_of(end);
    let letters: String = account.state.into_iter().map(char::from).collect();
    format!("{} {letters}", account.side.unwrap_or("nobody"))
}

#[test]
fn two_letters_say_who_ended_a_session_and_how_far_it_had_come() {
    use SideName::{Client, Remote};
    let open = Scene::new(false, None);
    for (end, expected) in [
        (End::EndOfStream, "nobody --"),
        (End::ExchangeComplete, "nobody --"),
        (End::Reset(Client), "client CD"),
        (End::Error(Client), "client CD"),
        (End::Reset(Remote), "remote SD"),
        (End::Error(Remote), "remote SD"),
        (End::Refused, "remote SD"),
        (End::RemoteDown, "remote DD"),
        (End::IdleTimeout, "proxy cD"),
        (End::HalfCloseTimeout, "proxy cD"),
        (End::SessionTimeout, "proxy PD"),
        (End::OutsideTime, "proxy PD"),
        (End::Rejected, "proxy PD"),
        (End::Drain, "proxy KD"),
        (End::MadeRoom, "proxy RD"),
    ] {
        assert_eq!(account(&open, end), expected, "{end}");
    }
    let mut waiting = Scene::unconnected(false, None);
    for (end, expected) in [
        (End::EndOfStream, "client CQ"),
        (End::Reset(Client), "client CQ"),
        (End::ConnectTimeout, "remote sQ"),
        (End::Drain, "proxy KQ"),
        (End::BadHeader, "proxy PR"),
        (End::NotLetIn, "proxy PR"),
    ] {
        assert_eq!(account(&waiting, end), expected, "{end}");
    }
    waiting.session.tries = 1;
    assert_eq!(account(&waiting, End::ConnectFailed), "remote SC");
    assert_eq!(account(&waiting, End::ConnectTimeout), "remote sC");
}

#[test]
fn a_session_that_lasts_is_told_of_once() {
    let mut scene = Scene::new(false, None);
    let log = AccessLog::new(Sink::standard_output(), Arc::default(), Some(500));
    Arc::get_mut(&mut scene.session.service).unwrap().access_log = Some(Box::new(log));
    scene.session.terms = Terms::new(&scene.session.service, None, 0);
    scene.session.has_more = true;
    assert_eq!(scene.session.deadline(), Some(500));
    assert!(!scene.session.has_lasted(499));
    assert!(scene.session.has_lasted(500) && !scene.session.has_lasted(501));
    assert_eq!(scene.session.deadline(), None);
}
