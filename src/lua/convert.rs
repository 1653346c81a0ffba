//! Strict readers for what Lua hands over.

use mlua::prelude::*;

use super::keys::Keys;
use crate::address::Normaliser;
use crate::config::{Server, Value};
use crate::denial::Denial;

/// A string argument; `function` and `argument` are for the error, which names what it got.
pub(super) fn text(value: &LuaValue, function: &str, argument: &str) -> LuaResult<String> {
    match value {
        LuaValue::String(bytes) => match bytes.to_str() {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(wrong(function, argument, "UTF-8", value)),
        },
        other => Err(wrong(function, argument, "a string", other)),
    }
}

/// A string argument that may be nil.
pub(super) fn optional_text(value: &LuaValue, function: &str, argument: &str) -> LuaResult<Option<String>> {
    if value.is_nil() {
        Ok(None)
    } else {
        text(value, function, argument).map(Some)
    }
}

/// A table argument.
pub(super) fn table(value: LuaValue, function: &str, argument: &str) -> LuaResult<LuaTable> {
    match value {
        LuaValue::Table(table) => Ok(table),
        other => Err(wrong(function, argument, "a table", &other)),
    }
}

/// A boolean argument.
pub(super) fn boolean(value: &LuaValue, function: &str, argument: &str) -> LuaResult<bool> {
    match value {
        LuaValue::Boolean(found) => Ok(*found),
        other => Err(wrong(function, argument, "a boolean", other)),
    }
}

/// A function argument.
pub(super) fn function(value: LuaValue, function: &str, argument: &str) -> LuaResult<LuaFunction> {
    match value {
        LuaValue::Function(found) => Ok(found),
        other => Err(wrong(function, argument, "a function", &other)),
    }
}

/// A number argument that is not negative: milliseconds, or a count. Fractions are cut off.
pub(super) fn natural(value: &LuaValue, function: &str, argument: &str) -> LuaResult<u64> {
    match value {
        LuaValue::Integer(number) if *number >= 0 => Ok(number.unsigned_abs()),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked on this line"
        )]
        LuaValue::Number(number) if *number >= 0.0 && *number < 9.0e15 => Ok(*number as u64),
        other => Err(wrong(function, argument, "a number of at least 0", other)),
    }
}

/// A wrong argument, naming where it was and what it is.
pub(super) fn wrong(function: &str, argument: &str, expected: &str, found: &LuaValue) -> LuaError {
    LuaError::external(format!(
        "bad argument \"{argument}\" to privilege_native.{function}: expected {expected}, got {}",
        found.type_name()
    ))
}

/// A string argument that is none of those the function knows.
pub(super) fn unknown(function: &str, argument: &str, found: &str) -> LuaError {
    LuaError::external(format!(
        "bad argument \"{argument}\" to privilege_native.{function}: \"{found}\""
    ))
}

/// Returns a denial as one table, which the server's `st.error_reply` takes as it is: `{ type =, condition =,
/// text =, rule = }`. The rule is for the log.
pub(super) fn denial(lua: &Lua, keys: &Keys, denial: Denial) -> LuaResult<LuaTable> {
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set(&keys.r#type, denial.error_type.as_str())?;
    table.raw_set(&keys.condition, denial.condition.as_str())?;
    table.raw_set(&keys.text, denial.text)?;
    table.raw_set(&keys.rule, denial.rule)?;
    Ok(table)
}

/// Returns nil and a denial: the answer "no" to every question of the kind "may I?".
pub(super) fn denied(lua: &Lua, keys: &Keys, why: Denial) -> LuaResult<LuaMultiValue> {
    (LuaNil, denial(lua, keys, why)?).into_lua_multi(lua)
}

/// How deep a configuration is read; the deepest option there is has four levels.
const CONFIG_DEPTH: usize = 6;

/// How many values of a configuration are read. What contains itself would grow with every level.
const CONFIG_VALUES: usize = 100_000;

/// A configuration value as plain data. Reads a bounded number of levels and of values, so a table
/// that contains itself is no danger.
pub(super) fn config(value: &LuaValue) -> LuaResult<Value> {
    let mut left = CONFIG_VALUES;
    config_at(value, CONFIG_DEPTH, &mut left)
}

fn config_at(value: &LuaValue, depth: usize, left: &mut usize) -> LuaResult<Value> {
    *left = left.saturating_sub(1);
    Ok(match value {
        LuaValue::Nil => Value::Nil,
        LuaValue::Boolean(value) => Value::Bool(*value),
        #[expect(clippy::cast_precision_loss, reason = "only ever shown to the administrator")]
        LuaValue::Integer(value) => Value::Number(*value as f64),
        LuaValue::Number(value) => Value::Number(*value),
        LuaValue::String(text) => match text.to_str() {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Other("string that is no UTF-8"),
        },
        LuaValue::Table(_) if depth == 0 => Value::Other("table nested too deeply"),
        LuaValue::Table(_) if *left == 0 => Value::Other("table too large"),
        LuaValue::Table(table) => {
            let mut entries = Vec::new();
            table.for_each(|key: LuaValue, value: LuaValue| {
                entries.push((
                    config_at(&key, depth - 1, left)?,
                    config_at(&value, depth - 1, left)?,
                ));
                Ok(())
            })?;
            Value::Table(entries)
        }
        other => Value::Other(other.type_name()),
    })
}

/// The server's own rules and knowledge, called when needed.
pub(super) struct LuaServer {
    /// `util.jid.prep`
    pub(super) jid_prep: LuaFunction,
    /// `util.encodings.stringprep.nodeprep`
    pub(super) nodeprep: LuaFunction,
    /// Whether a domain is a host or component of this server.
    pub(super) serves: LuaFunction,
}

fn prepped(function: &LuaFunction, raw: &str) -> Option<String> {
    match function.call::<LuaValue>(raw) {
        Ok(LuaValue::String(text)) => text.to_str().ok().map(|text| text.to_owned()),
        _ => None,
    }
}

impl Normaliser for LuaServer {
    fn jid(&self, raw: &str) -> Option<String> {
        prepped(&self.jid_prep, raw)
    }

    fn username(&self, raw: &str) -> Option<String> {
        // An empty or divided localpart passes the server's nodeprep, but is nobody's.
        prepped(&self.nodeprep, raw).filter(|name| !name.is_empty() && !name.contains(['@', '/']))
    }
}

impl Server for LuaServer {
    fn serves(&self, domain: &str) -> bool {
        matches!(self.serves.call::<LuaValue>(domain), Ok(LuaValue::Boolean(true)))
    }
}
