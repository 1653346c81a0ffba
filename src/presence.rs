//! Presence: who may see it (P1 to P3, P5, C7, G1).
//!
//! [`crate::memory`] keeps what an entity has been told already.

use crate::address;
use crate::blocklists::Reach;
use crate::matrix::{Grant, PermissionMatrix};
use crate::permission::PresenceAccess;

/// The way a presence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// An account has broadcast it (P1).
    Account,
    /// A contact has sent it to an account (P3).
    Contact,
}

impl PresenceAccess {
    /// Whether presence is told on this occasion.
    pub fn includes(self, occasion: Occasion) -> bool {
        match occasion {
            Occasion::Account => self != PresenceAccess::None,
            Occasion::Contact => self == PresenceAccess::Roster,
        }
    }
}

/// Whether an entity may be told a presence from `from` because of the account `username` of the granting host.
///
/// `entity` is a bare JID, and `from` is normalised. If the presence is that of a contact, the caller has to look into
/// the roster of the account whether it is subscribed to the contact.
pub fn may_see(
    matrix: &PermissionMatrix,
    entity: &str,
    grant: &Grant,
    occasion: Occasion,
    username: &str,
    from: &str,
) -> bool {
    matrix.covers(entity, grant, username) && could_see(matrix, entity, grant, occasion, username, from)
}

/// As [`may_see`], whatever the account `username` has blocked. An entity that it has just blocked could see this before.
pub fn could_see(
    matrix: &PermissionMatrix,
    entity: &str,
    grant: &Grant,
    occasion: Occasion,
    username: &str,
    from: &str,
) -> bool {
    if !grant.presence.includes(occasion) || !grant.scope.covers(username) {
        return false;
    }
    let bare = address::bare(from);
    // The presence of a contact shows that it is one (G1).
    if occasion == Occasion::Contact && !grant.contacts.include(entity, bare) {
        return false;
    }
    let (node, domain) = match bare.split_once('@') {
        Some((node, domain)) => (Some(node), domain),
        None => (None, bare),
    };
    // P5. The own presence of a component is that of its whole domain; of an account, that of its bare JID.
    let is_own = if entity.contains('@') {
        bare == entity
    } else {
        domain == entity
    };
    // An excepted account is not shown as a contact of another account either (C7), nor is one that has blocked the
    // entity (G5). A covered account is shown by its broadcasts alone (P1): presence that it sends to another account is
    // directed presence.
    let is_account = domain == matrix.host()
        && node.is_some_and(|node| {
            let covered = occasion == Occasion::Contact && grant.scope.covers(node);
            let hides = matrix.blocklists.reach(entity, node) != Reach::Inside;
            covered || hides || grant.scope.except.contains(node)
        });
    !is_own && !is_account
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
