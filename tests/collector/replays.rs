//! Paths of a replay: packed files, other agents' files, excludes.

use std::fs;

use crate::harness::{Place, append, output_by_run, response};
use crate::scenario::ended;

#[test]
fn a_compressed_file_that_is_named_is_not_read_as_lines() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    for name in [
        "x.jsonl.gz",
        "x.jsonl.zst",
        "x.jsonl.xz",
        "x.jsonl.bz2",
        "x.jsonl.1.gz",
        "x.tar.gz",
        "x.tar",
        "x.tgz",
        "x.zip",
    ] {
        let path = place.path(name);
        fs::write(&path, b"\x1f\x8b\x08\0\n\n\n").unwrap();
        let path = path.to_str().unwrap();
        let runs = place.runs();
        for words in [
            vec!["replay", path],
            vec!["replay", runs.to_str().unwrap(), path, "--json"],
        ] {
            let (code, out, err) = ended(&place.run(&words));
            assert_eq!((code, out.as_str()), (Some(66), ""), "{words:?}: {err}");
            assert!(
                err.contains(&format!("{path} is compressed; unpack it first")),
                "{err}"
            );
        }
    }
}

#[test]
fn where_only_other_agents_files_are_a_replay_is_no_success() {
    let place = Place::new();
    let copilot = r#"{"type":"assistant.message","id":"c1","data":{"outputTokens":44}}"#;
    let log = place.log("one", "sessions/s1/events.jsonl");
    append(&log, format!("{copilot}\n{{\"type\":\"session.end\"}}\n"));
    append(&place.log("one", "train.jsonl"), "{\"text\":\"a\"}\n");
    fs::create_dir_all(place.mount("not-begun")).unwrap();
    let looks = "looks like a Copilot CLI event log";
    for (path, words) in [
        (place.runs(), &[looks, "train.jsonl"][..]),
        (place.mount("one"), &[looks, "train.jsonl"]),
        (place.mount("one").join("sessions"), &[looks]),
        (log.clone(), &[looks, "not supported"]),
        (
            place.mount("one").join("train.jsonl"),
            &["nothing in it that a transcript has"],
        ),
    ] {
        let (code, out, err) = ended(&place.run(&["replay", path.to_str().unwrap()]));
        assert_eq!((code, out.as_str()), (Some(66), ""), "{}: {err}", path.display());
        assert!(
            err.contains("no transcript in ") && !err.contains("matches"),
            "{err}"
        );
        for words in words {
            assert!(err.contains(words), "{words}: {err}");
        }
        assert!(!path.is_file() || !err.contains("watch.exclude"), "{err}");
    }
    // A transcript without usage is one.
    append(
        &place.log("two", "a.jsonl"),
        "{\"type\":\"user\",\"uuid\":\"1\",\"message\":{}}\n",
    );
    let (code, _, err) = ended(&place.run(&["replay", place.runs().to_str().unwrap()]));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains(looks), "{err}");
}

#[test]
fn excludes_hold_for_a_run_its_mount_and_what_is_below() {
    let place = Place::new();
    append(&place.log("one", "-w/a.jsonl"), response("1", 1, 0));
    append(&place.log("one", "-w/data/train.jsonl"), "{\"text\":\"a\"}\n");
    append(&place.log("one", "-w/old/b.jsonl"), response("2", 10, 0));
    for (exclude, output, is_noticed) in [
        ("[]", 11, true),
        (r#"["**/train.jsonl"]"#, 11, false),
        (r#"["*/mount/*/data/**"]"#, 11, false),
        (r#"["one/mount/-w/old/*", "one/mount/-w/data/*"]"#, 1, false),
        (r#"["two/mount/**", "mount/**", "-w/**", "*/old/**"]"#, 11, true),
    ] {
        place.configure(&format!("[watch]\nexclude = {exclude}\n"));
        for (path, run) in [
            (place.runs(), "one"),
            (place.runs().join("one"), "one"),
            (place.mount("one"), "mount"),
            (place.mount("one").join("-w"), "-w"),
        ] {
            let words = ["replay", path.to_str().unwrap(), "--json"];
            let (code, out, err) = ended(&place.command_with_config(&words).output().unwrap());
            assert_eq!(code, Some(0), "{err}");
            let summary = serde_json::from_str(&out).unwrap();
            let at = format!("{exclude} {}: {err}", path.display());
            assert_eq!(output_by_run(&summary)[run], output, "{at}");
            assert_eq!(err.contains("train.jsonl"), is_noticed, "{at}");
        }
    }
    // Projects, whose layout is detected.
    let project = place.path("projects/-p");
    fs::create_dir_all(&project).unwrap();
    append(&project.join("a.jsonl"), response("3", 1, 0));
    append(&project.join("b.jsonl"), response("4", 10, 0));
    place.configure("[watch]\nexclude = [\"-p/b.jsonl\"]\n");
    for path in [place.path("projects"), project] {
        let words = ["replay", path.to_str().unwrap(), "--json"];
        let (code, out, err) = ended(&place.command_with_config(&words).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(
            output_by_run(&serde_json::from_str(&out).unwrap())["-p"],
            1,
            "{err}"
        );
    }
}
