//! The page pool against a naive model: contents are kept per table, and every rule is checked after every operation.

use argand_engine::pages::{PagePool, PageTable};
use proptest::prelude::*;

const PAGE: usize = 4;
const PAGES: usize = 12;

/// A sequence with the tokens that its pages should hold.
struct Held {
    tokens: Vec<u32>,
    table: PageTable,
}

#[derive(Clone, Debug)]
enum Op {
    Start { namespace: u64, tokens: Vec<u32> },
    Grow { which: usize, tokens: Vec<u32>, keep: usize },
    Truncate { which: usize, len: usize },
    Fork { which: usize },
    Release { which: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Two token values, so that sequences often share prefixes.
    let tokens = || prop::collection::vec(0u32..2, 1..11);
    let op = prop_oneof![
        (0u64..2, tokens()).prop_map(|(namespace, tokens)| Op::Start { namespace, tokens }),
        (any::<usize>(), tokens(), 0usize..11).prop_map(|(which, tokens, keep)| Op::Grow { which, tokens, keep }),
        (any::<usize>(), 0usize..24).prop_map(|(which, len)| Op::Truncate { which, len }),
        any::<usize>().prop_map(|which| Op::Fork { which }),
        any::<usize>().prop_map(|which| Op::Release { which }),
    ];
    prop::collection::vec(op, 1..80)
}

/// What a runner would hold: a token per slot.
struct Memory(Vec<u32>);

impl Memory {
    fn check(&self, held: &Held) {
        assert_eq!(held.tokens.len(), held.table.len());
        for (i, token) in held.tokens.iter().enumerate() {
            assert_eq!(self.0[held.table.pages()[i / PAGE] as usize * PAGE + i % PAGE], *token, "token {i}");
        }
    }

    /// Writes rows as the engine does: reserve, copy, write all, keep some.
    fn grow(&mut self, pool: &mut PagePool, held: &mut Held, rows: &[u32], keep: usize) {
        let before = (pool.available(), held.table.pages().to_vec());
        match pool.reserve(&mut held.table, rows.len()) {
            Err(error) => {
                assert!(error.needed > error.available);
                assert_eq!((pool.available(), held.table.pages().to_vec()), before, "a refusal changes nothing");
            }
            Ok(copy) => {
                if let Some(copy) = copy {
                    let from = copy.from as usize * PAGE;
                    self.0.copy_within(from..from + PAGE, copy.to as usize * PAGE);
                }
                for (i, token) in (held.table.len()..).zip(rows) {
                    self.0[held.table.pages()[i / PAGE] as usize * PAGE + i % PAGE] = *token;
                }
                let keep = keep.min(rows.len());
                held.tokens.extend(&rows[..keep]);
                pool.advance(&mut held.table, keep, &held.tokens);
                pool.trim(&mut held.table);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn live_contents_survive_everything(ops in ops()) {
        let mut pool = PagePool::new(PAGES, PAGE);
        let mut memory = Memory(vec![u32::MAX; PAGES * PAGE]);
        let mut live: Vec<Held> = Vec::new();
        for op in ops {
            let pick = |which: usize| (!live.is_empty()).then(|| which % live.len());
            match op {
                Op::Start { namespace, tokens } => {
                    let mut table = PageTable::new(namespace);
                    let gained = pool.adopt(&mut table, &tokens);
                    prop_assert!(gained <= tokens.len() && gained.is_multiple_of(PAGE));
                    let mut held = Held { tokens: tokens[..gained].to_vec(), table };
                    memory.check(&held);
                    memory.grow(&mut pool, &mut held, &tokens[gained..], usize::MAX);
                    live.push(held);
                }
                Op::Grow { which, tokens, keep } => if let Some(i) = pick(which) {
                    memory.grow(&mut pool, &mut live[i], &tokens, keep);
                },
                Op::Truncate { which, len } => if let Some(i) = pick(which) {
                    pool.truncate(&mut live[i].table, len);
                    live[i].tokens.truncate(len);
                },
                Op::Fork { which } => if let Some(i) = pick(which) {
                    let table = pool.fork(&live[i].table);
                    let tokens = live[i].tokens.clone();
                    live.push(Held { tokens, table });
                },
                Op::Release { which } => if let Some(i) = pick(which) {
                    pool.release(live.swap_remove(i).table);
                },
            }
            for held in &live {
                memory.check(held);
                prop_assert_eq!(held.table.pages().len(), held.tokens.len().div_ceil(PAGE));
            }
            let mut pages: Vec<u32> = live.iter().flat_map(|h| h.table.pages()).copied().collect();
            pages.sort_unstable();
            pages.dedup();
            let usage = pool.usage();
            prop_assert_eq!(usage.held, pages.len());
            prop_assert_eq!(usage.held + usage.cached + usage.free, PAGES);
        }
        for held in live.drain(..) {
            pool.release(held.table);
        }
        prop_assert_eq!(pool.available(), PAGES);
        // Everything can be handed out again, each page once.
        let mut all = PageTable::new(9);
        prop_assert_eq!(pool.reserve(&mut all, PAGES * PAGE), Ok(None));
        let mut pages = all.pages().to_vec();
        pages.sort_unstable();
        prop_assert_eq!(pages, (0..PAGES as u32).collect::<Vec<_>>());
        pool.release(all);
    }
}

#[test]
fn a_prefix_is_found_again_but_not_across_namespaces() {
    let mut pool = PagePool::new(8, PAGE);
    let tokens: Vec<u32> = (0..10).collect();
    let mut first = PageTable::new(1);
    assert_eq!(pool.reserve(&mut first, 10), Ok(None));
    pool.advance(&mut first, 10, &tokens);
    let pages = first.pages().to_vec();
    pool.release(first);
    let mut again = PageTable::new(1);
    assert_eq!(pool.adopt(&mut again, &tokens), 8);
    assert_eq!(again.pages(), &pages[..2]);
    let mut other = PageTable::new(2);
    assert_eq!(pool.adopt(&mut other, &tokens), 0);
    let mut shifted = PageTable::new(1);
    assert_eq!(pool.adopt(&mut shifted, &tokens[4..]), 0, "the same page after another beginning is another page");
}

#[test]
fn the_longest_unused_goes_first_and_ends_before_beginnings() {
    let mut pool = PagePool::new(4, PAGE);
    for start in [0u32, 100] {
        let tokens: Vec<u32> = (start..start + 8).collect();
        let mut table = PageTable::new(0);
        assert_eq!(pool.reserve(&mut table, 8), Ok(None));
        pool.advance(&mut table, 8, &tokens);
        pool.release(table);
    }
    let mut third = PageTable::new(0);
    assert_eq!(pool.reserve(&mut third, 4), Ok(None));
    let mut first = PageTable::new(0);
    assert_eq!(pool.adopt(&mut first, &(0..8).collect::<Vec<_>>()), 4, "its end was reclaimed, its beginning is there");
    let mut second = PageTable::new(0);
    assert_eq!(pool.adopt(&mut second, &(100..108).collect::<Vec<_>>()), 8);
}
