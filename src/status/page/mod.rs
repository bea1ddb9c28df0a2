//! The page for browsers: whole as it is sent, and made anew by a script that asks for it again each second.

/// Appends formatted text, which cannot fail.
macro_rules! put {
    ($html:expr, $($arguments:tt)*) => {
        let _ = write!($html, $($arguments)*);
    };
}

mod chart;
mod sort;
mod tables;
mod text;

use std::fmt::Write;

use super::history::{History, Step};
use super::rates::Rates;
use super::snapshot::{ServiceStatus, Snapshot};
use chart::{Line, chart};
pub use sort::{Sort, SortKey};
use tables::{remotes, services, sessions, threads};
use text::{Bytes, Lasting, Short};

/// The script that keeps the page up to date, and follows clicks without loading it anew.
pub const SCRIPT: &str = include_str!("app.js");

/// How the page looks.
pub const STYLE: &str = include_str!("style.css");

/// What stands before its title.
pub const ICON: &str = include_str!("icon.svg");

/// What the page may load: what comes from here, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page is made of.
#[derive(Debug)]
pub struct View<'a> {
    /// What is known now.
    pub snapshot: &'a Snapshot,
    /// How fast bytes move.
    pub rates: &'a Rates,
    /// What was before.
    pub history: &'a History,
    /// The order of the sessions.
    pub sort: Sort,
}

/// What stands before all that changes. Without a script the browser loads the page anew from time to time.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
     <meta name=\"color-scheme\" content=\"light dark\"><title>cproxy</title>\
     <link rel=\"icon\" href=\"icon.svg\"><link rel=\"stylesheet\" href=\"style.css\">\
     <script src=\"app.js\" defer></script>\
     <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript></head><body>\
     <p id=\"lost\" role=\"status\" hidden>The proxy does not answer. What is below is old.</p>\n";

/// Writes the page.
pub fn page(view: &View<'_>) -> String {
    let mut html = String::with_capacity(16 * 1024 + 700 * view.snapshot.sessions.len());
    html.push_str(HEAD);
    html.push_str("<main>");
    overview(&mut html, view);
    charts(&mut html, view.history);
    services(&mut html, view);
    remotes(&mut html, view);
    sessions(&mut html, view);
    threads(&mut html, view);
    html.push_str("</main></body></html>\n");
    html
}

fn overview(html: &mut String, view: &View<'_>) {
    let snapshot = view.snapshot;
    let state = if snapshot.is_draining { "draining" } else { "serving" };
    let sum = |of: fn(&ServiceStatus) -> u64| snapshot.services.iter().map(of).sum::<u64>();
    put!(html, "<header><h1>cproxy</h1> <strong class=\"{state}\">{state}</strong><dl>");
    let facts = [
        ("sessions", snapshot.sessions_all.to_string()),
        ("since the start", sum(|service| service.counters.begun).to_string()),
        ("refused", sum(|service| service.refused.iter().map(|(_, count)| count).sum()).to_string()),
        ("upstream", Bytes(sum(|service| service.counters.bytes[0]) as f64).to_string()),
        ("downstream", Bytes(sum(|service| service.counters.bytes[1]) as f64).to_string()),
        ("running for", Lasting(snapshot.uptime).to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("process", std::process::id().to_string()),
    ];
    for (name, value) in facts {
        put!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html.push_str("</dl></header>");
    let lost = [
        ("lines of the log", snapshot.log_lines_lost),
        ("lines of access logs", snapshot.access_log_lines_lost),
        ("records of captures", snapshot.capture_records_lost),
    ];
    for (what, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
        put!(html, "<p class=\"warning\">Lost: {count} {what}.</p>");
    }
}

fn charts(html: &mut String, history: &History) {
    let steps: Vec<Step> = history.steps().collect();
    html.push_str("<section id=\"chart\" aria-label=\"The last five minutes\">");
    let (up, down) = (|step: &Step| Some(step.rates[0]), |step: &Step| Some(step.rates[1]));
    let rates = [Line { name: "up", value: &up }, Line { name: "down", value: &down }];
    chart(html, "Bytes a second", &steps, &rates, Bytes);
    let sessions = |step: &Step| Some(step.sessions as f64);
    chart(html, "Sessions", &steps, &[Line { name: "open", value: &sessions }], |value| value);
    let connect_time = |step: &Step| step.connect_time;
    chart(html, "Time to connect", &steps, &[Line { name: "mean", value: &connect_time }], Short);
    html.push_str("</section>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example::example;

    fn page_of(snapshot: &Snapshot, query: &str) -> String {
        let (mut rates, mut history) = (Rates::default(), History::default());
        rates.add(snapshot);
        history.add(snapshot);
        page(&View { snapshot, rates: &rates, history: &history, sort: Sort::of_query(query) })
    }

    #[test]
    fn the_page_has_all_that_is_known() {
        let html = page_of(&example(), "sort=up");
        for part in [
            "<strong class=\"serving\">serving</strong>",
            "<dt>sessions</dt><dd>2</dd>",
            "<th scope=\"row\">web</th><td class=\"minor\">127.0.0.1:80, unix:/run/a b</td>",
            "<abbr title=\"rules 2\">2</abbr>",
            "<th scope=\"row\">10.0.0.1:80</th><td><span class=\"up\"",
            "<meter value=\"0.800\" aria-label=\"share\"></meter> 80 %",
            "<th scope=\"col\" data-sort=\"up\" class=\"minor number\" aria-sort=\"descending\"><a href=\"?sort=up&amp;order=asc\">",
            "<tr data-id=\"0-17\"><td>web</td><td>192.0.2.1:1000</td>",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        let place = |id: &str| html.find(&format!("data-id=\"{id}\"")).unwrap();
        assert!(place("0-17") < place("0-18"));
        let html = page_of(&example(), "sort=up&order=asc");
        let place = |id: &str| html.find(&format!("data-id=\"{id}\"")).unwrap();
        assert!(place("0-17") > place("0-18"));
    }

    #[test]
    fn tags_are_closed_in_their_order() {
        let mut snapshot = example();
        snapshot.threads[0].has_answered = false;
        for snapshot in [example(), snapshot] {
            let html = page_of(&snapshot, "");
            let mut open = Vec::new();
            for tag in html.split('<').skip(1).filter(|tag| !tag.starts_with('!')) {
                let (tag, _) = tag.split_once('>').unwrap();
                let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
                if tag.starts_with('/') {
                    assert_eq!(open.pop(), Some(name));
                } else if !["meta", "link"].contains(&name) && !tag.ends_with('/') {
                    open.push(name);
                }
            }
            assert_eq!(open, Vec::<&str>::new());
        }
    }

    #[test]
    fn no_name_breaks_the_page() {
        let nasty = "<script>alert(1)</script>\"' onload=x";
        let mut snapshot = example();
        snapshot.services[0].name = nasty.to_string();
        snapshot.services[0].listeners[0] = nasty.to_string();
        snapshot.services[0].remotes[0].name = nasty.to_string();
        snapshot.services[0].remotes[0].why = nasty.to_string();
        snapshot.threads[0].name = nasty.to_string();
        let session = &mut snapshot.sessions[0];
        for text in
            [&mut session.id, &mut session.service, &mut session.client, &mut session.listener, &mut session.remote]
        {
            *text = nasty.to_string();
        }
        let html = page_of(&snapshot, nasty);
        assert!(!html.contains("<script>") && !html.contains("\"' onload"), "{html}");
        assert!(html.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=x").count() >= 11, "{html}");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for text in [HEAD, SCRIPT, STYLE] {
            assert!(!text.contains("://") && !text.contains("url("), "{text}");
        }
        // The policy forbids both.
        let html = page_of(&example(), "");
        assert!(!html.contains(" style=") && !html.contains(" on"), "{html}");
    }
}
