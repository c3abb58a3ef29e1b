//! What the server is told: a TOML file, and over it whatever the command line and the environment say.

use crate::log::Log;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All that can be said. A field that a file does not name has the value of [`Config::default`]; one that means nothing is an
/// error.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; this machine only, unless told otherwise.
    pub listen: SocketAddr,
    /// Where keys and usage are kept: `sqlite:PATH` or `postgres://...`.
    pub database: Option<String>,
    /// How the server tells what happens: `text`, `json` or `off`.
    pub log: Log,
    /// Currency of budgets that do not name one.
    pub currency: String,
    /// Memory for weights and caches in bytes; models that were not used for long give way. All models at once, unless said.
    pub memory_bytes: Option<u64>,
    /// Web pages of other origins that may ask, such as `https://intranet.example`. The server's own pages always may.
    pub origins: Vec<String>,
    /// Longest body of a request in bytes.
    pub max_body_bytes: usize,
    /// Longest time for the head of a request to arrive, and again for its body, in seconds.
    pub read_timeout_seconds: u64,
    /// Longest time that a request may take, in seconds.
    pub request_timeout_seconds: u64,
    /// How long running requests may go on after the server was told to stop, in seconds.
    pub grace_seconds: u64,
    /// Most connections at once.
    pub max_connections: usize,
    /// The models.
    #[serde(rename = "model")]
    pub models: Vec<ModelConfig>,
}

/// One model.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The name by which clients ask for it.
    pub name: String,
    /// What it is, as `argand pull` knows it; the name, unless said.
    pub source: Option<String>,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Where its files are. Whoever starts the server finds that out.
    #[serde(skip)]
    pub path: PathBuf,
    /// Another chat template than the model's own: a file, or the name of a built-in one.
    pub template: Option<String>,
    /// Longest sequence in tokens.
    pub context: Option<usize>,
    /// Tokens of all sequences that the cache has room for; four times the context, unless said.
    pub cache_tokens: Option<usize>,
    /// Most sequences that run at once; others wait.
    pub parallel: usize,
    /// Most requests that wait; others are told to come back later.
    pub queue: usize,
    /// Stays in memory, and is there from the beginning.
    pub pinned: bool,
    /// Threads; as many as are good for this machine, unless said.
    pub threads: Option<usize>,
    /// Labels of a classifier that are no reason to flag a text, in any case of letters; usual ones, unless said.
    pub harmless: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            database: None,
            log: Log::Text,
            currency: "EUR".into(),
            memory_bytes: None,
            origins: Vec::new(),
            max_body_bytes: 32 << 20,
            read_timeout_seconds: 20,
            request_timeout_seconds: 600,
            grace_seconds: 30,
            max_connections: 1024,
            models: Vec::new(),
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            name: String::new(),
            source: None,
            aliases: Vec::new(),
            path: PathBuf::new(),
            template: None,
            context: None,
            cache_tokens: None,
            parallel: 32,
            queue: 128,
            pinned: false,
            threads: None,
            harmless: HARMLESS.map(String::from).to_vec(),
        }
    }
}

/// What classifiers call a text with which nothing is wrong.
const HARMLESS: [&str; 16] = [
    "safe",
    "ok",
    "okay",
    "neutral",
    "none",
    "normal",
    "clean",
    "benign",
    "harmless",
    "sfw",
    "ham",
    "other",
    "non-toxic",
    "nontoxic",
    "not_toxic",
    "non-hate",
];

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is no TOML, or names what is not known.
    #[error("{file}: {error}")]
    Toml {
        /// The file.
        file: String,
        /// Where and what, with the line.
        error: Box<toml::de::Error>,
    },
    /// A value means nothing.
    #[error("{field}: {message}")]
    Value {
        /// The field.
        field: String,
        /// What is wrong.
        message: String,
    },
}

impl Config {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ConfigError`] names the line or the field.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text)
            .map_err(|error| ConfigError::Toml { file: file.to_string(), error: Box::new(error) })?;
        config.check()?;
        Ok(config)
    }

    /// Looks at every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first that means nothing.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: String, message: String| Err(ConfigError::Value { field, message });
        let mut names: Vec<&str> = Vec::new();
        for (i, model) in self.models.iter().enumerate() {
            let at = |field: &str| format!("model[{i}].{field}");
            if model.name.is_empty() {
                return wrong(at("name"), "is missing: clients ask for a model by its name".into());
            }
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                if names.contains(&name.as_str()) {
                    return wrong(at("name"), format!("{name:?} is the name of two models"));
                }
                names.push(name);
            }
            for (field, value) in [("parallel", model.parallel), ("queue", model.queue)] {
                if !(1..=65536).contains(&value) {
                    return wrong(at(field), format!("is {value}, expected 1 to 65536"));
                }
            }
        }
        if self.max_connections == 0 {
            return wrong("max_connections".into(), "is 0, expected at least 1".into());
        }
        Ok(())
    }

    /// Longest time that a request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// Longest time for a head or a body to arrive.
    pub fn read_timeout(&self) -> Duration {
        Duration::from_secs(self.read_timeout_seconds)
    }

    /// How long running requests may go on after the end was announced.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_says_and_nothing_unknown() {
        let text =
            "listen = \"0.0.0.0:80\"\n[[model]]\nname = \"small\"\nsource = \"smollm2-135m-instruct\"\nparallel = 8\n";
        let config = Config::parse(text, "argand.toml").expect("a configuration");
        assert_eq!((config.listen.port(), config.models[0].parallel, config.models[0].queue), (80, 8, 128));
        let error = |text: &str| Config::parse(text, "argand.toml").expect_err(text).to_string();
        assert!(error("lisen = 1").contains("argand.toml") && error("lisen = 1").contains("lisen"));
        assert_eq!(error("[[model]]\nparallel = 1"), "model[0].name: is missing: clients ask for a model by its name");
        assert!(error("[[model]]\nname = \"a\"\n[[model]]\nname = \"b\"\naliases = [\"a\"]").contains("two models"));
        assert_eq!(error("[[model]]\nname = \"a\"\nqueue = 0"), "model[0].queue: is 0, expected 1 to 65536");
    }

    #[test]
    fn the_example_says_the_defaults() {
        let text = include_str!("../../../packaging/argand.toml");
        let example = Config::parse(text, "argand.toml").expect("a configuration");
        let mut usual = Config { models: vec![ModelConfig::default()], ..Config::default() };
        usual.models[0].name = "smollm2-135m-instruct".into();
        usual.models[0].pinned = true;
        assert_eq!(format!("{example:?}"), format!("{usual:?}"));
    }
}
