//! A gang of threads that all walk the same list of calls and meet at barriers.
//!
//! Whoever waits spins for a moment, because a phase lasts microseconds, and then sleeps in the kernel: when cores are
//! short, a thread that spins or yields would only take the time of the one that it waits for. The caller is thread 0.
//! There is never a second pool beside it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread spins for work or for others before it sleeps: longer than the pause between two tokens.
const WATCH: Duration = Duration::from_micros(200);

/// A number that threads wait on until it changes.
#[derive(Default)]
#[repr(align(64))]
struct Turnstile {
    value: AtomicU32,
    sleepers: AtomicU32,
}

impl Turnstile {
    fn get(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Changes the number and wakes who sleeps. What was written before is seen by all who see the change.
    fn turn(&self) {
        // Ordered against the sleeper's announcement and its second look at the number: one of the two sees the other.
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            futex(&self.value, libc::FUTEX_WAKE, i32::MAX as u32);
        }
    }

    /// Waits until the number is no longer `seen`.
    fn wait(&self, seen: u32) {
        let mut since = None;
        for spins in 1usize.. {
            if self.get() != seen {
                return;
            }
            std::hint::spin_loop();
            // Reading the clock costs more than a look at the number.
            if spins.is_multiple_of(64) && since.get_or_insert_with(Instant::now).elapsed() > WATCH {
                break;
            }
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while self.value.load(Ordering::SeqCst) == seen {
            futex(&self.value, libc::FUTEX_WAIT, seen);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `futex(2)` without a time limit; failures (the number changed meanwhile, a signal) are for the caller's loop.
fn futex(at: &AtomicU32, operation: libc::c_int, value: u32) {
    let no_limit = std::ptr::null::<libc::timespec>();
    // SAFETY: the address is a live, aligned 32-bit atomic for the whole call.
    unsafe { libc::syscall(libc::SYS_futex, at.as_ptr(), operation | libc::FUTEX_PRIVATE_FLAG, value, no_limit) };
}

/// What the threads of a gang share.
struct Shared {
    threads: usize,
    /// Turns with every job, and to end the gang.
    job: Turnstile,
    /// The job itself, valid from its announcement until every helper is done.
    work: Mutex<Option<Work>>,
    stop: AtomicBool,
    panicked: AtomicBool,
    arrived: AtomicUsize,
    /// Turns when all have arrived.
    phase: Turnstile,
    /// Helpers that still run the job; the last one turns `idle`.
    busy: AtomicUsize,
    idle: Turnstile,
}

type Work = &'static (dyn Fn(&Crew<'_>) + Sync);

/// Threads that run one job at a time together.
pub struct Gang {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
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
        let phase = s.phase.get();
        if s.arrived.fetch_add(1, Ordering::AcqRel) + 1 == s.threads {
            s.arrived.store(0, Ordering::Relaxed);
            s.phase.turn();
        } else if !s.panicked.load(Ordering::SeqCst) {
            // Whoever panics from here on turns the phase afterwards.
            s.phase.wait(phase);
        }
        assert!(!s.panicked.load(Ordering::SeqCst), "another thread of the gang panicked");
    }

    /// Runs a thread's share. A panic opens the barrier for the others, who then panic too.
    fn work(&self, work: Work) -> std::thread::Result<()> {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self)));
        if result.is_err() {
            self.shared.panicked.store(true, Ordering::SeqCst);
            self.shared.phase.turn();
        }
        result
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
            job: Turnstile::default(),
            work: Mutex::new(None),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            phase: Turnstile::default(),
            busy: AtomicUsize::new(0),
            idle: Turnstile::default(),
        });
        let mut gang = Gang { shared, helpers: Vec::new() };
        for id in 1..gang.shared.threads {
            let shared = Arc::clone(&gang.shared);
            let thread = std::thread::Builder::new().name(format!("argand-{id}"));
            gang.helpers.push(thread.spawn(move || help(&shared, id))?);
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
        s.busy.store(self.helpers.len(), Ordering::Relaxed);
        s.arrived.store(0, Ordering::Relaxed);
        *lock(&s.work) = Some(work_static);
        let idle = s.idle.get();
        s.job.turn();
        let own = crew.work(work_static);
        s.idle.wait(idle);
        *lock(&s.work) = None;
        let failed = s.panicked.swap(false, Ordering::SeqCst);
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
    let crew = Crew { shared, id };
    let mut seen = 0u32;
    loop {
        shared.job.wait(seen);
        seen = seen.wrapping_add(1);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let Some(work) = *lock(&shared.work) else { continue };
        // The caller of the job reports a panic.
        let _ = crew.work(work);
        if shared.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.idle.turn();
        }
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.job.turn();
        for helper in self.helpers.drain(..) {
            // A helper that panicked has already been reported by the job that it was in.
            let _ = helper.join();
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
