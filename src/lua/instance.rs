//! The core of one granting host, as a table of functions.
//!
//! Its state belongs to the module instance that opened it, never to a static: the library stays
//! loaded over a reload of the module, and all hosts share it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::prelude::*;

use super::convert::{self, LuaServer, denied};
use super::keys::Keys;
use super::stanza::{LuaElement, Origin, string};
use super::{presences, rosters};
use crate::administration::{self, Domain};
use crate::denial::Denial;
use crate::element::Element;
use crate::ledger::{self, Answer, Entry, Ledger};
use crate::matrix::{self, PermissionMatrix};
use crate::memory::Todo;
use crate::permission::{IqType, PresenceAccess};
use crate::presence::Occasion;
use crate::request::{Permit, Request};
use crate::roster;
use crate::viewers::{Case, Number, Viewers};
use crate::wire::advert;
use crate::wire::roster::{IqHead, RosterWriter, empty_iq};
use crate::{config, iq, message};

struct State {
    matrix: PermissionMatrix,
    ledger: Ledger,
    viewers: Viewers,
}

/// What every function of an instance shares.
struct Core {
    keys: Rc<Keys>,
    server: LuaServer,
    state: RefCell<State>,
}

type Args = (LuaValue, LuaValue, LuaValue, LuaValue, LuaValue, LuaValue);

/// `open(host, jid_prep, nodeprep, serves, id_prefix)`: the core of a granting host that grants
/// nothing yet.
pub(super) fn open(
    lua: &Lua,
    (host, jid_prep, nodeprep, serves, prefix): (LuaValue, LuaValue, LuaValue, LuaValue, LuaValue),
) -> LuaResult<LuaTable> {
    let host = convert::text(&host, "open", "host")?;
    let prefix = convert::text(&prefix, "open", "id_prefix")?;
    let core = Rc::new(Core {
        keys: Rc::new(Keys::new(lua)?),
        server: LuaServer {
            jid_prep: convert::function(jid_prep, "open", "jid_prep")?,
            nodeprep: convert::function(nodeprep, "open", "nodeprep")?,
            serves: convert::function(serves, "open", "serves")?,
        },
        state: RefCell::new(State {
            matrix: PermissionMatrix::new(host),
            ledger: Ledger::new(prefix),
            viewers: Viewers::default(),
        }),
    });
    let exports = lua.create_table()?;
    let export = |name: &str, function: fn(&Core, &Lua, Args) -> LuaResult<LuaMultiValue>| {
        let core = Rc::clone(&core);
        exports.raw_set(
            name,
            lua.create_function(move |lua, args: Args| function(&core, lua, args))?,
        )
    };
    export("configure", configure)?;
    export("entities", entities)?;
    export("grant", grant)?;
    export("pushes", pushes)?;
    export("covers", covers)?;
    export("advertisement", advertisement)?;
    export("message", message)?;
    export("iq", iq)?;
    export("roster", roster)?;
    export("decline", decline)?;
    export("unrelayable", unrelayable)?;
    export("roster_result", roster_result)?;
    export("plan_roster_set", plan_roster_set)?;
    export("may_set_roster", may_set_roster)?;
    export("agree_roster_change", agree_roster_change)?;
    export("roster_push", roster_push)?;
    export("roster_changes", roster_changes)?;
    export("watch", watch)?;
    export("unwatch", unwatch)?;
    export("viewers", viewers)?;
    export("shown", shown)?;
    export("unfounded", unfounded)?;
    export("lost", lost)?;
    export("confirm", confirm)?;
    export("contacts", contacts)?;
    export("askers", askers)?;
    export("asked", asked)?;
    export("all_asked", all_asked)?;
    export("needs_round", needs_round)?;
    export("iq_limits", iq_limits)?;
    export("cancel_request", cancel_request)?;
    export("answer", answer)?;
    export("expire", expire)?;
    export("forget", forget)?;
    export("in_flight", in_flight_count)?;
    export("export_requests", export_requests)?;
    export("import_requests", import_requests)?;
    Ok(exports)
}

/// `configure(privileged_entities)`: compiles the option and puts it in force. Gives a list of
/// problems, each `{ level =, text = }`, and the list of entities whose grant has changed (C6).
fn configure(core: &Core, lua: &Lua, (options, ..): Args) -> LuaResult<LuaMultiValue> {
    let options = convert::config(&options)?;
    let host = core.state.borrow().matrix.host().to_owned();
    let (matrix, problems) = config::compile(&host, &options, &core.server);
    let list = lua.create_table()?;
    for problem in problems {
        let entry = lua.create_table()?;
        entry.raw_set("level", problem.level.as_str())?;
        entry.raw_set("text", problem.text)?;
        list.raw_push(entry)?;
    }
    let mut state = core.state.borrow_mut();
    let changed = state.matrix.changed(&matrix);
    state.matrix = matrix;
    (list, changed).into_lua_multi(lua)
}

/// `entities()`: the bare JIDs of all entities named in the configuration.
fn entities(core: &Core, lua: &Lua, _: Args) -> LuaResult<LuaMultiValue> {
    let state = core.state.borrow();
    let list = lua.create_table()?;
    for entity in state.matrix.entities() {
        list.raw_push(entity)?;
    }
    list.into_lua_multi(lua)
}

/// `grant(entity)`: what is granted, `{ pushes = whether rosters are pushed, presence = its access }`; nil where
/// nothing is.
fn grant(core: &Core, lua: &Lua, (entity, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "grant", "entity")?;
    let state = core.state.borrow();
    let Some(grant) = state.matrix.grant(&entity) else {
        return LuaNil.into_lua_multi(lua);
    };
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("pushes", grant.pushes_roster())?;
    table.raw_set("presence", grant.presence.as_str())?;
    table.into_lua_multi(lua)
}

/// `pushes(entity, username)`: whether changes of this account's roster are pushed to the entity (R7).
fn pushes(core: &Core, lua: &Lua, (entity, username, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "pushes", "entity")?;
    let username = convert::text(&username, "pushes", "username")?;
    let state = core.state.borrow();
    let pushes = state
        .matrix
        .grant(&entity)
        .is_some_and(|grant| grant.pushes_roster() && grant.scope.covers(&username));
    pushes.into_lua_multi(lua)
}

/// `covers(entity, username)`: whether the grant is about this account (C7).
fn covers(core: &Core, lua: &Lua, (entity, username, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "covers", "entity")?;
    let username = convert::text(&username, "covers", "username")?;
    let state = core.state.borrow();
    let covers = state
        .matrix
        .grant(&entity)
        .is_some_and(|grant| grant.scope.covers(&username));
    covers.into_lua_multi(lua)
}

/// `advertisement(entity, to, id)`: the finished message, and whether anything is granted; nil where
/// it cannot be written.
fn advertisement(core: &Core, lua: &Lua, (entity, to, id, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "advertisement", "entity")?;
    let to = convert::text(&to, "advertisement", "to")?;
    let id = convert::text(&id, "advertisement", "id")?;
    let state = core.state.borrow();
    let grant = state.matrix.grant(&entity);
    let text = advert::text(grant.map(AsRef::as_ref), state.matrix.host(), &to, &id);
    (text, grant.is_some()).into_lua_multi(lua)
}

/// The session and the stanza of an event.
fn event(core: &Core, origin: LuaValue, stanza: LuaValue, function: &str) -> LuaResult<(Origin, LuaElement)> {
    let session = convert::table(origin, function, "origin")?;
    let stanza = LuaElement::stanza(convert::table(stanza, function, "stanza")?, &core.keys);
    Ok((Origin::read(&session, &stanza, &core.keys), stanza))
}

impl Core {
    /// What a judgement is asked about the stanza of an event.
    fn request<'a>(&'a self, origin: &'a Origin, stanza: LuaElement) -> Request<'a, LuaElement> {
        Request {
            sender: origin.sender(),
            stanza,
            normaliser: &self.server,
        }
    }

    /// Returns a permit as one table; or nil and the denial. `kind` is the judgement that it is of, `id` the id that
    /// a privileged IQ leaves under.
    fn outcome(
        &self,
        lua: &Lua,
        kind: &str,
        judged: Result<Permit<LuaElement>, Denial>,
        id: Option<String>,
    ) -> LuaResult<LuaMultiValue> {
        let keys = &self.keys;
        let permit = match judged {
            Ok(permit) => permit,
            Err(denial) => return denied(lua, keys, denial),
        };
        let table = lua.create_table_with_capacity(0, 8)?;
        table.raw_set(&keys.kind, kind)?;
        table.raw_set(&keys.account, permit.account)?;
        if let Some(stanza) = permit.stanza.and_then(LuaElement::into_table) {
            table.raw_set(&keys.stanza, stanza)?;
        }
        let domain = permit.unless_administrator_of;
        for (key, text) in [
            (&keys.to, permit.to.as_deref()),
            (&keys.username, permit.username.as_deref()),
            (&keys.unless_administrator_of, domain.as_ref().map(Domain::as_str)),
            (&keys.id, id.as_deref()),
        ] {
            if let Some(text) = text {
                table.raw_set(key, text)?;
            }
        }
        table.into_lua_multi(lua)
    }
}

/// `message(origin, stanza)`: the permit of a privileged message; or nil and the denial.
fn message(core: &Core, lua: &Lua, (origin, stanza, ..): Args) -> LuaResult<LuaMultiValue> {
    let (origin, stanza) = event(core, origin, stanza, "message")?;
    let judged = message::judge(&core.state.borrow().matrix, &core.request(&origin, stanza));
    core.outcome(lua, "message", judged, None)
}

/// `iq(origin, stanza, now)`: the permit of a privileged IQ, which is in flight from now on (Q5); or nil and the
/// denial. `now` is in milliseconds.
fn iq(core: &Core, lua: &Lua, (origin, stanza, now, ..): Args) -> LuaResult<LuaMultiValue> {
    let (origin, stanza) = event(core, origin, stanza, "iq")?;
    let now = convert::natural(&now, "iq", "now")?;
    let request = core.request(&origin, stanza);
    // Judging asks the server, which may call back into the core.
    let judged = iq::judge(&core.state.borrow().matrix, &request);
    let entered = judged.and_then(|permit| {
        let id = core.state.borrow_mut().ledger.enter(now, &request, &permit)?;
        Ok((permit, id))
    });
    match entered {
        Ok((permit, id)) => core.outcome(lua, "iq", Ok(permit), Some(id)),
        Err(denial) => denied(lua, &core.keys, denial),
    }
}

/// `roster(origin, stanza)`: the permit of a roster request; or nil and the denial.
fn roster(core: &Core, lua: &Lua, (origin, stanza, ..): Args) -> LuaResult<LuaMultiValue> {
    let (origin, stanza) = event(core, origin, stanza, "roster")?;
    let judged = roster::judge(&core.state.borrow().matrix, &core.request(&origin, stanza));
    core.outcome(lua, "roster", judged, None)
}

/// `decline(permit, why)`: the denial where the server knows better than a permit. `why` is "unknown-account",
/// "lookup" where it cannot be found out whether the account exists, "administrator" (N1), or "failed" where the
/// server failed to send the stanza. An IQ is not in flight any more.
fn decline(core: &Core, lua: &Lua, (permit, why, ..): Args) -> LuaResult<LuaMultiValue> {
    let permit = convert::table(permit, "decline", "permit")?;
    let why = convert::text(&why, "decline", "why")?;
    let kind = convert::text(&permit.raw_get(&core.keys.kind)?, "decline", "kind")?;
    let mut state = core.state.borrow_mut();
    if let Some(id) = string(&permit, &core.keys.id) {
        state.ledger.cancel(&id);
    }
    let host = state.matrix.host();
    let denial = match (why.as_str(), kind.as_str()) {
        ("unknown-account", "message") => message::no_account(host),
        ("unknown-account", "iq") => iq::no_account(host),
        ("unknown-account", "roster") => roster::no_account(),
        ("lookup", _) => matrix::account_unknown(),
        ("administrator", _) => {
            let domain = string(&permit, &core.keys.unless_administrator_of).unwrap_or_default();
            administration::refused(&Domain::parse(&domain))
        }
        ("failed", "message") => message::failed(),
        ("failed", "iq") => iq::failed(),
        (other, _) => return Err(convert::unknown("decline", "why", other)),
    };
    convert::denial(lua, &core.keys, denial)?.into_lua_multi(lua)
}

/// `unrelayable()`: the denial where an answer cannot be relayed (Q7).
fn unrelayable(core: &Core, lua: &Lua, _: Args) -> LuaResult<LuaMultiValue> {
    convert::denial(lua, &core.keys, ledger::unrelayable())?.into_lua_multi(lua)
}

/// `roster_result(stanza, account, roster)`: the answer to a roster get of `stanza`, finished (R1).
fn roster_result(core: &Core, lua: &Lua, (stanza, account, stored, ..): Args) -> LuaResult<LuaMultiValue> {
    let stanza = convert::table(stanza, "roster_result", "stanza")?;
    let account = convert::text(&account, "roster_result", "account")?;
    let stored = convert::table(stored, "roster_result", "roster")?;
    let keys = &core.keys;
    let stanza = LuaElement::stanza(stanza, keys);
    let (to, id) = (stanza.attribute("from"), stanza.attribute("id"));
    let head = IqHead {
        kind: "result",
        from: &account,
        to: to.as_deref().unwrap_or_default(),
        id: id.as_deref().unwrap_or_default(),
    };
    let ours = rosters::version(&stored, keys);
    let theirs = stanza.child(0).and_then(|query| query.attribute("ver"));
    if roster::is_current(theirs.as_deref(), ours) {
        return empty_iq(&head).into_lua_multi(lua);
    }
    let ver = ours.map(rosters::version_text);
    let mut writer = RosterWriter::new(&head, ver.as_deref(), 4096);
    rosters::write_contacts(&stored, keys, &mut writer)?;
    writer.finish().into_lua_multi(lua)
}

/// `plan_roster_set(account, stanza, roster)`: the list of changes, empty where nothing would change; or nil and
/// the denial (R2 to R4).
fn plan_roster_set(core: &Core, lua: &Lua, (account, stanza, stored, ..): Args) -> LuaResult<LuaMultiValue> {
    let account = convert::text(&account, "plan_roster_set", "account")?;
    let stanza = convert::table(stanza, "plan_roster_set", "stanza")?;
    let stored = convert::table(stored, "plan_roster_set", "roster")?;
    let stanza = LuaElement::stanza(stanza, &core.keys);
    let planned = roster::read_stanza(&stanza, &account, &core.server)
        .and_then(|sets| roster::plan(sets, |jid| rosters::find(&stored, jid, &core.keys)));
    match planned {
        Ok(changes) => rosters::changes(lua, changes)?.into_lua_multi(lua),
        Err(denial) => denied(lua, &core.keys, denial),
    }
}

/// `may_set_roster(entity, username)`: whether the grant of the entity lets it set this account's roster.
fn may_set_roster(core: &Core, lua: &Lua, (entity, username, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "may_set_roster", "entity")?;
    let username = convert::text(&username, "may_set_roster", "username")?;
    let state = core.state.borrow();
    let may = state
        .matrix
        .grant(&entity)
        .is_some_and(|grant| grant.roster.allows(IqType::Set) && grant.scope.covers(&username));
    may.into_lua_multi(lua)
}

/// `agree_roster_change(account, change, item, may_set)`: whether `change` of the account's roster agrees
/// with the roster of its contact, an account of this server whose own item is `item` or nil. Returns
/// a table, whose field `change` is the change of the contact's roster that has to be saved as well, if any; or nil
/// and the denial (R10).
fn agree_roster_change(
    core: &Core,
    lua: &Lua,
    (account, change, item, may_set, ..): Args,
) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "agree_roster_change";
    let account = convert::text(&account, HERE, "account")?;
    let change = convert::table(change, HERE, "change")?;
    let contact = convert::text(&change.raw_get("jid")?, HERE, "jid")?;
    let wanted = rosters::read_item(&change, &core.keys).subscription;
    let theirs = match item {
        LuaValue::Nil => None,
        item => Some(rosters::read_item(
            &convert::table(item, HERE, "item")?,
            &core.keys,
        )),
    };
    let may_set = convert::boolean(&may_set, HERE, "may_set")?;
    match roster::agree(&account, &contact, wanted, theirs.as_ref(), may_set) {
        Ok(change) => {
            let agreement = lua.create_table()?;
            if let Some(change) = change {
                agreement.raw_set("change", rosters::change(lua, change)?)?;
            }
            agreement.into_lua_multi(lua)
        }
        Err(denial) => denied(lua, &core.keys, denial),
    }
}

/// `roster_push(account, to, id, jid, item, version)`: a finished roster push for one contact; `item`
/// is nil for one that is gone, `version` nil where the server keeps none (R7).
fn roster_push(
    core: &Core,
    lua: &Lua,
    (account, to, id, jid, item, version): Args,
) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "roster_push";
    let account = convert::text(&account, HERE, "account")?;
    let to = convert::text(&to, HERE, "to")?;
    let id = convert::text(&id, HERE, "id")?;
    let jid = convert::text(&jid, HERE, "jid")?;
    let item = match item {
        LuaValue::Nil => None,
        item => Some(rosters::read_item(
            &convert::table(item, HERE, "item")?,
            &core.keys,
        )),
    };
    let version = match version {
        LuaValue::Nil => None,
        version => Some(convert::natural(&version, HERE, "version")?.to_string()),
    };
    let head = IqHead {
        kind: "set",
        from: &account,
        to: &to,
        id: &id,
    };
    let mut writer = RosterWriter::new(&head, version.as_deref(), 256);
    writer.whole(&jid, item.as_ref());
    writer.finish().into_lua_multi(lua)
}

/// `roster_changes(before, after)`: the contacts whose visible item differs between two rosters, or
/// parts of rosters, either of which may be nil (R7, R8).
fn roster_changes(core: &Core, lua: &Lua, (before, after, ..): Args) -> LuaResult<LuaMultiValue> {
    let part = |value: LuaValue, name: &str| match value {
        LuaValue::Nil => Ok(BTreeMap::new()),
        value => {
            convert::table(value, "roster_changes", name).map(|table| rosters::visible(&table, &core.keys))
        }
    };
    let (before, after) = (part(before, "before")?, part(after, "after")?);
    roster::changed(&before, &after).into_lua_multi(lua)
}

/// The occasion that Lua names.
fn occasion(value: &LuaValue, function: &str) -> LuaResult<Occasion> {
    match convert::text(value, function, "occasion")?.as_str() {
        "account" => Ok(Occasion::Account),
        "contact" => Ok(Occasion::Contact),
        _ => Err(convert::wrong(
            function,
            "occasion",
            "\"account\" or \"contact\"",
            value,
        )),
    }
}

/// The numbers of some viewers, or `None` for all of them.
fn among(value: LuaValue, function: &str) -> LuaResult<Option<Vec<Number>>> {
    match value {
        LuaValue::Nil => Ok(None),
        list => presences::numbers(&convert::table(list, function, "among")?, function).map(Some),
    }
}

/// A list of viewers as Lua sees it; nil for nobody.
fn listed(lua: &Lua, viewers: Vec<Number>) -> LuaResult<LuaMultiValue> {
    if viewers.is_empty() {
        return LuaNil.into_lua_multi(lua);
    }
    lua.create_sequence_from(viewers)?.into_lua_multi(lua)
}

/// `watch(entity, memory)`: the number of a new viewer, and "tell" where it has to be told who is there,
/// "confirm" where it may see less than before, or else nil. Nil where the entity may see no presence;
/// false where the memory cannot be used.
fn watch(core: &Core, lua: &Lua, (entity, memory, ..): Args) -> LuaResult<LuaMultiValue> {
    let entity = convert::text(&entity, "watch", "entity")?;
    let Some(memory) = presences::shared(&memory) else {
        return false.into_lua_multi(lua);
    };
    let State { matrix, viewers, .. } = &mut *core.state.borrow_mut();
    match matrix.grant(&entity) {
        Some(grant) if grant.presence != PresenceAccess::None => {
            let (number, todo) = viewers.enter(&entity, grant, matrix.host(), memory);
            let todo = match todo {
                Todo::Nothing => None,
                Todo::Confirm => Some("confirm"),
                Todo::Tell => Some("tell"),
            };
            (number, todo).into_lua_multi(lua)
        }
        _ => LuaNil.into_lua_multi(lua),
    }
}

/// `unwatch(viewer, is_revoked)`: the viewer is none any more, because it has gone or is to enter anew;
/// or because it may see nothing from now on (P4).
fn unwatch(core: &Core, lua: &Lua, (viewer, is_revoked, ..): Args) -> LuaResult<LuaMultiValue> {
    let viewer = presences::number(&viewer, "unwatch")?;
    let is_revoked = matches!(is_revoked, LuaValue::Boolean(true));
    core.state.borrow_mut().viewers.leave(viewer, is_revoked);
    ().into_lua_multi(lua)
}

/// `viewers(occasion, username, stanza, among)`: those who may see a presence and do not know it, and
/// a ticket for `shown`; nil where there is nothing to do. The presence is an "account"'s broadcast, or
/// has come to the account from a "contact"; whether the account is subscribed to that contact is the
/// caller's to find out (P1, P3 to P5, C7). `among` may be a list of viewers to choose from.
fn viewers(core: &Core, lua: &Lua, (reason, username, stanza, some, ..): Args) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "viewers";
    let username = convert::text(&username, HERE, "username")?;
    let stanza = convert::table(stanza, HERE, "stanza")?;
    let from = LuaElement::stanza(stanza.clone(), &core.keys)
        .attribute("from")
        .unwrap_or_default();
    let case = Case {
        occasion: occasion(&reason, HERE)?,
        username: &username,
        from: &from,
    };
    let some = among(some, HERE)?;
    let State { matrix, viewers, .. } = &mut *core.state.borrow_mut();
    let print = || presences::fingerprint(&stanza, &core.keys);
    match viewers.tell(matrix, case, some.as_deref(), print)? {
        None => LuaNil.into_lua_multi(lua),
        Some(telling) => (lua.create_sequence_from(telling.viewers)?, telling.ticket).into_lua_multi(lua),
    }
}

/// `shown(ticket, viewers)`: these have been told the presence of the ticket.
fn shown(core: &Core, lua: &Lua, (ticket, told, ..): Args) -> LuaResult<LuaMultiValue> {
    let ticket = convert::natural(&ticket, "shown", "ticket")?;
    let told = presences::numbers(&convert::table(told, "shown", "viewers")?, "shown")?;
    core.state.borrow_mut().viewers.shown(ticket, &told);
    ().into_lua_multi(lua)
}

/// `unfounded(occasion, username, jid, present, among)`: those who believe an account, or a contact of
/// it, available for no reason that holds today, and who have to be told that it is not; nil for nobody.
/// `present` are the presences that it has.
fn unfounded(
    core: &Core,
    lua: &Lua,
    (reason, username, jid, present, some, ..): Args,
) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "unfounded";
    let username = convert::text(&username, HERE, "username")?;
    let jid = convert::text(&jid, HERE, "jid")?;
    let case = Case {
        occasion: occasion(&reason, HERE)?,
        username: &username,
        from: &jid,
    };
    let present = presences::senders(&convert::table(present, HERE, "present")?, &core.keys);
    let some = presences::numbers(&convert::table(some, HERE, "among")?, HERE)?;
    let state = core.state.borrow();
    listed(lua, state.viewers.unfounded(&state.matrix, case, &some, &present))
}

/// `lost(username, contact, others)`: the account is no longer subscribed to the contact; `others`, a list
/// of usernames, are. Those who believe the contact available and have to be told that it is not; nil
/// for nobody (P8).
fn lost(core: &Core, lua: &Lua, (username, contact, others, ..): Args) -> LuaResult<LuaMultiValue> {
    let username = convert::text(&username, "lost", "username")?;
    let contact = convert::text(&contact, "lost", "contact")?;
    let list = convert::table(others, "lost", "others")?;
    let mut others = Vec::with_capacity(list.raw_len());
    for index in 1..=list.raw_len() {
        others.push(convert::text(&list.raw_get(index)?, "lost", "others")?);
    }
    let state = core.state.borrow();
    let case = Case {
        occasion: Occasion::Contact,
        username: &username,
        from: &contact,
    };
    listed(lua, state.viewers.lost(&state.matrix, case, &others))
}

/// `confirm(username, roster, among)`: what these viewers were told of the account and of the contacts it
/// is subscribed to, and may still see, is known on its account (P4).
fn confirm(core: &Core, lua: &Lua, (username, stored, some, ..): Args) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "confirm";
    let username = convert::text(&username, HERE, "username")?;
    let stored = convert::table(stored, HERE, "roster")?;
    let some = presences::numbers(&convert::table(some, HERE, "among")?, HERE)?;
    let subscribed = rosters::subscribed_to(&stored, &core.keys);
    let state = core.state.borrow();
    let contacts = subscribed.iter().map(String::as_str);
    state.viewers.confirm(&state.matrix, &username, contacts, &some);
    ().into_lua_multi(lua)
}

/// `contacts(username, roster, among)`: the contacts an account is subscribed to that are still to be
/// asked on behalf of some of these viewers (P3).
fn contacts(core: &Core, lua: &Lua, (username, stored, some, ..): Args) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "contacts";
    let username = convert::text(&username, HERE, "username")?;
    let stored = convert::table(stored, HERE, "roster")?;
    let some = presences::numbers(&convert::table(some, HERE, "among")?, HERE)?;
    let subscribed = rosters::subscribed_to(&stored, &core.keys);
    let state = core.state.borrow();
    let contacts = subscribed.iter().map(String::as_str);
    let worth = state
        .viewers
        .worth_asking(&state.matrix, &username, contacts, &some);
    lua.create_sequence_from(worth)?.into_lua_multi(lua)
}

/// `askers(username, contact, among)`: those of these viewers for whom the contact is still to be asked
/// in the name of this account; nil for nobody.
fn askers(core: &Core, lua: &Lua, (username, contact, some, ..): Args) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "askers";
    let username = convert::text(&username, HERE, "username")?;
    let contact = convert::text(&contact, HERE, "contact")?;
    let some = presences::numbers(&convert::table(some, HERE, "among")?, HERE)?;
    let case = Case {
        occasion: Occasion::Contact,
        username: &username,
        from: &contact,
    };
    let state = core.state.borrow();
    listed(lua, state.viewers.askers(&state.matrix, case, &some))
}

/// `asked(contact, viewers)`: the contact has been asked on behalf of these.
fn asked(core: &Core, lua: &Lua, (contact, some, ..): Args) -> LuaResult<LuaMultiValue> {
    let contact = convert::text(&contact, "asked", "contact")?;
    let some = presences::numbers(&convert::table(some, "asked", "viewers")?, "asked")?;
    core.state.borrow().viewers.asked(&contact, &some);
    ().into_lua_multi(lua)
}

/// `all_asked(viewer)`: everybody has been asked for this viewer, or is to be asked anew.
fn all_asked(core: &Core, lua: &Lua, (viewer, ..): Args) -> LuaResult<LuaMultiValue> {
    let viewer = presences::number(&viewer, "all_asked")?;
    core.state.borrow().viewers.all_asked(viewer);
    ().into_lua_multi(lua)
}

/// `needs_round(viewer, is_asking)`: whether all accounts have to be gone through for a viewer, to ask
/// their contacts if that is done at all, or because it may believe what is not so any more.
fn needs_round(core: &Core, lua: &Lua, (viewer, is_asking, ..): Args) -> LuaResult<LuaMultiValue> {
    let viewer = presences::number(&viewer, "needs_round")?;
    let is_asking = matches!(is_asking, LuaValue::Boolean(true));
    let state = core.state.borrow();
    state
        .viewers
        .needs_round(&state.matrix, viewer, is_asking)
        .into_lua_multi(lua)
}

/// `iq_limits(limit, timeout)`: how many privileged IQs one entity may have in flight, and how many
/// milliseconds each may take (Q6).
fn iq_limits(core: &Core, lua: &Lua, (limit, timeout, ..): Args) -> LuaResult<LuaMultiValue> {
    let limit = convert::natural(&limit, "iq_limits", "limit")?;
    let timeout = convert::natural(&timeout, "iq_limits", "timeout")?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    core.state.borrow_mut().ledger.limits(limit, timeout);
    ().into_lua_multi(lua)
}

/// `answer(id, from, to)`: the request that is answered, `{ entity =, reply_to =, outer_id =, inner_id =, account =
/// }`, which is in flight no more; nil for a stray answer (Q5).
fn answer(core: &Core, lua: &Lua, (id, from, to, ..): Args) -> LuaResult<LuaMultiValue> {
    let id = convert::text(&id, "answer", "id")?;
    let from = convert::optional_text(&from, "answer", "from")?;
    let to = convert::text(&to, "answer", "to")?;
    match core.state.borrow_mut().ledger.answer(&id, from.as_deref(), &to) {
        Answer::NotOurs | Answer::Stray => LuaNil.into_lua_multi(lua),
        Answer::To(request) => request_table(lua, *request)?.into_lua_multi(lua),
    }
}

/// A request as one table.
fn request_table(lua: &Lua, request: Entry) -> LuaResult<LuaTable> {
    let entry = lua.create_table_with_capacity(0, 5)?;
    entry.raw_set("entity", request.entity)?;
    entry.raw_set("reply_to", request.reply_to)?;
    entry.raw_set("outer_id", request.outer_id)?;
    entry.raw_set("inner_id", request.inner_id)?;
    entry.raw_set("account", request.account)?;
    Ok(entry)
}

/// `cancel_request(id)`: takes a request out again; whether it was still in flight.
fn cancel_request(core: &Core, lua: &Lua, (id, ..): Args) -> LuaResult<LuaMultiValue> {
    let id = convert::text(&id, "cancel_request", "id")?;
    core.state
        .borrow_mut()
        .ledger
        .cancel(&id)
        .is_some()
        .into_lua_multi(lua)
}

/// Returns a list of requests, see [`answer`], and the denial to answer each with.
fn given_up(core: &Core, lua: &Lua, requests: Vec<Entry>, why: Denial) -> LuaResult<LuaMultiValue> {
    let list = lua.create_table_with_capacity(requests.len(), 0)?;
    for request in requests {
        list.raw_push(request_table(lua, request)?)?;
    }
    (list, convert::denial(lua, &core.keys, why)?).into_lua_multi(lua)
}

/// `expire(now)`: the requests that have waited too long, and the denial to answer them with (Q6).
fn expire(core: &Core, lua: &Lua, (now, ..): Args) -> LuaResult<LuaMultiValue> {
    let now = convert::natural(&now, "expire", "now")?;
    let expired = core.state.borrow_mut().ledger.expire(now);
    given_up(core, lua, expired, ledger::timed_out())
}

/// `forget(what, jid)`: takes out the requests of an "entity", an "account", a "reply_to", those that are
/// "ungranted" by now, or "all", and returns them and the denial to answer them with.
fn forget(core: &Core, lua: &Lua, (what, jid, ..): Args) -> LuaResult<LuaMultiValue> {
    let what = convert::text(&what, "forget", "what")?;
    let jid = convert::optional_text(&jid, "forget", "jid")?.unwrap_or_default();
    let State { matrix, ledger, .. } = &mut *core.state.borrow_mut();
    let requests = match what.as_str() {
        "entity" => ledger.forget_entity(&jid),
        "account" => ledger.forget_account(&jid),
        "reply_to" => ledger.forget_reply_to(&jid),
        "ungranted" => {
            ledger.forget_unless(|request| iq::is_granted(matrix, &request.entity, &request.account))
        }
        "all" => ledger.drain(),
        other => return Err(convert::unknown("forget", "what", other)),
    };
    given_up(core, lua, requests, ledger::withdrawn())
}

/// `in_flight()`: how many privileged IQs wait for their answer.
fn in_flight_count(core: &Core, lua: &Lua, _: Args) -> LuaResult<LuaMultiValue> {
    core.state.borrow().ledger.len().into_lua_multi(lua)
}

/// `export_requests()`: all requests in flight as plain Lua data, for the instance after a reload.
fn export_requests(core: &Core, lua: &Lua, _: Args) -> LuaResult<LuaMultiValue> {
    let (next, requests) = core.state.borrow_mut().ledger.export();
    let list = lua.create_table_with_capacity(requests.len(), 0)?;
    for (number, deadline, request) in requests {
        let entry = lua.create_table()?;
        for value in [number, deadline] {
            entry.raw_push(value)?;
        }
        let Entry {
            entity,
            reply_to,
            outer_id,
            inner_id,
            account,
            to,
        } = request;
        for text in [entity, reply_to, outer_id, inner_id, account] {
            entry.raw_push(text)?;
        }
        entry.raw_push(to.unwrap_or_default())?;
        list.raw_push(entry)?;
    }
    let saved = lua.create_table()?;
    saved.raw_set("next", next)?;
    saved.raw_set("requests", list)?;
    saved.into_lua_multi(lua)
}

/// `import_requests(saved)`: goes on with what another instance exported.
fn import_requests(core: &Core, lua: &Lua, (saved, ..): Args) -> LuaResult<LuaMultiValue> {
    const HERE: &str = "import_requests";
    let saved = convert::table(saved, HERE, "saved")?;
    let next = convert::natural(&saved.raw_get("next")?, HERE, "next")?;
    let list = convert::table(saved.raw_get("requests")?, HERE, "requests")?;
    let mut requests = Vec::with_capacity(list.raw_len());
    for index in 1..=list.raw_len() {
        let entry = convert::table(list.raw_get(index)?, HERE, "request")?;
        let number = |index: usize| convert::natural(&entry.raw_get(index)?, HERE, "number");
        let text = |index: usize| convert::text(&entry.raw_get(index)?, HERE, "text");
        let request = Entry {
            entity: text(3)?,
            reply_to: text(4)?,
            outer_id: text(5)?,
            inner_id: text(6)?,
            account: text(7)?,
            to: Some(text(8)?).filter(|to| !to.is_empty()),
        };
        requests.push((number(1)?, number(2)?, request));
    }
    core.state.borrow_mut().ledger.import(next, requests);
    ().into_lua_multi(lua)
}
