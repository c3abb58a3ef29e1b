//! The ledger that commands speak of: which database it is, and a runtime to ask it in.

use std::fs::DirBuilder;
use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use argand_ledger::{Ledger, LedgerError, NewKey, Options, Scope, Secret};

/// Option of every command that speaks of keys or usage.
#[derive(clap::Args, Debug, Clone)]
pub struct LedgerArgs {
    /// Database: postgres://USER@HOST/NAME, or the path of an SQLite file; ARGAND_DATABASE, or else a file in the user's data
    /// folder unless given
    #[arg(long, value_name = "URL|PATH")]
    database: Option<String>,
}

impl LedgerArgs {
    /// Opens the ledger, does something with it, and closes it.
    pub fn with<T, F: Future<Output = Result<T>>>(&self, work: impl FnOnce(Ledger) -> F) -> Result<T> {
        let url = url(self.database.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let ledger =
                Ledger::open(&url, Options::default()).await.with_context(|| format!("cannot open {}", shown(&url)))?;
            let done = work(ledger.clone()).await;
            ledger.close().await?;
            done
        })
    }
}

/// The database that was named, by an option or by ARGAND_DATABASE, or the usual file.
pub fn url(option: Option<String>) -> Result<String> {
    let named = || std::env::var("ARGAND_DATABASE").ok().filter(|url| !url.is_empty());
    match option.or_else(named) {
        Some(url) => Ok(url),
        None => Ok(default_file()?.to_str().context("the path of the user's data folder is not UTF-8")?.to_owned()),
    }
}

/// Opens the ledger for a server of this name, and puts in order what an earlier one of the name left behind.
pub async fn serving(url: &str, server: String) -> Result<Ledger> {
    let options = Options { server: Some(server), ..Options::default() };
    let ledger = Ledger::open(url, options).await.with_context(|| format!("cannot open {}", shown(url)))?;
    ledger.recover().await?;
    Ok(ledger)
}

/// A key for everything, if there is none at all.
pub async fn first_key(ledger: &Ledger) -> Result<Option<Secret>> {
    if !ledger.keys().await?.is_empty() {
        return Ok(None);
    }
    let scopes = Scope::ALL.into_iter().collect();
    let new = NewKey { name: "first".into(), owner: "administrator".into(), scopes, ..NewKey::default() };
    Ok(Some(ledger.create_key(new).await?.1))
}

/// The file that is used unless another database is named. Its folder is made, for its owner alone.
fn default_file() -> Result<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = named("XDG_DATA_HOME").or_else(|| Some(named("HOME")?.join(".local/share")));
    let folder = data.context("neither XDG_DATA_HOME nor HOME is set: say --database")?.join("argand");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join("ledger.db"))
}

/// A URL without what is said before the `@`, which may be a password.
pub fn shown(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, place)) => format!("{scheme}://{place}"),
        None => url.to_owned(),
    }
}

/// Whether the user can mend it by saying something else: then it is a mistake in what was typed.
pub fn is_bad_value(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Invalid { .. })
}
