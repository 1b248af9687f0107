//! The rows of responses and of the series by which their sums are kept.

use std::sync::Arc;

use super::codec::{Coded, RowError, RowReader, RowWriter, Stored, codes, layout, row};
use crate::dedup::{Response, Totals};
use crate::model::{
    Dating, Dialect, Geography, Kind, Millis, ModelNumber, PlaceNumber, PriceClass, PromptSize, Rank,
    RouteNames, RouteNumber, RunNumber, SeriesNumber, Service, SessionNumber, SessionPlace, Speed, Tier,
    Usage,
};

row! {
    /// A counted response. `flags`: bit 0 advisor, bits 1-2 rank, bits 3-5 dating, bits 6-8 tier,
    /// bit 9 unfinished, bit 10 copies in other sessions, bit 11 duplicate of what is counted under another key,
    /// bit 12 fast, bit 13 in the United States, bit 14 estimated.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ResponseRow {
        flags: u16,
        /// The run and the model are those of the series.
        pub series: SeriesNumber,
        pub session: SessionNumber,
        pub time: Millis,
        usage: [u64; 8],
    }
}

/// The contents of a row apart from its series.
#[derive(Clone, Copy)]
pub struct ResponseParts {
    pub kind: Kind,
    pub rank: Rank,
    pub service: Service,
    pub dating: Dating,
    pub usage: Usage,
    pub is_final: bool,
    pub session: SessionNumber,
    pub is_shared: bool,
    pub is_estimated: bool,
}

/// Bits of `flags` that are used.
const FLAGS_BITS: u32 = 15;

impl ResponseRow {
    #[must_use]
    pub fn new(parts: &ResponseParts, series: SeriesNumber, time: Millis) -> Self {
        let service = parts.service;
        Self {
            flags: u16::from(parts.kind == Kind::Advisor)
                | (u16::from(parts.rank.code()) << 1)
                | (u16::from(parts.dating.code()) << 3)
                | (u16::from(service.tier.code()) << 6)
                | (u16::from(!parts.is_final) << 9)
                | (u16::from(parts.is_shared) << 10)
                | (u16::from(parts.kind == Kind::Duplicate) << 11)
                | (u16::from(service.speed.code()) << 12)
                | (u16::from(service.geography.code()) << 13)
                | (u16::from(parts.is_estimated) << 14),
            series,
            session: parts.session,
            time,
            usage: parts.usage.to_array(),
        }
    }

    /// The decoded fields of the row.
    ///
    /// # Errors
    /// The flags hold values that no version wrote.
    pub fn parts(&self) -> Result<ResponseParts, RowError> {
        if self.flags >> FLAGS_BITS != 0 {
            return Err(RowError::Range("flags"));
        }
        let bits = |place: u32, mask: u8| (self.flags >> place).to_le_bytes()[0] & mask;
        Ok(ResponseParts {
            kind: match (bits(0, 1), bits(11, 1)) {
                (0, 0) => Kind::Message,
                (1, 0) => Kind::Advisor,
                (0, 1) => Kind::Duplicate,
                _ => return Err(RowError::Range("flags")),
            },
            rank: Rank::of_code(bits(1, 3))?,
            dating: Dating::of_code(bits(3, 7))?,
            service: Service {
                tier: Tier::of_code(bits(6, 7))?,
                speed: Speed::of_code(bits(12, 1))?,
                geography: Geography::of_code(bits(13, 1))?,
            },
            usage: Usage::from_array(self.usage),
            is_final: bits(9, 1) == 0,
            session: self.session,
            is_shared: bits(10, 1) == 1,
            is_estimated: bits(14, 1) == 1,
        })
    }

    /// The response of this row, whose series is of this run and of the model of this name.
    ///
    /// # Errors
    /// As [`ResponseRow::parts`].
    pub fn response(&self, run: RunNumber, model: Arc<str>) -> Result<Response, RowError> {
        let ResponseParts {
            kind,
            rank,
            service,
            dating,
            usage,
            is_final,
            session,
            is_shared,
            is_estimated,
        } = self.parts()?;
        Ok(Response {
            kind,
            rank,
            service,
            model,
            usage,
            run,
            time: self.time,
            dating,
            is_final,
            session,
            is_shared,
            is_estimated,
        })
    }
}

row! {
    /// A series: the properties shared by the responses whose sums are in one row.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct SeriesRow {
        pub run: RunNumber,
        /// Its session and project.
        pub place: PlaceNumber,
        pub account: u32,
        pub model: ModelNumber,
        /// The names that a router gave; 0 for none.
        pub route: RouteNumber,
        /// The agent that wrote the transcript; `None` for posted records.
        pub dialect: Option<Dialect>,
        pub class: PriceClass,
    }
}

/// The key of `series_numbers`: run, place, account, model, route, dialect, price class.
pub type SeriesKey = (u32, u32, u32, u32, u32, u8, u8);

/// The byte of no dialect in a [`SeriesKey`].
const NO_DIALECT: u8 = u8::MAX;

/// The key of sums over all runs and places: quarter of an hour or day, account, model, dialect, price class.
pub type ModelSumKey = (u32, u32, u32, u8, u8);

impl SeriesRow {
    /// The key of the sums over all runs and places that its sums at this time are part of.
    #[must_use]
    pub fn model_key(&self, time: u32) -> ModelSumKey {
        let dialect = self.dialect.map_or(NO_DIALECT, Coded::code);
        let class = class_code(self.class);
        (time, self.account, self.model, dialect, class)
    }

    /// The time of such a key, and a series with its parts: without a run, a place and a route.
    ///
    /// # Errors
    /// The key holds values that no version wrote.
    pub fn of_model_key(key: ModelSumKey) -> Result<(u32, Self), RowError> {
        let (time, account, model, dialect, class) = key;
        let series = Self {
            run: 0,
            place: 0,
            account,
            model,
            route: 0,
            dialect: (dialect != NO_DIALECT)
                .then(|| Dialect::of_code(dialect))
                .transpose()?,
            class: class_of(class)?,
        };
        Ok((time, series))
    }

    /// Its key in `series_numbers`.
    #[must_use]
    pub fn key(&self) -> SeriesKey {
        let dialect = self.dialect.map_or(NO_DIALECT, Coded::code);
        let class = class_code(self.class);
        (
            self.run,
            self.place,
            self.account,
            self.model,
            self.route,
            dialect,
            class,
        )
    }
}

row! {
    /// A session and its project, as named by paths.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PlaceRow {
        session: Box<str>,
        project: Option<Box<str>>,
    }
}

impl PlaceRow {
    #[must_use]
    pub fn new(place: &SessionPlace) -> Self {
        Self {
            session: place.session.clone(),
            project: place.project.clone(),
        }
    }

    #[must_use]
    pub fn place(self) -> SessionPlace {
        SessionPlace {
            session: self.session,
            project: self.project,
        }
    }
}

row! {
    /// The names that a router gave to calls.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RouteRow {
        pub names: RouteNames,
    }
}

row! {
    /// A posted record: what tells a repetition from another content, and its parts of the sums that do not
    /// follow from its response.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordRow {
        /// A hash of the record as it was posted.
        pub content: u64,
        /// The time of the parts.
        pub at: Millis,
        pub parts: Vec<RecordPart>,
    }
}

/// The part of a record in the sums of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPart {
    pub series: SeriesNumber,
    pub fallbacks: u32,
    pub failed_attempts: u32,
}

impl RecordPart {
    /// Its contribution to the sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            fallbacks: self.fallbacks.into(),
            failed_attempts: self.failed_attempts.into(),
            ..Totals::default()
        }
    }
}

// Layouts of the parts of rows.

layout!(RouteNames {
    profile: Option<Box<str>>,
    route: Option<Box<str>>,
    instance: Option<Box<str>>,
});

layout!(RecordPart {
    series: u32,
    fallbacks: u32,
    failed_attempts: u32,
});

/// Bits 0-1 prompt, bit 2 speed, bit 3 geography, bits 4-6 tier.
fn class_code(class: PriceClass) -> u8 {
    let service = class.service;
    class.prompt.code()
        | (service.speed.code() << 2)
        | (service.geography.code() << 3)
        | (service.tier.code() << 4)
}

fn class_of(code: u8) -> Result<PriceClass, RowError> {
    Ok(PriceClass {
        prompt: PromptSize::of_code(code & 3)?,
        service: Service {
            speed: Speed::of_code((code >> 2) & 1)?,
            geography: Geography::of_code((code >> 3) & 1)?,
            tier: Tier::of_code(code >> 4)?,
        },
    })
}

impl Stored for PriceClass {
    fn write(&self, to: &mut RowWriter) -> Result<(), RowError> {
        class_code(*self).write(to)
    }

    fn read(from: &mut RowReader<'_>) -> Result<Self, RowError> {
        class_of(u8::read(from)?)
    }
}

codes!(Dialect, "dialect" {
    Claude = 0,
    Codex = 1,
    Pi = 2,
    Gemini = 3,
    Qwen = 4,
});

codes!(PromptSize, "prompt" {
    UpTo100k = 0,
    UpTo200k = 1,
    UpTo272k = 2,
    More = 3,
});

codes!(Speed, "speed" {
    Standard = 0,
    Fast = 1,
});

codes!(Geography, "geography" {
    Other = 0,
    Us = 1,
});

codes!(Rank, "rank" {
    Progress = 0,
    Sidechain = 1,
    Main = 2,
    Posted = 3,
});

codes!(Dating, "dating" {
    Line = 0,
    Audit = 1,
    Nearby = 2,
    Written = 3,
    Unknown = 4,
    Posted = 5,
    Received = 6,
});

codes!(Tier, "tier" {
    Unknown = 0,
    Standard = 1,
    Priority = 2,
    Batch = 3,
    Other = 4,
    Flex = 5,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::codec::{decode, encode};

    #[test]
    fn rows_come_back_as_they_went() {
        let parts = ResponseParts {
            kind: Kind::Advisor,
            rank: Rank::Main,
            service: Service {
                tier: Tier::Other,
                speed: Speed::Fast,
                geography: Geography::Us,
            },
            dating: Dating::Unknown,
            usage: Usage {
                input: 1,
                output: i64::MAX as u64,
                thinking: 9,
                ..Usage::default()
            },
            is_final: false,
            session: 70_000,
            is_shared: true,
            is_estimated: true,
        };
        let row = ResponseRow::new(&parts, 70_000, 1_791_190_800_000);
        let bytes = encode(&row).unwrap();
        assert!(bytes.len() <= 34, "a response row of {} bytes", bytes.len());
        let back: ResponseRow = decode(&bytes).unwrap();
        assert_eq!(back, row);
        let got = back.parts().unwrap();
        assert_eq!(
            (got.kind, got.rank, got.service, got.dating),
            (Kind::Advisor, Rank::Main, parts.service, Dating::Unknown)
        );
        assert_eq!(got.usage, parts.usage);
        for kind in [Kind::Message, Kind::Advisor, Kind::Duplicate] {
            let row = ResponseRow::new(&ResponseParts { kind, ..parts }, 7, 0);
            assert_eq!(row.parts().unwrap().kind, kind);
        }
    }
}
