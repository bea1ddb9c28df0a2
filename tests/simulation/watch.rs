//! Who looks at the sessions of a schedule, and changes nothing: sessions are to promise the same then.

use cproxy::inspect::{Direction, Filter, Inspection, Inspector, Inspectors, SessionFacts, Tap, Then, Verdict};
use std::sync::Arc;

/// What looks at each flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    Tap,
    /// A filter that passes everything on.
    Filter,
    /// Several behind a tap.
    Filters,
}

impl Watch {
    pub fn inspectors(self) -> Inspectors {
        let mut inspectors = Inspectors::default();
        inspectors.add(Arc::new(self));
        inspectors
    }
}

impl Inspector for Watch {
    fn inspect(&self, _session: &SessionFacts<'_>, _direction: Direction) -> Inspection {
        let mut inspection = Inspection::default();
        if *self != Watch::Filter {
            inspection.taps.push(Box::new(Silent::default()));
        }
        let filters = match self {
            Watch::Tap => 0,
            Watch::Filter => 1,
            Watch::Filters => 3,
        };
        inspection.filters.extend((0..filters).map(|_| Box::new(Passing) as Box<dyn Filter>));
        inspection
    }
}

/// Sees everything, and that nothing comes behind the end.
#[derive(Debug, Default)]
struct Silent {
    ended: bool,
    last: u64,
}

impl Silent {
    fn see(&mut self, at: u64) {
        assert!(!self.ended, "something comes behind the end");
        assert!(at >= self.last, "what comes later is seen at an earlier time");
        self.last = at;
    }
}

impl Tap for Silent {
    fn bytes(&mut self, bytes: &[u8], at: u64) {
        assert!(!bytes.is_empty(), "nothing is shown");
        self.see(at);
    }

    fn datagram(&mut self, _datagram: &[u8], at: u64) {
        self.see(at);
    }

    fn end(&mut self, at: u64) {
        self.see(at);
        self.ended = true;
    }
}

/// Passes everything on.
#[derive(Debug)]
struct Passing;

impl Filter for Passing {
    fn bytes(&mut self, input: &[u8], _then: Then, output: &mut Vec<u8>) -> Verdict {
        output.extend_from_slice(input);
        Verdict::Taken(input.len())
    }

    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict {
        output.extend_from_slice(datagram);
        Verdict::Taken(datagram.len())
    }
}
