//! Rows on their way to the database: many in one statement, in SQL that SQLite and PostgreSQL both understand.

use sqlx::{AnyConnection, AssertSqlSafe};
use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use std::fmt::Write as _;

/// The most values in one statement: half of what the smaller limit, SQLite's, allows.
const VALUES_MAX: usize = 16_384;
/// The most rows in one statement: more of them save nothing.
const ROWS_MAX: usize = 256;

/// A value for a column.
pub(crate) enum Value {
    Text(String),
    OptionalText(Option<String>),
    Int(i64),
    OptionalInt(Option<i64>),
    Bytes(Vec<u8>),
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
    fn insert(&self, rows: usize) -> String {
        let Self { name, keys, columns, .. } = self;
        let (keys, columns) = (keys.join(", "), [*keys, *columns].concat());
        let mut sql = format!("INSERT INTO {name} ({}) VALUES ", columns.join(", "));
        let mut next = 1usize..;
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for (column, place) in columns.iter().zip(next.by_ref()) {
                let separator = if columns.first() == Some(column) { "" } else { ", " };
                let _ = write!(sql, "{separator}${place}");
            }
            sql.push(')');
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
    pub(crate) fn delete(&self, rows: usize) -> String {
        let places: Vec<String> = (1..=rows).map(|place| format!("${place}")).collect();
        let key = self.keys.first().unwrap_or(&"");
        format!("DELETE FROM {} WHERE {key} IN ({})", self.name, places.join(", "))
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
    table: &Table,
    rows: Vec<Vec<Value>>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    // Full and single statements come again and again; the remainders in between would crowd the statement cache.
    let count = rows.len();
    let again = count == 1 || count == table.rows_per_statement();
    let query = sqlx::query(AssertSqlSafe(table.insert(count))).persistent(again);
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
            table.insert(2),
            "INSERT INTO t (a, b, c, d) VALUES ($1, $2, $3, $4), ($5, $6, $7, $8) \
             ON CONFLICT (a, b) DO UPDATE SET c = excluded.c, d = COALESCE(excluded.d, t.d)"
        );
        assert_eq!(table.delete(2), "DELETE FROM t WHERE a IN ($1, $2)");
    }
}
