//! An element of a stanza, wherever it is kept.
//!
//! The server keeps stanzas in Lua tables. Tests, fuzzers and benchmarks keep them in a [`minidom::Element`]. The
//! rules read both through one trait, so that every rule can be tested from XML text.

use std::borrow::Cow;

/// One element of a stanza.
pub trait Element: Sized {
    /// The element name.
    fn name(&self) -> String;
    /// Whether the element has this name.
    fn has_name(&self, name: &str) -> bool {
        self.name() == name
    }
    /// The namespace. A stanza of the stream itself is in `jabber:client`.
    fn namespace(&self) -> Cow<'_, str>;
    /// The value of an attribute without a namespace; `None` if it is absent.
    fn attribute(&self, name: &str) -> Option<String>;
    /// The number of child elements.
    fn child_count(&self) -> usize;
    /// The child element with this index, from 0; `None` past the end.
    fn child(&self, index: usize) -> Option<Self>;
    /// The text directly inside, without that of child elements.
    fn text(&self) -> String;

    /// Whether this element has that name and that namespace.
    fn is(&self, name: &str, namespace: &str) -> bool {
        self.namespace() == namespace && self.has_name(name)
    }
}

/// Returns the child elements of an element, in order.
pub fn children<T: Element>(element: &T) -> impl Iterator<Item = T> {
    (0..element.child_count()).map_while(|index| element.child(index))
}

impl Element for &minidom::Element {
    fn name(&self) -> String {
        minidom::Element::name(self).to_owned()
    }

    fn namespace(&self) -> Cow<'_, str> {
        Cow::Owned(self.ns())
    }

    fn attribute(&self, name: &str) -> Option<String> {
        self.attr(name).map(str::to_owned)
    }

    fn child_count(&self) -> usize {
        self.children().count()
    }

    fn child(&self, index: usize) -> Option<Self> {
        self.children().nth(index)
    }

    fn text(&self) -> String {
        minidom::Element::text(self)
    }
}
