//! Free text until a text appears in it, wherever tokens begin and end.

use crate::words::{Sign, Words};

/// A text that is waited for.
pub(crate) struct Lead {
    marker: Vec<Sign>,
    /// For each sign: how much of the marker is still matched when the next one is another.
    fallback: Vec<usize>,
    /// Whether the output may end before.
    pub may_end: bool,
    /// For each number of signs matched: tokens that would reach the end of the marker and go on in a way that cannot be.
    pub barred: Vec<Vec<u32>>,
}

impl Lead {
    /// `marker` is not empty.
    pub fn new(marker: Vec<Sign>, may_end: bool) -> Self {
        let mut fallback = vec![0; marker.len()];
        for i in 1..marker.len() {
            let mut matched = fallback[i - 1];
            while matched > 0 && marker[matched] != marker[i] {
                matched = fallback[matched - 1];
            }
            fallback[i] = matched + usize::from(marker[matched] == marker[i]);
        }
        let barred = vec![Vec::new(); marker.len()];
        Self { marker, fallback, may_end, barred }
    }

    /// Reads signs. How many signs of the marker are matched then, or, as an error, what is left behind it when it
    /// was whole.
    pub fn read(&self, mut matched: usize, mut signs: impl Iterator<Item = Sign>) -> Result<usize, Vec<Sign>> {
        while let Some(sign) = signs.next() {
            while matched > 0 && self.marker[matched] != sign {
                matched = self.fallback[matched - 1];
            }
            matched += usize::from(self.marker[matched] == sign);
            if matched == self.marker.len() {
                return Err(signs.collect());
            }
        }
        Ok(matched)
    }

    /// Finds the tokens that reach over the marker and are not to be, by what they leave behind it.
    pub fn bar(&mut self, words: &Words, mut may_follow: impl FnMut(&[Sign]) -> bool) {
        let Some(last) = self.marker.last().and_then(|sign| sign.read().ok()) else {
            return;
        };
        for token in 0..words.trie().vocab_size() as u32 {
            // Only a token that goes on behind the last sign of the marker can reach over it.
            let word = words.trie().token(token);
            if word.len() < 2 || !word[..word.len() - 1].contains(&last) {
                continue;
            }
            for matched in 0..self.marker.len() {
                if let Err(left) = self.read(matched, words.signs(token))
                    && !left.is_empty()
                    && !may_follow(&left)
                {
                    self.barred[matched].push(token);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(text: &str) -> Vec<Sign> {
        crate::words::tests::bytes().read(text)
    }

    #[test]
    fn a_marker_is_found_wherever_it_is_cut() {
        let lead = Lead::new(signs("aabaab!"), true);
        for text in ["aabaab!", "aabaabaab!", "aaabaab!", "xaabaaabaab!"] {
            for cut in 0..text.len() {
                let matched = lead.read(0, signs(&text[..cut]).into_iter());
                let matched = matched.unwrap_or_else(|_| panic!("{text} is found too early, at {cut}"));
                assert_eq!(lead.read(matched, signs(&text[cut..]).into_iter()), Err(vec![]), "{text} cut at {cut}");
            }
        }
        assert_eq!(lead.read(0, signs("aabaab?").into_iter()), Ok(0));
        assert_eq!(lead.read(0, signs("aabaa").into_iter()), Ok(5));
        assert_eq!(lead.read(5, signs("ab").into_iter()), Ok(3));
        assert_eq!(lead.read(6, signs("!rest").into_iter()), Err(signs("rest")));
    }
}
