//! The table keys we read, made once and kept.
//!
//! A key given as a string literal is made anew for every access, inside a protected call; a kept
//! one is pushed by reference, in less than half the time.

use mlua::prelude::*;

macro_rules! keys {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// One kept string per key.
        #[derive(Debug)]
        pub(super) struct Keys {
            $(pub(super) $field: LuaString,)*
        }

        impl Keys {
            pub(super) fn new(lua: &Lua) -> LuaResult<Keys> {
                Ok(Keys { $($field: lua.create_string($text)?,)* })
            }
        }
    };
}

keys! {
    acting = "privileged_acting",
    approved = "approved",
    ask = "ask",
    attr = "attr",
    condition = "condition",
    delay = "delay",
    from = "from",
    groups = "groups",
    host = "host",
    id = "id",
    inner_id = "inner_id",
    jid = "jid",
    name = "name",
    persist = "persist",
    rule = "rule",
    subscription = "subscription",
    tags = "tags",
    text = "text",
    to = "to",
    r#type = "type",
    unless_administrator_of = "unless_administrator_of",
    username = "username",
    ver = "ver",
    version = "version",
    xmlns = "xmlns",
}

impl Keys {
    /// The kept string for the name of an attribute, if it is one we keep.
    pub(super) fn attribute(&self, name: &str) -> Option<&LuaString> {
        Some(match name {
            "approved" => &self.approved,
            "ask" => &self.ask,
            "from" => &self.from,
            "id" => &self.id,
            "jid" => &self.jid,
            "name" => &self.name,
            "subscription" => &self.subscription,
            "to" => &self.to,
            "type" => &self.r#type,
            "ver" => &self.ver,
            "xmlns" => &self.xmlns,
            _ => return None,
        })
    }
}
