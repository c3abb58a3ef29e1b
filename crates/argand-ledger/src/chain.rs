//! Whether the rows of usage are those that were written.

use serde::{Deserialize, Serialize};

use crate::db::args;
use crate::error::{LedgerError, Result, stored};
use crate::ledger::Ledger;
use crate::report::Filter;

/// Rows that are read at once.
pub(crate) const PAGE: i64 = 1000;

/// A place in the chain of rows. Kept where whoever can write the database cannot, it vouches for all rows up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Number of the last row; 0 if there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: String,
}

impl Ledger {
    /// Reads all rows and checks that each is what its hash says, follows the one before, and that none is missing, also none at the
    /// end. The chain alone cannot tell whether all of it was written anew, or ended earlier: `known`, an earlier answer
    /// that was kept elsewhere, can.
    ///
    /// # Errors
    /// [`LedgerError::Broken`] with the first wrong row, [`LedgerError::Stored`], [`LedgerError::Database`].
    pub async fn verify_chain(&self, known: Option<&Chain>) -> Result<Chain> {
        let row =
            self.conn().await?.row("reading the head", "SELECT seq, hash FROM head WHERE id = 1", args![]).await?;
        let mut row = row.ok_or_else(|| stored("the head of the chain", "nothing", "one row"))?;
        let head = Chain { seq: row.int()?, hash: row.text()? };
        let mut at = Chain { seq: 0, hash: String::new() };
        while at.seq < head.seq {
            let rows = self.rows(&Filter::default(), at.seq, PAGE).await?;
            if rows.is_empty() {
                return Err(broken(at.seq + 1, "it is missing"));
            }
            for row in rows.into_iter().take_while(|row| row.seq <= head.seq) {
                if row.seq != at.seq + 1 {
                    return Err(broken(at.seq + 1, "it is missing"));
                }
                if row.previous != at.hash || row.expected_hash() != row.hash {
                    return Err(broken(row.seq, "it is not what was written"));
                }
                at = Chain { seq: row.seq, hash: row.hash };
                if known.is_some_and(|known| known.seq == at.seq && known.hash != at.hash) {
                    return Err(broken(at.seq, "it is not the row that was there before"));
                }
            }
        }
        if at != head {
            return Err(broken(at.seq, "the head of the chain says something else"));
        }
        match known {
            Some(known) if known.seq > at.seq => Err(broken(at.seq + 1, "it was there before and is missing")),
            _ => Ok(at),
        }
    }
}

fn broken(seq: i64, reason: &str) -> LedgerError {
    LedgerError::Broken { seq, reason: reason.to_owned() }
}
