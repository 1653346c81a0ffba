//! The viewers whose entity an account blocks (G5).

use super::{Number, Viewers};

impl Viewers {
    /// The entity of each connection that may see presence.
    pub fn entities(&self) -> Vec<(Number, String)> {
        let entities = self.list.iter();
        entities
            .map(|viewer| (viewer.number, viewer.entity.clone()))
            .collect()
    }

    /// Those of these viewers who believe that an account or contact is available.
    pub fn believers(&self, bare: &str, among: &[Number]) -> Vec<Number> {
        let some = among.iter().filter_map(|number| self.get(*number));
        some.filter(|viewer| viewer.memory.borrow_mut().believes(bare))
            .map(|viewer| viewer.number)
            .collect()
    }

    /// A resource of an account is not to be shown to these viewers any more. Those who believe it available, and have to
    /// be told that it is not; that is noted (G5). `is_told` returns whether the server itself tells an entity (P5).
    pub fn hidden(&self, from: &str, among: &[Number], is_told: impl Fn(&str) -> bool) -> Vec<Number> {
        let some = among.iter().filter_map(|number| self.get(*number));
        some.filter(|viewer| viewer.memory.borrow_mut().hide(from, viewer.host))
            .filter(|viewer| !is_told(&viewer.entity))
            .map(|viewer| viewer.number)
            .collect()
    }
}
