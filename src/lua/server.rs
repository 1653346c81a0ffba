//! The server's own rules for addresses, and what it knows of its hosts.

use mlua::prelude::*;

use crate::address::Normaliser;
use crate::config::Server;

/// The server's own rules and knowledge, called when needed.
pub(super) struct LuaServer {
    /// `util.jid.prep`
    pub(super) jid_prep: LuaFunction,
    /// `util.encodings.stringprep.nodeprep`
    pub(super) nodeprep: LuaFunction,
    /// Whether a domain is a host or component of this server.
    pub(super) serves: LuaFunction,
}

fn prepped(function: &LuaFunction, raw: &str) -> Option<String> {
    match function.call::<LuaValue>(raw) {
        Ok(LuaValue::String(text)) => text.to_str().ok().map(|text| text.to_owned()),
        _ => None,
    }
}

impl Normaliser for LuaServer {
    fn jid(&self, raw: &str) -> Option<String> {
        prepped(&self.jid_prep, raw)
    }

    fn username(&self, raw: &str) -> Option<String> {
        // An empty or divided localpart passes the server's nodeprep, but is nobody's.
        prepped(&self.nodeprep, raw).filter(|name| !name.is_empty() && !name.contains(['@', '/']))
    }
}

impl Server for LuaServer {
    fn serves(&self, domain: &str) -> bool {
        matches!(self.serves.call::<LuaValue>(domain), Ok(LuaValue::Boolean(true)))
    }
}
