//! The accounts of a granting host that have blocked an entity (G5).
//!
//! An account on whose blocklist an entity stands is out of the scope of that entity. The server keeps the lists; each is
//! read once and kept here, and read again after a change. An account whose list has not been read is no account that an
//! entity may act for: nothing is allowed on a guess.

use std::collections::{BTreeSet, HashMap};

use crate::address;
use crate::denial::Denial;

/// How an account stands to an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The entity may act for the account.
    Inside,
    /// It may not.
    Outside,
    /// The blocklist of the account has to be read first.
    Unknown,
}

/// The lists that have been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklists {
    /// Whether the server keeps lists for this host at all.
    is_on: bool,
    /// By username, the addresses on the list that concern an entity. An account that blocks no entity has an empty set.
    known: HashMap<String, BTreeSet<String>>,
}

impl Blocklists {
    /// Forgets all lists. With `is_on` false, the server keeps none for this host.
    pub fn begin(&mut self, is_on: bool) {
        self.is_on = is_on;
        self.known = HashMap::new();
    }

    /// Forgets all lists, which are to be read again.
    pub fn forget_all(&mut self) {
        self.begin(self.is_on);
    }

    /// Forgets the list of one account.
    pub fn forget(&mut self, username: &str) {
        self.known.remove(username);
    }

    /// Notes what is on the list of an account. `entities` are those that are named in the configuration.
    pub fn read<'e>(
        &mut self,
        username: &str,
        list: &BTreeSet<String>,
        entities: impl Iterator<Item = &'e str>,
    ) {
        let concerning = entities.flat_map(addresses).filter(|jid| list.contains(*jid));
        let concerning = concerning.map(str::to_owned).collect();
        self.known.insert(username.to_owned(), concerning);
    }

    /// How the list of an account stands to an entity.
    pub fn reach(&self, entity: &str, username: &str) -> Reach {
        if !self.is_on {
            return Reach::Inside;
        }
        match self.known.get(username) {
            None => Reach::Unknown,
            Some(list) if addresses(entity).any(|jid| list.contains(jid)) => Reach::Outside,
            Some(_) => Reach::Inside,
        }
    }
}

/// The addresses that block an entity: its own, and its domain. Those of resources, of addresses behind it and of domains
/// above it do not.
fn addresses(entity: &str) -> impl Iterator<Item = &str> {
    [entity, address::domain(entity)].into_iter()
}

/// The answer if the server cannot read the blocklist of an account: `wait/internal-server-error` (G5).
pub fn unreadable() -> Denial {
    Denial::failed(
        "G5",
        "the server cannot read at once what this account has blocked; try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(jids: &[&str]) -> BTreeSet<String> {
        jids.iter().map(|jid| (*jid).to_owned()).collect()
    }

    const ENTITIES: [&str; 2] = ["gateway.lit", "bot@montague.lit"];

    #[test]
    fn g5_the_bare_jid_and_the_domain_count_and_nothing_else() {
        let mut lists = Blocklists::default();
        lists.begin(true);
        for (jid, expected) in [
            ("gateway.lit", [Reach::Outside, Reach::Inside]),
            ("bot@montague.lit", [Reach::Inside, Reach::Outside]),
            ("montague.lit", [Reach::Inside, Reach::Outside]),
            ("somebody@gateway.lit", [Reach::Inside; 2]),
            ("gateway.lit/x", [Reach::Inside; 2]),
            ("bot@montague.lit/x", [Reach::Inside; 2]),
            ("lit", [Reach::Inside; 2]),
            ("a.gateway.lit", [Reach::Inside; 2]),
        ] {
            lists.read("juliet", &list(&[jid, "other@x.lit"]), ENTITIES.into_iter());
            assert_eq!(
                ENTITIES.map(|entity| lists.reach(entity, "juliet")),
                expected,
                "{jid}"
            );
        }
    }

    #[test]
    fn g5_nothing_is_known_before_a_list_is_read() {
        let mut lists = Blocklists::default();
        assert_eq!(lists.reach("gateway.lit", "juliet"), Reach::Inside);
        lists.begin(true);
        assert_eq!(lists.reach("gateway.lit", "juliet"), Reach::Unknown);
        lists.read("juliet", &list(&["gateway.lit"]), ENTITIES.into_iter());
        assert_eq!(lists.reach("gateway.lit", "nurse"), Reach::Unknown);
        lists.forget("juliet");
        assert_eq!(lists.reach("gateway.lit", "juliet"), Reach::Unknown);
        lists.begin(false);
        assert_eq!(lists.reach("gateway.lit", "juliet"), Reach::Inside);
    }
}
