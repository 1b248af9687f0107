//! The manual pages: those of the command line, and below them what it cannot say of itself.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// What a term stands for.
type Term = (&'static str, &'static str);

/// What is read or made. A file that is not named is looked for in this order.
const FILES: [Term; 10] = [
    (
        "$XDG_CONFIG_HOME/tokentail/tokentail.toml, ~/.config/tokentail/tokentail.toml",
        "The user's configuration. Named by --config instead, it must be there.",
    ),
    (
        "/etc/tokentail/tokentail.toml",
        "The system's configuration, if the user has none. tokentail config example prints one with every key.",
    ),
    (
        "$STATE_DIRECTORY/runs, ./runs",
        "The directories of the runs (runs_dir).",
    ),
    (
        "$STATE_DIRECTORY/tokentail.redb, $XDG_STATE_HOME/tokentail/tokentail.redb, ~/.local/state/tokentail/tokentail.redb",
        "The database (db). A damaged one is renamed beside it. Without a collector, the command run counts into run-ID.redb beside it, or in the user's own state directory if that of the database is another user's.",
    ),
    (
        "$RUNTIME_DIRECTORY/tokentail.sock, $XDG_RUNTIME_DIR/tokentail/tokentail.sock, else beside the database",
        "The control socket (socket), of mode 0660.",
    ),
    (
        "/run/tokentail/tokentail.sock",
        "The socket of the service. It is asked where no socket is named and none is at the usual place; open to root and to members of its group.",
    ),
    (
        "/var/lib/tokentail",
        "What the service keeps: its database and, unless configured, the runs.",
    ),
    (
        "$CREDENTIALS_DIRECTORY",
        "What a relative http.token_file begins at, if it is set.",
    ),
    (
        "/etc/passwd, /etc/group, /proc",
        "Looked at by doctor: the collector's user and groups.",
    ),
    (
        "~/.claude/projects",
        "Transcripts of Claude Code on this machine: --layout projects reads them.",
    ),
];

/// Every variable that is read, by this program or by what it is made of.
const ENVIRONMENT: [Term; 13] = [
    (
        "TOKENTAIL__*",
        "A setting: its key in capitals, with two underscores for each dot, as in TOKENTAIL__LIMITS__DEPTH_MAX=8. A flag wins over it; it wins over the file. Accounts have none.",
    ),
    ("XDG_CONFIG_HOME, HOME", "Where the user's configuration is."),
    (
        "STATE_DIRECTORY",
        "Set by systemd: where the database and the runs are unless configured.",
    ),
    (
        "XDG_STATE_HOME, HOME",
        "Where the database is, without STATE_DIRECTORY.",
    ),
    (
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR",
        "Where the socket is. RUNTIME_DIRECTORY is set by systemd.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: where a relative http.token_file is.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd: where serve and run report that they are ready, their status, and that they still respond.",
    ),
    ("NO_COLOR", "Set and not empty: no colours."),
    (
        "COLUMNS, LINES",
        "The size that tables fit into on a terminal, in place of what the terminal says.",
    ),
    (
        "JOURNAL_STREAM",
        "Where it is standard error, log lines carry their priority, and the journal has their time.",
    ),
    (
        "CLICOLOR, CLICOLOR_FORCE, TERM, CI",
        "Whether there are colours: CLICOLOR_FORCE asks for them beyond a terminal; CLICOLOR=0 and TERM=dumb turn them off.",
    ),
    ("PATH", "Where the command of run is looked for."),
    ("any other", "Are handed on to the command of run as they are."),
];

const EXIT_STATUS: [Term; 16] = [
    (
        "0",
        "Done; of may-start: allow; of status and doctor: all is well.",
    ),
    (
        "1",
        "No: may-start says wait or deny; status: the collector is degraded or unhealthy; doctor: something fails; verify and replay --expect: there is a difference.",
    ),
    ("2", "Of may-start: the answer is unknown."),
    (
        "64",
        "The command line is wrong, or the collector refuses the request as it is.",
    ),
    (
        "65",
        "What was read is not what it should be: a damaged or newer database.",
    ),
    (
        "66",
        "What should be read is not there: a path, a run, an account.",
    ),
    ("69", "No collector answers."),
    ("70", "A bug in this program."),
    ("74", "Reading or writing failed."),
    (
        "75",
        "The same again later may succeed; of may-start: --wait ran out.",
    ),
    ("77", "Not permitted."),
    ("78", "The configuration is wrong."),
    ("126", "The command of run cannot be executed."),
    ("127", "The command of run was not found."),
    ("128+n", "Signal n ended the command of run."),
    ("130, 143", "A second SIGINT or SIGTERM ended serve at once."),
];

const EXAMPLES: [Term; 6] = [
    (
        "tokentail serve --runs-dir /srv/agents/runs",
        "Count what the agents of these runs use.",
    ),
    (
        "tokentail serve --runs-dir ~/.claude/projects --layout projects",
        "Count what Claude Code keeps on this machine.",
    ),
    ("tokentail status", "What was counted, and how the collector is."),
    (
        "tokentail may-start && start-the-run",
        "Start a run only while no limit is in the way.",
    ),
    (
        "tokentail check-config && systemctl reload tokentail",
        "Take over a changed configuration.",
    ),
    ("sudo tokentail doctor", "Find out why nothing is counted."),
];

/// Pages of others.
const OTHERS: &str = "inotify(7), acl(5), setfacl(1), systemd.service(5), systemd.exec(5)";

/// The page of the whole program.
///
/// # Errors
/// It cannot be rendered.
pub fn page(command: Command) -> io::Result<Vec<u8>> {
    let names = names(&command);
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    page.extend(whole(&names).into_bytes());
    Ok(titled(&page))
}

/// Writes the page of each command into a directory.
///
/// # Errors
/// One cannot be written.
pub fn write_pages(command: Command, directory: &Path) -> io::Result<()> {
    let names = names(&command);
    let program = command.get_name().to_owned();
    clap_mangen::generate_to(command, directory)?;
    for name in names.iter().chain([&program]) {
        let path = directory.join(format!("{name}.1"));
        let mut page = std::fs::read(&path)?;
        let below = if *name == program {
            whole(&names)
        } else {
            let mut text = section("EXIT STATUS", "", &EXIT_STATUS);
            let _ = writeln!(
                text,
                ".SH \"SEE ALSO\"\n{}",
                escaped(&format!("{program}(1), which has the files and the variables"))
            );
            text
        };
        page.extend(below.into_bytes());
        std::fs::write(path, titled(&page))?;
    }
    Ok(())
}

/// What follows a command's help has the title that other manuals give it.
fn titled(page: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(page);
    text.replace(".SH EXTRA\n", ".SH NOTES\n").into_bytes()
}

/// The pages of the commands below: `tokentail-config-show`.
fn names(command: &Command) -> Vec<String> {
    fn collect(command: &Command, above: &str, found: &mut Vec<String>) {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let name = format!("{above}-{}", below.get_name());
            collect(below, &name, found);
            found.push(name);
        }
    }
    let mut found = Vec::new();
    collect(command, command.get_name(), &mut found);
    found.sort_unstable();
    found
}

fn whole(names: &[String]) -> String {
    let mut text = section("EXIT STATUS", "", &EXIT_STATUS);
    text += &section(
        "FILES",
        "Of several places the first that applies. tokentail check-config prints what that comes to.",
        &FILES,
    );
    text += &section(
        "ENVIRONMENT",
        "A variable that is to name a directory counts only if that is absolute.",
        &ENVIRONMENT,
    );
    text += &section("EXAMPLES", "", &EXAMPLES);
    let pages: Vec<String> = names.iter().map(|name| format!("{name}(1)")).collect();
    let _ = writeln!(
        text,
        ".SH \"SEE ALSO\"\n{}",
        escaped(&format!("{}, {OTHERS}", pages.join(", ")))
    );
    text
}

fn section(title: &str, opening: &str, terms: &[Term]) -> String {
    let mut text = format!(".SH \"{title}\"\n");
    if !opening.is_empty() {
        let _ = writeln!(text, "{}", escaped(opening));
    }
    for (term, meaning) in terms {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(meaning));
    }
    text
}

/// As roff takes it literally.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('~', "\\(ti");
    if text.starts_with('.') {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Modules that are there for tests alone.
    const TEST_FILES: [&str; 4] = ["tests.rs", "fuzz.rs", "model.rs", "simulator.rs"];

    /// The names in capitals between quotes, after what reads a variable.
    fn read_in(text: &str) -> Vec<&str> {
        let readers = [
            "directory(\"",
            "var_os(\"",
            "env::var(\"",
            "vars.get(\"",
            "VARIABLE_PREFIX: &str = \"",
        ];
        let starts = readers.iter().flat_map(|reader| text.match_indices(reader));
        let names = starts.filter_map(|(at, reader)| text[at + reader.len()..].split('"').next());
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        names.filter(is_name).collect()
    }

    fn visit(directory: &Path, each: &mut impl FnMut(&str)) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                visit(&path, each);
            } else if path.is_file() && !TEST_FILES.contains(&name) {
                let text = fs::read_to_string(&path).unwrap();
                // What tests read is theirs.
                each(text.split("#[cfg(test)]\nmod tests").next().unwrap());
            }
        }
    }

    #[test]
    fn every_variable_that_is_read_is_in_the_page() {
        let mut found = Vec::new();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        visit(&sources, &mut |text| {
            found.extend(read_in(text).iter().map(|name| (*name).to_owned()));
        });
        assert!(
            found.len() >= 8 && found.contains(&"TOKENTAIL__".to_owned()),
            "{found:?}"
        );
        for name in found {
            let has = |term: &str| term.split(", ").any(|one| one.trim_end_matches('*') == name);
            assert!(
                ENVIRONMENT.iter().any(|(term, _)| has(term)),
                "{name} is not in the page"
            );
        }
    }

    #[test]
    fn every_exit_code_is_in_the_page() {
        let source = include_str!("exit.rs");
        let codes = source
            .lines()
            .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
        let codes: Vec<&str> = codes
            .map(|(_, code)| code)
            .filter(|code| code.parse::<u8>().is_ok())
            .collect();
        assert!(codes.len() > 10);
        for code in codes {
            assert!(EXIT_STATUS.iter().any(|(term, _)| *term == code), "{code}");
        }
    }
}
