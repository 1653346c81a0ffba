//! A presence stanza of the server: its fingerprint, and the stanza as text for many readers.

use std::sync::Arc;

use super::keys::Key;
use super::raw::{Part, Place};
use super::tree::Tree;
use crate::fingerprint::{Fingerprint, Fingerprinter};
use crate::ns;

/// Returns the sender of a stanza; "" where it has none.
pub(super) fn from(stanza: &Place<'_>) -> String {
    let from = stanza.inner(Key::Attr, |attr| attr.string(Key::From));
    from.flatten().unwrap_or_default()
}

/// Returns the fingerprint of a presence. Ignores `to`, `id`, and stamps of delayed delivery, which change while the
/// presence does not (P4). Where Lua's stack has no room for so many levels, it is the fingerprint of what came before.
pub(super) fn fingerprint(presence: &Place<'_>, from: &str) -> Fingerprint {
    let kind = presence.inner(Key::Attr, |attr| attr.string(Key::Type));
    let mut reader = Reader {
        print: Fingerprinter::new(from, kind.flatten().as_deref()),
        namespaces: Vec::new(),
        name: String::new(),
        attributes: Vec::new(),
        stamps: 0,
    };
    presence.walk(|part| reader.take(part));
    reader.print.finish()
}

/// Takes the parts of a presence to a fingerprint.
struct Reader {
    print: Fingerprinter,
    /// The namespace of each open element.
    namespaces: Vec<Arc<str>>,
    /// The name and the attributes of the element that has just begun.
    name: String,
    attributes: Vec<(String, String)>,
    /// How many elements are open from a stamp of delayed delivery on; 0 outside of one.
    stamps: usize,
}

impl Reader {
    fn take(&mut self, part: Part<'_>) {
        match part {
            Part::Start(_) if self.stamps > 0 => self.stamps += 1,
            Part::End(_) if self.stamps > 0 => self.stamps -= 1,
            _ if self.stamps > 0 => {}
            Part::Start(name) => {
                name.clone_into(&mut self.name);
                self.attributes.clear();
                let around = self.namespaces.last().cloned();
                self.namespaces
                    .push(around.unwrap_or_else(|| Arc::from(ns::CLIENT)));
            }
            Part::Attribute("xmlns", namespace) => {
                if let Some(own) = self.namespaces.last_mut()
                    && **own != *namespace
                {
                    *own = Arc::from(namespace);
                }
            }
            Part::Attribute(name, value) => self.attributes.push((name.to_owned(), value.to_owned())),
            Part::Inside { .. } => self.enter(),
            Part::Text(text) => self.print.text(text),
            Part::End(_) => {
                self.namespaces.pop();
                if !self.namespaces.is_empty() {
                    self.print.close();
                }
            }
            Part::Other => {}
        }
    }

    fn enter(&mut self) {
        let namespace = self.namespaces.last().map_or(ns::CLIENT, AsRef::as_ref);
        match self.namespaces.len() {
            1 => {} // the presence itself: of its attributes only the sender and the type matter
            // Only stamps of the presence itself are passed over, not what looks like one deeper inside.
            2 if namespace == ns::DELAY || namespace == ns::DELAY_LEGACY => {
                self.namespaces.pop();
                self.stamps = 1;
            }
            _ => self.print.open(&self.name, namespace, &mut self.attributes),
        }
    }
}

/// Returns a presence as text in two halves, between which an address goes, the value of `to`. Returns `None` where only the
/// server can write it.
pub(super) fn halves(presence: &Place<'_>) -> Option<(String, String)> {
    let mut tree = Tree::default();
    let mut head = String::new();
    let is_whole = presence.walk(|part| match part {
        Part::Attribute("to", _) if tree.level() == 1 => {}
        Part::Inside { .. } if tree.level() == 1 => {
            tree.text.written(" to='");
            head = std::mem::take(&mut tree.text).finish();
            tree.text.written("'");
            tree.take(part);
        }
        part => tree.take(part),
    });
    let tail = tree.finish().filter(|_| is_whole)?;
    Some((head, tail))
}
