//! In which order the page has the sessions.

use std::cmp::Ordering;

use crate::status::rates::Rate;
use crate::status::snapshot::SessionRow;

/// A session, and how fast its bytes move.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The session.
    pub session: &'a SessionRow,
    /// Its rate, where it is known.
    pub rate: Option<Rate>,
}

/// What sessions can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// The service's name.
    Service,
    /// The client's address.
    Client,
    /// The address of ours.
    Listener,
    /// The remote's address.
    Remote,
    /// What it is doing.
    State,
    /// How long it has lasted.
    Age,
    /// How long nothing has moved.
    Idle,
    /// Bytes upstream.
    Up,
    /// Bytes downstream.
    Down,
    /// Datagrams in both directions.
    Datagrams,
    /// Bytes a second in both directions.
    Rate,
}

impl SortKey {
    /// All of them, in the order of the columns.
    pub const ALL: [SortKey; 11] = [
        SortKey::Service,
        SortKey::Client,
        SortKey::Listener,
        SortKey::Remote,
        SortKey::State,
        SortKey::Age,
        SortKey::Idle,
        SortKey::Up,
        SortKey::Down,
        SortKey::Datagrams,
        SortKey::Rate,
    ];

    /// The word for it in a request.
    pub fn word(self) -> &'static str {
        match self {
            SortKey::Service => "service",
            SortKey::Client => "client",
            SortKey::Listener => "listener",
            SortKey::Remote => "remote",
            SortKey::State => "state",
            SortKey::Age => "age",
            SortKey::Idle => "idle",
            SortKey::Up => "up",
            SortKey::Down => "down",
            SortKey::Datagrams => "datagrams",
            SortKey::Rate => "rate",
        }
    }

    /// Whether it is a number: then the largest comes first unless something else is asked for.
    pub fn is_number(self) -> bool {
        matches!(self, SortKey::Age | SortKey::Idle | SortKey::Up | SortKey::Down | SortKey::Datagrams | SortKey::Rate)
    }

    fn compare(self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let rate = |row: &Row<'_>| row.rate.map_or(-1.0, |[up, down]| up + down);
        let datagrams = |row: &Row<'_>| row.session.datagrams.iter().sum::<u64>();
        match self {
            SortKey::Service => a.session.service.cmp(&b.session.service),
            SortKey::Client => natural(&a.session.client, &b.session.client),
            SortKey::Listener => natural(&a.session.listener, &b.session.listener),
            SortKey::Remote => natural(&a.session.remote, &b.session.remote),
            SortKey::State => a.session.phase.cmp(b.session.phase),
            SortKey::Age => a.session.age.cmp(&b.session.age),
            SortKey::Idle => a.session.idle.cmp(&b.session.idle),
            SortKey::Up => a.session.bytes[0].cmp(&b.session.bytes[0]),
            SortKey::Down => a.session.bytes[1].cmp(&b.session.bytes[1]),
            SortKey::Datagrams => datagrams(a).cmp(&datagrams(b)),
            SortKey::Rate => rate(a).total_cmp(&rate(b)),
        }
    }
}

/// Compares texts so that numbers in them count as numbers: `10.0.0.9:80` comes before `10.0.0.10:80`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(first_of_a), Some(first_of_b)) = (a.first(), b.first()) {
        let order = if first_of_a.is_ascii_digit() && first_of_b.is_ascii_digit() {
            let (number_of_a, number_of_b) = (take_number(&mut a), take_number(&mut b));
            number_of_a.len().cmp(&number_of_b.len()).then_with(|| number_of_a.cmp(number_of_b))
        } else {
            let order = first_of_a.cmp(first_of_b);
            (a, b) = (&a[1..], &b[1..]);
            order
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// The digits that the text begins with, without zeros before them; the rest of it is left.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    *text = rest;
    let zeros = number.iter().take_while(|&&byte| byte == b'0').count();
    &number[zeros..]
}

/// An order of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// What they are sorted by.
    pub key: SortKey,
    /// Whether the largest comes first.
    pub descending: bool,
}

impl Default for Sort {
    fn default() -> Sort {
        Sort::usual(SortKey::Rate)
    }
}

impl Sort {
    /// The usual order by this: numbers from the largest, text from its beginning.
    pub fn usual(key: SortKey) -> Sort {
        Sort { key, descending: key.is_number() }
    }

    /// What a request asks for: `sort=age&order=asc`. What is not understood is left out.
    pub fn of_query(query: &str) -> Sort {
        let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let key = value("sort").and_then(|word| SortKey::ALL.into_iter().find(|key| key.word() == word));
        let usual = key.map_or_else(Sort::default, Sort::usual);
        match value("order") {
            Some("asc") => Sort { descending: false, ..usual },
            Some("desc") => Sort { descending: true, ..usual },
            _ => usual,
        }
    }

    /// The order that a click on the heading of this column leads to: the other one, if it is sorted by that already.
    pub fn after_click(self, key: SortKey) -> Sort {
        if self.key == key { Sort { descending: !self.descending, ..self } } else { Sort::usual(key) }
    }

    /// As a request has it.
    pub fn query(self) -> String {
        format!("sort={}&order={}", self.key.word(), if self.descending { "desc" } else { "asc" })
    }

    /// Sorts. Those that are equal are in the order of their ids, so that they keep their places.
    pub fn apply(self, rows: &mut [Row<'_>]) {
        rows.sort_unstable_by(|a, b| {
            let order = self.key.compare(a, b);
            let order = if self.descending { order.reverse() } else { order };
            order.then_with(|| natural(&a.session.id, &b.session.id))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_the_order_and_a_click_turns_it() {
        let sort = |key, descending| Sort { key, descending };
        assert_eq!(Sort::of_query(""), sort(SortKey::Rate, true));
        assert_eq!(Sort::of_query("sort=<b>&order=up"), sort(SortKey::Rate, true));
        assert_eq!(Sort::of_query("sort=client"), sort(SortKey::Client, false));
        assert_eq!(Sort::of_query("order=asc&sort=age"), sort(SortKey::Age, false));
        for key in SortKey::ALL {
            let usual = Sort::usual(key);
            assert_eq!(Sort::of_query(&usual.query()), usual);
            assert_eq!(Sort::of_query(&usual.after_click(key).query()), sort(key, !usual.descending));
            assert_eq!(sort(key, true).after_click(SortKey::Up).key, SortKey::Up);
        }
        assert_eq!(sort(SortKey::Age, false).after_click(SortKey::Up), sort(SortKey::Up, true));
    }

    #[test]
    fn numbers_in_addresses_count_as_numbers() {
        let mut addresses = ["10.0.0.10:80", "10.0.0.9:80", "unix:a", "10.0.0.9:8", "10.0.0.09:9", "10.0.0.9"];
        addresses.sort_by(|a, b| natural(a, b));
        assert_eq!(addresses, ["10.0.0.9", "10.0.0.9:8", "10.0.0.09:9", "10.0.0.9:80", "10.0.0.10:80", "unix:a"]);
    }

    #[test]
    fn sessions_are_sorted_and_equal_ones_keep_their_places() {
        let session = |id: &str, up| SessionRow { id: id.to_string(), bytes: [up, 0], ..SessionRow::default() };
        let sessions = [session("0-10", 5), session("0-9", 5), session("0-1", 7), session("1-2", 1)];
        let order = |query: &str| {
            let mut rows: Vec<Row<'_>> = sessions.iter().map(|session| Row { session, rate: None }).collect();
            Sort::of_query(query).apply(&mut rows);
            rows.iter().map(|row| row.session.id.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(order("sort=up"), ["0-1", "0-9", "0-10", "1-2"]);
        assert_eq!(order("sort=up&order=asc"), ["1-2", "0-9", "0-10", "0-1"]);
        assert_eq!(order(""), ["0-1", "0-9", "0-10", "1-2"]);
    }
}
