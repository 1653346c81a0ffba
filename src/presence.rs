//! Presence: who may see whose, and whether an entity has been told already (P1 to P5).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;

use once_cell::sync::Lazy;

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
    let allowed = match occasion {
        Occasion::Account => grant.presence != PresenceAccess::None,
        Occasion::Contact => grant.presence == PresenceAccess::Roster,
    };
    if !allowed || !grant.scope.covers(username) {
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

/// Keys of all fingerprints: chosen anew in every process, so that nobody outside can make two
/// presences look alike.
static HASHERS: Lazy<(RandomState, RandomState)> = Lazy::new(|| (RandomState::new(), RandomState::new()));

/// A presence in 16 bytes: whose it is, and all that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    sender: u64,
    /// Never zero, so that an empty place in the memory costs nothing.
    content: NonZeroU64,
}

impl Fingerprint {
    /// As bytes, to be carried about by those who cannot hold 64-bit numbers.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (sender, content) = bytes.split_at_mut(8);
        sender.copy_from_slice(&self.sender.to_ne_bytes());
        content.copy_from_slice(&self.content.get().to_ne_bytes());
        bytes
    }

    /// Back from bytes; `None` for what is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Fingerprint> {
        let (sender, content) = bytes.split_first_chunk::<8>()?;
        let content: [u8; 8] = content.try_into().ok()?;
        Some(Fingerprint {
            sender: u64::from_ne_bytes(*sender),
            content: NonZeroU64::new(u64::from_ne_bytes(content))?,
        })
    }
}

/// Takes in a presence, piece by piece, in document order.
pub struct Fingerprinter {
    sender: u64,
    content: Box<dyn Hasher>,
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
            sender: HASHERS.0.hash_one(from),
            content: Box::new(content),
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
        Fingerprint {
            sender: self.sender,
            content: NonZeroU64::new(self.content.finish()).unwrap_or(NonZeroU64::MIN),
        }
    }
}

/// How many senders share a bucket; the one that was heard least recently is forgotten first.
const WAYS: usize = 8;

/// What one connected entity has been told: per sender the last presence, in 16 bytes each (P4).
///
/// Bounded: what is forgotten may be told a second time, but nothing is ever kept back, since only
/// the same 128 bits count as known. Gone with the connection (P7).
#[derive(Debug)]
pub struct Memory {
    buckets: Vec<[Option<Fingerprint>; WAYS]>,
    len: usize,
    most_buckets: usize,
}

impl Memory {
    /// A memory for the last presence of about `most` senders, at least 8. Takes room as it fills.
    pub fn new(most: usize) -> Memory {
        let most_buckets = (most / WAYS).max(1).next_power_of_two();
        Memory {
            buckets: vec![[None; WAYS]],
            len: 0,
            most_buckets,
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
        self.buckets.capacity() * size_of::<[Option<Fingerprint>; WAYS]>()
    }

    /// Whether this is the last presence that was told of its sender.
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.buckets
            .get(self.place(fingerprint.sender))
            .is_some_and(|bucket| bucket.contains(&Some(fingerprint)))
    }

    /// Notes that this presence has been told.
    pub fn learn(&mut self, fingerprint: Fingerprint) {
        while self.buckets.len() < self.most_buckets && self.is_full(fingerprint.sender) {
            self.grow();
        }
        let place = self.place(fingerprint.sender);
        if let Some(bucket) = self.buckets.get_mut(place) {
            self.len += usize::from(put(bucket, fingerprint));
        }
    }

    fn place(&self, sender: u64) -> usize {
        // The number of buckets is a power of two.
        usize::try_from(sender & (self.buckets.len() as u64 - 1)).unwrap_or(0)
    }

    /// Whether a sender who is not known yet would have to push another one out.
    fn is_full(&self, sender: u64) -> bool {
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
        for fingerprint in smaller.iter().flat_map(|bucket| bucket.iter().rev()).flatten() {
            let place = self.place(fingerprint.sender);
            if let Some(bucket) = self.buckets.get_mut(place) {
                self.len += usize::from(put(bucket, *fingerprint));
            }
        }
    }
}

/// Puts a fingerprint first in its bucket, in the place of the same sender's earlier one, or else of
/// the oldest; whether that makes one more.
fn put(bucket: &mut [Option<Fingerprint>; WAYS], fingerprint: Fingerprint) -> bool {
    let same = |entry: &Option<Fingerprint>| entry.is_some_and(|known| known.sender == fingerprint.sender);
    let found = bucket.iter().position(same);
    let end = found.unwrap_or_else(|| bucket.iter().position(Option::is_none).unwrap_or(WAYS - 1));
    let grows = found.is_none() && bucket.get(end).is_some_and(Option::is_none);
    if let Some(moved) = bucket.get_mut(..=end) {
        moved.rotate_right(1);
    }
    if let Some(first) = bucket.first_mut() {
        *first = Some(fingerprint);
    }
    grows
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
