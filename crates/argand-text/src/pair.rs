//! Texts as encoders read them: one, or two joined to a sequence, cut to what the model can see.

use crate::{Error, Tokenizer};
use tokenizers::{Encoding, PostProcessor as _, PostProcessorWrapper, Token};

/// A sequence of tokens and which text each is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Type of each token: 0 for the first text, in most families 1 for the second; empty when all are 0.
    pub types: Vec<u32>,
}

/// What stands before, between and behind two texts: ids with their types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairFrame {
    frame: [Vec<(u32, u32)>; 3],
    texts: [u32; 2],
}

/// Stand for the two texts; no vocabulary contains them.
const MARKERS: [u32; 2] = [u32::MAX, u32::MAX - 1];

impl PairFrame {
    /// Asks a post-processor what it does with two texts; none where there is no post-processor.
    pub(crate) fn of(processor: Option<&PostProcessorWrapper>) -> Result<Option<Self>, Error> {
        let Some(processor) = processor else { return Ok(None) };
        let text = |i: usize| Encoding::from_tokens(vec![Token::new(MARKERS[i], String::new(), (0, 0))], i as u32);
        let framed = processor.process(text(0), Some(text(1)), true).map_err(Error::library("post-processor"))?;
        let all: Vec<(u32, u32)> =
            framed.get_ids().iter().copied().zip(framed.get_type_ids().iter().copied()).collect();
        let [first, second] = MARKERS.map(|marker| all.iter().position(|(id, _)| *id == marker));
        Ok(match (first, second) {
            (Some(first), Some(second)) if first < second => {
                let frame = [&all[..first], &all[first + 1..second], &all[second + 1..]].map(<[_]>::to_vec);
                Some(PairFrame { frame, texts: [all[first].1, all[second].1] })
            }
            _ => None,
        })
    }

    fn len(&self) -> usize {
        self.frame.iter().map(Vec::len).sum()
    }

    fn join(&self, texts: [&[u32]; 2]) -> Sequence {
        let typed = |i: usize| texts[i].iter().map(move |id| (*id, self.texts[i]));
        let [before, between, after] = self.frame.each_ref().map(|part| part.iter().copied());
        let (tokens, types) = before.chain(typed(0)).chain(between).chain(typed(1)).chain(after).unzip();
        Sequence { tokens, types }
    }
}

/// How many tokens of two texts are kept so that at most `room` remain: the longer one loses first.
fn keep(lengths: [usize; 2], room: usize) -> [usize; 2] {
    let [a, b] = lengths;
    let half = room / 2;
    match (a <= half, b <= half) {
        _ if a + b <= room => [a, b],
        (true, _) => [a, room - a],
        (_, true) => [room - b, b],
        // Of an odd room the longer text gets the rest.
        _ if a > b => [room - half, half],
        _ => [half, room - half],
    }
}

impl Tokenizer {
    /// A text as a sequence of at most `longest` tokens, with the tokens around it that the model expects; the end of the text
    /// is cut off. `parse_special` as in [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn sequence(&self, text: &str, longest: usize, parse_special: bool) -> Result<Sequence, Error> {
        let (prefix, suffix) = self.around();
        let mut tokens = self.encode(text, false, parse_special)?;
        tokens.truncate(longest.saturating_sub(prefix.len() + suffix.len()));
        Ok(Sequence { tokens: [prefix, &tokens, suffix].concat(), types: Vec::new() })
    }

    /// Two texts as a sequence of at most `longest` tokens. Of texts that are too long the longer one is cut first.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`Error::NoPairs`] when the tokenizer does not say how texts are joined.
    pub fn pair(&self, first: &str, second: &str, longest: usize) -> Result<Sequence, Error> {
        let frame = self.pair_frame().ok_or(Error::NoPairs)?;
        let texts = [self.encode(first, false, false)?, self.encode(second, false, false)?];
        let [a, b] = keep([texts[0].len(), texts[1].len()], longest.saturating_sub(frame.len()));
        Ok(frame.join([&texts[0][..a], &texts[1][..b]]))
    }
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn the_longer_text_loses_first() {
        assert_eq!(keep([3, 4], 7), [3, 4]);
        assert_eq!(keep([3, 10], 8), [3, 5]);
        assert_eq!(keep([10, 3], 8), [5, 3]);
        assert_eq!(keep([10, 20], 9), [4, 5]);
        assert_eq!(keep([20, 10], 9), [5, 4]);
        assert_eq!(keep([1, 1], 0), [0, 0]);
        for (a, b, room) in (0..12).flat_map(|a| (0..12).flat_map(move |b| (0..14).map(move |room| (a, b, room)))) {
            let [x, y] = keep([a, b], room);
            assert!(x <= a && y <= b && x + y == room.min(a + b), "{a} and {b} in {room}: {x} and {y}");
        }
    }
}
