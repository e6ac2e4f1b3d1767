//! `step` on a terminal: the packet that waits with its fields, both machines, what passed before, and the keys.

use std::collections::VecDeque;
use std::time::Duration;

use lab::base::role::Role;
use lab::provider::resident::Resident;
use lab::{Error, Result};
use ratatui_core::layout::{Constraint, Layout, Rect};
use ratatui_core::style::{Modifier, Style, Stylize as _};
use ratatui_core::terminal::Frame;
use ratatui_core::text::{Line, Span};
use ratatui_crossterm::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui_widgets::block::Block;
use ratatui_widgets::paragraph::{Paragraph, Wrap};
use roce_cli::live::LivePacket;
use roce_cli::terminal::{self, FullScreen, OutputTerminal};

use super::key::{KEYS, StepKey};
use super::nodes::{NodeLook, NodeSession};
use super::stepper::{HeldPacket, Stepper};

/// Interval at which the switch is asked, and keys are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Packets that are kept of those that passed.
const PASSED_MAX: usize = 200;

/// A machine as the screen shows it.
struct NodePane {
    role: Role,
    session: Result<NodeSession>,
    look: Option<NodeLook>,
    before: Option<NodeLook>,
}

impl NodePane {
    fn open(lab: &dyn Resident, role: Role) -> NodePane {
        NodePane { role, session: NodeSession::open(lab, role), look: None, before: None }
    }

    /// Asks the machine, whose answer [`NodePane::refresh`] takes.
    fn ask(&mut self) {
        if let Ok(session) = &mut self.session {
            session.ask();
        }
    }

    fn refresh(&mut self) {
        if let Ok(session) = &mut self.session
            && let Some(look) = session.newest()
        {
            self.before = self.look.replace(look);
        }
    }

    fn lines(&self) -> Vec<Line<'static>> {
        let look = match (&self.session, &self.look) {
            (Err(error), _) => return vec![Line::from(error.to_string()).red()],
            (Ok(_), None) => return vec![Line::from("asking …").dim()],
            (Ok(_), Some(look)) => look,
        };
        let queue_pairs = look.queue_pairs.iter().map(|line| Line::from(line.clone()));
        let counters = look.counter_words(self.before.as_ref()).into_iter().map(|words| {
            if words.contains('(') { Line::from(words).bold() } else { Line::from(words).dim() }
        });
        queue_pairs.chain(counters).collect()
    }
}

/// All that is shown.
struct StepScreen {
    title: String,
    panes: [NodePane; 2],
    /// Packets that were decided on, the newest last, with the decision.
    passed: VecDeque<(LivePacket, String)>,
    /// Reason that the last key did nothing.
    trouble: String,
}

/// Holds packets and does what the keys say.
pub(super) fn run(stepper: &mut Stepper, lab: &dyn Resident, title: String) -> Result<()> {
    let panes = Role::BOTH.map(|role| NodePane::open(lab, role));
    let mut screen = StepScreen { title, panes, passed: VecDeque::new(), trouble: String::new() };
    screen.panes.iter_mut().for_each(NodePane::ask);
    let mut shown = FullScreen::take().map_err(failed)?;
    screen.serve(stepper, &mut shown.terminal)
}

fn failed(source: std::io::Error) -> Error {
    Error::setup("failed to use the terminal").source(source)
}

impl StepScreen {
    fn serve(&mut self, stepper: &mut Stepper, terminal: &mut OutputTerminal) -> Result<()> {
        let mut number = 0;
        loop {
            let first = stepper.first()?.cloned();
            if let Some(first) = first.as_ref().filter(|first| first.number > number) {
                number = first.number;
                self.panes.iter_mut().for_each(NodePane::ask);
            }
            self.panes.iter_mut().for_each(NodePane::refresh);
            terminal.draw(|frame| self.draw(frame, first.as_ref())).map_err(failed)?;
            if !event::poll(LOOK).map_err(failed)? {
                continue;
            }
            let Some(key) = meaning(&event::read().map_err(failed)?) else { continue };
            self.trouble.clear();
            match key {
                Err(why) => self.trouble = why,
                Ok(StepKey::Quit) => return Ok(()),
                Ok(StepKey::Nodes) => self.panes.iter_mut().for_each(NodePane::ask),
                Ok(StepKey::Decide(decision)) => match stepper.decide(decision) {
                    Err(error) => self.trouble = error.to_string(),
                    Ok(None) => self.trouble = "no packet waits".to_owned(),
                    Ok(Some(packet)) => {
                        self.passed.push_back((packet.line, decision.to_string()));
                        if self.passed.len() > PASSED_MAX {
                            self.passed.pop_front();
                        }
                        self.panes.iter_mut().for_each(NodePane::ask);
                    }
                },
            }
        }
    }

    fn draw(&self, frame: &mut Frame<'_>, first: Option<&HeldPacket>) {
        let nodes = self.panes.iter().map(|pane| pane.lines().len()).max().unwrap_or(0).clamp(3, 10);
        let nodes = u16::try_from(nodes + 2).unwrap_or(12);
        let [top, packet, panes, passed, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(2),
            Constraint::Length(nodes),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Line::from(self.title.clone()).reversed(), top);
        draw_packet(frame, packet, first);
        for (pane, area) in
            self.panes.iter().zip(Layout::horizontal([Constraint::Fill(1); 2]).areas::<2>(panes))
        {
            let block = Block::bordered().title(pane.role.name());
            let text = Paragraph::new(pane.lines()).wrap(Wrap { trim: true });
            frame.render_widget(text.block(block), area);
        }
        let room = usize::from(passed.height.saturating_sub(2));
        let from = self.passed.len().saturating_sub(room);
        let lines: Vec<Line<'_>> = self.passed.iter().skip(from).map(passed_line).collect();
        frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("passed")), passed);
        frame.render_widget(self.keys(), keys);
    }

    fn keys(&self) -> Line<'static> {
        if !self.trouble.is_empty() {
            return Line::from(self.trouble.replace('\n', " ")).red();
        }
        let mut spans = Vec::new();
        for (key, does) in KEYS {
            spans.push(Span::from(format!(" {key} ")).reversed());
            spans.push(Span::from(format!(" {does}  ")));
        }
        Line::from(spans)
    }
}

fn draw_packet(frame: &mut Frame<'_>, area: Rect, first: Option<&HeldPacket>) {
    let Some(packet) = first else {
        let text = Paragraph::new("no packet waits; run a program on the nodes").dim();
        return frame.render_widget(text.block(Block::bordered().title("held")), area);
    };
    let behind = match packet.behind {
        0 => String::new(),
        behind => format!(", {behind} behind it"),
    };
    let line = &packet.line;
    let block = Block::bordered().title(format!("held: packet {}{behind}", packet.number));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let style = terminal::style(line.kind);
    let head = vec![
        Line::from(vec![
            Span::from(line.ends.join(" > ")).bold(),
            Span::from("  "),
            Span::styled(line.words.clone(), style.add_modifier(Modifier::BOLD)),
        ]),
        Line::from(format!(
            "{}  {} bytes  {:+.3} s  {}",
            line.psn,
            line.payload_bytes,
            line.since_before_ns as f64 / 1e9,
            line.meaning
        )),
    ];
    let [top, rest] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(inner);
    frame.render_widget(Paragraph::new(head).wrap(Wrap { trim: true }), top);
    draw_fields(frame, rest, &packet.fields);
}

/// The fields in as many columns as they need.
fn draw_fields(frame: &mut Frame<'_>, area: Rect, fields: &[(&'static str, &'static str, String)]) {
    let rows = usize::from(area.height).max(1);
    let columns = fields.len().div_ceil(rows).clamp(1, 3);
    let areas = Layout::horizontal(vec![Constraint::Fill(1); columns]).split(area);
    for (chunk, area) in fields.chunks(rows).zip(areas.iter()) {
        let field = |(layer, name, value): &(&str, &str, String)| {
            Line::from(vec![
                Span::styled(format!("{layer}.{name} "), Style::new().dim()),
                Span::from(value.clone()),
            ])
        };
        frame.render_widget(Paragraph::new(chunk.iter().map(field).collect::<Vec<_>>()), *area);
    }
}

fn passed_line((packet, decision): &(LivePacket, String)) -> Line<'static> {
    let style = if decision == "forwarded" { terminal::style(packet.kind) } else { Style::new().magenta() };
    let LivePacket { number, ends, words, psn, .. } = packet;
    Line::styled(format!("{number:>5} {decision:<16} {} {words} {psn}", ends.join(" > ")), style)
}

/// Meaning of an event; `None` if it is no key that is pressed.
fn meaning(event: &Event) -> Option<Result<StepKey, String>> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) =
        event
    else {
        return None;
    };
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Ok(StepKey::Quit),
        KeyCode::Esc => Ok(StepKey::Quit),
        KeyCode::Char(' ') => "f".parse(),
        KeyCode::Char(letter) => letter.to_string().parse(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratatui_core::backend::TestBackend;
    use ratatui_core::terminal::Terminal;
    use roce_cli::live::LiveKind;

    use super::*;

    fn drawn(first: Option<&HeldPacket>, width: u16) -> String {
        let look = |counter: u64| NodeLook {
            queue_pairs: vec!["lqpn 17 type RC state RTS".to_owned()],
            counters: [("sent_pkts".to_owned(), counter)].into(),
        };
        let pane = |role| NodePane {
            role,
            session: Err(Error::boot("no way in")),
            look: Some(look(3)),
            before: Some(look(1)),
        };
        let mut screen = StepScreen {
            title: "lab step: x".to_owned(),
            panes: Role::BOTH.map(pane),
            passed: VecDeque::new(),
            trouble: String::new(),
        };
        screen.passed.push_back((LivePacket { number: 7, ..LivePacket::default() }, "dropped".to_owned()));
        let mut terminal = Terminal::new(TestBackend::new(width, 30)).unwrap();
        terminal.draw(|frame| screen.draw(frame, first)).unwrap();
        terminal.backend().to_string()
    }

    fn held() -> HeldPacket {
        HeldPacket {
            number: 8,
            behind: 2,
            line: LivePacket {
                ends: ["client.qp1".to_owned(), "server.qp1".to_owned()],
                words: "RC SEND Only".to_owned(),
                meaning: "\x1b[31mhostile".to_owned(),
                kind: LiveKind::Again,
                ..LivePacket::default()
            },
            fields: vec![("bth", "psn", "77".to_owned())],
        }
    }

    #[test]
    fn screen_has_the_packet_its_fields_and_what_passed() {
        for width in [80, 120] {
            let text = drawn(Some(&held()), width);
            for part in [
                "held: packet 8, 2 behind it",
                "client.qp1 > server.qp1  RC SEND Only",
                "bth.psn 77",
                "dropped",
            ] {
                assert!(text.contains(part), "no `{part}` in {text}");
            }
            assert!(!text.contains('\x1b') && text.contains(" f  forward"), "{text}");
        }
        assert!(drawn(None, 80).contains("no packet waits"));
    }

    #[test]
    fn keys_are_those_of_the_pipe_and_space() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        for (letter, does) in KEYS {
            let pressed = key(KeyCode::Char(letter.chars().next().unwrap()), KeyModifiers::NONE);
            assert_eq!(pressed, Some(does.parse()));
        }
        assert_eq!(key(KeyCode::Char(' '), KeyModifiers::NONE), Some("forward".parse()));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Ok(StepKey::Quit)));
        assert_eq!(key(KeyCode::Up, KeyModifiers::NONE), None);
    }
}
