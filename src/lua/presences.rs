//! Presence stanzas in sixteen bytes, and the memory of what a connection has been told.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::prelude::*;

use super::convert;
use super::keys::Keys;
use super::stanza::{owned, string};
use crate::ns;
use crate::presence::{Fingerprint, Fingerprinter, Memory};

/// How many senders a connection's memory holds: 16 MiB when it is full.
const MOST_SENDERS: usize = 1 << 20;

/// `presence_memory()`: a table of functions around an empty memory. It belongs to a connection, and
/// is shared by all hosts that grant that entity something.
pub(super) fn memory(lua: &Lua, (): ()) -> LuaResult<LuaTable> {
    let memory = Rc::new(RefCell::new(Memory::new(MOST_SENDERS)));
    let exports = lua.create_table()?;
    let shared = Rc::clone(&memory);
    exports.raw_set(
        "knows",
        lua.create_function(move |_, token: LuaValue| Ok(shared.borrow().knows(read(&token, "knows")?)))?,
    )?;
    exports.raw_set(
        "learn",
        lua.create_function(move |_, token: LuaValue| {
            memory.borrow_mut().learn(read(&token, "learn")?);
            Ok(())
        })?,
    )?;
    Ok(exports)
}

fn read(token: &LuaValue, function: &str) -> LuaResult<Fingerprint> {
    let print = match token {
        LuaValue::String(bytes) => Fingerprint::from_bytes(&bytes.as_bytes()),
        _ => None,
    };
    print.ok_or_else(|| convert::wrong(function, "token", "a token of presence_token", token))
}

/// What is left to do on the way through a stanza.
enum Step {
    Enter(LuaTable, Rc<str>),
    Text(LuaString),
    Leave,
}

/// The fingerprint of a presence, as bytes. Ignores `to`, `id`, and stamps of delayed delivery,
/// which change while the presence does not (P4).
///
/// Goes through the whole stanza, however deep, without recursion.
pub(super) fn token(presence: &LuaTable, keys: &Keys) -> LuaResult<[u8; 16]> {
    let attr: Option<LuaTable> = presence.raw_get(&keys.attr).ok();
    let attribute = |key| attr.as_ref().and_then(|attr| string(attr, key));
    let from = attribute(&keys.from).unwrap_or_default();
    let mut print = Fingerprinter::new(&from, attribute(&keys.r#type).as_deref());
    let mut steps = Vec::new();
    push_content(presence, &Rc::from(ns::CLIENT), &mut steps);
    // Only stamps of the presence itself are passed over, not what looks like one deeper inside.
    steps.retain(|step| !matches!(step, Step::Enter(table, _) if is_delay(table, keys)));
    while let Some(step) = steps.pop() {
        match step {
            Step::Text(text) => print.text(&owned(&text)),
            Step::Leave => print.close(),
            Step::Enter(element, inherited) => {
                let (namespace, mut attributes) = attributes(&element, &inherited, keys);
                let name = string(&element, &keys.name).unwrap_or_default();
                print.open(&name, &namespace, &mut attributes);
                steps.push(Step::Leave);
                push_content(&element, &namespace, &mut steps);
            }
        }
    }
    Ok(print.finish().to_bytes())
}

/// Puts what is inside an element on the stack, so that its first child comes off first.
fn push_content(element: &LuaTable, namespace: &Rc<str>, steps: &mut Vec<Step>) {
    for index in (1..=element.raw_len()).rev() {
        match element.raw_get(index) {
            Ok(LuaValue::Table(child)) => steps.push(Step::Enter(child, Rc::clone(namespace))),
            Ok(LuaValue::String(text)) => steps.push(Step::Text(text)),
            _ => {}
        }
    }
}

fn is_delay(element: &LuaTable, keys: &Keys) -> bool {
    let attr: Option<LuaTable> = element.raw_get(&keys.attr).ok();
    let namespace = attr.and_then(|attr| string(&attr, &keys.xmlns));
    namespace.is_some_and(|namespace| namespace == ns::DELAY || namespace == ns::DELAY_LEGACY)
}

/// The namespace of an element and its other attributes.
fn attributes(element: &LuaTable, inherited: &Rc<str>, keys: &Keys) -> (Rc<str>, Vec<(String, String)>) {
    let (mut namespace, mut list) = (Rc::clone(inherited), Vec::new());
    if let Ok(LuaValue::Table(attr)) = element.raw_get(&keys.attr) {
        // The closure never fails, and neither does reading a table.
        let _ = attr.for_each(|name: LuaValue, value: LuaValue| {
            if let (LuaValue::String(name), LuaValue::String(value)) = (name, value) {
                if name == keys.xmlns {
                    namespace = Rc::from(owned(&value));
                } else {
                    list.push((owned(&name), owned(&value)));
                }
            }
            Ok(())
        });
    }
    (namespace, list)
}
