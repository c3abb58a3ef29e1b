//! `argand key`: who may ask a server, and how much.

use std::time::Duration;

use anyhow::{Result, bail};
use argand_ledger::{Budget, Key, Limits, NewKey, Period, Quota, Scope, Time};
use clap::Subcommand;
use serde_json::json;

use crate::args::BadValue;
use crate::ledger::LedgerArgs;
use crate::ui;

/// Say who may ask a server, and how much
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Make a key; its secret is shown now and never again
    Create(Create),
    /// List keys
    List(List),
    /// Say all about a key
    Show(Show),
    /// Take a key back
    Revoke(Revoke),
    /// Give a key another secret
    Rotate(Rotate),
}

impl KeyCommand {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Create(c) => c.run(),
            Self::List(c) => c.run(),
            Self::Show(c) => c.run(),
            Self::Revoke(c) => c.run(),
            Self::Rotate(c) => c.run(),
        }
    }
}

#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand key create alice
  argand key create team-a --owner research --budget 100EUR/month --tokens 2000000/day
  argand key create search --scope embeddings --model 'bge-*' --expires 2027-01-01")]
pub struct Create {
    /// What people call the key
    name: String,
    /// Whose it is: a person, a team
    #[arg(long, value_name = "TEXT", default_value = "")]
    owner: String,
    /// What it may be used for: inference, embeddings, usage, admin, hub-read or hub-write; may be given several times
    #[arg(long = "scope", value_name = "SCOPE", default_values = ["inference", "embeddings"])]
    scopes: Vec<String>,
    /// A model that it may use, or a pattern with *; may be given several times, all unless given
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// When it expires: a date, or a moment of RFC 3339
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Requests in any minute, at each server
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<i64>,
    /// Tokens in any minute, at each server
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<i64>,
    /// Requests at the same time
    #[arg(long, value_name = "N")]
    concurrent: Option<i64>,
    /// Money, such as 100EUR, 100EUR/month or 5.50EUR/day
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<String>,
    /// Tokens, such as 2000000/day, 50000000/month or 1000000
    #[arg(long, value_name = "COUNT")]
    tokens: Option<String>,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Create {
    fn run(self) -> Result<()> {
        let limits = Limits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent: self.concurrent,
            budget: self.budget.as_deref().map(budget).transpose()?,
            tokens: self.tokens.as_deref().map(quota).transpose()?,
        };
        let new = NewKey {
            name: self.name,
            owner: self.owner,
            scopes: self.scopes.iter().map(|word| word.parse::<Scope>()).collect::<Result<_, _>>()?,
            models: Some(self.models).filter(|models| !models.is_empty()),
            expires: self.expires.as_deref().map(str::parse::<Time>).transpose()?,
            limits,
        };
        let (key, secret) = self.ledger.with(async |ledger| Ok(ledger.create_key(new).await?))?;
        told(&key, secret.text(), self.json)
    }
}

/// Shows a secret: on standard output nothing else, so that it can go into a file.
fn told(key: &Key, secret: &str, as_json: bool) -> Result<()> {
    if as_json {
        return Ok(ui::out_json(&json!({ "secret": secret, "key": key }))?);
    }
    eprintln!("{} ({}); this is its secret, which is not kept and cannot be shown again:", key.id, key.name);
    Ok(ui::out(&format!("{secret}\n"))?)
}

#[derive(clap::Args)]
pub struct List {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(self) -> Result<()> {
        let keys = self.ledger.with(async |ledger| Ok(ledger.keys().await?))?;
        if self.json {
            return Ok(ui::out_json(&json!(keys))?);
        }
        if keys.is_empty() {
            eprintln!("there is no key yet; `argand key create NAME` makes one");
            return Ok(());
        }
        let row = |key: &Key| {
            let day = key.created.to_string().chars().take(10).collect();
            vec![
                key.id.clone(),
                key.name.clone(),
                key.owner.clone(),
                format!("{}…", key.prefix),
                scopes(key),
                day,
                state(key),
            ]
        };
        let rows: Vec<_> = keys.iter().map(row).collect();
        Ok(ui::out(&ui::table(&["id", "name", "owner", "secret", "scopes", "made", ""], &rows))?)
    }
}

fn scopes(key: &Key) -> String {
    key.scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(" ")
}

fn state(key: &Key) -> String {
    key.check(Time::now()).err().map_or_else(String::new, |denied| denied.to_string().replace("this key ", ""))
}

#[derive(clap::Args)]
pub struct Show {
    /// Id of the key
    id: String,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self) -> Result<()> {
        let key = self.ledger.with(async |ledger| Ok(ledger.key(&self.id).await?))?;
        shown(&key, self.json)
    }
}

fn shown(key: &Key, as_json: bool) -> Result<()> {
    if as_json {
        return Ok(ui::out_json(&json!(key))?);
    }
    let count = |size: Option<i64>| size.map(|size| size.to_string());
    let Limits { budget, tokens, .. } = key.limits;
    let lines = [
        ("id", Some(key.id.clone())),
        ("name", Some(key.name.clone())),
        ("owner", Some(key.owner.clone()).filter(|owner| !owner.is_empty())),
        ("secret", Some(format!("{}…", key.prefix))),
        ("scopes", Some(scopes(key))),
        ("models", key.models.as_ref().map(|models| models.join(" "))),
        ("requests per minute", count(key.limits.requests_per_minute)),
        ("tokens per minute", count(key.limits.tokens_per_minute)),
        ("concurrent requests", count(key.limits.concurrent)),
        ("budget", budget.map(|b| format!("{} {} per {}", b.amount, b.currency, b.period.word()))),
        ("tokens", tokens.map(|q| format!("{} per {}", q.tokens, q.period.word()))),
        ("made", Some(key.created.to_string())),
        ("expires", key.expires.map(|at| at.to_string())),
        ("revoked", key.revoked.map(|at| at.to_string())),
    ];
    let said = lines.into_iter().filter_map(|(what, value)| Some(format!("{what:<20} {}\n", value?)));
    Ok(ui::out(&said.collect::<String>())?)
}

#[derive(clap::Args)]
pub struct Revoke {
    /// Id of the key
    id: String,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Revoke {
    fn run(self) -> Result<()> {
        let key = self.ledger.with(async |ledger| Ok(ledger.revoke_key(&self.id).await?))?;
        match self.json {
            true => shown(&key, true),
            false => {
                eprintln!("{} ({}) is revoked; running servers see it within a second", key.id, key.name);
                Ok(())
            }
        }
    }
}

#[derive(clap::Args)]
pub struct Rotate {
    /// Id of the key
    id: String,
    /// Seconds for which the present secret stays good
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u64,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Rotate {
    fn run(self) -> Result<()> {
        let grace = Duration::from_secs(self.grace);
        let (key, secret) = self.ledger.with(async |ledger| Ok(ledger.rotate_key(&self.id, grace).await?))?;
        told(&key, secret.text(), self.json)
    }
}

/// `100EUR/month` and its like.
fn budget(text: &str) -> Result<Budget> {
    let (amount, period) = with_period(text)?;
    let at = amount.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(amount.len());
    let (amount, currency) = amount.split_at(at);
    match (amount.trim().parse(), currency.parse()) {
        (Ok(amount), Ok(currency)) => Ok(Budget { amount, currency, period }),
        _ => bail!(BadValue(format!("--budget is {text:?}, expected an amount such as 100EUR/month"))),
    }
}

/// `2000000/day` and its like.
fn quota(text: &str) -> Result<Quota> {
    let (tokens, period) = with_period(text)?;
    match tokens.parse() {
        Ok(tokens) => Ok(Quota { tokens, period }),
        Err(_) => bail!(BadValue(format!("--tokens is {text:?}, expected a count such as 2000000/day"))),
    }
}

fn with_period(text: &str) -> Result<(&str, Period)> {
    let Some((what, word)) = text.split_once('/') else { return Ok((text, Period::Total)) };
    match Period::ALL.into_iter().find(|period| period.word() == word) {
        Some(period) => Ok((what, period)),
        None => bail!(BadValue(format!("{text:?} has the period {word:?}, expected day, month or total"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let money = |text| budget(text).map(|b| format!("{} {} {}", b.amount, b.currency, b.period.word())).ok();
        assert_eq!(money("100EUR").as_deref(), Some("100 EUR total"));
        assert_eq!(money("5.50 EUR/day").as_deref(), Some("5.5 EUR day"));
        for wrong in ["100", "EUR", "100eur", "100EUR/week", "1e3EUR", "100EUR/"] {
            assert_eq!(money(wrong), None, "{wrong}");
        }
        assert_eq!(quota("2000000/day").unwrap(), Quota { tokens: 2_000_000, period: Period::Day });
        assert_eq!(quota("7").unwrap(), Quota { tokens: 7, period: Period::Total });
        assert!(quota("many/day").is_err() && quota("1.5/day").is_err());
    }
}
