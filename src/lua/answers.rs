//! The answers to privileged IQs on their way back, and what services send ahead of them.

use mlua::prelude::*;

use super::host::{LuaHost, named_key};
use super::keys::{Key, Keys};
use super::raw::{Argument, Content, Part, Stack};
use super::stanza::{LuaElement, each_pair, owned, string};
use super::tree::Tree;
use super::values::{Lossy, Text};
use crate::element::{Element, children};
use crate::ledger::Entry;
use crate::ns;
use crate::wire::iq::{self as wire, Inner, Reply};
use crate::wire::xml;

pub(super) fn add_methods<M: LuaUserDataMethods<LuaHost>>(methods: &mut M) {
    methods.add_method("answer", answer);
    methods.add_method("ahead", ahead);
    methods.add_method("wrap", wrap);
    // `escaped(text)`: text as it stands in XML.
    methods.add_method("escaped", |_, _, Lossy(text): Lossy| Ok(xml::escaped(&text)));
    methods.add_method("unrelayable", unrelayable);
}

/// `answer(id, from, to, stanza)`: an IQ of type result or error has come back under one of our ids. Returns nil for a stray
/// answer (Q5); otherwise the request is in flight no more. Where the entity is a component that is connected, returns
/// `{ to = its address, text = the answer in its wrapper }` (Q4). Where it is another entity, where the answer can only be
/// written by the server, or without a `stanza`, returns `{ to = the entity's address, from = the account, id = that of the
/// entity's request, inner_id = that of the IQ inside }`.
fn answer(
    lua: &Lua,
    this: &LuaHost,
    (id, from, to, stanza): (Text, Option<Text>, Text, Option<Argument>),
) -> LuaResult<Option<LuaTable>> {
    let Some(request) = this.host_mut().answer(&id, from.as_deref(), &to) else {
        return Ok(None);
    };
    let takes_text = request.is_of_component() && this.host().entities.get(&request.reply_to).is_some();
    Stack::with(lua, &this.keys, |stack| {
        let text = match stanza.filter(|_| takes_text) {
            Some(stanza) => relayed(&request, &LuaElement::stanza(stack.argument(&stanza)?)),
            None => None,
        };
        let unwritten = |value| Some(value).filter(|_| text.is_none());
        let texts = [
            (Key::To, Some(&*request.reply_to)),
            (Key::Text, text.as_deref()),
            (Key::From, unwritten(&*request.account)),
            (Key::Id, unwritten(&*request.outer_id)),
            (Key::InnerId, unwritten(&*request.inner_id)),
        ];
        let table = stack.new_table(&Content {
            texts: &texts,
            ..Content::default()
        })?;
        table.handle().map(Some)
    })
}

/// Returns an answer in its wrapper, as text (Q4). The IQ inside is to the account, with the id that the entity gave its
/// request. Returns `None` where only the server can write it.
fn relayed(request: &Entry, answer: &LuaElement<'_>) -> Option<String> {
    let kind = answer.attribute("type");
    let from = answer
        .attribute("from")
        .unwrap_or_else(|| request.account.clone());
    let reply = Reply::to(request);
    let mut tree = Tree::new(wire::open_wrapper(&reply, kind.as_deref()));
    let is_whole = answer.place()?.walk(|part| match part {
        Part::Start(name) if tree.level() == 0 => {
            tree.take(Part::Start(name));
            tree.text.attribute("xmlns", ns::CLIENT);
            tree.text.attribute("from", &from);
            tree.text.attribute("to", &request.account);
            tree.text.attribute("id", &request.inner_id);
        }
        Part::Attribute("xmlns" | "from" | "to" | "id", _) if tree.level() == 1 => {}
        part => tree.take(part),
    });
    if !is_whole {
        return None;
    }
    wire::close_wrapper(&mut tree.text);
    if kind.as_deref() == Some("error") {
        // The error of the service is that of the request as well.
        if let Some(error) = children(answer).find(|child| child.is("error", ns::CLIENT)) {
            error.place()?.walk(|part| tree.take(part));
        }
    }
    let mut text = tree.finish()?;
    text.push_str("</iq>");
    Some(text)
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
