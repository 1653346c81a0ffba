//! The connections of privileged entities to one granting host (A1 to A4, C6).
//!
//! A connection belongs to an entity, and has the address that the entity's stanzas go to: the domain of a component,
//! or the full JID of a client of an account. It keeps the advertisement that was told last, so that only news is
//! told. Who of the connections may see presence, and what each was told, is kept in [`crate::viewers`] under the
//! number of the connection.

use std::collections::BTreeMap;

use crate::matrix::{Grant, PermissionMatrix};
use crate::narrow::Contacts;
use crate::permission::{PresenceAccess, Protocol};
use crate::viewers::{Number, SharedMemory};
use crate::wire::advert;

/// A stanza that the host sends: to this address, finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The address of a connection, or of a component inside the server.
    pub to: String,
    /// The stanza.
    pub text: String,
}

/// One connection of a privileged entity.
#[derive(Debug)]
pub struct Connection {
    /// The number of the connection. No other connection ever has it.
    pub number: Number,
    /// The entity, by bare JID.
    pub entity: String,
    /// The presence that the connection was told. Other granting hosts hold it as well.
    pub memory: SharedMemory,
    /// The last advertisement, without an id. `None` where the entity was told nothing, or that it is
    /// named no more.
    advertised: Option<String>,
}

impl Connection {
    fn grant<'m>(&self, matrix: &'m PermissionMatrix) -> Option<&'m Grant> {
        matrix.grant(&self.entity).map(AsRef::as_ref)
    }
}

/// All connections of privileged entities to one granting host.
#[derive(Debug, Default)]
pub struct Entities {
    /// By address.
    connections: BTreeMap<String, Connection>,
    last_number: Number,
}

impl Entities {
    /// Enters a connection and returns its number. `advertised` is the last advertisement of a connection that is kept
    /// over a reload; `None` for a new connection.
    pub fn enter(
        &mut self,
        address: &str,
        entity: &str,
        memory: SharedMemory,
        advertised: Option<String>,
    ) -> Number {
        self.last_number += 1;
        let connection = Connection {
            number: self.last_number,
            entity: entity.to_owned(),
            memory,
            advertised,
        };
        self.connections.insert(address.to_owned(), connection);
        self.last_number
    }

    /// Takes out the connection with this address, which has ended.
    pub fn leave(&mut self, address: &str) -> Option<Connection> {
        self.connections.remove(address)
    }

    /// The connection with this address.
    pub fn get(&self, address: &str) -> Option<&Connection> {
        self.connections.get(address)
    }

    /// All connections, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Connection)> {
        self.connections
            .iter()
            .map(|(address, connection)| (address.as_str(), connection))
    }

    /// The last advertisement of each connection, for an instance after a reload (L1).
    pub fn advertised(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.iter()
            .map(|(address, connection)| (address, connection.advertised.as_deref()))
    }

    /// Returns the advertisement for the connection with this address, if it is news to the entity (A1, C6). `id` makes
    /// the id of the message.
    pub fn news(
        &mut self,
        address: &str,
        matrix: &PermissionMatrix,
        id: impl FnOnce() -> String,
    ) -> Option<Outgoing> {
        let connection = self.connections.get_mut(address)?;
        let earlier = connection.advertised.as_deref();
        let named = matrix.named(&connection.entity);
        let now = named.and_then(|grant| advert::text(grant, None, matrix.host(), address, ""));
        if now.as_deref() == earlier {
            return None;
        }
        // An entity that is named no more is told so in the protocol that it was told something in.
        let nothing = Grant {
            protocol: earlier.map_or_else(Protocol::default, advert::protocol),
            ..Grant::default()
        };
        let grant = named.map_or(&nothing, AsRef::as_ref);
        let text = advert::text(grant, earlier, matrix.host(), address, &id())?;
        connection.advertised = now;
        Some(Outgoing {
            to: address.to_owned(),
            text,
        })
    }

    /// The addresses of those that get pushes of the contact `jid` in the roster of the account `username` (R7, G1). The flag
    /// says whether the entity may see the whole roster.
    pub fn pushed<'e>(
        &'e self,
        matrix: &'e PermissionMatrix,
        username: &'e str,
        jid: &'e str,
    ) -> impl Iterator<Item = (&'e str, bool)> {
        self.granted(matrix)
            .filter(move |(_, entity, grant)| {
                let is_shown = grant.pushes_roster() && grant.contacts.include(entity, jid);
                is_shown && matrix.covers(entity, grant, username)
            })
            .map(|(address, _, grant)| (address, grant.contacts == Contacts::All))
    }

    /// Whether anything is to be done where the roster of the account `username` changes: it is pushed to somebody, or
    /// somebody sees the presence of its contacts.
    pub fn follow_roster(&self, matrix: &PermissionMatrix, username: &str) -> bool {
        self.granted(matrix).any(|(_, entity, grant)| {
            let follows = grant.pushes_roster() || grant.presence == PresenceAccess::Roster;
            follows && matrix.covers(entity, grant, username)
        })
    }

    /// The most that anybody who is connected may see of presence.
    pub fn most_presence(&self, matrix: &PermissionMatrix) -> PresenceAccess {
        self.granted(matrix)
            .map(|(_, _, grant)| grant.presence)
            .max()
            .unwrap_or_default()
    }

    /// The address, the entity and the grant of each connection that is granted anything.
    fn granted<'e>(
        &'e self,
        matrix: &'e PermissionMatrix,
    ) -> impl Iterator<Item = (&'e str, &'e str, &'e Grant)> {
        self.iter().filter_map(|(address, connection)| {
            Some((address, connection.entity.as_str(), connection.grant(matrix)?))
        })
    }
}

#[cfg(test)]
#[path = "entities_tests.rs"]
mod tests;
