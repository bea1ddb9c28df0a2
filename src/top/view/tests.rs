use super::*;
use crate::top::report::Report;

/// A process with two services, three remotes and this many sessions, after so many seconds. The first session has moved
/// nothing, and each other more than the one before it.
fn report(sessions: usize, seconds: u64) -> Report {
    let remote = |name: &str, state: &str| format!(r#"{{"name": "{name}", "state": "{state}", "connected": 2}}"#);
    let session = |number: usize| {
        format!(
            r#"{{"id": "0-{number}", "service": "web", "client": "192.0.2.1:{}", "remote": "10.0.0.1:80",
               "phase": "open", "age_ms": {}, "bytes": [10, {}]}}"#,
            10_000 + number,
            100_000 + seconds * 1000,
            seconds * 1000 * number as u64,
        )
    };
    let sessions: Vec<_> = (0..sessions).map(session).collect();
    let text = format!(
        r#"{{"version": "1.2.3", "pid": 7, "state": "serving", "uptime_ms": {}, "sessions_all": {}, "threads": [{{}}],
        "services": [
            {{"name": "web", "sessions": 5, "begun": {seconds}, "bytes": [0, {}], "refused": {{"rate": 3}},
              "remotes": [{}, {}]}},
            {{"name": "ssh", "remotes": [{}]}}],
        "sessions": [{}]}}"#,
        seconds * 1000,
        sessions.len(),
        seconds * seconds * 1000,
        remote("10.0.0.1:80", "up"),
        remote("10.0.0.2:80", "down"),
        remote("10.0.0.3:22", "out"),
        sessions.join(",")
    );
    Report::parse(text.as_bytes()).expect("a report")
}

fn history(sessions: usize) -> History {
    let mut history = History::default();
    (1..=10).for_each(|seconds| history.add(report(sessions, seconds)));
    history
}

fn draw(view: &mut View, history: &History, size: (usize, usize)) -> Vec<String> {
    let lines = view.draw(history, "127.0.0.1:9000", None, size);
    lines
        .iter()
        .map(|line| line.iter().map(|(_, text)| text.as_str()).collect::<String>().trim_end().to_string())
        .collect()
}

/// The clients' ports of the sessions that are shown.
fn ports(lines: &[String]) -> Vec<usize> {
    let clients = lines.iter().filter_map(|line| line.strip_prefix("192.0.2.1:"));
    clients.map(|rest| rest[..5].parse::<usize>().expect("a port") - 10_000).collect()
}

#[test]
fn all_is_shown_in_80_columns_and_24_lines() {
    let lines = draw(&mut View::new(false), &history(40), (80, 24));
    let expected = "
 cproxy 1.2.3  127.0.0.1:9000  serving  up 10s  threads 0% busy
 40 sessions  1.0 new/s  up 0B/s  down 19.0kB/s  3 refused
SERVICEv  SESSIONS   NEW/s    UP/s  DOWN/s  REFUSED BYTES/s
ssh              0       0       0       0        0
web              5     1.0       0   19.0k        3                    .:-=++*%#
REMOTEv     SERVICE  STATE   SESSIONS   SHARE    UP/s  DOWN/s  FAILED
10.0.0.1:80 web      up             0     50%       0       0       0
10.0.0.2:80 web      down           0     50%       0       0       0
10.0.0.3:22 ssh      out            0    100%       0       0       0
CLIENT          SERVICE  REMOTE          AGE    UP/s DOWN/sv      UP    DOWN
192.0.2.1:10039 web      10.0.0.1:80   1m50s       0   39.0k      10    390k
";
    assert_eq!(lines[..11].join("\n"), expected.trim_matches('\n'));
    assert_eq!(lines.len(), 24);
    assert_eq!(lines[23], " q ends  ? keys  Tab next table  z zoom  < > sort  r reverse  p pause");
}

#[test]
fn keys_move_sort_and_end() {
    let history = history(100);
    let mut view = View::new(false);
    let mut after = |action: Action| {
        assert!(view.act(action));
        ports(&draw(&mut view, &history, (80, 24)))
    };
    let shown = after(Action::First);
    assert_eq!(shown[..3], [99, 98, 97]);
    let page = shown.len();
    assert_eq!(after(Action::Scroll(1))[0], 98);
    assert_eq!(after(Action::Page(1))[0], 98 - page);
    assert_eq!(after(Action::Last).last(), Some(&0));
    assert_eq!(after(Action::Scroll(5)).last(), Some(&0));
    assert_eq!(after(Action::First)[0], 99);
    assert_eq!(after(Action::Reverse)[0], 0);
    // The columns on the right end; far to the left are the clients.
    for _ in 0..20 {
        after(Action::Sort(1));
    }
    for _ in 0..20 {
        after(Action::Sort(-1));
    }
    assert_eq!(after(Action::First)[..2], [0, 1]);
    assert_eq!(after(Action::Reverse)[..2], [99, 98]);
    assert!(after(Action::Zoom).len() > page);
    assert!(after(Action::Focus(1)).is_empty());
    assert_eq!(after(Action::Focus(-1))[0], 99);
    after(Action::Help);
    assert!(view.act(Action::Quit), "it ends the help");
    assert!(!view.act(Action::Quit));
}

#[test]
fn every_size_is_kept_to() {
    let history = history(100);
    for (width, height) in (0..100).map(|size| (size, size / 3)).chain([(80, 0), (80, 1), (80, 5), (0, 24), (500, 200)])
    {
        for zoom in [false, true] {
            let mut view = View::new(true);
            view.is_zoomed = zoom;
            for focus in Panel::ALL {
                view.focus = focus;
                let lines = view.draw(&history, "name", Some("trouble"), (width, height));
                assert_eq!(lines.len(), height);
                for line in lines {
                    let text: String = line.iter().map(|(_, text)| text.as_str()).collect();
                    assert!(wide(&text) <= width, "{width} '{text}'");
                }
            }
        }
    }
}

#[test]
fn tables_share_the_room() {
    for (needs, height, expected) in [
        ([3, 3, 100], 21, [3, 3, 15]),
        ([30, 30, 100], 21, [7, 7, 7]),
        ([30, 30, 1], 21, [7, 7, 7]),
        ([2, 30, 1], 21, [2, 12, 7]),
        ([30, 2, 1], 30, [18, 2, 10]),
        ([1, 1, 1], 9, [1, 1, 7]),
    ] {
        assert_eq!(share(needs, height), expected, "{needs:?}");
    }
}

#[test]
fn trouble_and_what_is_paused_are_told() {
    let mut view = View::new(false);
    view.act(Action::Pause);
    let lines = view.draw(&history(1), "name", Some("name: connection refused"), (80, 24));
    assert!(lines[0].contains(&(Look::Doubtful, "  paused".to_string())));
    assert_eq!(lines[1], [(Look::Bad, " name: connection refused".to_string())]);
}

#[test]
fn what_was_lost_is_told() {
    let mut history = history(1);
    history.add(Report { lost: vec![("log lines", 3), ("capture records", 7)], ..report(1, 11) });
    let lines = draw(&mut View::new(false), &history, (100, 24));
    assert!(lines[1].ends_with("  3 log lines lost  7 capture records lost"), "{}", lines[1]);
}

#[test]
fn states_have_colours() {
    let lines = View::new(false).draw(&history(1), "name", None, (100, 30));
    for (look, state) in [(Look::Good, "up"), (Look::Bad, "down"), (Look::Bad, "out"), (Look::Good, "open")] {
        let found = lines.iter().flatten().find(|(_, text)| text.trim() == state);
        assert_eq!(found.map(|(look, _)| *look), Some(look), "{state}");
    }
}
