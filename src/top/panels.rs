//! The three tables that are shown: services, remotes and sessions.

use super::figures::Unit;
use super::history::History;
use super::table::{Cell, Column, Kind, Sort, Table};

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// One row for each service.
    Services,
    /// One row for each remote of each service.
    Remotes,
    /// One row for each session, as far as the process tells of them.
    Sessions,
}

const fn text(title: &'static str, rank: u8) -> Column {
    Column { title, kind: Kind::Text, rank }
}

const fn number(title: &'static str, unit: Unit, rank: u8) -> Column {
    Column { title, kind: Kind::Number(unit), rank }
}

const SERVICES: &[Column] = &[
    text("SERVICE", 0),
    number("SESSIONS", Unit::Count, 1),
    number("NEW/s", Unit::Rate, 3),
    number("UP/s", Unit::Bytes, 2),
    number("DOWN/s", Unit::Bytes, 2),
    number("UP", Unit::Bytes, 6),
    number("DOWN", Unit::Bytes, 6),
    number("REFUSED", Unit::Count, 5),
    Column { title: "BYTES/s", kind: Kind::Graph, rank: 4 },
];

const REMOTES: &[Column] = &[
    text("REMOTE", 0),
    text("SERVICE", 5),
    Column { title: "STATE", kind: Kind::State, rank: 1 },
    number("SESSIONS", Unit::Count, 2),
    number("SHARE", Unit::Share, 7),
    number("UP/s", Unit::Bytes, 3),
    number("DOWN/s", Unit::Bytes, 3),
    number("FAILED", Unit::Count, 6),
    number("UP", Unit::Bytes, 8),
    number("DOWN", Unit::Bytes, 8),
    text("WHY", 10),
];

const SESSIONS: &[Column] = &[
    text("CLIENT", 0),
    text("SERVICE", 6),
    text("REMOTE", 3),
    Column { title: "PHASE", kind: Kind::State, rank: 8 },
    number("AGE", Unit::Time, 4),
    number("IDLE", Unit::Time, 7),
    number("UP/s", Unit::Bytes, 1),
    number("DOWN/s", Unit::Bytes, 1),
    number("UP", Unit::Bytes, 5),
    number("DOWN", Unit::Bytes, 5),
];

impl Panel {
    /// All of them, from top to bottom.
    pub const ALL: [Panel; 3] = [Panel::Services, Panel::Remotes, Panel::Sessions];

    /// Its place among them.
    pub fn number(self) -> usize {
        self as usize
    }

    /// How its rows are sorted at first: sessions by their rate downstream, the others by their names.
    pub fn first_sort(self) -> Sort {
        let column = match self {
            Panel::Services | Panel::Remotes => 0,
            Panel::Sessions => SESSIONS.iter().position(|column| column.title == "DOWN/s").unwrap_or_default(),
        };
        Sort { column, is_reversed: false }
    }

    /// The table of the last look, in the order in which the process tells of the rows.
    pub fn table(self, history: &History) -> Table {
        match self {
            Panel::Services => Table { columns: SERVICES, rows: services(history) },
            Panel::Remotes => Table { columns: REMOTES, rows: remotes(history) },
            Panel::Sessions => Table { columns: SESSIONS, rows: sessions(history) },
        }
    }
}

fn services(history: &History) -> Vec<Vec<Cell>> {
    let services = history.report.services.iter().zip(&history.services);
    let row = |(service, rates): (&super::report::Service, &super::history::ServiceRates)| {
        vec![
            (&service.name).into(),
            service.sessions.into(),
            rates.begun.into(),
            rates.bytes[0].into(),
            rates.bytes[1].into(),
            service.bytes[0].into(),
            service.bytes[1].into(),
            service.refused.into(),
            Cell::Graph(history.graph(&service.name).collect()),
        ]
    };
    services.map(row).collect()
}

fn remotes(history: &History) -> Vec<Vec<Cell>> {
    let remotes = history.report.remotes.iter().zip(&history.remotes);
    let row = |(remote, rates): (&super::report::Remote, &[Option<f64>; 2])| {
        vec![
            (&remote.name).into(),
            (&remote.service).into(),
            (&remote.state).into(),
            remote.sessions.into(),
            remote.share.into(),
            rates[0].into(),
            rates[1].into(),
            remote.failures.into(),
            remote.bytes[0].into(),
            remote.bytes[1].into(),
            (&remote.why).into(),
        ]
    };
    remotes.map(row).collect()
}

fn sessions(history: &History) -> Vec<Vec<Cell>> {
    let sessions = history.report.sessions.iter().zip(&history.sessions);
    let row = |(session, rates): (&super::report::Session, &[Option<f64>; 2])| {
        vec![
            (&session.client).into(),
            (&session.service).into(),
            (&session.remote).into(),
            (&session.phase).into(),
            session.age.into(),
            session.idle.into(),
            rates[0].into(),
            rates[1].into(),
            session.bytes[0].into(),
            session.bytes[1].into(),
        ]
    };
    sessions.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::report::Report;

    /// Every row has a cell for each column, of the kind that the column says.
    #[test]
    fn cells_belong_to_their_columns() {
        let mut history = History::default();
        history.add(Report::parse(br#"{"services": [{"remotes": [{}]}], "sessions": [{}]}"#).expect("a report"));
        for panel in Panel::ALL {
            let table = panel.table(&history);
            assert_eq!((table.rows.len(), table.rows[0].len()), (1, table.columns.len()));
            for (cell, column) in table.rows[0].iter().zip(table.columns) {
                let fits = match cell {
                    Cell::Text(_) => matches!(column.kind, Kind::Text | Kind::State),
                    Cell::Number(_) => matches!(column.kind, Kind::Number(_)),
                    Cell::Graph(_) => column.kind == Kind::Graph,
                };
                assert!(fits, "{panel:?} {}", column.title);
            }
        }
    }
}
