//! The book of keys and usage that commands share with the server.

use anyhow::{Context, Result};
use argand_ledger::{Ledger, NewKey, Options, Scope, Secret};
use std::path::PathBuf;

/// Where it is unless told otherwise: in the user's data folder.
pub fn default_path() -> Result<String> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
    let folder = folder
        .context("neither XDG_DATA_HOME nor HOME is set; say where keys are kept with --database")?
        .join("argand");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder.join("ledger.sqlite").display().to_string())
}

/// Opens it. `server` names the one that serves, so that what it left behind is put in order when it comes back.
pub async fn open(database: &str, server: Option<String>) -> Result<Ledger> {
    let serving = server.is_some();
    let ledger = Ledger::open(database, Options { server, ..Options::default() }).await?;
    if serving {
        ledger.recover().await?;
    }
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
