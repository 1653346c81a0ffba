//! Whole numbers in the tables of the server.

#![expect(unsafe_code, reason = "a part of the module that has it: see there")]

use mlua::ffi;

use super::super::keys::Key;
use super::{Place, Stack};

impl Stack<'_> {
    /// Pops a value that is to be a whole number, and not negative.
    ///
    /// # Safety
    /// A value has been pushed.
    unsafe fn pop_number(&self) -> Option<u64> {
        unsafe {
            let is_number = ffi::lua_type(self.state, -1) == ffi::LUA_TNUMBER;
            let number = ffi::lua_tointeger(self.state, -1);
            self.pop(1);
            u64::try_from(number).ok().filter(|_| is_number)
        }
    }
}

impl Place<'_> {
    /// The number with this index, from 1; `None` for anything else.
    pub(in super::super) fn item_number(&self, index: usize) -> Option<u64> {
        let index = ffi::lua_Integer::try_from(index).ok()?;
        // SAFETY: this is a table.
        unsafe {
            ffi::lua_rawgeti(self.stack.state, self.index, index);
            self.stack.pop_number()
        }
    }

    /// The number under a key; `None` for anything else.
    pub(in super::super) fn number(&self, key: Key) -> Option<u64> {
        // SAFETY: this is a table.
        unsafe {
            self.stack.push_field(self.index, key);
            self.stack.pop_number()
        }
    }
}
