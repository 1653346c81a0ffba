//! Who has blocked an entity, and who may act for an account (G5, G6).

use std::collections::BTreeSet;

use mlua::prelude::*;

use super::host::LuaHost;
use super::rosters::is_told_presence;
use super::values::{self, Flag, Text, Viewers, listed};
use crate::blocklists::Reach;
use crate::services;
use crate::viewers::Number;

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("follow_blocklists", |_, this, Flag(is_on): Flag| {
        this.host_mut().matrix.blocklists.begin(is_on);
        let viewers = this.host().viewers.entities();
        let numbers: Vec<Number> = viewers.into_iter().map(|(number, _)| number).collect();
        Ok(numbers)
    });
    methods.add_method("forget_blocklists", |_, this, username: Option<Text>| {
        let lists = &mut this.host_mut().matrix.blocklists;
        match username {
            Some(username) => lists.forget(&username),
            None => lists.forget_all(),
        }
        Ok(())
    });
    methods.add_method("blocklist", blocklist);
    methods.add_method("has_blocked", |_, this, (username, entity): (Text, Text)| {
        let reach = this.host().matrix.blocklists.reach(&entity, &username);
        Ok(reach == Reach::Outside)
    });
    methods.add_method("believers", |_, this, (jid, Viewers(some)): (Text, Viewers)| {
        Ok(listed(this.host().viewers.believers(&jid, &some)))
    });
    methods.add_method("hidden", hidden);
    methods.add_method("services", services);
}

/// `blocklist(username, list)`: what an account has blocked, as it is stored; a list of addresses. Returns `{ blocked = the
/// viewers whose entity is blocked now, unblocked = those whose entity is blocked no more, outbox = }`; the lists of viewers are
/// nil where they are empty (G5).
fn blocklist(lua: &Lua, this: &LuaHost, (username, list): (Text, Vec<Text>)) -> LuaResult<LuaTable> {
    let list: BTreeSet<String> = list.into_iter().map(|Text(jid)| jid).collect();
    let change = this.host_mut().blocklist(&username, &list);
    let found = lua.create_table_with_capacity(0, 3)?;
    found.raw_set("blocked", listed(change.blocked))?;
    found.raw_set("unblocked", listed(change.unblocked))?;
    found.raw_set("outbox", values::outbox(lua, &this.keys, change.outbox)?)?;
    Ok(found)
}

/// `hidden(from, among, contacts)`: those of these viewers, whose entity an account has just blocked, that believe its
/// resource `from` available and have to be told that it is not; nil for nobody. `contacts` is the roster of the account: the
/// server itself tells an entity that is in there (G5, P5).
fn hidden(
    _: &Lua,
    this: &LuaHost,
    (from, Viewers(some), contacts): (Text, Viewers, LuaTable),
) -> LuaResult<Option<Vec<Number>>> {
    let host = this.host();
    let is_told = |entity: &str| is_told_presence(&contacts, entity, &this.keys);
    Ok(listed(host.viewers.hidden(&from, &some, is_told)))
}

/// `services(username)`: the services that may act for an account, or are blocked by it, as a list of `{ jid =, is_blocked =,
/// text = }` (G6).
fn services(lua: &Lua, this: &LuaHost, username: Text) -> LuaResult<LuaTable> {
    let list = lua.create_table()?;
    for service in services::of_account(&this.host().matrix, &username) {
        let entry = lua.create_table_with_capacity(0, 3)?;
        entry.raw_set("jid", service.jid)?;
        entry.raw_set("is_blocked", service.is_blocked)?;
        entry.raw_set("text", service.may.join(" "))?;
        list.raw_push(entry)?;
    }
    Ok(list)
}
