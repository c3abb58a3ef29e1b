//! The database: SQLite or PostgreSQL behind one small face.
//!
//! All columns are `TEXT` or `BIGINT`, and all statements but those of [`Dialect`] are the same for both.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Postgres, Row, SqlSafeStr, Sqlite, TypeInfo, ValueRef};

use crate::error::{LedgerError, Result, invalid, stored};
use crate::time::Time;

/// Connections of a process: one for the writer, the others for readers.
const CONNECTIONS: u32 = 5;
/// How long a process waits for another one that writes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Begins a transaction that writes.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// Behind a query: locks its rows. SQLite has locked all when it began.
    pub(crate) fn locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// The units of rows `u` as a table `e` of `key` and `value`.
    pub(crate) fn each_unit(self) -> &'static str {
        match self {
            Self::Sqlite => "json_each(u.units) e",
            Self::Postgres => "jsonb_each_text(u.units::jsonb) e (key, value)",
        }
    }
}

/// The connections to a database.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// One of them.
pub(crate) enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// What a column holds, or what is put in its place.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Int(Some(value.micros()))
    }
}

impl From<Option<Time>> for Value {
    fn from(value: Option<Time>) -> Self {
        Self::Int(value.map(Time::micros))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

/// The values of `$1`, `$2` and so on.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}
pub(crate) use args;

/// A row, read from left to right.
#[derive(Debug)]
pub(crate) struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(other, "text")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.maybe_text()?.ok_or_else(|| wrong(None, "text"))
    }

    pub(crate) fn maybe_int(&mut self) -> Result<Option<i64>> {
        match self.0.next() {
            Some(Value::Int(int)) => Ok(int),
            Some(Value::Text(None)) => Ok(None),
            other => Err(wrong(other, "a number")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64> {
        self.maybe_int()?.ok_or_else(|| wrong(None, "a number"))
    }

    pub(crate) fn time(&mut self) -> Result<Time> {
        self.int().map(Time::from_micros)
    }

    pub(crate) fn maybe_time(&mut self) -> Result<Option<Time>> {
        Ok(self.maybe_int()?.map(Time::from_micros))
    }
}

fn wrong(found: Option<Value>, expected: &'static str) -> LedgerError {
    stored("a column", format_args!("{found:?}"), expected)
}

/// Binds arguments, runs, and reads rows; the same words for both databases, whose types have nothing in common.
macro_rules! fetch {
    ($database:ty, $connection:expr, $sql:expr, $args:expr) => {{
        let mut query = sqlx::query::<$database>($sql);
        for value in $args {
            query = match value {
                Value::Int(int) => query.bind(int),
                Value::Text(text) => query.bind(text),
            };
        }
        let rows = query.fetch_all(&mut **$connection).await?;
        rows.iter()
            .map(|row| {
                let values = (0..row.len()).map(|i| {
                    let raw = row.try_get_raw(i)?;
                    let kind = raw.type_info().name().to_owned();
                    Ok(match kind.as_str() {
                        _ if raw.is_null() => Value::Text(None),
                        "INTEGER" | "INT8" => Value::Int(Some(row.try_get(i)?)),
                        _ => Value::Text(Some(row.try_get(i)?)),
                    })
                });
                values.collect::<sqlx::Result<Vec<Value>>>().map(|values| Fields(values.into_iter()))
            })
            .collect::<sqlx::Result<Vec<Fields>>>()
    }};
}

impl Conn {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement and gives the rows that it returns.
    pub(crate) async fn rows(
        &mut self,
        doing: &'static str,
        sql: impl SqlSafeStr,
        args: Vec<Value>,
    ) -> Result<Vec<Fields>> {
        let sql = sql.into_sql_str();
        let run = async {
            match self {
                Self::Sqlite(connection) => fetch!(Sqlite, connection, sql, args),
                Self::Postgres(connection) => fetch!(Postgres, connection, sql, args),
            }
        };
        run.await.map_err(failed(doing))
    }

    /// The first row, if there is one.
    pub(crate) async fn row(
        &mut self,
        doing: &'static str,
        sql: impl SqlSafeStr,
        args: Vec<Value>,
    ) -> Result<Option<Fields>> {
        Ok(self.rows(doing, sql, args).await?.into_iter().next())
    }

    /// Runs statements without arguments, several if they are parted by semicolons.
    pub(crate) async fn run(&mut self, doing: &'static str, sql: impl SqlSafeStr) -> Result<()> {
        let sql = sqlx::raw_sql(sql);
        let done = match self {
            Self::Sqlite(connection) => sql.execute(&mut **connection).await.map(drop),
            Self::Postgres(connection) => sql.execute(&mut **connection).await.map(drop),
        };
        done.map_err(failed(doing))
    }

    /// Closes the connection instead of giving it back, because nobody knows in which state it is.
    pub(crate) async fn discard(self) {
        // It is lost either way.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
    }
}

impl Pool {
    /// Opens a database by its URL: `postgres://...`, `sqlite:PATH` or a path. A file that is not there is made, for its owner alone.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let options: PgConnectOptions = url.parse().map_err(failed("reading its URL"))?;
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
            return pool.connect_with(options).await.map(Self::Postgres).map_err(failed("connecting"));
        }
        let path = url.strip_prefix("sqlite:").map_or(url, |path| path.strip_prefix("//").unwrap_or(path));
        if path.is_empty() || path.starts_with(":memory:") || (path == url && url.contains("://")) {
            return Err(invalid("database", url, "a path, sqlite:PATH, or postgres://USER@HOST/NAME"));
        }
        make_private(Path::new(path))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        pool.connect_with(options).await.map(Self::Sqlite).map_err(failed("opening its file"))
    }

    pub(crate) async fn conn(&self) -> Result<Conn> {
        match self {
            Self::Sqlite(pool) => pool.acquire().await.map(Conn::Sqlite),
            Self::Postgres(pool) => pool.acquire().await.map(Conn::Postgres),
        }
        .map_err(failed("waiting for a connection"))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Makes the file if it is not there; SQLite gives the files beside it the same permissions.
fn make_private(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            Err(LedgerError::Database { doing: "making its file", reason: format!("{}: {error}", path.display()) })
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> LedgerError {
    move |error| LedgerError::Database { doing, reason: error.to_string() }
}

/// A statement put together from parts of our own.
pub(crate) fn sql(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}
