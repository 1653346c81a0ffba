//! The permission matrix: what a granting host allows each entity. It is compiled once per configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::blocklists::{Blocklists, Reach};
use crate::denial::Denial;
use crate::narrow::{Contacts, IqGrant};
use crate::permission::{Access, IqType, MessageAccess, PresenceAccess, Protocol};
use crate::request::Sender;

/// The accounts of the granting host that a grant covers (C7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these usernames; `None` means every account.
    pub accounts: Option<BTreeSet<String>>,
    /// Never these usernames.
    pub except: BTreeSet<String>,
}

impl Scope {
    /// No account at all.
    pub fn nobody() -> Scope {
        Scope {
            accounts: Some(BTreeSet::new()),
            except: BTreeSet::new(),
        }
    }

    /// Whether the account with this normalised username is covered.
    pub fn covers(&self, username: &str) -> bool {
        !self.except.contains(username)
            && self
                .accounts
                .as_ref()
                .is_none_or(|accounts| accounts.contains(username))
    }

    /// Whether every account that `other` covers is covered.
    pub fn includes(&self, other: &Scope) -> bool {
        match (&self.accounts, &other.accounts) {
            // Lists are compared account by account. An account that is excepted anyway need not be listed.
            (_, Some(others)) => others
                .iter()
                .all(|username| self.covers(username) || !other.covers(username)),
            (None, None) => self.except.is_subset(&other.except),
            (Some(_), None) => false,
        }
    }

    /// Returns the accounts that both scopes cover (C5).
    #[must_use]
    pub fn stricter(&self, other: &Scope) -> Scope {
        let accounts = match (&self.accounts, &other.accounts) {
            (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect()),
            (Some(a), None) | (None, Some(a)) => Some(a.clone()),
            (None, None) => None,
        };
        Scope {
            accounts,
            except: self.except.union(&other.except).cloned().collect(),
        }
    }
}

/// The permissions that one granting host gives one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Access to rosters.
    pub roster: Access,
    /// The contacts that this is about (G1).
    pub contacts: Contacts,
    /// Whether the entity wants roster pushes; see [`Grant::pushes_roster`].
    pub roster_push: bool,
    /// Whether messages may be sent on behalf of accounts.
    pub message: MessageAccess,
    /// Whose presence the entity is told.
    pub presence: PresenceAccess,
    /// IQs by payload namespace; never holds `Access::None`.
    pub iq: BTreeMap<String, IqGrant>,
    /// Whether the entity may send no pubsub events, whatever else is granted: see [`Grant::sends_events`].
    pub without_events: bool,
    /// The accounts that all of this is about.
    pub scope: Scope,
    /// The version of XEP-0356 that the grant is advertised in.
    pub protocol: Protocol,
}

impl Grant {
    /// Whether nothing at all is granted.
    pub fn is_empty(&self) -> bool {
        self.roster == Access::None
            && self.message == MessageAccess::None
            && self.presence == PresenceAccess::None
            && self.iq.is_empty()
    }

    /// Whether roster changes are pushed to the entity (R7).
    pub fn pushes_roster(&self) -> bool {
        self.roster_push && self.roster.allows_get()
    }

    /// Whether every presence that `other` lets an entity see may be seen (P4).
    pub fn shows_all_of(&self, other: &Grant) -> bool {
        self.presence >= other.presence
            && (other.presence == PresenceAccess::None || self.shows_scope_of(other))
    }

    /// An account outside the scope may be seen as a contact of one inside, unless it is excepted. So the exceptions
    /// matter even if a list says which accounts are covered.
    fn shows_scope_of(&self, other: &Grant) -> bool {
        self.scope.includes(&other.scope)
            && (other.presence != PresenceAccess::Roster || self.contacts >= other.contacts)
            && (other.presence != PresenceAccess::Roster || self.scope.except.is_subset(&other.scope.except))
    }

    /// Returns what is granted of the IQs of this type with a payload in this namespace.
    pub fn allows_iq(&self, namespace: &str, kind: IqType) -> Option<&IqGrant> {
        self.iq.get(namespace).filter(|iq| iq.access.allows(kind))
    }

    /// Whether the entity may send pubsub events. An entity that is narrowed to its own addresses or to some nodes may not:
    /// readers believe an event as they believe the node (M8).
    pub fn sends_events(&self) -> bool {
        let is_narrowed = self.message == MessageAccess::Own || self.iq.values().any(|iq| iq.nodes.is_some());
        !is_narrowed && !self.without_events
    }

    /// Returns what both grants allow (C5).
    #[must_use]
    pub fn stricter(&self, other: &Grant) -> Grant {
        let iq = self
            .iq
            .iter()
            .filter_map(|(namespace, iq)| {
                let both = iq.stricter(other.iq.get(namespace)?);
                (both.access != Access::None).then(|| (namespace.clone(), both))
            })
            .collect();
        let mut grant = Grant {
            roster: self.roster.stricter(other.roster),
            contacts: self.contacts.min(other.contacts),
            roster_push: self.roster_push && other.roster_push,
            message: self.message.min(other.message),
            without_events: !self.sends_events() || !other.sends_events(),
            presence: self.presence.min(other.presence),
            iq,
            scope: self.scope.stricter(&other.scope),
            protocol: if self.protocol == other.protocol {
                self.protocol
            } else {
                Protocol::default()
            },
        };
        if grant.presence == PresenceAccess::Roster && !grant.roster.allows_get() {
            grant.presence = PresenceAccess::None;
        }
        grant
    }
}

/// All grants of one granting host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionMatrix {
    host: String,
    grants: HashMap<String, Rc<Grant>>,
    /// Who has blocked an entity (G5).
    pub blocklists: Blocklists,
}

impl PermissionMatrix {
    /// A matrix in which `host` grants nothing to anybody.
    pub fn new(host: impl Into<String>) -> PermissionMatrix {
        PermissionMatrix {
            host: host.into(),
            grants: HashMap::new(),
            blocklists: Blocklists::default(),
        }
    }

    /// The granting host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Enters a grant for the entity with this normalised bare JID. If the entity has one already, the stricter of
    /// each permission stays (C5).
    pub fn insert(&mut self, entity: String, grant: Grant) {
        let grant = match self.grants.get(&entity) {
            Some(earlier) => earlier.stricter(&grant),
            None => grant,
        };
        self.grants.insert(entity, Rc::new(grant));
    }

    /// Returns the grant of an entity that the configuration names, also where it grants nothing (A1).
    pub fn named(&self, entity: &str) -> Option<&Rc<Grant>> {
        self.grants.get(entity)
    }

    /// Returns what the host grants the entity with this bare JID; `None` for nothing.
    pub fn grant(&self, entity: &str) -> Option<&Rc<Grant>> {
        self.grants.get(entity).filter(|grant| !grant.is_empty())
    }

    /// Returns whether an entity with this grant may act for the account `username` (C7, G5).
    pub fn reach(&self, entity: &str, grant: &Grant, username: &str) -> Reach {
        if grant.scope.covers(username) {
            self.blocklists.reach(entity, username)
        } else {
            Reach::Outside
        }
    }

    /// Whether an entity with this grant certainly may act for the account `username` (C7, G5).
    pub fn covers(&self, entity: &str, grant: &Grant, username: &str) -> bool {
        self.reach(entity, grant, username) == Reach::Inside
    }

    /// Returns the contacts that an entity may know of; only its own for an entity without a grant (G1).
    pub fn contacts(&self, entity: &str) -> Contacts {
        self.grant(entity).map_or(Contacts::Own, |grant| grant.contacts)
    }

    /// Returns what the host grants the sender of a stanza; `None` for nothing.
    pub fn grant_of(&self, sender: &Sender<'_>) -> Option<&Rc<Grant>> {
        sender.entity().and_then(|entity| self.grant(entity))
    }

    /// Whether a change of a roster matters to any entity, connected or not: it is pushed, or shows and hides the
    /// presence of contacts.
    pub fn follows_rosters(&self) -> bool {
        self.grants
            .values()
            .any(|grant| grant.pushes_roster() || grant.presence == PresenceAccess::Roster)
    }

    /// Returns every entity that the configuration names, in order, also those that are granted nothing.
    pub fn entities(&self) -> Vec<&str> {
        let mut entities: Vec<&str> = self.grants.keys().map(String::as_str).collect();
        entities.sort_unstable();
        entities
    }

    /// Returns the entities whose grant differs between two matrices, in order (C6).
    pub fn changed(&self, newer: &PermissionMatrix) -> Vec<String> {
        let mut entities: BTreeSet<&str> = self.grants.keys().map(String::as_str).collect();
        entities.extend(newer.grants.keys().map(String::as_str));
        entities
            .into_iter()
            .filter(|entity| self.named(entity) != newer.named(entity))
            .map(str::to_owned)
            .collect()
    }
}

/// The answer if the server cannot say at once whether an account exists, because its authentication provider asks
/// another service first: `wait/internal-server-error` (L7).
pub fn account_unknown() -> Denial {
    Denial::failed(
        "L7",
        "the server cannot say at once whether this account exists; try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::{Condition, ErrorType};

    #[test]
    fn c7_an_empty_list_of_accounts_covers_nobody() {
        assert!(Scope::default().covers("juliet"));
        assert!(!Scope::nobody().covers("juliet"));
        let except = Scope {
            accounts: None,
            except: ["admin".to_owned()].into(),
        };
        assert!(except.covers("juliet") && !except.covers("admin"));
        let both = except.stricter(&Scope {
            accounts: Some(["admin".to_owned(), "juliet".to_owned()].into()),
            except: BTreeSet::new(),
        });
        assert!(both.covers("juliet") && !both.covers("admin") && !both.covers("romeo"));
    }

    fn scope(accounts: Option<&[&str]>, except: &[&str]) -> Scope {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Scope {
            accounts: accounts.map(set),
            except: set(except),
        }
    }

    #[test]
    fn p4_a_scope_that_includes_another() {
        let (all, juliet) = (scope(None, &[]), scope(Some(&["juliet"]), &[]));
        let two = scope(Some(&["juliet", "nurse"]), &[]);
        let (no_nurse, nobody) = (scope(None, &["nurse"]), Scope::nobody());
        let not_really_two = scope(Some(&["juliet", "nurse"]), &["nurse"]);
        for (larger, smaller) in [
            (&all, &juliet),
            (&all, &no_nurse),
            (&two, &juliet),
            (&no_nurse, &juliet),
            (&juliet, &nobody),
        ] {
            assert!(
                larger.includes(smaller) && larger.includes(larger),
                "{larger:?} {smaller:?}"
            );
            assert!(!smaller.includes(larger), "{larger:?} {smaller:?}");
        }
        assert!(!no_nurse.includes(&two) && !two.includes(&no_nurse));
        assert!(juliet.includes(&not_really_two) && not_really_two.includes(&juliet));
    }

    #[test]
    fn p4_a_grant_that_shows_less() {
        use PresenceAccess::{ManagedEntity, None as Nobody, Roster};
        let grant = |presence, scope: Scope| Grant {
            presence,
            scope,
            ..Grant::default()
        };
        let all = || scope(None, &[]);
        let one = || scope(Some(&["juliet"]), &[]);
        // The first grant of each pair shows all that the second shows, and more.
        for (more, less) in [
            (grant(Roster, all()), grant(ManagedEntity, all())),
            (grant(ManagedEntity, all()), grant(Nobody, all())),
            (grant(Roster, all()), grant(Roster, one())),
            // Both cover the same account, but only the first shows the excepted one as a contact.
            (
                grant(Roster, one()),
                grant(Roster, scope(Some(&["juliet"]), &["nurse"])),
            ),
            (grant(Roster, one()), grant(Nobody, all())),
        ] {
            assert!(
                more.shows_all_of(&less) && !less.shows_all_of(&more),
                "{more:?} {less:?}"
            );
        }
        let (first, second) = (grant(ManagedEntity, all()), grant(Roster, one()));
        assert!(!first.shows_all_of(&second) && !second.shows_all_of(&first));
        // Other permissions do not matter.
        let with_messages = Grant {
            message: MessageAccess::Outgoing,
            ..grant(Roster, all())
        };
        assert!(
            with_messages.shows_all_of(&grant(Roster, all()))
                && grant(Roster, all()).shows_all_of(&with_messages)
        );
    }

    #[test]
    fn l7_a_lookup_that_takes_long_may_be_tried_again() {
        let denial = account_unknown();
        assert_eq!(
            (denial.error_type, denial.condition, denial.rule),
            (ErrorType::Wait, Condition::InternalServerError, "L7")
        );
    }

    #[test]
    fn c6_only_what_changed_is_reported() {
        let mut old = PermissionMatrix::new("capulet.lit");
        let grant = Grant {
            roster: Access::Get,
            ..Grant::default()
        };
        old.insert("same.lit".into(), grant.clone());
        old.insert("gone.lit".into(), grant.clone());
        old.insert(
            "less.lit".into(),
            Grant {
                roster: Access::Both,
                ..Grant::default()
            },
        );
        let mut new = PermissionMatrix::new("capulet.lit");
        new.insert("same.lit".into(), grant.clone());
        new.insert("less.lit".into(), grant.clone());
        new.insert("more.lit".into(), grant);
        new.insert("empty.lit".into(), Grant::default());
        assert_eq!(
            old.changed(&new),
            ["empty.lit", "gone.lit", "less.lit", "more.lit"]
        );
        assert_eq!(new.changed(&new), Vec::<String>::new());
    }
}
