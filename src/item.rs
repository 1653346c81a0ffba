//! Roster items: the states of a subscription, and the edits of a roster set (R2 to R4).

use std::collections::BTreeSet;

use crate::address::{Address, Normaliser};
use crate::denial::{Condition, Denial, ErrorType};
use crate::element::Element;
use crate::ns;

/// The state of a subscription between an account and a contact (RFC 6121 section 2.1.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Neither is told the presence of the other.
    #[default]
    None,
    /// The account is told the presence of the contact.
    To,
    /// The contact is told the presence of the account.
    From,
    /// Each is told the presence of the other.
    Both,
}

impl Subscription {
    /// Every state.
    pub const ALL: [Subscription; 4] = [
        Subscription::None,
        Subscription::To,
        Subscription::From,
        Subscription::Both,
    ];

    /// Reads the value on the wire and in storage; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<Subscription> {
        match value {
            "none" => Some(Subscription::None),
            "to" => Some(Subscription::To),
            "from" => Some(Subscription::From),
            "both" => Some(Subscription::Both),
            _ => None,
        }
    }

    /// The value on the wire and in storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Subscription::None => "none",
            Subscription::To => "to",
            Subscription::From => "from",
            Subscription::Both => "both",
        }
    }

    /// Whether the account is told the presence of the contact.
    pub fn includes_to(self) -> bool {
        matches!(self, Subscription::To | Subscription::Both)
    }

    /// Whether the contact is told the presence of the account.
    pub fn includes_from(self) -> bool {
        matches!(self, Subscription::From | Subscription::Both)
    }

    /// Returns the same state as it stands in the roster of the contact.
    #[must_use]
    pub fn mirrored(self) -> Subscription {
        match self {
            Subscription::None => Subscription::None,
            Subscription::To => Subscription::From,
            Subscription::From => Subscription::To,
            Subscription::Both => Subscription::Both,
        }
    }
}

/// The part of a roster item that a client may see. Storage holds more, which never leaves the server (R8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Item {
    /// The state of the subscription.
    pub subscription: Subscription,
    /// Whether the account waits for the contact to approve (`ask='subscribe'`).
    pub ask: bool,
    /// Whether the account has approved in advance (RFC 6121 section 3.4).
    pub approved: bool,
    /// The name that the account has given the contact.
    pub name: Option<String>,
    /// The groups that the contact is in.
    pub groups: BTreeSet<String>,
}

/// One `<item/>` of a roster set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemEdit {
    /// The bare JID of the contact, normalised.
    pub jid: String,
    /// The edit of its item.
    pub edit: Edit,
}

/// The edit of one item. A field that is `None` keeps what the item has (R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `subscription='remove'`
    Remove,
    /// Any other value of `subscription`, or none.
    Put {
        /// `subscription`, if given.
        subscription: Option<Subscription>,
        /// `ask`, if given.
        ask: Option<bool>,
        /// `approved`, if given.
        approved: Option<bool>,
        /// `name`, if given; an empty name clears it.
        name: Option<String>,
        /// All groups of the item afterwards.
        groups: BTreeSet<String>,
    },
}

impl ItemEdit {
    /// Reads an `<item/>` of a roster set for the account with the bare JID `account`.
    ///
    /// A wrong item is denied by the rule R4, with the conditions that are listed there.
    pub fn read<T: Element>(
        item: &T,
        account: &str,
        normaliser: &dyn Normaliser,
    ) -> Result<ItemEdit, Denial> {
        let wrong = |text: &str| Denial::bad_request("R4", text);
        let jid = item
            .attribute("jid")
            .ok_or_else(|| wrong("an <item/> has no jid"))?;
        let jid = Address::normalise(&jid, normaliser).ok_or_else(|| {
            Denial::new(
                ErrorType::Modify,
                Condition::JidMalformed,
                "R4",
                "the jid of an <item/> is no valid JID",
            )
        })?;
        if !jid.is_bare() {
            return Err(wrong(
                "the jid of an <item/> has a resource; contacts are bare JIDs",
            ));
        }
        if jid.as_str() == account {
            return Err(Denial::new(
                ErrorType::Cancel,
                Condition::NotAllowed,
                "R4",
                "an account cannot be a contact of itself",
            ));
        }
        let jid = jid.into_string();
        let subscription = match item.attribute("subscription").as_deref() {
            None => None,
            Some("remove") => {
                return Ok(ItemEdit {
                    jid,
                    edit: Edit::Remove,
                });
            }
            Some(value) => Some(
                Subscription::parse(value)
                    .ok_or_else(|| wrong("subscription has to be none, to, from, both or remove"))?,
            ),
        };
        let ask = match item.attribute("ask").as_deref() {
            None => None,
            Some("subscribe") => Some(true),
            Some(_) => return Err(wrong("ask has to be subscribe")),
        };
        let approved = match item.attribute("approved").as_deref() {
            None => None,
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => return Err(wrong("approved has to be true or false")),
        };
        let mut groups = BTreeSet::new();
        for index in 0..item.child_count() {
            let group = item
                .child(index)
                .filter(|child| child.is("group", ns::ROSTER) && child.child_count() == 0)
                .ok_or_else(|| wrong("an <item/> may hold nothing but <group/> elements with plain text"))?;
            let name = group.text();
            if name.is_empty() {
                return Err(Denial::new(
                    ErrorType::Modify,
                    Condition::NotAcceptable,
                    "R4",
                    "a <group/> has no name",
                ));
            }
            if !groups.insert(name) {
                return Err(wrong("an <item/> may name each group only once"));
            }
        }
        let edit = Edit::Put {
            subscription,
            ask,
            approved,
            name: item.attribute("name"),
            groups,
        };
        Ok(ItemEdit { jid, edit })
    }
}
