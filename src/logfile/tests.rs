//! Tests of opening and refusing paths, and of recognizing the content of a file.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::CWD;

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

/// Both ways of opening where the kernel has both.
fn openings() -> impl Iterator<Item = Opening> {
    [Opening::available(), Opening::ByName].into_iter()
}

#[test]
fn only_regular_files_inside_are_opened() {
    openings().for_each(only_regular_files_inside_are_opened_by);
}

fn only_regular_files_inside_are_opened_by(opening: Opening) {
    let (directory, mut root) = root_with(&[("mount/a.jsonl", "{}\n"), ("mount/sub/b.jsonl", "{}\n")]);
    root.opening = opening;
    let mount = directory.path().join("mount");
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), mount.join("link.jsonl")).unwrap();
    symlink("loop.jsonl", mount.join("loop.jsonl")).unwrap();
    symlink("sub", mount.join("linked-directory")).unwrap();
    rustix::fs::mknodat(
        CWD,
        mount.join("fifo.jsonl"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(mount.join("socket.jsonl")).unwrap();

    assert!(root.open_file(Path::new("mount/a.jsonl")).is_ok());
    assert!(root.open_file(Path::new("mount/./sub/b.jsonl")).is_ok());
    assert_eq!(root.list(Path::new("")).unwrap().len(), 1);
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
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    for outside in ["../mount/a.jsonl", "/etc/passwd", "mount/../../etc/passwd"] {
        let opened = opening.beneath(&root.directory, Path::new(outside), flags);
        assert_eq!(opened.unwrap_err(), Errno::XDEV, "{outside}");
    }
    assert!(matches!(
        root.open_file(Path::new("mount/none")),
        Err(LogFileError::Gone(_))
    ));
}

#[test]
fn a_listing_has_the_kind_of_each_entry() {
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
fn another_content_is_distinguished_from_a_continued_one() {
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

#[test]
fn a_directory_that_turns_into_a_link_while_it_is_gone_through_leads_nowhere() {
    for opening in openings() {
        let (directory, mut root) = root_with(&[("mount/in/a.jsonl", "inside")]);
        root.opening = opening;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a.jsonl"), "outside").unwrap();
        let mount = directory.path().join("mount");
        symlink(outside.path(), mount.join("link")).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let names = ["in", "link"].map(|name| mount.join(name));
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &names[0], CWD, &names[1], exchange).unwrap();
                }
            });
            for _ in 0..5_000 {
                if let Ok(file) = root.open_file(Path::new("mount/in/a.jsonl")) {
                    let mut text = [0; 6];
                    file.read_at(&mut text, 0).unwrap();
                    assert_eq!(&text, b"inside");
                }
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let inside = mount.join("in");
        if inside.is_symlink() {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, &inside, CWD, mount.join("link"), exchange).unwrap();
        }
        assert!(
            root.open_file(Path::new("mount/in/a.jsonl")).is_ok(),
            "{opening:?}"
        );
    }
}

#[test]
fn a_resolved_path_has_no_link() {
    for opening in openings() {
        let directory = tempfile::tempdir().unwrap();
        let base = run_dir::resolve(directory.path());
        fs::create_dir_all(base.join("a/logs")).unwrap();
        symlink("a", base.join("b")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        assert!(opening.resolved(&base.join("a/logs"), flags).is_ok());
        assert!(opening.resolved(Path::new("/"), flags).is_ok());
        assert!(opening.resolved(&base.join("b/logs"), flags).is_err());
        assert!(opening.resolved(&base.join("b"), flags).is_err());
    }
}

#[test]
fn where_links_lead_is_found_without_opening() {
    for opening in openings() {
        let (directory, mut root) = root_with(&[("mount/a.jsonl", "{}\n"), ("mount/sub/b.jsonl", "{}\n")]);
        root.opening = opening;
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("with space")).unwrap();
        fs::write(outside.path().join("x"), "").unwrap();
        symlink(outside.path().join("with space"), outside.path().join("again")).unwrap();
        let mount = directory.path().join("mount");
        let link = |name: &str, text: &Path| {
            symlink(text, mount.join(name)).unwrap();
            root.link_target(&Path::new("mount").join(name))
        };
        let up = Path::new("../..")
            .join(outside.path().file_name().unwrap())
            .join("x");
        for (name, text, kind, inside) in [
            ("own", Path::new("sub"), EntryKind::Directory, Some("mount/sub")),
            (
                "own_file",
                Path::new("sub/../a.jsonl"),
                EntryKind::File,
                Some("mount/a.jsonl"),
            ),
            ("file", &outside.path().join("x"), EntryKind::File, None),
            ("up", &up, EntryKind::File, None),
            ("directory", outside.path(), EntryKind::Directory, None),
            ("two", &outside.path().join("again"), EntryKind::Directory, None),
            ("none", Path::new("/nowhere/at/all"), EntryKind::Link, None),
            (
                "through_a_file",
                &outside.path().join("x/y"),
                EntryKind::Link,
                None,
            ),
            ("circle", Path::new("circle"), EntryKind::Link, None),
            ("magic", Path::new("/proc/self/fd"), EntryKind::Unknown, None),
        ] {
            let target = link(name, text);
            // On the way to these the kernel may have to leave the filesystem: it says only what it has at
            // hand.
            let is_far = opening == Opening::Openat2 && ["none", "magic", "through_a_file"].contains(&name);
            let kind = if is_far { target.kind } else { kind };
            assert_eq!(
                (target.kind, target.inside.as_deref()),
                (kind, inside.map(Path::new)),
                "{name}, {opening:?}"
            );
        }
    }
}

#[test]
fn mount_points_are_read_as_they_are_written() {
    assert_eq!(links::unescaped(br"/a\040b\134c\011\q\08"), b"/a b\\c\t\\q\\08");
}
