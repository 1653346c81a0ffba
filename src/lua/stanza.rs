//! The server's stanza tables and sessions, read without metamethods.

use std::borrow::Cow;

use mlua::prelude::*;

use super::keys::Key;
use super::raw::{Field, Place, Table};
use crate::element::Element;
use crate::ns;
use crate::request::{Sender, Session};

/// One element of a stanza: a table with `name`, `attr` and `tags`.
///
/// Whatever has the wrong type reads as absent, which the core refuses.
pub(super) struct LuaElement<'s> {
    /// `None` for something else in the place of an element: it has no name, and nothing in it.
    table: Option<Table<'s>>,
    /// The element's own, or else that around it.
    namespace: Cow<'static, str>,
}

impl<'s> LuaElement<'s> {
    /// A stanza, in the namespace of stanzas unless it says otherwise.
    pub(super) fn stanza(table: Table<'s>) -> LuaElement<'s> {
        LuaElement::inside(Cow::Borrowed(ns::CLIENT), table)
    }

    /// An element inside one with the namespace `around`.
    fn inside(around: Cow<'static, str>, table: Table<'s>) -> LuaElement<'s> {
        // Those we know take no memory of their own.
        const KNOWN: [&str; 6] = [
            ns::CLIENT,
            ns::PRIVILEGE,
            ns::FORWARD,
            ns::ROSTER,
            ns::PRIVILEGE_1,
            ns::DELAY,
        ];
        let own = table.inner(Key::Attr, |attr| attr.field(Key::Xmlns, &KNOWN));
        let namespace = match own.unwrap_or(Field::Absent) {
            Field::Text(own) => own,
            Field::Absent => around,
            // Something else in the place of a namespace is not a missing one.
            Field::Other => Cow::Borrowed(""),
        };
        LuaElement {
            table: Some(table),
            namespace,
        }
    }

    /// The table itself, to be handed back; `None` where it is none.
    pub(super) fn place(&self) -> Option<&Place<'s>> {
        self.table.as_deref()
    }
}

/// The string under a kept key; anything else reads as absent.
pub(super) fn string(table: &LuaTable, key: &LuaString) -> Option<String> {
    match table.raw_get(key) {
        Ok(LuaValue::String(text)) => Some(owned(&text)),
        _ => None,
    }
}

/// Calls `each` with every pair of a table.
pub(super) fn each_pair(table: &LuaTable, mut each: impl FnMut(LuaValue, LuaValue)) {
    // The closure never fails, and neither does reading a table.
    let _ = table.for_each(|key: LuaValue, value: LuaValue| {
        each(key, value);
        Ok(())
    });
}

/// A Lua string as text; bytes that are no UTF-8 become U+FFFD, which no address and no name of ours
/// contains.
pub(super) fn owned(text: &LuaString) -> String {
    match text.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) => text.to_string_lossy(),
    }
}

impl Element for LuaElement<'_> {
    fn name(&self) -> String {
        let name = self.table.as_ref().and_then(|table| table.string(Key::Name));
        name.unwrap_or_default()
    }

    fn has_name(&self, name: &str) -> bool {
        self.table
            .as_ref()
            .is_some_and(|table| table.holds(Key::Name, name))
    }

    fn namespace(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.namespace)
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let table = self.table.as_ref()?;
        let key = Key::attribute(name)?;
        table.inner(Key::Attr, |attr| attr.string(key)).flatten()
    }

    fn child_count(&self) -> usize {
        let tags = self
            .table
            .as_ref()
            .and_then(|table| table.inner(Key::Tags, |tags| tags.len()));
        tags.unwrap_or(0)
    }

    fn child(&self, index: usize) -> Option<Self> {
        let child = self.table.as_ref()?.inner(Key::Tags, |tags| {
            (index < tags.len()).then(|| tags.item(index + 1))
        });
        Some(match child.flatten()? {
            Some(child) => LuaElement::inside(self.namespace.clone(), child),
            // Counted as a child, so it must not be passed over as if it were none.
            None => LuaElement {
                table: None,
                namespace: Cow::Borrowed(""),
            },
        })
    }

    fn text(&self) -> String {
        let Some(table) = &self.table else {
            return String::new();
        };
        (1..=table.len())
            .filter_map(|index| table.item_string(index))
            .collect()
    }
}

/// Who sent a stanza, read from its session and its `from`; see [`Sender`].
#[derive(Debug)]
pub(super) struct Origin {
    session_type: Cow<'static, str>,
    host: String,
    username: Option<String>,
    from: String,
    acting: bool,
}

impl Origin {
    pub(super) fn read(session: &Place<'_>, stanza: &LuaElement<'_>) -> Origin {
        let session_type = match session.field(Key::Type, &["component", "c2s"]) {
            Field::Text(session_type) => session_type,
            Field::Absent | Field::Other => Cow::Borrowed(""),
        };
        Origin {
            // A component has none.
            username: (session_type != "component")
                .then(|| session.string(Key::Username))
                .flatten(),
            session_type,
            host: session.string(Key::Host).unwrap_or_default(),
            from: stanza.attribute("from").unwrap_or_default(),
            acting: session.metatable_has(Key::Acting)
                // The sessions of version 0.1.0 have the mark themselves. One may outlive a reload, in a handler that waits.
                || !matches!(session.field(Key::Acting, &[]), Field::Absent),
        }
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        Sender {
            session: Session::new(&self.session_type, self.username.as_deref()),
            host: &self.host,
            from: &self.from,
            acting: self.acting,
        }
    }
}
