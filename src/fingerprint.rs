//! A presence as 16 bytes, so that the memory of a million of them is small (P4).

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hasher};

use once_cell::sync::Lazy;

use crate::address;

/// The keys of all fingerprints. They are chosen anew in every process, so that nobody outside can make two presences
/// look alike.
static HASHERS: Lazy<(RandomState, RandomState)> = Lazy::new(|| (RandomState::new(), RandomState::new()));

/// The sender of a presence, as 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    bare: u32,
    full: u32,
}

impl Sender {
    /// The sender with this normalised JID, full or bare.
    pub fn new(jid: &str) -> Sender {
        let bare = address::bare(jid);
        Sender {
            bare: half(bare),
            full: if bare.len() == jid.len() { 0 } else { half(jid) },
        }
    }

    /// Whether this is a bare JID. Its unavailable presence stands for all its resources.
    pub(crate) fn is_bare(self) -> bool {
        self.full == 0
    }

    /// The hash of the bare JID.
    pub(crate) fn bare(self) -> u32 {
        self.bare
    }

    /// The hash of the full JID; zero for a bare JID.
    pub(crate) fn full(self) -> u32 {
        self.full
    }
}

/// A text as 32 bits, never zero: zero stands for a bare JID.
fn half(text: &str) -> u32 {
    let [a, b, c, d, ..] = HASHERS.0.hash_one(text).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d]).max(1)
}

/// A text as 64 bits.
pub(crate) fn hash(text: &str) -> u64 {
    HASHERS.1.hash_one(text)
}

/// The number of low bits that are zero in the content of a fingerprint. A memory keeps marks there. The 39 bits that
/// are left for the hash are enough to tell a presence from the one before of the same sender.
pub(crate) const SPARE_BITS: u32 = 24;
/// The bit that says that the sender is available.
pub(crate) const AVAILABLE: u64 = 1 << SPARE_BITS;
/// The number of bits by which the hash is shifted, to leave room for the bits above.
const CONTENT_SHIFT: u32 = SPARE_BITS + 1;

/// A presence as 16 bytes: its sender, and a hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    sender: Sender,
    /// See [`Fingerprint::content`].
    content: u64,
}

impl Fingerprint {
    /// The sender of the presence.
    pub fn sender(self) -> Sender {
        self.sender
    }

    /// The hash of the content, never zero, and the bit [`AVAILABLE`]. The lowest [`SPARE_BITS`] bits are zero.
    pub(crate) fn content(self) -> u64 {
        self.content
    }

    /// Whether the presence says that the sender is available.
    pub(crate) fn is_available(self) -> bool {
        self.content & AVAILABLE != 0
    }
}

/// Makes a fingerprint out of the pieces of a presence, in document order.
pub struct Fingerprinter {
    sender: Sender,
    is_available: bool,
    content: DefaultHasher,
}

impl Fingerprinter {
    /// Begins the fingerprint of a presence from the JID `from`, normalised. `kind` is the type of the stanza.
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

    /// Takes in the start of an element. The order of its attributes does not matter.
    pub fn open(&mut self, name: &str, namespace: &str, attributes: &mut [(String, String)]) {
        self.piece(1, name);
        self.piece(2, namespace);
        attributes.sort_unstable();
        for (name, value) in attributes {
            self.piece(3, name);
            self.piece(4, value);
        }
    }

    /// Takes in text of the element that was opened last and is still open.
    pub fn text(&mut self, text: &str) {
        self.piece(5, text);
    }

    /// Takes in the end of that element.
    pub fn close(&mut self) {
        self.content.write_u8(6);
    }

    fn piece(&mut self, kind: u8, text: &str) {
        self.content.write_u8(kind);
        self.content.write_usize(text.len());
        self.content.write(text.as_bytes());
    }

    /// Returns the fingerprint.
    pub fn finish(self) -> Fingerprint {
        let hash = (self.content.finish() << CONTENT_SHIFT).max(1 << CONTENT_SHIFT);
        Fingerprint {
            sender: self.sender,
            content: hash | if self.is_available { AVAILABLE } else { 0 },
        }
    }
}
