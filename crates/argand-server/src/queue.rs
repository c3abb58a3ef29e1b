//! Requests that wait, a line for each tenant; tenants take turns.

use std::collections::{BTreeMap, VecDeque};

/// Lines of waiting things, served in rounds over the tenants that have any: one who asks for much waits for himself, not
/// the others for him.
#[derive(Debug)]
pub struct Queue<T> {
    lines: BTreeMap<u64, VecDeque<T>>,
    /// Tenants whose lines are not empty, the next to be served first.
    round: VecDeque<u64>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { lines: BTreeMap::new(), round: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    /// Adds to the end of a tenant's line.
    pub fn push(&mut self, tenant: u64, item: T) {
        let line = self.lines.entry(tenant).or_default();
        if line.is_empty() {
            self.round.push_back(tenant);
        }
        line.push_back(item);
    }

    /// The first of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let tenant = self.round.pop_front()?;
        let line = self.lines.get_mut(&tenant)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&tenant);
        } else {
            self.round.push_back(tenant);
        }
        item
    }

    /// Takes out the first that is wanted, wherever it stands.
    pub fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let (tenant, at) =
            self.lines.iter().find_map(|(tenant, line)| line.iter().position(&wanted).map(|at| (*tenant, at)))?;
        let line = self.lines.get_mut(&tenant)?;
        let item = line.remove(at);
        if line.is_empty() {
            self.lines.remove(&tenant);
            self.round.retain(|other| *other != tenant);
        }
        item
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.round.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_take_turns_whatever_they_ask_for() {
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.push(1, (1, n));
        }
        queue.push(2, (2, 0));
        queue.push(3, (3, 0));
        queue.push(3, (3, 1));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2), (1, 3)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_taken_out_leaves_the_order_of_the_others() {
        let mut queue = Queue::default();
        for (tenant, item) in [(1, 'a'), (2, 'b'), (1, 'c')] {
            queue.push(tenant, item);
        }
        assert_eq!(queue.take(|item| *item == 'b'), Some('b'));
        assert_eq!(queue.take(|item| *item == 'x'), None);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some('a'), Some('c'), None));
    }
}
