//! The value of a response's key: its row or, once its details were pruned, a tombstone.
//!
//! A tombstone has a version byte of its own and two bytes, the shortest row that still has its age.

use super::codec::{RowError, decode};
use super::series::ResponseRow;
use crate::model::{DAY_MS, Millis};

/// The version byte of a tombstone; other rows begin with that of their layout.
const TOMBSTONE_VERSION: u8 = 2;

/// The rest of a pruned response: its copies are recognised by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The UTC day of the response since 1970.
    pub day: u32,
    /// True if it is one of the calls in the sums.
    pub is_counted: bool,
}

impl Tombstone {
    /// Its bytes: the version, then the day doubled, plus one if it is counted, the lower byte first. The last day
    /// is in 2059; later ones are stored as that one.
    #[must_use]
    pub fn encode(self) -> [u8; 3] {
        let day = u16::try_from(self.day).unwrap_or(u16::MAX).min(u16::MAX >> 1);
        let [low, high] = ((day << 1) | u16::from(self.is_counted)).to_le_bytes();
        [TOMBSTONE_VERSION, low, high]
    }
}

/// The value of a key in `responses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Counted(ResponseRow),
    Pruned(Tombstone),
}

impl KeyState {
    /// Reads a row of `responses`.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        match bytes {
            [TOMBSTONE_VERSION, low, high] => {
                let value = u16::from_le_bytes([*low, *high]);
                Ok(Self::Pruned(Tombstone {
                    day: u32::from(value >> 1),
                    is_counted: value & 1 == 1,
                }))
            }
            bytes => decode(bytes).map(Self::Counted),
        }
    }

    /// The row of a response that was not pruned.
    #[must_use]
    pub fn counted(self) -> Option<ResponseRow> {
        match self {
            Self::Counted(row) => Some(row),
            Self::Pruned(_) => None,
        }
    }
}

/// The UTC day of a time, since 1970; times before that are of its first day.
#[must_use]
pub fn day_of(time: Millis) -> u32 {
    u32::try_from(time.max(0) / DAY_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_come_back_as_they_went() {
        for day in [0, 1, 20_787, 32_767] {
            for is_counted in [false, true] {
                let tombstone = Tombstone { day, is_counted };
                let back = KeyState::decode(&tombstone.encode()).unwrap();
                assert_eq!(back, KeyState::Pruned(tombstone));
                assert_eq!(back.counted(), None);
            }
        }
        let late = Tombstone {
            day: 70_000,
            is_counted: true,
        };
        let KeyState::Pruned(back) = KeyState::decode(&late.encode()).unwrap() else {
            panic!("no tombstone");
        };
        assert_eq!((back.day, back.is_counted), (32_767, true));
    }

    #[test]
    fn foreign_bytes_are_no_tombstone() {
        assert!(matches!(KeyState::decode(b""), Err(RowError::Empty)));
        for bytes in [&b"\x02"[..], b"\x02\x00", b"\x02\x00\x00\x00"] {
            assert!(matches!(KeyState::decode(bytes), Err(RowError::Version(2))));
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        for (time, day) in [
            (-1, 0),
            (0, 0),
            (DAY_MS - 1, 0),
            (DAY_MS, 1),
            (i64::MAX, u32::MAX),
        ] {
            assert_eq!(day_of(time), day, "{time}");
        }
    }
}
