//! Faults: the runs each reaches, the reasons that health must and may have, and incompatible ones.

use crate::scene::{Scene, runs_in_mount, some_runs};

/// Faults, from beginning to end. Those without a duration are over at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server of this mount does not answer.
    HungMount(usize),
    /// The disk of the database is full.
    FullState,
    /// Another filesystem is mounted over the directory of the database.
    CoveredState,
    /// The disk of some runs is full.
    FullRuns,
    /// Nobody reads the log, temporarily or until the next start.
    UnreadLog,
    ClosedLog,
    MovedRun(String),
    MovedRunsDirectory,
    RemovedSocket,
    RemovedConfiguration,
    /// The clock is moved, as faketime writes it.
    Clock(&'static str),
    /// Its limit of open files is lowered to those it has.
    FewFiles,
    /// SIGSTOP, SIGCONT.
    Frozen,
    /// SIGHUP.
    Reload,
    /// SIGTERM, and a new start.
    Restart,
    /// SIGTERM twice, and a new start.
    HastyRestart,
    /// SIGKILL, and a new start.
    Kill,
}

/// Runs whose lines may wait.
pub enum Reach {
    All,
    Runs(Vec<String>),
    None,
}

/// Before every accepted time.
const CLOCK_LONG_PAST: &str = "-20000d";

/// Between an error of the database and the next try.
const CLOSED: &str = "is closed after an error and not open again yet";

use Trouble as T;

impl Trouble {
    pub fn reach(&self, scene: &Scene) -> Reach {
        match self {
            T::HungMount(number) => Reach::Runs(runs_in_mount(*number)),
            T::MovedRun(run) => Reach::Runs(vec![run.clone()]),
            T::MovedRunsDirectory => Reach::Runs(scene.runs_in_runs_directory()),
            T::FullState
            | T::CoveredState
            | T::FewFiles
            | T::Frozen
            | T::Restart
            | T::HastyRestart
            | T::Kill => Reach::All,
            T::FullRuns
            | T::UnreadLog
            | T::ClosedLog
            | T::RemovedSocket
            | T::RemovedConfiguration
            | T::Clock(_)
            | T::Reload => Reach::None,
        }
    }

    /// Its duration in milliseconds; `None` if it is over at once.
    pub fn lasts_ms(&self) -> Option<(u64, u64)> {
        match self {
            T::Reload | T::Restart | T::HastyRestart | T::Kill => None,
            T::Frozen => Some((200, 4_000)),
            // It is made again within this time.
            T::RemovedSocket => Some((10_000, 11_000)),
            _ => Some((500, 13_000)),
        }
    }

    /// Words of health's reasons for it.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            T::FullState => &["no room for the database", CLOSED],
            T::CoveredState => &["is not mounted there any more", CLOSED],
            T::MovedRunsDirectory => &["the runs directory"],
            T::RemovedConfiguration => &["is gone"],
            T::Clock(CLOCK_LONG_PAST) => &["the clock of this machine"],
            T::FewFiles => &["open files"],
            _ => &[],
        }
    }

    /// Reasons that health must have within its time, however little is written.
    pub fn demanded(&self) -> Vec<String> {
        match self {
            T::HungMount(number) => runs_in_mount(*number).iter().map(|run| reason_of(run)).collect(),
            T::CoveredState | T::MovedRunsDirectory | T::RemovedConfiguration | T::Clock(CLOCK_LONG_PAST) => {
                self.words()
                    .iter()
                    .take(1)
                    .map(|words| (*words).to_owned())
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// True if the collector may not answer meanwhile, or only with 503.
    pub fn is_silent(&self) -> bool {
        matches!(self, T::Frozen | T::RemovedSocket | T::FewFiles) || self.is_an_end()
    }

    fn is_an_end(&self) -> bool {
        matches!(self, T::Restart | T::HastyRestart | T::Kill)
    }

    pub fn goes_with(&self, other: &Self) -> bool {
        !self.excludes(other) && !other.excludes(self)
    }

    fn excludes(&self, other: &Self) -> bool {
        match self {
            T::HungMount(_) => false,
            T::MovedRunsDirectory => matches!(other, T::MovedRunsDirectory | T::MovedRun(_)),
            // Without them it does not start, or starts with others.
            T::FullState | T::CoveredState => {
                other.is_an_end() || matches!(other, T::FullState | T::CoveredState)
            }
            // A reload without one is refused until the next reload.
            T::RemovedConfiguration => {
                other.is_an_end() || matches!(other, T::RemovedConfiguration | T::Reload)
            }
            T::Frozen => other.is_an_end() || self == other,
            // A socket needs a descriptor.
            T::FewFiles => matches!(other, T::FewFiles | T::RemovedSocket),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

fn reason_of(run: &str) -> String {
    format!("run {run}: ")
}

/// Every fault that is possible on this machine.
pub fn deck(scene: &Scene) -> Vec<Trouble> {
    let mut deck = vec![
        T::FullState,
        T::CoveredState,
        T::FullRuns,
        T::UnreadLog,
        T::ClosedLog,
        T::MovedRunsDirectory,
        T::RemovedSocket,
        T::RemovedConfiguration,
        T::FewFiles,
        T::Frozen,
        T::Reload,
        T::Restart,
        T::HastyRestart,
        T::Kill,
    ];
    deck.extend((0..scene.mounts()).map(T::HungMount));
    deck.extend(some_runs().into_iter().map(T::MovedRun));
    if scene.has_clock() {
        deck.extend(["+1d", "-1d", CLOCK_LONG_PAST].map(T::Clock));
    }
    deck
}
