//! Where the run is: one line, updated in place on a terminal, a line a measurement elsewhere. It goes to standard
//! error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::clock::Moment;

/// The display.
pub struct Progress {
    place: Place,
    total: usize,
    done: usize,
    started: Moment,
}

enum Place {
    Terminal,
    Elsewhere,
}

impl Progress {
    /// A display of `total` measurements, of which none is done.
    pub fn new(total: usize) -> Self {
        let place = match io::stderr().is_terminal() {
            true => Place::Terminal,
            false => Place::Elsewhere,
        };
        Self { place, total, done: 0, started: Moment::now() }
    }

    /// Shows the measurement that begins.
    pub fn begin(&self, what: &str) {
        let line = format!("[{}/{}] {what}{}", self.done + 1, self.total, self.remaining());
        match self.place {
            Place::Terminal => eprint!("\r\x1b[K{line}"),
            Place::Elsewhere => eprintln!("{line}"),
        }
        let _ = io::stderr().flush();
    }

    /// Counts the measurement that ended.
    pub fn end(&mut self) {
        self.done += 1;
    }

    /// Shows a line that stays.
    pub fn say(&self, line: &str) {
        self.clear();
        eprintln!("{line}");
    }

    /// Takes the display away.
    pub fn clear(&self) {
        if let Place::Terminal = self.place {
            eprint!("\r\x1b[K");
        }
    }

    /// How much longer the run takes if it goes on as it went, once that can be said.
    fn remaining(&self) -> String {
        match self.done {
            0 => String::new(),
            done => {
                let each = Moment::now().since(self.started) / done as u32;
                format!("  {} left", clock_time(each * (self.total - done) as u32))
            }
        }
    }
}

/// A duration as minutes and seconds.
fn clock_time(duration: Duration) -> String {
    format!("{}:{:02}", duration.as_secs() / 60, duration.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_on_a_clock() {
        assert_eq!(clock_time(Duration::from_secs(725)), "12:05");
    }
}
