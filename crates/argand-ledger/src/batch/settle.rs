//! Settling: the one place where rows of usage are written.

use super::Batch;
use crate::db::{args, sql};
use crate::error::{LedgerError, Result, invalid};
use crate::hold::Ticket;
use crate::key::check_name;
use crate::price::Cost;
use crate::time::Period;
use crate::units::Units;
use crate::usage::{Kind, Outcome, UsageRow};
use crate::writer::{Answer, Recovered};

impl Batch<'_> {
    /// Notes how far requests have come.
    pub(super) async fn progress(&mut self, marks: &[(Ticket, Units)]) -> Result<Answer> {
        marks.iter().try_for_each(|(_, units)| units.check(0))?;
        for (ticket, units) in marks {
            let note = "UPDATE holds SET progress = $1 WHERE key = $2 AND request = $3 AND server = $4";
            let args = args![units.text(), ticket.key.as_str(), ticket.request.as_str(), ticket.server.as_str()];
            self.conn.rows("noting progress", note, args).await?;
        }
        Ok(Answer::Nothing)
    }

    /// Writes what a request used, unless that was done before, and frees its hold.
    pub(super) async fn settle(&mut self, ticket: &Ticket, used: &Units, outcome: Outcome) -> Result<Answer> {
        used.check(0)?;
        // A hold and a row of usage never stand beside each other: where a hold was, there is no row yet.
        if !self.free(ticket).await? {
            let statement = format!(
                "SELECT {} FROM usage u WHERE u.key = $1 AND u.request = $2 AND u.kind = 'usage'",
                UsageRow::COLUMNS
            );
            let args = args![ticket.key.as_str(), ticket.request.as_str()];
            if let Some(mut row) = self.conn.row("reading usage", sql(statement), args).await? {
                return UsageRow::read(&mut row).map(|row| Answer::Settled { row, first: false });
            }
        }
        self.state.rates.settle(&ticket.key, ticket.serial, used.tokens());
        let row = self.charge(ticket, used, outcome);
        let row = self.append(row).await?;
        Ok(Answer::Settled { row, first: true })
    }

    /// Ends a hold that nobody will settle, with what was noted of it.
    pub(super) async fn abandon(&mut self, ticket: &Ticket) -> Result<Answer> {
        let statement =
            format!("SELECT {} FROM holds h WHERE h.key = $1 AND h.request = $2 AND h.server = $3", Ticket::COLUMNS);
        let args = args![ticket.key.as_str(), ticket.request.as_str(), ticket.server.as_str()];
        if let Some(mut row) = self.conn.row("reading a hold", sql(statement), args).await? {
            let (_, progress) = Ticket::read(&mut row)?;
            self.end(ticket, progress, Outcome::Abandoned).await?;
        }
        Ok(Answer::Nothing)
    }

    /// Ends the holds of processes that are gone, with what was noted of each.
    pub(super) async fn recover(&mut self) -> Result<Answer> {
        const DOING: &str = "recovering";
        if self.state.until.is_none() {
            self.announce().await?;
        }
        let statement = format!(
            "SELECT {} FROM holds h LEFT JOIN servers s ON s.id = h.server \
             WHERE h.server <> $1 AND (s.until IS NULL OR s.until < $2) ORDER BY h.at, h.key, h.request",
            Ticket::COLUMNS
        );
        let server = self.state.server.clone();
        let rows = self.conn.rows(DOING, sql(statement), args![server.as_str(), self.now]).await?;
        let holds = rows.into_iter().map(|mut row| Ticket::read(&mut row)).collect::<Result<Vec<_>>>()?;
        let mut recovered = Recovered::default();
        for (ticket, progress) in holds {
            match self.end(&ticket, progress, Outcome::Recovered).await? {
                true => recovered.settled += 1,
                false => recovered.freed += 1,
            }
        }
        let gone = "DELETE FROM servers WHERE id <> $1 AND until < $2";
        self.conn.rows(DOING, gone, args![server, self.now]).await?;
        Ok(Answer::Recovered(recovered))
    }

    /// Ends a hold; whether there was something to settle.
    async fn end(&mut self, ticket: &Ticket, progress: Option<Units>, outcome: Outcome) -> Result<bool> {
        let used = progress.filter(|units| !units.is_empty());
        match used {
            Some(used) => self.settle(ticket, &used, outcome).await.map(drop)?,
            None => {
                self.free(ticket).await?;
                self.state.rates.settle(&ticket.key, ticket.serial, 0);
            }
        }
        Ok(used.is_some())
    }

    /// Frees a hold; whether it was there.
    async fn free(&mut self, ticket: &Ticket) -> Result<bool> {
        let free = "DELETE FROM holds WHERE key = $1 AND request = $2 RETURNING key";
        let args = args![ticket.key.as_str(), ticket.request.as_str()];
        Ok(self.conn.row("freeing a hold", free, args).await?.is_some())
    }

    /// Adds a difference to what an earlier row says.
    pub(super) async fn correct(&mut self, seq: i64, units: &Units, note: &str) -> Result<Answer> {
        units.check(-Units::MOST)?;
        check_name("note", note)?;
        let original = self.usage_row(seq).await?;
        if original.kind != Kind::Usage {
            return Err(invalid("row to be corrected", seq, "a row of usage that is no correction itself"));
        }
        let statement = format!("SELECT {} FROM usage u WHERE u.corrects = $1", UsageRow::COLUMNS);
        let mut before = (original.units, original.cost.as_ref().map_or(0, |cost| cost.amount.nanos()));
        for mut row in self.conn.rows("reading corrections", sql(statement), args![seq]).await? {
            let row = UsageRow::read(&mut row)?;
            before.0 = before.0.plus(&row.units).ok_or_else(|| invalid("units", row.units, "fewer"))?;
            before.1 += row.cost.map_or(0, |cost| cost.amount.nanos());
        }
        let after = before.0.plus(units).ok_or_else(|| invalid("units", units, "fewer"))?;
        after.check(0)?;
        let cost = match &original.cost {
            Some(cost) => Some(self.difference(&original.model, cost, &after, before.1)?),
            None => None,
        };
        let row = UsageRow {
            kind: Kind::Correction,
            units: *units,
            cost,
            corrects: Some(seq),
            note: Some(note.to_owned()),
            ..original
        };
        self.append(row).await.map(Answer::Row)
    }

    /// What has to be added to a cost so that it is that of other units by the same list.
    fn difference(&self, model: &str, cost: &Cost, after: &Units, before: i64) -> Result<Cost> {
        let list = self.state.prices.named(&cost.prices);
        let list = list.ok_or_else(|| LedgerError::NotFound { what: "price list", name: cost.prices.clone() })?;
        let amount = list.cost(model, after).and_then(|amount| amount.nanos().checked_sub(before));
        let amount = amount.ok_or_else(|| invalid("units", after, "units with a price in the list of the row"))?;
        Ok(Cost { amount: crate::Money::from_nanos(amount), ..cost.clone() })
    }

    /// The row that charges a request; [`Batch::append`] gives it its place.
    fn charge(&self, ticket: &Ticket, used: &Units, outcome: Outcome) -> UsageRow {
        let list = ticket.prices.as_deref().and_then(|id| self.state.prices.named(id));
        let cost = list.and_then(|list| {
            let amount = list.cost(&ticket.model, used)?;
            Some(Cost { amount, currency: list.currency, prices: list.id.clone() })
        });
        UsageRow {
            seq: 0,
            kind: Kind::Usage,
            key: ticket.key.clone(),
            request: ticket.request.clone(),
            model: ticket.model.clone(),
            endpoint: ticket.endpoint.clone(),
            at: ticket.at,
            settled: self.now,
            outcome,
            units: *used,
            cost,
            corrects: None,
            note: None,
            previous: String::new(),
            hash: String::new(),
        }
    }

    /// Puts a row at the end of the chain, and into the totals.
    async fn append(&mut self, mut row: UsageRow) -> Result<UsageRow> {
        row.seq = self.seq + 1;
        row.settled = self.now;
        row.previous = self.hash.clone();
        row.hash = row.expected_hash();
        self.conn.rows("writing usage", UsageRow::INSERT, row.args()).await?;
        let add = "INSERT INTO totals (key, period, start, currency, tokens, cost) \
            VALUES ($1, $2, $3, $4, $5, $6), ($1, $7, $8, $4, $5, $6), ($1, $9, $10, $4, $5, $6) \
            ON CONFLICT (key, period, start, currency) \
            DO UPDATE SET tokens = totals.tokens + excluded.tokens, cost = totals.cost + excluded.cost";
        let currency = row.cost.as_ref().map_or_else(String::new, |cost| cost.currency.to_string());
        let amount = row.cost.as_ref().map_or(0, |cost| cost.amount.nanos());
        let [day, month, total] = Period::ALL;
        let args = args![
            row.key.as_str(),
            day.word(),
            day.start(row.at),
            currency,
            row.units.tokens(),
            amount,
            month.word(),
            month.start(row.at),
            total.word(),
            total.start(row.at),
        ];
        self.conn.rows("adding up usage", add, args).await?;
        self.seq = row.seq;
        self.hash.clone_from(&row.hash);
        Ok(row)
    }
}
