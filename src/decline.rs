//! Permitted stanzas that the server cannot, or must not, let go ahead: the reasons, and the denials that they become.

use crate::administration::{self, Domain};
use crate::denial::Denial;
use crate::{blocklists, iq, ledger, matrix, message, roster};

/// The judgement that a permit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`message::judge`]
    Message,
    /// [`iq::judge`]
    Iq,
    /// [`roster::judge`]
    Roster,
}

impl Kind {
    /// The name of the judgement; `None` for an unknown one.
    pub fn parse(name: &str) -> Option<Kind> {
        match name {
            "message" => Some(Kind::Message),
            "iq" => Some(Kind::Iq),
            "roster" => Some(Kind::Roster),
            _ => None,
        }
    }

    /// The name of the judgement.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Message => "message",
            Kind::Iq => "iq",
            Kind::Roster => "roster",
        }
    }
}

/// Why the server declines what is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The account does not exist.
    UnknownAccount,
    /// The server cannot say at once whether the account exists.
    Lookup,
    /// The server cannot read at once what the account has blocked (G5).
    Blocklist,
    /// The account administers this (N1).
    Administrator(Domain),
    /// The server failed to do it.
    Failed,
    /// The answer cannot be relayed (Q7).
    Unrelayable,
    /// The roster cannot be read.
    Unreadable,
    /// The roster cannot be saved.
    Unsaved,
}

/// The denial for a stanza that `host` permits by the judgement `kind`.
pub fn denial(host: &str, kind: Kind, why: &Why) -> Denial {
    match (why, kind) {
        (Why::UnknownAccount, Kind::Message) => message::no_account(host),
        (Why::UnknownAccount, Kind::Iq) => iq::no_account(host),
        (Why::UnknownAccount, Kind::Roster) => roster::no_account(),
        (Why::Lookup, _) => matrix::account_unknown(),
        (Why::Blocklist, _) => blocklists::unreadable(),
        (Why::Administrator(domain), _) => administration::refused(domain),
        (Why::Failed, Kind::Message) => message::failed(),
        (Why::Failed, Kind::Iq) => iq::failed(),
        (Why::Failed, Kind::Roster) => roster::failed("the server failed to handle this roster set"),
        (Why::Unrelayable, _) => ledger::unrelayable(),
        (Why::Unreadable, _) => roster::failed("the roster cannot be read from storage"),
        (Why::Unsaved, _) => roster::failed("the roster cannot be saved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Condition;

    #[test]
    fn r4_m2_q1_a_missing_account_is_what_a_missing_grant_is_except_for_a_roster() {
        let denied = |kind| denial("capulet.lit", kind, &Why::UnknownAccount);
        assert_eq!(denied(Kind::Message), message::no_account("capulet.lit"));
        assert_eq!(denied(Kind::Iq), iq::no_account("capulet.lit"));
        assert_eq!(denied(Kind::Roster).condition, Condition::ItemNotFound);
    }

    #[test]
    fn q7_r4_a_failure_of_the_server_can_be_tried_again() {
        for kind in [Kind::Message, Kind::Iq, Kind::Roster] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            for why in [
                Why::Failed,
                Why::Lookup,
                Why::Unrelayable,
                Why::Unreadable,
                Why::Unsaved,
            ] {
                let denied = denial("capulet.lit", kind, &why);
                assert_eq!(
                    denied.condition,
                    Condition::InternalServerError,
                    "{kind:?} {why:?}"
                );
                assert!(!denied.text.is_empty());
            }
        }
    }
}
