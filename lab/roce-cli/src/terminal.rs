//! The terminal: full screens, and lines that a key holds.
//!
//! On a terminal `PausableLines` go by as ever, above a last line with the keys: space holds them and lets them go on, `q`
//! and Ctrl-C end the process. Nothing is lost: whoever prints waits.

use std::io;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::terminal::{Terminal, TerminalOptions, Viewport};
use ratatui_core::text::Line;
use ratatui_core::widgets::Widget as _;
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::MoveToColumn;
use ratatui_crossterm::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui_widgets::paragraph::{Paragraph, Wrap};

use crate::live::LiveKind;

/// Most rows that one line takes.
const ROWS: u16 = 20;

/// Exit code of a process that Ctrl-C ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// The terminal at standard output.
pub type OutputTerminal = Terminal<CrosstermBackend<io::Stdout>>;

/// The whole screen of a terminal. Dropped, after a panic too, the terminal is as it was.
#[derive(Debug)]
pub struct FullScreen {
    /// Terminal that is drawn on.
    pub terminal: OutputTerminal,
}

impl FullScreen {
    /// Takes the screen.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))? })
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        // What fails here fails at a terminal that has gone.
        let _ = self.terminal.show_cursor();
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// The style of a packet's kind.
pub fn style(kind: LiveKind) -> Style {
    match kind {
        LiveKind::Request => Style::new(),
        LiveKind::Answer => Style::new().fg(Color::Green),
        LiveKind::Management => Style::new().fg(Color::Cyan),
        LiveKind::Again => Style::new().fg(Color::Yellow),
        LiveKind::Refusal => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        LiveKind::Lost => Style::new().fg(Color::Magenta),
    }
}

/// Lines on a terminal that a key holds. Dropped, the terminal is as it was.
#[derive(Debug)]
pub(super) struct PausableLines {
    shared: Arc<LineShared>,
}

#[derive(Debug)]
struct LineShared {
    screen: Mutex<LineScreen>,
    /// A key was pressed.
    pressed: Condvar,
}

#[derive(Debug)]
struct LineScreen {
    terminal: OutputTerminal,
    lines: u64,
    is_held: bool,
}

impl PausableLines {
    /// Takes the terminal's last line.
    ///
    /// # Errors
    ///
    /// There is no terminal.
    pub(super) fn begin() -> io::Result<Self> {
        enable_raw_mode()?;
        let options = TerminalOptions { viewport: Viewport::Inline(1) };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options);
        let terminal = terminal.inspect_err(|_| drop(disable_raw_mode()))?;
        let screen = Mutex::new(LineScreen { terminal, lines: 0, is_held: false });
        let shared = Arc::new(LineShared { screen, pressed: Condvar::new() });
        shared.lock().status()?;
        let keys = Arc::clone(&shared);
        thread::spawn(move || keys.follow());
        Ok(Self { shared })
    }

    /// Prints a line, once nobody holds them.
    ///
    /// # Errors
    ///
    /// The terminal has gone.
    pub(super) fn line(&self, text: &str, kind: LiveKind) -> io::Result<()> {
        let mut screen = self.shared.lock();
        while screen.is_held {
            screen = self.shared.pressed.wait(screen).unwrap_or_else(PoisonError::into_inner);
        }
        screen.lines += 1;
        screen.print(text, style(kind))
    }
}

impl Drop for PausableLines {
    fn drop(&mut self) {
        self.shared.lock().leave();
    }
}

impl LineShared {
    fn lock(&self) -> MutexGuard<'_, LineScreen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the keys say, as long as there is a terminal.
    fn follow(&self) {
        while let Ok(event) = event::read() {
            let mut screen = self.lock();
            match event {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char(' ') => {
                        screen.is_held = !screen.is_held;
                        self.pressed.notify_all();
                    }
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        screen.leave();
                        process::exit(INTERRUPTED);
                    }
                    KeyCode::Char('q') | KeyCode::Esc => {
                        screen.leave();
                        process::exit(0);
                    }
                    _ => {}
                },
                Event::Resize(..) => {}
                _ => continue,
            }
            if screen.status().is_err() {
                return;
            }
        }
    }
}

impl LineScreen {
    fn print(&mut self, text: &str, style: Style) -> io::Result<()> {
        let width = self.terminal.size()?.width.max(1);
        let line = Paragraph::new(Line::styled(text.to_owned(), style)).wrap(Wrap { trim: false });
        let height = rows(&line, width);
        self.terminal.insert_before(height, |buffer| line.render(buffer.area, buffer))?;
        self.status()
    }

    /// Draws the last line.
    fn status(&mut self) -> io::Result<()> {
        let text = match self.is_held {
            true => format!(" held at line {}   space: go on   q: end ", self.lines),
            false => " space: hold   q: end ".to_owned(),
        };
        let line = Line::styled(text, Style::new().add_modifier(Modifier::REVERSED));
        self.terminal.draw(|frame| frame.render_widget(line, frame.area())).map(drop)
    }

    fn leave(&mut self) {
        let _ = self.terminal.clear().and_then(|()| self.terminal.show_cursor());
        // Whoever prints next begins a line.
        let _ = execute!(io::stdout(), MoveToColumn(0));
        let _ = disable_raw_mode();
    }
}

/// Rows that a line takes in a terminal of this width; words are kept whole, so that it may be more than its letters need.
fn rows(line: &Paragraph<'_>, width: u16) -> u16 {
    let mut drawn = Buffer::empty(Rect::new(0, 0, width, ROWS));
    line.render(drawn.area, &mut drawn);
    let is_empty =
        |row: u16| (0..width).all(|column| drawn.cell((column, row)).is_none_or(|cell| cell.symbol() == " "));
    (1..ROWS).rev().find(|row| !is_empty(*row)).map_or(1, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_takes_as_many_rows_as_are_written_in() {
        let rows = |text: &str, width| rows(&Paragraph::new(text).wrap(Wrap { trim: false }), width);
        assert_eq!([rows("", 10), rows("a word", 10), rows("two words of it", 10)], [1, 1, 2]);
        // Ten letters in each of two words: a row each, though twenty-one would be three of eight.
        assert_eq!(rows("aaaaaaaaaa bbbbbbbbbb", 10), 2);
        assert_eq!(rows(&"x".repeat(10_000), 10), ROWS);
    }
}
