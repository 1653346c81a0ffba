//! What one connected entity has been told of presence, and on whose account (P4).
//!
//! One memory belongs to one connection. All granting hosts share it: it is edited, never replaced,
//! and goes with the connection (P7). An entry is 16 bytes, and the number of entries is bounded: what
//! is forgotten may be told a second time, but nothing is ever kept back, since only a presence that
//! is remembered word for word counts as known.
//!
//! Each entry says which hosts have a reason to tell this presence. Where a host loses its reason
//! (its grant narrows, or a contact is no longer to be shown), its mark goes. An entry without a mark
//! is not known any more. It stays only where the entity was told that the sender is available: then
//! the entity still believes so, and has to be told otherwise should that turn out to be wrong.

use std::collections::HashSet;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;
use std::rc::Rc;

use once_cell::sync::Lazy;

use crate::address;
use crate::matrix::Grant;

/// Keys of all fingerprints: chosen anew in every process, so that nobody outside can make two
/// presences look alike.
static HASHERS: Lazy<(RandomState, RandomState)> = Lazy::new(|| (RandomState::new(), RandomState::new()));

/// A sender as 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    bare: u32,
    full: u32,
}

impl Sender {
    /// The sender with this full JID, or with this bare JID where it has no resource.
    pub fn new(jid: &str) -> Sender {
        let bare = address::bare(jid);
        Sender {
            bare: half(bare),
            full: if bare.len() == jid.len() { 0 } else { half(jid) },
        }
    }

    /// Whether this is a bare JID: its unavailable presence speaks for all its resources.
    fn is_bare(self) -> bool {
        self.full == 0
    }
}

fn half(text: &str) -> u32 {
    // Cut on purpose. Zero stands for a bare JID, so no resource may have it.
    let [a, b, c, d, ..] = HASHERS.0.hash_one(text).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d]).max(1)
}

/// A contact in 64 bits, for the list of those that have been asked.
fn contact_key(contact: &str) -> u64 {
    HASHERS.1.hash_one(contact)
}

/// How many hosts have a mark of their own; any further ones share the last mark. The other 39 bits are
/// enough to tell a sender's presence from the one before.
const MARKS: u32 = 24;
/// The bits of the marks.
const HOST_BITS: u64 = (1 << MARKS) - 1;
/// Whether the presence says that the sender is available.
const AVAILABLE: u64 = 1 << MARKS;
/// How many bits the content is moved to make room for those above.
const CONTENT_SHIFT: u32 = MARKS + 1;

/// A presence in 16 bytes: whose it is, and all that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    sender: Sender,
    /// The content and whether it is available; never zero in the bits of the content, and zero in
    /// those of the hosts.
    content: u64,
}

impl Fingerprint {
    /// Whose presence it is.
    pub fn sender(self) -> Sender {
        self.sender
    }
}

/// Takes in a presence, piece by piece, in document order.
pub struct Fingerprinter {
    sender: Sender,
    is_available: bool,
    content: DefaultHasher,
}

impl Fingerprinter {
    /// Begins the fingerprint of a presence from the full JID `from`, of the type `kind`.
    pub fn new(from: &str, kind: Option<&str>) -> Fingerprinter {
        let mut content = HASHERS.1.build_hasher();
        content.write(from.as_bytes());
        content.write_u8(0xff);
        content.write(kind.unwrap_or_default().as_bytes());
        content.write_u8(0xff);
        Fingerprinter {
            sender: Sender::new(from),
            is_available: kind.is_none(),
            content,
        }
    }

    /// An element begins; its attributes may come in any order.
    pub fn open(&mut self, name: &str, namespace: &str, attributes: &mut [(String, String)]) {
        self.piece(1, name);
        self.piece(2, namespace);
        attributes.sort_unstable();
        for (name, value) in attributes {
            self.piece(3, name);
            self.piece(4, value);
        }
    }

    /// Text inside the element that is open.
    pub fn text(&mut self, text: &str) {
        self.piece(5, text);
    }

    /// The element that was opened last, and is still open, ends.
    pub fn close(&mut self) {
        self.content.write_u8(6);
    }

    fn piece(&mut self, kind: u8, text: &str) {
        self.content.write_u8(kind);
        self.content.write_usize(text.len());
        self.content.write(text.as_bytes());
    }

    /// The fingerprint.
    pub fn finish(self) -> Fingerprint {
        let hash = (self.content.finish() << CONTENT_SHIFT).max(1 << CONTENT_SHIFT);
        Fingerprint {
            sender: self.sender,
            content: hash | if self.is_available { AVAILABLE } else { 0 },
        }
    }
}

/// What is remembered of one sender.
#[derive(Clone, Copy, Debug)]
struct Entry {
    sender: Sender,
    /// The content of a fingerprint with the marks of hosts. Never zero, so that an empty place in
    /// the memory costs nothing.
    state: NonZeroU64,
}

impl Entry {
    fn content(self) -> u64 {
        self.state.get() & !HOST_BITS
    }

    fn marks(self) -> u64 {
        self.state.get() & HOST_BITS
    }

    fn is_available(self) -> bool {
        self.state.get() & AVAILABLE != 0
    }

    /// Whether the entity believes the sender available, and no host could have told it so today.
    fn is_unfounded(self) -> bool {
        self.is_available() && self.marks() == 0
    }

    /// Without the mark of a host; `None` where there is nothing left to remember.
    fn without(self, host: Host) -> Option<Entry> {
        let state = NonZeroU64::new(self.state.get() & !host.mark())?;
        let entry = Entry { state, ..self };
        (entry.marks() != 0 || entry.is_available()).then_some(entry)
    }
}

/// A granting host, as one memory knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(usize);

impl Host {
    fn mark(self) -> u64 {
        1 << self.0.min(MARKS as usize - 1)
    }
}

/// How much of a presence a memory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// The entity has to be told.
    News,
    /// The entity was told by another host; this host's reason is still to be noted.
    OfOthers,
    /// The entity was told, and it is noted that this host has a reason to.
    Known,
}

/// What a change of a grant asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Nothing is different.
    Nothing,
    /// The entity may see no more than before, and still something: what it may still see is to be
    /// confirmed, see [`Memory::confirm`].
    Confirm,
    /// The entity may see more than before, and is to be told who is there.
    Tell,
}

/// What the memory keeps of each granting host.
#[derive(Debug)]
struct HostNotes {
    name: String,
    /// The grant under which the entity was told what it was told.
    grant: Option<Rc<Grant>>,
    /// The contacts that have been asked for the entity, while it is being told who is there.
    asked: HashSet<u64>,
}

/// How many senders share a bucket; the one that was heard least recently is forgotten first.
const WAYS: usize = 8;

/// All resources of a bare JID are within so many buckets, which are next to each other.
const NEIGHBOURS: usize = 8;

/// The table grows when one place in so many is taken, and its bucket is full. Somebody with a
/// hundred resources fills a bucket, but does not make the table large.
const SPARE: usize = 8;

type Bucket = [Option<Entry>; WAYS];

/// What one connected entity has been told: the last presence of each sender.
#[derive(Debug)]
pub struct Memory {
    buckets: Vec<Bucket>,
    len: usize,
    unfounded: usize,
    most_buckets: usize,
    hosts: Vec<HostNotes>,
}

impl Memory {
    /// A memory for the last presence of about `most` senders, at least 8. Takes room as it fills.
    pub fn new(most: usize) -> Memory {
        let most_buckets = (most / WAYS).max(1).next_power_of_two();
        Memory {
            buckets: vec![[None; WAYS]],
            len: 0,
            unfounded: 0,
            most_buckets,
            hosts: Vec::new(),
        }
    }

    /// How many senders are remembered.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the table takes.
    pub fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// The host of this name.
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

    /// Notes what the host grants from now on. Where that shows less than before, the host's marks
    /// go. Returns what is to be done about it.
    pub fn grant(&mut self, host: Host, grant: Option<&Rc<Grant>>) -> Todo {
        let Some(notes) = self.hosts.get_mut(host.0) else {
            return Todo::Nothing;
        };
        let earlier = std::mem::replace(&mut notes.grant, grant.cloned());
        let (before, after) = (earlier.as_deref(), grant.map(Rc::as_ref));
        let shows_less = before.is_some_and(|before| !after.is_some_and(|after| after.shows_all_of(before)));
        let shows_more = after.is_some_and(|after| !before.is_some_and(|before| before.shows_all_of(after)));
        if shows_less {
            self.narrow(host);
        }
        if shows_more {
            // What could not be seen was not asked.
            self.forget_asked(host);
            Todo::Tell
        } else if shows_less && after.is_some() {
            Todo::Confirm
        } else {
            Todo::Nothing
        }
    }

    fn narrow(&mut self, host: Host) {
        let all = self.buckets.len();
        self.edit(0, all, |entry| entry.without(host));
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked = HashSet::new();
        }
    }

    /// How much is known of this presence, for this host.
    pub fn knowledge(&self, print: Fingerprint, host: Host) -> Knowledge {
        let known = self
            .buckets
            .get(self.place(print.sender))
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.sender == print.sender && entry.content() == print.content);
        match known {
            Some(entry) if entry.marks() & host.mark() != 0 => Knowledge::Known,
            Some(entry) if entry.marks() != 0 => Knowledge::OfOthers,
            _ => Knowledge::News,
        }
    }

    /// Notes that the entity knows this presence, and that this host has a reason to tell it.
    pub fn learn(&mut self, print: Fingerprint, host: Host) {
        if print.sender.is_bare() && print.content & AVAILABLE == 0 {
            // None of its resources is there any more: what they said before is news if it comes again.
            self.edit_sender(print.sender, |entry| {
                (entry.sender == print.sender).then_some(entry)
            });
        } else if print.content & AVAILABLE != 0 {
            // Somebody is there again: that the bare JID has gone is news if it comes again.
            self.edit_sender(print.sender, |entry| {
                (!entry.sender.is_bare() || entry.is_available()).then_some(entry)
            });
        }
        while self.buckets.len() < self.most_buckets
            && self.len * SPARE >= self.buckets.len() * WAYS
            && self.is_full(print.sender)
        {
            self.grow();
        }
        let marks = match self.knowledge(print, host) {
            Knowledge::News => 0,
            Knowledge::OfOthers | Knowledge::Known => self.marks(print.sender),
        };
        if let Some(state) = NonZeroU64::new(print.content | marks | host.mark()) {
            self.put(Entry {
                sender: print.sender,
                state,
            });
        }
    }

    fn marks(&self, sender: Sender) -> u64 {
        let bucket = self.buckets.get(self.place(sender));
        let found = bucket
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.sender == sender);
        found.map_or(0, |entry| entry.marks())
    }

    /// The host has no reason any more to show this contact. Whether the entity is left believing
    /// that the contact is available, so that it has to be told otherwise; then that is noted as done.
    pub fn forget(&mut self, contact: &str, host: Host) -> bool {
        let sender = Sender::new(contact);
        self.edit_sender(sender, |entry| entry.without(host));
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked.remove(&contact_key(contact));
        }
        self.settle(contact, &[])
    }

    /// The host has a reason to show this account or contact: where the entity was told something of it
    /// and has not been told otherwise, the host's mark is put back.
    pub fn confirm(&mut self, bare: &str, host: Host) {
        self.edit_sender(Sender::new(bare), |entry| {
            let state = NonZeroU64::new(entry.state.get() | host.mark()).unwrap_or(entry.state);
            Some(Entry { state, ..entry })
        });
    }

    /// Whether the entity believes available, without a host that has a reason to say so, some
    /// resource of a contact or an account beside those that are `present`. Then what it believes of
    /// the bare JID is forgotten: the entity is told that the bare JID is unavailable, and whoever is
    /// present is news.
    pub fn settle(&mut self, bare: &str, present: &[Sender]) -> bool {
        if self.unfounded == 0 {
            return false;
        }
        let sender = Sender::new(bare);
        let mut is_wrong = false;
        self.edit_sender(sender, |entry| {
            is_wrong |= entry.is_unfounded() && !present.contains(&entry.sender);
            Some(entry)
        });
        if is_wrong {
            self.edit_sender(sender, |_| None);
        }
        is_wrong
    }

    /// Whether the entity may have to be told that somebody has gone, see [`Memory::settle`].
    pub fn may_mislead(&self) -> bool {
        self.unfounded > 0
    }

    /// Whether a contact has been asked on behalf of the entity.
    pub fn has_asked(&self, contact: &str, host: Host) -> bool {
        self.hosts
            .get(host.0)
            .is_some_and(|notes| notes.asked.contains(&contact_key(contact)))
    }

    /// Notes that a contact has been asked.
    pub fn note_asked(&mut self, contact: &str, host: Host) {
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked.insert(contact_key(contact));
        }
    }

    /// Forgets who has been asked: everybody has, or the question begins anew.
    pub fn forget_asked(&mut self, host: Host) {
        if let Some(notes) = self.hosts.get_mut(host.0) {
            notes.asked = HashSet::new();
        }
    }

    /// The first of the buckets that a bare JID's resources are in, and how many these are.
    fn neighbourhood(&self, sender: Sender) -> (usize, usize) {
        let count = NEIGHBOURS.min(self.buckets.len());
        // Both numbers are powers of two.
        let first = usize::try_from(sender.bare).unwrap_or(0) & (self.buckets.len() - 1) & !(count - 1);
        (first, count)
    }

    fn place(&self, sender: Sender) -> usize {
        let (first, count) = self.neighbourhood(sender);
        first + (usize::try_from(sender.full).unwrap_or(0) & (count - 1))
    }

    /// Changes or removes every entry of a bare JID, all its resources included.
    fn edit_sender(&mut self, sender: Sender, mut change: impl FnMut(Entry) -> Option<Entry>) {
        let (first, count) = self.neighbourhood(sender);
        self.edit(first, count, |entry| {
            if entry.sender.bare == sender.bare {
                change(entry)
            } else {
                Some(entry)
            }
        });
    }

    fn edit(&mut self, first: usize, count: usize, mut change: impl FnMut(Entry) -> Option<Entry>) {
        for place in self.buckets.iter_mut().skip(first).take(count).flatten() {
            if let Some(entry) = *place {
                let changed = change(entry);
                self.len -= usize::from(changed.is_none());
                self.unfounded -= usize::from(entry.is_unfounded());
                self.unfounded += usize::from(changed.is_some_and(Entry::is_unfounded));
                *place = changed;
            }
        }
    }

    /// Whether a sender who is not known yet would have to push another one out.
    fn is_full(&self, sender: Sender) -> bool {
        self.buckets.get(self.place(sender)).is_some_and(|bucket| {
            bucket
                .iter()
                .all(|entry| entry.is_some_and(|known| known.sender != sender))
        })
    }

    fn grow(&mut self) {
        let larger = vec![[None; WAYS]; self.buckets.len() * 2];
        let smaller = std::mem::replace(&mut self.buckets, larger);
        self.len = 0;
        self.unfounded = 0;
        for entry in smaller.iter().flat_map(|bucket| bucket.iter().rev()).flatten() {
            self.put(*entry);
        }
    }

    /// Puts an entry first in its bucket, in the place of the same sender's earlier one, or else of
    /// an empty place, or else of the oldest entry.
    fn put(&mut self, entry: Entry) {
        let place = self.place(entry.sender);
        let Some(bucket) = self.buckets.get_mut(place) else {
            return;
        };
        let same = |other: &Option<Entry>| other.is_some_and(|other| other.sender == entry.sender);
        let found = bucket.iter().position(same);
        let end = found.unwrap_or_else(|| bucket.iter().position(Option::is_none).unwrap_or(WAYS - 1));
        let replaced = bucket.get(end).copied().flatten();
        if let Some(moved) = bucket.get_mut(..=end) {
            moved.rotate_right(1);
        }
        if let Some(first) = bucket.first_mut() {
            *first = Some(entry);
        }
        self.len += usize::from(replaced.is_none());
        self.unfounded -= usize::from(replaced.is_some_and(Entry::is_unfounded));
        self.unfounded += usize::from(entry.is_unfounded());
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
