//! The thread that owns an engine.
//!
//! Requests come in through a bounded queue in which tenants take turns; all that run share one ragged step. Every accepted
//! request ends with exactly one [`Out::Ended`], also when it is cancelled, when a step fails and when the thread stops, and
//! it says what was really computed.

use crate::queue::Queue;
use crate::turns::Turns;
use argand_engine::{AddError, Engine, EngineUse, Event, Finish, Logprobs, Request, Runner, SeqId, Usage};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a request gets back.
#[derive(Debug)]
pub enum Out {
    /// A token was chosen.
    Token {
        /// The token.
        id: u32,
        /// Text that is certain by now.
        text: String,
        /// When asked for.
        logprobs: Option<Logprobs>,
    },
    /// It ended; nothing follows.
    Ended {
        /// How.
        how: Ended,
        /// Text that had been held back.
        text: String,
        /// What was computed for it.
        usage: Usage,
    },
}

/// How a request ended.
#[derive(Debug)]
pub enum Ended {
    /// The engine ended it.
    Finished(Finish),
    /// The engine did not take it.
    Refused(AddError),
    /// It was cancelled.
    Cancelled,
    /// The step in which it took part failed, or the thread has stopped.
    Failed(String),
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many wait as may.
    #[error("{waiting} requests are waiting already; try again in {} s", .retry_after.as_secs().max(1))]
    Queue {
        /// How many wait.
        waiting: usize,
        /// When there will probably be room.
        retry_after: Duration,
    },
    /// The thread has stopped.
    #[error("the model has stopped after a failure; it is loaded again with the next request")]
    Stopped,
}

/// What others may see of a worker while it works.
#[derive(Debug, Default)]
pub struct Load {
    queued: AtomicUsize,
    running: AtomicUsize,
    stopped: AtomicBool,
    /// Microseconds that a request takes from its first step to its end, smoothed.
    duration_us: AtomicU64,
    usage: Mutex<Option<EngineUse>>,
}

impl Load {
    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Requests that take part in steps, or wait for pages.
    pub fn running(&self) -> usize {
        self.running.load(Relaxed)
    }

    /// Whether the thread has ended.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Pages and sequences after the last step.
    pub fn usage(&self) -> Option<EngineUse> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, after: Duration) {
        let (old, new) = (self.duration_us.load(Relaxed), after.as_micros() as u64);
        self.duration_us.store(if old == 0 { new } else { old - old / 8 + new / 8 }, Relaxed);
    }
}

/// How much a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most sequences that run at once.
    pub running: usize,
    /// Most that wait.
    pub queued: usize,
}

enum Command {
    Run(Box<Job>),
    Cancel(u64),
}

struct Job {
    number: u64,
    tenant: u64,
    request: Request,
    listener: Listener,
}

/// Who hears of one of several requests.
struct Listener {
    index: usize,
    events: UnboundedSender<(usize, Out)>,
}

impl Listener {
    fn tell(&self, out: Out) {
        // Whoever has gone cancels by dropping the ticket.
        let _ = self.events.send((self.index, out));
    }

    fn end(&self, how: Ended, usage: Usage) {
        self.tell(Out::Ended { how, text: String::new(), usage });
    }
}

/// Requests that were accepted together. Dropping it cancels them.
#[derive(Debug)]
pub struct Ticket {
    numbers: Range<u64>,
    commands: mpsc::Sender<Command>,
    events: UnboundedReceiver<(usize, Out)>,
}

impl Ticket {
    /// The next thing that happens, and to which of the requests; none after the end of all.
    pub async fn next(&mut self) -> Option<(usize, Out)> {
        self.events.recv().await
    }

    /// Asks for an end of all; [`Out::Ended`] follows soon for each, this way or another.
    pub fn cancel(&self) {
        // A worker that is gone has ended all its requests.
        self.numbers.clone().for_each(|number| drop(self.commands.send(Command::Cancel(number))));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The outside of the thread. When the last one is dropped the thread cancels what is left, and ends.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::Sender<Command>,
    load: Arc<Load>,
    bounds: Bounds,
    next: AtomicU64,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<R: Runner + 'static>(
        name: &str,
        engine: Engine<R>,
        bounds: Bounds,
        turns: Arc<Turns>,
    ) -> std::io::Result<Worker> {
        let (commands, inbox) = mpsc::channel();
        let load = Arc::new(Load::default());
        let desk = Desk {
            engine,
            inbox,
            bounds,
            load: Arc::clone(&load),
            queue: Queue::default(),
            running: BTreeMap::new(),
            turns,
        };
        std::thread::Builder::new().name(format!("engine {name}")).spawn(move || desk.work())?;
        Ok(Worker { commands, load, bounds, next: AtomicU64::new(0) })
    }

    /// What it is doing.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// Takes requests that belong together, all or none, for a tenant.
    ///
    /// # Errors
    /// [`Full`] when too many wait.
    pub fn submit(&self, tenant: u64, requests: Vec<Request>) -> Result<Ticket, Full> {
        if self.load.stopped() {
            return Err(Full::Stopped);
        }
        let count = requests.len();
        let room = self.bounds.queued + self.bounds.running.saturating_sub(self.load.running());
        let reserved = self
            .load
            .queued
            .fetch_update(Relaxed, Relaxed, |queued| (queued + count <= room).then_some(queued + count));
        if let Err(waiting) = reserved {
            let rounds = waiting.div_ceil(self.bounds.running.max(1)) as u64;
            let retry_after = Duration::from_micros(self.load.duration_us.load(Relaxed).saturating_mul(rounds));
            return Err(Full::Queue {
                waiting,
                retry_after: retry_after.clamp(Duration::from_secs(1), Duration::from_secs(600)),
            });
        }
        let first = self.next.fetch_add(count as u64, Relaxed);
        let numbers = first..first + count as u64;
        let (events, receiver) = unbounded_channel();
        for ((index, request), number) in requests.into_iter().enumerate().zip(numbers.clone()) {
            let job = Job { number, tenant, request, listener: Listener { index, events: events.clone() } };
            self.commands.send(Command::Run(Box::new(job))).map_err(|_| Full::Stopped)?;
        }
        Ok(Ticket { numbers, commands: self.commands.clone(), events: receiver })
    }
}

/// A sequence that runs, and who hears of it.
struct Running {
    number: u64,
    listener: Listener,
    since: Instant,
}

/// The inside of the thread.
struct Desk<R> {
    engine: Engine<R>,
    inbox: mpsc::Receiver<Command>,
    bounds: Bounds,
    load: Arc<Load>,
    queue: Queue<Job>,
    running: BTreeMap<SeqId, Running>,
    turns: Arc<Turns>,
}

impl<R: Runner> Desk<R> {
    fn work(mut self) {
        while self.listen() {
            self.admit();
            self.publish();
            if self.engine.is_idle() {
                continue;
            }
            let turn = self.turns.take();
            let step = catch_unwind(AssertUnwindSafe(|| self.engine.step()));
            drop(turn);
            match step {
                Ok(Ok(events)) => events.into_iter().for_each(|event| self.tell(event)),
                Ok(Err(error)) => self.fail(&error.to_string()),
                Err(_) => {
                    // What a panic has left behind is not to be trusted.
                    self.load.stopped.store(true, Relaxed);
                    self.fail("the engine stopped because of a mistake in it");
                    break;
                }
            }
        }
        self.load.stopped.store(true, Relaxed);
        self.fail("the model is being unloaded");
        while let Some(job) = self.queue.pop() {
            job.listener.end(Ended::Failed("the model is being unloaded".into()), Usage::default());
        }
        while let Ok(Command::Run(job)) = self.inbox.try_recv() {
            job.listener.end(Ended::Failed("the model is being unloaded".into()), Usage::default());
        }
    }

    /// Hears what came in; waits for it when there is nothing to do. False when nobody can ask any more and nothing is left.
    fn listen(&mut self) -> bool {
        if self.engine.is_idle() && self.queue.is_empty() {
            match self.inbox.recv() {
                Ok(command) => self.obey(command),
                Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.obey(command),
                Err(mpsc::TryRecvError::Empty) => return true,
                // Requests hold a sender each, so none is left that anybody waits for.
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Run(job) => self.queue.push(job.tenant, *job),
            Command::Cancel(number) => {
                if let Some(job) = self.queue.take(|job| job.number == number) {
                    self.load.queued.fetch_sub(1, Relaxed);
                    job.listener.end(Ended::Cancelled, Usage::default());
                    return;
                }
                let id = self.running.iter().find(|(_, running)| running.number == number).map(|(id, _)| *id);
                if let Some((id, running)) = id.and_then(|id| Some((id, self.running.remove(&id)?))) {
                    let usage = self.engine.cancel(id).unwrap_or_default();
                    running.listener.end(Ended::Cancelled, usage);
                }
            }
        }
    }

    /// Hands waiting requests to the engine while it may hold more.
    fn admit(&mut self) {
        while self.running.len() < self.bounds.running.max(1) {
            let Some(job) = self.queue.pop() else { return };
            self.load.queued.fetch_sub(1, Relaxed);
            let Job { number, request, listener, .. } = job;
            match self.engine.add(request) {
                Ok(id) => drop(self.running.insert(id, Running { number, listener, since: Instant::now() })),
                Err(error) => listener.end(Ended::Refused(error), Usage::default()),
            }
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Token { seq, id, text, logprobs } => {
                if let Some(running) = self.running.get(&seq) {
                    running.listener.tell(Out::Token { id, text, logprobs });
                }
            }
            Event::Finished { seq, reason, text, usage } => {
                if let Some(running) = self.running.remove(&seq) {
                    self.load.finished(running.since.elapsed());
                    running.listener.tell(Out::Ended { how: Ended::Finished(reason), text, usage });
                }
            }
        }
    }

    /// Ends everything that runs.
    fn fail(&mut self, why: &str) {
        for (id, running) in std::mem::take(&mut self.running) {
            let usage = if self.load.stopped() { None } else { self.engine.cancel(id) };
            running.listener.end(Ended::Failed(why.to_string()), usage.unwrap_or_default());
        }
        self.publish();
    }

    fn publish(&self) {
        self.load.running.store(self.running.len(), Relaxed);
        *self.load.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.engine.usage());
    }
}
