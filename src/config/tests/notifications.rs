//! Tests of `[[notify]]`: the targets, and error messages with their places.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::{home, load, with};
use crate::config::read_secrets;
use crate::quota::notice::target::{NoticeFormat, NoticeRoute};

fn refused(text: &str) -> String {
    let (_folder, environment) = home(text);
    let mistakes = load(&environment).unwrap_err();
    let lines = mistakes.list.iter().map(|mistake| {
        let text = mistake.to_string();
        text.split_once("tokentail.toml:").unwrap().1.to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_target_is_read_with_its_defaults() {
    let (_folder, environment) = home(
        "[[notify]]\nname = \"oncall\"\nevents = [\"window.threshold\", \"account.*\"]\n\
         match = { account = \"max-*\", threshold = 90 }\nurl = \"https://a.example/x?token=y\"\n\
         secret_file = \"s\"\ntoken_file = \"/etc/token\"\nformat = \"ntfy\"\ntimeout = \"2s\"\nmax_age = \"10m\"\n\
         [[notify]]\nname = \"page\"\nevents = \"*\"\nexec = [\"/bin/page\", \"--secret=1\"]\n",
    );
    let environment = with(environment, &[("CREDENTIALS_DIRECTORY", "/run/credentials/t")]);
    let settings = load(&environment).unwrap();
    let [oncall, page] = &*settings.notify.targets else {
        panic!("two targets")
    };
    assert_eq!(
        oncall.secret_file.as_deref(),
        Some(Path::new("/run/credentials/t/s"))
    );
    assert_eq!(
        (oncall.format, oncall.timeout, oncall.max_age),
        (NoticeFormat::Ntfy, Duration::from_secs(2), 600_000)
    );
    assert_eq!(oncall.matches.threshold, Some(90));
    assert_eq!(oncall.token_file.as_deref(), Some(Path::new("/etc/token")));
    assert_eq!(
        (page.format, page.timeout, page.max_age),
        (NoticeFormat::Standard, Duration::from_secs(10), 3_600_000)
    );
    let words = ["/bin/page", "--secret=1"].map(str::to_owned).to_vec();
    assert_eq!(page.route, NoticeRoute::Exec(words));
    assert_eq!(settings.notify.variables["HOME"], environment.vars["HOME"]);
    // What is shown has no secret, and is a valid file.
    let shown = settings.render(true);
    assert!(
        shown.contains("https://a.example/...") && shown.contains("\"/bin/page\""),
        "{shown}"
    );
    assert!(
        !shown.contains("token=y") && !shown.contains("--secret"),
        "{shown}"
    );
    let document = settings.document();
    assert_eq!(document["notify"][0]["url"], "https://a.example/...");
    crate::config::Settings::of_document(&document, None).unwrap();
    // As a file it is refused: the hidden parts are missing.
    assert_eq!(shown.matches("# What follows is hidden").count(), 2, "{shown}");
    let mistakes = refused(&shown);
    for key in ["`notify.url`", "`notify.exec`"] {
        assert!(
            mistakes.contains(&format!("{key}: a part of it is hidden")),
            "{mistakes}"
        );
    }
}

#[test]
fn a_secret_without_credentials_is_beside_the_configuration() {
    let target = "[[notify]]\nname = \"a\"\nevents = [\"*\"]\nurl = \"https://a\"\n";
    let (folder, environment) = home(&format!("{target}secret_file = \"s\"\ntoken_file = \"x/t\"\n"));
    let settings = load(&environment).unwrap();
    let found = &settings.notify.targets[0];
    let beside = folder.path().join(".config/tokentail");
    assert_eq!(found.secret_file, Some(beside.join("s")));
    assert_eq!(found.token_file, Some(beside.join("x/t")));
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    for (text, expected) in [
        (
            "events = [\"window.treshold\"]\nurl = \"https://a\"",
            "3:1: `notify.events`: \"window.treshold\" is no event: ",
        ),
        (
            "events = []\nurl = \"https://a\"",
            "3:1: `notify.events`: it names no event",
        ),
        (
            "events = [\"*\"]\nurl = \"http://a.example/SECRET\"",
            "4:1: `notify.url`: http:// is for this host alone",
        ),
        (
            "events = [\"*\"]\nurl = \"https://me@a.example/SECRET\"",
            "4:1: `notify.url`: \"https://me@a.example/...\" is no address",
        ),
        (
            "events = [\"*\"]\nurl = \"http://[::1]evil.com/SECRET\"",
            "4:1: `notify.url`: \"http://[::1]evil.com/...\" is no address",
        ),
        (
            "events = [\"*\"]\nurl = \"https://x:99999/\"",
            "4:1: `notify.url`: \"https://x:99999/...\" is no address",
        ),
        ("events = [\"*\"]", "1:1: `notify.url`: url or exec is missing"),
        (
            "events = [\"*\"]\nurl = \"https://ntfy.sh\"\nformat = \"ntfy\"",
            "4:1: `notify.url`: for ntfy it ends with the topic",
        ),
        (
            "events = [\"*\"]\nurl = \"https://ntfy.sh/a.b\"\nformat = \"ntfy\"",
            "4:1: `notify.url`: for ntfy it ends with the topic",
        ),
        (
            "events = [\"*\"]\nurl = \"https://a\"\nexec = [\"/a\"]",
            "5:1: `notify.exec`: a target has url or exec, not both",
        ),
        (
            "events = [\"*\"]\nexec = [\"page\"]",
            "4:1: `notify.exec`: \"page\" is not an absolute path",
        ),
        (
            "events = [\"*\"]\nexec = [\"/page\"]\nsecret_file = \"s\"",
            "5:1: `notify.secret_file`: it is for url",
        ),
        (
            "events = [\"*\"]\nurl = \"https://a\"\ntimeout = \"30s\"",
            "5:1: `notify.timeout`: ",
        ),
        (
            "events = [\"*\"]\nurl = \"https://a\"\nmax_age = \"1s\"",
            "5:1: `notify.max_age`: ",
        ),
        (
            "events = [\"*\"]\nurl = \"https://a\"\nmatch = { threshold = 0 }",
            "5:11: `notify.match.threshold`: ",
        ),
        (
            "events = [\"*\"]\nurl = \"https://a\"\nformat = \"slak\"",
            "5:10: `notify.format`: unknown value `slak`",
        ),
        (
            "events = [\"*\"]\nulr = \"https://a\"",
            "4:1: `notify.ulr`: unknown key `ulr`",
        ),
    ] {
        let said = refused(&format!("[[notify]]\nname = \"a\"\n{text}\n"));
        assert!(said.starts_with(expected), "{text}\n{said}");
    }
    let said = refused("[[notify]]\nname = \"a\"\nevents = [\"window.treshold\"]\nurl = \"https://a\"\n");
    assert!(said.ends_with("did you mean `window.threshold`?"), "{said}");
    let one = "[[notify]]\nname = \"a\"\nevents = [\"*\"]\nurl = \"https://a\"\n";
    assert!(refused(&format!("{one}{one}")).starts_with("6:1: `notify.name`: \"a\" is there already"));
    assert!(refused("[notify]\nname = \"a\"\n").contains("two brackets"));
    let (_folder, environment) = home("");
    let environment = with(environment, &[("TOKENTAIL__NOTIFY__NAME", "a")]);
    assert!(
        load(&environment)
            .unwrap_err()
            .to_string()
            .contains("[[notify]] tables")
    );
}

#[test]
fn a_window_may_have_any_of_its_names() {
    for (given, name) in [
        ("5h", "five_hour"),
        ("weekly", "seven_day"),
        ("seven_*", "seven_*"),
    ] {
        let (_folder, environment) = home(&format!(
            "[[notify]]\nname = \"a\"\nevents = \"*\"\nmatch = {{ bucket = {given:?} }}\nexec = [\"/bin/true\"]\n"
        ));
        let settings = load(&environment).unwrap();
        assert_eq!(settings.notify.targets[0].matches.bucket.as_deref(), Some(name));
    }
}

#[test]
fn secrets_are_lines_of_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let read = |text: &str, mode: u32| {
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let secrets = read_secrets(&path).map_err(|error| error.to_string())?;
        Ok::<_, String>(
            secrets
                .iter()
                .map(|secret| secret.to_string())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(read("one\n", 0o600).unwrap(), ["one"]);
    assert_eq!(read(" new \n\nold", 0o440).unwrap(), ["new", "old"]);
    for (text, mode, said) in [
        ("one", 0o604, "has the mode 0604"),
        ("", 0o600, "holds no secret"),
        ("a b", 0o600, "holds no secret"),
        ("1\n2\n3\n4\n5", 0o600, "holds no secret"),
    ] {
        let error = read(text, mode).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let error = read_secrets(&folder.path().join("none")).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot read the secret "),
        "{error}"
    );
}
