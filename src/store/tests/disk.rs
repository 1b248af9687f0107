//! A disk in memory that loses power, tears writes, and fails.
//!
//! A write is *live* at once and *durable* only after a sync. When the power fails, any part of the unsynced
//! writes may still be durable: whole writes, parts of them, none, in any mixture.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::sync::lock;

/// `EIO`: the disk returns an error.
pub const EIO: i32 = 5;
/// `ENOSPC`: the disk is full.
pub const ENOSPC: i32 = 28;
/// Sizes of atomic writes, in bytes.
const ATOMS: [usize; 3] = [1, 512, 4096];
/// `EFBIG`: a file cannot be that long.
const EFBIG: i32 = 27;
/// The size of the largest disk, in bytes.
const LENGTH_MAX: u64 = 1 << 30;

/// Fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The power fails at the operation of this number; every operation fails until [`Disk::boot`].
    Crash { at: u64 },
    /// This number of operations, from number `at` on, fails with this error.
    Fault { at: u64, count: u64, error: i32 },
}

/// Faults that occurred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub crashes: u64,
    pub faults: u64,
    /// Writes that were not synced when the power failed, by their outcome.
    pub lost: u64,
    pub torn: u64,
    pub kept: u64,
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Plates>>);

#[derive(Debug)]
struct Plates {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Changes that are live and not durable, oldest first.
    pending: Vec<Change>,
    /// Operations since the last [`Disk::expect`].
    operations: u64,
    trouble: Option<Trouble>,
    is_down: bool,
    ignores_sync: bool,
    random: fastrand::Rng,
    tally: Tally,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Disk {
    /// A disk with durable contents. One that ignores syncs acknowledges syncs it did not do, as some disks
    /// do.
    pub fn new(image: &[u8], ignores_sync: bool, random: fastrand::Rng) -> Self {
        Self(Arc::new(Mutex::new(Plates {
            live: image.to_vec(),
            durable: image.to_vec(),
            pending: Vec::new(),
            operations: 0,
            trouble: None,
            is_down: false,
            ignores_sync,
            random,
            tally: Tally::default(),
        })))
    }

    fn plates(&self) -> MutexGuard<'_, Plates> {
        lock(&self.0)
    }

    /// Counts operations from zero and sets the fault to inject.
    pub fn expect(&self, trouble: Option<Trouble>) {
        let mut plates = self.plates();
        plates.operations = 0;
        plates.trouble = trouble;
    }

    /// True if the power failed.
    pub fn is_down(&self) -> bool {
        self.plates().is_down
    }

    /// The power returns: only durable contents remain, and no fault is planned.
    pub fn boot(&self) {
        let mut plates = self.plates();
        plates.lose_power();
        plates.is_down = false;
        plates.trouble = None;
    }

    /// Empties it, as setting a damaged file aside does.
    pub fn wipe(&self) {
        let mut plates = self.plates();
        plates.live.clear();
        plates.durable.clear();
        plates.pending.clear();
    }

    /// The durable contents.
    pub fn image(&self) -> Vec<u8> {
        self.plates().durable.clone()
    }

    pub fn is_empty(&self) -> bool {
        self.plates().live.is_empty()
    }

    pub fn tally(&self) -> Tally {
        self.plates().tally
    }
}

impl Plates {
    /// Counts an operation; an error if it fails. A full disk can still be read.
    fn operate(&mut self, writes: bool) -> io::Result<()> {
        if self.is_down {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.operations += 1;
        match self.trouble {
            Some(Trouble::Crash { at }) if self.operations >= at => {
                self.is_down = true;
                self.tally.crashes += 1;
                Err(io::Error::from_raw_os_error(EIO))
            }
            Some(Trouble::Fault { at, count, error })
                if (at..at + count).contains(&self.operations) && (writes || error != ENOSPC) =>
            {
                self.tally.faults += 1;
                Err(io::Error::from_raw_os_error(error))
            }
            _ => Ok(()),
        }
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &change);
        }
    }

    /// Makes any part of the unsynced writes durable.
    fn lose_power(&mut self) {
        // All, none, or each by chance.
        let odds = [0.0, 0.5, 0.9, 1.0][self.random.usize(..4)];
        let tears = self.random.bool();
        for change in std::mem::take(&mut self.pending) {
            if self.random.f64() >= odds {
                self.tally.lost += 1;
                continue;
            }
            match change {
                Change::Write { at, bytes } if tears && self.random.bool() => {
                    self.tally.torn += 1;
                    let atom = ATOMS[self.random.usize(..ATOMS.len())];
                    for (number, part) in bytes.chunks(atom).enumerate() {
                        if self.random.bool() {
                            let at = at + number * atom;
                            write(&mut self.durable, at, part);
                        }
                    }
                }
                change => {
                    self.tally.kept += 1;
                    apply(&mut self.durable, &change);
                }
            }
        }
        self.live.clone_from(&self.durable);
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => write(image, *at, bytes),
        Change::Length(length) => image.resize(*length, 0),
    }
}

fn write(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[at..end].copy_from_slice(bytes);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("the disk is in memory")
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut plates = self.plates();
        plates.operate(false)?;
        Ok(plates.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut plates = self.plates();
        plates.operate(false)?;
        let at = index(offset);
        let bytes = plates.live.get(at..at.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > LENGTH_MAX {
            return Err(io::Error::from_raw_os_error(EFBIG));
        }
        let mut plates = self.plates();
        let change = Change::Length(index(length));
        let worked = plates.operate(true);
        // A part of the operation in progress when the power failed may be durable.
        if worked.is_ok() || plates.is_down {
            apply(&mut plates.live, &change);
            plates.pending.push(change);
        }
        worked
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut plates = self.plates();
        plates.operate(true)?;
        if !plates.ignores_sync {
            plates.sync();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut plates = self.plates();
        let change = Change::Write {
            at: index(offset),
            bytes: data.to_vec(),
        };
        let was_down = plates.is_down;
        let worked = plates.operate(true);
        if worked.is_ok() || (plates.is_down && !was_down) {
            apply(&mut plates.live, &change);
            plates.pending.push(change);
        }
        worked
    }
}

#[test]
fn what_was_synced_stays_and_what_was_not_may_be_there_in_part() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = Disk::new(b"old.", false, fastrand::Rng::with_seed(seed));
        disk.write(0, b"safe").unwrap();
        disk.sync_data().unwrap();
        disk.write(2, b"new!").unwrap();
        disk.expect(Some(Trouble::Crash { at: 1 }));
        assert!(disk.write(6, b"x").is_err() && disk.is_down() && disk.sync_data().is_err());
        disk.boot();
        let image = disk.image();
        assert_eq!(&image[..2], b"sa");
        ends.insert(image);
    }
    for end in [&b"safe"[..], b"sanew!", b"sanew!x"] {
        assert!(ends.contains(end), "{ends:?}");
    }
    assert!(ends.iter().any(|end| end.starts_with(b"safew")), "torn: {ends:?}");

    let disk = Disk::new(b"", false, fastrand::Rng::with_seed(0));
    disk.expect(Some(Trouble::Fault {
        at: 2,
        count: 1,
        error: ENOSPC,
    }));
    disk.write(0, b"a").unwrap();
    let full = disk.write(1, b"b").unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    disk.write(1, b"c").unwrap();
    assert_eq!((disk.image().len(), disk.len().unwrap()), (0, 2));
}
