//! Rosters as the server keeps them: a table of items by contact, with a row of metadata under
//! `false`.

use std::collections::{BTreeMap, BTreeSet};

use mlua::prelude::*;

use super::keys::Keys;
use super::stanza::{owned, string};
use crate::item::{Item, Subscription};
use crate::roster::{Change, Current};
use crate::wire::roster::RosterWriter;

/// The visible part of a stored item (R8).
pub(super) fn read_item(item: &LuaTable, keys: &Keys) -> Item {
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
pub(super) fn write_contacts(stored: &LuaTable, keys: &Keys, writer: &mut RosterWriter) -> LuaResult<()> {
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
pub(super) fn is_approved(item: &LuaTable, keys: &Keys) -> bool {
    match item.raw_get(&keys.approved) {
        Ok(LuaValue::Boolean(approved)) => approved,
        Ok(LuaValue::String(text)) => text.as_bytes() == b"true",
        _ => false,
    }
}

/// Calls `each` with every group of a stored item.
pub(super) fn each_group(item: &LuaTable, keys: &Keys, mut each: impl FnMut(String)) {
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
pub(super) fn visible(stored: &LuaTable, keys: &Keys) -> BTreeMap<String, Item> {
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

/// The item of a contact in a roster that the server has loaded.
pub(super) fn find(roster: &LuaTable, jid: &str, keys: &Keys) -> Option<Current> {
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
pub(super) fn version(roster: &LuaTable, keys: &Keys) -> Option<f64> {
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
pub(super) fn version_text(version: f64) -> String {
    format!("{version}")
}

/// Returns the changes of a roster set for the shim to enter; see [`change`].
pub(super) fn changes(lua: &Lua, changes: Vec<Change>) -> LuaResult<LuaTable> {
    let list = lua.create_table_with_capacity(changes.len(), 0)?;
    for planned in changes {
        list.raw_push(change(lua, planned)?)?;
    }
    Ok(list)
}

/// Returns one change as a table: `{ jid =, settles_request =, remove = true }`, or `{ jid =, settles_request =,
/// gains_to =, subscription =, ask =, approved =, name =, groups = { [group] = true } }`.
pub(super) fn change(lua: &Lua, planned: Change) -> LuaResult<LuaTable> {
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
