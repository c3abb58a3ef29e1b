//! `argand serve`: models for everybody who has a key.

use crate::{interrupt, ledger, models};
use anyhow::{Context, Result};
use argand::machine::Machine;
use argand_server::{App, Config, Log, ModelConfig, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serve models over HTTP, as OpenAI's clients expect it
///
/// What is said on the command line goes before the environment (ARGAND_...), and that before the configuration file.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand serve
  argand serve smollm2-135m-instruct coder=./qwen2.5-coder-1.5b-q4_k_m.gguf
  argand serve --config /etc/argand/argand.toml
  argand serve --listen 0.0.0.0:8080 --parallel 64")]
pub struct Serve {
    /// Models: names as `argand pull` knows them, paths, or NAME=MODEL to give another name; the first is the default. Without any,
    /// those of the configuration file, or a small one
    models: Vec<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "ARGAND_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port; 127.0.0.1:8080 unless given
    #[arg(long, value_name = "ADDRESS", env = "ARGAND_LISTEN")]
    listen: Option<SocketAddr>,
    /// Where keys and usage are kept: a path for SQLite, or postgres://USER@HOST/NAME
    #[arg(long, value_name = "PATH|URL", env = "ARGAND_DATABASE")]
    database: Option<String>,
    /// Memory for weights and caches of all models, such as 8G; those that were not used for long give way
    #[arg(long, value_name = "SIZE", env = "ARGAND_MEMORY", value_parser = size)]
    memory: Option<u64>,
    /// How to tell what happens, on standard error: text, json or off
    #[arg(long, value_name = "FORMAT", env = "ARGAND_LOG")]
    log: Option<Log>,
    /// Threads that compute; chosen by cores and quota unless given
    #[arg(short, long, value_name = "N", env = "ARGAND_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Longest sequence in tokens
    #[arg(short, long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Tokens that the cache of a model has room for, over all sequences
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    cache_tokens: Option<u32>,
    /// Most sequences of a model that run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: Option<u16>,
    /// Most requests that wait for a model
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    queue: Option<u16>,
}

impl Serve {
    pub fn run(self) -> Result<()> {
        let mut config = self.settings()?;
        for model in &mut config.models {
            let source = model.source.clone().unwrap_or_else(|| model.name.clone());
            model.path = models::ready(&source)?.path;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(serve(config))
    }

    /// The file, and over it what was said.
    fn settings(&self) -> Result<Config> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(file) => {
                let text =
                    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
                Config::parse(&text, &file.display().to_string())?
            }
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.log = self.log.unwrap_or(config.log);
        config.memory_bytes = self.memory.or(config.memory_bytes);
        config.database = self.database.clone().or(config.database);
        if !self.models.is_empty() {
            config.models = self.models.iter().map(|model| named(model)).collect();
        }
        if config.models.is_empty() {
            config.models.push(named("smollm2-135m-instruct"));
        }
        // Models that the command line names are there from the beginning.
        if self.config.is_none() {
            config.models.iter_mut().for_each(|model| model.pinned = true);
        }
        let threads = self.threads.map_or_else(|| Machine::read().threads().count, usize::from);
        for model in &mut config.models {
            model.threads = model.threads.or(Some(threads));
            model.context = self.context.map(|n| n as usize).or(model.context);
            model.cache_tokens = self.cache_tokens.map(|n| n as usize).or(model.cache_tokens);
            model.parallel = self.parallel.map_or(model.parallel, usize::from);
            model.queue = self.queue.map_or(model.queue, usize::from);
        }
        config.check()?;
        Ok(config)
    }
}

/// `NAME=MODEL`, or a model by its own name; of a path the last part is one.
fn named(text: &str) -> ModelConfig {
    let (name, source) = text.split_once('=').unwrap_or_else(|| {
        let file = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
        (file.strip_suffix(".gguf").unwrap_or(file), text)
    });
    ModelConfig { name: name.into(), source: Some(source.into()), ..ModelConfig::default() }
}

/// Bytes: a number, with K, M, G or T for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim().trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (number, power) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => (&text[..at], "KMGT".find(&text[at..].to_ascii_uppercase()).map(|power| power + 1)),
        None => (text, Some(0)),
    };
    let bytes = number.trim().parse::<f64>().ok().zip(power).map(|(n, power)| n * 1024f64.powi(power as i32));
    bytes
        .filter(|bytes| (1.0..1e18).contains(bytes))
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "expected a size such as 8G or 512M".into())
}

async fn serve(config: Config) -> Result<()> {
    let _gentle = interrupt::gentle();
    let stop = Stop::listen()?;
    let names: Vec<String> = config.models.iter().map(|model| model.name.clone()).collect();
    let database = ledger::url(config.database.clone())?;
    // Whoever has the address is the only one of its name in the books.
    let listener = Server::take(config.listen).await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let books = ledger::serving(&database, format!("{} {}", host.trim(), listener.local_addr()?)).await?;
    let server = Server::at(listener, App::new(config, books.clone()))?;
    // Only now: a key that nobody was shown would be lost.
    let first = ledger::first_key(&books).await?;
    let address = server.address();
    eprintln!("serving {} at http://{address}", names.join(", "));
    eprintln!("keys and usage are in {}", ledger::shown(&database));
    match first {
        Some(secret) => {
            eprintln!("the first key, which is shown only now: {}", secret.text());
            eprintln!(
                "chat:           http://{address}/#key={0}\nadministration: http://{address}/admin#key={0}",
                secret.text()
            );
        }
        None => eprintln!("`argand key create` makes another key"),
    }
    server.run(stop.asked()).await?;
    books.close().await?;
    Ok(())
}

/// The signals that ask a server to end, heard from the beginning.
struct Stop(Vec<Signal>);

impl Stop {
    fn listen() -> Result<Stop> {
        let hangup = (!interrupt::hangup_is_ignored()).then(SignalKind::hangup);
        let kinds = [SignalKind::terminate(), SignalKind::interrupt()].into_iter().chain(hangup);
        Ok(Stop(kinds.map(signal).collect::<Result<_, _>>()?))
    }

    /// Resolves at the first of them; the second ends the program.
    async fn asked(mut self) {
        self.next().await;
        eprintln!("stopping: running requests may finish; once more ends at once");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(interrupt::CODE);
        });
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let heard = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if heard { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}
