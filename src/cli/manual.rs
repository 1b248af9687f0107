//! Manual pages: the command line, and sections that it cannot generate; the configuration file; the service.

mod configuration;
mod service;

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// A term and its description.
type Term = (&'static str, &'static str);

/// Files that are read or made. A file that is not named is looked for in this order.
const FILES: [Term; 10] = [
    (
        "$XDG_CONFIG_HOME/tokentail/tokentail.toml, ~/.config/tokentail/tokentail.toml",
        "The user's configuration. A file named by --config must exist.",
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
        "The socket of the service. Used if no socket is configured and none is at the usual place; open to root and to members of its group.",
    ),
    (
        "/var/lib/tokentail",
        "State of the service: its database and, unless configured, the runs.",
    ),
    (
        "$CREDENTIALS_DIRECTORY",
        "Base of a relative http.token_file, if set.",
    ),
    (
        "/etc/passwd, /etc/group, /proc",
        "Read by doctor: the collector's user and groups.",
    ),
    (
        "~/.claude/projects",
        "Transcripts of Claude Code on this machine: --layout projects reads them.",
    ),
];

/// Every variable that is read, by this program or its libraries.
const ENVIRONMENT: [Term; 14] = [
    (
        "TOKENTAIL__*",
        "A setting: its key in capitals, with two underscores for each dot, as in TOKENTAIL__LIMITS__DEPTH_MAX=8. A flag overrides it; it overrides the file. Accounts have no variables.",
    ),
    ("XDG_CONFIG_HOME, HOME", "Directory of the user's configuration."),
    (
        "CLAUDE_CONFIG_DIR, HOME",
        "Directory whose transcripts report counts without a collector and a database [default: ~/.claude].",
    ),
    (
        "STATE_DIRECTORY",
        "Set by systemd: directory of the database and the runs, unless configured.",
    ),
    (
        "XDG_STATE_HOME, HOME",
        "Directory of the database, without STATE_DIRECTORY.",
    ),
    (
        "RUNTIME_DIRECTORY, XDG_RUNTIME_DIR",
        "Directory of the socket. RUNTIME_DIRECTORY is set by systemd.",
    ),
    (
        "CREDENTIALS_DIRECTORY",
        "Set by systemd: directory of a relative http.token_file.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd: socket for readiness, status and watchdog messages of serve and run.",
    ),
    ("NO_COLOR", "Set and not empty: no colours."),
    (
        "COLUMNS, LINES",
        "Size of the terminal for tables, in place of the reported one.",
    ),
    (
        "JOURNAL_STREAM",
        "If it is standard error, log lines have priorities and no times, which the journal adds.",
    ),
    (
        "CLICOLOR, CLICOLOR_FORCE, TERM, CI",
        "Colours: CLICOLOR_FORCE turns them on without a terminal; CLICOLOR=0 and TERM=dumb turn them off.",
    ),
    ("PATH", "Search path of the command of run."),
    ("any other", "Passed on unchanged to the command of run."),
];

const EXIT_STATUS: [Term; 17] = [
    (
        "0",
        "Success; may-start: allow; lease acquire: granted; status and doctor: all is well.",
    ),
    (
        "1",
        "No: may-start and lease acquire: wait or deny; status: the collector is degraded or unhealthy; doctor: a check fails; verify and replay --expect: there is a difference.",
    ),
    ("2", "may-start and lease acquire: the answer is unknown."),
    (
        "64",
        "The command line is invalid, or the collector refuses the request.",
    ),
    ("65", "Input is invalid: a damaged or newer database."),
    ("66", "Input does not exist: a path, a run, an account."),
    ("69", "No collector answers."),
    ("70", "A bug in this program."),
    ("74", "Reading or writing failed."),
    (
        "75",
        "A retry may succeed; may-start: --wait ran out before a place was free.",
    ),
    ("77", "Not permitted."),
    ("78", "The configuration is invalid."),
    (
        "125",
        "run --admit did not start its command, as no place was free.",
    ),
    ("126", "The command of run cannot be executed."),
    ("127", "The command of run was not found."),
    ("128+n", "Signal n ended the command of run."),
    ("130, 143", "A second SIGINT or SIGTERM ended serve at once."),
];

const EXAMPLES: [Term; 6] = [
    (
        "tokentail serve --runs-dir /srv/agents/runs",
        "Count the tokens of these runs.",
    ),
    (
        "tokentail serve --runs-dir ~/.claude/projects --layout projects",
        "Count Claude Code's transcripts on this machine.",
    ),
    ("tokentail status", "Print the counts and the collector's health."),
    (
        "tokentail may-start && start-the-run",
        "Start a run only if no limit blocks it.",
    ),
    (
        "tokentail check-config && systemctl reload tokentail",
        "Apply a changed configuration.",
    ),
    ("sudo tokentail doctor", "Find out why nothing is counted."),
];

/// Related manual pages of other programs.
const OTHERS: &str = "inotify(7), acl(5), setfacl(1), systemd.service(5), systemd.exec(5)";

/// A page of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualPage {
    pub name: String,
    pub section: u8,
    /// In roff.
    pub text: String,
}

impl ManualPage {
    fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// The page of that name; without the program's name before it too. `None` if there is none.
///
/// # Errors
/// A page cannot be rendered.
pub fn page(command: &Command, name: &str) -> io::Result<Option<ManualPage>> {
    let long = format!("{}-{name}", command.get_name());
    let is_it = |page: &ManualPage| page.name == name || page.name == long;
    Ok(pages(command)?.into_iter().find(is_it))
}

/// The page of each command, of the configuration file, and of the service.
///
/// # Errors
/// One cannot be rendered.
pub fn pages(command: &Command) -> io::Result<Vec<ManualPage>> {
    fn collect(command: &Command, pages: &mut Vec<ManualPage>) -> io::Result<()> {
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            collect(below, pages)?;
        }
        let mut text = Vec::new();
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        Man::new(command.clone()).render(&mut text)?;
        pages.push(ManualPage {
            name: name.to_owned(),
            section: 1,
            // The section after a command's help has another title in manuals.
            text: String::from_utf8_lossy(&text).replace(".SH EXTRA\n", ".SH NOTES\n"),
        });
        Ok(())
    }
    let program = command.get_name().to_owned();
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    pages.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<String> = (pages.iter())
        .filter(|page| page.name != program)
        .map(|page| page.name.clone())
        .collect();
    for page in &mut pages {
        page.text += &if page.name == program {
            whole(&names)
        } else {
            let above = format!("{program}(1), which has the files and the variables");
            section("EXIT STATUS", "", &EXIT_STATUS) + &see_also(&above)
        };
    }
    pages.push(configuration::page());
    pages.push(service::page());
    Ok(pages)
}

/// Writes all pages into the directories `man1`, `man5` and `man8` of a directory.
///
/// # Errors
/// One cannot be written.
pub fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    for page in pages(command)? {
        let directory = directory.join(format!("man{}", page.section));
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(page.file_name()), page.text)?;
    }
    Ok(())
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
    text + &see_also(&format!(
        "{}, tokentail.toml(5), tokentail.service(8), {OTHERS}",
        pages.join(", ")
    ))
}

/// The first lines of a page, up to the text of its description.
fn head(name: &str, section: u8, about: &str, synopsis: &[&str]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH {name} {section} \"\" \"tokentail {version}\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
        escaped(name),
        escaped(about)
    );
    for (number, line) in synopsis.iter().enumerate() {
        let _ = writeln!(
            text,
            "{}{}",
            if number == 0 { "" } else { ".br\n" },
            escaped(line)
        );
    }
    text + ".SH DESCRIPTION\n"
}

/// Paragraphs of running text.
fn paragraphs(texts: &[&str]) -> String {
    texts.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, ".PP\n{}", escaped(one));
        text
    })
}

fn see_also(pages: &str) -> String {
    format!(".SH \"SEE ALSO\"\n{}\n", escaped(pages))
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

/// The text escaped for roff.
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

    /// Modules used by tests only.
    const TEST_FILES: [&str; 4] = ["tests.rs", "fuzz.rs", "model.rs", "simulator.rs"];

    /// The quoted names in capitals after a function that reads a variable.
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
                // Variables that tests read do not count.
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
