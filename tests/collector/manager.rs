//! Notifications to the service manager: readiness, watchdog, stop.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use crate::harness::{Collector, Place, WAIT_MAX, append, response, text};

/// A manager's socket, and a `serve` that reports to it.
fn managed(place: &Place) -> (UnixDatagram, Command) {
    let path = place.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut command = place.command(&["serve"]);
    command.env("NOTIFY_SOCKET", path);
    (socket, command)
}

fn receive(socket: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).unwrap();
    text(&message[..length])
}

/// Receives until a message has this line; everything received.
fn wait_for(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let message = receive(socket);
        let found = message.lines().any(|line| line == wanted);
        heard.push(message);
        if found {
            return heard;
        }
        assert!(heard.len() < 10_000, "{wanted} does not come: {heard:?}");
    }
}

/// The output of a command whose standard error is the journal.
fn said_to_the_journal(place: &Place, words: &[&str]) -> String {
    let path = place.path("journal");
    let journal = File::create(&path).unwrap();
    let its = journal.metadata().unwrap();
    let mut command = place.command(words);
    command.env("JOURNAL_STREAM", format!("{}:{}", its.dev(), its.ino()));
    assert!(!command.stderr(journal).output().unwrap().status.success());
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_line_of_a_failure_has_its_priority_in_the_journal() {
    let place = Place::new();
    let config = place.path("wrong.toml");
    fs::write(&config, "a = 1\nb = 1\n").unwrap();
    let config = config.to_str().unwrap();
    for words in [
        &["serve", "--colour"][..],
        &["serve", "--colour", "--json"],
        &["dance"],
        &["serve", "--config", config],
        &["serve", "--config", config, "--json"],
        &["check-config", "--quiet", "--config", config],
    ] {
        let said = said_to_the_journal(&place, words);
        assert!(!said.is_empty(), "{words:?}");
        for line in said.lines() {
            let text = line.strip_prefix("<3>").unwrap_or_default();
            assert!(!text.trim().is_empty(), "{words:?}: {said}");
        }
    }
    let said = said_to_the_journal(&place, &["status", "--config", config]);
    assert!(
        said.starts_with("<4>tokentail: the configuration is not used"),
        "{said}"
    );
}

#[test]
fn it_is_ready_once_the_database_is_open_and_the_runs_are_watched() {
    let place = Place::new();
    for run in 0..20 {
        append(
            &place.log(&format!("run-{run}"), "deep/a.jsonl"),
            response(&format!("{run}"), 1, 0),
        );
    }
    let (socket, command) = managed(&place);
    let mut collector = Collector::spawn(command, place.socket());
    let heard = wait_for(&socket, "READY=1");
    // Sent once, and true by then: the runs directory, and three directories in each of its runs are watched.
    let (status, health) = collector.get("/readyz");
    assert_eq!(status, 200, "{health}");
    assert_eq!(health["ready"], true, "{health}");
    assert_eq!(health["watches"], 1 + 3 * 20, "{health}");
    assert!(place.db().exists());
    assert!(!heard.concat().contains("STOPPING=1"), "{heard:?}");

    // Without WATCHDOG_USEC no watchdog messages are expected, but they are allowed.
    collector.wait_for_messages(20);
    collector.signal("TERM");
    let heard = wait_for(&socket, "STOPPING=1").concat();
    assert!(!heard.contains("READY=1"), "{heard}");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn its_line_says_what_there_is_and_a_reload_begins_and_ends() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let (socket, command) = managed(&place);
    let collector = Collector::spawn(command, place.socket());
    let line = "STATUS=1 run, 1 live; may start: unknown";
    wait_for(&socket, line);
    collector.signal("HUP");
    wait_for(&socket, "RELOADING=1");
    wait_for(&socket, "READY=1");
    // Unreadable parts come first.
    fs::rename(place.runs(), place.path("elsewhere")).unwrap();
    loop {
        let message = receive(&socket);
        if let Some(line) = message
            .lines()
            .find(|line| line.starts_with("STATUS=unhealthy: "))
        {
            assert!(line.contains("may start: "), "{line}");
            break;
        }
    }
    fs::rename(place.path("elsewhere"), place.runs()).unwrap();
    wait_for(&socket, line);
    collector.stop_cleanly();
}

#[test]
fn a_manager_with_an_abstract_name_is_reached() {
    let place = Place::new();
    let name = format!("tokentail-{}-{}", std::process::id(), place.runs().display());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    manager.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut command = place.command(&["serve"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let collector = Collector::start(command, place.socket());
    wait_for(&manager, "READY=1");
    collector.signal("TERM");
    wait_for(&manager, "STOPPING=1");
    assert_eq!(collector.wait_for_end().0, Some(0));
}

#[test]
fn a_start_that_fails_is_never_said_to_be_ready() {
    let place = Place::new();
    let first = place.serve();
    let (socket, command) = managed(&place);
    let (code, said) = Collector::spawn(command, place.socket()).wait_for_end();
    assert_eq!(code, Some(69), "{said}");
    socket.set_nonblocking(true).unwrap();
    let mut message = [0; 64];
    assert_eq!(
        socket.recv(&mut message).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    first.stop_cleanly();
}

#[test]
fn a_manager_that_watches_gets_signs_of_life_while_nothing_happens() {
    let place = Place::new();
    let (socket, mut command) = managed(&place);
    command.env("WATCHDOG_USEC", "300000");
    let collector = Collector::start(command, place.socket());
    wait_for(&socket, "READY=1");
    for _ in 0..5 {
        wait_for(&socket, "WATCHDOG=1");
    }
    collector.signal("TERM");
    wait_for(&socket, "STOPPING=1");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(0), "{said}");
}
