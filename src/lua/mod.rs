//! The border to Lua. Reads tables into plain data, calls the core, returns plain values; decides
//! nothing.
//!
//! Arguments are taken with strict types: mlua would turn a number into a string and the other way
//! round. A denial is returned, never raised. What is raised, on a wrong argument or a panic, is one
//! Lua error in the call that caused it (L2).

mod convert;
mod instance;
mod keys;
mod presences;
mod rosters;
mod stanza;

use mlua::prelude::*;

/// What the shim compares with its own version, so that files updated apart are noticed.
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

/// `luaopen_privilege_native`: gives a table with the library's `version`, the `lua` it is for,
/// `open`, which makes the core of one granting host, and `presence_memory`, which makes the memory of
/// one connection.
#[mlua::lua_module]
fn privilege_native(lua: &Lua) -> LuaResult<LuaTable> {
    let exports = lua.create_table()?;
    exports.raw_set("version", VERSION)?;
    exports.raw_set("lua", LUA)?;
    exports.raw_set("open", lua.create_function(instance::open)?)?;
    exports.raw_set("presence_memory", lua.create_function(presences::memory)?)?;
    exports.raw_set("fault", lua.create_function(fault)?)?;
    Ok(exports)
}

/// Panics, so that a test can show that a panic stays on this side of the border (L2).
#[expect(clippy::panic, reason = "the one place that is meant to panic")]
fn fault(_: &Lua, (): ()) -> LuaResult<()> {
    panic!("a fault on purpose")
}
