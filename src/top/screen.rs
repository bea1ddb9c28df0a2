//! The terminal: taken over as a whole, painted line by line, and given back as it was.

use std::io::{self, IsTerminal, Write};
use std::panic;

use super::view::{Action, Line, Look};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

/// The terminal, as long as this lives.
#[derive(Debug)]
pub struct Screen;

impl Screen {
    /// Whether there is a terminal to read keys from and to paint on.
    pub fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn enter() -> io::Result<Screen> {
        // The program aborts after a panic, and what that says is to be read.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
        }));
        enable_raw_mode()?;
        // From here on, dropping it undoes what was done.
        let screen = Screen;
        execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }

    /// How many columns and lines it has.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn size(&self) -> io::Result<(usize, usize)> {
        size().map(|(width, height)| (width.into(), height.into()))
    }

    /// Shows these lines and nothing else.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn paint(&self, lines: &[Line]) -> io::Result<()> {
        let mut output = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        queue!(output, BeginSynchronizedUpdate)?;
        for (number, line) in lines.iter().enumerate() {
            queue!(output, MoveTo(0, u16::try_from(number).unwrap_or(u16::MAX)))?;
            for (look, text) in line {
                paint_span(&mut output, *look, text)?;
            }
            queue!(output, Clear(ClearType::UntilNewLine))?;
        }
        queue!(output, EndSynchronizedUpdate)?;
        output.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leaves the terminal as it was.
fn give_back() {
    // One that is gone needs nothing.
    let _ = execute!(io::stdout(), Show, EnableLineWrap, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

fn paint_span(output: &mut impl Write, look: Look, text: &str) -> io::Result<()> {
    let (color, attribute) = match look {
        Look::Plain => (None, None),
        Look::Title => (Some(Color::DarkCyan), Some(Attribute::Reverse)),
        Look::Heading => (None, Some(Attribute::Bold)),
        Look::Focus => (None, Some(Attribute::Reverse)),
        Look::Good => (Some(Color::DarkGreen), None),
        Look::Doubtful => (Some(Color::DarkYellow), None),
        Look::Bad => (Some(Color::DarkRed), Some(Attribute::Bold)),
        Look::Faint => (None, Some(Attribute::Dim)),
        Look::Graph => (Some(Color::DarkCyan), None),
    };
    if let Some(color) = color {
        queue!(output, SetForegroundColor(color))?;
    }
    if let Some(attribute) = attribute {
        queue!(output, SetAttribute(attribute))?;
    }
    queue!(output, Print(text))?;
    if color.is_some() || attribute.is_some() {
        queue!(output, SetAttribute(Attribute::Reset))?;
    }
    Ok(())
}

/// What a key asks for, if it asks for anything.
pub fn action(event: &Event) -> Option<Action> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) = event else {
        return None;
    };
    if modifiers.contains(KeyModifiers::CONTROL) {
        return (*code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    Some(match code {
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Tab => Action::Focus(1),
        KeyCode::BackTab => Action::Focus(-1),
        KeyCode::Char('z') | KeyCode::Enter => Action::Zoom,
        KeyCode::Up | KeyCode::Char('k') => Action::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Scroll(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home => Action::First,
        KeyCode::End => Action::Last,
        KeyCode::Left | KeyCode::Char('<') => Action::Sort(-1),
        KeyCode::Right | KeyCode::Char('>') => Action::Sort(1),
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        _ => return None,
    })
}
