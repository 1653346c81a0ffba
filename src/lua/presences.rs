//! Presence stanzas as fingerprints, and the memory of what a connection has been told.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::prelude::*;

use super::host::LuaHost;
use super::keys::{Key, Keys};
use super::presence_stanza;
use super::raw::{Argument, Content, Returned, Stack};
use super::rosters::{is_told_presence, subscribed_to};
use super::stanza::string;
use super::values::{Flag, Text, Viewer, Viewers, listed};
use crate::fingerprint::Sender;
use crate::host::Host;
use crate::memory::Memory;
use crate::presence::Occasion;
use crate::viewers::{Case, Number, SharedMemory};

/// How many senders a connection's memory holds: 16 MiB when it is full.
const MOST_SENDERS: usize = 1 << 20;

/// The memory of a connection, in the hands of the shim, which puts it beside the connection. All
/// hosts that grant that entity something share it.
struct PresenceMemory(SharedMemory);

impl LuaUserData for PresenceMemory {}

/// Returns an empty memory, and as the shim holds it.
pub(super) fn new_memory(lua: &Lua) -> LuaResult<(LuaAnyUserData, SharedMemory)> {
    let memory = Rc::new(RefCell::new(Memory::new(MOST_SENDERS)));
    Ok((lua.create_userdata(PresenceMemory(Rc::clone(&memory)))?, memory))
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

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("sees", |_, this, occasion: Occasion| {
        let host = this.host();
        Ok(host.entities.most_presence(&host.matrix).includes(occasion))
    });
    methods.add_method("viewers", viewers);
    methods.add_method("shown", shown);
    methods.add_method("unfounded", unfounded);
    methods.add_method("lost", lost);
    methods.add_method("confirm", confirm);
    methods.add_method("contacts", contacts);
    methods.add_method("askers", askers);
    methods.add_method("asked", |_, this, (contact, Viewers(some)): (Text, Viewers)| {
        this.host().viewers.asked(&contact, &some);
        Ok(())
    });
    methods.add_method("all_asked", |_, this, Viewer(viewer): Viewer| {
        this.host().viewers.all_asked(viewer);
        Ok(())
    });
    methods.add_method(
        "needs_round",
        |_, this, (Viewer(viewer), Flag(asks)): (Viewer, Flag)| {
            let host = this.host();
            Ok(host.viewers.needs_round(&host.matrix, viewer, asks))
        },
    );
}

/// `viewers(occasion, username, stanza, among, contacts)`: the news for those who may see a presence and do not know it:
/// the list of their numbers, and in the same table `ticket`, for `shown`, `head` and `tail`, the presence as text before
/// and after the address of each, if it can be written here; nil where there is nothing to do. The presence is an "account"'s
/// broadcast, or has come to the account from a "contact"; whether the account is subscribed to that contact is for the
/// caller to find out (P1, P3 to P5, C7). `among` may be a list of viewers to choose from. `contacts` is
/// the roster of the sender, if the server has it: the server itself sends the presence to those of its contacts that may
/// see it (P5).
fn viewers(
    lua: &Lua,
    this: &LuaHost,
    (occasion, username, stanza, among, contacts): (
        Occasion,
        Text,
        Argument,
        Option<Viewers>,
        Option<LuaTable>,
    ),
) -> LuaResult<Option<Returned>> {
    let keys = &this.keys;
    Stack::with(lua, keys, |stack| {
        let presence = stack.argument(&stanza)?;
        let from = presence_stanza::from(&presence);
        let case = Case {
            occasion,
            username: &username,
            from: &from,
        };
        let among = among.as_ref().map(|Viewers(some)| some.as_slice());
        let print = || presence_stanza::fingerprint(&presence, &from);
        let is_sent = |entity: &str| {
            contacts
                .as_ref()
                .is_some_and(|contacts| is_told_presence(contacts, entity, keys))
        };
        let told = {
            let Host { matrix, viewers, .. } = &mut *this.host_mut();
            viewers.tell(matrix, case, among, print, is_sent)
        };
        let Some(telling) = told else {
            return Ok(None);
        };
        let is_news = !telling.viewers.is_empty();
        let halves = is_news.then(|| presence_stanza::halves(&presence)).flatten();
        let (head, tail) = halves.as_ref().map(|(head, tail)| (&**head, &**tail)).unzip();
        let news = stack.new_table(&Content {
            texts: &[(Key::Head, head), (Key::Tail, tail)],
            number: Some((Key::Ticket, telling.ticket.cast_signed())),
            list: &telling.viewers,
            ..Content::default()
        })?;
        drop(presence);
        stack.hand_back(&news, stanza).map(Some)
    })
}

/// `shown(news)`: those in the list have been told this; see [`viewers`] (P4).
fn shown(lua: &Lua, this: &LuaHost, news: Argument) -> LuaResult<()> {
    Stack::with(lua, &this.keys, |stack| {
        let news = stack.argument(&news)?;
        let numbers = (1..=news.len()).filter_map(|index| news.item_number(index));
        let told: Vec<Number> = numbers
            .filter_map(|number| Number::try_from(number).ok())
            .collect();
        if let Some(ticket) = news.number(Key::Ticket) {
            this.host_mut().viewers.shown(ticket, &told);
        }
        Ok(())
    })
}

/// `unfounded(occasion, username, jid, present, among)`: those who believe an account, or a contact of
/// it, available for no reason that holds today, and who have to be told that it is not; nil for nobody.
/// `present` are the presences that it has; `among` may be a list of viewers to choose from.
fn unfounded(
    _: &Lua,
    this: &LuaHost,
    (occasion, username, jid, present, among): (Occasion, Text, Text, LuaTable, Option<Viewers>),
) -> LuaResult<Option<Vec<Number>>> {
    let case = Case {
        occasion,
        username: &username,
        from: &jid,
    };
    let host = this.host();
    let among = among.as_ref().map(|Viewers(some)| some.as_slice());
    if !host.viewers.may_mislead(among) {
        return Ok(None); // as nearly always
    }
    let present = senders(&present, &this.keys);
    Ok(listed(host.viewers.unfounded(
        &host.matrix,
        case,
        among,
        &present,
    )))
}

/// A contact of an account.
fn of_contact<'a>(username: &'a Text, contact: &'a Text) -> Case<'a> {
    Case {
        occasion: Occasion::Contact,
        username,
        from: contact,
    }
}

/// `lost(username, contact, others, blocked)`: the account is no longer subscribed to the contact; `others`, a list
/// of usernames, are. Or the account has just blocked the entities of the viewers `blocked`, if that is given. Returns those who believe the contact available and have to be told that it is not; nil
/// for nobody (P8).
fn lost(
    _: &Lua,
    this: &LuaHost,
    (username, contact, others, blocked): (Text, Text, Vec<Text>, Option<Viewers>),
) -> LuaResult<Option<Vec<Number>>> {
    let others: Vec<String> = others.into_iter().map(|Text(other)| other).collect();
    let host = this.host();
    let case = of_contact(&username, &contact);
    let blocked = blocked.as_ref().map(|Viewers(some)| some.as_slice());
    Ok(listed(host.viewers.lost(&host.matrix, case, &others, blocked)))
}

/// `confirm(username, roster, among)`: the presence that these viewers were told of the account and of the contacts it
/// is subscribed to, and may still see, is known on its account (P4).
fn confirm(
    lua: &Lua,
    this: &LuaHost,
    (username, stored, Viewers(some)): (Text, LuaTable, Viewers),
) -> LuaResult<()> {
    let subscribed = subscribed_to(lua, &stored, &this.keys)?;
    let host = this.host();
    let contacts = subscribed.iter().map(String::as_str);
    host.viewers.confirm(&host.matrix, &username, contacts, &some);
    Ok(())
}

/// `contacts(username, roster, among)`: the contacts an account is subscribed to that are still to be
/// asked on behalf of some of these viewers (P3).
fn contacts(
    lua: &Lua,
    this: &LuaHost,
    (username, stored, Viewers(some)): (Text, LuaTable, Viewers),
) -> LuaResult<LuaTable> {
    let subscribed = subscribed_to(lua, &stored, &this.keys)?;
    let host = this.host();
    let contacts = subscribed.iter().map(String::as_str);
    let worth = host
        .viewers
        .worth_asking(&host.matrix, &username, contacts, &some);
    lua.create_sequence_from(worth)
}

/// `askers(username, contact, among)`: those of these viewers for whom the contact is still to be asked
/// in the name of this account; nil for nobody.
fn askers(
    _: &Lua,
    this: &LuaHost,
    (username, contact, Viewers(some)): (Text, Text, Viewers),
) -> LuaResult<Option<Vec<Number>>> {
    let host = this.host();
    let case = of_contact(&username, &contact);
    Ok(listed(host.viewers.askers(&host.matrix, case, &some)))
}

/// Who sent each of some presences.
fn senders(list: &LuaTable, keys: &Keys) -> Vec<Sender> {
    let presences = (1..=list.raw_len()).filter_map(|index| list.raw_get::<LuaTable>(index).ok());
    presences
        .filter_map(|presence| presence.raw_get::<LuaTable>(&keys.attr).ok())
        .filter_map(|attr| string(&attr, &keys.from))
        .map(|from| Sender::new(&from))
        .collect()
}
