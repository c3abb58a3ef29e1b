//! A gang of threads that all walk the same list of calls and meet at barriers.
//!
//! Between jobs the helpers spin for a moment and then sleep; inside a job they only spin (and yield when the machine is
//! short of cores), because a phase lasts microseconds. The caller is thread 0. There is never a second pool beside it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread watches for work before it sleeps: longer than the pause between two tokens.
const WATCH: Duration = Duration::from_micros(200);
/// Spins before a waiting thread lets another one run: a phase that takes longer means that cores are short.
const SPINS: usize = 20_000;

/// What the threads of a gang share.
struct Shared {
    threads: usize,
    /// Grows by one with every job.
    job: AtomicUsize,
    /// The job itself, valid from its announcement until every helper is done.
    work: Mutex<Option<Work>>,
    done: AtomicUsize,
    stop: AtomicBool,
    panicked: AtomicBool,
    arrived: AtomicUsize,
    phase: AtomicUsize,
}

type Work = &'static (dyn Fn(&Crew<'_>) + Sync);

/// Threads that run one job at a time together.
pub struct Gang {
    shared: Arc<Shared>,
    helpers: Vec<(JoinHandle<()>, Thread)>,
}

/// One thread's place in a running job.
pub struct Crew<'a> {
    shared: &'a Shared,
    id: usize,
}

impl Crew<'_> {
    /// This thread's number; the caller of [`Gang::run`] is 0.
    pub fn id(&self) -> usize {
        self.id
    }

    /// How many threads run the job.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Waits until every thread of the job is here. Whatever they wrote before is seen by all afterwards.
    pub fn barrier(&self) {
        let s = self.shared;
        if s.threads == 1 {
            return;
        }
        let phase = s.phase.load(Ordering::Relaxed);
        if s.arrived.fetch_add(1, Ordering::AcqRel) + 1 == s.threads {
            s.arrived.store(0, Ordering::Relaxed);
            s.phase.store(phase.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0;
        while s.phase.load(Ordering::Acquire) == phase {
            spins += 1;
            assert!(!s.panicked.load(Ordering::Relaxed), "another thread of the gang panicked");
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Gang {
    /// A gang of `threads` threads (at least one), of which the caller is one.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            threads: threads.max(1),
            job: AtomicUsize::new(0),
            work: Mutex::new(None),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            phase: AtomicUsize::new(0),
        });
        let mut gang = Gang { shared, helpers: Vec::new() };
        for id in 1..gang.shared.threads {
            let shared = Arc::clone(&gang.shared);
            let handle = std::thread::Builder::new().name(format!("argand-{id}")).spawn(move || help(&shared, id))?;
            let thread = handle.thread().clone();
            gang.helpers.push((handle, thread));
        }
        Ok(gang)
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `work` on every thread at once and returns when all are done.
    ///
    /// # Panics
    /// When `work` panics on any thread.
    pub fn run(&mut self, work: &(dyn Fn(&Crew<'_>) + Sync)) {
        let s = &*self.shared;
        let crew = Crew { shared: s, id: 0 };
        if s.threads == 1 {
            return work(&crew);
        }
        // SAFETY: the reference is only used between here and the wait below, which ends when every helper has returned
        // from it, also when this thread's own share panics.
        let work_static = unsafe { std::mem::transmute::<&(dyn Fn(&Crew<'_>) + Sync), Work>(work) };
        s.done.store(0, Ordering::Relaxed);
        s.arrived.store(0, Ordering::Relaxed);
        *lock(&s.work) = Some(work_static);
        s.job.fetch_add(1, Ordering::Release);
        for (_, thread) in &self.helpers {
            thread.unpark();
        }
        let own = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&crew)));
        if own.is_err() {
            s.panicked.store(true, Ordering::Relaxed);
        }
        let mut spins = 0usize;
        while s.done.load(Ordering::Acquire) < self.helpers.len() {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        *lock(&s.work) = None;
        let failed = s.panicked.swap(false, Ordering::Relaxed);
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(!failed, "a thread of the gang panicked");
    }
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn help(shared: &Shared, id: usize) {
    let mut last = 0;
    loop {
        let since = Instant::now();
        let mut spins = 0usize;
        while shared.job.load(Ordering::Acquire) == last {
            if shared.stop.load(Ordering::Acquire) {
                return;
            }
            spins += 1;
            // Reading the clock costs more than a look at the counter.
            if spins.is_multiple_of(64) && since.elapsed() > WATCH {
                std::thread::park_timeout(Duration::from_millis(100));
            } else {
                std::hint::spin_loop();
            }
        }
        last = last.wrapping_add(1);
        let Some(work) = *lock(&shared.work) else { continue };
        let crew = Crew { shared, id };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&crew))).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.done.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for (handle, thread) in self.helpers.drain(..) {
            thread.unpark();
            // A helper that panicked has already been reported by the job that it was in.
            let _ = handle.join();
        }
    }
}

/// A counter that deals out the chunks of a phase, so that a slow core takes fewer. There are three in turn: the one of
/// the next phase is cleared while every thread is past the one before.
#[derive(Default)]
pub struct Dealer {
    counters: [Padded; 3],
}

#[derive(Default)]
#[repr(align(64))]
struct Padded(AtomicUsize);

impl Dealer {
    /// To be called by every thread at the start of phase `phase`, after the barrier of the phase before.
    pub fn open(&self, crew: &Crew<'_>, phase: usize) {
        if crew.id() == 0 {
            self.counters[(phase + 1) % 3].0.store(0, Ordering::Relaxed);
        }
    }

    /// The next chunk of phase `phase`, if any of `chunks` is left.
    pub fn next(&self, phase: usize, chunks: usize) -> Option<usize> {
        let chunk = self.counters[phase % 3].0.fetch_add(1, Ordering::Relaxed);
        (chunk < chunks).then_some(chunk)
    }

    /// Clears all counters; to be called while no job runs.
    pub fn reset(&mut self) {
        self.counters.iter_mut().for_each(|c| *c.0.get_mut() = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_dealt_once_in_every_phase() {
        for threads in [1, 2, 3, 5] {
            let mut gang = Gang::new(threads).unwrap();
            let dealer = Dealer::default();
            let hits: Vec<AtomicUsize> = (0..50 * 7).map(|_| AtomicUsize::new(0)).collect();
            gang.run(&|crew| {
                for phase in 0..50 {
                    dealer.open(crew, phase);
                    while let Some(chunk) = dealer.next(phase, 7) {
                        hits[phase * 7 + chunk].fetch_add(1, Ordering::Relaxed);
                    }
                    crew.barrier();
                    assert!(hits[phase * 7..][..7].iter().all(|h| h.load(Ordering::Relaxed) == 1));
                }
            });
        }
    }

    #[test]
    fn a_panic_in_any_thread_reaches_the_caller_and_the_gang_lives_on() {
        let mut gang = Gang::new(3).unwrap();
        for bad in 0..3 {
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                gang.run(&|crew| {
                    assert!(crew.id() != bad, "expected");
                    crew.barrier();
                });
            }));
            assert!(run.is_err());
        }
        let count = AtomicUsize::new(0);
        gang.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}
