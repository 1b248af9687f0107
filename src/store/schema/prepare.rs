//! Creates the tables of a new database, and checks those of an existing one.

use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata};

use super::{
    ACCOUNT_LIMITS, ACCOUNTS, DAYS, DEFERRED, DEFERRED_FILES, FILES, FIRED, FORGOTTEN, LAST_UNRELEASED,
    LATCHES, LEASE_ANSWERS, LEASE_ENDS, LEASE_KEYS, LEASES, LIMIT_EVENTS, MARKS, META, META_CREATED,
    META_SCHEMA, META_SEQUENCE, MINUTES, MODEL_DAYS, MODEL_QUARTERS, MODEL_RUNS, MODELS, NOTES, OBSERVATIONS,
    OUTBOX, PATHS, PLACE_NUMBERS, PLACES, POLLS, PROBES, QUARTERS, RECORDS, RESPONSES, ROUTE_NUMBERS, ROUTES,
    RUN_ACCOUNTS, RUN_COSTS, RUN_DAYS, RUN_INFO, RUN_PROVIDERS, RUNS, SCHEMA_VERSION, SERIES, SERIES_NUMBERS,
    SERIES_SUMS, SERVED, SESSION_COPIES, SESSION_NUMBERS, SESSION_SUMS, SESSIONS, STORED_SCHEMA, TOTALS,
    WINDOWS,
};
use crate::clock::Clock;
use crate::store::error::{DbError, StoreError, damaged};

/// Passes every table but `meta`, which holds the version of the schema, to a macro.
macro_rules! every_table {
    ($each:ident) => {
        $each!(
            NOTES,
            RUNS,
            PATHS,
            FILES,
            MODELS,
            MODEL_RUNS,
            RESPONSES,
            TOTALS,
            PLACES,
            PLACE_NUMBERS,
            ROUTES,
            ROUTE_NUMBERS,
            RECORDS,
            SERIES,
            SERIES_NUMBERS,
            SERIES_SUMS,
            QUARTERS,
            DAYS,
            RUN_DAYS,
            MODEL_QUARTERS,
            MODEL_DAYS,
            ACCOUNTS,
            RUN_ACCOUNTS,
            RUN_PROVIDERS,
            RUN_INFO,
            FORGOTTEN,
            MINUTES,
            WINDOWS,
            OBSERVATIONS,
            LIMIT_EVENTS,
            FIRED,
            MARKS,
            POLLS,
            DEFERRED,
            DEFERRED_FILES,
            ACCOUNT_LIMITS,
            SERVED,
            SESSION_NUMBERS,
            SESSIONS,
            SESSION_SUMS,
            SESSION_COPIES,
            LEASES,
            LEASE_ENDS,
            LEASE_ANSWERS,
            LEASE_KEYS,
            PROBES,
            RUN_COSTS,
            OUTBOX,
            LATCHES
        )
    };
}

/// Creates the tables of a new database; checks the schema and that every table opens. A database `in_memory`
/// begins with commit 1. Of a file that is only read, what this writes stays in memory.
pub fn prepare(database: &Database, path: &Path, in_memory: bool, clock: Clock) -> Result<(), StoreError> {
    let path_of = || path.to_owned();
    match schema(database).map_err(|error| error.at(path))? {
        StoredSchema::Nothing => create_tables(database, in_memory, clock).map_err(|error| error.at(path)),
        StoredSchema::Version(SCHEMA_VERSION) => check_tables(database).map_err(|error| error.at(path)),
        StoredSchema::Unreleased(LAST_UNRELEASED) => {
            check_tables(database).map_err(|error| error.at(path))?;
            number_as_released(database).map_err(|error| error.at(path))
        }
        StoredSchema::Version(found) => Err(StoreError::Newer {
            path: path_of(),
            found,
            known: SCHEMA_VERSION,
        }),
        StoredSchema::Unreleased(0) => Err(damaged(path, "schema 0 was never written")),
        StoredSchema::Unreleased(found) => Err(StoreError::Unreleased {
            path: path_of(),
            found,
        }),
        StoredSchema::Unknown => Err(damaged(path, "it does not say its schema")),
    }
}

/// The contents of a file.
enum StoredSchema {
    Nothing,
    Version(u64),
    /// The number that a program before the first release gave it.
    Unreleased(u64),
    /// Tables without the version of their schema.
    Unknown,
}

fn schema(database: &Database) -> Result<StoredSchema, DbError> {
    let meta = match database.begin_read()?.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(StoredSchema::Nothing),
        meta => meta?,
    };
    let Some(stored) = meta.get(META_SCHEMA)?.map(|stored| stored.value()) else {
        return Ok(StoredSchema::Unknown);
    };
    Ok(match stored.checked_sub(LAST_UNRELEASED) {
        None | Some(0) => StoredSchema::Unreleased(stored),
        Some(version) => StoredSchema::Version(version),
    })
}

/// Takes over a database of the last program before the first release: its tables and rows are those of schema 1.
fn number_as_released(database: &Database) -> Result<(), DbError> {
    let write = database.begin_write()?;
    write.open_table(META)?.insert(META_SCHEMA, STORED_SCHEMA)?;
    Ok(write.commit()?)
}

fn check_tables(database: &Database) -> Result<(), DbError> {
    let read = database.begin_read()?;
    macro_rules! opens {
        ($($table:expr),*) => { $( drop(read.open_table($table)?); )* };
    }
    every_table!(opens);
    Ok(())
}

fn create_tables(database: &Database, in_memory: bool, clock: Clock) -> Result<(), DbError> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(META_SCHEMA, STORED_SCHEMA)?;
        let created = u64::try_from(clock.now()).unwrap_or(0);
        // A commit's number is never used twice, also where a new database replaced another.
        let first = if in_memory { 0 } else { created };
        meta.insert(META_SEQUENCE, first)?;
        meta.insert(META_CREATED, created)?;
        macro_rules! make {
            ($($table:expr),*) => { $( drop(write.open_table($table)?); )* };
        }
        every_table!(make);
    }
    Ok(write.commit()?)
}

/// Bytes of the rows and of what leads to them, without the room that is left in pages. It reads every page.
pub fn used_bytes(read: &ReadTransaction) -> Result<u64, DbError> {
    let mut bytes = 0;
    macro_rules! add {
        ($($table:expr),*) => { $({
            let stats = read.open_table($table)?.stats()?;
            bytes += stats.stored_bytes() + stats.metadata_bytes();
        })* };
    }
    add!(META);
    every_table!(add);
    Ok(bytes)
}
