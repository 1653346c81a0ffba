//! The question and the answer of every judgement: a request, and a permit or a denial.
//!
//! [`crate::message::judge`], [`crate::iq::judge`] and [`crate::roster::judge`] have the same signature.

use crate::address::{self, Address, Normaliser};
use crate::administration::Domain;
use crate::blocklists::Reach;
use crate::denial::Denial;
use crate::element::Element;
use crate::matrix::{Grant, PermissionMatrix};
use crate::permission::IqType;

/// The kind of session that a stanza came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session<'a> {
    /// An external component.
    Component,
    /// A client that has logged in.
    Client {
        /// The account that it has logged in to.
        username: &'a str,
    },
    /// Any other session. Its stanzas are never those of an entity.
    Other,
}

impl<'a> Session<'a> {
    /// Reads a session from the server's name for its `type`, and its `username`; only a client has one.
    pub fn new(kind: &str, username: Option<&'a str>) -> Session<'a> {
        match (kind, username) {
            ("component", _) => Session::Component,
            ("c2s", Some(username)) => Session::Client { username },
            _ => Session::Other,
        }
    }
}

/// Who sent a stanza, as the server vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The session it came in on.
    pub session: Session<'a>,
    /// The host of that session.
    pub host: &'a str,
    /// The normalised `from` of the stanza.
    pub from: &'a str,
    /// Whether this stanza is itself one that an entity sends on behalf of an account (M6).
    pub acting: bool,
}

impl Sender<'_> {
    /// Returns the JID that a grant may be for; `None` if the sender cannot be a privileged entity.
    ///
    /// A component is the entity only under its own name, not under the addresses behind it. A gateway relays stanzas
    /// of strangers as `somebody@gateway`, and those must not be allowed what the gateway itself may do.
    pub fn entity(&self) -> Option<&str> {
        if self.acting {
            return None;
        }
        match self.session {
            Session::Component => Some(self.from).filter(|from| *from == self.host),
            Session::Client { username } => {
                let bare = address::bare(self.from);
                let is_own = bare.split_once('@') == Some((username, self.host));
                is_own.then_some(bare)
            }
            Session::Other => None,
        }
    }

    /// Whether the stanza came from an external component.
    pub fn is_component(&self) -> bool {
        self.session == Session::Component
    }

    /// Returns the domain that is the entity's own: that of a component. An account has none.
    pub fn own_domain(&self) -> Option<&str> {
        self.entity().filter(|entity| !entity.contains('@'))
    }
}

/// A stanza that is to be judged, and everything that the judgement may look at.
#[derive(Clone, Copy)]
pub struct Request<'a, T> {
    /// The sender of the stanza.
    pub sender: Sender<'a>,
    /// The stanza as it arrived. The server has normalised its `to`.
    pub stanza: T,
    /// The rules of the server for addresses.
    pub normaliser: &'a dyn Normaliser,
}

impl<T: Element> Request<'_, T> {
    /// Returns the recipient of the stanza. The server removes a `to` that is the sender's own bare JID; this puts it
    /// back.
    pub fn to(&self) -> String {
        let own = || match self.sender.session {
            Session::Client { username } => format!("{username}@{}", self.sender.host),
            Session::Component | Session::Other => String::new(),
        };
        self.stanza.attribute("to").unwrap_or_else(own)
    }

    /// Returns the type of an IQ request; `None` for any other stanza.
    pub fn kind(&self) -> Option<IqType> {
        self.stanza
            .attribute("type")
            .and_then(|kind| IqType::parse(&kind))
    }

    /// Returns the grant of the sender if it has what is `wanted`, otherwise the denial `missing`.
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

    /// Returns the account of the granting host that the stanza is addressed to, if the grant covers it (C7),
    /// otherwise the denial `missing`. That the account exists is a condition of the permit, and so may its blocklist
    /// be (G5).
    pub fn account(
        &self,
        matrix: &PermissionMatrix,
        grant: &Grant,
        missing: impl Fn() -> Denial,
    ) -> Result<Account, Denial> {
        let account = Account::of(Address::from_normalised(self.to()), matrix.host()).ok_or_else(&missing)?;
        let entity = self.sender.entity().unwrap_or_default();
        match matrix.reach(entity, grant, &account.username) {
            Reach::Inside => Ok(account),
            Reach::Unknown => Ok(Account {
                is_blocklist_unknown: true,
                ..account
            }),
            Reach::Outside => Err(missing()),
        }
    }
}

/// The address of an account of the granting host. The account need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its bare JID.
    pub jid: Address,
    /// Its username.
    pub username: String,
    /// Whether its blocklist has to be read first (G5).
    pub is_blocklist_unknown: bool,
}

impl Account {
    /// Returns the account of `host` with this address; `None` if it is not the bare JID of one.
    pub fn of(address: Option<Address>, host: &str) -> Option<Account> {
        let jid = address.filter(|jid| jid.is_bare() && jid.domain() == host)?;
        let username = jid.node()?.to_owned();
        Some(Account {
            jid,
            username,
            is_blocklist_unknown: false,
        })
    }
}

/// A stanza that may go ahead, and the conditions of that. Only the server can check them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit<T> {
    /// The stanza inside, which is to be sent; `None` for a roster request.
    pub stanza: Option<T>,
    /// The account that it is from or about, by bare JID; or the host itself (M3).
    pub account: String,
    /// The judged recipient (M5); `None` if there was no `to`, which means the account itself.
    pub to: Option<String>,
    /// Condition: this account exists. `None` for the host itself.
    pub username: Option<String>,
    /// Condition: the account does not administer this (N1).
    pub unless_administrator_of: Option<Domain>,
    /// Condition: the blocklist of this account is read, and then the stanza is judged again (G5).
    pub unread_blocklist: Option<String>,
    /// The id that the entity gave a privileged IQ.
    pub inner_id: Option<String>,
    /// The `<delay/>` that goes into the stanza (M4).
    pub delay: Option<T>,
}

impl<T> Permit<T> {
    /// The permit of a request about an account, with the conditions that the account exists and has not blocked the entity.
    pub fn for_account(account: Account) -> Permit<T> {
        Permit {
            stanza: None,
            account: account.jid.into_string(),
            to: None,
            unread_blocklist: account.is_blocklist_unknown.then(|| account.username.clone()),
            username: Some(account.username),
            unless_administrator_of: None,
            inner_id: None,
            delay: None,
        }
    }

    /// Returns the permit without the stanza, so that permits for different payloads can be compared.
    pub fn without_stanza(self) -> Permit<()> {
        Permit {
            stanza: None,
            account: self.account,
            to: self.to,
            username: self.username,
            unless_administrator_of: self.unless_administrator_of,
            unread_blocklist: self.unread_blocklist,
            inner_id: self.inner_id,
            delay: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component<'a>(host: &'a str, from: &'a str) -> Sender<'a> {
        Sender {
            session: Session::Component,
            host,
            from,
            acting: false,
        }
    }

    #[test]
    fn a_component_is_an_entity_under_its_own_name_only() {
        assert_eq!(
            component("gateway.lit", "gateway.lit").entity(),
            Some("gateway.lit")
        );
        assert_eq!(component("gateway.lit", "gateway.lit/res").entity(), None);
        assert_eq!(component("gateway.lit", "mallory@gateway.lit").entity(), None);
        assert_eq!(component("gateway.lit", "capulet.lit").entity(), None);
    }

    #[test]
    fn an_account_is_an_entity_on_its_own_session_only() {
        let mut sender = Sender {
            session: Session::Client { username: "bot" },
            host: "capulet.lit",
            from: "bot@capulet.lit/x",
            acting: false,
        };
        assert_eq!(sender.entity(), Some("bot@capulet.lit"));
        sender.from = "juliet@capulet.lit/x";
        assert_eq!(sender.entity(), None);
        sender.from = "bot@montague.lit";
        assert_eq!(sender.entity(), None);
        for other in ["s2sin", "s2sout", "local", "component_unauthed", ""] {
            let sender = Sender {
                session: Session::new(other, Some("bot")),
                from: "bot@capulet.lit/x",
                ..sender
            };
            assert_eq!(sender.entity(), None, "{other}");
        }
    }

    #[test]
    fn only_a_component_has_a_domain_of_its_own() {
        let gateway = component("gateway.lit", "gateway.lit");
        assert_eq!(gateway.own_domain(), Some("gateway.lit"));
        assert_eq!(
            component("gateway.lit", "somebody@gateway.lit").own_domain(),
            None
        );
        let bot = Sender {
            session: Session::Client { username: "bot" },
            from: "bot@gateway.lit/x",
            ..gateway
        };
        assert_eq!((bot.entity(), bot.own_domain()), (Some("bot@gateway.lit"), None));
    }

    #[test]
    fn m6_a_stanza_sent_for_an_account_has_no_privilege_of_its_own() {
        let sender = Sender {
            acting: true,
            ..component("gateway.lit", "gateway.lit")
        };
        assert_eq!(sender.entity(), None);
    }
}
