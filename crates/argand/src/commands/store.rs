//! `argand pull | list | show | rm`: the store of models on this machine.

use super::quantize::tally;
use crate::args::ConfigArgs;
use crate::{interrupt, models, ui};
use anyhow::{Result, bail};
use argand_graph::WeightRef;
use argand_hub::{CatalogueEntry, HubError, ModelSpec, StoredModel, catalogue, human_bytes};
use argand_weights::Checkpoint;
use serde_json::{Value, json};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

/// Fetch a model into the store that Hugging Face tools share; an interrupted fetch goes on where it stopped
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand pull smollm2
  argand pull Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M
  HF_ENDPOINT=https://hub.example.org argand pull team/model@v2")]
pub struct Pull {
    /// A catalogue name, or OWNER/NAME[:FILE-OR-QUANTISATION][@REVISION]
    model: String,
    /// Write the path of the model as JSON
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub fn run(self) -> Result<()> {
        let found = match models::store()?.resolve(&self.model) {
            // A branch may have moved on; only what cannot change needs no question.
            Ok(found) if found.repo.is_none() || found.entry.is_some() => found,
            Ok(_) | Err(_) => models::fetch(&models::store()?, &self.model)?,
        };
        match self.json {
            true => ui::out_json(&json!({ "name": found.name, "path": found.path, "commit": found.commit }))?,
            false => ui::out(&format!("{}\n", found.path.display()))?,
        }
        Ok(())
    }
}

/// List the models on this machine
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand list
  argand list --known
  argand list --json | jq -r '.[].name'")]
pub struct List {
    /// List the catalogue instead: models that are known by name
    #[arg(long)]
    known: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self) -> Result<()> {
        if self.known {
            return self.known();
        }
        let stored = models::store()?.list()?;
        if self.json {
            return Ok(ui::out_json(&stored.iter().map(stored_json).collect())?);
        }
        if stored.is_empty() {
            eprintln!("there is no model on this machine yet; `argand pull smollm2` fetches a small one");
            return Ok(());
        }
        let row = |m: &StoredModel| {
            let note =
                m.missing.as_ref().map_or(String::new(), |file| format!("incomplete: {file} is missing or cut short"));
            let licence = m.licence.clone().unwrap_or_else(|| "unknown".into());
            vec![m.name.clone(), human_bytes(m.bytes), licence, m.refs.join(", "), note]
        };
        let rows: Vec<_> = stored.iter().map(row).collect();
        Ok(ui::out(&ui::table(&["name", "size", "licence", "revision", ""], &rows))?)
    }

    fn known(&self) -> Result<()> {
        if self.json {
            return Ok(ui::out_json(&catalogue().iter().map(entry_json).collect())?);
        }
        let row = |e: &CatalogueEntry| {
            let parameters = ui::human_count(e.parameters as f64);
            vec![e.name.clone(), human_bytes(e.all_bytes()), parameters, e.licence.clone(), e.aliases.join(", ")]
        };
        let rows: Vec<_> = catalogue().iter().map(row).collect();
        Ok(ui::out(&ui::table(&["name", "size", "parameters", "licence", "also called"], &rows))?)
    }
}

/// Say what is known about a model
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand show smollm2
  argand show ./model.gguf
  argand show Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M --json")]
pub struct Show {
    /// A model of the store or of the catalogue, or a path
    model: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Show {
    pub fn run(self) -> Result<()> {
        let stored = match (models::store()?.show(&self.model), ModelSpec::parse(&self.model)) {
            (Ok(stored), _) => stored,
            (Err(HubError::NotPulled { .. }), Ok(ModelSpec::Catalogue(entry))) => return self.show_entry(entry),
            (Err(HubError::NotInStore { path }), _) => return self.show_path(&path),
            (Err(error), _) => return Err(error.into()),
        };
        if self.config.read()?.is_some() {
            return self.show_path(&stored.path);
        }
        if self.json {
            return Ok(ui::out_json(&stored_json(&stored))?);
        }
        let mut rows = vec![
            ("name", stored.name.clone()),
            ("path", stored.path.display().to_string()),
            ("size", human_bytes(stored.bytes)),
            ("licence", stored.licence.clone().unwrap_or_else(|| "unknown".into())),
            ("repository", stored.repo.clone()),
            ("commit", stored.commit.clone()),
        ];
        rows.extend(stored.entry.into_iter().flat_map(entry_rows));
        rows.extend(stored.missing.as_ref().map(|file| ("incomplete", format!("{file} is missing or cut short"))));
        rows.extend(stored.files.iter().map(|f| ("file", format!("{} ({})", f.name, human_bytes(f.bytes)))));
        print_rows(&rows)
    }

    /// A file or folder of the user's own: what its headers tell.
    fn show_path(&self, path: &Path) -> Result<()> {
        let checkpoint = Checkpoint::open_as(path, self.config.read()?.as_ref())?;
        let model = argand_models::Model::open(&checkpoint, None)?;
        let (format, bytes) = (checkpoint.format().to_string(), checkpoint.file_bytes());
        let elements = |w: &WeightRef| w.shape.iter().product::<usize>();
        let parameters: usize = model.graph.weights().iter().map(elements).sum();
        let (family, context) = (model.page.name, model.context()?);
        if self.json {
            return Ok(ui::out_json(&json!({
                "path": path, "format": format, "bytes": bytes, "family": family, "parameters": parameters,
                "context": context, "numbers": stored_in(&checkpoint),
            }))?);
        }
        print_rows(&[
            ("path", path.display().to_string()),
            ("format", format),
            ("size", human_bytes(bytes)),
            ("family", family.to_string()),
            ("parameters", ui::human_count(parameters as f64)),
            ("context", context.to_string()),
            ("numbers", stored_in(&checkpoint)),
        ])
    }

    fn show_entry(&self, entry: &CatalogueEntry) -> Result<()> {
        if self.json {
            return Ok(ui::out_json(&entry_json(entry))?);
        }
        let mut rows = vec![
            ("name", format!("{} (not on this machine; `argand pull {}`)", entry.name, entry.name)),
            ("size", human_bytes(entry.all_bytes())),
            ("licence", entry.licence.clone()),
        ];
        rows.extend(entry_rows(entry));
        print_rows(&rows)
    }
}

/// How many tensors have which number format.
fn stored_in(checkpoint: &Checkpoint) -> String {
    tally(checkpoint.tensors().map(|t| t.codec))
}

fn entry_rows(entry: &CatalogueEntry) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("title", entry.title.clone()),
        ("family", entry.family.clone()),
        ("parameters", ui::human_count(entry.parameters as f64)),
        ("context", entry.context.to_string()),
        ("numbers", entry.quantisation.clone()),
    ];
    rows.extend(entry.licence_note.clone().map(|note| ("note", note)));
    rows
}

fn print_rows(rows: &[(&str, String)]) -> Result<()> {
    let lines = rows.iter().map(|(key, value)| format!("{key:<12}{value}\n"));
    Ok(ui::out(&lines.collect::<String>())?)
}

fn stored_json(m: &StoredModel) -> Value {
    json!({
        "name": m.name, "path": m.path, "bytes": m.bytes, "licence": m.licence, "repository": m.repo,
        "commit": m.commit, "revisions": m.refs, "missing": m.missing,
        "files": m.files.iter().map(|f| json!({ "name": f.name, "bytes": f.bytes })).collect::<Vec<_>>(),
    })
}

fn entry_json(e: &CatalogueEntry) -> Value {
    json!({
        "name": e.name, "aliases": e.aliases, "title": e.title, "family": e.family, "parameters": e.parameters,
        "context": e.context, "quantisation": e.quantisation, "bytes": e.bytes, "sha256": e.sha256,
        "beside": e.beside.iter().map(|f| json!({ "file": f.file, "bytes": f.bytes, "sha256": f.sha256 })).collect::<Vec<_>>(),
        "licence": e.licence,
    })
}

/// Remove a model from this machine
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand rm smollm2
  argand rm Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M --yes")]
pub struct Rm {
    /// A model of the store
    model: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Rm {
    pub fn run(self) -> Result<()> {
        let store = models::store()?;
        if !self.yes {
            let stored = store.show(&self.model)?;
            if !io::stdin().is_terminal() {
                bail!("removing {} needs --yes where nobody can be asked", stored.name);
            }
            eprint!("remove {} ({})? [y/N] ", stored.name, human_bytes(stored.bytes));
            io::stderr().flush()?;
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            if !matches!(line.trim(), "y" | "Y" | "yes") {
                eprintln!("nothing was removed");
                return Ok(());
            }
        }
        interrupt::check()?;
        let removed = store.remove(&self.model)?;
        let what = match removed.models.as_slice() {
            [] => format!("what an interrupted pull of {} left", self.model),
            models => models.join(", "),
        };
        Ok(ui::out(&format!("removed {what}, {} freed\n", human_bytes(removed.bytes)))?)
    }
}
