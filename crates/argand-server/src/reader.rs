//! The thread that owns a model that reads.
//!
//! Requests wait in a bounded queue in which tenants take turns; the sequences of those that wait are read together. What
//! comes out for one does not depend on the others. Every accepted request is answered once, also when it is given up, when a
//! run fails and when the thread stops.

use crate::load::{Bounds, Full, Load};
use crate::queue::Queue;
use crate::turns::Turns;
use argand_text::Sequence;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Instant;
use tokio::sync::oneshot;

/// Most sequences of a run: between two runs others have their turn, and new requests are heard.
const TOGETHER: usize = 64;

/// What became of a request.
#[derive(Debug)]
pub struct Read {
    /// What came out for each sequence, or why nothing did.
    pub rows: Result<Vec<Vec<f32>>, NotRead>,
    /// Tokens that were really read.
    pub tokens: usize,
}

/// Why a request was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// Whoever asked has given it up.
    #[error("the request was given up")]
    GivenUp,
    /// A run failed, or the thread has stopped.
    #[error("{0}")]
    Failed(String),
}

/// Somebody's sequences, as far as they have not been read.
struct Job {
    sequences: VecDeque<Sequence>,
    rows: Vec<Vec<f32>>,
    tokens: usize,
    tenant: u64,
    since: Option<Instant>,
    given_up: Arc<AtomicBool>,
    answer: oneshot::Sender<Read>,
}

impl Job {
    fn end(self, failure: Option<NotRead>) {
        let rows = failure.map_or(Ok(self.rows), Err);
        // Whoever has gone needs no answer.
        let _ = self.answer.send(Read { rows, tokens: self.tokens });
    }
}

/// A request that was accepted. Dropping it gives it up.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Receiver<Read>,
    given_up: Arc<AtomicBool>,
}

impl Ticket {
    /// What became of it; to be asked once.
    pub async fn read(&mut self) -> Read {
        let gone = || Read { rows: Err(NotRead::Failed("the model is being unloaded".into())), tokens: 0 };
        (&mut self.answer).await.unwrap_or_else(|_| gone())
    }

    /// Nobody wants it any more; what is being computed is still computed.
    pub fn give_up(&self) {
        self.given_up.store(true, Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// The outside of the thread. When it is dropped the thread answers what is left, and ends.
#[derive(Debug)]
pub struct Reader {
    jobs: mpsc::Sender<Job>,
    load: Arc<Load>,
    bounds: Bounds,
}

impl Reader {
    /// Starts the thread. `run` gives what comes out for each sequence.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        name: &str,
        run: impl FnMut(&[Sequence]) -> Result<Vec<Vec<f32>>, String> + Send + 'static,
        bounds: Bounds,
        turns: Arc<Turns>,
    ) -> std::io::Result<Reader> {
        let (jobs, inbox) = mpsc::channel();
        let load = Arc::new(Load::default());
        let desk = Desk { run, inbox, load: Arc::clone(&load), queue: Queue::default(), begun: 0, turns };
        std::thread::Builder::new().name(format!("reader {name}")).spawn(move || desk.work())?;
        Ok(Reader { jobs, load, bounds })
    }

    /// What it is doing.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Takes sequences, none of them empty or too long, for a tenant.
    ///
    /// # Errors
    /// [`Full`] when too many requests wait.
    pub fn submit(&self, tenant: u64, sequences: Vec<Sequence>) -> Result<Ticket, Full> {
        self.load.enter(1, &self.bounds)?;
        let (answer, receiver) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let rows = Vec::with_capacity(sequences.len());
        let flag = Arc::clone(&given_up);
        let job = Job { sequences: sequences.into(), rows, tokens: 0, tenant, since: None, given_up: flag, answer };
        self.jobs.send(job).map_err(|_| Full::Stopped)?;
        Ok(Ticket { answer: receiver, given_up })
    }
}

/// The inside of the thread.
struct Desk<F> {
    run: F,
    inbox: mpsc::Receiver<Job>,
    load: Arc<Load>,
    queue: Queue<Job>,
    /// Requests of which something was read.
    begun: usize,
    turns: Arc<Turns>,
}

impl<F: FnMut(&[Sequence]) -> Result<Vec<Vec<f32>>, String>> Desk<F> {
    fn work(mut self) {
        while self.listen() {
            let parts = self.gather();
            self.load.run(self.begun);
            if parts.is_empty() {
                continue;
            }
            if self.read(parts).is_err() {
                // What a panic has left behind is not to be trusted.
                break;
            }
            self.load.run(self.begun);
        }
        self.load.stop();
        let failure = || Some(NotRead::Failed("the model is being unloaded".into()));
        while let Some(job) = self.queue.pop() {
            job.end(failure());
        }
        while let Ok(job) = self.inbox.try_recv() {
            job.end(failure());
        }
        self.load.run(0);
    }

    /// Hears what came in; waits for it when there is nothing to do. False when nobody can ask any more and nothing is left.
    fn listen(&mut self) -> bool {
        if self.queue.is_empty() {
            match self.inbox.recv() {
                Ok(job) => self.queue.push(job.tenant, job),
                Err(_) => return false,
            }
        }
        while let Ok(job) = self.inbox.try_recv() {
            self.queue.push(job.tenant, job);
        }
        true
    }

    /// The sequences of the next run, by whose they are.
    fn gather(&mut self) -> Vec<(Job, Vec<Sequence>)> {
        let (mut parts, mut room) = (Vec::new(), TOGETHER);
        while room > 0 {
            let Some(mut job) = self.queue.pop() else { break };
            if job.since.is_none() {
                job.since = Some(Instant::now());
                self.begun += 1;
                self.load.leave();
            }
            if job.given_up.load(Relaxed) {
                self.end(job, Some(NotRead::GivenUp));
                continue;
            }
            let part: Vec<Sequence> = job.sequences.drain(..room.min(job.sequences.len())).collect();
            room -= part.len();
            parts.push((job, part));
        }
        parts
    }

    /// Reads parts of requests together, or each alone if that fails: one must not suffer for another.
    fn read(&mut self, parts: Vec<(Job, Vec<Sequence>)>) -> Result<(), Crashed> {
        let all: Vec<Sequence> = parts.iter().flat_map(|(_, part)| part.iter().cloned()).collect();
        let turn = self.turns.take();
        let run = catch_unwind(AssertUnwindSafe(|| (self.run)(&all)));
        drop(turn);
        match run {
            Ok(Ok(rows)) => {
                let mut rows = rows.into_iter();
                for (mut job, part) in parts {
                    job.rows.extend(rows.by_ref().take(part.len()));
                    job.tokens += part.iter().map(|sequence| sequence.tokens.len()).sum::<usize>();
                    if job.sequences.is_empty() {
                        self.end(job, None);
                    } else {
                        self.queue.push(job.tenant, job);
                    }
                }
                Ok(())
            }
            Ok(Err(_)) if parts.len() > 1 => parts.into_iter().try_for_each(|part| self.read(vec![part])),
            Ok(Err(why)) => {
                parts.into_iter().for_each(|(job, _)| self.end(job, Some(NotRead::Failed(why.clone()))));
                Ok(())
            }
            Err(_) => {
                self.load.stop();
                let why = NotRead::Failed("the model stopped because of a mistake in it".into());
                parts.into_iter().for_each(|(job, _)| self.end(job, Some(why.clone())));
                Err(Crashed)
            }
        }
    }

    fn end(&mut self, job: Job, failure: Option<NotRead>) {
        self.begun -= 1;
        if let (Some(since), None) = (job.since, &failure) {
            self.load.finished(since.elapsed());
        }
        job.end(failure);
    }
}

/// The model panicked.
struct Crashed;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn sequence(tokens: &[u32]) -> Sequence {
        Sequence { tokens: tokens.to_vec(), types: Vec::new() }
    }

    /// A model that gives the sum of the tokens, waits while its gate is locked, refuses 13 and panics at 99.
    fn start(gate: &Arc<Mutex<Vec<usize>>>, bounds: Bounds) -> Reader {
        let gate = Arc::clone(gate);
        let run = move |all: &[Sequence]| {
            gate.lock().expect("the gate").push(all.len());
            let sum = |s: &Sequence| vec![s.tokens.iter().sum::<u32>() as f32];
            let has = |wanted: u32| all.iter().any(|s| s.tokens.contains(&wanted));
            assert!(!has(99), "99");
            if has(13) { Err("13".to_string()) } else { Ok(all.iter().map(sum).collect()) }
        };
        Reader::start("test", run, bounds, Arc::default()).expect("a thread")
    }

    const BOUNDS: Bounds = Bounds { running: 1, queued: 8 };

    #[tokio::test]
    async fn those_who_wait_are_read_together_and_get_their_own() {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let reader = start(&runs, BOUNDS);
        let gate = runs.lock().expect("the gate");
        let mut first = reader.submit(1, vec![sequence(&[1])]).expect("room");
        while reader.load().running() == 0 {
            std::thread::yield_now();
        }
        let mut large = reader.submit(1, (0..100).map(|n| sequence(&[n + 100])).collect()).expect("room");
        let mut small = reader.submit(2, vec![sequence(&[2, 3]), sequence(&[4])]).expect("room");
        drop(gate);
        let rows = |read: Read| read.rows.expect("rows").concat();
        assert_eq!(rows(first.read().await), [1.0]);
        let read = large.read().await;
        assert_eq!(read.tokens, 100);
        assert_eq!(rows(read), (100..200).map(|n| n as f32).collect::<Vec<_>>());
        assert_eq!(rows(small.read().await), [5.0, 4.0]);
        let runs = runs.lock().expect("the runs");
        assert_eq!(runs[..], [1, 64, 38], "the large one did not let the small one in");
    }

    #[tokio::test]
    async fn one_does_not_suffer_for_another() {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let reader = start(&runs, BOUNDS);
        let gate = runs.lock().expect("the gate");
        let mut first = reader.submit(1, vec![sequence(&[1])]).expect("room");
        while reader.load().running() == 0 {
            std::thread::yield_now();
        }
        let mut bad = reader.submit(1, vec![sequence(&[13])]).expect("room");
        let mut good = reader.submit(1, vec![sequence(&[7])]).expect("room");
        let mut gone = reader.submit(1, vec![sequence(&[8])]).expect("room");
        gone.give_up();
        drop(gate);
        assert!(first.read().await.rows.is_ok());
        assert_eq!(bad.read().await.rows.expect_err("refused"), NotRead::Failed("13".into()));
        assert_eq!(good.read().await.rows.expect("rows"), [[7.0]]);
        let gone = gone.read().await;
        assert_eq!((gone.rows.expect_err("given up"), gone.tokens), (NotRead::GivenUp, 0));
        let mut crash = reader.submit(1, vec![sequence(&[99])]).expect("room");
        assert!(crash.read().await.rows.is_err());
        assert_eq!(reader.submit(1, vec![sequence(&[1])]).map(drop), Err(Full::Stopped));
    }

    #[tokio::test]
    async fn the_line_has_an_end() {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let reader = start(&runs, Bounds { running: 1, queued: 2 });
        let gate = runs.lock().expect("the gate");
        let _first = reader.submit(1, vec![sequence(&[1])]).expect("room");
        while reader.load().running() == 0 {
            std::thread::yield_now();
        }
        let _waiting = [reader.submit(1, vec![sequence(&[1])]), reader.submit(2, vec![sequence(&[1])])];
        assert!(matches!(reader.submit(3, vec![sequence(&[1])]), Err(Full::Queue { waiting: 2, .. })));
        drop(gate);
    }
}
