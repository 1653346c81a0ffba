//! Rosters as the server keeps them: a table of items by contact, with a row of metadata under
//! `false`.

use std::collections::{BTreeMap, BTreeSet};

use mlua::prelude::*;

use super::host::{LuaHost, named};
use super::keys::{Key, Keys};
use super::raw::{Argument, Place, Stack};
use super::stanza::{LuaElement, string};
use super::values::{self, Answer, Flag, Natural, Text, denied};
use crate::address;
use crate::element::Element;
use crate::item::{Item, Subscription};
use crate::narrow::Contacts;
use crate::roster::{self, Change, Current};
use crate::wire::{
    self,
    roster::{IqHead, RosterWriter, empty_iq},
};

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("roster_result", roster_result);
    methods.add_method("plan_roster_set", plan_roster_set);
    methods.add_method(
        "may_set_roster",
        |_, this, (entity, username, contact): (Text, Text, Text)| {
            let host = this.host();
            Ok(roster::may_set(&host.matrix, &entity, &username, &contact))
        },
    );
    methods.add_method("agree_roster_change", agree_roster_change);
    methods.add_method("follow_roster", |_, this, username: Text| {
        let host = this.host();
        Ok(host.entities.follow_roster(&host.matrix, &username))
    });
    methods.add_method("pushes", pushes);
    methods.add_method("roster_changes", roster_changes);
}

/// `roster_result(account, stanza, roster)`: the answer to a roster get of `stanza`, finished. It holds the contacts that are
/// granted to the sender of the stanza (R1, G1).
fn roster_result(
    lua: &Lua,
    this: &LuaHost,
    (account, stanza, stored): (Text, Argument, LuaTable),
) -> LuaResult<String> {
    let keys = &this.keys;
    Stack::with(lua, keys, |stack| {
        let stanza = LuaElement::stanza(stack.argument(&stanza)?);
        let (to, id) = (stanza.attribute("from"), stanza.attribute("id"));
        let head = IqHead {
            kind: "result",
            from: &account,
            to: to.as_deref().unwrap_or_default(),
            id: id.as_deref().unwrap_or_default(),
        };
        let theirs = stanza.child(0).and_then(|query| query.attribute("ver"));
        let entity = address::bare(head.to);
        if this.host().matrix.contacts(entity) == Contacts::Own {
            let items = own_contacts(&*stack.hold(&stored)?, entity);
            return Ok(wire::roster::part(&head, theirs.as_deref(), &items));
        }
        let ours = version(&stored, keys);
        if roster::is_current(theirs.as_deref(), ours) {
            return Ok(empty_iq(&head));
        }
        let ver = ours.map(version_text);
        let mut writer = RosterWriter::new(&head, ver.as_deref(), 4096);
        write_contacts(&*stack.hold(&stored)?, &mut writer);
        Ok(writer.finish())
    })
}

/// `plan_roster_set(account, stanza, roster, entity)`: the list of changes, empty where nothing would change; or nil and
/// the denial (R2 to R4, G1). `entity` is nil for a set of the account itself.
fn plan_roster_set(
    lua: &Lua,
    this: &LuaHost,
    (account, stanza, stored, entity): (Text, Argument, LuaTable, Option<Text>),
) -> LuaResult<Answer> {
    let keys = &this.keys;
    Stack::with(lua, keys, |stack| {
        let stanza = LuaElement::stanza(stack.argument(&stanza)?);
        let read = roster::read_stanza(&stanza, &account, &this.server);
        let granted = read.and_then(|sets| match &entity {
            Some(entity) => roster::check_contacts(&this.host().matrix, entity, &sets).map(|()| sets),
            None => Ok(sets),
        });
        let planned = granted.and_then(|sets| roster::plan(sets, |jid| find(stack, &stored, jid)));
        match planned {
            Ok(planned) => Ok((Some(changes(lua, planned)?), None)),
            Err(denial) => denied(lua, keys, &denial),
        }
    })
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
    let wanted = read(lua, &change, keys)?.subscription;
    let theirs = item.map(|item| read(lua, &item, keys)).transpose()?;
    match roster::agree(&account, &contact, wanted, theirs.as_ref(), may_set) {
        Ok(agreed) => {
            let agreement = lua.create_table()?;
            if let Some(agreed) = agreed {
                agreement.raw_set("change", self::change(lua, agreed)?)?;
            }
            Ok((Some(agreement), None))
        }
        Err(denial) => denied(lua, keys, &denial),
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
    let item = item.map(|item| read(lua, &item, keys)).transpose()?;
    let version = version.map(|Natural(version)| version.to_string());
    let outgoing = this
        .host_mut()
        .pushes(&username, &jid, item.as_ref(), version.as_deref());
    values::outbox(lua, keys, outgoing)
}

/// `roster_changes(before, after)`: the contacts whose visible item differs between two rosters, or
/// parts of rosters, either of which may be nil (R7, R8).
fn roster_changes(
    lua: &Lua,
    this: &LuaHost,
    (before, after): (Option<LuaTable>, Option<LuaTable>),
) -> LuaResult<Vec<String>> {
    let part = |stored: Option<LuaTable>| match stored {
        Some(stored) => Stack::with(lua, &this.keys, |stack| Ok(visible(&*stack.hold(&stored)?))),
        None => Ok(BTreeMap::new()),
    };
    Ok(roster::changed(&part(before)?, &part(after)?))
}

/// The visible part of a stored item, or of a change (R8).
fn read(lua: &Lua, item: &LuaTable, keys: &Keys) -> LuaResult<Item> {
    Stack::with(lua, keys, |stack| Ok(read_item(&*stack.hold(item)?)))
}

/// The visible part of a stored item (R8).
fn read_item(item: &Place<'_>) -> Item {
    let mut groups = BTreeSet::new();
    item.inner(Key::Groups, |stored| {
        stored.for_each(|group, _| {
            groups.insert(group.to_owned());
        });
    });
    Item {
        subscription: item
            .string(Key::Subscription)
            .and_then(|value| Subscription::parse(&value))
            .unwrap_or_default(),
        ask: item.string(Key::Ask).is_some(),
        approved: is_approved(item),
        name: item.string(Key::Name),
        groups,
    }
}

/// The contacts of a stored roster that are an entity's own (G1).
fn own_contacts(stored: &Place<'_>, entity: &str) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    stored.for_each(|jid, item| {
        let own = item.filter(|item| Contacts::Own.include(entity, jid) && is_contact(item));
        if let Some(item) = own {
            items.insert(jid.to_owned(), read_item(&item));
        }
    });
    items
}

/// Writes all contacts of a stored roster.
fn write_contacts(stored: &Place<'_>, writer: &mut RosterWriter) {
    stored.for_each(|jid, item| {
        let Some(item) = item else { return };
        if let Some(subscription) = item.string(Key::Subscription) {
            let ask = item.string(Key::Ask);
            let name = item.string(Key::Name);
            writer.item(
                jid,
                &subscription,
                ask.as_deref(),
                is_approved(&item),
                name.as_deref(),
            );
            item.inner(Key::Groups, |groups| {
                groups.for_each(|group, _| writer.group(group))
            });
            writer.end_item();
        }
    });
}

/// Whether the account has approved the contact in advance; some versions store a string.
fn is_approved(item: &Place<'_>) -> bool {
    item.flag(Key::Approved)
        .unwrap_or_else(|| item.holds(Key::Approved, "true"))
}

/// Returns the contacts of a stored roster, or of a part of one, by JID. Rows that are not contacts are
/// left out (R8), and so are contacts that are not stored: a save does not change those.
fn visible(stored: &Place<'_>) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    stored.for_each(|jid, item| {
        if let Some(item) = item.filter(|item| is_contact(item) && is_stored(item)) {
            items.insert(jid.to_owned(), read_item(&item));
        }
    });
    items
}

/// Whether a row of a roster is a contact.
fn is_contact(row: &Place<'_>) -> bool {
    row.string(Key::Subscription).is_some()
}

/// The contacts that the account is subscribed to.
pub(super) fn subscribed_to(lua: &Lua, stored: &LuaTable, keys: &Keys) -> LuaResult<Vec<String>> {
    Stack::with(lua, keys, |stack| {
        let mut contacts = Vec::new();
        stack.hold(stored)?.for_each(|jid, item| {
            let subscription = item.and_then(|item| item.string(Key::Subscription));
            let subscription = subscription.and_then(|value| Subscription::parse(&value));
            if subscription.is_some_and(Subscription::includes_to) {
                contacts.push(jid.to_owned());
            }
        });
        Ok(contacts)
    })
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
fn find(stack: &Stack<'_>, roster: &LuaTable, jid: &str) -> Option<Current> {
    let item = roster.raw_get::<LuaTable>(jid).ok()?;
    let item = stack.hold(&item).ok()?;
    Some(Current {
        is_stored: is_stored(&item),
        item: read_item(&item),
    })
}

/// Whether an item is one that storage holds. Modules that add contacts to a roster while it is loaded
/// mark them, and leave them out when it is saved.
fn is_stored(item: &Place<'_>) -> bool {
    item.flag(Key::Persist) != Some(false)
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
