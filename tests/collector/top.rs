//! `tokentail top` in a terminal of tmux, and without a terminal.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::harness::{Collector, PROGRAM, Place, WAIT_MAX, append, response, text};
use crate::machine::skipped;

/// The beginning of a colour of the palette, as tmux prints it.
const COLOUR: &str = "\u{1b}[38;5;";

/// Number of terminals started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A terminal with the program in it; a shell around the program writes down the state of the terminal before and after.
struct Tmux<'p> {
    place: &'p Place,
    /// Of its own: a server that ends may still hold the one before.
    socket: PathBuf,
}

impl<'p> Tmux<'p> {
    /// Starts the program in a terminal of this size.
    fn start(place: &'p Place, (width, height): (u16, u16), environment: &[&str], words: &[&str]) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = place.path(&format!("tmux-{number}.sock"));
        let tmux = Self { place, socket };
        let config = tmux.file("tmux.conf");
        fs::write(&config, "set -g status off\n").unwrap();
        let script = format!(
            "cd '{}'; stty -a > before; \"$@\"; code=$?; stty -a > after; echo \"ended with $code\"; exec cat",
            place.directory.path().display()
        );
        let mut command = tmux.command();
        command.arg("-f").arg(&config).args(["new-session", "-d"]);
        command.args(["-x", &width.to_string(), "-y", &height.to_string()]);
        command.args(["sh", "-c", &script, "sh", "env"]);
        command
            .args(environment)
            .arg(PROGRAM)
            .arg("--socket")
            .arg(place.socket());
        command.arg("top").args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "tmux: {}", text(&output.stderr));
        tmux
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8");
        command.env("TZ", "UTC").env("HOME", self.place.directory.path());
        command.arg("-S").arg(&self.socket);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command().args(words).output().unwrap();
        assert!(
            output.status.success(),
            "tmux {words:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn frame(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    fn resize(&self, width: u16, height: u16) {
        self.run(&[
            "resize-window",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
        ]);
    }

    /// Waits until the screen fulfils `reached`.
    fn wait_until(&self, what: &str, reached: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let frame = self.frame();
            if reached(&frame) {
                return frame;
            }
            assert!(
                Instant::now() < deadline,
                "waiting for {what}; the screen is\n{frame}"
            );
        }
    }

    fn wait_for(&self, words: &str) -> String {
        self.wait_until(words, |frame| frame.contains(words))
    }

    /// Waits until the row of a run has this total.
    fn wait_for_total(&self, run: &str, total: &str) -> String {
        self.wait_until(&format!("{total} tokens of {run}"), |frame| {
            let row = frame
                .lines()
                .find(|line| line.get(1..).is_some_and(|line| line.starts_with(run)));
            row.is_some_and(|row| row.split_whitespace().any(|word| word == total))
        })
    }

    /// The process of the program.
    fn pid(&self) -> String {
        let shell = self.run(&["list-panes", "-F", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_whitespace().next().expect("a child").to_owned()
    }

    fn signal(&self, name: &str, pid: &str) {
        let status = Command::new("kill").args(["-s", name, pid]).status().unwrap();
        assert!(
            status.success(),
            "{name} to {pid} of {}",
            self.place.socket().display()
        );
    }

    /// Waits for the end; the terminal is as it was before.
    fn assert_ended_with(&self, code: u8) {
        self.wait_for(&format!("ended with {code}"));
        let state = |name: &str| fs::read_to_string(self.file(name)).unwrap();
        assert_eq!(state("before"), state("after"));
        let flags = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1");
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

/// True if there is no tmux; the reason is printed.
fn is_skipped() -> bool {
    let is_there = Command::new("tmux").arg("-V").output().is_ok();
    if !is_there {
        skipped("there is no tmux");
    }
    !is_there
}

/// A collector with two runs.
fn collector(place: &Place) -> Collector {
    append(&place.log("first", "a.jsonl"), response("a1", 90, 1));
    append(&place.log("second", "a.jsonl"), response("b1", 190, 2));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    collector
}

/// Waits until a process is in this state, or is gone.
fn wait_for_state(pid: &str, state: &str) {
    let deadline = Instant::now() + WAIT_MAX;
    while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.contains(state) {
            return;
        }
        assert!(Instant::now() < deadline, "it does not come to{state}: {stat}");
        std::thread::yield_now();
    }
    assert_eq!(state, ") Z ", "process {pid} has ended");
}

#[test]
fn the_screen_follows_the_collector_through_sizes_and_a_kill() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let collector = collector(&place);
    let tmux = Tmux::start(&place, (80, 24), &[], &["--period", "ttm"]);
    tmux.wait_for_total("first", "100");
    let frame = tmux.wait_for("300 tok");
    assert!(frame.starts_with("tokentail  may start: "), "{frame}");
    assert!(frame.contains("live"), "{frame}");
    // One token, and 500.
    append(&place.log("first", "a.jsonl"), response("a1", 91, 1));
    tmux.wait_for_total("first", "101");
    append(&place.log("first", "a.jsonl"), response("a2", 490, 3));
    tmux.wait_for_total("first", "601");
    tmux.wait_for("801 tok");
    tmux.resize(120, 40);
    tmux.wait_until("a wide screen", |frame| {
        frame.contains("runs out") && frame.lines().count() == 40
    });
    tmux.resize(40, 10);
    let small = tmux.wait_until("a small screen", |frame| {
        frame.lines().count() == 10 && frame.contains("q quit")
    });
    assert!(small.lines().all(|line| line.chars().count() <= 40), "{small}");
    tmux.resize(80, 24);
    tmux.wait_for("tokentail  may start: ");
    collector.kill();
    tmux.wait_for("reconnecting");
    append(&place.log("second", "a.jsonl"), response("b2", 790, 4));
    let mut collector = place.serve();
    collector.wait_for_messages(4);
    tmux.wait_for_total("second", "1.0k");
    tmux.wait_for("1.6k tok");
    tmux.wait_until("a connection", |frame| !frame.contains("reconnecting"));
    tmux.press("q");
    tmux.assert_ended_with(0);
    collector.stop_cleanly();
}

#[test]
fn keys_open_sort_filter_and_pause() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let _collector = collector(&place);
    let tmux = Tmux::start(&place, (80, 24), &[], &[]);
    tmux.wait_for_total("second", "200");
    tmux.press("n");
    tmux.press("Down");
    tmux.press("Enter");
    let details = tmux.wait_for("claude-opus-5");
    assert!(details.contains("run second: "), "{details}");
    tmux.press("BSpace");
    tmux.wait_for_total("first", "100");
    for key in ["/", "s", "e", "c", "Enter"] {
        tmux.press(key);
    }
    let filtered = tmux.wait_for("filter: sec");
    assert!(!filtered.contains("first"), "{filtered}");
    tmux.press("p");
    tmux.wait_for("PAUSED");
    append(&place.log("second", "a.jsonl"), response("b2", 490, 4));
    tmux.press("?");
    tmux.wait_for("quit; Esc first closes what is open");
    tmux.press("?");
    tmux.press("p");
    tmux.wait_for_total("second", "700");
    tmux.press("m");
    tmux.wait_for("model ");
    tmux.press("C-c");
    tmux.assert_ended_with(0);
}

#[test]
fn signals_give_the_terminal_back() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let _collector = collector(&place);
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let tmux = Tmux::start(&place, (80, 24), &[], &[]);
        tmux.wait_for_total("first", "100");
        tmux.signal(signal, &tmux.pid());
        tmux.assert_ended_with(code);
    }
    let tmux = Tmux::start(&place, (80, 24), &[], &[]);
    tmux.wait_for_total("first", "100");
    let pid = tmux.pid();
    tmux.signal("TSTP", &pid);
    tmux.wait_until("the shell's screen", |frame| !frame.contains("may start"));
    wait_for_state(&pid, ") T ");
    tmux.signal("CONT", &pid);
    tmux.wait_for_total("first", "100");
    tmux.press("q");
    tmux.assert_ended_with(0);
}

#[test]
fn a_closed_terminal_ends_the_program() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let _collector = collector(&place);
    let tmux = Tmux::start(&place, (80, 24), &[], &[]);
    tmux.wait_for_total("first", "100");
    let pid = tmux.pid();
    tmux.run(&["kill-server"]);
    // A process that nobody has waited for is a zombie: it has ended.
    wait_for_state(&pid, ") Z ");
}

#[test]
fn colours_and_signs_are_those_that_the_terminal_has() {
    if is_skipped() {
        return;
    }
    let place = Place::new();
    let _collector = collector(&place);
    let tmux = Tmux::start(&place, (80, 24), &[], &[]);
    tmux.wait_for_total("first", "100");
    let coloured = tmux.run(&["capture-pane", "-pe"]);
    assert!(coloured.contains(COLOUR), "{coloured}");
    drop(tmux);
    let tmux = Tmux::start(&place, (80, 24), &["NO_COLOR=1", "LANG=C", "LC_ALL=C"], &[]);
    tmux.wait_for_total("first", "100");
    assert!(tmux.frame().is_ascii(), "{}", tmux.frame());
    let plain = tmux.run(&["capture-pane", "-pe"]);
    assert!(!plain.contains(COLOUR), "{plain}");
}

#[test]
fn without_a_terminal_one_frame_is_printed() {
    let place = Place::new();
    let away = place.run(&["top"]);
    assert_eq!(away.status.code(), Some(69));
    let (why, of_status) = (text(&away.stderr), text(&place.run(&["status"]).stderr));
    assert!(why.contains("no collector answers on"), "{why}");
    assert!(of_status.starts_with(why.trim_end()), "{of_status}{why}");
    let _collector = collector(&place);
    let output = place.run(&["top", "--once", "--period", "ttm"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let frame = text(&output.stdout);
    assert!(
        frame.contains("may start: ") && frame.contains("[5 TTM]  300 tok"),
        "{frame}"
    );
    // The locale of the tests is none.
    assert!(frame.is_ascii() && !frame.contains('\u{1b}'), "{frame}");
    let only = text(&place.run(&["top", "--run", "sec*", "--period", "ttm"]).stdout);
    assert!(
        only.contains("second") && !only.contains("first") && only.contains("200 tok"),
        "{only}"
    );
    let document = place.json(&["top"]);
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    assert_eq!(document["quota"]["accounts"][0]["account"], "default");
    for (words, code, why) in [
        (&["top", "--account", "nobody"][..], 66, "no account nobody"),
        (&["top", "--run", "["], 64, "is not a pattern"),
        (&["top", "--interval", "10ms"], 64, "--interval"),
        (&["top", "--period", "decade"], 64, "today, week, month, ytd, ttm"),
    ] {
        let output = place.run(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
}
