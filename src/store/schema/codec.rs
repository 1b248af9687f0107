//! Rows to bytes and back: one byte of version, then the fields in order, in the postcard wire format.

use postcard::de_flavors::Slice;
use postcard::ser_flavors::{ExtendFlavor, Flavor as _};
use serde::{Deserialize as _, Serialize as _};

/// The version byte of every row written now.
const ROW_VERSION: u8 = 1;

/// Reason for which a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("an empty row")]
    Empty,
    #[error("a row of version {0}, this program knows {ROW_VERSION}")]
    Version(u8),
    #[error("a row whose bytes make no sense: {0}")]
    Bytes(#[from] postcard::Error),
    #[error("a row with {0} bytes after its end")]
    Rest(usize),
    #[error("a row with {0} out of range")]
    Range(&'static str),
}

/// The end of a row that is being written.
pub type RowWriter = postcard::Serializer<ExtendFlavor<Vec<u8>>>;
/// The rest of a row that is being read.
pub type RowReader<'b> = postcard::Deserializer<'b, Slice<'b>>;

/// A type with a layout on disk. Those of rows are in `rows.rs`, each field written out.
pub trait Stored: Sized {
    /// Appends the value.
    ///
    /// # Errors
    /// None for the types of this module; the type of the serializer allows errors.
    fn write(&self, to: &mut RowWriter) -> Result<(), RowError>;

    /// Reads a value from the beginning.
    ///
    /// # Errors
    /// There is no such value.
    fn read(from: &mut RowReader<'_>) -> Result<Self, RowError>;
}

/// Writes a row.
///
/// # Errors
/// As [`Stored::write`].
pub fn encode<R: Stored>(row: &R) -> Result<Vec<u8>, RowError> {
    encode_after(Vec::with_capacity(64), row)
}

/// Appends a row to the buffer, whose contents are lost on an error.
///
/// # Errors
/// As [`encode`].
pub fn encode_after<R: Stored>(mut bytes: Vec<u8>, row: &R) -> Result<Vec<u8>, RowError> {
    bytes.push(ROW_VERSION);
    let mut to = RowWriter {
        output: ExtendFlavor::new(bytes),
    };
    row.write(&mut to)?;
    Ok(to.output.finalize()?)
}

/// Reads a row.
///
/// # Errors
/// The bytes are of another version, or are not such a row.
pub fn decode<R: Stored>(bytes: &[u8]) -> Result<R, RowError> {
    match bytes.split_first() {
        None => Err(RowError::Empty),
        Some((&ROW_VERSION, fields)) => {
            let mut from = RowReader::from_bytes(fields);
            let row = R::read(&mut from)?;
            match from.finalize()? {
                [] => Ok(row),
                rest => Err(RowError::Rest(rest.len())),
            }
        }
        Some((&version, _)) => Err(RowError::Version(version)),
    }
}

/// Types whose layout postcard specifies.
macro_rules! specified {
    ($($type:ty),+ $(,)?) => { $(
        impl Stored for $type {
            fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
                Ok(self.serialize(to)?)
            }

            fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
                Ok(Self::deserialize(from)?)
            }
        }
    )+ };
}

specified!(
    bool,
    u8,
    u16,
    u32,
    u64,
    i64,
    i128,
    f64,
    [u64; 4],
    [u64; 8],
    Box<[u8]>,
    Box<str>,
    std::collections::BTreeMap<Box<str>, Box<str>>,
);

/// `0`, or `1` and the value.
impl<T: Stored> Stored for Option<T> {
    fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
        match self {
            None => 0u8.write(to),
            Some(value) => {
                1u8.write(to)?;
                value.write(to)
            }
        }
    }

    fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
        match u8::read(from)? {
            0 => Ok(None),
            1 => Ok(Some(T::read(from)?)),
            _ => Err(postcard::Error::DeserializeBadOption.into()),
        }
    }
}

/// The number of values, then the values.
impl<T: Stored> Stored for Vec<T> {
    fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
        (self.len() as u64).write(to)?;
        self.iter().try_for_each(|value| value.write(to))
    }

    fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
        // No memory is reserved by a count that damage may have made large: the bytes end before.
        (0..u64::read(from)?).map(|_| T::read(from)).collect()
    }
}

/// Elements in order.
impl<A: Stored, B: Stored> Stored for (A, B) {
    fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
        self.0.write(to)?;
        self.1.write(to)
    }

    fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

/// A type of a fixed list of values, each of which has a number on disk.
pub trait Coded: Sized {
    /// The number of a value.
    fn code(self) -> u8;

    /// The value of a number.
    ///
    /// # Errors
    /// When no value has this number.
    fn of_code(code: u8) -> Result<Self, RowError>;
}

/// Defines the numbers of an enum's values, and its layout: one byte.
macro_rules! codes {
    ($type:ident, $what:literal { $($value:ident = $code:literal),+ $(,)? }) => {
        impl Coded for $type {
            fn code(self) -> u8 {
                match self {
                    $(Self::$value => $code,)+
                }
            }

            fn of_code(code: u8) -> Result<Self, RowError> {
                match code {
                    $($code => Ok(Self::$value),)+
                    _ => Err(RowError::Range($what)),
                }
            }
        }

        impl Stored for $type {
            fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
                self.code().write(to)
            }

            fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
                Self::of_code(u8::read(from)?)
            }
        }
    };
}

/// Defines the layout of a struct: its fields in their order on disk, which need not be that of the struct.
/// Fields that are not stored are named behind `without`, and are read as their default.
macro_rules! layout {
    ($type:ident { $($field:tt: $kind:ty),+ $(,)? } $(without $($left_out:ident),+)?) => {
        impl Stored for $type {
            fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
                $(<$kind as Stored>::write(&self.$field, to)?;)+
                Ok(())
            }

            fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
                Ok(Self {
                    $($field: <$kind as Stored>::read(from)?,)+
                    $($($left_out: Default::default(),)+)?
                })
            }
        }
    };
}

/// Defines the struct of a row, and its layout: the same fields in the same order.
macro_rules! row {
    (
        $(#[$of_struct:meta])*
        pub struct $name:ident { $($(#[$of_field:meta])* $visible:vis $field:ident: $kind:ty,)+ }
    ) => {
        $(#[$of_struct])*
        pub struct $name {
            $($(#[$of_field])* $visible $field: $kind,)+
        }

        layout!($name { $($field: $kind),+ });
    };
}

pub(super) use {codes, layout, row};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::rows::{LimitEventRow, RunRow};

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(decode::<RunRow>(b""), Err(RowError::Empty)));
        assert!(matches!(decode::<RunRow>(b"\x09abc"), Err(RowError::Version(9))));
        assert!(matches!(decode::<RunRow>(b"\x01"), Err(RowError::Bytes(_))));
        assert!(decode::<RunRow>(b"\x01\x07\x00\x02").is_ok());
        assert!(matches!(
            decode::<RunRow>(b"\x01\x07\x00\x02\x00"),
            Err(RowError::Rest(1))
        ));
        assert!(decode::<LimitEventRow>(b"\x01\x00\x09\x00\x00\x02").is_ok());
        assert!(matches!(
            decode::<LimitEventRow>(b"\x01\x00\xff\x00\x00\x02"),
            Err(RowError::Range("source"))
        ));
        assert!(matches!(
            decode::<LimitEventRow>(b"\x01\x02\x09\x00\x00\x02"),
            Err(RowError::Bytes(_))
        ));
    }
}
