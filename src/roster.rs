//! Rosters: who may read and write them, and what a set changes (R1 to R7, R10, R11, G1).

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::address::Normaliser;
use crate::denial::{Condition, Denial, ErrorType};
use crate::element::Element;
use crate::item::{Edit, Item, ItemEdit, Subscription};
use crate::matrix::PermissionMatrix;
use crate::narrow;
use crate::ns;
use crate::permission::IqType;
use crate::request::{Permit, Request};

/// The item of a contact as it is before a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The item as the account sees it.
    pub item: Item,
    /// Whether storage holds the item. The server adds some contacts when it loads a roster, from a list of groups
    /// for example, and never stores those.
    pub is_stored: bool,
}

impl From<Item> for Current {
    /// An item as storage holds it.
    fn from(item: Item) -> Current {
        Current {
            item,
            is_stored: true,
        }
    }
}

/// One item that a set changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bare JID of the contact.
    pub jid: String,
    /// The item afterwards; `None` for a removal.
    pub item: Option<Item>,
    /// Whether the account is told the contact's presence afterwards and was not before. That needs the agreement of
    /// the contact, see [`agree`] (R10).
    pub gains_to: bool,
    /// Whether the contact has no pending subscription request any more, because it is removed or is told the
    /// account's presence (R2; RFC 6121 section 3.1).
    pub settles_request: bool,
}

impl Change {
    /// The change of the item of `jid` from `before` to `after`; `None` stands for no item.
    fn new(jid: String, before: Option<&Item>, after: Option<Item>) -> Change {
        let tells = |item: Option<&Item>| item.is_some_and(|item| item.subscription.includes_to());
        Change {
            jid,
            gains_to: tells(after.as_ref()) && !tells(before),
            settles_request: after
                .as_ref()
                .is_none_or(|item| item.subscription.includes_from()),
            item: after,
        }
    }
}

/// Judges a roster request. The type of the stanza says whether it is a get or a set.
///
/// The judgement looks at the addresses, the id and the grant, and at nothing else. So it is cheap for senders without
/// a grant (R6). If the account does not exist, the answer is [`no_account`].
pub fn judge<T: Element>(matrix: &PermissionMatrix, request: &Request<'_, T>) -> Result<Permit<T>, Denial> {
    let host = matrix.host();
    let kind = request.kind().unwrap_or(IqType::Set);
    let forbidden = || {
        Denial::forbidden(
            "R6",
            format!(
                "{host} does not grant you to {} this roster (roster = \"{0}\" or \"both\")",
                kind.as_str()
            ),
        )
    };
    let grant = request.grant(matrix, |grant| grant.roster.allows(kind), forbidden)?;
    let account = request.account(matrix, grant, forbidden)?;
    if request.stanza.attribute("id").is_none() {
        // An answer without an id could not be matched to its request.
        return Err(Denial::bad_request("R4", "the <iq/> has no id"));
    }
    Ok(Permit::for_account(account))
}

/// The answer if the account does not exist: `cancel/item-not-found` (R4).
pub fn no_account() -> Denial {
    Denial::new(
        ErrorType::Cancel,
        Condition::ItemNotFound,
        "R4",
        "there is no such account",
    )
}

/// The answer where the server fails; `text` says at what.
pub fn failed(text: &str) -> Denial {
    Denial::failed("R4", text)
}

/// Reads the whole stanza of a roster set for the account with the bare JID `account`, see [`read_set`].
pub fn read_stanza<T: Element>(
    stanza: &T,
    account: &str,
    normaliser: &dyn Normaliser,
) -> Result<Vec<ItemEdit>, Denial> {
    let query = stanza
        .child(0)
        .ok_or_else(|| Denial::bad_request("R4", "there is no <query/>"))?;
    read_set(&query, account, normaliser)
}

/// Reads the `<query/>` of a roster set for the account with the bare JID `account`.
///
/// One wrong item denies the whole set, by the rule R4 (R2).
pub fn read_set<T: Element>(
    query: &T,
    account: &str,
    normaliser: &dyn Normaliser,
) -> Result<Vec<ItemEdit>, Denial> {
    let wrong = |text: &str| Denial::bad_request("R4", text);
    let count = query.child_count();
    if count == 0 {
        return Err(wrong("a roster set has to hold at least one <item/>"));
    }
    let mut edits = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let item = query
            .child(index)
            .filter(|child| child.is("item", ns::ROSTER))
            .ok_or_else(|| wrong("a roster set may hold nothing but <item/> elements"))?;
        let edit = ItemEdit::read(&item, account, normaliser)?;
        if !seen.insert(edit.jid.clone()) {
            return Err(wrong("a roster set may hold only one <item/> for a contact"));
        }
        edits.push(edit);
    }
    Ok(edits)
}

/// Refuses a set of `entity` that touches a contact which the entity may not touch: `auth/forbidden` (G1).
pub fn check_contacts(matrix: &PermissionMatrix, entity: &str, sets: &[ItemEdit]) -> Result<(), Denial> {
    let contacts = matrix.contacts(entity);
    match sets.iter().find(|set| !contacts.include(entity, &set.jid)) {
        Some(set) => Err(narrow::not_own_contact(matrix.host(), &set.jid)),
        None => Ok(()),
    }
}

/// Whether `entity` may set the item of `contact` in the roster of the account `username`, as the other side of a
/// subscription (R10, G1).
pub fn may_set(matrix: &PermissionMatrix, entity: &str, username: &str, contact: &str) -> bool {
    matrix.grant(entity).is_some_and(|grant| {
        grant.roster.allows(IqType::Set)
            && matrix.covers(entity, grant, username)
            && grant.contacts.include(entity, contact)
    })
}

/// Returns the version of a part of a roster: it changes when something in this part does, and only then (G1).
pub fn version_of(items: &BTreeMap<String, Item>) -> String {
    // Its keys never change, so that the version is the same after a restart. A version is no secret and proves nothing.
    let mut hasher = DefaultHasher::new();
    items.hash(&mut hasher);
    format!("own-{:016x}", hasher.finish())
}

/// Returns the changes that a set makes. `current` returns the item that a contact has now.
///
/// An item that would stay as it is, is left out (R9). It is not left out if storage does not hold it: an acknowledged
/// item is a stored one (R11). The removal of an item that does not exist denies the whole set, with
/// `cancel/item-not-found` (R2, R4).
pub fn plan(
    edits: Vec<ItemEdit>,
    mut current: impl FnMut(&str) -> Option<Current>,
) -> Result<Vec<Change>, Denial> {
    let mut changes = Vec::with_capacity(edits.len());
    for ItemEdit { jid, edit } in edits {
        let (before, is_stored) = match current(&jid) {
            Some(current) => (Some(current.item), current.is_stored),
            None => (None, true),
        };
        let after = match edit {
            Edit::Remove if before.is_none() => {
                return Err(Denial::new(
                    ErrorType::Cancel,
                    Condition::ItemNotFound,
                    "R4",
                    format!("{jid} is not in the roster"),
                ));
            }
            Edit::Remove => None,
            Edit::Put {
                subscription,
                ask,
                approved,
                name,
                groups,
            } => {
                let old = before.clone().unwrap_or_default();
                let subscription_after = subscription.unwrap_or(old.subscription);
                Some(Item {
                    subscription: subscription_after,
                    // An account that is told the contact's presence does not wait for approval any more.
                    ask: ask.unwrap_or(old.ask) && !subscription_after.includes_to(),
                    approved: approved.unwrap_or(old.approved),
                    name: match name {
                        Some(name) if name.is_empty() => None,
                        Some(name) => Some(name),
                        None => old.name,
                    },
                    groups,
                })
            }
        };
        if after != before || !is_stored {
            changes.push(Change::new(jid, before.as_ref(), after));
        }
    }
    Ok(changes)
}

/// Decides whether an account may gain the presence of a contact that is also an account of this server (R10).
///
/// The server believes the roster of the one that is online. So one roster alone that says `to` or `both` would open
/// the contact's presence, personal events and last activity.
///
/// `account` and `contact` are bare JIDs. `wanted` is the subscription in the account's item for the contact; `theirs`
/// is the contact's own item for the account. `may_set` says whether the sender may set the contact's roster too.
///
/// Returns `None` if the contact's roster agrees already. Returns the change of that roster if the sender may make it
/// agree; both changes have to be saved together. Otherwise the set is denied with `cancel/not-allowed`.
pub fn agree(
    account: &str,
    contact: &str,
    wanted: Subscription,
    theirs: Option<&Item>,
    may_set: bool,
) -> Result<Option<Change>, Denial> {
    let before = theirs.map(|item| item.subscription).unwrap_or_default();
    let mirrored = wanted.mirrored();
    if may_set && before != mirrored {
        let old = theirs.cloned().unwrap_or_default();
        let item = Item {
            subscription: mirrored,
            ask: old.ask && !mirrored.includes_to(),
            ..old
        };
        return Ok(Some(Change::new(account.to_owned(), theirs, Some(item))));
    }
    if before.includes_from() {
        return Ok(None);
    }
    Err(Denial::new(
        ErrorType::Cancel,
        Condition::NotAllowed,
        "R10",
        format!(
            "{contact} is an address of this server: subscription \"{}\" needs its own roster to say from or both, \
             or your permission to set that roster as well",
            wanted.as_str()
        ),
    ))
}

/// Whether the requester has the current version of the roster. Then it gets the empty result (R1).
///
/// Versions are numbers, compared as the server compares them for the account itself. `ours` is `None` if the server
/// keeps no versions.
pub fn is_current(theirs: Option<&str>, ours: Option<f64>) -> bool {
    match (theirs.and_then(|ver| ver.trim().parse::<f64>().ok()), ours) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => false,
    }
}

/// Returns the contacts whose item differs between two rosters, in order (R7).
pub fn changed(before: &BTreeMap<String, Item>, after: &BTreeMap<String, Item>) -> Vec<String> {
    let mut jids: Vec<String> = before
        .iter()
        .filter(|(jid, item)| after.get(*jid) != Some(item))
        .map(|(jid, _)| jid.clone())
        .chain(after.keys().filter(|jid| !before.contains_key(*jid)).cloned())
        .collect();
    jids.sort_unstable();
    jids
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
