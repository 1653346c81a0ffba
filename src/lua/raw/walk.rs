//! A whole stanza, part by part.

#![expect(unsafe_code, reason = "a part of the module that has it: see there")]

use mlua::ffi;

use super::super::keys::Key;
use super::{Place, Stack, WORK, field};

/// A part of a stanza. The parts come in document order.
pub(in super::super) enum Part<'p> {
    /// An element begins; its name.
    Start(&'p str),
    /// The name and the value of an attribute of the element that has just begun.
    Attribute(&'p str, &'p str),
    /// The attributes are over.
    Inside {
        /// Whether there is anything between the two tags.
        is_empty: bool,
    },
    /// Text.
    Text(&'p str),
    /// An element ends; its name.
    End(&'p str),
    /// A value that is no part of a stanza. It is passed over.
    Other,
}

impl Place<'_> {
    /// Calls `each` with every part of the stanza that the table is. No recursion follows the levels of the stanza, as its
    /// sender chooses how many they are: each takes one value on Lua's stack. Returns false where that has no room.
    ///
    /// The closure is [`Send`], so nothing that it has leads to Lua, and no table can change meanwhile.
    pub(in super::super) fn walk(&self, mut each: impl FnMut(Part<'_>) + Send) -> bool {
        let stack = self.stack;
        let state = stack.state;
        // For each open element how many of its parts have been seen. Its table is on Lua's stack.
        let mut seen: Vec<ffi::lua_Integer> = Vec::new();
        // SAFETY: room is made for each element before it is pushed. `bottom` and the number of open elements give the place
        // of the innermost one, and its table is there. Strings are read while they are on the stack.
        unsafe {
            let bottom = ffi::lua_gettop(state);
            if ffi::lua_checkstack(state, WORK) == 0 {
                return false;
            }
            ffi::lua_pushvalue(state, self.index);
            begin(stack, &mut each);
            seen.push(0);
            while let Some(count) = seen.last_mut() {
                *count += 1;
                match ffi::lua_rawgeti(state, -1, *count) {
                    ffi::LUA_TTABLE => {
                        if ffi::lua_checkstack(state, WORK) == 0 {
                            ffi::lua_settop(state, bottom);
                            return false;
                        }
                        begin(stack, &mut each);
                        seen.push(0);
                    }
                    ffi::LUA_TNIL => {
                        stack.pop(1);
                        with_name(stack, |name| each(Part::End(name)));
                        stack.pop(1);
                        seen.pop();
                    }
                    _ => {
                        with_text(stack, |text| each(text.map_or(Part::Other, Part::Text)));
                        stack.pop(1);
                    }
                }
            }
            ffi::lua_settop(state, bottom);
        }
        true
    }
}

/// Calls `each` with the first parts of the element on top of the stack.
///
/// # Safety
/// There has to be a table, and room for six values above it.
unsafe fn begin(stack: &Stack<'_>, each: &mut impl FnMut(Part<'_>)) {
    let state = stack.state;
    unsafe {
        with_name(stack, |name| each(Part::Start(name)));
        let element = ffi::lua_gettop(state);
        if stack.push_field(element, Key::Attr) == ffi::LUA_TTABLE {
            let attributes = ffi::lua_gettop(state);
            ffi::lua_pushnil(state);
            while ffi::lua_next(state, attributes) != 0 {
                // The value is on top, and the key below it. The key goes up as well, and is read only if it is a string.
                ffi::lua_pushvalue(state, -2);
                let name = stack.bytes().map(field::lossy);
                ffi::lua_pushvalue(state, -2);
                match (name, stack.bytes().map(field::lossy)) {
                    (Some(name), Some(value)) => each(Part::Attribute(&name, &value)),
                    _ => each(Part::Other),
                }
                stack.pop(3);
            }
        }
        stack.pop(1);
        let is_empty = ffi::lua_rawgeti(state, element, 1) == ffi::LUA_TNIL;
        stack.pop(1);
        each(Part::Inside { is_empty });
    }
}

/// Calls `with` with the name of the element on top of the stack; "" where it has none.
///
/// # Safety
/// There has to be a table, and room for two values above it.
unsafe fn with_name(stack: &Stack<'_>, with: impl FnOnce(&str)) {
    unsafe {
        stack.push_field(ffi::lua_gettop(stack.state), Key::Name);
        with_text(stack, |name| with(name.unwrap_or_default()));
        stack.pop(1);
    }
}

/// Calls `with` with the string on top of the stack; with `None` for any other value.
///
/// # Safety
/// A value has been pushed.
unsafe fn with_text(stack: &Stack<'_>, with: impl FnOnce(Option<&str>)) {
    unsafe { with(stack.bytes().map(field::lossy).as_deref()) }
}
