//! The parts of a stanza of the server as XML text.

use super::raw::Part;
use crate::wire::xml::Writer;

/// The text of a stanza is written down to this level. The server writes a deeper one, as far as it can.
const LEVELS: usize = 100;

/// A writer of the parts of elements.
#[derive(Default)]
pub(super) struct Tree {
    /// The text so far.
    pub(super) text: Writer,
    level: usize,
    /// Whether the element that has just begun has nothing inside.
    is_empty: bool,
    /// How many attributes with a namespace there are so far. Each has a prefix of its own.
    prefixes: usize,
    has_failed: bool,
}

impl Tree {
    /// A writer that goes on after some text.
    pub(super) fn new(text: Writer) -> Tree {
        Tree {
            text,
            ..Tree::default()
        }
    }

    /// How many elements are open.
    pub(super) fn level(&self) -> usize {
        self.level
    }

    /// Writes one part.
    pub(super) fn take(&mut self, part: Part<'_>) {
        if self.has_failed {
            return;
        }
        match part {
            Part::Start(name) => {
                self.level += 1;
                self.has_failed = name.is_empty() || self.level > LEVELS;
                self.text.open(name);
            }
            Part::Attribute(name, value) => self.attribute(name, value),
            Part::Inside { is_empty: true } => {
                self.is_empty = true;
                self.text.close_empty();
            }
            Part::Inside { is_empty: false } => self.text.content(),
            Part::Text(text) => self.text.text(text),
            Part::End(name) => {
                self.level -= 1;
                if !std::mem::take(&mut self.is_empty) {
                    self.text.close(name);
                }
            }
            Part::Other => self.has_failed = true,
        }
    }

    /// Writes an attribute. The server keeps one with a namespace under the namespace, a byte 1, and its name.
    fn attribute(&mut self, name: &str, value: &str) {
        match name.split_once('\u{1}') {
            None => self.text.attribute(name, value),
            Some((namespace, name)) => {
                self.prefixes += 1;
                let prefix = format!("ns{}", self.prefixes);
                self.text.attribute(&format!("xmlns:{prefix}"), namespace);
                self.text.attribute(&format!("{prefix}:{name}"), value);
            }
        }
    }

    /// Returns the text; `None` where a part was no part of a stanza, or an element was too deep.
    pub(super) fn finish(self) -> Option<String> {
        (!self.has_failed).then(|| self.text.finish())
    }
}
