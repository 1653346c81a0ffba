//! Strings and lists of numbers that come as arguments, each without a handle of mlua's.

#![expect(unsafe_code, reason = "a part of the module that has it: see there")]

use std::ffi::c_int;

use mlua::ffi;
use mlua::prelude::*;
use mlua::state::RawLua;

use super::super::values::{Text, Viewers};

impl FromLua for Text {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Text> {
        Text::read(&value)
    }

    unsafe fn from_stack(index: c_int, raw: &RawLua) -> LuaResult<Text> {
        let state = raw.state();
        // SAFETY: the caller names a place on the stack. A string is read where it is, and nothing else happens meanwhile.
        unsafe {
            if ffi::lua_type(state, index) == ffi::LUA_TSTRING {
                let mut length = 0;
                let start = ffi::lua_tolstring(state, index, &raw mut length);
                if let Ok(text) = str::from_utf8(std::slice::from_raw_parts(start.cast(), length)) {
                    return Ok(Text(text.to_owned()));
                }
            }
            Text::read(&LuaValue::from_stack(index, raw)?)
        }
    }
}

impl FromLua for Viewers {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Viewers> {
        Viewers::read(&value)
    }

    unsafe fn from_stack(index: c_int, raw: &RawLua) -> LuaResult<Viewers> {
        // SAFETY: the caller names a place on the stack.
        unsafe {
            if let Some(numbers) = numbers(raw.state(), index) {
                return Ok(Viewers(numbers));
            }
            Viewers::read(&LuaValue::from_stack(index, raw)?)
        }
    }
}

/// Reads a list of numbers; `None` where anything else is in its place, or in the list.
///
/// # Safety
/// There has to be a value at `index`.
unsafe fn numbers(state: *mut ffi::lua_State, index: c_int) -> Option<Vec<u32>> {
    // SAFETY: room is made for one value, which is popped again. No metamethod is asked.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TTABLE || ffi::lua_checkstack(state, 1) == 0 {
            return None;
        }
        let table = ffi::lua_absindex(state, index);
        let length = ffi::lua_rawlen(state, table);
        let mut numbers = Vec::with_capacity(length);
        for place in 1..=ffi::lua_Integer::try_from(length).ok()? {
            let is_number = ffi::lua_rawgeti(state, table, place) == ffi::LUA_TNUMBER;
            let number = ffi::lua_tonumber(state, -1);
            ffi::lua_settop(state, -2);
            // Every such number is whole and exact as a float.
            let whole = Some(number as u32).filter(|whole| is_number && f64::from(*whole) == number);
            numbers.push(whole?);
        }
        Some(numbers)
    }
}
