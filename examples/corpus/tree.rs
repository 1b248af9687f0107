//! The runs, their sessions, and the sessions that are forks of others.

use anyhow::Result;

use crate::calendar::{DAY_MS, FIRST_DAY_MS};
use crate::output::Output;
use crate::session::{Finished, Head, Session, World};

const SESSION_BYTES_MIN: usize = 4 << 10;
/// Maximum number of session heads that wait for a fork from another run.
const HEADS_MAX: usize = 16;
const PROJECTS: &[&str] = &["-workspace", "-workspace-api-server", "-home-agent-work-frontend"];

/// `run-0001`, `run-0002`, ...: their order is the order of their names.
pub fn run_names(runs: usize) -> Vec<String> {
    (1..=runs).map(|number| format!("run-{number:04}")).collect()
}

pub fn grow(world: &mut World, output: &mut Output, bytes: usize, runs: &[String]) -> Result<()> {
    let weights: Vec<usize> = runs.iter().map(|_| run_weight(world)).collect();
    let sum: usize = weights.iter().sum();
    let mut tree = Tree {
        world,
        output,
        runs,
        heads: Vec::new(),
    };
    for (run, weight) in weights.into_iter().enumerate() {
        tree.run(run, bytes / sum * weight, weight >= BIG_WEIGHT)?;
    }
    Ok(())
}

const BIG_WEIGHT: usize = 700;

/// Around 100; one in sixteen is seven times as large, and all one session.
fn run_weight(world: &mut World) -> usize {
    if world.rng.u8(..16) == 0 {
        BIG_WEIGHT
    } else {
        world.rng.usize(20..130)
    }
}

struct Tree<'a> {
    world: &'a mut World,
    output: &'a mut Output,
    runs: &'a [String],
    heads: Vec<Head>,
}

impl Tree<'_> {
    fn run(&mut self, run: usize, bytes: usize, is_one_session: bool) -> Result<()> {
        let sessions = if is_one_session {
            1
        } else {
            self.world.rng.usize(1..4)
        };
        let work = bytes / 20 * 19 / sessions;
        let mut own = Vec::new();
        for _ in 0..sessions {
            own.push(self.session(run, work)?);
        }
        let fork_bytes = bytes / 20;
        if run.is_multiple_of(3) {
            let head = own[self.world.rng.usize(..own.len())].clone();
            self.fork(run, &head, fork_bytes)?;
        }
        if run % 4 == 2 && !self.heads.is_empty() {
            let head = self.heads[self.world.rng.usize(..self.heads.len())].clone();
            self.fork(run, &head, fork_bytes)?;
        }
        if run % 4 == 3 {
            let earlier = self.world.rng.usize(..run);
            let head = own[self.world.rng.usize(..own.len())].clone();
            self.fork(earlier, &head, fork_bytes)?;
        }
        self.heads.append(&mut own);
        let surplus = self.heads.len().saturating_sub(HEADS_MAX);
        self.heads.drain(..surplus);
        Ok(())
    }

    fn session(&mut self, run: usize, bytes: usize) -> Result<Head> {
        let bytes = bytes.max(SESSION_BYTES_MIN);
        let start_ms = FIRST_DAY_MS + self.world.rng.u64(..20 * DAY_MS);
        let mut session = Session::new(self.world, run, start_ms, bytes);
        session.work(bytes);
        let finished = session.finish();
        self.write(run, finished)
    }

    fn fork(&mut self, run: usize, head: &Head, bytes: usize) -> Result<()> {
        let bytes = bytes.max(SESSION_BYTES_MIN);
        let mut session = Session::new(self.world, run, FIRST_DAY_MS, bytes);
        session.fork(head, bytes);
        let finished = session.finish();
        self.write(run, finished)?;
        Ok(())
    }

    fn write(&mut self, run: usize, session: Finished) -> Result<Head> {
        let Finished {
            id,
            head,
            content,
            side_files,
        } = session;
        let folder = format!("runs/{}/mount/{}", self.runs[run], PROJECTS[run % PROJECTS.len()]);
        if self.world.rng.u8(..20) == 0 {
            let copy = content[..content.len() / 2].to_vec();
            self.output.file(&format!("{folder}/{id}.jsonl.bak"), copy)?;
        }
        self.world.books.file(content.len());
        self.output.file(&format!("{folder}/{id}.jsonl"), content)?;
        for side in side_files {
            if side.is_read {
                self.world.books.file(side.content.len());
            }
            self.output
                .file(&format!("{folder}/{id}/{}", side.name), side.content)?;
        }
        Ok(head)
    }
}
