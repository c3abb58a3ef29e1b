//! Reserving: every limit is checked, then what may be used is set aside.

use super::Batch;
use crate::db::{args, sql};
use crate::error::{Amount, Denied, LedgerError, Limit, Limited, Result, Standing};
use crate::hold::{Request, Ticket};
use crate::key::{Key, check_name};
use crate::price::Cost;
use crate::time::Period;
use crate::units::Units;
use crate::usage::UsageRow;
use crate::writer::Answer;

impl Batch<'_> {
    pub(super) async fn reserve(&mut self, id: &str, request: &Request) -> Result<Answer> {
        request.check()?;
        if self.state.until.is_none() {
            self.announce().await?;
        }
        let statement = format!(
            "SELECT {}, (SELECT COUNT(*) FROM holds h WHERE h.key = k.id), \
             (SELECT COUNT(*) FROM holds h WHERE h.key = k.id AND h.request = $2), \
             (SELECT u.seq FROM usage u WHERE u.key = k.id AND u.request = $2 AND u.kind = 'usage') \
             FROM keys k WHERE k.id = $1",
            Key::COLUMNS
        );
        let row = self.conn.row("reading a key", sql(statement), args![id, request.id.as_str()]).await?;
        let mut row = row.ok_or(Denied::Unknown)?;
        let key = Key::read(&mut row)?;
        let (running, same, settled) = (row.int()?, row.int()?, row.maybe_int()?);
        key.check(self.now)?;
        if same > 0 {
            return Ok(Answer::Running);
        }
        if let Some(seq) = settled {
            return self.usage_row(seq).await.map(|row| Answer::Settled { row, first: false });
        }
        let (prices, cost) = self.price(request);
        let mut standings = self.check_limits(&key, running, request, cost.as_ref()).await?;
        let ticket = Ticket {
            key: key.id.clone(),
            request: request.id.clone(),
            server: self.state.server.clone(),
            model: request.model.clone(),
            endpoint: request.endpoint.clone(),
            at: request.at,
            prices,
            cost,
            units: request.hold,
            serial: self.state.rates.enter(&key.id, self.now, request.hold.tokens()),
        };
        self.entered.push((key.id.clone(), ticket.serial));
        self.conn.rows("holding", Ticket::INSERT, ticket.args()).await?;
        for standing in &mut standings {
            let asked = asked(standing.limit, &ticket.units, ticket.cost.as_ref());
            standing.used = standing.used.of(standing.used.number().saturating_add(asked));
        }
        Ok(Answer::Granted { ticket, standings })
    }

    /// The price list in force, and what the request may cost.
    fn price(&self, request: &Request) -> (Option<String>, Option<Cost>) {
        let Some(list) = self.state.prices.at(request.at) else { return (None, None) };
        let amount = list.cost(&request.model, &request.hold);
        let cost = amount.map(|amount| Cost { amount, currency: list.currency, prices: list.id.clone() });
        (Some(list.id.clone()), cost)
    }

    /// How all limits of the key stand, if the request fits each.
    async fn check_limits(
        &mut self,
        key: &Key,
        running: i64,
        request: &Request,
        cost: Option<&Cost>,
    ) -> Result<Vec<Standing>> {
        let mut standings = self.state.rates.standings(&key.id, &key.limits, self.now);
        for standing in &standings {
            let fits = self.state.rates.check(&key.id, *standing, request.hold.tokens());
            fits.map_err(|limited| LedgerError::Limited(Box::new(limited)))?;
        }
        if let Some(size) = key.limits.concurrent {
            let (size, used) = (Amount::Count(size), Amount::Count(running));
            standings.push(Standing { limit: Limit::Concurrent, size, used, resets: None });
        }
        if let Some(quota) = key.limits.tokens {
            let used = Amount::Count(self.used(key, "tokens", "", quota.period, request).await?);
            let (limit, size) = (Limit::Tokens(quota.period), Amount::Count(quota.tokens));
            standings.push(Standing { limit, size, used, resets: quota.period.end(request.at) });
        }
        if let Some(budget) = key.limits.budget {
            if cost.is_none_or(|cost| cost.currency != budget.currency) {
                return Err(Denied::Unpriced { model: request.model.clone(), currency: budget.currency }.into());
            }
            let currency = budget.currency.to_string();
            let used = self.used(key, "cost", &currency, budget.period, request).await?;
            let (limit, size) =
                (Limit::Budget(budget.period), Amount::Money { amount: budget.amount, currency: budget.currency });
            standings.push(Standing { limit, size, used: size.of(used), resets: budget.period.end(request.at) });
        }
        for standing in standings.iter().filter(|standing| !standing.limit.is_per_minute()) {
            let asked = asked(standing.limit, &request.hold, cost);
            if asked > 0 && standing.used.number().saturating_add(asked) > standing.size.number() {
                let (standing, asked) = (*standing, standing.size.of(asked));
                let limited = Limited { standing, asked, retry: None };
                let retry = if limited.is_hopeless() { None } else { standing.resets };
                return Err(LedgerError::Limited(Box::new(Limited { retry, ..limited })));
            }
        }
        Ok(standings)
    }

    /// What the key has used and held of a column in the period of the request.
    async fn used(
        &mut self,
        key: &Key,
        column: &'static str,
        currency: &str,
        period: Period,
        request: &Request,
    ) -> Result<i64> {
        let of_currency = if currency.is_empty() { "$6 = ''" } else { "currency = $6" };
        let statement = format!(
            "SELECT (SELECT CAST(COALESCE(SUM({column}), 0) AS BIGINT) FROM totals \
             WHERE key = $1 AND period = $2 AND start = $3 AND {of_currency}) + \
             (SELECT CAST(COALESCE(SUM({column}), 0) AS BIGINT) FROM holds \
             WHERE key = $1 AND at >= $4 AND at < $5 AND {of_currency})"
        );
        let start = period.start(request.at);
        let end = period.end(request.at).map_or(i64::MAX, |end| end.micros());
        let args = args![key.id.as_str(), period.word(), start, start, end, currency];
        let row = self.conn.row("adding up a limit", sql(statement), args).await?;
        row.map_or(Ok(0), |mut row| row.int())
    }

    pub(super) async fn usage_row(&mut self, seq: i64) -> Result<UsageRow> {
        let statement = format!("SELECT {} FROM usage u WHERE u.seq = $1", UsageRow::COLUMNS);
        let row = self.conn.row("reading usage", sql(statement), args![seq]).await?;
        let mut row = row.ok_or_else(|| LedgerError::NotFound { what: "row of usage", name: seq.to_string() })?;
        UsageRow::read(&mut row)
    }
}

impl Request {
    fn check(&self) -> Result<()> {
        check_name("request", &self.id)?;
        check_name("model", &self.model)?;
        check_name("endpoint", &self.endpoint)?;
        self.hold.check(0)
    }
}

/// How much of a limit something takes.
fn asked(limit: Limit, units: &Units, cost: Option<&Cost>) -> i64 {
    match limit {
        Limit::RequestsPerMinute | Limit::Concurrent => 1,
        Limit::TokensPerMinute | Limit::Tokens(_) => units.tokens(),
        Limit::Budget(_) => cost.map_or(0, |cost| cost.amount.nanos()),
    }
}
