//! `argand map`: the families of models, where they come from, and which of them run.

mod svg;

use crate::ui;
use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Show the families of models: year, lineage, sizes, licence, and which of them run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand map
  argand map --json | jq '.[] | select(.runs) | .name'
  argand map --format svg > map.svg")]
pub struct Map {
    /// How to show them
    #[arg(short, long, default_value = "text")]
    format: Form,
    /// Write JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// What the map is written as.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A table for terminals
    Text,
    /// A timeline for browsers
    Svg,
}

/// A family of models.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Family {
    name: String,
    /// When it was first told of.
    year: u16,
    kind: Kind,
    /// Families that it builds on.
    from: Vec<String>,
    /// Parameters of its members.
    sizes: String,
    /// Of its weights; empty where it is an idea without weights that everybody uses.
    licence: String,
    /// Where these facts come from.
    source: String,
    /// Pages of Argand that run it; none where it does not run.
    pages: Vec<String>,
}

/// What a family does, and a lane of the timeline.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Recurrent,
    Convolutional,
    Encoder,
    EncoderDecoder,
    Decoder,
    #[serde(rename = "vision and text")]
    Vision,
}

impl Kind {
    /// All, in the order of the lanes.
    const ALL: [Kind; 6] =
        [Kind::Recurrent, Kind::Convolutional, Kind::Encoder, Kind::EncoderDecoder, Kind::Decoder, Kind::Vision];

    fn name(self) -> &'static str {
        match self {
            Kind::Recurrent => "recurrent",
            Kind::Convolutional => "convolutional",
            Kind::Encoder => "encoder",
            Kind::EncoderDecoder => "encoder-decoder",
            Kind::Decoder => "decoder",
            Kind::Vision => "vision and text",
        }
    }
}

impl Family {
    fn runs(&self) -> bool {
        !self.pages.is_empty()
    }

    /// The licence, or a dash.
    fn licence(&self) -> &str {
        if self.licence.is_empty() { "-" } else { &self.licence }
    }
}

/// All families, the oldest first.
fn families() -> Result<Vec<Family>> {
    let mut all: Vec<Family> = serde_json::from_str(include_str!("../families.json"))?;
    all.sort_by_key(|family| family.year);
    Ok(all)
}

impl Map {
    pub fn run(self) -> Result<()> {
        let all = families()?;
        if self.json {
            return Ok(ui::out_json(&all.iter().map(as_json).collect::<Result<_>>()?)?);
        }
        match self.format {
            Form::Text => Ok(ui::out(&as_text(&all, ui::columns()))?),
            Form::Svg => Ok(ui::out(&svg::timeline(&all))?),
        }
    }
}

fn as_json(family: &Family) -> Result<serde_json::Value> {
    let mut json = serde_json::to_value(family)?;
    json["runs"] = family.runs().into();
    Ok(json)
}

/// A table that is at most so many columns wide.
fn as_text(all: &[Family], width: Option<usize>) -> String {
    let row = |f: &Family| {
        let from = if f.from.is_empty() { "-".into() } else { f.from.join("; ") };
        let runs = if f.runs() { "yes" } else { "no" }.to_string();
        let kind = f.kind.name().to_string();
        vec![
            f.name.clone(),
            f.year.to_string(),
            runs,
            kind,
            f.sizes.clone(),
            from,
            f.licence().into(),
            f.source.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = ["family", "year", "runs", "kind", "parameters", "builds on", "licence", "source"];
    let running = all.iter().filter(|f| f.runs()).count();
    let fitted = width.and_then(|width| ui::fitted(&head, &rows, width));
    let cut = if fitted.is_some() { "; cells are cut to fit, and whole in a file, a pipe or --json" } else { "" };
    let rows = fitted.unwrap_or(rows);
    format!("{}\n{running} of {} families run here{cut}\n", ui::table(&head, &rows), all.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_page_is_in_the_map_and_every_family_has_its_facts() {
        let all = families().expect("the file holds families");
        let names: BTreeSet<&str> = all.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "a name stands twice");
        let known: BTreeSet<&str> = argand_models::PAGES.iter().map(|p| p.name).collect();
        let shown: BTreeSet<&str> = all.iter().flat_map(|f| &f.pages).map(String::as_str).collect();
        assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&&str>::new(), "pages that no family names");
        assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "pages that are not there");
        for f in &all {
            assert!(!f.source.is_empty() && !f.sizes.is_empty() && f.source.contains(char::is_numeric), "{f:?}");
            for parent in &f.from {
                let parent = all.iter().find(|p| p.name == *parent).unwrap_or_else(|| panic!("{parent} is not there"));
                assert!(parent.year <= f.year, "{} is older than {}", f.name, parent.name);
            }
        }
    }
}
