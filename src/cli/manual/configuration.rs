//! The page of the configuration file, tokentail.toml(5): from the keys that the example and the schema are made of.

use std::fmt::Write as _;

use super::{ManualPage, Term, escaped, head, paragraphs, section, see_also};
use crate::config::{KeyTable, key_tables};

const OPENING: [&str; 5] = [
    "The file is TOML and may be missing; every key has a default. A flag overrides a variable, a variable overrides the \
     file. The variable of a key is the key in capitals after TOKENTAIL__, with two underscores for each dot: \
     TOKENTAIL__LIMITS__DEPTH_MAX=8. Accounts and targets of notifications are in the file only.",
    "Sizes are numbers of bytes or have a unit (B, kB, MB, GB, KiB, MiB, GiB); times need a unit (500ms, 2s, 1m 30s). \
     Relative paths start at the working directory.",
    "tokentail check-config shows every mistake with its line, and what was probably meant. systemctl reload tokentail, or \
     SIGHUP, applies a changed file; one with mistakes changes nothing. A key with \"At the start only\" needs systemctl \
     restart tokentail.",
    "The service reads the file as its own user: keep it readable for that user, and secrets in \
     files of their own.",
    "tokentail config example prints the file with every key commented out, tokentail config schema its JSON Schema, for \
     editors.",
];

const PLACES: [Term; 3] = [
    (
        "/etc/tokentail/tokentail.toml",
        "The system's, and the service's. With the package a file of the administrator: an upgrade keeps changes.",
    ),
    (
        "$XDG_CONFIG_HOME/tokentail/tokentail.toml, ~/.config/tokentail/tokentail.toml",
        "The user's, in place of the system's.",
    ),
    (
        "/usr/share/doc/tokentail",
        "With the package: docs/operate.md on accounts and polls, docs/notify.md on notifications.",
    ),
];

const EXAMPLE: &str = "\
runs_dir = \"/srv/agents/runs\"

[watch]
scan_interval = \"5s\"

[[account]]
name = \"max-1\"
runs = [\"team-a-*\"]
thresholds = [75, 90]
";

pub(super) fn page() -> ManualPage {
    let mut text = head(
        "tokentail.toml",
        5,
        "configuration of tokentail",
        &[
            "/etc/tokentail/tokentail.toml",
            "~/.config/tokentail/tokentail.toml",
        ],
    );
    text += &paragraphs(&OPENING);
    for table in key_tables() {
        text += &of_table(&table);
    }
    let _ = write!(text, ".SH EXAMPLES\n.EX\n{}.EE\n", escaped(EXAMPLE));
    text += &section("FILES", "", &PLACES);
    text += &see_also("tokentail(1), tokentail-check-config(1), tokentail-config(1), tokentail.service(8)");
    ManualPage {
        name: "tokentail.toml".to_owned(),
        section: 5,
        text,
    }
}

fn of_table(table: &KeyTable) -> String {
    let title = match table.heading.as_str() {
        "" => "KEYS BEFORE THE FIRST TABLE",
        heading => heading,
    };
    let mut text = format!(".SH \"{}\"\n", escaped(title));
    if !table.about.is_empty() {
        let _ = writeln!(text, "{}", escaped(&table.about.join(" ")));
    }
    for key in &table.keys {
        let equals = if key.default.is_empty() { "" } else { " = " };
        let start = if key.is_fixed { " At the start only." } else { "" };
        let end = if key.help.ends_with(['.', '"']) || key.help.ends_with(')') {
            ""
        } else {
            "."
        };
        let _ = writeln!(
            text,
            ".TP\n\\fB{}\\fR{equals}{}\n{}",
            escaped(key.name),
            escaped(key.default),
            escaped(&format!("{}{end}{start}", key.help))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::schema;

    /// The names of the keys below the properties of a schema, with those of tables in them.
    fn keys(properties: &Value, found: &mut Vec<String>) {
        for (name, property) in properties.as_object().unwrap() {
            found.push(name.clone());
            for below in [&property["properties"], &property["items"]["properties"]] {
                // Small tables in one line, such as a ramp, are explained by their key.
                if below.is_object() && name != "ramp" {
                    keys(below, found);
                }
            }
        }
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_page() {
        let mut wanted = Vec::new();
        keys(&schema()["properties"], &mut wanted);
        assert!(wanted.len() > 60, "{wanted:?}");
        let text = page().text;
        let is_heading = |name: &str| {
            [format!(".SH \"[{name}]\""), format!(".SH \"[[{name}]]\"")]
                .iter()
                .any(|heading| text.contains(heading))
        };
        for name in wanted {
            let term = format!(".TP\n\\fB{}\\fR", escaped(&name));
            assert!(text.contains(&term) || is_heading(&name), "{name}");
        }
    }
}
