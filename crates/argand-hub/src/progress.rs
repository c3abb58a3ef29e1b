//! How a long pull talks to whoever waits for it.

/// Watches a pull. The store calls it from the thread that called [`Store::pull`](crate::Store::pull).
pub trait Progress {
    /// A new item begins: one file or one package, with its length in bytes where that is known.
    fn start(&mut self, total: Option<u64>, label: &str);
    /// So many more bytes of the item are here (also those that an earlier try left).
    fn advance(&mut self, bytes: u64);
    /// Something worth a line: a retry, a wait, a resumed download.
    fn note(&mut self, text: &str);
    /// The item is complete.
    fn finish(&mut self);
}

/// Watches nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: Option<u64>, _: &str) {}
    fn advance(&mut self, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}
