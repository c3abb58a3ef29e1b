//! The thread that owns an engine.
//!
//! Requests come in through a bounded queue in which tenants take turns; all that run share one ragged step. Every accepted
//! request ends with exactly one [`Out::Ended`], also when it is cancelled, when a step fails and when the thread stops, and
//! it says what was really computed.

use crate::load::{Bounds, Full, Load};
use crate::queue::Queue;
use crate::turns::Turns;
use argand_engine::{AddError, Engine, Event, Finish, Logprobs, Request, Runner, SeqId, Usage};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Instant;
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

    /// How much it takes.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Takes requests that belong together, all or none, for a tenant.
    ///
    /// # Errors
    /// [`Full`] when too many wait.
    pub fn submit(&self, tenant: u64, requests: Vec<Request>) -> Result<Ticket, Full> {
        let count = requests.len();
        self.load.enter(count, &self.bounds)?;
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
                    self.load.stop();
                    self.fail("the engine stopped because of a mistake in it");
                    break;
                }
            }
        }
        self.load.stop();
        self.fail("the model is being unloaded");
        while let Some(job) = self.queue.pop() {
            job.listener.end(Ended::Failed("the model is being unloaded".into()), Usage::default());
        }
        while let Ok(command) = self.inbox.try_recv() {
            if let Command::Run(job) = command {
                job.listener.end(Ended::Failed("the model is being unloaded".into()), Usage::default());
            }
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
                    self.load.leave();
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
            self.load.leave();
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
        self.load.run(self.running.len());
        self.load.publish(self.engine.usage());
    }
}
