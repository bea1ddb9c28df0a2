//! Tables of text and numbers: which columns fit, the order of the rows, and each row as text.

use std::cmp::Ordering;

use super::figures::Unit;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What is known of a kind of thing, one of them a row.
#[derive(Debug)]
pub struct Table {
    /// What is told of each.
    pub columns: &'static [Column],
    /// One row for each thing, as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// What is told of each thing.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// What it is, in one word.
    pub title: &'static str,
    /// What is in it.
    pub kind: Kind,
    /// Columns with a higher number are left out first where there is no room, those with the same number together.
    pub rank: u8,
}

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, on the left.
    Text,
    /// A state, which is text with a colour.
    State,
    /// A number, on the right.
    Number(Unit),
    /// A graph, which takes the room that is left.
    Graph,
}

/// One thing that is told of one.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number, if it is known.
    Number(Option<f64>),
    /// Numbers from the oldest to the last.
    Graph(Vec<f64>),
}

impl From<&String> for Cell {
    fn from(text: &String) -> Cell {
        Cell::Text(text.clone())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::Number(Some(number as f64))
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Cell {
        Cell::Number(number)
    }
}

/// By which column rows are sorted, and whether the order is turned round. Text begins with the smallest, numbers begin
/// with the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The number of the column.
    pub column: usize,
    /// Whether the order is turned round.
    pub is_reversed: bool,
}

/// A column that fits, and its width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The number of the column.
    pub column: usize,
    /// Its width.
    pub width: usize,
}

/// The width of a column of numbers: six digits, and room for the mark of the one that rows are sorted by.
const NUMBER: usize = 7;
/// The width that text has at least, if it is longer: that of the longest address of IPv4 with its port.
const TEXT: usize = 21;
/// The width that a graph has at least.
const GRAPH: usize = 16;

impl Table {
    /// Sorts the rows; those that are the same stay in their order.
    pub fn sort(&mut self, sort: Sort) {
        self.rows.sort_by(|a, b| {
            let order = match (a.get(sort.column), b.get(sort.column)) {
                (Some(Cell::Text(a)), Some(Cell::Text(b))) => natural(a, b),
                (Some(Cell::Number(a)), Some(Cell::Number(b))) => b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0)),
                _ => Ordering::Equal,
            };
            if sort.is_reversed { order.reverse() } else { order }
        });
    }

    /// Which columns fit into a width, with a blank between each two of them.
    pub fn fit(&self, width: usize) -> Vec<Fit> {
        let widest: Vec<usize> = (0..self.columns.len()).map(|column| self.widest(column)).collect();
        let least = |column: usize| match self.columns[column].kind {
            Kind::Text => widest[column].min(TEXT),
            Kind::Graph => GRAPH,
            _ => widest[column],
        };
        let mut ranked: Vec<usize> = (0..self.columns.len()).collect();
        ranked.sort_by_key(|&column| self.columns[column].rank);
        let mut left = width;
        let mut fits: Vec<Fit> = Vec::new();
        for group in ranked.chunk_by(|&a, &b| self.columns[a].rank == self.columns[b].rank) {
            // Of the first, which says what the thing is, there is at least a part.
            let most = if fits.is_empty() { left } else { usize::MAX };
            let group: Vec<_> = group.iter().map(|&column| Fit { column, width: least(column).min(most) }).collect();
            let blanks = group.len() - usize::from(fits.is_empty());
            let Some(rest) = left.checked_sub(group.iter().map(|fit| fit.width).sum::<usize>() + blanks) else { break };
            left = rest;
            fits.extend(group);
        }
        for kind in [Kind::Text, Kind::Graph] {
            for fit in fits.iter_mut().filter(|fit| self.columns[fit.column].kind == kind) {
                let more = widest[fit.column].saturating_sub(fit.width).min(left);
                fit.width += more;
                left -= more;
            }
        }
        fits.sort_by_key(|fit| fit.column);
        fits
    }

    /// The width of the widest cell of a column, and of its title with a mark behind it.
    fn widest(&self, column: usize) -> usize {
        let title = self.columns[column].title.width() + 1;
        match self.columns[column].kind {
            Kind::Number(_) => title.max(NUMBER),
            Kind::Graph => usize::MAX,
            Kind::Text | Kind::State => {
                let texts = self.rows.iter().filter_map(|row| match &row[column] {
                    Cell::Text(text) => Some(text.width()),
                    _ => None,
                });
                texts.max().unwrap_or(0).max(title)
            }
        }
    }

    /// One cell of a row, filled up to its width.
    pub fn cell(&self, row: usize, fit: Fit, ticks: &[char]) -> String {
        match (&self.rows[row][fit.column], self.columns[fit.column].kind) {
            (Cell::Text(text), _) => padded(text, fit.width, false),
            (Cell::Number(Some(number)), Kind::Number(unit)) => padded(&unit.show(*number), fit.width, true),
            (Cell::Number(_), _) => padded("-", fit.width, true),
            (Cell::Graph(numbers), _) => sparkline(numbers, fit.width, ticks),
        }
    }

    /// The whole table as lines of text, however wide; without graphs, and without numbers that no row has.
    pub fn text(&self) -> String {
        let is_told = |column: &usize| match self.columns[*column].kind {
            Kind::Graph => false,
            Kind::Number(_) => self.rows.is_empty() || self.rows.iter().any(|row| row[*column] != Cell::Number(None)),
            Kind::Text | Kind::State => true,
        };
        let told = (0..self.columns.len()).filter(is_told);
        let fits: Vec<Fit> = told.map(|column| Fit { column, width: self.widest(column) }).collect();
        let titles = fits.iter().map(|&fit| self.title(fit, None)).collect();
        let rows = (0..self.rows.len()).map(|row| fits.iter().map(|&fit| self.cell(row, fit, &[])).collect());
        let lines = std::iter::once(titles).chain(rows);
        lines.map(|cells: Vec<String>| cells.join(" ").trim_end().to_string() + "\n").collect()
    }

    /// The title of a column in the same way, with a mark if the rows are sorted by it.
    pub fn title(&self, fit: Fit, mark: Option<char>) -> String {
        let Column { title, kind, .. } = self.columns[fit.column];
        let title = format!("{title}{}", mark.map(String::from).unwrap_or_default());
        padded(&title, fit.width, matches!(kind, Kind::Number(_)))
    }
}

/// Text in exactly this many columns of a terminal; the last character that is left of one too long is a `~`.
fn padded(text: &str, width: usize, to_the_right: bool) -> String {
    let wide = text.width();
    if wide <= width {
        let blanks = " ".repeat(width - wide);
        return if to_the_right { blanks + text } else { text.to_string() + &blanks };
    }
    let mut short = String::new();
    let mut at = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if at + wide + 1 > width {
            break;
        }
        short.push(c);
        at += wide;
    }
    while at < width {
        short.push('~');
        at += 1;
    }
    short
}

/// The last numbers as a graph, the last one on the right, the largest of them at the top.
fn sparkline(numbers: &[f64], width: usize, ticks: &[char]) -> String {
    let shown = &numbers[numbers.len().saturating_sub(width)..];
    let most = shown.iter().copied().fold(0.0, f64::max);
    let mut line = " ".repeat(width - shown.len());
    let steps = ticks.len() - 1;
    // What is not nothing is to be seen.
    line.extend(shown.iter().map(|&number| match number {
        number if number <= 0.0 => ticks[0],
        number => ticks[((number / most * steps as f64).round() as usize).clamp(1, steps)],
    }));
    line
}

/// The order in which people expect names: numbers in them by their value, so that addresses are in order.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(first), Some(other)) = (a.first(), b.first()) {
        let order = if first.is_ascii_digit() && other.is_ascii_digit() {
            let (left, right) = (digits(&mut a), digits(&mut b));
            left.len().cmp(&right.len()).then(left.cmp(right))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            first.cmp(other)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Takes the digits that text begins with, without leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { title: "NAME", kind: Kind::Text, rank: 0 },
        Column { title: "STATE", kind: Kind::State, rank: 2 },
        Column { title: "BYTES", kind: Kind::Number(Unit::Bytes), rank: 1 },
        Column { title: "GRAPH", kind: Kind::Graph, rank: 3 },
    ];
    const TICKS: [char; 5] = ['_', '1', '2', '3', '4'];

    fn table(rows: &[(&str, Option<f64>)]) -> Table {
        let row = |&(name, bytes): &(&str, Option<f64>)| {
            vec![
                Cell::Text(name.to_string()),
                Cell::Text("up".to_string()),
                Cell::Number(bytes),
                Cell::Graph(vec![1.0, 4.0]),
            ]
        };
        Table { columns: COLUMNS, rows: rows.iter().map(row).collect() }
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| if let Cell::Text(name) = &row[0] { name.as_str() } else { "" }).collect()
    }

    #[test]
    fn rows_are_sorted_by_a_column() {
        let mut table = table(&[("b:10", Some(1.0)), ("b:9", None), ("a", Some(3.0)), ("b:10x", Some(2.0))]);
        for (column, is_reversed, expected) in [
            (0, false, "a b:9 b:10 b:10x"),
            (0, true, "b:10x b:10 b:9 a"),
            (2, false, "a b:10x b:10 b:9"),
            (2, true, "b:9 b:10 b:10x a"),
            (3, false, "b:9 b:10 b:10x a"),
        ] {
            table.sort(Sort { column, is_reversed });
            assert_eq!(names(&table).join(" "), expected);
        }
    }

    #[test]
    fn columns_fit_into_every_width() {
        let table = table(&[("a name that is far too long for it", Some(1e6))]);
        for width in 0..120 {
            let fits = table.fit(width);
            let lines = [
                fits.iter().map(|&fit| table.title(fit, None)).collect::<Vec<_>>().join(" "),
                fits.iter().map(|&fit| table.cell(0, fit, &TICKS)).collect::<Vec<_>>().join(" "),
            ];
            for line in lines {
                assert!(line.width() <= width, "{width} '{line}'");
                assert!(width < 4 || !line.trim().is_empty());
            }
        }
        assert_eq!(table.fit(40).iter().map(|fit| fit.column).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(table.fit(100).iter().map(|fit| fit.width).sum::<usize>() + 3, 100);
    }

    #[test]
    fn a_table_is_printed_whole() {
        let mut table = table(&[("a name that is far too long for it", None), ("b", None)]);
        let name = "a name that is far too long for it";
        assert_eq!(table.text(), format!("{:35}STATE\n{name} up\n{:35}up\n", "NAME", "b"));
        table.rows[1][2] = Cell::Number(Some(1.0));
        assert_eq!(table.text().lines().last(), Some(&*format!("{:35}{:7}{:>7}", "b", "up", "1")));
    }

    #[test]
    fn text_has_the_width_of_its_column() {
        for (text, expected) in [
            ("abc", "abc  "),
            ("abcde", "abcde"),
            ("abcdef", "abcd~"),
            ("\u{65e5}\u{672c}\u{8a9e}", "\u{65e5}\u{672c}~"),
        ] {
            assert_eq!(padded(text, 5, false), expected);
        }
        assert_eq!(padded("\u{65e5}\u{672c}\u{8a9e}", 4, false), "\u{65e5}~~");
        assert_eq!((padded("1", 3, true), padded("abc", 0, true)), ("  1".to_string(), String::new()));
    }

    #[test]
    fn a_graph_ends_on_the_right_with_the_largest_number_at_the_top() {
        assert_eq!(sparkline(&[0.0, 0.1, 200.0, 400.0], 6, &TICKS), "  _124");
        assert_eq!(sparkline(&[900.0, 1.0, 2.0], 2, &TICKS), "24");
        assert_eq!(sparkline(&[0.0, 0.0], 2, &TICKS), "__");
        assert_eq!(sparkline(&[], 3, &TICKS), "   ");
    }
}
