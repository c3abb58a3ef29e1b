//! `argand count`: what a model costs.

use crate::args::{self, BadValue, ConfigArgs};
use crate::opened::Opened;
use crate::ui::{self, human_bytes, human_count};
use anyhow::{Result, bail};
use argand_graph::{At, Count as Counted, CountRow};
use argand_models::vision::Sight;
use serde_json::json;

/// Say what a model costs, before any weight is read
#[derive(clap::Args)]
#[command(after_help = "Costs are of one step in which every sequence generates a token. A multiply-add counts as two
operations.

Examples:
  argand count smollm2 --context 8192
  argand count config.json --weights Q4_K --batch 32 --json")]
pub struct Count {
    /// Model, or a config.json alone
    model: String,
    /// Tokens that each sequence sees in the cache
    #[arg(short, long, value_name = "TOKENS", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    context: u32,
    /// Sequences that generate together
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Count weight matrices whose rows fill whole blocks as if they were stored in this format, such as Q4_K
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// Bytes of an element of the cache
    #[arg(long, value_name = "BYTES", default_value_t = 2.0)]
    cache_bytes: f64,
    /// Count the part that looks at --batch pictures instead of the part that reads; where their size is free, of --context patches
    #[arg(long)]
    looking: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Bytes of the largest element that a cache could have, a double.
const MOST_CACHE_BYTES: f64 = 8.0;

impl Count {
    pub fn run(self) -> Result<()> {
        let codec = self.weights.as_deref().map(|name| args::format("--weights", name, |_| true)).transpose()?;
        if !(self.cache_bytes > 0.0 && self.cache_bytes <= MOST_CACHE_BYTES) {
            let wanted = format!("more than 0 and at most {MOST_CACHE_BYTES}");
            bail!(BadValue(format!("--cache-bytes is {}, expected {wanted}", self.cache_bytes)));
        }
        let opened = Opened::open(&self.model, self.config.read()?.as_ref())?;
        let part = opened.part(self.looking)?;
        let counted = opened.count(&part, codec);
        let (batch, context) = (self.batch as usize, self.context as usize);
        let at = match Sight::of(&part.graph) {
            Some(sight) => sight.step(batch, context),
            None => At { n: batch, r: batch, b: batch, p: 0, s: context },
        };
        match self.json {
            true => Ok(ui::out_json(&self.as_json(&counted, &at))?),
            false => Ok(ui::out(&self.as_text(&counted, &at))?),
        }
    }

    /// A step in which an encoder reads the text of each sequence.
    fn reading(&self, at: &At) -> At {
        At { n: at.n * at.s, r: 0, b: at.n, s: at.s, p: 0 }
    }

    fn table(&self, counted: &Counted, at: &At) -> String {
        let row = |r: &CountRow| {
            vec![
                r.name.clone(),
                r.times.to_string(),
                human_count(r.params as f64),
                human_bytes(r.read_bytes(at)),
                human_count(r.flops.at(at)),
                human_bytes(r.activation_bytes.at(at)),
                human_bytes(r.state_elems.at(at) * self.cache_bytes),
            ]
        };
        let mut rows: Vec<Vec<String>> = counted.rows.iter().map(row).collect();
        rows.push(vec![
            "total".into(),
            String::new(),
            human_count(counted.params as f64),
            human_bytes(counted.read_bytes(at)),
            human_count(counted.total(|r| &r.flops).at(at)),
            human_bytes(counted.total(|r| &r.activation_bytes).at(at)),
            human_bytes(counted.total(|r| &r.state_elems).at(at) * self.cache_bytes),
        ]);
        let head = ["op", "times", "parameters", "weights read", "operations", "activations", "cache"];
        ui::table(&head, &rows)
    }

    fn as_text(&self, counted: &Counted, at: &At) -> String {
        let per_token = counted.state_per_token as f64 * self.cache_bytes;
        let reading = counted.encoder.as_deref().map_or(String::new(), |encoder| {
            let table = self.table(encoder, &self.reading(at));
            format!("{} texts of {} tokens are read:\n{table}\na token of each answer is written:\n", at.n, at.s)
        });
        format!(
            "{reading}{}\nparameters        {} ({})\ncache per token   {}\ncache             {} for {} x {} tokens\n\
             bytes per step    {}\noperations        {}\n",
            self.table(counted, at),
            counted.params,
            human_count(counted.params as f64),
            human_bytes(per_token),
            human_bytes(per_token * (at.s * at.b) as f64),
            at.b,
            at.s,
            human_bytes(counted.bytes(at, self.cache_bytes)),
            counted.total(|r| &r.flops),
        )
    }

    fn as_json(&self, counted: &Counted, at: &At) -> serde_json::Value {
        let as_json = |r: &CountRow, at: &At| {
            json!({
                "op": r.name, "times": r.times, "parameters": r.params, "weight_bytes": plain(r.read_bytes(at)),
                "flops": plain(r.flops.at(at)), "activation_bytes": plain(r.activation_bytes.at(at)),
                "cache_bytes": plain(r.state_elems.at(at) * self.cache_bytes),
            })
        };
        let reading = counted.encoder.as_deref().map(|encoder| {
            let at = self.reading(at);
            json!({
                "tokens": at.n,
                "weight_bytes": plain(encoder.read_bytes(&at)),
                "flops": plain(encoder.total(|r| &r.flops).at(&at)),
                "bytes": plain(encoder.bytes(&at, self.cache_bytes)),
                "rows": encoder.rows.iter().map(|r| as_json(r, &at)).collect::<Vec<_>>(),
            })
        });
        json!({
            "encoder": reading,
            "parameters": counted.params,
            "cache_bytes_per_token": counted.state_per_token as f64 * self.cache_bytes,
            "tokens": at.n, "context": at.s,
            "weight_bytes": plain(counted.read_bytes(at)),
            "flops": plain(counted.total(|r| &r.flops).at(at)),
            "bytes": plain(counted.bytes(at, self.cache_bytes)),
            "flops_symbolic": counted.total(|r| &r.flops).to_string(),
            "rows": counted.rows.iter().map(|r| as_json(r, at)).collect::<Vec<_>>(),
        })
    }
}

/// A number without the sign that an empty sum of floats has: it is -0.
fn plain(number: f64) -> f64 {
    number + 0.0
}
