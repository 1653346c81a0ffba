//! The tables of the server, read where they are: on the Lua stack. The one module with `unsafe`.
//!
//! A handle of mlua's for every table and every string on the way costs more than all that is decided about a stanza:
//! without this module a privileged message takes a tenth more of the processor's time inside the library, and a roster of
//! 500 contacts takes a third more (`make bench-count`).
//!
//! Why it is sound, by what could go wrong:
//!
//! - *A jump over Rust frames.* Lua leaves a function by a jump where it raises an error. None of the functions called here
//!   raises: they move values on the stack, ask for a type or a length, read a string without converting it, look up a key
//!   of a table without metamethods, or go on from a key that the table has. Lua allocates nothing meanwhile, and collects
//!   nothing. [`Stack::new_table`] alone allocates, in a protected call. To make room on the stack may raise in Lua 5.1, where
//!   memory ends: the one jump that is not excluded, and the end of a server anyway.
//! - *The size of the stack.* [`Stack::with`] makes room for all places and for the values that a function needs besides.
//!   The functions that call back make room for what is called.
//! - *Values that move or go.* A table is named by its place on the stack, never by a pointer. The bytes of a string are
//!   copied, or compared, before the string leaves the stack.
//! - *A key that the table has not got any more* is an error for `lua_next`. A table changes only while Lua code runs, and
//!   the closure of [`Place::for_each`] is [`Send`]: no handle of mlua's, and nothing of this module, is.
//! - *A place that outlives its frame.* [`Table`] and [`Place`] borrow the [`Stack`], which ends with [`Stack::with`]. Stacks
//!   are nested, and so are the calls from Lua; a function made in a scope of mlua's must not use one of these from outside.

#![expect(unsafe_code, reason = "see above")]

mod arguments;
mod exchange;
mod field;
mod number;
mod walk;

pub(super) use exchange::{Answer, Argument, Content, Returned, filler};
pub(super) use field::Field;
pub(super) use walk::Part;

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::c_int;
use std::ops::Deref;

use mlua::ffi;
use mlua::prelude::*;

use super::keys::{Key, Keys};

/// How many tables can be held at once. The first place is for the keys.
const PLACES: c_int = 32;

/// How many values one call here needs on the stack at most, beside the places.
const WORK: c_int = 12;

/// Places on the stack for the duration of one call from Lua.
pub(super) struct Stack<'l> {
    lua: &'l Lua,
    state: *mut ffi::lua_State,
    /// The top of the stack below the places.
    base: c_int,
    /// A bit for each place that is taken.
    taken: Cell<u32>,
}

impl<'l> Stack<'l> {
    /// Calls `work` with places. Fails where Lua's stack has no room for them.
    pub(super) fn with<R>(
        lua: &'l Lua,
        keys: &Keys,
        work: impl FnOnce(&Stack<'l>) -> LuaResult<R>,
    ) -> LuaResult<R> {
        let stack = lua.exec_raw_lua(|raw| {
            let state = raw.state();
            // SAFETY: there is room for what is pushed and for all places.
            unsafe {
                if ffi::lua_checkstack(state, PLACES + WORK) == 0 {
                    return Err(LuaError::StackError);
                }
                let base = ffi::lua_gettop(state);
                raw.push(keys.list())?;
                ffi::lua_settop(state, base + PLACES);
                Ok(Stack {
                    lua,
                    state,
                    base,
                    taken: Cell::new(1),
                })
            }
        })?;
        work(&stack)
    }

    /// Holds a table.
    pub(super) fn hold(&self, table: &LuaTable) -> LuaResult<Table<'_>> {
        self.lua.exec_raw_lua(|raw| {
            // SAFETY: there is room for one value.
            unsafe { raw.push(table)? };
            self.take().ok_or(LuaError::StackError)
        })
    }

    /// Moves the table on top of the stack to a place; `None`, and the table is gone, where every place is taken.
    fn take(&self) -> Option<Table<'_>> {
        let free = self.taken.get().trailing_ones();
        let place = c_int::try_from(free).ok().filter(|place| *place < PLACES);
        // SAFETY: the place is below the top; at least one value is above the places.
        unsafe {
            match place {
                Some(place) => {
                    self.taken.set(self.taken.get() | 1 << free);
                    let index = self.base + 1 + place;
                    ffi::lua_replace(self.state, index);
                    Some(Table(Place { stack: self, index }))
                }
                None => {
                    self.pop(1);
                    None
                }
            }
        }
    }

    /// Takes the table on top of the stack; pops anything else.
    fn take_table(&self) -> Option<Table<'_>> {
        // SAFETY: the caller has pushed a value.
        unsafe {
            if ffi::lua_type(self.state, -1) == ffi::LUA_TTABLE {
                self.take()
            } else {
                self.pop(1);
                None
            }
        }
    }

    /// Pushes the value under a key in the table at an index, raw.
    ///
    /// # Safety
    /// There has to be room for two values, and a table at `index`, which does not count from the top.
    unsafe fn push_field(&self, index: c_int, key: Key) -> c_int {
        unsafe {
            ffi::lua_rawgeti(self.state, self.base + 1, key.number());
            ffi::lua_rawget(self.state, index)
        }
    }

    /// Removes values from the top of the stack.
    ///
    /// # Safety
    /// So many values have been pushed above the places.
    unsafe fn pop(&self, count: c_int) {
        unsafe { ffi::lua_settop(self.state, -1 - count) }
    }

    /// Returns the bytes of the string on top of the stack; `None` for any other value.
    ///
    /// # Safety
    /// A value has been pushed. The bytes are there as long as it is on the stack.
    unsafe fn bytes<'s>(&self) -> Option<&'s [u8]> {
        unsafe {
            if ffi::lua_type(self.state, -1) != ffi::LUA_TSTRING {
                return None;
            }
            let mut length = 0;
            let start = ffi::lua_tolstring(self.state, -1, &raw mut length);
            Some(std::slice::from_raw_parts(start.cast(), length))
        }
    }

    /// Pops a value that is to be a string.
    ///
    /// # Safety
    /// A value has been pushed.
    unsafe fn pop_string(&self, known: &[&'static str]) -> Field {
        unsafe {
            let field = match self.bytes() {
                Some(bytes) => Field::Text(match known.iter().find(|known| known.as_bytes() == bytes) {
                    Some(known) => Cow::Borrowed(*known),
                    None => Cow::Owned(field::lossy(bytes).into_owned()),
                }),
                None if ffi::lua_type(self.state, -1) == ffi::LUA_TNIL => Field::Absent,
                None => Field::Other,
            };
            self.pop(1);
            field
        }
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        // SAFETY: whatever was pushed since is above this.
        unsafe { ffi::lua_settop(self.state, self.base) };
    }
}

/// A table of the server that has a place. It is free again when this is dropped.
pub(super) struct Table<'s>(Place<'s>);

impl<'s> Deref for Table<'s> {
    type Target = Place<'s>;

    fn deref(&self) -> &Place<'s> {
        &self.0
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let Place { stack, index } = self.0;
        let place = index - stack.base - 1;
        stack.taken.set(stack.taken.get() & !(1 << place));
    }
}

/// A table on the stack. It is read without metamethods.
///
/// Every function here pops what it has pushed, and there is room for that: see [`WORK`].
pub(super) struct Place<'s> {
    stack: &'s Stack<'s>,
    index: c_int,
}

impl<'s> Place<'s> {
    /// The string under a key. One that is in `known` takes no memory.
    pub(super) fn field(&self, key: Key, known: &[&'static str]) -> Field {
        // SAFETY: this is a table.
        unsafe {
            self.stack.push_field(self.index, key);
            self.stack.pop_string(known)
        }
    }

    /// The string under a key; anything else reads as absent.
    pub(super) fn string(&self, key: Key) -> Option<String> {
        self.field(key, &[]).found()
    }

    /// Whether this string is under a key.
    pub(super) fn holds(&self, key: Key, wanted: &str) -> bool {
        // SAFETY: this is a table.
        unsafe {
            self.stack.push_field(self.index, key);
            let holds = self.stack.bytes() == Some(wanted.as_bytes());
            self.stack.pop(1);
            holds
        }
    }

    /// Whether the metatable, if there is one, has anything under a key.
    pub(super) fn metatable_has(&self, key: Key) -> bool {
        let stack = self.stack;
        // SAFETY: this is a table, and a metatable is one.
        unsafe {
            if ffi::lua_getmetatable(stack.state, self.index) == 0 {
                return false;
            }
            let has = stack.push_field(ffi::lua_gettop(stack.state), key) != ffi::LUA_TNIL;
            stack.pop(2);
            has
        }
    }

    /// The boolean under a key; `None` for anything else.
    pub(super) fn flag(&self, key: Key) -> Option<bool> {
        // SAFETY: this is a table.
        unsafe {
            let is_flag = self.stack.push_field(self.index, key) == ffi::LUA_TBOOLEAN;
            let flag = ffi::lua_toboolean(self.stack.state, -1) != 0;
            self.stack.pop(1);
            is_flag.then_some(flag)
        }
    }

    /// The length of the list that the table is.
    pub(super) fn len(&self) -> usize {
        // SAFETY: this is a table.
        unsafe { ffi::lua_rawlen(self.stack.state, self.index) }
    }

    /// The table with this index, from 1; `None` for anything else.
    pub(super) fn item(&self, index: usize) -> Option<Table<'s>> {
        let index = ffi::lua_Integer::try_from(index).ok()?;
        // SAFETY: this is a table.
        unsafe { ffi::lua_rawgeti(self.stack.state, self.index, index) };
        self.stack.take_table()
    }

    /// The string with this index, from 1; `None` for anything else.
    pub(super) fn item_string(&self, index: usize) -> Option<String> {
        let index = ffi::lua_Integer::try_from(index).ok()?;
        // SAFETY: this is a table.
        unsafe {
            ffi::lua_rawgeti(self.stack.state, self.index, index);
            self.stack.pop_string(&[]).found()
        }
    }

    /// A handle of mlua's for the table.
    pub(super) fn handle(&self) -> LuaResult<LuaTable> {
        self.stack.lua.exec_raw_lua(|raw| {
            // SAFETY: there is room.
            unsafe {
                ffi::lua_pushvalue(self.stack.state, self.index);
                raw.pop()
            }
        })
    }

    /// Calls `each` with every string that is a key, and with its value if that is a table.
    ///
    /// The closure is [`Send`], so nothing that it has leads to Lua, and no table can change meanwhile.
    pub(super) fn for_each(&self, mut each: impl FnMut(&str, Option<Place<'_>>) + Send) {
        let state = self.stack.state;
        // SAFETY: this is a table. There is room, also where this is called by `each`. The key is one that `lua_next` has
        // given; it is read as a string only if it is one.
        unsafe {
            if ffi::lua_checkstack(state, WORK) == 0 {
                return;
            }
            ffi::lua_pushnil(state);
            while ffi::lua_next(state, self.index) != 0 {
                let value = ffi::lua_gettop(state);
                let is_table = ffi::lua_type(state, value) == ffi::LUA_TTABLE;
                ffi::lua_pushvalue(state, value - 1);
                if let Some(key) = self.stack.bytes() {
                    let place = Place {
                        stack: self.stack,
                        index: value,
                    };
                    each(&String::from_utf8_lossy(key), is_table.then_some(place));
                }
                ffi::lua_settop(state, value - 1);
            }
        }
    }

    /// Calls `read` with the table under a key; `None` for anything else.
    pub(super) fn inner<R>(&self, key: Key, read: impl FnOnce(&Place<'s>) -> R) -> Option<R> {
        let stack = self.stack;
        // SAFETY: there is room, also where this is called by `read`. This is a table.
        unsafe {
            if ffi::lua_checkstack(stack.state, WORK) == 0 {
                return None;
            }
            let is_table = stack.push_field(self.index, key) == ffi::LUA_TTABLE;
            let index = ffi::lua_gettop(stack.state);
            let found = is_table.then(|| read(&Place { stack, index }));
            stack.pop(1);
            found
        }
    }
}
