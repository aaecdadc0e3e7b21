//! Rows on their way to the database: many in one statement, in SQL that SQLite and PostgreSQL both understand.
//!
//! Only the placeholders differ here. SQLite takes `$1` too, but as a name that it looks up by walking through all
//! names, and sqlx asks for each one: the time of a statement then grows with the square of its values (2,048 of them
//! made writing five times slower).

use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{AnyConnection, AssertSqlSafe};
use std::fmt::Write as _;

/// The most values in one statement: half of what the smaller limit, SQLite's, allows.
const VALUES_MAX: usize = 16_384;
/// The most rows in one statement: more of them save nothing.
const ROWS_MAX: usize = 256;

/// How a statement refers to its values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholders {
    /// `?`, for SQLite.
    Anonymous,
    /// `$1`, for PostgreSQL.
    Numbered,
}

impl Placeholders {
    /// A list of `count` places, the first of which is number `first`.
    fn list(self, first: usize, count: usize) -> String {
        let places = (first..first.saturating_add(count)).map(|place| match self {
            Self::Anonymous => "?".to_owned(),
            Self::Numbered => format!("${place}"),
        });
        places.collect::<Vec<_>>().join(", ")
    }
}

/// A value for a column.
pub(crate) enum Value {
    Text(String),
    OptionalText(Option<String>),
    Int(i64),
    OptionalInt(Option<i64>),
    Bytes(Vec<u8>),
}

impl Value {
    /// Its bytes, roughly.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::OptionalText(Some(text)) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Int(_) | Self::OptionalInt(_) | Self::OptionalText(None) => 8,
        }
    }
}

/// Where rows go.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The primary key.
    pub(crate) keys: &'static [&'static str],
    /// The other columns.
    pub(crate) columns: &'static [&'static str],
    /// A column that a later `NULL` does not empty.
    pub(crate) sticky: Option<&'static str>,
}

impl Table {
    pub(crate) fn rows_per_statement(&self) -> usize {
        let width = self.keys.len().saturating_add(self.columns.len());
        VALUES_MAX.checked_div(width).unwrap_or(1).clamp(1, ROWS_MAX)
    }

    /// An insert of that many rows; a row whose keys exist replaces the old one.
    fn insert(&self, rows: usize, places: Placeholders) -> String {
        let Self { name, keys, columns, .. } = self;
        let (keys, columns) = (keys.join(", "), [*keys, *columns].concat());
        let mut sql = format!("INSERT INTO {name} ({}) VALUES ", columns.join(", "));
        for row in 0..rows {
            let separator = if row == 0 { "" } else { ", " };
            let first = row.saturating_mul(columns.len()).saturating_add(1);
            let _ = write!(sql, "{separator}({})", places.list(first, columns.len()));
        }
        let _ = write!(sql, " ON CONFLICT ({keys}) DO UPDATE SET ");
        for (index, column) in self.columns.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let _ = match self.sticky {
                Some(sticky) if sticky == *column => {
                    write!(sql, "{separator}{column} = COALESCE(excluded.{column}, {name}.{column})")
                }
                _ => write!(sql, "{separator}{column} = excluded.{column}"),
            };
        }
        sql
    }

    /// A delete of that many rows by the first key column.
    pub(crate) fn delete(&self, rows: usize, places: Placeholders) -> String {
        let key = self.keys.first().unwrap_or(&"");
        format!("DELETE FROM {} WHERE {key} IN ({})", self.name, places.list(1, rows))
    }
}

/// Binds the next value.
pub(crate) fn bind(query: Query<'_, Any, AnyArguments>, value: Value) -> Query<'_, Any, AnyArguments> {
    match value {
        Value::Text(text) => query.bind(text),
        Value::OptionalText(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
        Value::OptionalInt(int) => query.bind(int),
        Value::Bytes(bytes) => query.bind(bytes),
    }
}

/// Inserts or replaces rows, at most [`Table::rows_per_statement`] of them.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    places: Placeholders,
    table: &Table,
    rows: Vec<Vec<Value>>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    // Full and single statements come again and again; the remainders in between would crowd the statement cache.
    let count = rows.len();
    let again = count == 1 || count == table.rows_per_statement();
    let query = sqlx::query(AssertSqlSafe(table.insert(count, places))).persistent(again);
    rows.into_iter().flatten().fold(query, bind).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_takes_many_rows() {
        let table = Table { name: "t", keys: &["a", "b"], columns: &["c", "d"], sticky: Some("d") };
        assert_eq!(
            table.insert(2, Placeholders::Numbered),
            "INSERT INTO t (a, b, c, d) VALUES ($1, $2, $3, $4), ($5, $6, $7, $8) \
             ON CONFLICT (a, b) DO UPDATE SET c = excluded.c, d = COALESCE(excluded.d, t.d)"
        );
        assert_eq!(table.delete(2, Placeholders::Anonymous), "DELETE FROM t WHERE a IN (?, ?)");
    }
}
