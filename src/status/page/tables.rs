//! The tables of the page.

use std::fmt::{self, Display, Write};

use super::View;
use super::sort::{Row, SortKey};
use super::text::{Bytes, Html, Known, Lasting, Short};
use crate::session::Ending;
use crate::status::snapshot::{RemoteStatus, ServiceStatus, SessionRow};

/// Begins a table. A column whose heading ends in `#` has numbers; one that begins with `-` is left out on a small screen.
fn begin_table(html: &mut String, id: &str, title: &str, headings: &[&str]) {
    put!(html, "<section><h2>{title}</h2><div class=\"scroll\"><table id=\"{id}\"><thead><tr>");
    for heading in headings {
        let (heading, is_minor) = heading.strip_prefix('-').map_or((*heading, false), |heading| (heading, true));
        let (heading, is_number) = heading.strip_suffix('#').map_or((heading, false), |heading| (heading, true));
        put!(html, "<th scope=\"col\"{}>{heading}</th>", class(is_minor, is_number));
    }
    html.push_str("</tr></thead><tbody>");
}

/// The attribute that says what a cell is.
fn class(is_minor: bool, is_number: bool) -> &'static str {
    match (is_minor, is_number) {
        (false, false) => "",
        (false, true) => " class=\"number\"",
        (true, false) => " class=\"minor\"",
        (true, true) => " class=\"minor number\"",
    }
}

fn end_table(html: &mut String) {
    html.push_str("</tbody></table></div></section>");
}

/// Writes the table of services.
pub fn services(html: &mut String, view: &View<'_>) {
    let headings = [
        "Service",
        "-Listens at",
        "Sessions#",
        "-Begun#",
        "Up/s#",
        "Down/s#",
        "-Up#",
        "-Down#",
        "-To connect#",
        "-Failed#",
        "Refused#",
    ];
    begin_table(html, "services", "Services", &headings);
    for service in &view.snapshot.services {
        let ServiceStatus { name, listeners, sessions, counters, refused, .. } = service;
        let rate = view.rates.of_service(name, counters.bytes, view.snapshot.uptime);
        put!(html, "<tr><th scope=\"row\">{}</th>", Html(service_name(name)));
        put!(html, "<td class=\"minor\">{}</td>", Html(&listeners.join(", ")));
        number(html, false, *sessions);
        number(html, true, Titled(counters.begun, &endings(service)));
        number(html, false, Known(rate.map(|rate| Bytes(rate[0]))));
        number(html, false, Known(rate.map(|rate| Bytes(rate[1]))));
        number(html, true, Bytes(counters.bytes[0] as f64));
        number(html, true, Bytes(counters.bytes[1] as f64));
        let connected = counters.connect_time.count();
        let mean = (connected > 0).then(|| counters.connect_time.sum as f64 / connected as f64 / 1e6);
        number(html, true, Known(mean.map(Short)));
        number(html, true, failed(service));
        let why: Vec<String> = refused.iter().filter(|(_, count)| *count > 0).map(labelled).collect();
        number(html, false, Titled(refused.iter().map(|(_, count)| count).sum(), &why.join(", ")));
        html.push_str("</tr>");
    }
    end_table(html);
}

/// A service of the command line has no name.
fn service_name(name: &str) -> &str {
    if name.is_empty() { "(command line)" } else { name }
}

/// Sessions that did not end as their peers wanted.
fn failed(service: &ServiceStatus) -> u64 {
    let is_failure = |ending: &Ending| {
        matches!(
            ending.word(),
            "error" | "refused" | "remote_down" | "bad_proxy_header" | "connect_failed" | "connect_timeout"
        )
    };
    Ending::all().filter(is_failure).map(|ending| service.counters.ended[ending.number()]).sum()
}

fn endings(service: &ServiceStatus) -> String {
    let ended = Ending::all().map(|ending| (ending.word(), service.counters.ended[ending.number()]));
    ended.filter(|(_, count)| *count > 0).map(|ended| labelled(&ended)).collect::<Vec<_>>().join(", ")
}

fn labelled((word, count): &(&'static str, u64)) -> String {
    format!("{} {count}", word.replace('_', " "))
}

/// A number, and what it is made of.
struct Titled<'a>(u64, &'a str);

impl Display for Titled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            "" => write!(f, "{}", self.0),
            made_of => write!(f, "<abbr title=\"{}\">{}</abbr>", Html(made_of), self.0),
        }
    }
}

fn number(html: &mut String, is_minor: bool, value: impl Display) {
    put!(html, "<td{}>{value}</td>", class(is_minor, true));
}

/// Writes the table of remotes.
pub fn remotes(html: &mut String, view: &View<'_>) {
    let headings = [
        "Service",
        "Remote",
        "State",
        "-For",
        "-Weight#",
        "Share",
        "Sessions#",
        "-Up#",
        "-Down#",
        "-To connect#",
        "Failed#",
    ];
    begin_table(html, "remotes", "Remotes", &headings);
    for service in &view.snapshot.services {
        let all: u64 = service.remotes.iter().map(|remote| remote.counters.connected).sum();
        for remote in &service.remotes {
            row_of_remote(html, &service.name, remote, all);
        }
    }
    end_table(html);
}

/// One remote; `all` is how many sessions all remotes of the service were connected to.
fn row_of_remote(html: &mut String, service: &str, remote: &RemoteStatus, all: u64) {
    let RemoteStatus { name, state, why, since, weight, is_backup, max_sessions, sessions, failures, counters } =
        remote;
    put!(html, "<tr><td>{}</td><th scope=\"row\">{}</th>", Html(service_name(service)), Html(name));
    put!(html, "<td><span class=\"{state}\" title=\"{}\">{state}</span></td>", Html(why));
    put!(html, "<td class=\"minor\">{}</td>", Lasting(*since));
    let backup = if *is_backup { " (backup)" } else { "" };
    number(html, true, format_args!("{weight}{backup}"));
    let share = if all == 0 { 0.0 } else { counters.connected as f64 / all as f64 };
    put!(
        html,
        "<td class=\"share\"><meter value=\"{share:.3}\" aria-label=\"share\"></meter> {:.0} %</td>",
        share * 100.0
    );
    match max_sessions {
        Some(most) => number(html, false, format_args!("{sessions} of {most}")),
        None => number(html, false, sessions),
    }
    number(html, true, Bytes(counters.bytes[0] as f64));
    number(html, true, Bytes(counters.bytes[1] as f64));
    let connected = counters.connect_time.count();
    let mean = (connected > 0).then(|| counters.connect_time.sum as f64 / connected as f64 / 1e6);
    number(html, true, Known(mean.map(Short)));
    number(html, false, failures);
    html.push_str("</tr>");
}

/// How a column of the sessions is headed, and whether it is left out on a small screen.
fn heading(key: SortKey) -> (&'static str, bool) {
    match key {
        SortKey::Service => ("Service", false),
        SortKey::Client => ("Client", false),
        SortKey::Listener => ("Listener", true),
        SortKey::Remote => ("Remote", false),
        SortKey::State => ("State", true),
        SortKey::Age => ("Age", false),
        SortKey::Idle => ("Idle", true),
        SortKey::Up => ("Up", true),
        SortKey::Down => ("Down", true),
        SortKey::Datagrams => ("Datagrams", true),
        SortKey::Rate => ("Bytes/s", false),
    }
}

/// Writes the table of sessions.
pub fn sessions(html: &mut String, view: &View<'_>) {
    let snapshot = view.snapshot;
    let rate = |session: &SessionRow| view.rates.of_session(&session.id, session.bytes, session.age, snapshot.uptime);
    let mut rows: Vec<Row<'_>> = snapshot.sessions.iter().map(|session| Row { session, rate: rate(session) }).collect();
    view.sort.apply(&mut rows);
    let shown = rows.len() as u64;
    let all = snapshot.sessions_all.max(shown);
    let of = if shown < all { format!(" <small>{shown} of {all}</small>") } else { String::new() };
    put!(html, "<section><h2>Sessions{of}</h2><div class=\"scroll\"><table id=\"sessions\"><thead><tr>");
    for key in SortKey::ALL {
        let (title, is_minor) = heading(key);
        let class = class(is_minor, key.is_number());
        let sorted = match (view.sort.key == key, view.sort.descending) {
            (false, _) => "",
            (true, false) => " aria-sort=\"ascending\"",
            (true, true) => " aria-sort=\"descending\"",
        };
        let query = view.sort.after_click(key).query();
        put!(html, "<th scope=\"col\" data-sort=\"{}\"{class}{sorted}>", key.word());
        put!(html, "<a href=\"?{}\">{title}</a></th>", Html(&query));
    }
    html.push_str("</tr></thead><tbody>");
    for row in &rows {
        row_of_session(html, row);
    }
    end_table(html);
}

fn row_of_session(html: &mut String, Row { session, rate }: &Row<'_>) {
    put!(html, "<tr data-id=\"{}\">", Html(&session.id));
    let texts = [
        (false, service_name(&session.service)),
        (false, &session.client),
        (true, &session.listener),
        (false, &session.remote),
        (true, session.phase),
    ];
    for (is_minor, text) in texts {
        put!(html, "<td{}>{}</td>", class(is_minor, false), Html(text));
    }
    number(html, false, Lasting(session.age));
    number(html, true, Lasting(session.idle));
    number(html, true, Bytes(session.bytes[0] as f64));
    number(html, true, Bytes(session.bytes[1] as f64));
    number(html, true, session.datagrams.iter().sum::<u64>());
    number(html, false, Known(rate.map(|[up, down]| Bytes(up + down))));
    html.push_str("</tr>");
}

/// Writes the table of I/O threads.
pub fn threads(html: &mut String, view: &View<'_>) {
    let headings = ["Thread", "Sessions#", "Busy#", "-Turns#", "-Buffers#", "-Pipes#", "-Kept#", "-Datagrams lost#"];
    begin_table(html, "threads", "Threads", &headings);
    for thread in &view.snapshot.threads {
        put!(html, "<tr><th scope=\"row\">{}</th>", Html(&thread.name));
        if !thread.has_answered {
            put!(html, "<td colspan=\"{}\" class=\"warning\">does not answer</td></tr>", headings.len() - 1);
            continue;
        }
        let busy = view.rates.of_thread(&thread.name, thread.busy, view.snapshot.uptime);
        number(html, false, thread.sessions);
        number(html, false, Known(busy.map(|busy| format!("{:.0} %", busy * 100.0))));
        number(html, true, thread.turns);
        number(html, true, format_args!("{} of {}", thread.buffers[0], thread.buffers[1]));
        number(html, true, format_args!("{} of {}", thread.pipes[0], thread.pipes[1]));
        number(html, true, Bytes(thread.kept as f64));
        number(html, true, thread.lost);
        html.push_str("</tr>");
    }
    end_table(html);
}
