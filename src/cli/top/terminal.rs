//! The terminal: taken over at the start, given back at every end.

use std::io::{self, BufWriter, Stdin, Stdout, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::Rect;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::keys::TopKey;
use super::theme::TopTheme;
use super::view::{self, TopScene};

/// True while the terminal shows the screen of this program.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal while it is taken over; dropping it gives it back.
pub struct TerminalScreen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl TerminalScreen {
    /// Takes the terminal over. A panic gives it back before it is reported.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                report(panic);
            }));
        });
        let mut screen = Self {
            terminal: empty_terminal()?,
        };
        screen.take_over()?;
        Ok(screen)
    }

    /// Takes the terminal over again, as after a stop of the process; the next frame is drawn whole.
    ///
    /// # Errors
    /// As [`TerminalScreen::enter`].
    pub fn take_over(&mut self) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        execute!(
            self.terminal.backend_mut(),
            terminal::EnterAlternateScreen,
            cursor::Hide,
            terminal::Clear(terminal::ClearType::All)
        )?;
        // `Terminal::clear` would ask the terminal where its cursor is, and fail if it does not answer.
        self.terminal = empty_terminal()?;
        Ok(())
    }

    /// Gives the terminal back, stops this process, and takes the terminal over when it goes on.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The stop itself cannot be caught; it returns when the process goes on.
        kill_process(getpid(), Signal::STOP)?;
        self.take_over()
    }

    /// The size of the terminal.
    #[must_use]
    pub fn size(&self) -> Rect {
        let size = self.terminal.size().unwrap_or_default();
        Rect::new(0, 0, size.width, size.height)
    }

    /// Draws what changed.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, scene: &TopScene<'_>) -> io::Result<()> {
        self.terminal.draw(|frame| {
            let area = frame.area();
            view::view(scene, area, frame.buffer_mut());
        })?;
        Ok(())
    }
}

/// A terminal of which nothing is drawn yet.
fn empty_terminal() -> io::Result<Terminal<CrosstermBackend<BufWriter<Stdout>>>> {
    Terminal::new(CrosstermBackend::new(BufWriter::new(io::stdout())))
}

impl Drop for TerminalScreen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Shows the screen that was there before, if it is not shown yet. A terminal that is gone needs nothing.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, cursor::Show, terminal::LeaveAlternateScreen);
        let _ = out.flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// Requests a stop of this program and of those that the shell started with it, as the key does without raw mode.
pub fn ask_to_suspend() {
    let _ = kill_current_process_group(Signal::TSTP);
}

/// The keyboard.
pub struct Keyboard {
    stdin: AsyncFd<Stdin>,
}

/// What the keyboard sent.
pub enum KeyboardInput {
    Keys(Vec<TopKey>),
    /// The terminal is closed.
    Closed,
}

impl Keyboard {
    /// # Errors
    /// Standard input cannot be waited for.
    pub fn new() -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, as a descriptor may be closed meanwhile; standard input is not"
        )]
        let stdin = AsyncFd::with_interest(io::stdin(), Interest::READABLE)?;
        Ok(Self { stdin })
    }

    /// Waits for keys. Cancel safe.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub async fn next(&self) -> io::Result<KeyboardInput> {
        loop {
            let mut ready = self.stdin.readable().await?;
            // Reading from a closed terminal never ends.
            if is_closed(self.stdin.get_ref()) {
                return Ok(KeyboardInput::Closed);
            }
            let keys = Self::pending()?;
            ready.clear_ready();
            if !keys.is_empty() {
                return Ok(KeyboardInput::Keys(keys));
            }
        }
    }
}

impl Keyboard {
    /// Takes what was read already. After a change of size this has to be called: the reader reports either that or a
    /// key, and would keep the key until the next one.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub fn pending() -> io::Result<Vec<TopKey>> {
        let mut keys = Vec::new();
        while event::poll(Duration::ZERO)? {
            if let Event::Key(pressed) = event::read()? {
                keys.extend(key(pressed));
            }
        }
        Ok(keys)
    }
}

fn is_closed(stdin: &Stdin) -> bool {
    let mut ends = [PollFd::new(stdin, PollFlags::empty())];
    let waited = poll(&mut ends, Some(&Timespec::default()));
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    waited.is_ok() && ends[0].revents().intersects(gone)
}

fn key(pressed: KeyEvent) -> Option<TopKey> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    if pressed.modifiers.contains(KeyModifiers::CONTROL) {
        return match pressed.code {
            KeyCode::Char('c') => Some(TopKey::Interrupt),
            KeyCode::Char('z') => Some(TopKey::Suspend),
            KeyCode::Char('h') => Some(TopKey::Backspace),
            _ => None,
        };
    }
    Some(match pressed.code {
        KeyCode::Char(letter) => TopKey::Char(letter),
        KeyCode::Enter => TopKey::Enter,
        KeyCode::Backspace => TopKey::Backspace,
        KeyCode::Esc => TopKey::Escape,
        KeyCode::Tab => TopKey::Tab,
        KeyCode::BackTab => TopKey::BackTab,
        KeyCode::Up => TopKey::Up,
        KeyCode::Down => TopKey::Down,
        KeyCode::PageUp => TopKey::PageUp,
        KeyCode::PageDown => TopKey::PageDown,
        KeyCode::Home => TopKey::Home,
        KeyCode::End => TopKey::End,
        _ => return None,
    })
}

/// What the terminal can show, by the conventions of terminals and locales.
#[must_use]
pub fn theme(is_ascii: bool) -> TopTheme {
    #[expect(
        clippy::disallowed_methods,
        reason = "conventions of terminals and locales, not settings of ours"
    )]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    let is_utf8 = locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    });
    TopTheme {
        is_ascii: is_ascii || !is_utf8 || is_dumb(),
        has_colours: variable("NO_COLOR").is_none(),
    }
}

/// True for a terminal without a cursor that can be placed.
#[must_use]
pub fn is_dumb() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a convention of terminals, not a setting of ours"
    )]
    std::env::var("TERM").is_ok_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

    use super::*;

    /// Set in the process of this test that takes a terminal over and panics.
    const PANICS: &str = "TOKENTAIL_TEST_PANICS";
    const NAME: &str = "cli::top::terminal::tests::a_panic_gives_the_terminal_back_before_it_is_reported";
    const WORDS: &str = "a view without a frame";

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_reported() {
        #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
        if std::env::var_os(PANICS).is_some() {
            let mut screen = TerminalScreen::enter().unwrap();
            let drawn = screen.terminal.draw(|_| panic!("{WORDS}"));
            drawn.unwrap();
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let screen = openpt(flags).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let path = ptsname(&screen, Vec::new()).unwrap();
        let slave = || open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let terminal = slave();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let modes = LocalModes::ICANON | LocalModes::ECHO;
        assert!(tcgetattr(&terminal).unwrap().local_modes.contains(modes));
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", NAME, "--nocapture"])
            .env(PANICS, "1")
            // A long report would fill the terminal, which nobody reads until the end.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::from(slave()))
            .stdout(Stdio::from(slave()))
            .stderr(Stdio::from(slave()));
        let status = child.spawn().unwrap().wait().unwrap();
        assert!(!status.success());
        // The commands of the child keep its ends open.
        drop(child);
        assert!(
            tcgetattr(&terminal).unwrap().local_modes.contains(modes),
            "lines and echo are as before"
        );
        drop(terminal);
        let mut shown = Vec::new();
        // The end of a terminal is an error.
        let _ = File::from(screen).read_to_end(&mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let at = |words: &str| {
            let at = shown.find(words);
            at.unwrap_or_else(|| panic!("{words:?} is not in {shown:?}"))
        };
        let (taken, given_back) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"));
        assert!(taken < given_back && given_back < at(WORDS), "{shown:?}");
        assert!(
            at("\u{1b}[?25l") < shown.rfind("\u{1b}[?25h").unwrap(),
            "{shown:?}"
        );
    }
}
