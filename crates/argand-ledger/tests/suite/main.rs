//! The whole suite, once for each database.

mod child;
mod databases;
mod keys;
mod limits;
mod reports;
mod usage;

use argand_ledger::{
    Budget, Clock, Hold, Key, Ledger, LedgerError, Limited, Limits, NewKey, Outcome, Period, PriceList, Quota, Request,
    Reserved, Scope, Time, Unit, Units,
};

/// Makes a test of each case for each database.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::databases::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(database) = crate::databases::Database::postgres() {
                    super::$case(database).await;
                }
            })*
        }
    };
}
pub(crate) use on_both;

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// A clock that stands at noon of an ordinary day.
fn noon() -> Clock {
    Clock::standing(time("2026-11-23T12:00:00Z"))
}

fn tokens(input: i64, output: i64) -> Units {
    Units::new().with(Unit::Input, input).with(Unit::Output, output)
}

fn request(id: impl ToString, clock: &Clock, hold: Units) -> Request {
    Request { id: id.to_string(), model: "small".into(), endpoint: "chat.completions".into(), at: clock.now(), hold }
}

fn new_key(limits: Limits) -> NewKey {
    NewKey {
        name: "test".into(),
        owner: "someone".into(),
        scopes: [Scope::Inference].into(),
        limits,
        ..NewKey::default()
    }
}

async fn key(ledger: &Ledger, limits: Limits) -> Key {
    ledger.create_key(new_key(limits)).await.unwrap().0
}

/// A price list: input and output of small models cost so much for a million.
fn prices(id: &str, from: &str, input: &str, output: &str) -> PriceList {
    PriceList::from_json(&format!(
        r#"{{"id":{id:?},"currency":"EUR","valid_from":"{from}",
            "prices":[{{"model":"small*","per_million":{{"input":"{input}","output":"{output}"}}}}]}}"#
    ))
    .unwrap()
}

fn budget(amount: &str, period: Period) -> Limits {
    let budget = Budget { amount: amount.parse().unwrap(), currency: "EUR".parse().unwrap(), period };
    Limits { budget: Some(budget), ..Limits::default() }
}

fn quota(tokens: i64, period: Period) -> Limits {
    Limits { tokens: Some(Quota { tokens, period }), ..Limits::default() }
}

#[track_caller]
fn held(reserved: Result<Reserved, LedgerError>) -> Hold {
    match reserved.unwrap() {
        Reserved::Held(hold) => hold,
        other => panic!("not held but {other:?}"),
    }
}

#[track_caller]
fn limited(reserved: Result<Reserved, LedgerError>) -> Limited {
    match reserved {
        Err(LedgerError::Limited(limited)) => *limited,
        other => panic!("not limited but {other:?}"),
    }
}

/// Uses so much, from reservation to settlement.
async fn spend(ledger: &Ledger, key: &Key, id: impl ToString, used: Units) -> argand_ledger::UsageRow {
    let hold = held(ledger.reserve(&key.id, request(id, ledger.clock(), used)).await);
    ledger.settle(&hold, used, Outcome::Completed).await.unwrap().row
}
