//! How long a request waits for the ledger: `cargo run --release -p argand-ledger --example speed -- URL [REQUESTS]`.
//!
//! Reserves and settles, one request at a time and 32 at a time, in a database that is better not one with keys that matter.

use std::error::Error;
use std::time::{Duration, Instant};

use argand_ledger::{Ledger, NewKey, Options, Outcome, PriceList, Request, Reserved, Scope, Unit, Units};

const PRICES: &str = r#"{"id":"speed","currency":"EUR","valid_from":"2026-01-01",
    "prices":[{"model":"*","per_million":{"input":"0.15","output":"0.60"}}]}"#;
const LIMITS: &str = r#"{"tokens":{"tokens":1000000000000,"period":"day"},
    "budget":{"amount":"1000000","currency":"EUR","period":"month"}}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("give the URL of a database")?;
    let requests: usize = args.next().map_or(Ok(2000), |count| count.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let ledger = Ledger::open(&url, Options::default()).await?;
        ledger.add_prices(PriceList::from_json(PRICES)?).await?;
        let limits = serde_json::from_str(LIMITS)?;
        let new = NewKey { name: "speed".into(), scopes: [Scope::Inference].into(), limits, ..NewKey::default() };
        let (key, _) = ledger.create_key(new).await?;
        for concurrent in [1, 32] {
            measure(&ledger, &key.id, concurrent, requests).await?;
        }
        ledger.verify_chain(None).await?;
        ledger.close().await?;
        Ok(())
    })
}

async fn measure(ledger: &Ledger, key: &str, concurrent: usize, requests: usize) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let streams: Vec<_> = (0..concurrent)
        .map(|stream| {
            let (ledger, key) = (ledger.clone(), key.to_owned());
            let ids: Vec<String> =
                (stream..requests).step_by(concurrent).map(|id| format!("{concurrent}-{id}")).collect();
            tokio::spawn(async move {
                let mut waited = Vec::new();
                for id in ids {
                    waited.push(one(&ledger, &key, id).await?);
                }
                Ok::<_, argand_ledger::LedgerError>(waited)
            })
        })
        .collect();
    let mut waited = Vec::new();
    for stream in streams {
        waited.extend(stream.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{concurrent:>3} at a time: {requests} requests in {seconds:.2} s");
    for (what, which) in [("reserve", 0), ("settle", 1), ("both", 2)] {
        let mut times: Vec<Duration> = waited.iter().map(|times| times[which]).collect();
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("    {what:<8} p50 {:>7.3} ms   p99 {:>7.3} ms", at(0.5), at(0.99));
    }
    Ok(())
}

/// How long a reservation took, a settlement, and both.
async fn one(ledger: &Ledger, key: &str, id: String) -> argand_ledger::Result<[Duration; 3]> {
    let units = |output| Units::new().with(Unit::Input, 100).with(Unit::Output, output);
    let request = Request {
        id,
        model: "speed".into(),
        endpoint: "chat.completions".into(),
        at: ledger.clock().now(),
        hold: units(128),
    };
    let begun = Instant::now();
    let Reserved::Held(hold) = ledger.reserve(key, request).await? else { return Ok([Duration::ZERO; 3]) };
    let reserved = begun.elapsed();
    ledger.settle(&hold, units(64), Outcome::Completed).await?;
    let both = begun.elapsed();
    Ok([reserved, both.saturating_sub(reserved), both])
}
