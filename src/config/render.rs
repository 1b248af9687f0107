//! Rendering: the settings in effect as a configuration file or as a document.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{Origin, Settings, notifications};
use crate::quota::notice::target::HIDDEN;

impl Settings {
    /// A configuration file with everything in effect; with `origins` each line has its origin as a comment.
    #[must_use]
    pub fn render(&self, origins: bool) -> String {
        let mut text = String::new();
        let line = |text: &mut String, name: &str, value: &str, origin: &Origin| {
            let _ = write!(text, "{name} = {value}");
            let _ = writeln!(
                text,
                "{}",
                if origins {
                    format!("  # {origin}")
                } else {
                    String::new()
                }
            );
        };
        let mut section_now = "";
        for one in self.describe() {
            let (section, name) = one.key.rsplit_once('.').unwrap_or(("", one.key));
            if section != section_now {
                let _ = write!(text, "\n[{section}]\n");
                section_now = section;
            }
            line(&mut text, name, &one.value, &one.origin);
        }
        let origin = self.origin("account");
        for account in self.accounts.describe() {
            text.push_str("\n[[account]]\n");
            for (name, value) in account.rows() {
                line(&mut text, name, &value, &origin);
            }
        }
        let origin = self.origin("notify");
        for target in self.notify.targets.iter() {
            text.push_str("\n[[notify]]\n");
            for (name, value) in notifications::rows(target) {
                if matches!(name, "url" | "exec") && value.contains(HIDDEN) {
                    text.push_str("# What follows is hidden, since it may be a secret:\n");
                }
                line(&mut text, name, &value, &origin);
            }
        }
        text
    }

    /// The settings in effect as a JSON document.
    #[must_use]
    pub fn document(&self) -> Value {
        let table: Option<Map<String, Value>> = toml::from_str(&self.render(false)).ok();
        table.map_or(Value::Null, Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Environment, Partial};
    use super::*;

    fn load(file: Option<&Path>, flags: Partial) -> Settings {
        let variables = [("TOKENTAIL__LIMITS__DEPTH_MAX", "8"), ("HOME", "/h")];
        let environment = Environment {
            vars: variables
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into(),
            cwd: "/".into(),
            system_file: "/no/such/file".into(),
            has_files: true,
        };
        Settings::load(flags, file, &environment).unwrap()
    }

    #[test]
    fn what_is_shown_is_a_file_that_means_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.toml");
        std::fs::write(
            &path,
            "[[account]]\nname = 'a'\nlabels = { k = 'v' }\n[log]\nlevel = 'debug'\n",
        )
        .unwrap();
        let flags = Partial {
            runs_dir: Some("/a \"b\"".into()),
            ..Partial::default()
        };
        let settings = load(Some(&path), flags);
        let shown = settings.render(true);
        let of_file = format!("level = \"debug\"  # {}\n", path.display());
        for line in [
            "runs_dir = '/a \"b\"'  # flag\n",
            "depth_max = 8  # TOKENTAIL__LIMITS__DEPTH_MAX\n",
            "scan_interval = \"2s\"  # default\n",
            &of_file,
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
        std::fs::write(&path, &shown).unwrap();
        let again = load(Some(&path), Partial::default());
        assert_eq!(again.render(false), settings.render(false));
        assert_eq!(settings.document()["limits"]["depth_max"], 8);
        assert_eq!(settings.document()["account"][0]["labels"]["k"], "v");
        let elsewhere = Settings::of_document(&settings.document(), Some("/etc/t.toml")).unwrap();
        assert_eq!(elsewhere.render(false), settings.render(false));
        assert_eq!(elsewhere.config_file.as_deref(), Some(Path::new("/etc/t.toml")));
        assert!(Settings::of_document(&serde_json::json!({ "nome": 1 }), None).is_err());
    }
}
