//! Tables that come as arguments, and tables that are returned, each without a handle of mlua's on the way.

#![expect(unsafe_code, reason = "a part of the module that has it: see there")]

use std::ffi::c_int;

use mlua::ffi;
use mlua::prelude::*;
use mlua::state::RawLua;

use super::super::keys::{Key, Keys};
use super::super::values;
use super::{Place, Stack, Table};

/// A table that is an argument of the call. No handle is made for it.
pub(in super::super) struct Argument {
    index: c_int,
}

impl FromLua for Argument {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Argument> {
        Err(values::wrong("table", &value))
    }

    unsafe fn from_stack(index: c_int, raw: &RawLua) -> LuaResult<Argument> {
        // SAFETY: the caller names a place on the stack.
        unsafe {
            if ffi::lua_type(raw.state(), index) == ffi::LUA_TTABLE {
                let index = ffi::lua_absindex(raw.state(), index);
                return Ok(Argument { index });
            }
            Err(values::wrong("table", &LuaValue::from_stack(index, raw)?))
        }
    }
}

impl Stack<'_> {
    /// Holds a table that is an argument of this call.
    pub(in super::super) fn argument(&self, argument: &Argument) -> LuaResult<Table<'_>> {
        if argument.index > self.base {
            return Err(LuaError::StackError);
        }
        // SAFETY: there is room for one value. An argument of another call may name anything: then this is no table.
        unsafe { ffi::lua_pushvalue(self.state, argument.index) };
        self.take_table().ok_or(LuaError::StackError)
    }
}

/// A new table with these strings, and with a table that has a place.
///
/// A field that mlua sets by itself takes a protected call, and so does each string. Here one does for all.
pub(in super::super) fn new_table(
    lua: &Lua,
    keys: &Keys,
    texts: &[(Key, Option<&str>)],
    table: Option<(Key, &Place<'_>)>,
) -> LuaResult<LuaTable> {
    let size = texts.iter().filter(|(_, text)| text.is_some()).count() + usize::from(table.is_some());
    let size = c_int::try_from(size).map_err(LuaError::external)?;
    let fill = |state: *mut ffi::lua_State| {
        // SAFETY: this is called with the keys and the place as the first values of a frame of its own, with room for
        // twenty. What it calls may raise where memory ends. Then Lua jumps out of here, and nothing here needs to be dropped.
        unsafe {
            ffi::lua_createtable(state, 0, size);
            for (key, text) in texts {
                if let Some(text) = text {
                    ffi::lua_rawgeti(state, 1, key.number());
                    ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                    ffi::lua_rawset(state, 3);
                }
            }
            if let Some((key, _)) = table {
                ffi::lua_rawgeti(state, 1, key.number());
                ffi::lua_pushvalue(state, 2);
                ffi::lua_rawset(state, 3);
            }
            // All that is left on the stack is returned.
            ffi::lua_replace(state, 1);
            ffi::lua_settop(state, 1);
        }
    };
    // SAFETY: see there.
    unsafe { lua.exec_raw((keys.list(), table.map(|(_, place)| place)), fill) }
}

impl IntoLua for &Place<'_> {
    fn into_lua(self, _: &Lua) -> LuaResult<LuaValue> {
        self.handle().map(LuaValue::Table)
    }

    unsafe fn push_into_stack(self, _: &RawLua) -> LuaResult<()> {
        // SAFETY: the caller has made room.
        unsafe { ffi::lua_pushvalue(self.stack.state, self.index) };
        Ok(())
    }
}
