//! The judgements, and what becomes of the stanzas that they permit.

use mlua::prelude::*;

use super::host::LuaHost;
use super::keys::Key;
use super::raw::{Answer, Argument, Content, Stack, Table};
use super::stanza::{LuaElement, Origin, string};
use super::values::{self, Natural, Text};
use crate::administration::Domain;
use crate::decline::{Kind, Why};
use crate::denial::Denial;
use crate::element::Element;
use crate::request::{Permit, Request};
use crate::wire::{self, iq::Refused};
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
        let request = &Request {
            sender: origin.sender(),
            stanza,
            normaliser: &this.server,
        };
        match judge(request) {
            Ok((permit, id)) => {
                let table = permitted(stack, &permit, id.as_deref())?;
                Ok(Answer::Yes(stack.hand_back(&table, session)?))
            }
            Err(denial) => {
                let answer = origin.sender().is_component().then(|| refusal(request, &denial));
                let table = values::denial_on(stack, &denial, answer.as_deref())?;
                Ok(Answer::No(stack.hand_back(&table, session)?))
            }
        }
    })
}

/// Returns the error stanza that answers a request, as text.
fn refusal(request: &Request<'_, LuaElement<'_>>, why: &Denial) -> String {
    let stanza = &request.stanza;
    let attribute = |name| stanza.attribute(name);
    let (id, from, to) = (attribute("id"), attribute("from"), attribute("to"));
    let refused = Refused {
        name: &stanza.name(),
        id: id.as_deref(),
        from: from.as_deref(),
        to: to.as_deref(),
    };
    wire::iq::refusal(&refused, why)
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
