//! Usage: written once, never changed, and nothing lost.

use std::time::Duration;

use argand_ledger::{Filter, Kind, LedgerError, Limits, Options, Outcome, Period, Recovered, Reserved};

use crate::databases::Database;
use crate::{held, key, noon, on_both, prices, quota, request, spend, time, tokens};

on_both! {
    a_request_is_charged_once,
    prices_change_at_midnight,
    without_prices_cost_is_absent,
    what_was_dropped_is_settled_as_noted,
    the_dead_are_recovered_and_the_living_are_not,
    a_successor_of_the_same_name_recovers_at_once,
    what_was_recovered_is_not_charged_again,
    rows_cannot_be_changed,
    corrections_are_rows,
}

async fn a_request_is_charged_once(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, quota(100, Period::Day)).await;
    let hold = held(ledger.reserve(&key.id, request("same", &clock, tokens(50, 50))).await);
    assert!(matches!(ledger.reserve(&key.id, request("same", &clock, tokens(1, 1))).await, Ok(Reserved::Running)));
    let first = ledger.settle(&hold, tokens(20, 10), Outcome::Completed).await.unwrap();
    let again = ledger.settle(&hold, tokens(40, 40), Outcome::Failed).await.unwrap();
    assert_eq!((first.first, again.first, &first.row), (true, false, &again.row));
    match ledger.reserve(&key.id, request("same", &clock, tokens(1, 1))).await.unwrap() {
        Reserved::Settled(row) => assert_eq!(*row, first.row),
        other => panic!("{other:?}"),
    }
    // 70 are left if it was charged once.
    spend(&ledger, &key, "other", tokens(70, 0)).await;
    // Another key may use the same id.
    let other = crate::key(&ledger, Limits::default()).await;
    spend(&ledger, &other, "same", tokens(1, 0)).await;
}

async fn prices_change_at_midnight(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    ledger.add_prices(prices("old", "2026-01-01", "1", "2")).await.unwrap();
    ledger.add_prices(prices("new", "2026-11-24", "10", "20")).await.unwrap();
    let key = key(&ledger, Limits::default()).await;
    clock.set(time("2026-11-23T23:59:59.999999Z"));
    let hold = held(ledger.reserve(&key.id, request("before", &clock, tokens(7, 7))).await);
    clock.set(time("2026-11-24"));
    let before = ledger.settle(&hold, tokens(3, 1), Outcome::Completed).await.unwrap().row.cost.unwrap();
    let after = spend(&ledger, &key, "after", tokens(3, 1)).await.cost.unwrap();
    assert_eq!((before.prices.as_str(), before.amount.nanos()), ("old", 5_000));
    assert_eq!((after.prices.as_str(), after.amount.nanos()), ("new", 50_000));
    ledger.add_prices(prices("new", "2026-11-24", "10", "20")).await.unwrap();
    let other = ledger.add_prices(prices("new", "2026-11-24", "10", "21")).await;
    assert_eq!(other, Err(LedgerError::Exists { what: "price list", name: "new".into() }));
    assert_eq!(ledger.prices().await.unwrap().len(), 2);
    // Others hear of new prices with their next request.
    let there = database.ledger(&clock).await;
    spend(&there, &key, "there", tokens(1, 1)).await;
    ledger.add_prices(prices("newest", "2026-11-24", "1000000", "0")).await.unwrap();
    assert_eq!(spend(&there, &key, "later", tokens(1, 1)).await.cost.unwrap().amount.to_string(), "1");
}

async fn without_prices_cost_is_absent(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, Limits::default()).await;
    assert_eq!(spend(&ledger, &key, 1, tokens(3, 4)).await.cost, None);
    ledger.add_prices(prices("free", "2026-01-01", "0", "0")).await.unwrap();
    assert_eq!(spend(&ledger, &key, 2, tokens(3, 4)).await.cost.unwrap().amount.nanos(), 0);
}

async fn what_was_dropped_is_settled_as_noted(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, Limits::default()).await;
    let (noted, silent) = (request("noted", &clock, tokens(9, 9)), request("silent", &clock, tokens(9, 9)));
    let noted = held(ledger.reserve(&key.id, noted).await);
    let silent = held(ledger.reserve(&key.id, silent).await);
    ledger.progress(&[(&noted, tokens(9, 1))]).await.unwrap();
    ledger.progress(&[(&noted, tokens(9, 2)), (&silent, tokens(0, 0))]).await.unwrap();
    drop((noted, silent));
    match ledger.reserve(&key.id, request("noted", &clock, tokens(1, 1))).await.unwrap() {
        Reserved::Settled(row) => assert_eq!((row.units, row.outcome), (tokens(9, 2), Outcome::Abandoned)),
        other => panic!("{other:?}"),
    }
    held(ledger.reserve(&key.id, request("silent", &clock, tokens(1, 1))).await);
}

async fn the_dead_are_recovered_and_the_living_are_not(database: Database) {
    let clock = noon();
    let (dead, living) = (database.ledger(&clock).await, database.ledger(&clock).await);
    let key = key(&living, Limits::default()).await;
    let one = held(dead.reserve(&key.id, request(1, &clock, tokens(9, 9))).await);
    let two = held(dead.reserve(&key.id, request(2, &clock, tokens(9, 9))).await);
    let three = held(living.reserve(&key.id, request(3, &clock, tokens(9, 9))).await);
    dead.progress(&[(&one, tokens(5, 1))]).await.unwrap();
    assert_eq!(living.recover().await.unwrap(), Recovered::default());
    clock.set(clock.now().after(Duration::from_secs(16)));
    // Before it recovers for us, the writer says that it lives itself, and recovers then.
    living.recover().await.unwrap();
    let rows = living.rows(&Filter::default(), 0, 10).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.request.as_str(), row.units, row.outcome)).collect();
    assert_eq!(rows, [("1", tokens(5, 1), Outcome::Recovered)]);
    assert!(living.settle(&three, tokens(1, 1), Outcome::Completed).await.unwrap().first);
    // Who was taken for dead and was not still charges what it used, once.
    let (late, later) = (tokens(9, 3), tokens(9, 4));
    assert!(!dead.settle(&one, late, Outcome::Completed).await.unwrap().first);
    assert!(dead.settle(&two, late, Outcome::Completed).await.unwrap().first);
    assert!(!dead.settle(&two, later, Outcome::Completed).await.unwrap().first);
}

async fn a_successor_of_the_same_name_recovers_at_once(database: Database) {
    let clock = noon();
    let options = Options { clock: clock.clone(), server: Some("one".into()), ..Options::default() };
    let before = argand_ledger::Ledger::open(&database.url, options.clone()).await.unwrap();
    let key = key(&before, Limits::default()).await;
    let hold = held(before.reserve(&key.id, request(1, &clock, tokens(9, 9))).await);
    let after = argand_ledger::Ledger::open(&database.url, options).await.unwrap();
    assert_eq!(after.recover().await.unwrap(), Recovered { settled: 0, freed: 1 });
    drop(hold);
}

async fn what_was_recovered_is_not_charged_again(database: Database) {
    let clock = noon();
    let (dead, living) = (database.ledger(&clock).await, database.ledger(&clock).await);
    let key = key(&living, quota(20, Period::Total)).await;
    let hold = held(dead.reserve(&key.id, request(1, &clock, tokens(10, 10))).await);
    dead.progress(&[(&hold, tokens(10, 4))]).await.unwrap();
    dead.close().await.unwrap();
    assert_eq!(living.recover().await.unwrap(), Recovered { settled: 1, freed: 0 });
    assert!(matches!(living.reserve(&key.id, request(1, &clock, tokens(1, 1))).await, Ok(Reserved::Settled(_))));
    spend(&living, &key, 2, tokens(6, 0)).await;
    assert_eq!(dead.settle(&hold, tokens(10, 5), Outcome::Completed).await, Err(LedgerError::Closed));
}

async fn rows_cannot_be_changed(database: Database) {
    let ledger = database.ledger(&noon()).await;
    ledger.add_prices(prices("p", "2026-01-01", "1", "2")).await.unwrap();
    let key = key(&ledger, Limits::default()).await;
    for number in 0..5 {
        spend(&ledger, &key, number, tokens(number, 1)).await;
    }
    for sql in ["UPDATE usage SET cost = 0", "DELETE FROM usage WHERE seq = 5", "DELETE FROM price_lists"] {
        let refused = database.run(sql).await.unwrap_err();
        assert!(refused.contains("append-only"), "{refused}");
    }
    let chain = ledger.verify_chain(None).await.unwrap();
    assert_eq!(chain.seq, 5);
    spend(&ledger, &key, 6, tokens(1, 1)).await;
    assert_eq!(ledger.verify_chain(Some(&chain)).await.unwrap().seq, 6);
    // Whoever can take the triggers away can change rows, but not unseen.
    let off = if database.is_sqlite() {
        "DROP TRIGGER usage_update; DROP TRIGGER usage_delete"
    } else {
        "DROP TRIGGER usage_append_only ON usage"
    };
    database.run(off).await.unwrap();
    let broken = async |seq| match ledger.verify_chain(Some(&chain)).await {
        Err(LedgerError::Broken { seq: found, .. }) => assert_eq!(found, seq),
        other => panic!("{other:?}"),
    };
    database.run("UPDATE usage SET cost = cost + 1 WHERE seq = 3").await.unwrap();
    broken(3).await;
    database.run("UPDATE usage SET cost = cost - 1 WHERE seq = 3").await.unwrap();
    ledger.verify_chain(None).await.unwrap();
    database.run("DELETE FROM usage WHERE seq = 6").await.unwrap();
    broken(6).await;
    database.run("UPDATE head SET seq = 5, hash = (SELECT hash FROM usage WHERE seq = 5)").await.unwrap();
    ledger.verify_chain(Some(&chain)).await.unwrap();
    database.run("UPDATE head SET seq = 4, hash = (SELECT hash FROM usage WHERE seq = 4)").await.unwrap();
    database.run("DELETE FROM usage WHERE seq = 5").await.unwrap();
    ledger.verify_chain(None).await.unwrap();
    broken(5).await;
}

async fn corrections_are_rows(database: Database) {
    let ledger = database.ledger(&noon()).await;
    // One token costs a third of a billionth and a bit: three corrections of one must not round three times.
    ledger.add_prices(prices("p", "2026-01-01", "0.0004", "1")).await.unwrap();
    let key = key(&ledger, quota(100, Period::Day)).await;
    let row = spend(&ledger, &key, 1, tokens(100, 0)).await;
    assert_eq!(row.cost.as_ref().unwrap().amount.nanos(), 40);
    let mut sum = 40;
    for _ in 0..3 {
        let correction = ledger.correct(row.seq, tokens(-1, 0), "counted twice").await.unwrap();
        assert_eq!((correction.kind, correction.corrects, correction.at), (Kind::Correction, Some(row.seq), row.at));
        sum += correction.cost.unwrap().amount.nanos();
    }
    // 97 tokens cost 38.8 billionths.
    assert_eq!(sum, 39);
    spend(&ledger, &key, 2, tokens(3, 0)).await;
    for (seq, units) in [(row.seq, tokens(-98, 0)), (row.seq + 1, tokens(1, 0))] {
        assert!(matches!(ledger.correct(seq, units, "wrong").await, Err(LedgerError::Invalid { .. })));
    }
    assert!(matches!(ledger.correct(77, tokens(1, 0), "wrong").await, Err(LedgerError::NotFound { .. })));
    ledger.verify_chain(None).await.unwrap();
}
