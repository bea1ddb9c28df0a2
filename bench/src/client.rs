//! The client process: runs one load against one target and says what came of it.

use std::io::{self, BufRead, StdinLock, StdoutLock};
use std::process::ExitCode;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Moment, Window};
use crate::wire::{self, FromClient, Latency, Order, Tally};

/// Runs the load that standard input orders.
pub fn main() -> ExitCode {
    let mut controller = Controller { from: io::stdin().lock(), to: io::stdout().lock() };
    match follow_order(&mut controller) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If this message cannot be sent either, there is nobody left to tell.
            let _ = wire::send(&mut controller.to, &FromClient::Failed(error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn follow_order(controller: &mut Controller) -> io::Result<()> {
    let order: Order = wire::receive(&mut controller.from)?;
    order.load.run(&order, controller)
}

/// The process that gave the order, as a load's client side sees it.
pub struct Controller {
    from: StdinLock<'static>,
    to: StdoutLock<'static>,
}

impl Controller {
    /// Announces that all sessions are open. Returns the part of the load's run that counts.
    pub fn open_window(&mut self, warm_up: Duration, length: Duration) -> io::Result<Window> {
        let window = Window::after(warm_up, length);
        wire::send(&mut self.to, &FromClient::Opened(window))?;
        Ok(window)
    }

    /// Announces the result, then waits until the controller has seen enough. Call it while the sessions are still
    /// open, so that closing them does not count.
    pub fn finish(&mut self, tally: Tally) -> io::Result<()> {
        wire::send(&mut self.to, &FromClient::Finished(tally))?;
        self.from.read_line(&mut String::new())?;
        Ok(())
    }
}

/// How long a load runs before its window opens, if the window is `length` long: long enough for buffers to fill and
/// congestion windows to grow.
pub fn warm_up(length: Duration) -> Duration {
    (length / 4).clamp(Duration::from_millis(100), Duration::from_millis(500))
}

/// Latencies, each at a resolution of three significant digits.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// No latencies yet.
    pub fn new() -> io::Result<Self> {
        Histogram::new_with_bounds(1, 60_000_000_000, 3).map(Self).map_err(io::Error::other)
    }

    /// Adds an operation that has just ended, if it counts.
    pub fn finished(&mut self, began: Moment, ended: Moment, window: &Window) {
        if window.holds(ended) {
            self.record(ended.since(began));
        }
    }

    /// Adds an operation that never ended, if it was under way for the whole window: it took at least until now.
    /// Without this, a proxy that stalls would seem to have no latency at all.
    pub fn unfinished(&mut self, began: Moment, window: &Window) {
        if began < window.from {
            self.record(Moment::now().since(began));
        }
    }

    /// Adds one; more than a minute counts as a minute.
    fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// The number recorded, and their quantiles.
    pub fn tally(&self) -> Tally {
        let latency = Latency {
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        };
        Tally { operations: self.0.len(), latency: Some(latency), ..Tally::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new().unwrap();
        for microseconds in 1..=1000 {
            latencies.record(Duration::from_micros(microseconds));
        }
        let tally = latencies.tally();
        let latency = tally.latency.unwrap();
        assert_eq!(tally.operations, 1000);
        for (got, expected) in [(latency.p50, 500_000), (latency.p99, 990_000), (latency.max, 1_000_000)] {
            assert!(got.abs_diff(expected) <= expected / 1000, "{got} is not {expected}");
        }
    }

    #[test]
    fn an_absurd_latency_is_recorded_as_a_minute() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.tally().operations, 1);
    }

    #[test]
    fn what_is_stuck_for_the_whole_window_is_recorded() {
        let mut latencies = Latencies::new().unwrap();
        let before = Moment::now();
        let window = Window::after(Duration::from_nanos(1), Duration::from_millis(1));
        latencies.unfinished(before, &window);
        latencies.unfinished(window.from, &window);
        assert_eq!(latencies.tally().operations, 1);
    }
}
