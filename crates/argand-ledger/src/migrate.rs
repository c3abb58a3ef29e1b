//! The tables, and how older ones become what they are now.
//!
//! A version has a part that is the same for both databases and a part for each. Versions are never changed once they were
//! released; the next one goes to the end of the list.

use crate::db::{Conn, Dialect, Pool, args};
use crate::error::{LedgerError, Result};

struct Version {
    common: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

const VERSIONS: [Version; 1] = [Version {
    common: include_str!("../migrations/1.sql"),
    sqlite: include_str!("../migrations/1.sqlite.sql"),
    postgres: include_str!("../migrations/1.postgres.sql"),
}];

const DOING: &str = "bringing its tables up to date";

/// Brings the tables up to date, in one transaction; of several processes one does it and the others wait.
pub(crate) async fn migrate(pool: &Pool) -> Result<()> {
    let mut conn = pool.conn().await?;
    conn.run(DOING, conn.dialect().begin()).await?;
    match apply(&mut conn).await {
        Ok(()) => conn.run(DOING, "COMMIT").await,
        Err(error) => {
            conn.discard().await;
            Err(error)
        }
    }
}

async fn apply(conn: &mut Conn) -> Result<()> {
    if conn.dialect() == Dialect::Postgres {
        // Any number that other programs in the same database are unlikely to lock: "argandlg" in ASCII.
        conn.rows(DOING, "SELECT CAST(1 AS BIGINT) FROM pg_advisory_xact_lock(7021781867284458599)", args![]).await?;
    }
    conn.run(DOING, "CREATE TABLE IF NOT EXISTS ledger_versions (version BIGINT PRIMARY KEY)").await?;
    let newest = "SELECT COALESCE(MAX(version), 0) FROM ledger_versions";
    let found = conn.row(DOING, newest, args![]).await?.map_or(Ok(0), |mut row| row.int())?;
    let known = VERSIONS.len() as i64;
    if found > known {
        return Err(LedgerError::Newer { found, known });
    }
    for (version, number) in VERSIONS.iter().zip(1i64..).filter(|(_, number)| *number > found) {
        conn.run(DOING, version.common).await?;
        let own = if conn.dialect() == Dialect::Sqlite { version.sqlite } else { version.postgres };
        conn.run(DOING, own).await?;
        conn.rows(DOING, "INSERT INTO ledger_versions (version) VALUES ($1)", args![number]).await?;
    }
    Ok(())
}
