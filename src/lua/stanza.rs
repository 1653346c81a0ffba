//! The server's stanza tables and sessions, read without metamethods.

use std::rc::Rc;

use mlua::prelude::*;

use super::keys::Keys;
use crate::envelope::Tag;
use crate::matrix::Sender;
use crate::ns;

/// One element of a stanza: a table with `name`, `attr` and `tags`.
///
/// Whatever has the wrong type reads as absent, which the core refuses.
#[derive(Clone, Debug)]
pub(super) struct LuaTag {
    /// `None` for something else in the place of an element: it has no name, and nothing in it.
    table: Option<LuaTable>,
    attr: Option<LuaTable>,
    tags: Option<LuaTable>,
    /// The namespace of the parent, for an element without one of its own.
    inherited: Option<String>,
    keys: Rc<Keys>,
}

impl LuaTag {
    /// The element in `table`; `inherited` is the namespace around it, `None` for that of stanzas.
    pub(super) fn new(table: LuaTable, inherited: Option<String>, keys: &Rc<Keys>) -> LuaTag {
        let attr = sub_table(&table, &keys.attr);
        let tags = sub_table(&table, &keys.tags);
        LuaTag {
            table: Some(table),
            attr,
            tags,
            inherited,
            keys: Rc::clone(keys),
        }
    }

    /// The table itself, to be handed back.
    pub(super) fn into_table(self) -> Option<LuaTable> {
        self.table
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

/// A Lua string as text; bytes that are no UTF-8 become U+FFFD, which no address and no name of ours
/// contains.
pub(super) fn owned(text: &LuaString) -> String {
    match text.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) => text.to_string_lossy(),
    }
}

impl Tag for LuaTag {
    fn name(&self) -> String {
        self.table
            .as_ref()
            .and_then(|table| string(table, &self.keys.name))
            .unwrap_or_default()
    }

    fn namespace(&self) -> String {
        self.attribute("xmlns")
            .or_else(|| self.inherited.clone())
            .unwrap_or_else(|| ns::CLIENT.to_owned())
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let attr = self.attr.as_ref()?;
        self.keys.attribute(name).and_then(|key| string(attr, key))
    }

    fn child_count(&self) -> usize {
        self.tags.as_ref().map_or(0, LuaTable::raw_len)
    }

    fn child(&self, index: usize) -> Option<LuaTag> {
        match self.tags.as_ref()?.raw_get(index + 1) {
            Ok(LuaValue::Table(table)) => Some(LuaTag::new(table, Some(self.namespace()), &self.keys)),
            // Counted as a child, so it must not be passed over as if it were none.
            _ => Some(LuaTag {
                table: None,
                attr: None,
                tags: None,
                inherited: None,
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
    pub(super) fn read(session: &LuaTable, stanza: &LuaTag, keys: &Keys) -> Origin {
        Origin {
            session_type: string(session, &keys.r#type).unwrap_or_default(),
            host: string(session, &keys.host).unwrap_or_default(),
            username: string(session, &keys.username),
            from: stanza.attribute("from").unwrap_or_default(),
            acting: !matches!(session.raw_get(&keys.acting), Ok(LuaValue::Nil)),
        }
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        Sender {
            session_type: &self.session_type,
            host: &self.host,
            username: self.username.as_deref(),
            from: &self.from,
            acting: self.acting,
        }
    }

    /// The bare JID of the session, which is whom a stanza without `to` is for.
    pub(super) fn own_bare(&self) -> Option<String> {
        self.username
            .as_ref()
            .map(|username| format!("{username}@{}", self.host))
    }
}
