//! Plain values that cross the border: strict readers of arguments, and tables that are returned.

use std::ops::Deref;

use mlua::prelude::*;

use super::keys::{Key, Keys};
use super::raw::{Content, Stack, Table};
use super::stanza::owned;
use crate::config::Value;
use crate::denial::Denial;
use crate::entities::Outgoing;
use crate::viewers::Number;

/// A string of valid UTF-8. Unlike mlua's own strings, a number is not one.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text {
    /// Reads a value in every detail, for an error that says what is wrong with it.
    pub(super) fn read(value: &LuaValue) -> LuaResult<Text> {
        match value {
            LuaValue::String(bytes) => match bytes.to_str() {
                Ok(text) => Ok(Text(text.to_owned())),
                Err(_) => Err(wrong("string of UTF-8", value)),
            },
            _ => Err(wrong("string", value)),
        }
    }
}

/// A string of a third party, for others to read. Bytes that are not UTF-8 become U+FFFD instead of an error, or of breaking
/// a stream.
#[derive(Debug)]
pub(super) struct Lossy(pub(super) String);

impl FromLua for Lossy {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Lossy> {
        match &value {
            LuaValue::String(text) => Ok(Lossy(owned(text))),
            _ => Err(wrong("string", &value)),
        }
    }
}

/// A number that is not negative: milliseconds, or a count. Fractions are cut off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Natural(pub(super) u64);

impl Natural {
    fn read(value: &LuaValue) -> LuaResult<Natural> {
        match value {
            LuaValue::Integer(number) if *number >= 0 => Ok(Natural(number.unsigned_abs())),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked on this line"
            )]
            LuaValue::Number(number) if (0.0..9.0e15).contains(number) => Ok(Natural(*number as u64)),
            other => Err(wrong("number of at least 0", other)),
        }
    }
}

impl FromLua for Natural {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Natural> {
        Natural::read(&value)
    }
}

/// The number of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer(pub(super) Number);

impl Viewer {
    fn read(value: &LuaValue) -> LuaResult<Viewer> {
        let Natural(number) = Natural::read(value)?;
        Number::try_from(number)
            .map(Viewer)
            .map_err(|_| wrong("number of a connection", value))
    }
}

impl FromLua for Viewer {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Viewer> {
        Viewer::read(&value)
    }
}

/// A list of connections, by their numbers.
#[derive(Debug)]
pub(super) struct Viewers(pub(super) Vec<Number>);

impl Viewers {
    /// Reads a value in every detail, for an error that says what is wrong with it.
    pub(super) fn read(value: &LuaValue) -> LuaResult<Viewers> {
        let LuaValue::Table(list) = value else {
            return Err(wrong("table", value));
        };
        let mut numbers = Vec::with_capacity(list.raw_len());
        for index in 1..=list.raw_len() {
            let Viewer(number) = Viewer::read(&list.raw_get(index)?)?;
            numbers.push(number);
        }
        Ok(Viewers(numbers))
    }
}

/// A list of connections as Lua sees it; nil for nobody.
pub(super) fn listed(viewers: Vec<Number>) -> Option<Vec<Number>> {
    (!viewers.is_empty()).then_some(viewers)
}

/// `true` or `false`; nothing else counts as either.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag(pub(super) bool);

impl FromLua for Flag {
    fn from_lua(value: LuaValue, _: &Lua) -> LuaResult<Flag> {
        match value {
            LuaValue::Boolean(flag) => Ok(Flag(flag)),
            other => Err(wrong("boolean", &other)),
        }
    }
}

/// The error about a value of the wrong type. mlua puts the method and the place of the argument in front of it.
pub(super) fn wrong(expected: &'static str, found: &LuaValue) -> LuaError {
    LuaError::FromLuaConversionError {
        from: found.type_name(),
        to: expected.to_owned(),
        message: None,
    }
}

/// The error about a string that is none of those which are known.
pub(super) fn unknown(allowed: &str, found: &str) -> LuaError {
    LuaError::external(format!("expected {allowed}, got \"{found}\""))
}

/// Makes a denial one table, which the server's `st.error_reply` takes as it is: `{ type =, condition =, text =, rule =, answer =
/// the error stanza as text, where it is at hand }`. The rule is for the log.
pub(super) fn denial_on<'s>(
    stack: &'s Stack<'_>,
    denial: &Denial,
    answer: Option<&str>,
) -> LuaResult<Table<'s>> {
    let texts = [
        (Key::Type, Some(denial.error_type.as_str())),
        (Key::Condition, Some(denial.condition.as_str())),
        (Key::Text, Some(&*denial.text)),
        (Key::Rule, Some(denial.rule)),
        (Key::Answer, answer),
    ];
    stack.new_table(&Content {
        texts: &texts,
        ..Content::default()
    })
}

/// Returns a denial as one table; see [`denial_on`].
pub(super) fn denial(lua: &Lua, keys: &Keys, denial: &Denial) -> LuaResult<LuaTable> {
    Stack::with(lua, keys, |stack| denial_on(stack, denial, None)?.handle())
}

/// The answer to a question of the kind "may I?": a table, or nil and a denial.
pub(super) type Answer = (Option<LuaTable>, Option<LuaTable>);

/// Returns the answer no.
pub(super) fn denied(lua: &Lua, keys: &Keys, why: &Denial) -> LuaResult<Answer> {
    Ok((None, Some(denial(lua, keys, why)?)))
}

/// Returns what is to be sent as a list of `{ to =, text = }`; nil where that is nothing.
pub(super) fn outbox(
    lua: &Lua,
    keys: &Keys,
    outgoing: impl IntoIterator<Item = Outgoing>,
) -> LuaResult<Option<LuaTable>> {
    let mut outgoing = outgoing.into_iter().peekable();
    if outgoing.peek().is_none() {
        return Ok(None);
    }
    let list = lua.create_table()?;
    for Outgoing { to, text } in outgoing {
        let entry = lua.create_table_with_capacity(0, 2)?;
        entry.raw_set(&keys.to, to)?;
        entry.raw_set(&keys.text, text)?;
        list.raw_push(entry)?;
    }
    Ok(Some(list))
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
