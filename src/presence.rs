//! Presence: who may see whose (P1 to P3, P5, C7).
//!
//! What an entity has been told already is the business of [`crate::memory`].

use crate::address;
use crate::matrix::Grant;
use crate::permission::PresenceAccess;

/// Why a presence is at hand.
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

/// Whether an entity may be told a presence from `from`, normalised, on account of the account
/// `username` of the granting host `host`.
///
/// For a contact this leaves open whether the account is subscribed to it, which only its roster
/// tells.
pub fn may_see(
    entity: &str,
    grant: &Grant,
    host: &str,
    occasion: Occasion,
    username: &str,
    from: &str,
) -> bool {
    if !grant.presence.includes(occasion) || !grant.scope.covers(username) {
        return false;
    }
    let bare = address::bare(from);
    let (node, domain) = match bare.split_once('@') {
        Some((node, domain)) => (Some(node), domain),
        None => (None, bare),
    };
    // P5. For an account that is an entity, its own presence is its own bare JID's.
    let is_own = if entity.contains('@') {
        bare == entity
    } else {
        domain == entity
    };
    // An account that is excepted stays so when it is somebody's contact (C7). One that is covered
    // is seen by its broadcasts alone (P1): what it sends to another account is directed presence.
    let is_account = domain == host
        && node.is_some_and(|node| {
            let covered = occasion == Occasion::Contact && grant.scope.covers(node);
            covered || grant.scope.except.contains(node)
        });
    !is_own && !is_account
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
