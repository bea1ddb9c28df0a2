//! What the terminal shows, as lines: the state that keys change, and how the tables share the room.

use super::figures::Unit;
use super::history::History;
use super::panels::Panel;
use super::table::{Cell, Fit, Kind, Sort, Table};
use unicode_width::UnicodeWidthChar;

/// What a part of a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As the terminal has it.
    Plain,
    /// The first line.
    Title,
    /// The titles of columns.
    Heading,
    /// The same of the table that keys are for.
    Focus,
    /// In order.
    Good,
    /// Not quite in order.
    Doubtful,
    /// Not in order.
    Bad,
    /// Of less importance.
    Faint,
    /// A graph.
    Graph,
}

/// A part of a line.
pub type Span = (Look, String);
/// A line, no wider than the terminal.
pub type Line = Vec<Span>;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To end.
    Quit,
    /// To go to the next table, or to the one before.
    Focus(isize),
    /// To show one table alone, or all of them again.
    Zoom,
    /// To go this many rows down.
    Scroll(isize),
    /// To go this many screens down.
    Page(isize),
    /// To go to the first row, or to the last.
    First,
    /// See `First`.
    Last,
    /// To sort by a column further on the right.
    Sort(isize),
    /// To turn the order round.
    Reverse,
    /// To keep what is shown, or to go on.
    Pause,
    /// To show the keys, or not any more.
    Help,
}

/// What is shown, and how.
#[derive(Debug)]
pub struct View {
    /// Whether characters other than ASCII can be shown.
    is_unicode: bool,
    focus: Panel,
    is_zoomed: bool,
    is_paused: bool,
    shows_help: bool,
    /// How the rows of each table are sorted.
    sorts: [Sort; 3],
    /// How many rows of each table are above what is shown.
    above: [usize; 3],
    /// How many rows of the table in the focus there is room for.
    page: usize,
    /// The columns of that table that there is room for.
    columns: Vec<Fit>,
}

/// The lines above and below the tables.
const ABOVE: usize = 2;
const BELOW: usize = 1;

const HELP: &[(&str, &str)] = &[
    ("Tab", "goes to the next table"),
    ("z, Enter", "shows this table alone, or all of them"),
    ("left, right", "sorts by the column beside"),
    ("r", "turns the order round"),
    ("up, down, PgUp, PgDn, Home, End", "move the rows"),
    ("p", "keeps what is shown, or goes on"),
    ("?", "shows this, or not"),
    ("q", "ends"),
];

impl View {
    /// The view at the start.
    pub fn new(is_unicode: bool) -> View {
        View {
            is_unicode,
            focus: Panel::Sessions,
            is_zoomed: false,
            is_paused: false,
            shows_help: false,
            sorts: Panel::ALL.map(Panel::first_sort),
            above: [0; 3],
            page: 1,
            columns: Vec::new(),
        }
    }

    /// Whether what is shown is to stay.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Does what a key asks for; `false`: to end.
    pub fn act(&mut self, action: Action) -> bool {
        let above = &mut self.above[self.focus.number()];
        match action {
            Action::Quit if self.shows_help => self.shows_help = false,
            Action::Quit => return false,
            Action::Focus(step) => {
                let number = (self.focus.number() as isize + step).rem_euclid(Panel::ALL.len() as isize);
                self.focus = Panel::ALL[number as usize];
            }
            Action::Zoom => self.is_zoomed = !self.is_zoomed,
            // Beyond the last row, drawing corrects it.
            Action::Scroll(rows) => *above = above.saturating_add_signed(rows),
            Action::Page(pages) => *above = above.saturating_add_signed(pages * self.page as isize),
            Action::First => *above = 0,
            Action::Last => *above = usize::MAX,
            Action::Sort(step) => self.sort_by_another(step),
            Action::Reverse => self.sorts[self.focus.number()].is_reversed ^= true,
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.shows_help = !self.shows_help,
        }
        true
    }

    /// Of the columns that are shown, the one beside the one that rows are sorted by; graphs have no order.
    fn sort_by_another(&mut self, step: isize) {
        let table = self.focus.table(&History::default());
        let shown = self.columns.iter().map(|fit| fit.column);
        let shown: Vec<usize> = shown.filter(|&column| table.columns[column].kind != Kind::Graph).collect();
        let sort = &mut self.sorts[self.focus.number()];
        let at = shown.iter().position(|&column| column == sort.column).unwrap_or_default();
        if let Some(&column) = shown.get(at.saturating_add_signed(step).min(shown.len().saturating_sub(1))) {
            if column != sort.column {
                *sort = Sort { column, is_reversed: false };
            }
        }
    }

    /// What is shown in a terminal of this many columns and lines; `trouble` says why the last look failed.
    pub fn draw(&mut self, history: &History, name: &str, trouble: Option<&str>, size: (usize, usize)) -> Vec<Line> {
        let (width, height) = size;
        let mut lines = vec![self.title(history, name), self.summary(history, trouble)];
        if self.shows_help {
            lines.extend(HELP.iter().map(|(key, meaning)| vec![(Look::Plain, format!("  {key:32} {meaning}"))]));
        } else {
            self.tables(&mut lines, history, width, height.saturating_sub(ABOVE + BELOW));
        }
        lines.truncate(height.saturating_sub(BELOW));
        lines.resize(height.saturating_sub(BELOW), Line::new());
        lines.push(vec![(
            Look::Faint,
            " q ends  ? keys  Tab next table  z zoom  < > sort  r reverse  p pause".to_string(),
        )]);
        lines.truncate(height);
        lines.iter_mut().for_each(|line| cut(line, width));
        lines
    }

    fn title(&self, history: &History, name: &str) -> Line {
        let report = &history.report;
        let mut line = vec![(Look::Title, format!(" cproxy {} ", report.version)), (Look::Plain, format!(" {name}  "))];
        if report.pid != 0 {
            let state = if report.is_draining { (Look::Doubtful, "draining") } else { (Look::Good, "serving") };
            line.push((state.0, state.1.to_string()));
            let busy = history.busy.map_or("-".to_string(), |busy| Unit::Share.show(busy));
            let uptime = Unit::Time.show(report.uptime as f64);
            line.push((Look::Plain, format!("  up {uptime}  threads {busy} busy")));
        }
        if self.is_paused {
            line.push((Look::Doubtful, "  paused".to_string()));
        }
        line
    }

    fn summary(&self, history: &History, trouble: Option<&str>) -> Line {
        if let Some(trouble) = trouble {
            return vec![(Look::Bad, format!(" {trouble}"))];
        }
        let report = &history.report;
        if report.pid == 0 {
            return vec![(Look::Faint, " waiting for an answer".to_string())];
        }
        // What is not known of one of them is not known of all.
        let add = |rates: &dyn Fn(&super::history::ServiceRates) -> Option<f64>, unit: Unit| {
            let sum: Option<f64> = history.services.iter().map(rates).sum();
            sum.map_or("-".to_string(), |sum| unit.show(sum))
        };
        let begun = add(&|rates| rates.begun, Unit::Rate);
        let bytes = [0, 1].map(|way: usize| add(&|rates| rates.bytes[way], Unit::Bytes));
        let refused: u64 = report.services.iter().map(|service| service.refused).sum();
        let sessions = report.sessions_all;
        let mut text = format!(" {sessions} sessions  {begun} new/s  up {}B/s  down {}B/s", bytes[0], bytes[1]);
        if refused > 0 {
            text += &format!("  {} refused", Unit::Count.show(refused as f64));
        }
        let mut line = vec![(Look::Plain, text)];
        for (what, count) in &report.lost {
            line.push((Look::Doubtful, format!("  {} {what} lost", Unit::Count.show(*count as f64))));
        }
        line
    }

    /// The tables below one another, or the one in the focus where there is no room for more.
    fn tables(&mut self, lines: &mut Vec<Line>, history: &History, width: usize, height: usize) {
        let tables = Panel::ALL.map(|panel| panel.table(history));
        let heights = if self.is_zoomed || height < 3 * 3 {
            let mut heights = [0; 3];
            heights[self.focus.number()] = height;
            heights
        } else {
            share([0, 1, 2].map(|panel: usize| tables[panel].rows.len() + 1), height)
        };
        for ((panel, mut table), height) in Panel::ALL.into_iter().zip(tables).zip(heights) {
            if height > 0 {
                table.sort(self.sorts[panel.number()]);
                self.table(lines, panel, &table, width, height);
            }
        }
    }

    /// One table in this many lines, the titles of its columns among them.
    fn table(&mut self, lines: &mut Vec<Line>, panel: Panel, table: &Table, width: usize, height: usize) {
        let is_focus = panel == self.focus;
        let fits = table.fit(width);
        let page = height - 1;
        let above = &mut self.above[panel.number()];
        *above = (*above).min(table.rows.len().saturating_sub(page));
        let shown = *above..table.rows.len().min(*above + page);

        let sort = self.sorts[panel.number()];
        let marks = if self.is_unicode { ['\u{25bc}', '\u{25b2}'] } else { ['v', '^'] };
        let mark = |fit: &Fit| (fit.column == sort.column).then_some(marks[usize::from(sort.is_reversed)]);
        let titles: Vec<_> = fits.iter().map(|fit| table.title(*fit, mark(fit))).collect();
        let mut titles = titles.join(" ");
        titles.extend(std::iter::repeat_n(' ', width.saturating_sub(wide(&titles))));
        lines.push(vec![(if is_focus { Look::Focus } else { Look::Heading }, titles)]);
        for row in shown.clone() {
            lines.push(self.row(table, row, &fits));
        }
        lines.extend((shown.len()..page).map(|_| Line::new()));
        if is_focus {
            (self.page, self.columns) = (page.max(1), fits);
        }
    }

    fn row(&self, table: &Table, row: usize, fits: &[Fit]) -> Line {
        let mut line = Line::new();
        for &fit in fits {
            if !line.is_empty() {
                line.push((Look::Plain, " ".to_string()));
            }
            let look = match (table.columns[fit.column].kind, &table.rows[row][fit.column]) {
                (Kind::State, Cell::Text(state)) => look_of(state),
                (Kind::Graph, _) => Look::Graph,
                (Kind::Number(_), Cell::Number(None | Some(0.0))) => Look::Faint,
                _ => Look::Plain,
            };
            line.push((look, table.cell(row, fit, ticks(self.is_unicode))));
        }
        line
    }
}

/// The characters of a graph, from nothing to the most.
pub fn ticks(is_unicode: bool) -> &'static [char] {
    if is_unicode {
        &[' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}']
    } else {
        &[' ', '.', ':', '-', '=', '+', '*', '%', '#']
    }
}

/// What the state of a remote or the phase of a session looks like.
fn look_of(state: &str) -> Look {
    match state {
        "up" | "open" => Look::Good,
        "trying" | "waiting" | "connecting" | "header" => Look::Doubtful,
        "out" | "down" => Look::Bad,
        _ => Look::Plain,
    }
}

/// How many lines each table has: the first two up to a third of them if they need so many, the last one the rest, and
/// what it does not need the first two.
fn share(needs: [usize; 3], height: usize) -> [usize; 3] {
    let third = height / 3;
    let [services, remotes, sessions] = needs;
    let (mut first, mut second) = (services.min(third), remotes.min(third));
    let mut spare = (height - first - second).saturating_sub(sessions.max(third));
    for (lines, need) in [(&mut second, remotes), (&mut first, services)] {
        let more = (need - *lines).min(spare);
        *lines += more;
        spare -= more;
    }
    [first, second, height - first - second]
}

fn wide(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Leaves out what a terminal of this width has no room for.
fn cut(line: &mut Line, width: usize) {
    let mut left = width;
    for (_, text) in line {
        let mut end = 0;
        for (at, c) in text.char_indices() {
            let wide = c.width().unwrap_or(0);
            if wide > left {
                left = 0;
                break;
            }
            left -= wide;
            end = at + c.len_utf8();
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
