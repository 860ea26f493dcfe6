//! Columns as domain types, the database's clock, and the next revision.

use std::fmt::Display;
use std::str::FromStr;

use domain::Timestamp;
use domain::registry::RegistryId;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, RowIndex, Transaction};
use serde_json::Value;
use uuid::Uuid;

/// A column by its name or, where many rows are read, by its number.
pub(super) trait Column: RowIndex + Display + Copy {}

impl<C: RowIndex + Display + Copy> Column for C {}

/// Reads a text column as a type that is kept as its text.
pub(super) fn parsed<T>(row: &Row<'_>, column: impl Column) -> rusqlite::Result<T>
where
    T: FromStr<Err: Display>,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: T::Err| unreadable(column, &error))
}

/// The same of a column that may be null.
pub(super) fn parsed_option<T>(row: &Row<'_>, column: impl Column) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: Display>,
{
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => text.parse().map(Some).map_err(|error: T::Err| unreadable(column, &error)),
        None => Ok(None),
    }
}

/// A moment.
pub(super) fn moment(row: &Row<'_>, column: impl Column) -> rusqlite::Result<Timestamp> {
    at(row.get(column)?).map_err(|error| unreadable(column, &error))
}

/// The same of a column that may be null.
pub(super) fn moment_option(row: &Row<'_>, column: impl Column) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(ms) => at(ms).map(Some).map_err(|error| unreadable(column, &error)),
        None => Ok(None),
    }
}

/// A count, which is never negative.
pub(super) fn count(row: &Row<'_>, column: impl Column) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or_default())
}

/// A registry's public id.
pub(super) fn registry_id(row: &Row<'_>, column: impl Column) -> rusqlite::Result<RegistryId> {
    parsed::<Uuid>(row, column).map(RegistryId)
}

/// A document.
pub(super) fn document(row: &Row<'_>, column: impl Column) -> rusqlite::Result<Value> {
    parsed(row, column)
}

/// A value that this version cannot read.
pub(super) fn unreadable(column: impl Display, why: &dyn Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("{column}: {why}").into())
}

/// Milliseconds since 1970 as a moment.
pub(super) fn at(ms: i64) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_millisecond(ms)
}

/// A moment as milliseconds since 1970.
pub(super) fn ms(moment: Timestamp) -> i64 {
    moment.as_millisecond()
}

/// The database's clock, in milliseconds since 1970.
pub(super) fn now(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")?.query_one([], |row| row.get(0))
}

/// A number that SQLite can keep.
pub(super) fn kept(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Takes the next revision for everything that this transaction lets followers see.
pub(super) fn next_revision(tx: &Transaction<'_>) -> rusqlite::Result<i64> {
    tx.prepare_cached("UPDATE instance SET revision = revision + 1 RETURNING revision")?
        .query_one([], |row| row.get(0))
}
