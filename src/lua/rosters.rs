//! Rosters as the server keeps them: a table of items by contact, with a row of metadata under
//! `false`.

use std::collections::{BTreeMap, BTreeSet};

use mlua::prelude::*;

use super::host::{LuaHost, named};
use super::keys::Keys;
use super::stanza::{LuaElement, owned, string};
use super::values::{self, Answer, Flag, Natural, Text, denied};
use crate::element::Element;
use crate::item::{Item, Subscription};
use crate::permission::IqType;
use crate::roster::{self, Change, Current};
use crate::wire::roster::{IqHead, RosterWriter, empty_iq};

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("roster_result", roster_result);
    methods.add_method("plan_roster_set", plan_roster_set);
    methods.add_method("may_set_roster", |_, this, (entity, username): (Text, Text)| {
        let host = this.host();
        let grant = host.matrix.grant(&entity);
        Ok(grant.is_some_and(|grant| grant.roster.allows(IqType::Set) && grant.scope.covers(&username)))
    });
    methods.add_method("agree_roster_change", agree_roster_change);
    methods.add_method("follow_roster", |_, this, username: Text| {
        let host = this.host();
        Ok(host.entities.follow_roster(&host.matrix, &username))
    });
    methods.add_method("pushes", pushes);
    methods.add_method("roster_changes", roster_changes);
}

/// `roster_result(account, stanza, roster)`: the answer to a roster get of `stanza`, finished (R1).
fn roster_result(
    _: &Lua,
    this: &LuaHost,
    (account, stanza, stored): (Text, LuaTable, LuaTable),
) -> LuaResult<String> {
    let keys = &this.keys;
    let stanza = LuaElement::stanza(stanza, keys);
    let (to, id) = (stanza.attribute("from"), stanza.attribute("id"));
    let head = IqHead {
        kind: "result",
        from: &account,
        to: to.as_deref().unwrap_or_default(),
        id: id.as_deref().unwrap_or_default(),
    };
    let ours = version(&stored, keys);
    let theirs = stanza.child(0).and_then(|query| query.attribute("ver"));
    if roster::is_current(theirs.as_deref(), ours) {
        return Ok(empty_iq(&head));
    }
    let ver = ours.map(version_text);
    let mut writer = RosterWriter::new(&head, ver.as_deref(), 4096);
    write_contacts(&stored, keys, &mut writer)?;
    Ok(writer.finish())
}

/// `plan_roster_set(account, stanza, roster)`: the list of changes, empty where nothing would change; or nil and
/// the denial (R2 to R4).
fn plan_roster_set(
    lua: &Lua,
    this: &LuaHost,
    (account, stanza, stored): (Text, LuaTable, LuaTable),
) -> LuaResult<Answer> {
    let keys = &this.keys;
    let stanza = LuaElement::stanza(stanza, keys);
    let planned = roster::read_stanza(&stanza, &account, &this.server)
        .and_then(|sets| roster::plan(sets, |jid| find(&stored, jid, keys)));
    match planned {
        Ok(planned) => Ok((Some(changes(lua, planned)?), None)),
        Err(denial) => denied(lua, keys, denial),
    }
}

/// `agree_roster_change(account, change, item, may_set)`: whether `change` of the account's roster agrees
/// with the roster of its contact, an account of this server whose own item is `item` or nil. Returns
/// a table, whose field `change` is the change of the contact's roster that has to be saved as well, if any; or nil
/// and the denial (R10).
fn agree_roster_change(
    lua: &Lua,
    this: &LuaHost,
    (account, change, item, Flag(may_set)): (Text, LuaTable, Option<LuaTable>, Flag),
) -> LuaResult<Answer> {
    let keys = &this.keys;
    let contact: Text = named(&change, "jid")?;
    let wanted = read_item(&change, keys).subscription;
    let theirs = item.map(|item| read_item(&item, keys));
    match roster::agree(&account, &contact, wanted, theirs.as_ref(), may_set) {
        Ok(agreed) => {
            let agreement = lua.create_table()?;
            if let Some(agreed) = agreed {
                agreement.raw_set("change", self::change(lua, agreed)?)?;
            }
            Ok((Some(agreement), None))
        }
        Err(denial) => denied(lua, keys, denial),
    }
}

/// `pushes(username, jid, item, version)`: the roster pushes of one contact of an account, for all who get them, see
/// `outbox`. `item` is nil for a contact that is gone, `version` nil where the server keeps none (R7).
fn pushes(
    lua: &Lua,
    this: &LuaHost,
    (username, jid, item, version): (Text, Text, Option<LuaTable>, Option<Natural>),
) -> LuaResult<Option<LuaTable>> {
    let keys = &this.keys;
    let item = item.map(|item| read_item(&item, keys));
    let version = version.map(|Natural(version)| version.to_string());
    let outgoing = this
        .host_mut()
        .pushes(&username, &jid, item.as_ref(), version.as_deref());
    values::outbox(lua, keys, outgoing)
}

/// `roster_changes(before, after)`: the contacts whose visible item differs between two rosters, or
/// parts of rosters, either of which may be nil (R7, R8).
fn roster_changes(
    _: &Lua,
    this: &LuaHost,
    (before, after): (Option<LuaTable>, Option<LuaTable>),
) -> LuaResult<Vec<String>> {
    let part =
        |stored: Option<LuaTable>| stored.map_or_else(BTreeMap::new, |stored| visible(&stored, &this.keys));
    Ok(roster::changed(&part(before), &part(after)))
}

/// The visible part of a stored item (R8).
fn read_item(item: &LuaTable, keys: &Keys) -> Item {
    let mut groups = BTreeSet::new();
    each_group(item, keys, |group| {
        groups.insert(group);
    });
    Item {
        subscription: string(item, &keys.subscription)
            .and_then(|value| Subscription::parse(&value))
            .unwrap_or_default(),
        ask: string(item, &keys.ask).is_some(),
        approved: is_approved(item, keys),
        name: string(item, &keys.name),
        groups,
    }
}

/// Writes all contacts of a stored roster.
fn write_contacts(stored: &LuaTable, keys: &Keys, writer: &mut RosterWriter) -> LuaResult<()> {
    stored.for_each(|jid: LuaValue, item: LuaValue| {
        if let (LuaValue::String(jid), LuaValue::Table(item)) = (jid, item)
            && let Some(subscription) = string(&item, &keys.subscription)
        {
            let ask = string(&item, &keys.ask);
            let name = string(&item, &keys.name);
            let jid = owned(&jid);
            let approved = is_approved(&item, keys);
            writer.item(&jid, &subscription, ask.as_deref(), approved, name.as_deref());
            each_group(&item, keys, |group| writer.group(&group));
            writer.end_item();
        }
        Ok(())
    })
}

/// Whether the account has approved the contact in advance; some versions store a string.
fn is_approved(item: &LuaTable, keys: &Keys) -> bool {
    match item.raw_get(&keys.approved) {
        Ok(LuaValue::Boolean(approved)) => approved,
        Ok(LuaValue::String(text)) => text.as_bytes() == b"true",
        _ => false,
    }
}

/// Calls `each` with every group of a stored item.
fn each_group(item: &LuaTable, keys: &Keys, mut each: impl FnMut(String)) {
    if let Ok(LuaValue::Table(groups)) = item.raw_get(&keys.groups) {
        // The closure never fails, and neither does reading a table.
        let _ = groups.for_each(|group: LuaValue, _: LuaValue| {
            if let LuaValue::String(group) = group {
                each(owned(&group));
            }
            Ok(())
        });
    }
}

/// Returns the contacts of a stored roster, or of a part of one, by JID. Rows that are not contacts are
/// left out (R8), and so are contacts that are not stored: a save does not change those.
fn visible(stored: &LuaTable, keys: &Keys) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    // The closure never fails, and neither does reading a table.
    let _ = stored.for_each(|jid: LuaValue, item: LuaValue| {
        if let (LuaValue::String(jid), LuaValue::Table(item)) = (jid, item)
            && string(&item, &keys.subscription).is_some()
            && is_stored(&item, keys)
        {
            items.insert(owned(&jid), read_item(&item, keys));
        }
        Ok(())
    });
    items
}

/// The contacts that the account is subscribed to.
pub(super) fn subscribed_to(stored: &LuaTable, keys: &Keys) -> Vec<String> {
    let mut contacts = Vec::new();
    // The closure never fails, and neither does reading a table.
    let _ = stored.for_each(|jid: LuaValue, item: LuaValue| {
        if let (LuaValue::String(jid), LuaValue::Table(item)) = (jid, item)
            && string(&item, &keys.subscription)
                .and_then(|value| Subscription::parse(&value))
                .is_some_and(Subscription::includes_to)
        {
            contacts.push(owned(&jid));
        }
        Ok(())
    });
    contacts
}

/// Whether the account with this roster tells a contact its presence.
pub(super) fn is_told_presence(roster: &LuaTable, jid: &str, keys: &Keys) -> bool {
    let Ok(LuaValue::Table(item)) = roster.raw_get(jid) else {
        return false;
    };
    string(&item, &keys.subscription)
        .and_then(|subscription| Subscription::parse(&subscription))
        .is_some_and(Subscription::includes_from)
}

/// The item of a contact in a roster that the server has loaded.
fn find(roster: &LuaTable, jid: &str, keys: &Keys) -> Option<Current> {
    match roster.raw_get(jid) {
        Ok(LuaValue::Table(item)) => Some(Current {
            is_stored: is_stored(&item, keys),
            item: read_item(&item, keys),
        }),
        _ => None,
    }
}

/// Whether an item is one that storage holds. Modules that add contacts to a roster while it is loaded
/// mark them, and leave them out when it is saved.
fn is_stored(item: &LuaTable, keys: &Keys) -> bool {
    !matches!(item.raw_get(&keys.persist), Ok(LuaValue::Boolean(false)))
}

/// The roster version: a number, or nothing where the server keeps none.
fn version(roster: &LuaTable, keys: &Keys) -> Option<f64> {
    let Ok(LuaValue::Table(metadata)) = roster.raw_get(false) else {
        return Some(1.0);
    };
    match metadata.raw_get(&keys.version) {
        #[expect(clippy::cast_precision_loss, reason = "a count of changes")]
        Ok(LuaValue::Integer(version)) => Some(version as f64),
        Ok(LuaValue::Number(version)) => Some(version),
        // A roster that was never saved is in its first version.
        Ok(LuaValue::Nil) => Some(1.0),
        _ => None,
    }
}

/// A version as the server writes it.
fn version_text(version: f64) -> String {
    format!("{version}")
}

/// Returns the changes of a roster set for the shim to enter; see [`change`].
fn changes(lua: &Lua, changes: Vec<Change>) -> LuaResult<LuaTable> {
    let list = lua.create_table_with_capacity(changes.len(), 0)?;
    for planned in changes {
        list.raw_push(change(lua, planned)?)?;
    }
    Ok(list)
}

/// Returns one change as a table: `{ jid =, settles_request =, remove = true }`, or `{ jid =, settles_request =,
/// gains_to =, subscription =, ask =, approved =, name =, groups = { [group] = true } }`.
fn change(lua: &Lua, planned: Change) -> LuaResult<LuaTable> {
    let Change {
        jid,
        item,
        gains_to,
        settles_request,
    } = planned;
    let entry = lua.create_table()?;
    entry.raw_set("jid", jid)?;
    entry.raw_set("settles_request", settles_request.then_some(true))?;
    match item {
        None => entry.raw_set("remove", true)?,
        Some(item) => {
            entry.raw_set("gains_to", gains_to.then_some(true))?;
            entry.raw_set("subscription", item.subscription.as_str())?;
            entry.raw_set("ask", item.ask.then_some("subscribe"))?;
            entry.raw_set("approved", item.approved.then_some("true"))?;
            entry.raw_set("name", item.name)?;
            let groups = lua.create_table()?;
            for group in item.groups {
                groups.raw_set(group, true)?;
            }
            entry.raw_set("groups", groups)?;
        }
    }
    Ok(entry)
}
