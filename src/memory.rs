//! A record of the presence that one connected entity has been told, and of which hosts had a reason to tell it (P4).
//!
//! One memory belongs to one connection. All granting hosts share it and edit it. It goes with the connection (P7).
//! An entry is 16 bytes, and the number of entries is bounded. A presence that is forgotten may be told a second
//! time. None is kept back for that: only a presence that is remembered as it is counts as known.
//!
//! Each entry carries marks of the hosts that have a reason to tell this presence. A host loses its reason when its
//! grant narrows, or when a contact is no longer to be shown; then its mark goes. A presence without a mark is not
//! known any more. Its entry stays only if the entity was told that the sender is available. The entity still
//! believes that, so it has to be told otherwise if it is wrong.

mod table;

use std::collections::HashSet;
use std::rc::Rc;

use self::table::{Entry, MARKS, Table};
use crate::fingerprint::{self, Fingerprint, Sender};
use crate::matrix::Grant;

/// A granting host, as one memory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(usize);

impl Host {
    /// The mark of the host in an entry. The first 23 hosts have a mark each; all others share the last one.
    fn mark(self) -> u64 {
        1 << self.0.min(MARKS as usize - 1)
    }
}

/// How much of a presence a memory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// The entity has to be told.
    News,
    /// The entity was told by another host. The reason of this host has to be noted.
    OfOthers,
    /// The entity was told, and the reason of this host is noted.
    Known,
}

/// The work that a change of a grant asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Nothing.
    Nothing,
    /// The entity may see less than before, and not nothing. What it may still see has to be confirmed, see
    /// [`Memory::confirm`].
    Confirm,
    /// The entity may see more than before. It has to be told who is there.
    Tell,
}

/// The notes of a memory about one granting host.
#[derive(Debug)]
struct HostNotes {
    name: String,
    /// The grant under which the entity was told what it was told.
    grant: Option<Rc<Grant>>,
    /// The contacts that have been asked for the entity, by hash, while it is told who is there.
    asked: HashSet<u64>,
}

/// The last presence of each sender that one connected entity has been told.
#[derive(Debug)]
pub struct Memory {
    table: Table,
    hosts: Vec<HostNotes>,
}

impl Memory {
    /// A memory for the last presence of about `most` senders, at least 8. It takes room as it fills.
    pub fn new(most: usize) -> Memory {
        Memory {
            table: Table::new(most),
            hosts: Vec::new(),
        }
    }

    /// The number of senders that are remembered.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no sender is remembered.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Returns the host with this name. A host is entered when it is first asked for.
    pub fn host(&mut self, name: &str) -> Host {
        let found = self.hosts.iter().position(|host| host.name == name);
        Host(found.unwrap_or_else(|| {
            self.hosts.push(HostNotes {
                name: name.to_owned(),
                grant: None,
                asked: HashSet::new(),
            });
            self.hosts.len() - 1
        }))
    }

    /// Notes what the host grants from now on; `None` for nothing. If the grant shows less than before, the marks of
    /// the host go. Returns what has to be done (P4).
    pub fn grant(&mut self, host: Host, grant: Option<&Rc<Grant>>) -> Todo {
        let Some(notes) = self.hosts.get_mut(host.0) else {
            return Todo::Nothing;
        };
        let earlier = std::mem::replace(&mut notes.grant, grant.cloned());
        let (before, after) = (earlier.as_deref(), grant.map(Rc::as_ref));
        let shows_less = before.is_some_and(|before| !after.is_some_and(|after| after.shows_all_of(before)));
        let shows_more = after.is_some_and(|after| !before.is_some_and(|before| before.shows_all_of(after)));
        if shows_less {
            self.table.edit_all(|entry| entry.without(host.mark()));
            self.forget_asked(host);
        }
        if shows_more {
            // A contact that could not be seen was not asked.
            self.forget_asked(host);
            Todo::Tell
        } else if shows_less && after.is_some() {
            Todo::Confirm
        } else {
            Todo::Nothing
        }
    }

    /// Returns how much is known of this presence, for this host.
    pub fn knowledge(&self, print: Fingerprint, host: Host) -> Knowledge {
        match self.table.find(print.sender()) {
            Some(entry) if !entry.is_of(print) => Knowledge::News,
            Some(entry) if entry.marks() & host.mark() != 0 => Knowledge::Known,
            Some(entry) if entry.marks() != 0 => Knowledge::OfOthers,
            _ => Knowledge::News,
        }
    }

    /// Notes that the entity knows this presence, and that this host has a reason to tell it.
    pub fn learn(&mut self, print: Fingerprint, host: Host) {
        let sender = print.sender();
        if sender.is_bare() && !print.is_available() {
            // None of its resources is there any more. What they said before is news if it comes again.
            self.table
                .edit_sender(sender, |entry| (entry.sender == sender).then_some(entry));
        } else if print.is_available() {
            // A resource is there again. That the bare JID has gone is news if it comes again.
            self.table.edit_sender(sender, |entry| {
                (!entry.sender.is_bare() || entry.is_available()).then_some(entry)
            });
        }
        let known = self.table.find(sender).filter(|entry| entry.is_of(print));
        let marks = known.map_or(0, Entry::marks) | host.mark();
        if let Some(entry) = Entry::new(print, marks) {
            self.table.put(entry);
        }
    }

    /// Notes that the host has no reason any more to show this contact.
    ///
    /// Returns true if the entity is left believing that the contact is available. Then it has to be told that the
    /// contact is not, which counts as done.
    pub fn forget(&mut self, contact: &str, host: Host) -> bool {
        self.table
            .edit_sender(Sender::new(contact), |entry| entry.without(host.mark()));
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked.remove(&fingerprint::hash(contact));
        }
        self.settle(contact, &[])
    }

    /// Whether the entity believes that some resource of an account or contact is available.
    pub fn believes(&mut self, bare: &str) -> bool {
        let mut believes = false;
        self.table.edit_sender(Sender::new(bare), |entry| {
            believes |= entry.is_available();
            Some(entry)
        });
        believes
    }

    /// Notes that the host has no reason any more to show the resource `from` of an account.
    ///
    /// Returns true if the entity was told on account of this host that the resource is available, and no other host has
    /// a reason to say so. Then the entity has to be told that the resource is not, which counts as done (G5).
    pub fn hide(&mut self, from: &str, host: Host) -> bool {
        let sender = Sender::new(from);
        let mut is_told = false;
        self.table.edit_sender(sender, |entry| {
            if entry.sender != sender || entry.marks() & host.mark() == 0 {
                return Some(entry);
            }
            let left = entry.without(host.mark());
            is_told = left.is_some_and(Entry::is_unfounded);
            left.filter(|_| !is_told)
        });
        is_told
    }

    /// Notes that the host has a reason to show this account or contact. The mark of the host is put back on what
    /// the entity was told of it.
    pub fn confirm(&mut self, bare: &str, host: Host) {
        self.table
            .edit_sender(Sender::new(bare), |entry| Some(entry.with(host.mark())));
    }

    /// Returns true if the entity believes that some resource of an account or contact is available, while no host
    /// has a reason to say so. The resources in `present` do not count.
    ///
    /// If true, the entity has to be told that the bare JID is unavailable. Everything about that JID is forgotten,
    /// so the presence of each resource in `present` is news afterwards.
    pub fn settle(&mut self, bare: &str, present: &[Sender]) -> bool {
        if !self.table.has_unfounded() {
            return false;
        }
        let sender = Sender::new(bare);
        let mut is_wrong = false;
        self.table.edit_sender(sender, |entry| {
            is_wrong |= entry.is_unfounded() && !present.contains(&entry.sender);
            Some(entry)
        });
        if is_wrong {
            self.table.edit_sender(sender, |_| None);
        }
        is_wrong
    }

    /// Whether the entity may have to be told that somebody has gone, see [`Memory::settle`].
    pub fn may_mislead(&self) -> bool {
        self.table.has_unfounded()
    }

    /// Whether a contact has been asked for the entity (P6).
    pub fn has_asked(&self, contact: &str, host: Host) -> bool {
        self.hosts
            .get(host.0)
            .is_some_and(|notes| notes.asked.contains(&fingerprint::hash(contact)))
    }

    /// Notes that a contact has been asked for its presence.
    pub fn note_asked(&mut self, contact: &str, host: Host) {
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked.insert(fingerprint::hash(contact));
        }
    }

    /// Forgets which contacts have been asked: either all have been, or all are to be asked again.
    pub fn forget_asked(&mut self, host: Host) {
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked = HashSet::new();
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
