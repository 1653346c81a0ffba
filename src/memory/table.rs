//! A bounded table of the last presence of each sender, 16 bytes each (P4).
//!
//! All resources of a bare JID are in the same few buckets, so that they can be edited together. When a bucket is
//! full, the sender that was heard least recently is forgotten.

use std::num::NonZeroU64;

use crate::fingerprint::{AVAILABLE, Fingerprint, SPARE_BITS, Sender};

/// The number of bits for marks in an entry.
pub(super) const MARKS: u32 = SPARE_BITS;
/// The bits of all marks.
const MARK_BITS: u64 = (1 << MARKS) - 1;

/// The number of senders in a bucket.
const WAYS: usize = 8;
/// The number of buckets that all resources of a bare JID are in. These buckets are next to each other.
const NEIGHBOURS: usize = 8;
/// A table may grow only when one place in this many is taken. So a contact with a hundred resources fills its
/// bucket, and does not make the table large.
const SPARE: usize = 8;

type Bucket = [Option<Entry>; WAYS];

/// The last presence of one sender, and the marks of the hosts that have a reason to tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) sender: Sender,
    /// The content of a fingerprint and the marks. Never zero, so that an empty place takes no extra bytes.
    state: NonZeroU64,
}

impl Entry {
    /// The entry of a presence with these marks; `None` if all of it is zero, which no fingerprint is.
    pub(super) fn new(print: Fingerprint, marks: u64) -> Option<Entry> {
        let state = NonZeroU64::new(print.content() | marks)?;
        Some(Entry {
            sender: print.sender(),
            state,
        })
    }

    /// Whether this entry is of exactly this presence.
    pub(super) fn is_of(self, print: Fingerprint) -> bool {
        self.sender == print.sender() && self.state.get() & !MARK_BITS == print.content()
    }

    /// The marks of hosts, in the lowest bits.
    pub(super) fn marks(self) -> u64 {
        self.state.get() & MARK_BITS
    }

    /// Whether the presence says that the sender is available.
    pub(super) fn is_available(self) -> bool {
        self.state.get() & AVAILABLE != 0
    }

    /// Whether the entity believes the sender available while no host has a reason to tell it so.
    pub(super) fn is_unfounded(self) -> bool {
        self.is_available() && self.marks() == 0
    }

    /// Returns the entry with a mark more.
    pub(super) fn with(self, mark: u64) -> Entry {
        let state = self.state | mark;
        Entry { state, ..self }
    }

    /// Returns the entry without a mark; `None` if nothing is left that is worth remembering.
    pub(super) fn without(self, mark: u64) -> Option<Entry> {
        let state = NonZeroU64::new(self.state.get() & !mark)?;
        let entry = Entry { state, ..self };
        (entry.marks() != 0 || entry.is_available()).then_some(entry)
    }
}

/// The entries of one memory.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Vec<Bucket>,
    len: usize,
    unfounded: usize,
    most_buckets: usize,
}

impl Table {
    /// A table for about `most` senders, at least 8. It takes room as it fills.
    pub(super) fn new(most: usize) -> Table {
        Table {
            buckets: vec![[None; WAYS]],
            len: 0,
            unfounded: 0,
            most_buckets: (most / WAYS).max(1).next_power_of_two(),
        }
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether some entry is unfounded, see [`Entry::is_unfounded`].
    pub(super) fn has_unfounded(&self) -> bool {
        self.unfounded > 0
    }

    /// Returns the entry of a sender.
    pub(super) fn find(&self, sender: Sender) -> Option<Entry> {
        let bucket = self.buckets.get(self.place(sender))?;
        let mut entries = bucket.iter().flatten();
        entries.find(|entry| entry.sender == sender).copied()
    }

    /// Changes or removes every entry.
    pub(super) fn edit_all(&mut self, change: impl FnMut(Entry) -> Option<Entry>) {
        self.edit(0, self.buckets.len(), change);
    }

    /// Changes or removes every entry of a bare JID, all its resources included.
    pub(super) fn edit_sender(&mut self, sender: Sender, mut change: impl FnMut(Entry) -> Option<Entry>) {
        let (first, count) = self.neighbourhood(sender);
        self.edit(first, count, |entry| {
            if entry.sender.bare() == sender.bare() {
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

    /// Puts an entry in the place of the earlier one of the same sender. Makes room for a new sender: the table
    /// grows, or the oldest entry of the bucket is forgotten.
    pub(super) fn put(&mut self, entry: Entry) {
        while self.buckets.len() < self.most_buckets
            && self.len * SPARE >= self.buckets.len() * WAYS
            && self.is_full(entry.sender)
        {
            self.grow();
        }
        self.insert(entry);
    }

    /// The first of the buckets that all resources of a bare JID are in, and the number of these buckets.
    fn neighbourhood(&self, sender: Sender) -> (usize, usize) {
        let count = NEIGHBOURS.min(self.buckets.len());
        // Both numbers are powers of two.
        let first = usize::try_from(sender.bare()).unwrap_or(0) & (self.buckets.len() - 1) & !(count - 1);
        (first, count)
    }

    /// The bucket of a sender.
    fn place(&self, sender: Sender) -> usize {
        let (first, count) = self.neighbourhood(sender);
        first + (usize::try_from(sender.full()).unwrap_or(0) & (count - 1))
    }

    /// Whether the bucket of a sender has no place for it.
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
            self.insert(*entry);
        }
    }

    /// Puts an entry first in its bucket. It replaces the earlier entry of the same sender, or takes an empty place,
    /// or replaces the last entry, which is the oldest.
    fn insert(&mut self, entry: Entry) {
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
impl Table {
    /// Counts the entries, and the unfounded ones, one by one.
    pub(super) fn recount(&self) -> (usize, usize) {
        let entries = || self.buckets.iter().flatten().flatten();
        (
            entries().count(),
            entries().filter(|entry| entry.is_unfounded()).count(),
        )
    }

    /// The same two numbers as the table keeps them.
    pub(super) fn counted(&self) -> (usize, usize) {
        (self.len, self.unfounded)
    }

    /// Whether the bucket of a sender has no empty place.
    pub(super) fn is_full_around(&self, sender: Sender) -> bool {
        let bucket = self.buckets.get(self.place(sender));
        bucket.is_some_and(|bucket| bucket.iter().all(Option::is_some))
    }

    /// The size of the table in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}
