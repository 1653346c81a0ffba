//! The judgements, and what becomes of the stanzas that they permit.

use mlua::prelude::*;

use super::host::{LuaHost, named_key};
use super::keys::{Key, Keys};
use super::raw::{Answer, Argument, Content, Stack, Table};
use super::stanza::{LuaElement, Origin, each_pair, owned, string};
use super::values::{self, Lossy, Natural, Text};
use crate::administration::Domain;
use crate::decline::{Kind, Why};
use crate::denial::Denial;
use crate::request::{Permit, Request};
use crate::wire::iq::{self as wire, Inner, Reply};
use crate::wire::xml;
use crate::{iq, message, roster};

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("message", message);
    methods.add_method("iq", iq);
    methods.add_method("roster", roster);
    methods.add_method("decline", decline);
    // `is_in_flight(permit)`: whether a privileged IQ waits for its answer.
    methods.add_method("is_in_flight", |_, this, permit: LuaTable| {
        let id = string(&permit, &this.keys.id);
        Ok(id.is_some_and(|id| this.host().ledger.is_in_flight(&id)))
    });
    methods.add_method("answer", answer);
    methods.add_method("ahead", ahead);
    methods.add_method("wrap", wrap);
    // `escaped(text)`: text as it stands in XML.
    methods.add_method("escaped", |_, _, Lossy(text): Lossy| Ok(xml::escaped(&text)));
    methods.add_method("unrelayable", unrelayable);
}

/// A permit, and the id that a privileged IQ leaves under.
type Permitted<'s> = (Permit<LuaElement<'s>>, Option<String>);

/// Calls `judge` with the request that a stanza of a session makes. Returns the permit as one table; or nil and the denial.
fn judged(
    lua: &Lua,
    this: &LuaHost,
    (session, stanza): (Argument, Argument),
    judge: impl for<'s> FnOnce(&Request<'_, LuaElement<'s>>) -> Result<Permitted<'s>, Denial>,
) -> LuaResult<Answer> {
    Stack::with(lua, &this.keys, |stack| {
        let stanza = LuaElement::stanza(stack.argument(&stanza)?);
        let origin = Origin::read(&*stack.argument(&session)?, &stanza);
        let judged = judge(&Request {
            sender: origin.sender(),
            stanza,
            normaliser: &this.server,
        });
        match judged {
            Ok((permit, id)) => {
                let table = permitted(stack, &permit, id.as_deref())?;
                Ok(Answer::Yes(stack.hand_back(&table, session)?))
            }
            Err(denial) => {
                let table = values::denial_on(stack, &denial)?;
                Ok(Answer::No(stack.hand_back(&table, session)?))
            }
        }
    })
}

/// Makes a permit one table.
fn permitted<'s>(
    stack: &'s Stack<'_>,
    permit: &Permit<LuaElement<'_>>,
    id: Option<&str>,
) -> LuaResult<Table<'s>> {
    let texts = [
        (Key::Account, Some(&*permit.account)),
        (Key::To, permit.to.as_deref()),
        (Key::Username, permit.username.as_deref()),
        (
            Key::UnlessAdministratorOf,
            permit.unless_administrator_of.as_ref().map(Domain::as_str),
        ),
        (Key::UnreadBlocklist, permit.unread_blocklist.as_deref()),
        (Key::Id, id),
    ];
    let stanza = permit.stanza.as_ref().and_then(LuaElement::place);
    let delay = permit.delay.as_ref().and_then(LuaElement::place);
    let tables = [
        stanza.map(|stanza| (Key::Stanza, stanza)),
        delay.map(|delay| (Key::Delay, delay)),
    ];
    stack.new_table(&Content {
        texts: &texts,
        tables,
        ..Content::default()
    })
}

/// `message(session, stanza)`: the permit of a privileged message; or nil and the denial.
fn message(lua: &Lua, this: &LuaHost, (session, stanza): (Argument, Argument)) -> LuaResult<Answer> {
    judged(lua, this, (session, stanza), |request| {
        Ok((message::judge(&this.host().matrix, request)?, None))
    })
}

/// `iq(session, stanza, now)`: the permit of a privileged IQ, which is in flight from now on (Q5); or nil and the
/// denial. `now` is in milliseconds.
fn iq(
    lua: &Lua,
    this: &LuaHost,
    (session, stanza, Natural(now)): (Argument, Argument, Natural),
) -> LuaResult<Answer> {
    judged(lua, this, (session, stanza), |request| {
        // Judging asks the server, so the host is borrowed for change only afterwards.
        let judged = iq::judge(&this.host().matrix, request);
        let permit = judged?;
        let id = this.host_mut().ledger.enter(now, request, &permit)?;
        Ok((permit, Some(id)))
    })
}

/// `roster(session, stanza)`: the permit of a roster request; or nil and the denial.
fn roster(lua: &Lua, this: &LuaHost, (session, stanza): (Argument, Argument)) -> LuaResult<Answer> {
    judged(lua, this, (session, stanza), |request| {
        Ok((roster::judge(&this.host().matrix, request)?, None))
    })
}

/// `decline(kind, permit, why)`: the denial where the server knows better than a permit. `kind` is the method that gave it:
/// "message", "iq" or "roster". `why` is "unknown-account"; "lookup" where the server cannot say at once whether the account
/// exists; "blocklist" where it cannot read that of the account (G5); "administrator" (N1); "failed" where the server failed to send the stanza; "unrelayable" (Q7); "unreadable" or
/// "unsaved" of a roster. An IQ is not in flight any more.
fn decline(lua: &Lua, this: &LuaHost, (kind, permit, why): (Text, LuaTable, Text)) -> LuaResult<LuaTable> {
    let keys = &this.keys;
    let kind = Kind::parse(&kind).ok_or_else(|| values::unknown("the name of a judgement", &kind))?;
    let why = match &*why {
        "unknown-account" => Why::UnknownAccount,
        "lookup" => Why::Lookup,
        "blocklist" => Why::Blocklist,
        "administrator" => {
            let domain = string(&permit, &keys.unless_administrator_of).unwrap_or_default();
            Why::Administrator(Domain::parse(&domain))
        }
        "failed" => Why::Failed,
        "unrelayable" => Why::Unrelayable,
        "unreadable" => Why::Unreadable,
        "unsaved" => Why::Unsaved,
        other => return Err(values::unknown("a reason", other)),
    };
    let id = string(&permit, &keys.id);
    let denial = this.host_mut().decline(kind, &why, id.as_deref());
    values::denial(lua, keys, &denial)
}

/// `answer(id, from, to)`: an IQ of type result or error has come back under one of our ids. Returns `{ to = the entity's
/// address, from = the account, id = that of the entity's request, inner_id = that of the IQ inside }`, and the request is
/// in flight no more; nil for a stray answer (Q5).
fn answer(
    lua: &Lua,
    this: &LuaHost,
    (id, from, to): (Text, Option<Text>, Text),
) -> LuaResult<Option<LuaTable>> {
    let keys = &this.keys;
    let Some(request) = this.host_mut().answer(&id, from.as_deref(), &to) else {
        return Ok(None);
    };
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set(&keys.to, request.reply_to)?;
    table.raw_set(&keys.from, request.account)?;
    table.raw_set(&keys.id, request.outer_id)?;
    table.raw_set(&keys.inner_id, request.inner_id)?;
    Ok(Some(table))
}

/// `ahead(account, to)`: the addresses and the id for a message to an account that a service sends ahead of its answer; see
/// [`answer`].
fn ahead(lua: &Lua, this: &LuaHost, (account, to): (Text, Text)) -> LuaResult<LuaTable> {
    let keys = &this.keys;
    let id = this.host_mut().new_id("ahead");
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set(&keys.to, &*to)?;
    table.raw_set(&keys.from, &*account)?;
    table.raw_set(&keys.id, id)?;
    Ok(table)
}

/// Calls `write` with the addresses and the id in a table that [`answer`] or [`ahead`] has returned.
fn written<R>(this: &LuaHost, reply: &LuaTable, write: impl FnOnce(&Reply<'_>) -> R) -> LuaResult<R> {
    let keys = &this.keys;
    let text = |key: &LuaString| named_key::<Text>(reply, key);
    Ok(write(&Reply {
        to: &text(&keys.to)?,
        from: &text(&keys.from)?,
        id: &text(&keys.id)?,
    }))
}

/// `wrap(reply, stanza, content, error)`: a stanza of a service in its wrapper, as text (Q4). `reply` is what `answer` or
/// `ahead` has returned; `content` is the content of the stanza as text, nil where the stanza is put in later; `error` is
/// its error as text, or "".
fn wrap(
    lua: &Lua,
    this: &LuaHost,
    (reply, stanza, content, Lossy(error)): (LuaTable, LuaTable, Option<Lossy>, Lossy),
) -> LuaResult<LuaString> {
    let keys = &this.keys;
    let name = string(&stanza, &keys.name).unwrap_or_default();
    let attr: LuaTable = named_key(&stanza, &keys.attr)?;
    let kind = string(&attr, &keys.r#type).filter(|_| name == "iq");
    let account: Text = named_key(&reply, &keys.from)?;
    let attributes = inner_attributes(keys, &attr, &reply, &account);
    let inner = content.as_ref().map(|Lossy(content)| Inner {
        name: &name,
        attributes: &attributes,
        content,
    });
    let text = written(this, &reply, |reply| {
        wire::wrapped(reply, kind.as_deref(), inner.as_ref(), &error)
    })?;
    lua.create_string(text)
}

/// The attributes that a stanza of a service has inside its wrapper: it is to the account, and an answer has the id that
/// the entity gave its request.
fn inner_attributes(keys: &Keys, attr: &LuaTable, reply: &LuaTable, account: &str) -> Vec<(String, String)> {
    let pair = |key: &LuaString, value: String| (owned(key), value);
    let id = string(reply, &keys.inner_id).or_else(|| string(attr, &keys.id));
    let from = string(attr, &keys.from).unwrap_or_else(|| account.to_owned());
    let mut attributes = vec![pair(&keys.from, from), pair(&keys.to, account.to_owned())];
    attributes.extend(id.map(|id| pair(&keys.id, id)));
    each_pair(attr, |name, value| {
        let ours = [&keys.id, &keys.from, &keys.to, &keys.xmlns];
        if let (LuaValue::String(name), LuaValue::String(value)) = (name, value)
            && !ours.into_iter().any(|key| *key == name)
        {
            attributes.push((owned(&name), owned(&value)));
        }
    });
    attributes
}

/// `unrelayable(reply)`: the error in the place of an answer that cannot be relayed; see [`answer`] (Q7).
fn unrelayable(_: &Lua, this: &LuaHost, reply: LuaTable) -> LuaResult<String> {
    written(this, &reply, |reply| {
        wire::error(reply, &crate::ledger::unrelayable())
    })
}
