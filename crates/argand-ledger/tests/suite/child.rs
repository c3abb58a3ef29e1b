//! A process that is killed in the middle of its work: this test program itself, started once more.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use argand_ledger::{Clock, Filter, Ledger, Limits, Options, Outcome, Units};

use crate::databases::Database;
use crate::{held, key, on_both, request, tokens};

on_both! { nothing_is_lost_or_doubled_by_a_kill }

const URL: &str = "ARGAND_LEDGER_TEST_URL";
const KEY: &str = "ARGAND_LEDGER_TEST_KEY";
const STREAMS: usize = 8;

/// The work of the child: streams that reserve, note progress and settle until they are killed. What the ledger has told them to be
/// done is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(url), Ok(key)) = (std::env::var(URL), std::env::var(KEY)) else { return };
    let ledger = Ledger::open(&url, options()).await.unwrap();
    let streams: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let (ledger, key) = (ledger.clone(), key.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    let id = format!("{stream}-{number}");
                    let hold = held(ledger.reserve(&key, request(&id, &Clock::system(), tokens(9, 9))).await);
                    ledger.progress(&[(&hold, tokens(9, 1))]).await.unwrap();
                    println!("noted {id}");
                    ledger.settle(&hold, tokens(9, number % 10), Outcome::Completed).await.unwrap();
                    println!("settled {id}");
                }
            })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
}

fn options() -> Options {
    Options { server: Some("child".into()), lease: Duration::from_secs(600), ..Options::default() }
}

async fn nothing_is_lost_or_doubled_by_a_kill(database: Database) {
    let ledger = Ledger::open(&database.url, Options::default()).await.unwrap();
    let key = key(&ledger, Limits::default()).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child::child", "--exact", "--nocapture"])
        .env(URL, &database.url)
        .env(KEY, &key.id)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told: Vec<String> = Vec::new();
    while told.len() < 400 {
        told.push(said.next().expect("the child ended by itself").unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(said.map_while(Result::ok));
    // The successor of the child; the ledger above has another name, and the lease of the child is long.
    let after = Ledger::open(&database.url, options()).await.unwrap();
    let recovered = after.recover().await.unwrap();
    let rows = after.rows(&Filter::default(), 0, 100_000).await.unwrap();
    let row = |id: &str| {
        let mut found = rows.iter().filter(|row| row.request == id);
        let row = found.next();
        assert!(found.next().is_none(), "{id} is charged twice");
        row
    };
    for line in told.iter().filter(|line| line.contains("settled ")) {
        let id = line.rsplit(' ').next().unwrap();
        let row = row(id).unwrap_or_else(|| panic!("{id} is lost"));
        let number: i64 = id.split('-').nth(1).unwrap().parse().unwrap();
        assert_eq!((row.units, row.outcome), (tokens(9, number % 10), Outcome::Completed));
    }
    for line in told.iter().filter(|line| line.contains("noted ")) {
        assert!(row(line.rsplit(' ').next().unwrap()).is_some(), "{line} and is lost");
    }
    let of_the_dead: Vec<_> = rows.iter().filter(|row| row.outcome == Outcome::Recovered).collect();
    assert_eq!(of_the_dead.len() as u64, recovered.settled);
    assert!(recovered.settled + recovered.freed <= STREAMS as u64);
    assert!(of_the_dead.iter().all(|row| row.units == tokens(9, 1)));
    let sum = rows.iter().fold(Units::new(), |sum, row| sum.plus(&row.units).unwrap());
    assert_eq!(after.report(&Filter::default(), &[]).await.unwrap()[0].units, sum);
    after.verify_chain(None).await.unwrap();
    assert_eq!(after.recover().await.unwrap(), argand_ledger::Recovered::default());
}
