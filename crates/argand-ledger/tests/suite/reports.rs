//! Reports and exports: the same sums, whoever adds up.

use std::collections::BTreeMap;

use argand_ledger::{By, Filter, Format, Ledger, Limits, Outcome, Unit, Units, UsageRow};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::databases::Database;
use crate::{held, key, noon, on_both, prices, request, spend, time, tokens};

on_both! {
    reports_add_up,
    exports_say_the_same,
    the_ledger_is_the_sum_of_what_was_settled,
}

async fn reports_add_up(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let (one, two) = (key(&ledger, Limits::default()).await, key(&ledger, Limits::default()).await);
    assert_eq!(ledger.report(&Filter::default(), &[]).await.unwrap(), []);
    let unpriced = spend(&ledger, &one, 0, tokens(5, 0)).await;
    ledger.add_prices(prices("p", "2026-01-01", "1", "2")).await.unwrap();
    for (number, at) in ["2026-11-23T22:59:59Z", "2026-11-23T23:00:00Z", "2026-11-24T00:00:00Z"].into_iter().enumerate()
    {
        clock.set(time(at));
        spend(&ledger, &one, format!("a{number}"), tokens(10, 1)).await;
        spend(&ledger, &two, format!("b{number}"), tokens(0, 100)).await;
    }
    ledger.correct(2, tokens(-4, 0), "mistaken").await.unwrap();
    let total = ledger.report(&Filter::default(), &[]).await.unwrap();
    assert_eq!(total.len(), 1);
    assert_eq!((total[0].requests, total[0].unpriced, total[0].units), (7, 1, tokens(31, 303)));
    let cost: Vec<String> = total[0].cost.iter().map(|(currency, amount)| format!("{amount} {currency}")).collect();
    assert_eq!(cost, ["0.000632 EUR"]);
    let days = ledger.report(&Filter { key: Some(two.id.clone()), ..Filter::default() }, &[By::Day]).await.unwrap();
    let days: Vec<_> = days.iter().map(|line| (line.group[0].as_str(), line.requests, line.units.tokens())).collect();
    assert_eq!(days, [("2026-11-23", 2, 200), ("2026-11-24", 1, 100)]);
    let filter = Filter { from: Some(time("2026-11-23T22:59:59Z")), to: Some(time("2026-11-24")), ..Filter::default() };
    let lines = ledger.report(&filter, &[By::Hour, By::Key]).await.unwrap();
    let hours: Vec<_> = lines.iter().map(|line| line.group[0].as_str()).collect();
    assert_eq!(hours, ["2026-11-23T22", "2026-11-23T22", "2026-11-23T23", "2026-11-23T23"]);
    let by_model = ledger.report(&Filter::default(), &[By::Endpoint, By::Model]).await.unwrap();
    assert_eq!(by_model[0].group, ["chat.completions", "small"]);
    assert_eq!(by_model[0].units, total[0].units);
    let none = Filter { model: Some("large".into()), ..Filter::default() };
    assert_eq!(ledger.report(&none, &[By::Model]).await.unwrap(), []);
    assert_eq!(unpriced.cost, None);
}

async fn exported(ledger: &Ledger, format: &Format) -> String {
    let mut out = Vec::new();
    ledger.export(&Filter::default(), format, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

/// A reader of RFC 4180, after its grammar.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        let record = records.last_mut().unwrap();
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => record.last_mut().unwrap().push(letters.next().unwrap()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\r' if !quoted => {
                assert_eq!(letters.next(), Some('\n'));
                records.push(vec![String::new()]);
            }
            letter => record.last_mut().unwrap().push(letter),
        }
    }
    assert_eq!(records.pop(), Some(vec![String::new()]));
    records
}

async fn exports_say_the_same(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let key = key(&ledger, Limits::default()).await;
    spend(&ledger, &key, "before prices", tokens(1, 2)).await;
    ledger.add_prices(prices("a \"quoted\", list", "2026-01-01", "0.15", "0.6")).await.unwrap();
    let mut odd = request("\u{1F980}, \"odd\"", &clock, tokens(1, 2));
    odd.endpoint = "a\\b'c".into();
    let hold = held(ledger.reserve(&key.id, odd).await);
    ledger
        .settle(&hold, Units::new().with(Unit::CachedInput, 7).with(Unit::Reasoning, 3), Outcome::Failed)
        .await
        .unwrap();
    ledger.correct(2, Units::new().with(Unit::CachedInput, -1), "for \"them\"").await.unwrap();
    let rows = ledger.rows(&Filter::default(), 0, 10).await.unwrap();
    assert_eq!(rows.len(), 3);

    let lines = exported(&ledger, &Format::JsonLines).await;
    let read: Vec<UsageRow> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, rows);
    assert!(read.iter().all(|row| row.expected_hash() == row.hash));

    let source = "https://example.org/ledger".to_owned();
    let events: serde_json::Value =
        serde_json::from_str(&exported(&ledger, &Format::CloudEvents { source }).await).unwrap();
    for (event, row) in events.as_array().unwrap().iter().zip(&rows) {
        assert_eq!(&serde_json::from_value::<UsageRow>(event["data"].clone()).unwrap(), row);
        assert_eq!((&event["specversion"], &event["id"]), (&"1.0".into(), &row.seq.to_string().into()));
        assert_eq!((&event["subject"], &event["time"]), (&key.id.clone().into(), &row.at.to_string().into()));
    }

    let records = read_csv(&exported(&ledger, &Format::Csv).await);
    let column = |name: &str| records[0].iter().position(|column| column == name).unwrap();
    for (record, row) in records[1..].iter().zip(&rows) {
        assert_eq!(record.len(), records[0].len());
        assert_eq!((&record[column("request")], &record[column("endpoint")]), (&row.request, &row.endpoint));
        assert_eq!(&record[column("hash")], &row.hash);
        assert_eq!(&record[column("note")], row.note.as_deref().unwrap_or(""));
        let count = |unit: Unit| record[column(unit.word())].parse().unwrap_or(0);
        assert!(Unit::ALL.into_iter().all(|unit| count(unit) == row.units.get(unit)));
        let cost =
            row.cost.as_ref().map_or((String::new(), String::new()), |c| (c.amount.to_string(), c.prices.clone()));
        assert_eq!((record[column("cost")].clone(), record[column("prices")].clone()), cost);
    }
    assert_eq!(records.len(), 4);
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(usize, u8, i64, i64),
    Progress(usize, i64),
    Settle(usize, i64, i64),
    SettleAgain(usize),
    Drop(usize),
    Correct(usize, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..64usize;
    prop_oneof![
        4 => (0..2usize, 0..40u8, 0..1000i64, 0..1000i64).prop_map(|(key, id, i, o)| Step::Reserve(key, id, i, o)),
        1 => (at.clone(), 0..50i64).prop_map(|(at, count)| Step::Progress(at, count)),
        3 => (at.clone(), 0..1000i64, 0..1000i64).prop_map(|(at, i, o)| Step::Settle(at, i, o)),
        1 => at.clone().prop_map(Step::SettleAgain),
        1 => at.clone().prop_map(Step::Drop),
        1 => (at, -20..20i64).prop_map(|(at, count)| Step::Correct(at, count)),
    ]
}

/// What the ledger should hold after random steps: sums are kept beside it and compared with every sum that it makes.
async fn the_ledger_is_the_sum_of_what_was_settled(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    ledger.add_prices(prices("p", "2026-01-01", "0.0004", "0.6")).await.unwrap();
    let keys = [key(&ledger, Limits::default()).await, key(&ledger, Limits::default()).await];
    let steps = proptest::collection::vec(step(), 600).new_tree(&mut TestRunner::deterministic()).unwrap().current();
    let mut open: Vec<(argand_ledger::Hold, Units)> = Vec::new();
    let mut settled: Vec<(argand_ledger::Hold, Units, i64)> = Vec::new();
    let mut sums: BTreeMap<String, Units> = BTreeMap::new();
    let mut add = |key: &str, units: Units| {
        let sum = sums.entry(key.to_owned()).or_default();
        *sum = sum.plus(&units).unwrap();
    };
    let mut requests = 0;
    for step in steps {
        match step {
            Step::Reserve(of, id, input, output) => {
                let reserved = ledger.reserve(&keys[of].id, request(id, &clock, tokens(input, output))).await.unwrap();
                if let argand_ledger::Reserved::Held(hold) = reserved {
                    open.push((hold, Units::new()));
                }
            }
            Step::Progress(at, count) if !open.is_empty() => {
                let at = at % open.len();
                open[at].1 = tokens(count, 0);
                ledger.progress(&[(&open[at].0, open[at].1)]).await.unwrap();
            }
            Step::Settle(at, input, output) if !open.is_empty() => {
                let (hold, _) = open.swap_remove(at % open.len());
                let used = tokens(input, output);
                let done = ledger.settle(&hold, used, Outcome::Completed).await.unwrap();
                assert!(done.first);
                add(hold.key(), used);
                requests += 1;
                settled.push((hold, used, done.row.seq));
            }
            Step::SettleAgain(at) if !settled.is_empty() => {
                let (hold, used, _) = &settled[at % settled.len()];
                let done = ledger.settle(hold, tokens(999, 999), Outcome::Failed).await.unwrap();
                assert_eq!((done.first, done.row.units), (false, *used));
            }
            Step::Drop(at) if !open.is_empty() => {
                let (hold, noted) = open.swap_remove(at % open.len());
                add(hold.key(), noted);
                requests += i64::from(!noted.is_empty());
            }
            Step::Correct(at, count) if !settled.is_empty() => {
                let (hold, _, seq) = &settled[at % settled.len()];
                if ledger.correct(*seq, tokens(count, 0), "property").await.is_ok() {
                    add(hold.key(), tokens(count, 0));
                }
            }
            _ => {}
        }
    }
    drop(
        open.drain(..)
            .map(|(hold, noted)| {
                add(hold.key(), noted);
                requests += i64::from(!noted.is_empty());
            })
            .collect::<Vec<()>>(),
    );
    // Whatever the writer does next stands behind what was dropped.
    ledger.recover().await.unwrap();
    let lines = ledger.report(&Filter::default(), &[By::Key]).await.unwrap();
    let found: BTreeMap<String, Units> = lines.iter().map(|line| (line.group[0].clone(), line.units)).collect();
    assert_eq!(found, sums);
    assert_eq!(lines.iter().map(|line| line.requests).sum::<i64>(), requests);
    // Rows, totals and reports come to the same money.
    let rows = ledger.rows(&Filter::default(), 0, 10_000).await.unwrap();
    assert!(rows.len() > 100);
    for line in &lines {
        let of_key = || rows.iter().filter(|row| row.key == line.group[0]);
        let cost: i64 = of_key().map(|row| row.cost.as_ref().unwrap().amount.nanos()).sum();
        assert_eq!(line.cost.values().map(|money| money.nanos()).sum::<i64>(), cost);
        let key = keys.iter().find(|key| key.id == line.group[0]).unwrap();
        let whole = crate::budget("1000000000", argand_ledger::Period::Total);
        let change = argand_ledger::KeyChange { limits: Some(whole), ..Default::default() };
        ledger.change_key(&key.id, change).await.unwrap();
        let hold = held(ledger.reserve(&key.id, request("last", &clock, tokens(0, 0))).await);
        assert_eq!(hold.standings()[0].used.number(), cost);
    }
    ledger.verify_chain(None).await.unwrap();
}
