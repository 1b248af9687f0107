//! Wording: for each kind of unread entry what is wrong with it and what to do, for one entry and for several.

use std::borrow::Cow;

use super::UnreadKind;

const REGULAR_FILES: &str = "have the agent write regular files";

/// The problem of this number of entries, to be read after the number, and the remedy.
pub fn of(kind: UnreadKind, count: u64) -> (Cow<'static, str>, &'static str) {
    let Wording { what, todo } = Wording::of(kind);
    let ([one, several], [todo_one, todo_several]) = (what, todo);
    if count == 1 {
        (one, todo_one)
    } else {
        (several, todo_several)
    }
}

/// Texts for one entry and for several.
struct Wording {
    what: [Cow<'static, str>; 2],
    todo: [&'static str; 2],
}

impl Wording {
    fn new(what: [&'static str; 2], todo: [&'static str; 2]) -> Self {
        let what = what.map(Cow::Borrowed);
        Self { what, todo }
    }

    fn of(kind: UnreadKind) -> Self {
        match kind {
            UnreadKind::LinkToDirectory => Self::new(
                [
                    "symbolic link to a directory is not followed",
                    "symbolic links to directories are not followed",
                ],
                [
                    "mount the directory itself there (mount --bind), or name it with \"mount\" in PUT /v1/runs/ID, below a \
                     directory of runs.mount_roots",
                    "mount the directories themselves there (mount --bind), or name each with \"mount\" in PUT \
                     /v1/runs/ID, below a directory of runs.mount_roots",
                ],
            ),
            UnreadKind::LinkToFile => Self::new(
                [
                    "symbolic link to a file is not followed",
                    "symbolic links to files are not followed",
                ],
                [
                    "put the transcript itself there, or mount its directory",
                    "put the transcripts themselves there, or mount their directories",
                ],
            ),
            UnreadKind::LinkElsewhere => Self::new(
                [
                    "symbolic link is not followed, and leads to nothing that can be seen from here",
                    "symbolic links are not followed, and lead to nothing that can be seen from here",
                ],
                [
                    "mount what it leads to itself, where the link is",
                    "mount what they lead to itself, where the links are",
                ],
            ),
            UnreadKind::Fifo => Self::new(
                [
                    "FIFO with the name of a transcript is not read",
                    "FIFOs with names of transcripts are not read",
                ],
                [REGULAR_FILES; 2],
            ),
            UnreadKind::Socket => Self::new(
                [
                    "socket with the name of a transcript is not read",
                    "sockets with names of transcripts are not read",
                ],
                [REGULAR_FILES; 2],
            ),
            UnreadKind::Device => Self::new(
                [
                    "device with the name of a transcript is not read",
                    "devices with names of transcripts are not read",
                ],
                [REGULAR_FILES; 2],
            ),
            UnreadKind::Compressed => Self::new(
                [
                    "compressed transcript is not read",
                    "compressed transcripts are not read",
                ],
                [
                    "unpack it beside the others; what was counted before counts once",
                    "unpack them beside the others; what was counted before counts once",
                ],
            ),
            UnreadKind::Rotated => Self::new(
                [
                    "file has the name of a rotated or copied transcript and is not read",
                    "files have names of rotated or copied transcripts and are not read",
                ],
                [
                    "if it was not read under its first name, add its name to watch.include; what repeats counts once",
                    "if they were not read under their first names, add their names to watch.include; what repeats \
                     counts once",
                ],
            ),
            UnreadKind::OtherEnding => Self::new(
                [
                    "file of JSON lines is not read, as its name does not end with .jsonl",
                    "files of JSON lines are not read, as their names do not end with .jsonl",
                ],
                [
                    "if it is a transcript, add its ending to watch.include",
                    "if they are transcripts, add their ending to watch.include",
                ],
            ),
            UnreadKind::Bundle => Self::new(
                [
                    "archive is not read, and no transcript lies beside it",
                    "archives are not read, and no transcript lies beside them",
                ],
                [
                    "if it holds transcripts, unpack it",
                    "if they hold transcripts, unpack them",
                ],
            ),
            UnreadKind::NotIncluded => Self::new(
                [
                    "*.jsonl file is not read: watch.include does not match it",
                    "*.jsonl files are not read: watch.include does not match them",
                ],
                [
                    "if it is a transcript, have it written below the run's mount, or add its place to watch.include, \
                     or set runs.layout = \"projects\" where each directory is a project",
                    "if they are transcripts, have them written below the run's mount, or add their place to \
                     watch.include, or set runs.layout = \"projects\" where each directory is a project",
                ],
            ),
            UnreadKind::OtherAgent(agent) => {
                let file = agent.file();
                Self {
                    what: [
                        format!("file looks like a {file} and is not counted").into(),
                        format!("files look like a {file} and are not counted").into(),
                    ],
                    todo: if agent.is_sums() {
                        [
                            "its sums are of responses that the agent's transcripts have; mount those too, or exclude \
                             the file with watch.exclude",
                            "their sums are of responses that the agent's transcripts have; mount those too, or exclude \
                             the files with watch.exclude",
                        ]
                    } else {
                        [
                            "this agent is not supported; exclude the file with watch.exclude if that is as it should be",
                            "this agent is not supported; exclude the files with watch.exclude if that is as it should be",
                        ]
                    },
                }
            }
            UnreadKind::Strange => Self::new(
                [
                    "file was read and has nothing in it that a transcript has",
                    "files were read and have nothing in them that a transcript has",
                ],
                [
                    "exclude it with watch.exclude if it is none",
                    "exclude them with watch.exclude if they are none",
                ],
            ),
            UnreadKind::Hole => Self::new(
                [
                    "file has NUL bytes before what follows them, and was read over them",
                    "files have NUL bytes before what follows them, and were read over them",
                ],
                [
                    "a crash of its machine leaves such; if its writer fills them later, it is read again",
                    "a crash of their machine leaves such; if their writer fills them later, they are read again",
                ],
            ),
            UnreadKind::NoRun => Self::new(
                [
                    "directory is no run, because its name is no run id",
                    "directories are no runs, because their names are no run ids",
                ],
                [
                    "rename it: 1 to 128 of A-Z a-z 0-9 . _ -",
                    "rename them: 1 to 128 of A-Z a-z 0-9 . _ -",
                ],
            ),
        }
    }
}
