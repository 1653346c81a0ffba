//! The userdata for one granting host, and the methods for its configuration and its connections.
//!
//! Its state belongs to the module instance that opened it, never to a static: the library stays
//! loaded over a reload of the module, and all hosts share it.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use mlua::prelude::*;

use super::keys::Keys;
use super::server::LuaServer;
use super::values::{self, Flag, Natural, Text};
use super::{answers, blocklists, judgements, presences, rosters, saved};
use crate::config;
use crate::host::{Configured, Connected, Earlier, Host};
use crate::presence::Occasion;
use crate::settings;
use crate::wire::xml;

/// One granting host in the hands of the shim.
pub(super) struct LuaHost {
    pub(super) keys: Rc<Keys>,
    pub(super) server: LuaServer,
    host: RefCell<Host>,
}

impl LuaHost {
    pub(super) fn host(&self) -> Ref<'_, Host> {
        self.host.borrow()
    }

    pub(super) fn host_mut(&self) -> RefMut<'_, Host> {
        self.host.borrow_mut()
    }
}

impl LuaUserData for LuaHost {
    fn add_methods<M: LuaUserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("configure", configure);
        methods.add_method("entities", |lua, this, (): ()| {
            lua.create_sequence_from(this.host().matrix.entities())
        });
        methods.add_method("grants", |_, this, entity: Text| {
            Ok(this.host().matrix.grant(&entity).is_some())
        });
        methods.add_method("connected", connected);
        methods.add_method("disconnected", |_, this, address: Text| {
            this.host_mut().disconnected(&address);
            Ok(())
        });
        methods.add_method("client_changed", |_, this, address: Text| {
            this.host_mut().client_changed(&address);
            Ok(())
        });
        methods.add_method("account_gone", |lua, this, account: Text| {
            let outgoing = this.host_mut().account_gone(&account);
            values::outbox(lua, &this.keys, outgoing)
        });
        methods.add_method("tick", |lua, this, Natural(now): Natural| {
            let outgoing = this.host_mut().tick(now);
            values::outbox(lua, &this.keys, outgoing)
        });
        methods.add_method("stop", |lua, this, (): ()| {
            let outgoing = this.host_mut().stop();
            values::outbox(lua, &this.keys, outgoing)
        });
        methods.add_method("is_waiting", |_, this, (): ()| Ok(!this.host().ledger.is_empty()));
        methods.add_method("new_id", |_, this, what: Text| Ok(this.host_mut().new_id(&what)));
        judgements::add_methods(methods);
        answers::add_methods(methods);
        rosters::add_methods(methods);
        presences::add_methods(methods);
        saved::add_methods(methods);
        blocklists::add_methods(methods);
    }
}

/// The arguments of [`open`], by name.
pub(super) struct Options {
    host: Text,
    id_prefix: Text,
    server: LuaServer,
}

impl FromLua for Options {
    fn from_lua(value: LuaValue, lua: &Lua) -> LuaResult<Options> {
        let table = LuaTable::from_lua(value, lua)?;
        Ok(Options {
            host: named(&table, "host")?,
            id_prefix: named(&table, "id_prefix")?,
            server: LuaServer {
                jid_prep: named(&table, "jid_prep")?,
                nodeprep: named(&table, "nodeprep")?,
                serves: named(&table, "serves")?,
            },
        })
    }
}

/// A field of a table of named arguments. The error says which one is wrong.
pub(super) fn named<T: FromLua>(table: &LuaTable, name: &str) -> LuaResult<T> {
    table
        .raw_get(name)
        .map_err(|problem| LuaError::external(format!("field \"{name}\": {problem}")))
}

/// As [`named`], with a key that is kept.
pub(super) fn named_key<T: FromLua>(table: &LuaTable, key: &LuaString) -> LuaResult<T> {
    table
        .raw_get(key)
        .map_err(|problem| LuaError::external(format!("field \"{}\": {problem}", key.display())))
}

/// `open{ host =, id_prefix =, jid_prep =, nodeprep =, serves = }`: a granting host that grants nothing yet.
pub(super) fn open(lua: &Lua, options: Options) -> LuaResult<LuaHost> {
    Ok(LuaHost {
        keys: Rc::new(Keys::new(lua)?),
        server: options.server,
        host: RefCell::new(Host::new(options.host.0, options.id_prefix.0)),
    })
}

/// `configure{ entities =, iq_limit =, iq_timeout =, probe =, probe_rate = }`: puts the options in force, as the
/// administrator wrote them. Returns `{ problems = a list of { level =, text = }, asks_online = whether the contacts of accounts
/// that are online are asked, asks_offline = whether those of the other accounts are, probe_rate =, follows_rosters =
/// whether changes of rosters matter to anybody, outbox =, tasks = a list of { number =, task = } }` (C2, C6).
fn configure(lua: &Lua, this: &LuaHost, options: LuaTable) -> LuaResult<LuaTable> {
    let option = |name: &str| values::config(&options.raw_get(name)?);
    let name = this.host().matrix.host().to_owned();
    let raw = settings::Raw {
        iq_limit: option("iq_limit")?,
        iq_timeout: option("iq_timeout")?,
        probe: option("probe")?,
        probe_rate: option("probe_rate")?,
    };
    let (settings, mut problems) = settings::read(&name, &raw);
    // The compiler asks the server, so the host must not be borrowed.
    let (matrix, more_problems) = config::compile(&name, &option("entities")?, &this.server);
    problems.extend(more_problems);
    let Configured { outbox, tasks } = this.host_mut().configure(matrix, &settings);

    let found = lua.create_table()?;
    let list = lua.create_table_with_capacity(problems.len(), 0)?;
    for problem in problems {
        let entry = lua.create_table_with_capacity(0, 2)?;
        entry.raw_set("level", problem.level.as_str())?;
        entry.raw_set("text", problem.text)?;
        list.raw_push(entry)?;
    }
    found.raw_set("problems", list)?;
    found.raw_set("asks_online", settings.probe.asks_online())?;
    found.raw_set("asks_offline", settings.probe.asks_offline())?;
    found.raw_set("probe_rate", settings.probe_rate)?;
    found.raw_set("follows_rosters", this.host().matrix.follows_rosters())?;
    found.raw_set("outbox", values::outbox(lua, &this.keys, outbox)?)?;
    let list = lua.create_table_with_capacity(tasks.len(), 0)?;
    for (number, task) in tasks {
        let entry = lua.create_table_with_capacity(0, 2)?;
        entry.raw_set("number", number)?;
        entry.raw_set("task", task.as_str())?;
        list.raw_push(entry)?;
    }
    found.raw_set("tasks", list)?;
    Ok(found)
}

/// `connected(address, entity, memory, earlier)`: an entity has connected. `memory` is what the connection has been told
/// of presence, or nil; `earlier` what an earlier instance of the module knew of it, `{ advertised =, is_pending =,
/// is_noted = }`, or nil. Returns `{ number =, memory =, outbox =, task = what is to be done about presence, if anything,
/// written_address = the address as it stands in XML }` (A1, P2).
fn connected(
    lua: &Lua,
    this: &LuaHost,
    (address, entity, memory, earlier): (Text, Text, LuaValue, Option<LuaTable>),
) -> LuaResult<LuaTable> {
    let kept = presences::shared(&memory);
    let earlier = match earlier {
        None => None,
        Some(earlier) => Some(Earlier {
            advertised: named::<Option<Text>>(&earlier, "advertised")?.map(|Text(text)| text),
            is_pending: named::<Option<Flag>>(&earlier, "is_pending")?.is_some_and(|Flag(flag)| flag),
            is_noted: named::<Option<Flag>>(&earlier, "is_noted")?.is_some_and(|Flag(flag)| flag),
            has_memory: kept.is_some(),
        }),
    };
    let (memory, shared) = match kept {
        Some(shared) => (memory, shared),
        None => {
            let (memory, shared) = presences::new_memory(lua)?;
            (LuaValue::UserData(memory), shared)
        }
    };
    let Connected {
        number,
        advertisement,
        task,
    } = this.host_mut().connected(&address, &entity, shared, earlier);
    let found = lua.create_table_with_capacity(0, 5)?;
    found.raw_set("number", number)?;
    found.raw_set("memory", memory)?;
    found.raw_set("outbox", values::outbox(lua, &this.keys, advertisement)?)?;
    found.raw_set("task", task.map(|task| task.as_str()))?;
    found.raw_set("written_address", xml::escaped(&address))?;
    Ok(found)
}

/// The occasion that Lua names.
impl FromLua for Occasion {
    fn from_lua(value: LuaValue, lua: &Lua) -> LuaResult<Occasion> {
        match &*Text::from_lua(value, lua)? {
            "account" => Ok(Occasion::Account),
            "contact" => Ok(Occasion::Contact),
            other => Err(values::unknown("\"account\" or \"contact\"", other)),
        }
    }
}
