//! The page of the service, tokentail.service(8).

use super::{ManualPage, Term, head, paragraphs, section, see_also};

const OPENING: [&str; 3] = [
    "The collector, tokentail serve, as a service: one hardened process with a user of its own. It reads the transcripts of \
     all runs, counts each response once, and answers on its control socket. The package enables and starts it.",
    "It is ready, for systemd as well, when its database is open and the directories of the runs are watched. It tries \
     again two seconds after a failure, without end, and is ended by a watchdog if it hangs for 30 seconds. A restart, also \
     after a kill, loses nothing and counts nothing twice.",
    "systemctl status tokentail shows one line on what it does; tokentail status its counts and health; tokentail doctor \
     the causes and remedies if nothing is counted; journalctl -u tokentail its log.",
];

const SERVICE_FILES: [Term; 9] = [
    (
        "/etc/tokentail/tokentail.toml",
        "The configuration, see tokentail.toml(5). Without one the defaults hold.",
    ),
    (
        "/var/lib/tokentail/runs",
        "The runs, unless runs_dir names another directory: transcripts below RUN/mount/. Read-only for the service. Grant a \
         runner access with setfacl -m u:RUNNER:rwx.",
    ),
    (
        "/var/lib/tokentail/tokentail.redb",
        "The database. Copy it with tokentail backup, not by hand.",
    ),
    ("/run/tokentail/tokentail.sock", "The control socket."),
    (
        "127.0.0.1:7717",
        "Port for reading over TCP, from this host only; http.listen = \"off\" closes it.",
    ),
    (
        "/usr/lib/systemd/system, /etc/systemd/system",
        "Units of the package, and those of the administrator, which hide a unit of the same name: remove a unit installed \
         by hand when the package takes over, then run systemctl daemon-reload and systemctl reenable tokentail.",
    ),
    (
        "tokentail-run@.service",
        "A run as a unit: tokentail-run@ID runs RUN_COMMAND of /etc/tokentail/runs/ID.env as run ID.",
    ),
    (
        "tokentail-login.path, tokentail-login.service",
        "Restart the collector when the login is replaced that poll.conf passes on. Not enabled by itself.",
    ),
    (
        "/usr/share/doc/tokentail",
        "Of the package: systemd/README.md, the guide to this service; docs/operate.md; examples/drop-ins; docs/grafana, a \
         dashboard and rules for alerts.",
    ),
];

const USERS: [Term; 3] = [
    (
        "tokentail",
        "The user and group of the service. Transcripts must be readable for this user: every directory on the way with x, \
         directories of runs with rx, files with r.",
    ),
    (
        "members of the group tokentail, and root",
        "May use the control socket, and so tokentail status, report, record and all others: usermod -aG tokentail NAME, \
         from the next login on.",
    ),
    (
        "others",
        "May read over TCP from this host, unless http.token_file asks for a token.",
    ),
];

const SIGNALS: [Term; 3] = [
    (
        "SIGTERM, SIGINT",
        "Stop after everything read is committed, within shutdown.grace. A second one stops at once and loses nothing either.",
    ),
    (
        "SIGHUP",
        "Read the configuration again, and scan at once. systemctl reload tokentail checks it first, and fails if it has mistakes.",
    ),
    ("SIGABRT", "Sent by the watchdog if the collector hangs."),
];

/// Exit codes of the service. Those that stay down are in the unit's `RestartPreventExitStatus=`.
const EXIT_CODES: [Term; 6] = [
    ("0", "Stopped on request."),
    (
        "64",
        "Stays down: the command line is invalid; correct ExecStart=.",
    ),
    (
        "65",
        "Stays down: the database is of another schema. The file is left as it is. Of a newer one: install the newer \
         program. Of an older one: the log says what to do.",
    ),
    (
        "78",
        "Stays down: the configuration is invalid. The log names file, line and column; correct it, then systemctl start tokentail.",
    ),
    (
        "66, 69, 70, 74, 75, 77",
        "Tried again: input does not exist, another collector has the database, a bug, reading or writing failed, a retry \
         may succeed, not permitted.",
    ),
    (
        "203 to 245",
        "systemd could not start it, as with 216/GROUP where a drop-in names a missing group, or 243/CREDENTIALS without the \
         file of a secret. Tried again.",
    ),
];

const DROP_INS: [Term; 6] = [
    (
        "group.conf",
        "The service is in a further group, to which the transcripts belong.",
    ),
    (
        "read-everything.conf",
        "The service reads every file, whatever its owner and mode. Its head names the risk.",
    ),
    (
        "runs-in-home.conf",
        "One directory below /home is visible; the unit hides /home, /root, /run/user and /tmp.",
    ),
    (
        "beyond-this-host.conf",
        "Other hosts may read over TCP, with a token.",
    ),
    (
        "poll.conf",
        "The network is open, and a login is passed on, for polls of accounts' own numbers.",
    ),
    (
        "notify.conf",
        "The network is open, and a secret is passed on, for notifications by webhook.",
    ),
];

const DROP_INS_OPENING: &str = "Changes of the unit for common needs. They are in /usr/share/doc/tokentail/examples/drop-ins with \
    the package, in systemd/drop-ins of the source. Copy one to /etc/systemd/system/tokentail.service.d/, put in your own names \
    where its first lines say so, then run systemctl daemon-reload and systemctl restart tokentail.";

const UPGRADE: [&str; 4] = [
    "An upgrade of the package keeps the configuration and the database, replaces the program while the collector runs, and \
     restarts it. What was written meanwhile is counted after the start. If the new one does not start, the package says so \
     and shows its last messages. Before an upgrade: tokentail backup /var/backups/tokentail.redb.",
    "A database that an older program made is taken over at the first start, or refused with code 65 and left as it is. An \
     older program refuses the database of a newer one: put the backup back, or install the newer program again.",
    "To check that the counts agree with the transcripts, stop the service and run tokentail verify, or run it on a backup: \
     tokentail verify --db FILE.",
    "apt remove stops the service and keeps data and configuration; installed again it goes on with its counts. apt purge \
     removes the database and the configuration too, and says so; transcripts in /var/lib/tokentail/runs are never removed.",
];

pub(super) fn page() -> ManualPage {
    let mut text = head(
        "tokentail.service",
        8,
        "the collector of tokentail as a service",
        &["tokentail.service", "/usr/bin/tokentail serve"],
    );
    text += &paragraphs(&OPENING);
    text += &section("FILES", "", &SERVICE_FILES);
    text += &section("USERS", "", &USERS);
    text += &section("SIGNALS", "", &SIGNALS);
    text += &section("EXIT STATUS", "", &EXIT_CODES);
    text += &section("DROP-INS", DROP_INS_OPENING, &DROP_INS);
    text += &section("UPGRADE AND REMOVAL", "", &[]);
    text += &paragraphs(&UPGRADE);
    text += &see_also(
        "tokentail(1), tokentail-serve(1), tokentail-status(1), tokentail-doctor(1), tokentail-backup(1), \
         tokentail-verify(1), tokentail.toml(5), systemctl(1), journalctl(1), systemd.service(5)",
    );
    ManualPage {
        name: "tokentail.service".to_owned(),
        section: 8,
        text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::EXIT_STATUS;
    use super::*;

    const UNIT: &str = include_str!("../../../systemd/tokentail.service");

    #[test]
    fn every_drop_in_is_in_the_page() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/drop-ins");
        let files: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let named: BTreeSet<String> = DROP_INS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named, files);
    }

    #[test]
    fn the_codes_that_stay_down_are_those_of_the_unit() {
        let down: Vec<&str> = (EXIT_CODES.iter())
            .filter(|(_, meaning)| meaning.starts_with("Stays down"))
            .map(|(code, _)| *code)
            .collect();
        let line = format!("\nRestartPreventExitStatus={}\n", down.join(" "));
        assert!(UNIT.contains(&line), "{line}");
        let codes = EXIT_CODES.iter().flat_map(|(code, _)| code.split(", "));
        for code in codes.filter(|code| code.parse::<u8>().is_ok()) {
            assert!(EXIT_STATUS.iter().any(|(known, _)| *known == code), "{code}");
        }
    }

    #[test]
    fn the_unit_names_the_page_and_its_program() {
        assert!(UNIT.contains("\nDocumentation=man:tokentail.service(8)"));
        assert!(UNIT.contains("\nExecStart=/usr/bin/tokentail serve\n"));
    }
}
