//! `cproxy top`: what another process of this program is doing, in a terminal.

mod fetch;
mod figures;
mod history;
mod panels;
mod report;
mod screen;
mod table;
mod view;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::error::error_text;
use crate::control::signals::Signals;
use crossbeam_channel::{Receiver, Sender, bounded};
use crossterm::event::{self, Event};
use fetch::Source;
use history::History;
use panels::Panel;
use report::Report;
use screen::Screen;
use view::View;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What happens while it is shown.
enum Notice {
    /// Somebody has pressed a key, or changed the size of the terminal.
    Terminal(io::Result<Event>),
    /// A look, or why there is none.
    Report(Result<Report, String>),
    /// A signal is to end the program.
    Signal,
}

/// Shows the status of the process that tells it at this address, until a key ends that; or, without a terminal or if
/// only one look is asked for, prints what it tells once.
///
/// # Errors
///
/// What went wrong, in one line.
pub fn run(address: &str, is_once: bool) -> Result<(), String> {
    let source = Source::parse(address)?;
    if is_once || !Screen::is_there() {
        let mut history = History::default();
        history.add(look(&source)?);
        return print(&history);
    }
    // The first look says whether there is anything to show, while errors can still stand in a line of their own.
    let first = look(&source)?;
    let signals = Signals::block(true).map_err(|error| format!("signals: {}", error_text(&error)))?;
    let name = source.name.clone();
    let (sender, notices) = bounded(16);
    let threads = watch(source, signals, &sender);
    let screen = threads.and_then(|()| Screen::enter());
    let screen = screen.map_err(|error| format!("the terminal: {}", error_text(&error)))?;
    let result = show(&screen, first, &name, &notices);
    drop(screen);
    result.map_err(|error| format!("the terminal: {}", error_text(&error)))
}

fn look(source: &Source) -> Result<Report, String> {
    Report::parse(&source.fetch()?).map_err(|why| format!("{}: {why}", source.name))
}

/// Starts what waits for keys, signals and answers. All of these threads end with the process.
fn watch(source: Source, signals: Signals, notices: &Sender<Notice>) -> io::Result<()> {
    let sender = notices.clone();
    thread::Builder::new().name("keys".to_string()).spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.send(Notice::Terminal(event)).is_err() || is_over {
                return;
            }
        }
    })?;
    let sender = notices.clone();
    thread::Builder::new().name("signals".to_string()).spawn(move || {
        if signals.wait().is_ok() {
            // Nobody there: it has ended already.
            let _ = sender.send(Notice::Signal);
        }
    })?;
    let sender = notices.clone();
    thread::Builder::new().name("looks".to_string()).spawn(move || {
        let mut next = Instant::now() + PERIOD;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            // After an answer that took long there is no haste.
            next = (next + PERIOD).max(Instant::now());
            if sender.send(Notice::Report(look(&source))).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Paints until something ends it.
fn show(screen: &Screen, first: Report, name: &str, notices: &Receiver<Notice>) -> io::Result<()> {
    let mut view = View::new(is_unicode());
    let mut history = History::default();
    let mut trouble: Option<String> = None;
    history.add(first);
    loop {
        screen.paint(&view.draw(&history, name, trouble.as_deref(), screen.size()?))?;
        // Both ends of the channel are in this process, and one of the senders stays with the caller.
        let Ok(notice) = notices.recv() else { return Ok(()) };
        match notice {
            Notice::Terminal(event) => {
                if let Some(action) = screen::action(&event?) {
                    if !view.act(action) {
                        return Ok(());
                    }
                }
            }
            Notice::Report(_) if view.is_paused() => {}
            Notice::Report(Ok(report)) => {
                history.add(report);
                trouble = None;
            }
            Notice::Report(Err(why)) => trouble = Some(why),
            Notice::Signal => return Ok(()),
        }
    }
}

/// Prints all that one look has found, without colours and however wide it is.
fn print(history: &History) -> Result<(), String> {
    let report = &history.report;
    let state = if report.is_draining { "draining" } else { "serving" };
    let uptime = figures::Unit::Time.show(report.uptime as f64);
    let mut text = format!("cproxy {} {state}, up {uptime}, {} sessions\n", report.version, report.sessions_all);
    for panel in Panel::ALL {
        text.push('\n');
        text += &panel.table(history).text();
    }
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {}", error_text(&error)))
        }
        _ => Ok(()),
    }
}

/// Whether the terminal can show other characters than those of ASCII, by the locale, as setlocale(3) finds it.
fn is_unicode() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    let locale = locale.map(|locale| locale.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}
