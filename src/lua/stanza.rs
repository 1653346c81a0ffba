//! The server's stanza tables and sessions, read without metamethods.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use mlua::prelude::*;

use super::keys::Keys;
use crate::element::Element;
use crate::ns;
use crate::request::{Sender, Session};

/// One element of a stanza: a table with `name`, `attr` and `tags`.
///
/// Whatever has the wrong type reads as absent, which the core refuses.
#[derive(Clone, Debug)]
pub(super) struct LuaElement {
    /// `None` for something else in the place of an element: it has no name, and nothing in it.
    table: Option<LuaTable>,
    attr: Option<LuaTable>,
    /// The element's own, or else that around it.
    namespace: Cow<'static, str>,
    /// The list of child elements, once it was looked for.
    tags: OnceCell<Option<LuaTable>>,
    keys: Rc<Keys>,
}

impl LuaElement {
    /// A stanza, in the namespace of stanzas unless it says otherwise.
    pub(super) fn stanza(table: LuaTable, keys: &Rc<Keys>) -> LuaElement {
        LuaElement::inside(Cow::Borrowed(ns::CLIENT), table, keys)
    }

    /// An element inside one with the namespace `around`.
    fn inside(around: Cow<'static, str>, table: LuaTable, keys: &Rc<Keys>) -> LuaElement {
        let attr = sub_table(&table, &keys.attr);
        let own = attr.as_ref().and_then(|attr| match attr.raw_get(&keys.xmlns) {
            Ok(LuaValue::String(text)) => Some(namespace(&text)),
            Ok(LuaValue::Nil) => None,
            // Something else in the place of a namespace is not a missing one.
            _ => Some(Cow::Borrowed("")),
        });
        LuaElement {
            table: Some(table),
            attr,
            namespace: own.unwrap_or(around),
            tags: OnceCell::new(),
            keys: Rc::clone(keys),
        }
    }

    fn tags(&self) -> Option<&LuaTable> {
        self.tags
            .get_or_init(|| {
                self.table
                    .as_ref()
                    .and_then(|table| sub_table(table, &self.keys.tags))
            })
            .as_ref()
    }

    /// The table itself, to be handed back.
    pub(super) fn into_table(self) -> Option<LuaTable> {
        self.table
    }
}

/// A namespace; those we know take no memory of their own.
fn namespace(text: &LuaString) -> Cow<'static, str> {
    const KNOWN: [&str; 6] = [
        ns::CLIENT,
        ns::PRIVILEGE,
        ns::FORWARD,
        ns::ROSTER,
        ns::PRIVILEGE_1,
        ns::DELAY,
    ];
    let bytes = text.as_bytes();
    match KNOWN.into_iter().find(|known| known.as_bytes() == &*bytes) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(owned(text)),
    }
}

fn sub_table(table: &LuaTable, key: &LuaString) -> Option<LuaTable> {
    match table.raw_get(key) {
        Ok(LuaValue::Table(table)) => Some(table),
        _ => None,
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

impl Element for LuaElement {
    fn name(&self) -> String {
        self.table
            .as_ref()
            .and_then(|table| string(table, &self.keys.name))
            .unwrap_or_default()
    }

    fn has_name(&self, name: &str) -> bool {
        let found = self.table.as_ref().map(|table| table.raw_get(&self.keys.name));
        matches!(found, Some(Ok(LuaValue::String(found))) if found == name)
    }

    fn namespace(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.namespace)
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let attr = self.attr.as_ref()?;
        self.keys.attribute(name).and_then(|key| string(attr, key))
    }

    fn child_count(&self) -> usize {
        self.tags().map_or(0, LuaTable::raw_len)
    }

    fn child(&self, index: usize) -> Option<LuaElement> {
        match self.tags()?.raw_get(index + 1) {
            Ok(LuaValue::Table(table)) => Some(LuaElement::inside(self.namespace.clone(), table, &self.keys)),
            // Counted as a child, so it must not be passed over as if it were none.
            _ => Some(LuaElement {
                table: None,
                attr: None,
                namespace: Cow::Borrowed(""),
                tags: OnceCell::new(),
                keys: Rc::clone(&self.keys),
            }),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(table) = &self.table {
            for index in 1..=table.raw_len() {
                if let Ok(LuaValue::String(part)) = table.raw_get(index) {
                    text.push_str(&owned(&part));
                }
            }
        }
        text
    }
}

/// Who sent a stanza, read from its session and its `from`; see [`Sender`].
#[derive(Debug)]
pub(super) struct Origin {
    session_type: String,
    host: String,
    username: Option<String>,
    from: String,
    acting: bool,
}

impl Origin {
    pub(super) fn read(session: &LuaTable, stanza: &LuaElement, keys: &Keys) -> Origin {
        let session_type = string(session, &keys.r#type).unwrap_or_default();
        let is_component = session_type == "component";
        Origin {
            session_type,
            host: string(session, &keys.host).unwrap_or_default(),
            // A component has none.
            username: if is_component {
                None
            } else {
                string(session, &keys.username)
            },
            from: stanza.attribute("from").unwrap_or_default(),
            acting: !matches!(session.raw_get(&keys.acting), Ok(LuaValue::Nil)),
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
