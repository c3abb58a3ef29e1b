//! The token table: every token's text in one buffer, with ids found by text through one hash index.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Token texts by id, and ids by text. Where two ids carry the same text, the later id is found.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    text: String,
    /// End of each token's text in `text`; the start is the end of the token before.
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    longest: usize,
}

impl TokenTable {
    /// Builds the table; ids are positions in `tokens`. `None` if the texts together pass 4 GiB or ids pass 32 bits.
    pub(crate) fn new(tokens: &[&str]) -> Option<Self> {
        let bytes: usize = tokens.iter().map(|token| token.len()).sum();
        u32::try_from(bytes).ok()?;
        u32::try_from(tokens.len()).ok()?;
        let mut table = Self {
            text: String::with_capacity(bytes),
            ends: Vec::with_capacity(tokens.len()),
            index: HashTable::with_capacity(tokens.len()),
            hasher: DefaultHashBuilder::default(),
            longest: 0,
        };
        for (id, token) in tokens.iter().enumerate() {
            table.text.push_str(token);
            table.ends.push(table.text.len() as u32);
            table.longest = table.longest.max(token.len());
            table.insert(id as u32, token);
        }
        Some(table)
    }

    fn insert(&mut self, id: u32, token: &str) {
        let Self { text, ends, index, hasher, .. } = self;
        index
            .entry(
                hasher.hash_one(token),
                |&other| slice(text, ends, other) == token,
                |&other| hasher.hash_one(slice(text, ends, other)),
            )
            .and_modify(|found| *found = id)
            .or_insert(id);
    }

    /// The id of a text.
    #[inline]
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        if token.len() > self.longest {
            return None;
        }
        let hash = self.hasher.hash_one(token);
        self.index.find(hash, |&id| slice(&self.text, &self.ends, id) == token).copied()
    }

    /// The text of an id.
    #[inline]
    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        ((id as usize) < self.ends.len()).then(|| slice(&self.text, &self.ends, id))
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[inline]
fn slice<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a str {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] as usize };
    &text[start..ends[id] as usize]
}
