//! The border to Lua. It reads tables into plain data, calls the core and returns plain values. It decides
//! nothing.
//!
//! Arguments are taken with strict types: mlua would turn a number into a string and the other way
//! round. A denial is returned, never raised. What is raised, on a wrong argument or a panic, is one
//! Lua error in the call that caused it (L2).

mod answers;
mod blocklists;
mod host;
mod judgements;
mod keys;
mod presence_stanza;
mod presences;
mod raw;
mod rosters;
mod saved;
mod server;
mod stanza;
mod tree;
mod values;

use mlua::prelude::*;

use crate::item::Subscription;

/// The version. The shim compares it with its own, so that files which were updated apart are noticed.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Lua this library was built for, as `_VERSION` names it.
const LUA: &str = if cfg!(feature = "lua54") {
    "5.4"
} else if cfg!(feature = "lua53") {
    "5.3"
} else if cfg!(feature = "lua52") {
    "5.2"
} else {
    "5.1"
};

/// `luaopen_privilege_native`: returns a table with the library's `version`, the `lua` it is for, `open`, which
/// makes one granting host, and the sets of subscriptions `includes_to` and `includes_from`.
#[mlua::lua_module]
fn privilege_native(lua: &Lua) -> LuaResult<LuaTable> {
    let exports = lua.create_table()?;
    exports.raw_set("version", VERSION)?;
    exports.raw_set("lua", LUA)?;
    exports.raw_set("open", lua.create_function(host::open)?)?;
    exports.raw_set("includes_to", subscriptions(lua, Subscription::includes_to)?)?;
    exports.raw_set("includes_from", subscriptions(lua, Subscription::includes_from)?)?;
    #[cfg(feature = "fault")]
    exports.raw_set("fault", lua.create_function(fault)?)?;
    Ok(exports)
}

/// Returns a set of subscriptions, by their names.
fn subscriptions(lua: &Lua, includes: fn(Subscription) -> bool) -> LuaResult<LuaTable> {
    let names = Subscription::ALL
        .into_iter()
        .filter(|subscription| includes(*subscription))
        .map(|subscription| (subscription.as_str(), true));
    lua.create_table_from(names)
}

/// Panics, so that a test can show that a panic stays on this side of the border (L2).
#[cfg(feature = "fault")]
#[expect(clippy::panic, reason = "the one place that is meant to panic")]
fn fault(_: &Lua, (): ()) -> LuaResult<()> {
    panic!("a fault on purpose")
}
