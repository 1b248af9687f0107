//! Files on disk: each at once, or all of them growing together in small slices.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;

pub struct Output {
    root: PathBuf,
    /// With steps the whole tree is held in memory until `finish`.
    steps: Option<Steps>,
    held: Vec<(PathBuf, Vec<u8>)>,
}

#[derive(Clone, Copy)]
pub struct Steps {
    pub count: usize,
    pub pause: Duration,
    pub seed: u64,
}

impl Output {
    pub fn create(root: &Path, steps: Option<Steps>) -> Result<Self> {
        let runs = root.join("runs");
        if runs.exists() {
            bail!(
                "{} exists already: choose another OUT, or remove it first",
                runs.display()
            );
        }
        fs::create_dir_all(&runs).with_context(|| format!("cannot create {}", runs.display()))?;
        Ok(Self {
            root: root.to_owned(),
            steps,
            held: Vec::new(),
        })
    }

    pub fn file(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        let path = self.root.join(name);
        if self.steps.is_some() {
            self.held.push((path, content));
            return Ok(());
        }
        append(&path, &content)
    }

    pub fn finish(self) -> Result<()> {
        let Some(steps) = self.steps else {
            return Ok(());
        };
        let mut rng = Rng::with_seed(steps.seed);
        let mut files: Vec<Growing> = self
            .held
            .into_iter()
            .map(|(path, content)| Growing::new(path, content, steps.count, &mut rng))
            .collect();
        for step in 1..=steps.count {
            for file in &mut files {
                file.grow(step, steps.count, &mut rng)?;
            }
            #[expect(clippy::disallowed_methods, reason = "the pause is what was asked for")]
            std::thread::sleep(steps.pause);
        }
        Ok(())
    }
}

struct Growing {
    path: PathBuf,
    content: Vec<u8>,
    written: usize,
    first_step: usize,
}

impl Growing {
    fn new(path: PathBuf, content: Vec<u8>, steps: usize, rng: &mut Rng) -> Self {
        Self {
            path,
            content,
            written: 0,
            first_step: rng.usize(1..=steps.div_ceil(2)),
        }
    }

    /// Up to the same share of the file as of its steps, give or take a slice: any byte may be the last.
    fn grow(&mut self, step: usize, steps: usize, rng: &mut Rng) -> Result<()> {
        if step < self.first_step {
            return Ok(());
        }
        let slice = self.content.len() / (steps + 1 - self.first_step);
        let target = if step == steps {
            self.content.len()
        } else {
            slice * (step - self.first_step) + rng.usize(..=slice)
        };
        let end = target.max(self.written);
        if end > self.written || step == steps {
            append(&self.path, &self.content[self.written..end])?;
            self.written = end;
        }
        Ok(())
    }
}

fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(bytes)
        .with_context(|| format!("cannot write {}", path.display()))
}
