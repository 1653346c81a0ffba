//! The table keys we read, made once and kept.
//!
//! A key given as a string literal is made anew for every access, inside a protected call; a kept
//! one is pushed by reference, in less than half the time.

use mlua::prelude::*;

use super::raw;

macro_rules! keys {
    ($($field:ident $key:ident = $text:literal),* $(,)?) => {
        /// One kept string per key.
        #[derive(Debug)]
        #[expect(dead_code, reason = "as for `Key`")]
        pub(super) struct Keys {
            $(pub(super) $field: LuaString,)*
            list: LuaTable,
        }

        /// A key by its place in the list of them all.
        #[derive(Clone, Copy, Debug)]
        #[expect(dead_code, reason = "some are read in one way only, by a kept string or by their place")]
        pub(super) enum Key {
            $($key,)*
        }

        impl Keys {
            /// The place behind the last key, where the function stands that makes tables.
            pub(super) const FILLER: mlua::Integer = [$($text),*].len() as mlua::Integer + 1;

            pub(super) fn new(lua: &Lua) -> LuaResult<Keys> {
                let list = lua.create_sequence_from([$($text),*])?;
                list.raw_set(Keys::FILLER, raw::filler(lua)?)?;
                Ok(Keys {
                    $($field: lua.create_string($text)?,)*
                    list,
                })
            }
        }
    };
}

keys! {
    account Account = "account",
    acting Acting = "privileged_acting",
    answer Answer = "answer",
    approved Approved = "approved",
    ask Ask = "ask",
    attr Attr = "attr",
    condition Condition = "condition",
    delay Delay = "delay",
    from From = "from",
    groups Groups = "groups",
    head Head = "head",
    host Host = "host",
    id Id = "id",
    inner_id InnerId = "inner_id",
    jid Jid = "jid",
    name Name = "name",
    node Node = "node",
    persist Persist = "persist",
    rule Rule = "rule",
    stanza Stanza = "stanza",
    subscription Subscription = "subscription",
    tags Tags = "tags",
    tail Tail = "tail",
    text Text = "text",
    ticket Ticket = "ticket",
    to To = "to",
    r#type Type = "type",
    unread_blocklist UnreadBlocklist = "unread_blocklist",
    unless_administrator_of UnlessAdministratorOf = "unless_administrator_of",
    username Username = "username",
    ver Ver = "ver",
    version Version = "version",
    xmlns Xmlns = "xmlns",
}

impl Keys {
    /// All keys in one table, in order, and the function that makes tables.
    pub(super) fn list(&self) -> &LuaTable {
        &self.list
    }
}

impl Key {
    /// The place of the key in the list of them all, from 1.
    pub(super) fn number(self) -> mlua::Integer {
        self as mlua::Integer + 1
    }

    /// The key for the name of an attribute, if it is one we read.
    pub(super) fn attribute(name: &str) -> Option<Key> {
        Some(match name {
            "approved" => Key::Approved,
            "ask" => Key::Ask,
            "from" => Key::From,
            "id" => Key::Id,
            "jid" => Key::Jid,
            "name" => Key::Name,
            "node" => Key::Node,
            "subscription" => Key::Subscription,
            "to" => Key::To,
            "type" => Key::Type,
            "ver" => Key::Ver,
            "xmlns" => Key::Xmlns,
            _ => return None,
        })
    }
}
