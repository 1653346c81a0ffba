//! One question and one answer for all judgements: a request in, a permit or a denial out.
//!
//! [`crate::message::judge`], [`crate::iq::judge`] and [`crate::roster::judge`] have this one shape.

use crate::address::{self, Address, Normaliser};
use crate::administration::Domain;
use crate::denial::Denial;
use crate::element::Element;
use crate::matrix::{Grant, PermissionMatrix};
use crate::permission::IqType;

/// Who sent a stanza, as the server vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The type of the session it came in on: `component`, `c2s`, or another, which is nobody.
    pub session_type: &'a str,
    /// The host of that session.
    pub host: &'a str,
    /// The username of that session, for `c2s`.
    pub username: Option<&'a str>,
    /// The normalised `from` of the stanza.
    pub from: &'a str,
    /// Whether this is itself a stanza sent in the name of an account (M6).
    pub acting: bool,
}

impl Sender<'_> {
    /// The JID a grant may be for, or `None` where the sender cannot be a privileged entity.
    ///
    /// A component is the entity only under its own name, not under the addresses behind it: a
    /// gateway relays stanzas of strangers as `somebody@gateway`, and those must not inherit what
    /// the gateway itself may do.
    pub fn entity(&self) -> Option<&str> {
        if self.acting {
            return None;
        }
        match (self.session_type, self.username) {
            ("component", _) if self.from == self.host => Some(self.from),
            ("c2s", Some(username)) => {
                let from = address::bare(self.from);
                match from.split_once('@') {
                    Some((node, domain)) if node == username && domain == self.host => Some(from),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The domain that is the entity's own: that of a component. An account has none.
    pub fn own_domain(&self) -> Option<&str> {
        self.entity().filter(|entity| !entity.contains('@'))
    }
}

/// A stanza to be judged, with all that a judgement may look at.
#[derive(Clone, Copy)]
pub struct Request<'a, T> {
    /// Who sent it.
    pub sender: Sender<'a>,
    /// The stanza as it arrived, its `to` normalised by the server.
    pub stanza: T,
    /// The server's rules for addresses.
    pub normaliser: &'a dyn Normaliser,
}

impl<T: Element> Request<'_, T> {
    /// Whom the stanza is for: its `to`. The server takes that away where it is the sender's own bare JID.
    pub fn to(&self) -> String {
        let own = || {
            let username = self.sender.username?;
            Some(format!("{username}@{}", self.sender.host))
        };
        self.stanza.attribute("to").or_else(own).unwrap_or_default()
    }

    /// The type of an IQ request; `None` for any other stanza.
    pub fn kind(&self) -> Option<IqType> {
        self.stanza
            .attribute("type")
            .and_then(|kind| IqType::parse(&kind))
    }

    /// Returns the grant of the sender if it holds what is `wanted`, else the denial `missing`.
    pub fn grant<'m>(
        &self,
        matrix: &'m PermissionMatrix,
        wanted: impl Fn(&Grant) -> bool,
        missing: impl FnOnce() -> Denial,
    ) -> Result<&'m Grant, Denial> {
        matrix
            .grant_of(&self.sender)
            .map(AsRef::as_ref)
            .filter(|grant| wanted(grant))
            .ok_or_else(missing)
    }

    /// Returns the account of the granting host that the stanza is addressed to, if the grant covers it (C7), else
    /// the denial `missing`. Whether the account exists is a condition of the permit.
    pub fn account(
        &self,
        host: &str,
        grant: &Grant,
        missing: impl Fn() -> Denial,
    ) -> Result<Account, Denial> {
        Account::of(Address::from_normalised(self.to()), host)
            .filter(|account| grant.scope.covers(&account.username))
            .ok_or_else(missing)
    }
}

/// An account of the granting host, if it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its bare JID.
    pub jid: Address,
    /// Its username.
    pub username: String,
}

impl Account {
    /// The account of `host` that has this address, a bare JID.
    pub fn of(address: Option<Address>, host: &str) -> Option<Account> {
        let jid = address.filter(|jid| jid.is_bare() && jid.domain() == host)?;
        let username = jid.node()?.to_owned();
        Some(Account { jid, username })
    }
}

/// What may go ahead, and on which conditions that only the server can check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit<T> {
    /// The stanza inside, which is to be sent; `None` for a roster request, which has none.
    pub stanza: Option<T>,
    /// Whom it is from or about: the bare JID of an account, or the host itself (M3).
    pub account: String,
    /// The judged recipient; `None` where it was left out, which is the account itself.
    pub to: Option<String>,
    /// Condition: this account exists. `None` for the host itself.
    pub username: Option<String>,
    /// Condition: the account does not administer this (N1).
    pub unless_administrator_of: Option<Domain>,
    /// The id that the entity gave a privileged IQ.
    pub inner_id: Option<String>,
}

impl<T> Permit<T> {
    /// The permit of a request about an account that needs nothing more.
    pub fn for_account(account: Account) -> Permit<T> {
        Permit {
            stanza: None,
            account: account.jid.into_string(),
            to: None,
            username: Some(account.username),
            unless_administrator_of: None,
            inner_id: None,
        }
    }

    /// Takes the stanza out, so that permits for different payloads can be compared.
    pub fn without_stanza(self) -> Permit<()> {
        Permit {
            stanza: None,
            account: self.account,
            to: self.to,
            username: self.username,
            unless_administrator_of: self.unless_administrator_of,
            inner_id: self.inner_id,
        }
    }
}
