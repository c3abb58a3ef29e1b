//! How likely a model finds given texts as its answer.
//!
//! Each text is a sequence that may say nothing else; the model's own probabilities of its tokens are added up. Sequences of
//! the same prompt share its pages. What comes out does not depend on what else is running.

use crate::errand::{Signal, Tally};
use crate::error::ApiError;
use crate::load::Full;
use crate::models::Lease;
use crate::worker::{Ended, Out, Ticket};
use argand_engine::{Constraint, ConstraintError, Finish, Request, StopRules, TokenSet};
use std::time::Duration;

/// Time between two attempts to go on while the model has too much to do.
const PATIENCE: Duration = Duration::from_millis(100);

/// A prompt, and texts that may follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of each text; none is empty.
    pub texts: Vec<Vec<u32>>,
}

/// Lets given tokens be said, one after the other.
struct Script {
    tokens: Vec<u32>,
    at: usize,
}

impl Constraint for Script {
    fn allow(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintError> {
        self.tokens.get(self.at).into_iter().for_each(|token| allowed.set(*token, true));
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        if self.tokens.get(self.at) != Some(&token) {
            return Err(ConstraintError::Refused { token });
        }
        self.at += 1;
        Ok(())
    }

    fn may_end(&mut self) -> bool {
        self.must_end()
    }

    fn must_end(&mut self) -> bool {
        self.at == self.tokens.len()
    }
}

/// Logarithms of the probabilities of all texts, for each prompt.
///
/// # Errors
/// The model cannot take the first of them now, a step fails, or the work is given up.
pub async fn score(
    lease: &Lease,
    tenant: u64,
    all: &[Scored],
    tally: &Tally,
    signal: &mut Signal,
) -> Result<Vec<Vec<f64>>, ApiError> {
    let mut sums: Vec<Vec<f64>> = all.iter().map(|one| vec![0.0; one.texts.len()]).collect();
    let places: Vec<(usize, usize)> =
        all.iter().enumerate().flat_map(|(i, one)| (0..one.texts.len()).map(move |j| (i, j))).collect();
    // As many at once as may run, so that others who ask have their turn in between.
    for (turn, wave) in places.chunks(lease.worker().bounds().running.max(1)).enumerate() {
        let ticket = submit(lease, tenant, all, wave, turn == 0, signal).await?;
        hear(ticket, all, wave, &mut sums, tally, signal).await?;
    }
    Ok(sums)
}

fn request(one: &Scored, text: usize, tenant: u64) -> Request {
    let tokens = one.texts[text].clone();
    Request {
        stop: StopRules { max_tokens: Some(tokens.len()), ..StopRules::default() },
        logprobs: Some(0),
        namespace: tenant,
        constraint: Some(Box::new(Script { tokens, at: 0 })),
        ..Request::new(one.prompt.clone())
    }
}

/// Hands texts over. Work that has begun waits for room; what has not is refused.
async fn submit(
    lease: &Lease,
    tenant: u64,
    all: &[Scored],
    wave: &[(usize, usize)],
    first: bool,
    signal: &mut Signal,
) -> Result<Ticket, ApiError> {
    loop {
        let requests = wave.iter().map(|(i, j)| request(&all[*i], *j, tenant)).collect();
        match lease.worker().submit(tenant, requests) {
            Ok(ticket) => return Ok(ticket),
            Err(full @ Full::Queue { .. }) if !first => {
                tokio::select! {
                    () = tokio::time::sleep(PATIENCE) => {}
                    () = signal.given_up() => return Err(full.into()),
                }
            }
            Err(full) => return Err(full.into()),
        }
    }
}

/// Adds up what is said of texts until all of them have ended.
async fn hear(
    mut ticket: Ticket,
    all: &[Scored],
    wave: &[(usize, usize)],
    sums: &mut [Vec<f64>],
    tally: &Tally,
    signal: &mut Signal,
) -> Result<(), ApiError> {
    let mut failure = None;
    let mut left = false;
    loop {
        let heard = tokio::select! {
            heard = ticket.next() => heard,
            () = signal.given_up(), if !left => {
                left = true;
                ticket.cancel();
                continue;
            }
        };
        let Some((index, out)) = heard else { break };
        let (i, j) = wave[index];
        match out {
            Out::Token { logprobs, .. } => {
                sums[i][j] += logprobs.map_or(f64::NEG_INFINITY, |logprobs| f64::from(logprobs.chosen));
            }
            Out::Ended { how, usage, .. } => {
                // A prompt was asked for once, whatever the number of texts behind it.
                let first = j == 0 && usage.completion_tokens > 0;
                let prompt = if first { all[i].prompt.len() } else { 0 };
                tally.add(prompt, if first { usage.cached_tokens } else { 0 }, usage.completion_tokens);
                let why = match how {
                    Ended::Finished(Finish::Whole | Finish::MaxTokens) => None,
                    Ended::Finished(other) => Some(ApiError::internal(other.to_string())),
                    Ended::Refused(error) => Some(ApiError::refused(error, "input")),
                    Ended::Cancelled => Some(ApiError::unavailable("the request was given up")),
                    Ended::Failed(why) => Some(ApiError::unavailable(why)),
                };
                if failure.is_none() && why.is_some() {
                    failure = why;
                    ticket.cancel();
                }
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_lets_nothing_else_be_said() {
        let mut script = Script { tokens: vec![3, 5], at: 0 };
        let mut allowed = TokenSet::none(8);
        assert_eq!(script.allow(&mut allowed), Ok(()));
        assert_eq!(allowed.iter().collect::<Vec<_>>(), [3]);
        assert_eq!(script.accept(5), Err(ConstraintError::Refused { token: 5 }));
        assert_eq!((script.accept(3), script.must_end()), (Ok(()), false));
        assert_eq!((script.accept(5), script.must_end()), (Ok(()), true));
        assert_eq!(script.accept(5), Err(ConstraintError::Refused { token: 5 }));
    }
}
