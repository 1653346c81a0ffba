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

/// The content of a new table.
struct Content<'c> {
    texts: &'c [(Key, Option<&'c str>)],
    /// The keys of the tables that the function gets as arguments.
    tables: [Option<Key>; 2],
    size: c_int,
}

/// The function that makes the tables of [`Stack::new_table`]. It is kept, since to make a function may fail.
pub(in super::super) fn filler(lua: &Lua) -> LuaResult<LuaFunction> {
    // SAFETY: it is called by `Stack::new_table` only, and Lua code never gets it.
    unsafe { lua.create_c_function(fill) }
}

/// Called with the list of the keys, two tables or nil, and a [`Content`]. Returns the new table.
///
/// # Safety
/// It has to be called with these values, in a protected call.
unsafe extern "C-unwind" fn fill(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the caller waits, so the content is there. A function has room for twenty values. What is called may raise where
    // memory ends. Then Lua jumps out of here, and nothing here needs to be dropped.
    unsafe {
        let content: &Content<'_> = &*ffi::lua_touserdata(state, 4).cast();
        ffi::lua_createtable(state, 0, content.size);
        for (key, text) in content.texts {
            if let Some(text) = text {
                ffi::lua_rawgeti(state, 1, key.number());
                ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                ffi::lua_rawset(state, 5);
            }
        }
        for (index, key) in (2..).zip(content.tables) {
            if let Some(key) = key {
                ffi::lua_rawgeti(state, 1, key.number());
                ffi::lua_pushvalue(state, index);
                ffi::lua_rawset(state, 5);
            }
        }
    }
    1
}

impl<'l> Stack<'l> {
    /// Makes a table with these strings, and with tables that have a place.
    ///
    /// A field that mlua sets by itself takes a protected call, and so does each string. Here one does for all.
    pub(in super::super) fn new_table<'s>(
        &'s self,
        texts: &[(Key, Option<&str>)],
        tables: [Option<(Key, &Place<'_>)>; 2],
    ) -> LuaResult<Table<'s>> {
        let strings = texts.iter().filter(|(_, text)| text.is_some()).count();
        let content = Content {
            texts,
            tables: tables.map(|table| table.map(|(key, _)| key)),
            size: c_int::try_from(strings + tables.iter().flatten().count()).map_err(LuaError::external)?,
        };
        let state = self.state;
        // SAFETY: there is room for six values. The content lives until the call has returned.
        unsafe {
            ffi::lua_rawgeti(state, self.base + 1, Keys::FILLER);
            ffi::lua_pushvalue(state, self.base + 1);
            for table in tables {
                match table {
                    Some((_, place)) => ffi::lua_pushvalue(state, place.index),
                    None => ffi::lua_pushnil(state),
                }
            }
            ffi::lua_pushlightuserdata(state, (&raw const content).cast_mut().cast());
            let is_made = ffi::lua_pcall(state, 4, 1, 0) == ffi::LUA_OK;
            // If it failed, its message stands there.
            let made = self.take_table().filter(|_| is_made);
            made.ok_or_else(|| LuaError::MemoryError("no memory for an answer".to_owned()))
        }
    }

    /// Returns a table to the caller of this call, in the place of an argument that is not read any more.
    pub(in super::super) fn hand_back(&self, table: &Place<'_>, argument: Argument) -> LuaResult<Returned> {
        let Argument { index } = argument;
        if index > self.base {
            return Err(LuaError::StackError);
        }
        // SAFETY: there is room for one value. `argument` has checked the index.
        unsafe {
            ffi::lua_pushvalue(self.state, table.index);
            ffi::lua_replace(self.state, index);
        }
        Ok(Returned { index })
    }
}

/// A table that is returned from the call. No handle is made for it.
pub(in super::super) struct Returned {
    index: c_int,
}

/// The answer to a question of the kind "may I?": a table; or nil, and a denial.
pub(in super::super) enum Answer {
    Yes(Returned),
    No(Returned),
}

impl IntoLuaMulti for Answer {
    fn into_lua_multi(self, _: &Lua) -> LuaResult<LuaMultiValue> {
        Err(LuaError::StackError) // it has no meaning outside of its call
    }

    unsafe fn push_into_stack_multi(self, raw: &RawLua) -> LuaResult<c_int> {
        let (count, Returned { index }) = match self {
            Answer::Yes(returned) => (1, returned),
            Answer::No(returned) => (2, returned),
        };
        let state = raw.state();
        // SAFETY: an index below the top is one of a value, and there is room for two.
        unsafe {
            if ffi::lua_gettop(state) < index || ffi::lua_checkstack(state, 2) == 0 {
                return Err(LuaError::StackError);
            }
            if count == 2 {
                ffi::lua_pushnil(state);
            }
            ffi::lua_pushvalue(state, index);
        }
        Ok(count)
    }
}
