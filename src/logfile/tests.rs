//! What is opened, what is refused, and how one content is told from another.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn root_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

fn cursor_after(file: &LogFile, text: &str) -> Cursor {
    let mut tail = Tail::default();
    tail.push(text.as_bytes());
    let inode = file.stat().unwrap().inode;
    let offset = text.len() as u64;
    Cursor {
        inode,
        offset,
        tail_len: tail.length(),
        tail_hash: tail.hash(),
        ..Cursor::default()
    }
}

#[test]
fn a_tail_is_the_same_however_it_was_read() {
    let text: Vec<u8> = (0..=u8::MAX).cycle().take(700).collect();
    let mut whole = Tail::default();
    whole.push(&text);
    assert_eq!(whole.length(), 256);
    for cut in [1, 3, 255, 256, 257, 300] {
        let mut pieces = Tail::default();
        text.chunks(cut).for_each(|piece| pieces.push(piece));
        assert_eq!(
            (pieces.length(), pieces.hash()),
            (whole.length(), whole.hash()),
            "cut {cut}"
        );
    }
}

#[test]
fn only_regular_files_inside_are_opened() {
    let (directory, root) = root_with(&[("mount/a.jsonl", "{}\n"), ("mount/sub/b.jsonl", "{}\n")]);
    let mount = directory.path().join("mount");
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), mount.join("link.jsonl")).unwrap();
    symlink("loop.jsonl", mount.join("loop.jsonl")).unwrap();
    symlink("sub", mount.join("linked-directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        mount.join("fifo.jsonl"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(mount.join("socket.jsonl")).unwrap();

    assert!(root.open_file(Path::new("mount/a.jsonl")).is_ok());
    for refused in ["link", "loop", "fifo", "socket"] {
        let path = format!("mount/{refused}.jsonl");
        let error = root.open_file(Path::new(&path)).unwrap_err();
        assert!(matches!(error, LogFileError::Refused(_)), "{path}: {error}");
    }
    let through_link = root
        .open_file(Path::new("mount/linked-directory/b.jsonl"))
        .unwrap_err();
    assert!(matches!(through_link, LogFileError::Refused(_)), "{through_link}");
    assert!(matches!(
        root.list(Path::new("mount/linked-directory")),
        Err(LogFileError::Refused(_))
    ));
    assert!(root.open_file(Path::new("../../etc/passwd")).is_err());
    assert!(matches!(
        root.open_file(Path::new("mount/none")),
        Err(LogFileError::Gone(_))
    ));
}

#[test]
fn listing_tells_kinds_apart() {
    let (_directory, root) = root_with(&[("mount/a.jsonl", "{}\n"), ("mount/sub/b.jsonl", "{}\n")]);
    let mut entries = root.list(Path::new("mount")).unwrap();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let entry = |path: &str, kind| Entry {
        path: path.into(),
        kind,
    };
    assert_eq!(
        entries,
        [
            entry("mount/a.jsonl", EntryKind::File),
            entry("mount/sub", EntryKind::Directory)
        ]
    );
}

#[test]
fn another_content_is_told_from_a_continued_one() {
    let text = "x".repeat(300) + "\n";
    let (directory, root) = root_with(&[("a", &text)]);
    let path = directory.path().join("a");
    let open = || root.open_file(Path::new("a")).unwrap();
    let file = open();
    let cursor = cursor_after(&file, &text);
    let continues = |file: &LogFile| file.continues(&file.stat().unwrap(), &cursor).unwrap().is_some();
    assert!(continues(&file));
    fs::write(&path, format!("{text}more\n")).unwrap();
    assert!(continues(&open()), "appended");
    fs::write(&path, "x".repeat(299) + "y\nlonger than before\n").unwrap();
    assert!(!continues(&open()), "rewritten in place, longer");
    fs::write(&path, "x\n").unwrap();
    assert!(!continues(&open()), "shorter");
    fs::remove_file(&path).unwrap();
    fs::write(&path, &text).unwrap();
    assert!(!continues(&open()), "another file with the same bytes");
}
