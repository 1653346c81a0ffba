//! Presence stanzas as fingerprints, and the memory of what a connection has been told.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::prelude::*;

use super::convert;
use super::keys::Keys;
use super::stanza::{owned, string};
use crate::fingerprint::{Fingerprint, Fingerprinter, Sender};
use crate::memory::Memory;
use crate::ns;
use crate::viewers::{Number, SharedMemory};

/// How many senders a connection's memory holds: 16 MiB when it is full.
const MOST_SENDERS: usize = 1 << 20;

/// The memory of a connection, in the hands of the shim, which puts it beside the connection. All
/// hosts that grant that entity something share it.
struct PresenceMemory(SharedMemory);

impl LuaUserData for PresenceMemory {}

/// `presence_memory()`: an empty memory.
pub(super) fn memory(lua: &Lua, (): ()) -> LuaResult<LuaAnyUserData> {
    let memory = Rc::new(RefCell::new(Memory::new(MOST_SENDERS)));
    lua.create_userdata(PresenceMemory(memory))
}

/// The memory in a value; `None` where it is nothing of the kind, or was made by another version of
/// this library.
pub(super) fn shared(value: &LuaValue) -> Option<SharedMemory> {
    let LuaValue::UserData(data) = value else {
        return None;
    };
    let memory = data.borrow::<PresenceMemory>().ok()?;
    Some(Rc::clone(&memory.0))
}

/// The numbers of viewers in a list.
pub(super) fn numbers(list: &LuaTable, function: &str) -> LuaResult<Vec<Number>> {
    let mut numbers = Vec::with_capacity(list.raw_len());
    for index in 1..=list.raw_len() {
        numbers.push(number(&list.raw_get(index)?, function)?);
    }
    Ok(numbers)
}

/// The number of a viewer.
pub(super) fn number(value: &LuaValue, function: &str) -> LuaResult<Number> {
    let number = convert::natural(value, function, "viewer")?;
    Number::try_from(number).map_err(|_| convert::wrong(function, "viewer", "the number of a viewer", value))
}

/// Who sent each of some presences.
pub(super) fn senders(list: &LuaTable, keys: &Keys) -> Vec<Sender> {
    let presences = (1..=list.raw_len()).filter_map(|index| list.raw_get::<LuaTable>(index).ok());
    presences
        .filter_map(|presence| presence.raw_get::<LuaTable>(&keys.attr).ok())
        .filter_map(|attr| string(&attr, &keys.from))
        .map(|from| Sender::new(&from))
        .collect()
}

/// What is left to do on the way through a stanza.
enum Step {
    Enter(LuaTable, Rc<str>),
    Text(LuaString),
    Leave,
}

/// The fingerprint of a presence. Ignores `to`, `id`, and stamps of delayed delivery,
/// which change while the presence does not (P4).
///
/// Goes through the whole stanza, however deep, without recursion.
pub(super) fn fingerprint(presence: &LuaTable, keys: &Keys) -> LuaResult<Fingerprint> {
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
    Ok(print.finish())
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
