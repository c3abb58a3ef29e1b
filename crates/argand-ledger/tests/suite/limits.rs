//! Limits: what may be used, however many ask at once.

use std::time::Duration;

use argand_ledger::{Amount, Denied, LedgerError, Limit, Limits, Outcome, Period, Reserved, Unit, Units};

use crate::databases::Database;
use crate::{budget, held, key, limited, noon, on_both, prices, quota, request, spend, time, tokens};

on_both! {
    two_hundred_at_once_do_not_overshoot,
    two_processes_do_not_overshoot,
    quotas_begin_anew_with_their_period,
    budgets_need_prices,
    concurrency_is_counted_for_all_processes,
    minutes_are_counted,
    a_refusal_tells_when_to_come_again,
}

/// How many of 200 requests, each of one unit of money, are let in.
async fn storm(name: &'static str, ledgers: &[argand_ledger::Ledger], key: &str) -> usize {
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let (ledger, key) = (ledgers[number % ledgers.len()].clone(), key.to_owned());
            tokio::spawn(async move {
                let request = request(format!("{name}{number}"), ledger.clock(), tokens(1_000_000, 0));
                match ledger.reserve(&key, request).await {
                    Ok(Reserved::Held(hold)) => {
                        tokio::task::yield_now().await;
                        ledger.settle(&hold, tokens(1_000_000, 0), Outcome::Completed).await.unwrap();
                        true
                    }
                    Err(LedgerError::Limited(_)) => false,
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut let_in = 0;
    for task in tasks {
        let_in += usize::from(task.await.unwrap());
    }
    let_in
}

async fn two_hundred_at_once_do_not_overshoot(database: Database) {
    let ledger = database.ledger(&noon()).await;
    ledger.add_prices(prices("p", "2026-01-01", "1", "0")).await.unwrap();
    let key = key(&ledger, budget("100", Period::Total)).await;
    let ledgers = [ledger];
    assert_eq!(storm("first", &ledgers, &key.id).await, 100);
    assert_eq!(storm("second", &ledgers, &key.id).await, 0);
}

async fn two_processes_do_not_overshoot(database: Database) {
    let ledger = database.ledger(&noon()).await;
    ledger.add_prices(prices("p", "2026-01-01", "1", "0")).await.unwrap();
    let key = key(&ledger, budget("100", Period::Month)).await;
    let ledgers = [ledger, database.ledger(&noon()).await, database.ledger(&noon()).await];
    assert_eq!(storm("only", &ledgers, &key.id).await, 100);
}

async fn quotas_begin_anew_with_their_period(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    for (period, next) in [(Period::Day, "2026-11-24"), (Period::Month, "2026-12-01")] {
        let key = key(&ledger, quota(100, period)).await;
        clock.set(time("2026-11-23T12:00:00Z"));
        spend(&ledger, &key, "first", tokens(30, 30)).await;
        let refused = limited(ledger.reserve(&key.id, request("second", &clock, tokens(40, 1))).await);
        assert_eq!((refused.standing.limit, refused.standing.used), (Limit::Tokens(period), Amount::Count(60)));
        assert_eq!((refused.retry, refused.standing.resets), (Some(time(next)), Some(time(next))));
        // What is held counts, and what was held but not used does not.
        let hold = held(ledger.reserve(&key.id, request("third", &clock, tokens(40, 0))).await);
        assert_eq!(hold.standings()[0].remaining(), Amount::Count(0));
        limited(ledger.reserve(&key.id, request("fourth", &clock, tokens(1, 0))).await);
        clock.set(time(next).before(Duration::from_micros(1)));
        limited(ledger.reserve(&key.id, request("fifth", &clock, tokens(1, 0))).await);
        clock.set(time(next));
        spend(&ledger, &key, "sixth", tokens(100, 0)).await;
        // The hold of the day before is settled there.
        ledger.settle(&hold, tokens(10, 0), Outcome::Completed).await.unwrap();
        limited(ledger.reserve(&key.id, request("seventh", &clock, tokens(1, 0))).await);
        let mut before = request("eighth", &clock, tokens(30, 0));
        before.at = time("2026-11-23T23:59:59Z");
        held(ledger.reserve(&key.id, before).await);
    }
}

async fn budgets_need_prices(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, budget("1", Period::Total)).await;
    let unpriced = |result| match result {
        Err(LedgerError::Denied(Denied::Unpriced { .. })) => {}
        other => panic!("{other:?}"),
    };
    unpriced(ledger.reserve(&key.id, request(1, &clock, tokens(1, 1))).await);
    ledger.add_prices(prices("p", "2026-01-01", "0.5", "2")).await.unwrap();
    let mut other = request(2, &clock, tokens(1, 1));
    other.model = "large".into();
    unpriced(ledger.reserve(&key.id, other).await);
    unpriced(ledger.reserve(&key.id, request(3, &clock, Units::new().with(Unit::Images, 1))).await);
    let hold = held(ledger.reserve(&key.id, request(4, &clock, tokens(1_000_000, 250_000))).await);
    assert_eq!(hold.cost().unwrap().amount.to_string(), "1");
    let refused = limited(ledger.reserve(&key.id, request(5, &clock, tokens(1, 0))).await);
    assert_eq!(
        refused.to_string(),
        "limit of budget in total reached: 1 EUR allowed, 1 EUR used or held, 0.0000005 EUR asked for"
    );
    ledger.settle(&hold, tokens(1_000_000, 249_999), Outcome::Completed).await.unwrap();
    spend(&ledger, &key, 6, tokens(4, 0)).await;
    limited(ledger.reserve(&key.id, request(7, &clock, tokens(1, 0))).await);
    // What costs nothing is let in.
    spend(&ledger, &key, 8, tokens(0, 0)).await;
}

async fn concurrency_is_counted_for_all_processes(database: Database) {
    let clock = noon();
    let (here, there) = (database.ledger(&clock).await, database.ledger(&clock).await);
    let key = key(&here, Limits { concurrent: Some(2), ..Limits::default() }).await;
    let one = held(here.reserve(&key.id, request(1, &clock, tokens(1, 1))).await);
    let two = held(there.reserve(&key.id, request(2, &clock, tokens(1, 1))).await);
    let refused = limited(here.reserve(&key.id, request(3, &clock, tokens(1, 1))).await);
    assert_eq!((refused.standing.limit, refused.retry, refused.is_hopeless()), (Limit::Concurrent, None, false));
    there.settle(&two, tokens(1, 0), Outcome::Cancelled).await.unwrap();
    let three = held(here.reserve(&key.id, request(3, &clock, tokens(1, 1))).await);
    drop(one);
    held(here.reserve(&key.id, request(4, &clock, tokens(1, 1))).await);
    drop(three);
}

async fn minutes_are_counted(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let limits = Limits { requests_per_minute: Some(3), tokens_per_minute: Some(100), ..Limits::default() };
    let key = key(&ledger, limits).await;
    spend(&ledger, &key, 1, tokens(10, 10)).await;
    let hold = held(ledger.reserve(&key.id, request(2, &clock, tokens(0, 80))).await);
    assert_eq!(
        hold.standings().iter().map(|s| s.remaining()).collect::<Vec<_>>(),
        [Amount::Count(1), Amount::Count(0)]
    );
    let refused = limited(ledger.reserve(&key.id, request(3, &clock, tokens(1, 0))).await);
    assert_eq!(refused.standing.limit, Limit::TokensPerMinute);
    ledger.settle(&hold, tokens(0, 30), Outcome::Completed).await.unwrap();
    spend(&ledger, &key, 3, tokens(50, 0)).await;
    let later = clock.now().after(Duration::from_secs(60));
    let refused = limited(ledger.reserve(&key.id, request(4, &clock, tokens(0, 0))).await);
    assert_eq!((refused.standing.limit, refused.retry), (Limit::RequestsPerMinute, Some(later)));
    clock.set(later);
    spend(&ledger, &key, 4, tokens(100, 0)).await;
}

async fn a_refusal_tells_when_to_come_again(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, quota(100, Period::Day)).await;
    let refused = limited(ledger.reserve(&key.id, request(1, &clock, tokens(101, 0))).await);
    assert!(refused.is_hopeless());
    assert_eq!(refused.retry, None);
    spend(&ledger, &key, 2, tokens(1, 0)).await;
    let refused = limited(ledger.reserve(&key.id, request(3, &clock, tokens(100, 0))).await);
    let text = "limit of tokens per day reached: 100 allowed, 1 used or held, 100 asked for; try again at 2026-11-24T00:00:00.000000Z";
    assert_eq!(refused.to_string(), text);
}
