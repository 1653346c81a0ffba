//! The state that is kept over a reload of the module (L1), as plain Lua data: another version of the library may read it.

use mlua::prelude::*;

use super::host::{LuaHost, named};
use super::values::{Natural, Text};
use crate::ledger::Entry;

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("save", save);
    methods.add_method("restore", restore);
}

/// `save()`: `{ next =, last_id =, requests = those that were in flight, which this host has given up, connections =
/// address to { advertised = } }`.
fn save(lua: &Lua, this: &LuaHost, (): ()) -> LuaResult<LuaTable> {
    let mut host = this.host_mut();
    let (next, requests) = host.ledger.export();
    let list = lua.create_table_with_capacity(requests.len(), 0)?;
    for (number, deadline, request) in requests {
        let entry = lua.create_table_with_capacity(0, 8)?;
        entry.raw_set("number", number)?;
        entry.raw_set("deadline", deadline)?;
        entry.raw_set("entity", request.entity)?;
        entry.raw_set("reply_to", request.reply_to)?;
        entry.raw_set("outer_id", request.outer_id)?;
        entry.raw_set("inner_id", request.inner_id)?;
        entry.raw_set("account", request.account)?;
        entry.raw_set("to", request.to)?;
        list.raw_push(entry)?;
    }
    let connections = lua.create_table()?;
    for (address, advertised) in host.entities.advertised() {
        let entry = lua.create_table()?;
        entry.raw_set("advertised", advertised)?;
        connections.raw_set(address, entry)?;
    }
    let saved = lua.create_table()?;
    saved.raw_set("next", next)?;
    saved.raw_set("last_id", host.last_id())?;
    saved.raw_set("requests", list)?;
    saved.raw_set("connections", connections)?;
    Ok(saved)
}

/// `restore(saved)`: goes on with the requests of an earlier instance. Its connections are entered one by one, see
/// `connected`.
fn restore(_: &Lua, this: &LuaHost, saved: LuaTable) -> LuaResult<()> {
    let Natural(next) = named(&saved, "next")?;
    let last_id = named::<Option<Natural>>(&saved, "last_id")?.map_or(0, |Natural(last)| last);
    let list: LuaTable = named(&saved, "requests")?;
    let mut requests = Vec::with_capacity(list.raw_len());
    for index in 1..=list.raw_len() {
        let entry: LuaTable = list
            .raw_get(index)
            .map_err(|problem| LuaError::external(format!("field \"requests\", row {index}: {problem}")))?;
        let text = |name: &str| named::<Text>(&entry, name).map(|Text(text)| text);
        let (Natural(number), Natural(deadline)) = (named(&entry, "number")?, named(&entry, "deadline")?);
        let request = Entry {
            entity: text("entity")?,
            reply_to: text("reply_to")?,
            outer_id: text("outer_id")?,
            inner_id: text("inner_id")?,
            account: text("account")?,
            to: named::<Option<Text>>(&entry, "to")?.map(|Text(text)| text),
        };
        requests.push((number, deadline, request));
    }
    let mut host = this.host_mut();
    host.ledger.import(next, requests);
    host.go_on(last_id);
    Ok(())
}
