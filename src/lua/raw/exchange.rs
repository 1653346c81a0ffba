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
#[derive(Default)]
pub(in super::super) struct Content<'c> {
    /// Strings, by key. `None` is left out.
    pub(in super::super) texts: &'c [(Key, Option<&'c str>)],
    /// Tables that have a place, by key.
    pub(in super::super) tables: [Option<(Key, &'c Place<'c>)>; 2],
    /// A number, and its key.
    pub(in super::super) number: Option<(Key, ffi::lua_Integer)>,
    /// A list of numbers.
    pub(in super::super) list: &'c [u32],
}

impl Content<'_> {
    /// How many fields have a key.
    fn fields(&self) -> usize {
        let texts = self.texts.iter().filter(|(_, text)| text.is_some()).count();
        texts + self.tables.iter().flatten().count() + usize::from(self.number.is_some())
    }
}

/// The argument of [`fill`].
struct Order<'c> {
    content: &'c Content<'c>,
    /// How many values the table has room for: those of the list, and those with a key.
    room: (c_int, c_int),
}

/// The function that makes the tables of [`Stack::new_table`]. It is kept, since to make a function may fail.
pub(in super::super) fn filler(lua: &Lua) -> LuaResult<LuaFunction> {
    // SAFETY: it is called by `Stack::new_table` only, and Lua code never gets it.
    unsafe { lua.create_c_function(fill) }
}

/// Called with the list of the keys, two tables or nil, and an [`Order`]. Returns the new table.
///
/// # Safety
/// It has to be called with these values, in a protected call.
unsafe extern "C-unwind" fn fill(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: the caller waits, so the content is there. A function has room for twenty values. What is called may raise where
    // memory ends. Then Lua jumps out of here, and nothing here needs to be dropped.
    unsafe {
        let Order { content, room } = &*ffi::lua_touserdata(state, 4).cast::<Order<'_>>();
        ffi::lua_createtable(state, room.0, room.1);
        for (key, text) in content.texts {
            if let Some(text) = text {
                ffi::lua_rawgeti(state, 1, key.number());
                ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
                ffi::lua_rawset(state, 5);
            }
        }
        for (index, key) in (2..).zip(content.tables) {
            if let Some((key, _)) = key {
                ffi::lua_rawgeti(state, 1, key.number());
                ffi::lua_pushvalue(state, index);
                ffi::lua_rawset(state, 5);
            }
        }
        if let Some((key, number)) = content.number {
            ffi::lua_rawgeti(state, 1, key.number());
            ffi::lua_pushinteger(state, number);
            ffi::lua_rawset(state, 5);
        }
        for (index, number) in (1..).zip(content.list) {
            ffi::lua_pushinteger(state, (*number).into());
            ffi::lua_rawseti(state, 5, index);
        }
    }
    1
}

impl Stack<'_> {
    /// Makes a table with this content.
    ///
    /// A field that mlua sets by itself takes a protected call, and so does each string. Here one does for all.
    pub(in super::super) fn new_table(&self, content: &Content<'_>) -> LuaResult<Table<'_>> {
        let room = |size: usize| c_int::try_from(size).map_err(LuaError::external);
        let order = Order {
            content,
            room: (room(content.list.len())?, room(content.fields())?),
        };
        let state = self.state;
        // SAFETY: there is room for six values. The order lives until the call has returned.
        unsafe {
            ffi::lua_rawgeti(state, self.base + 1, Keys::FILLER);
            ffi::lua_pushvalue(state, self.base + 1);
            for table in &content.tables {
                match table {
                    Some((_, place)) => ffi::lua_pushvalue(state, place.index),
                    None => ffi::lua_pushnil(state),
                }
            }
            ffi::lua_pushlightuserdata(state, (&raw const order).cast_mut().cast());
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
        let state = raw.state();
        // SAFETY: there is room for two values.
        unsafe {
            if ffi::lua_checkstack(state, 2) == 0 {
                return Err(LuaError::StackError);
            }
            match self {
                Answer::Yes(returned) => returned.push_into_stack(raw).map(|()| 1),
                Answer::No(returned) => {
                    ffi::lua_pushnil(state);
                    returned.push_into_stack(raw).map(|()| 2)
                }
            }
        }
    }
}

impl IntoLua for Returned {
    fn into_lua(self, _: &Lua) -> LuaResult<LuaValue> {
        Err(LuaError::StackError) // it has no meaning outside of its call
    }

    unsafe fn push_into_stack(self, raw: &RawLua) -> LuaResult<()> {
        let state = raw.state();
        // SAFETY: an index up to the top is that of a value. The caller has made room.
        unsafe {
            if ffi::lua_gettop(state) < self.index {
                return Err(LuaError::StackError);
            }
            ffi::lua_pushvalue(state, self.index);
        }
        Ok(())
    }
}
