//! The tables in a grant that narrow it, and profiles (G1, G3, G4).
//!
//! A narrowed table with anything in it that is not understood grants nothing: to ignore a narrowing would be to grant
//! more than the administrator meant.

use std::collections::BTreeSet;

use super::{Compiler, Level, Value, edit_distance, in_order, printable, quoted};
use crate::address::Address;
use crate::narrow::{Contacts, IqGrant, Recipients};
use crate::nodes;
use crate::permission::Access;
use crate::profile;

/// The values of an access, as they are listed in the log.
pub(super) const ACCESS: &str = "\"none\", \"get\", \"set\", \"both\"";

/// The options that narrow a grant, wherever they belong. An unknown option with nearly such a name grants nothing.
const NARROWING: [&str; 6] = ["accounts", "except", "profile", "contacts", "to", "nodes"];

/// Returns the narrowing option that an unknown name is probably meant for.
pub(super) fn nearly_narrowing(name: &str) -> Option<&'static str> {
    let most = (name.chars().count() / 3).max(1);
    NARROWING
        .into_iter()
        .find(|known| edit_distance(name, known) <= most)
}

/// A roster option that is a table.
pub(super) struct RosterTable {
    pub(super) access: Access,
    pub(super) contacts: Contacts,
    pub(super) push: Option<bool>,
}

impl Compiler<'_> {
    /// Returns the options of a grant together with those of its profile. Options beside the profile win; of `iq` those
    /// of the same namespace.
    pub(super) fn with_profile(&mut self, written: &[(Value, Value)]) -> Vec<(Value, Value)> {
        let is = |key: &Value, name: &str| matches!(key, Value::Text(text) if text == name);
        let mut options: Vec<(Value, Value)> = written.to_vec();
        let Some(place) = options.iter().position(|(key, _)| is(key, "profile")) else {
            return options;
        };
        let (_, name) = options.swap_remove(place);
        let found = match &name {
            Value::Text(text) => profile::options(text),
            _ => None,
        };
        let Some(profile) = found else {
            self.wrong("profile", &name, &quoted(profile::NAMES), "no profile is granted");
            return options;
        };
        for (key, ready) in profile {
            let beside = options.iter_mut().find(|(written, _)| *written == key);
            match (beside, ready) {
                (None, ready) => options.push((key, ready)),
                (Some((_, Value::Table(written))), Value::Table(ready)) if is(&key, "iq") => {
                    let more = ready
                        .into_iter()
                        .filter(|(namespace, _)| !written.iter().any(|(key, _)| key == namespace));
                    let more: Vec<(Value, Value)> = more.collect();
                    written.extend(more);
                }
                (Some(_), _) => {}
            }
        }
        options
    }

    /// Reads `roster = { type =, contacts =, push = }`; `None` (reported) where it grants nothing (G1).
    pub(super) fn roster_table(&mut self, entries: &[(Value, Value)]) -> Option<RosterTable> {
        let mut table = RosterTable {
            access: Access::None,
            contacts: Contacts::All,
            push: None,
        };
        let (mut is_good, mut has_type) = (true, false);
        for (key, value) in in_order(entries) {
            is_good &= match named(key) {
                Some("type") => {
                    has_type = true;
                    self.parsed("roster.type", value, Access::parse, ACCESS)
                        .map(|access| table.access = access)
                        .is_some()
                }
                Some("contacts") => self.contacts(value).map(|own| table.contacts = own).is_some(),
                Some("push") => match value {
                    Value::Bool(push) => {
                        table.push = Some(*push);
                        true
                    }
                    other => {
                        self.wrong("roster.push", other, "true, false", NOTHING);
                        false
                    }
                },
                _ => self.unknown_key("roster", key, &["type", "contacts", "push"]),
            };
        }
        if !has_type {
            self.wrong("roster.type", &Value::Nil, ACCESS, NOTHING);
        }
        (is_good && has_type).then_some(table)
    }

    fn contacts(&mut self, value: &Value) -> Option<Contacts> {
        let contacts = self.parsed("roster.contacts", value, Contacts::parse, "\"all\", \"own\"")?;
        if contacts == Contacts::Own && self.is_account {
            self.wrong("roster.contacts", value, OF_COMPONENTS, NOTHING);
            return None;
        }
        Some(contacts)
    }

    /// Reads `iq = { ["namespace"] = { type =, to =, nodes = } }`; `None` (reported) where it grants nothing (G3).
    pub(super) fn iq_table(&mut self, namespace: &str, entries: &[(Value, Value)]) -> Option<IqGrant> {
        let place = format!("iq[\"{}\"]", printable(namespace));
        let mut grant = IqGrant::default();
        let (mut is_good, mut has_type) = (true, false);
        for (key, value) in in_order(entries) {
            is_good &= match named(key) {
                Some("type") => {
                    has_type = true;
                    self.parsed(&format!("{place}.type"), value, Access::parse, ACCESS)
                        .map(|access| grant.access = access)
                        .is_some()
                }
                Some("to") => self
                    .recipients(&format!("{place}.to"), value)
                    .map(|to| grant.to = to)
                    .is_some(),
                Some("nodes") => self
                    .nodes(&format!("{place}.nodes"), namespace, value)
                    .map(|nodes| grant.nodes = Some(nodes))
                    .is_some(),
                _ => self.unknown_key(&place, key, &["type", "to", "nodes"]),
            };
        }
        if !has_type {
            self.wrong(&format!("{place}.type"), &Value::Nil, ACCESS, NOTHING);
        }
        (is_good && has_type).then_some(grant)
    }

    fn recipients(&mut self, option: &str, value: &Value) -> Option<Recipients> {
        const ALLOWED: &str =
            "\"any\", \"self\", \"own\", or a list of JIDs and domains, as in { \"upload.example.org\" }";
        match value {
            Value::Text(text) if text == "any" => return Some(Recipients::Any),
            Value::Text(text) if text == "self" => return Some(Recipients::Account),
            Value::Text(text) if text == "own" && !self.is_account => return Some(Recipients::Own),
            Value::Text(text) if text == "own" => {
                self.wrong(option, value, OF_COMPONENTS, NOTHING);
                return None;
            }
            Value::Table(entries) => {
                let jids = texts(entries)
                    .map(|jid| Some(Address::normalise(jid?, self.server)?.into_string()))
                    .collect::<Option<BTreeSet<String>>>();
                if let Some(jids) = jids {
                    return Some(Recipients::Listed(jids));
                }
            }
            _ => {}
        }
        self.wrong(option, value, ALLOWED, NOTHING);
        None
    }

    fn nodes(&mut self, option: &str, namespace: &str, value: &Value) -> Option<BTreeSet<String>> {
        if !nodes::has_nodes(namespace) {
            let allowed = "nodes only for http://jabber.org/protocol/pubsub and http://jabber.org/protocol/pubsub#owner";
            self.wrong(option, value, allowed, NOTHING);
            return None;
        }
        if let Value::Table(entries) = value {
            let nodes = texts(entries).map(|node| node.map(str::to_owned));
            if let Some(nodes) = nodes.collect() {
                return Some(nodes);
            }
        }
        self.wrong(
            option,
            value,
            "a list of nodes, as in { \"urn:xmpp:bookmarks:1\" }",
            NOTHING,
        );
        None
    }

    /// Reads one value; `None` (reported) where it is unknown.
    fn parsed<T>(
        &mut self,
        option: &str,
        value: &Value,
        parse: fn(&str) -> Option<T>,
        allowed: &str,
    ) -> Option<T> {
        let found = match value {
            Value::Text(text) => parse(text),
            _ => None,
        };
        if found.is_none() {
            self.wrong(option, value, allowed, NOTHING);
        }
        found
    }

    fn unknown_key(&mut self, place: &str, key: &Value, known: &[&str]) -> bool {
        let (found, known) = (key.shown(), quoted(known.iter().copied()));
        self.report(
            Level::Error,
            format!("option \"{place}\": found the key {found}, allowed: {known}; {NOTHING}"),
        );
        false
    }
}

const NOTHING: &str = "the whole table grants nothing";

const OF_COMPONENTS: &str = "\"own\" only for a component, since an account has no domain of its own";

/// The name that a key is.
fn named(key: &Value) -> Option<&str> {
    match key {
        Value::Text(name) => Some(name),
        _ => None,
    }
}

/// The strings of a list, `None` in the place of anything else.
fn texts(entries: &[(Value, Value)]) -> impl Iterator<Item = Option<&str>> {
    entries.iter().map(|entry| match entry {
        (Value::Number(_), Value::Text(text)) => Some(text.as_str()),
        _ => None,
    })
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
