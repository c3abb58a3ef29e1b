//! `argand doctor`: what this machine offers, and what will be used of it.

use crate::ui::{self, human_bytes, human_count};
use crate::{interrupt, models};
use anyhow::Result;
use argand::machine::Machine;
use argand_cpu::ceilings::{self, Pages};
use argand_cpu::tier::{TIER_VARIABLE, Tier};
use serde_json::json;
use std::path::Path;

/// Memory that bandwidth is measured on: far larger than caches, small enough for any machine that runs a model.
const BUFFER: usize = 256 << 20;

/// Say what this machine offers and what will be used of it; takes a few seconds to measure
#[derive(clap::Args)]
#[command(after_help = "Examples:
  argand doctor
  argand doctor --quick
  argand doctor --json | jq .threads")]
pub struct Doctor {
    /// Do not measure
    #[arg(long)]
    quick: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Read bandwidth in bytes per second.
struct Bandwidth {
    threads: usize,
    huge: f64,
    small: f64,
}

impl Doctor {
    pub fn run(self) -> Result<()> {
        let machine = Machine::read();
        let threads = machine.threads();
        let tier = Tier::from_env_or_detect()?;
        let store = models::store()?;
        let cache = &store.config().cache;
        let free = free_space(cache);
        let (mut bandwidths, mut peaks) = (Vec::new(), None);
        if !self.quick {
            for n in counts(machine.logical.max(threads.count)) {
                interrupt::check()?;
                let rate = |pages| ceilings::read_bandwidth(tier, n, BUFFER, pages);
                bandwidths.push(Bandwidth { threads: n, huge: rate(Pages::Huge)?, small: rate(Pages::Small)? });
            }
            let (float, integer) =
                (ceilings::f32_peak(tier, threads.count)?, ceilings::integer_peak(tier, threads.count)?);
            peaks = Some((float, integer));
        }
        if self.json {
            return Ok(ui::out_json(&json!({
                "processor": machine.processor, "logical": machine.logical, "physical": machine.physical,
                "quota": machine.quota, "memory": machine.memory, "available": machine.available,
                "tier": tier.name(),
                "tiers": Tier::supported().map(Tier::name).collect::<Vec<_>>(),
                "threads": threads.count, "threads_reason": threads.reason,
                "others_running": Machine::others_running(),
                "cache": cache, "cache_free": free,
                "bandwidth": bandwidths.iter().map(|b| json!({
                    "threads": b.threads, "huge_pages": b.huge, "small_pages": b.small,
                })).collect::<Vec<_>>(),
                "f32_flops": peaks.map(|p| p.0), "integer_ops": peaks.map(|p| p.1),
            }))?);
        }
        let unknown = || "unknown".to_string();
        let bytes = |b: Option<u64>| b.map_or_else(unknown, |b| human_bytes(b as f64));
        let others: Vec<&str> = Tier::supported().filter(|t| *t != tier).map(Tier::name).collect();
        let mut text = format!(
            "processor   {}\ncores       {} physical, {} logical for this process\nquota       {}\n\
             memory      {}, {} available\ntier        {tier} (this processor also runs {}; {TIER_VARIABLE} forces one)\n\
             threads     {}: {}\nothers      {} threads of other programs running now\nmodels      {}, {} free\n",
            machine.processor.clone().unwrap_or_else(unknown),
            machine.physical,
            machine.logical,
            machine.quota.map_or("no limit".to_string(), |q| format!("{q} processors")),
            bytes(machine.memory),
            bytes(machine.available),
            others.join(", "),
            threads.count,
            threads.reason,
            Machine::others_running().map_or_else(unknown, |n| n.to_string()),
            cache.display(),
            bytes(free),
        );
        for b in &bandwidths {
            let s = if b.threads == 1 { "" } else { "s" };
            let (huge, small) = (human_bytes(b.huge), human_bytes(b.small));
            text += &format!("bandwidth   {} thread{s}: {huge}/s, {small}/s without huge pages\n", b.threads);
        }
        if let Some((float, integer)) = peaks {
            let (float, integer) = (human_count(float), human_count(integer));
            text += &format!("peak        {float}FLOP/s in f32, {integer}OP/s in 8-bit integers\n");
        }
        Ok(ui::out(&text)?)
    }
}

/// 1, 2, 4, ... and the most.
fn counts(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < most).collect();
    counts.push(most.max(1));
    counts
}

/// Free space where the store lies or will lie.
fn free_space(cache: &Path) -> Option<u64> {
    cache.ancestors().find(|p| p.exists()).and_then(|p| fs4::available_space(p).ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn thread_counts_double_up_to_the_most() {
        assert_eq!(super::counts(1), [1]);
        assert_eq!(super::counts(2), [1, 2]);
        assert_eq!(super::counts(6), [1, 2, 4, 6]);
    }
}
