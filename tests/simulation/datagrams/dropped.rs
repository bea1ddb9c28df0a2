//! How many datagrams a session says that it dropped: it says so only in its log.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

/// What the session of this thread has said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    /// So far, upstream and downstream.
    pub so_far: [u64; 2],
    /// At its end, of both.
    pub in_all: Option<u64>,
}

thread_local! {
    static SAID: Cell<Option<Said>> = const { Cell::new(None) };
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Listener;

/// Begins to listen to what this thread logs.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Listener).expect("nobody else listens");
        log::set_max_level(LevelFilter::Info);
    });
    SAID.set(Some(Said::default()));
}

/// What was said since.
pub fn said() -> Said {
    SAID.get().unwrap_or_default()
}

/// Listens no more.
pub fn end() {
    SAID.set(None);
}

impl Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        SAID.get().is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(mut said) = SAID.get() else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            write!(line, "{}", record.args()).expect("a string takes anything");
            if line.starts_with("disconnect client") {
                said.in_all = Some(count_in(line));
            } else if line.contains(" dropped, the last one because: ") {
                said.so_far[usize::from(line.contains(": downstream"))] = count_in(line);
            }
        });
        SAID.set(Some(said));
    }

    fn flush(&self) {}
}

/// The number of datagrams in a line; 0 if there is none.
fn count_in(line: &str) -> u64 {
    let before = line.split(" datagram").next().filter(|before| before.len() < line.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}
