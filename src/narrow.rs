//! Grants that are narrowed to what a gateway needs: its own contacts, its own addresses, a few recipients and nodes
//! (G1 to G3).
//!
//! A narrowed grant never allows more than the wide one. The values are such that older versions of this module and
//! other implementations refuse them.

use std::collections::BTreeSet;

use crate::address;
use crate::denial::Denial;
use crate::permission::Access;

/// The contacts of a roster that an entity may read, set, and be pushed (G1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contacts {
    /// The addresses of the entity's own domain alone.
    Own,
    /// All of them.
    #[default]
    All,
}

impl Contacts {
    /// Reads the value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<Contacts> {
        match value {
            "own" => Some(Contacts::Own),
            "all" => Some(Contacts::All),
            _ => None,
        }
    }

    /// Whether a contact is one of them. `entity` and `contact` are normalised.
    pub fn include(self, entity: &str, contact: &str) -> bool {
        match self {
            Contacts::All => true,
            Contacts::Own => is_own(entity, contact),
        }
    }
}

/// Whether an address is in the domain of an entity: the domain itself, or an address directly behind it. An entity that is an
/// account has no domain of its own. Both are normalised.
pub fn is_own(entity: &str, jid: &str) -> bool {
    !entity.contains('@') && address::domain(jid) == entity
}

/// The recipients that an IQ may have (G3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recipients {
    /// Any address.
    #[default]
    Any,
    /// The account itself, by bare JID.
    Account,
    /// The domain of the entity, and its addresses.
    Own,
    /// These addresses; a domain stands for its addresses too.
    Listed(BTreeSet<String>),
    /// Those that are among both.
    Both(Box<Recipients>, Box<Recipients>),
}

impl Recipients {
    /// Whether an IQ to `to` may be sent on behalf of `account`. All are normalised; `account` is a bare JID.
    pub fn include(&self, entity: &str, account: &str, to: &str) -> bool {
        match self {
            Recipients::Any => true,
            Recipients::Account => to == account,
            Recipients::Own => is_own(entity, to),
            Recipients::Listed(listed) => listed.contains(to) || listed.contains(address::domain(to)),
            Recipients::Both(one, other) => {
                one.include(entity, account, to) && other.include(entity, account, to)
            }
        }
    }

    /// Returns those that are among both (C5).
    #[must_use]
    pub fn stricter(&self, other: &Recipients) -> Recipients {
        match (self, other) {
            (Recipients::Any, only) | (only, Recipients::Any) => only.clone(),
            (one, other) if one == other => one.clone(),
            (one, other) => Recipients::Both(Box::new(one.clone()), Box::new(other.clone())),
        }
    }
}

/// The grant of IQs with a payload in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IqGrant {
    /// The types of the IQs.
    pub access: Access,
    /// Their recipients.
    pub to: Recipients,
    /// The pubsub nodes that they may be about; `None` where they may be about anything.
    pub nodes: Option<BTreeSet<String>>,
}

impl From<Access> for IqGrant {
    /// A grant that is not narrowed.
    fn from(access: Access) -> IqGrant {
        IqGrant {
            access,
            ..IqGrant::default()
        }
    }
}

impl IqGrant {
    /// Returns what both grants allow (C5).
    #[must_use]
    pub fn stricter(&self, other: &IqGrant) -> IqGrant {
        IqGrant {
            access: self.access.stricter(other.access),
            to: self.to.stricter(&other.to),
            nodes: match (&self.nodes, &other.nodes) {
                (Some(a), Some(b)) => Some(a.intersection(b).cloned().collect()),
                (Some(only), None) | (None, Some(only)) => Some(only.clone()),
                (None, None) => None,
            },
        }
    }
}

/// The answer to a roster set that touches a contact which is not the entity's own: `auth/forbidden` (G1).
pub fn not_own_contact(host: &str, jid: &str) -> Denial {
    Denial::forbidden(
        "G1",
        format!(
            "{host} grants you the contacts of your own domain alone, and {jid} is none of them (roster = {{ contacts = \"own\" }})"
        ),
    )
}

/// The answer to a message for somebody else than the entity's own addresses and the account: `auth/forbidden` (G2).
pub fn not_own_recipient(host: &str, of_host: bool) -> Denial {
    let and_account = if of_host {
        ""
    } else {
        ", and to the account itself"
    };
    Denial::forbidden(
        "G2",
        format!(
            "{host} grants you messages to the addresses of your own domain alone{and_account} (message = \"own\")"
        ),
    )
}

/// The answer to an IQ for somebody whom the grant leaves out: `auth/forbidden` (G3).
pub fn not_recipient(host: &str, namespace: &str) -> Denial {
    Denial::forbidden(
        "G3",
        format!(
            "{host} does not grant you IQs in the namespace {namespace} to this address (iq = {{ [\"{namespace}\"] = {{ to = ... }} }})"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: &str = "gateway.capulet.lit";
    const JULIET: &str = "juliet@capulet.lit";

    fn listed(jids: &[&str]) -> Recipients {
        Recipients::Listed(jids.iter().map(|jid| (*jid).to_owned()).collect())
    }

    #[test]
    fn g1_own_is_the_domain_itself_and_what_is_directly_behind_it() {
        for own in [
            GATEWAY,
            "romeo@gateway.capulet.lit",
            "romeo@gateway.capulet.lit/x",
            "gateway.capulet.lit/x",
        ] {
            assert!(is_own(GATEWAY, own), "{own}");
        }
        for other in [
            "capulet.lit",
            "a.gateway.capulet.lit",
            "xgateway.capulet.lit",
            "gateway.capulet.lit@capulet.lit",
            "capulet.lit/romeo@gateway.capulet.lit",
            "",
        ] {
            assert!(!is_own(GATEWAY, other), "{other}");
        }
        // An account has no domain of its own, or everybody on its host would be its own.
        assert!(!is_own("bot@capulet.lit", "capulet.lit") && !is_own("bot@capulet.lit", JULIET));
    }

    #[test]
    fn g3_each_kind_of_recipient() {
        let included = |to: &Recipients, jid: &str| to.include(GATEWAY, JULIET, jid);
        let list = listed(&["upload.capulet.lit", "nurse@capulet.lit"]);
        for (to, good, bad) in [
            (
                &Recipients::Account,
                vec![JULIET],
                vec!["juliet@capulet.lit/balcony", "capulet.lit", "nurse@capulet.lit"],
            ),
            (
                &Recipients::Own,
                vec![GATEWAY, "r@gateway.capulet.lit"],
                vec![JULIET, "capulet.lit"],
            ),
            (
                &list,
                vec![
                    "upload.capulet.lit",
                    "x@upload.capulet.lit/y",
                    "nurse@capulet.lit",
                ],
                vec![
                    "capulet.lit",
                    "nurse@capulet.lit/x",
                    JULIET,
                    "a.upload.capulet.lit",
                ],
            ),
            (&listed(&[]), vec![], vec![JULIET, GATEWAY, ""]),
        ] {
            for jid in good {
                assert!(included(to, jid), "{to:?} {jid}");
            }
            for jid in bad {
                assert!(!included(to, jid), "{to:?} {jid}");
            }
        }
    }

    fn any_recipients() -> impl Strategy<Value = Recipients> {
        prop_oneof![
            Just(Recipients::Any),
            Just(Recipients::Account),
            Just(Recipients::Own),
            prop::sample::subsequence(vec![GATEWAY, JULIET, "capulet.lit", "nurse@capulet.lit"], 0..=4)
                .prop_map(|jids| listed(&jids)),
        ]
    }

    fn any_iq_grant() -> impl Strategy<Value = IqGrant> {
        let access = prop::sample::select(vec![Access::None, Access::Get, Access::Set, Access::Both]);
        let nodes = prop::option::of(prop::collection::btree_set("[abc]", 0..3));
        (access, any_recipients(), nodes).prop_map(|(access, to, nodes)| IqGrant { access, to, nodes })
    }

    proptest! {
        #[test]
        fn c5_the_stricter_of_two_allows_exactly_what_both_allow(a in any_iq_grant(), b in any_iq_grant(), c in any_iq_grant()) {
            let strict = a.stricter(&b).stricter(&c);
            for jid in [GATEWAY, "r@gateway.capulet.lit", JULIET, "capulet.lit", "nurse@capulet.lit", "montague.lit"] {
                let all = [&a, &b, &c].iter().all(|grant| grant.to.include(GATEWAY, JULIET, jid));
                prop_assert_eq!(strict.to.include(GATEWAY, JULIET, jid), all);
            }
            let allows = |grant: &IqGrant, node: &str| grant.nodes.as_ref().is_none_or(|nodes| nodes.contains(node));
            for node in ["a", "b", "c", "d"] {
                prop_assert_eq!(allows(&strict, node), [&a, &b, &c].iter().all(|grant| allows(grant, node)));
            }
            prop_assert_eq!(a.stricter(&a), a);
        }
    }
}
