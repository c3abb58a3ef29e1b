//! Where the store lies and how it reaches the hub, read from the variables that Hugging Face's own tools read.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{HubError, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a [`Store`](crate::Store). Never shows the token in `Debug`.
#[derive(Clone)]
pub struct Config {
    /// Directory in the layout of the Hugging Face cache (`HF_HUB_CACHE`, else `$HF_HOME/hub`, else
    /// `~/.cache/huggingface/hub`).
    pub cache: PathBuf,
    /// The hub's address without a trailing slash (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Token that is sent to the endpoint and nowhere else (`HF_TOKEN`, else the file that `hf auth login` writes).
    pub token: Option<String>,
    /// Never use the network (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Longest wait for the head of an answer (`HF_HUB_ETAG_TIMEOUT`, seconds).
    pub response_timeout: Duration,
    /// Longest silence within a body (`HF_HUB_DOWNLOAD_TIMEOUT`, seconds).
    pub read_timeout: Duration,
    /// First pause before a failed request is tried again; each further pause is twice as long.
    pub retry_pause: Duration,
    /// The Python that fetches packages (`ARGAND_PYTHON`).
    pub python: String,
    /// Set it from another thread or a signal handler to stop a pull between two chunks.
    pub cancel: Arc<AtomicBool>,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`HubError::NoHome`] if no variable tells where the store lies.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads settings from any source of variables; empty values count as absent.
    ///
    /// # Errors
    /// [`HubError::NoHome`] if no variable tells where the store lies.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let flag = |name: &str| {
            get(name).is_some_and(|v| matches!(v.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
        };
        let seconds = |name: &str| {
            let value = get(name)?.trim().parse::<u64>().ok()?;
            Some(Duration::from_secs(value.max(1)))
        };
        let user_home = get("HOME").or_else(|| get("USERPROFILE")).map(PathBuf::from);
        let expand = |path: String| match (path.strip_prefix("~/"), &user_home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        };
        let hf_home = get("HF_HOME").map(expand).or_else(|| {
            let cache = get("XDG_CACHE_HOME").map(expand);
            Some(cache.or_else(|| Some(user_home.as_ref()?.join(".cache")))?.join("huggingface"))
        });
        let cache = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE")).map(expand);
        let cache = cache.or_else(|| Some(hf_home.as_ref()?.join("hub"))).ok_or(HubError::NoHome)?;
        let token_file = get("HF_TOKEN_PATH").map(expand).or_else(|| Some(hf_home?.join("token")));
        let token = get("HF_TOKEN").or_else(|| {
            if flag("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
                return None;
            }
            std::fs::read_to_string(token_file?).ok()
        });
        Ok(Self {
            cache,
            endpoint: get("HF_ENDPOINT").map_or(DEFAULT_ENDPOINT.into(), |e| e.trim().trim_end_matches('/').to_owned()),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            offline: flag("HF_HUB_OFFLINE"),
            response_timeout: seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(DEFAULT_TIMEOUT),
            read_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(DEFAULT_TIMEOUT),
            retry_pause: Duration::from_secs(1),
            python: get("ARGAND_PYTHON").unwrap_or_else(|| "python3".into()),
            cancel: Arc::default(),
        })
    }

    /// Fails once the cancellation flag is up.
    pub(crate) fn check_cancel(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) { Err(HubError::Cancelled) } else { Ok(()) }
    }

    /// Sleeps, but wakes up soon after the cancellation flag is raised.
    pub(crate) fn pause(&self, length: Duration) -> Result<()> {
        const SLICE: Duration = Duration::from_millis(50);
        let end = std::time::Instant::now() + length;
        loop {
            self.check_cancel()?;
            match end.checked_duration_since(std::time::Instant::now()) {
                None | Some(Duration::ZERO) => return Ok(()),
                Some(left) => std::thread::sleep(left.min(SLICE)),
            }
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.to_string());
        Config::from_lookup(find)
    }

    #[test]
    fn the_cache_directory_follows_hugging_face() {
        let cache = |variables: &[(&str, &str)]| config(variables).unwrap().cache;
        assert_eq!(cache(&[("HOME", "/h")]), PathBuf::from("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), PathBuf::from("/c/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/hf")]), PathBuf::from("/h/hf/hub"));
        assert_eq!(cache(&[("HF_HOME", "/x"), ("HF_HUB_CACHE", "/y")]), PathBuf::from("/y"));
        assert!(matches!(config(&[("HOME", " ")]), Err(HubError::NoHome)));
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_login_file_and_is_never_shown() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let hf_home = home.path().to_str().unwrap();
        assert_eq!(config(&[("HF_HOME", hf_home)]).unwrap().token.as_deref(), Some("from-file"));
        let hidden = config(&[("HF_HOME", hf_home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap();
        assert_eq!(hidden.token, None);
        let config = config(&[("HF_HOME", hf_home), ("HF_TOKEN", " secret ")]).unwrap();
        assert_eq!(config.token.as_deref(), Some("secret"));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn the_endpoint_has_no_trailing_slash_and_flags_are_words() {
        let config =
            config(&[("HOME", "/h"), ("HF_ENDPOINT", "http://mirror/hf/"), ("HF_HUB_OFFLINE", "yes")]).unwrap();
        assert_eq!(config.endpoint, "http://mirror/hf");
        assert!(config.offline);
    }
}
