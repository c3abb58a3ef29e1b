//! Which sequence holds which page: reference counts, prefix sharing, copy on write, rollback.
//!
//! A page that several sequences hold is never written; a page that any sequence holds is never handed out again. Full
//! pages stay findable by their exact tokens after their last holder left, until the space is needed. Nothing here touches
//! page memory: contents belong to the runner.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What comes before a full page: nothing (with the namespace it belongs to), or another full page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Parent {
    Root(u64),
    Page(u64),
}

/// Identity of a full page: its tokens and, through the parent, all tokens before. Exact, so hash collisions cannot mix users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    parent: Parent,
    tokens: Arc<[u32]>,
}

#[derive(Clone, Copy, Debug)]
struct Published {
    page: u32,
    /// Never reused, unlike page numbers: a child of an evicted page can never be found through its successor.
    node: u64,
}

#[derive(Clone, Debug, Default)]
struct Page {
    holders: u32,
    key: Option<Key>,
    /// Place in the queue of idle pages, while there.
    idle_since: u64,
}

/// The pages of one sequence. Holds references: give it back with [`PagePool::release`].
#[derive(Debug)]
#[must_use = "a dropped page table leaks its pages: give it to PagePool::release"]
pub struct PageTable {
    pages: Vec<u32>,
    len: usize,
    namespace: u64,
    chain: Vec<u64>,
    /// Its pages are found by nobody else.
    private: bool,
}

impl PageTable {
    /// An empty table. Prefixes are shared only among tables of the same `namespace`.
    pub fn new(namespace: u64) -> Self {
        Self { pages: Vec::new(), len: 0, namespace, chain: Vec::new(), private: false }
    }

    /// An empty table whose contents follow from more than its tokens, so that no other may share them.
    pub fn private() -> Self {
        Self { private: true, ..Self::new(0) }
    }

    /// An empty table of the same kind.
    pub fn emptied(&self) -> Self {
        Self { private: self.private, ..Self::new(self.namespace) }
    }

    /// Whether its contents follow from more than its tokens.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// Tokens whose state is in the pages.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Page numbers in order; covers [`len`](Self::len) and what was reserved beyond it.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Namespace the table was made for.
    pub fn namespace(&self) -> u64 {
        self.namespace
    }

    fn parent(&self) -> Parent {
        self.chain.last().map_or(Parent::Root(self.namespace), |node| Parent::Page(*node))
    }
}

/// Page whose contents the runner must copy before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCopy {
    /// Page to read.
    pub from: u32,
    /// Page to write.
    pub to: u32,
}

/// More pages were asked for than can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} more pages are needed and {available} are available")]
pub struct OutOfPages {
    /// Pages asked for.
    pub needed: usize,
    /// Pages free or reclaimable.
    pub available: usize,
}

/// How the pages of a pool are used at one moment; the three parts add up to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageUse {
    /// Pages held by at least one sequence.
    pub held: usize,
    /// Pages held by none that can still be found by their tokens.
    pub cached: usize,
    /// Pages without contents.
    pub free: usize,
}

/// All pages of a runner.
#[derive(Debug)]
pub struct PagePool {
    page_tokens: usize,
    pages: Vec<Page>,
    free: Vec<u32>,
    idle: BTreeMap<u64, u32>,
    published: HashMap<Key, Published>,
    clock: u64,
    nodes: u64,
}

impl PagePool {
    /// A pool of `pages` free pages of `page_tokens` tokens.
    ///
    /// # Panics
    /// When `page_tokens` is zero.
    pub fn new(pages: usize, page_tokens: usize) -> Self {
        assert!(page_tokens > 0, "a page holds at least one token");
        Self {
            page_tokens,
            pages: vec![Page::default(); pages],
            free: (0..pages as u32).rev().collect(),
            idle: BTreeMap::new(),
            published: HashMap::new(),
            clock: 0,
            nodes: 0,
        }
    }

    /// Pages that can be handed out: free ones and cached ones that nobody holds.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// How the pages are used now.
    pub fn usage(&self) -> PageUse {
        let (cached, free) = (self.idle.len(), self.free.len());
        PageUse { held: self.pages.len() - cached - free, cached, free }
    }

    /// Extends `table` by cached full pages that hold the next of `tokens`, and returns how many tokens were gained.
    ///
    /// `tokens` is the sequence from its beginning; at most `tokens.len()` tokens are held afterwards.
    pub fn adopt(&mut self, table: &mut PageTable, tokens: &[u32]) -> usize {
        let before = table.len;
        if table.private || !before.is_multiple_of(self.page_tokens) {
            return 0;
        }
        self.trim(table);
        for page in tokens.get(before..).unwrap_or_default().chunks_exact(self.page_tokens) {
            let key = Key { parent: table.parent(), tokens: page.into() };
            let Some(found) = self.published.get(&key).copied() else {
                break;
            };
            self.hold(found.page);
            table.pages.push(found.page);
            table.chain.push(found.node);
            table.len += self.page_tokens;
        }
        table.len - before
    }

    /// Makes room for `rows` more tokens, all or nothing. Returns the copy to make first when the page to be written is shared.
    ///
    /// # Errors
    /// [`OutOfPages`]; the table is then unchanged.
    pub fn reserve(&mut self, table: &mut PageTable, rows: usize) -> Result<Option<PageCopy>, OutOfPages> {
        if rows == 0 {
            return Ok(None);
        }
        let at = table.len / self.page_tokens;
        let shared = table.pages.get(at).copied().filter(|p| self.pages[*p as usize].holders > 1);
        let more = (table.len + rows).div_ceil(self.page_tokens).saturating_sub(table.pages.len());
        let needed = more + usize::from(shared.is_some());
        if needed > self.available() {
            return Err(OutOfPages { needed, available: self.available() });
        }
        let copy = shared.map(|from| {
            let to = self.take();
            self.drop_hold(from);
            table.pages[at] = to;
            PageCopy { from, to }
        });
        if let (None, Some(page)) = (shared, table.pages.get(at)) {
            self.unpublish(*page);
        }
        for _ in 0..more {
            let page = self.take();
            table.pages.push(page);
        }
        Ok(copy)
    }

    /// Records that the next `rows` tokens were written, and makes full pages findable.
    ///
    /// `tokens` is the sequence from its beginning. A full page that another sequence already published replaces the own one.
    ///
    /// # Panics
    /// When the rows were not reserved, or `tokens` is shorter than the new length.
    pub fn advance(&mut self, table: &mut PageTable, rows: usize, tokens: &[u32]) {
        table.len += rows;
        assert!(table.len <= table.pages.len() * self.page_tokens, "{rows} rows were not reserved");
        while !table.private && (table.chain.len() + 1) * self.page_tokens <= table.len {
            let index = table.chain.len();
            let content = &tokens[index * self.page_tokens..(index + 1) * self.page_tokens];
            let key = Key { parent: table.parent(), tokens: content.into() };
            let own = table.pages[index];
            let node = match self.published.get(&key).copied() {
                Some(found) => {
                    self.hold(found.page);
                    self.drop_hold(own);
                    table.pages[index] = found.page;
                    found.node
                }
                None => self.publish(own, key),
            };
            table.chain.push(node);
        }
    }

    /// Forgets the tokens from `len` on.
    pub fn truncate(&mut self, table: &mut PageTable, len: usize) {
        table.len = table.len.min(len);
        table.chain.truncate(table.len / self.page_tokens);
        self.trim(table);
    }

    /// Gives back pages reserved beyond the tokens written.
    pub fn trim(&mut self, table: &mut PageTable) {
        // Last page first, so that the idle queue reclaims a chain from its end and its beginning stays findable.
        while table.pages.len() > table.len.div_ceil(self.page_tokens) {
            if let Some(page) = table.pages.pop() {
                self.drop_hold(page);
            }
        }
    }

    /// A second table with the same contents; the first write to a shared page will copy it.
    pub fn fork(&mut self, table: &PageTable) -> PageTable {
        let pages = table.pages[..table.len.div_ceil(self.page_tokens)].to_vec();
        for page in &pages {
            self.hold(*page);
        }
        PageTable {
            pages,
            len: table.len,
            namespace: table.namespace,
            chain: table.chain.clone(),
            private: table.private,
        }
    }

    /// Gives back all pages of a table; full ones stay findable while space allows.
    pub fn release(&mut self, mut table: PageTable) {
        table.len = 0;
        self.trim(&mut table);
    }

    fn hold(&mut self, page: u32) {
        let entry = &mut self.pages[page as usize];
        if entry.holders == 0 {
            self.idle.remove(&entry.idle_since);
        }
        entry.holders += 1;
    }

    fn drop_hold(&mut self, page: u32) {
        let entry = &mut self.pages[page as usize];
        entry.holders -= 1;
        if entry.holders > 0 {
            return;
        }
        if entry.key.is_some() {
            self.clock += 1;
            entry.idle_since = self.clock;
            self.idle.insert(self.clock, page);
        } else {
            self.free.push(page);
        }
    }

    /// Hands out a page. Callers check [`available`](Self::available) first.
    fn take(&mut self) -> u32 {
        let page = self.free.pop().unwrap_or_else(|| {
            let (_, page) = self.idle.pop_first().expect("availability was checked");
            self.unpublish(page);
            page
        });
        self.pages[page as usize].holders = 1;
        page
    }

    fn publish(&mut self, page: u32, key: Key) -> u64 {
        self.nodes += 1;
        self.pages[page as usize].key = Some(key.clone());
        self.published.insert(key, Published { page, node: self.nodes });
        self.nodes
    }

    fn unpublish(&mut self, page: u32) {
        if let Some(key) = self.pages[page as usize].key.take() {
            self.published.remove(&key);
        }
    }
}
