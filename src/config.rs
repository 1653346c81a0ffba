//! The `privileged_entities` option, as Lua handed it over, compiled into the permission matrix
//! (C1 to C5, C7).
//!
//! Fails closed: what is not understood grants nothing, is reported once, and costs nothing else.

mod tables;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use crate::address::{Address, Normaliser, is_ambiguous};
use crate::matrix::{Grant, PermissionMatrix, Scope};
use crate::narrow::{Contacts, IqGrant};
use crate::ns;
use crate::permission::{Access, MessageAccess, PresenceAccess, Protocol};

/// A configuration value of any type, the way Lua has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not set.
    Nil,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string of valid UTF-8.
    Text(String),
    /// A table, in no particular order.
    Table(Vec<(Value, Value)>),
    /// Anything else; the text says what.
    Other(&'static str),
}

impl Value {
    /// How the value is shown in a log line: short, and on one line.
    pub(crate) fn shown(&self) -> String {
        match self {
            Value::Nil => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Text(text) => {
                let short: String = text.chars().take(80).collect();
                let more = if short.len() < text.len() { "..." } else { "" };
                format!("{short:?}{more}")
            }
            Value::Table(entries) if entries.is_empty() => "an empty table".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(what) => format!("a {what}"),
        }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is not granted that the administrator wrote down.
    Error,
    /// Something has no effect.
    Warn,
}

impl Level {
    /// The name of the log level.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
        }
    }
}

/// One mistake in the configuration, as one log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// Names the host, the entity, the option, the value found and the values allowed.
    pub text: String,
}

/// The questions that the compiler asks the server.
pub trait Server: Normaliser {
    /// Whether the server itself serves this domain, as a host or as a component.
    fn serves(&self, domain: &str) -> bool;
}

/// Compiles `privileged_entities` of `host`. Never fails: problems are reported beside the matrix.
pub fn compile(host: &str, options: &Value, server: &dyn Server) -> (PermissionMatrix, Vec<Problem>) {
    let mut compiler = Compiler {
        host,
        server,
        entity: String::new(),
        is_account: false,
        problems: Vec::new(),
    };
    let matrix = compiler.entities(options);
    (matrix, compiler.problems)
}

struct Compiler<'a> {
    host: &'a str,
    server: &'a dyn Server,
    /// The entity being read, as it is written in the configuration.
    entity: String,
    /// Whether that is an account. It has no domain of its own.
    is_account: bool,
    problems: Vec<Problem>,
}

/// Returns allowed values as they stand in the log.
fn quoted<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = values.into_iter().map(|value| format!("\"{value}\"")).collect();
    quoted.join(", ")
}

impl Compiler<'_> {
    fn report(&mut self, level: Level, what: String) {
        let place = if self.entity.is_empty() {
            format!("privileged_entities of {}: ", self.host)
        } else {
            format!(
                "privileged_entities of {}, entity \"{}\": ",
                self.host, self.entity
            )
        };
        self.problems.push(Problem {
            level,
            text: place + &what,
        });
    }

    fn wrong(&mut self, option: &str, found: &Value, allowed: &str, effect: &str) {
        let found = found.shown();
        self.report(
            Level::Error,
            format!("option \"{option}\": found {found}, allowed: {allowed}; {effect}"),
        );
    }

    fn entities(&mut self, options: &Value) -> PermissionMatrix {
        let mut matrix = PermissionMatrix::new(self.host);
        let entries = match options {
            Value::Nil => return matrix,
            Value::Table(entries) => in_order(entries),
            other => {
                let found = other.shown();
                self.report(
                    Level::Error,
                    format!(
                        "found {found}, allowed: a table of [\"entity JID\"] = {{ permissions }}; nothing is granted"
                    ),
                );
                return matrix;
            }
        };
        let mut written: HashMap<String, String> = HashMap::new();
        for (key, value) in entries {
            let Value::Text(raw) = key else {
                self.entity.clear();
                let found = key.shown();
                self.report(
                    Level::Error,
                    format!("found the key {found}, allowed: the JID of an entity, as in [\"pubsub.{}\"] = {{ ... }}; ignored", self.host),
                );
                continue;
            };
            self.entity = printable(raw);
            let Some(entity) = self.entity_jid(raw) else {
                continue;
            };
            self.is_account = entity.contains('@');
            // An entity that is named is told that it has nothing (A1).
            let grant = self.grant(value).unwrap_or_default();
            if let Some(earlier) = written.insert(entity.clone(), raw.clone()) {
                self.report(
                    Level::Error,
                    format!(
                        "\"{}\" and \"{}\" are the same JID \"{entity}\"; the stricter of each permission is granted, write it only once",
                        printable(&earlier),
                        printable(raw)
                    ),
                );
            }
            matrix.insert(entity, grant);
        }
        self.entity.clear();
        matrix
    }

    /// The normalised bare JID of an entity, or `None` (reported) where it can be no entity.
    fn entity_jid(&mut self, raw: &str) -> Option<String> {
        const ALLOWED: &str =
            "the domain of a component or the bare JID of an account; nothing is granted to it";
        let Some(address) = Address::normalise(raw, self.server) else {
            self.report(
                Level::Error,
                format!(
                    "found \"{}\", which is no valid JID, allowed: {ALLOWED}",
                    printable(raw)
                ),
            );
            return None;
        };
        if !address.is_bare() {
            self.report(
                Level::Error,
                format!("found a JID with a resource, allowed: {ALLOWED}"),
            );
            return None;
        }
        if is_ambiguous(&address) {
            self.report(
                Level::Error,
                format!("found a JID that different software reads differently, allowed: {ALLOWED}"),
            );
            return None;
        }
        if !self.server.serves(address.domain()) {
            self.report(
                Level::Warn,
                format!(
                    "found a JID whose domain \"{}\" is no VirtualHost and no Component of this server, allowed: a component or an account of this server; the grant has no effect until there is one",
                    address.domain()
                ),
            );
        }
        Some(address.into_string())
    }

    fn grant(&mut self, value: &Value) -> Option<Grant> {
        let Value::Table(entries) = value else {
            let found = value.shown();
            self.report(
                Level::Error,
                format!("found {found}, allowed: a table of permissions, as in {{ roster = \"get\" }}; nothing is granted to it"),
            );
            return None;
        };
        let options = self.with_profile(entries);
        let mut grant = Grant::default();
        let mut push = None;
        let mut except_is_readable = true;
        for (key, value) in in_order(&options) {
            let Value::Text(option) = key else {
                let found = key.shown();
                self.report(
                    Level::Warn,
                    format!(
                        "unknown option {found} ignored, known ones: {}",
                        quoted(OPTIONS.iter().copied())
                    ),
                );
                continue;
            };
            match option.as_str() {
                "roster" => {
                    let table_push = self.roster(value, &mut grant);
                    // Without both of them there is no push.
                    push = match (push, table_push) {
                        (Some(beside), Some(inside)) => Some(beside && inside),
                        (one, other) => one.or(other),
                    };
                }
                "message" => grant.message = self.message(value),
                "presence" => {
                    grant.presence = self.access(
                        "presence",
                        value,
                        PresenceAccess::parse,
                        "\"none\", \"managed_entity\", \"roster\"",
                    );
                }
                "roster_push" => {
                    let wanted = match value {
                        Value::Bool(wanted) => *wanted,
                        other => {
                            self.wrong("roster_push", other, "true, false", "treated as false");
                            false
                        }
                    };
                    push = Some(push.unwrap_or(true) && wanted);
                }
                "iq" => self.iq(value, &mut grant),
                "accounts" => grant.scope.accounts = Some(self.accounts(value)),
                "except" => match self.except(value) {
                    Some(except) => grant.scope.except = except,
                    None => except_is_readable = false,
                },
                "protocol" => match value {
                    Value::Text(text) if Protocol::parse(text).is_some() => {
                        grant.protocol = Protocol::parse(text).unwrap_or_default();
                    }
                    other => self.wrong("protocol", other, "\"1\", \"2\"", "treated as \"2\""),
                },
                unknown if tables::nearly_narrowing(unknown).is_some() => {
                    let meant = tables::nearly_narrowing(unknown).unwrap_or_default();
                    self.report(
                        Level::Error,
                        format!(
                            "unknown option \"{}\", which is probably meant to narrow the grant: did you mean \"{meant}\"? Known ones: {}; nothing is granted",
                            printable(unknown),
                            quoted(OPTIONS.iter().copied())
                        ),
                    );
                    return None;
                }
                unknown => {
                    let nearest = nearest_option(unknown);
                    self.report(
                        Level::Warn,
                        format!(
                            "unknown option \"{}\" ignored, did you mean \"{nearest}\"?",
                            printable(unknown)
                        ),
                    );
                }
            }
        }
        // Version 1 knows no pushes: a component that speaks it may take one for the user's own edit (A5).
        let default = grant.roster.allows_get() && grant.protocol == Protocol::V2;
        grant.roster_push = push.unwrap_or(default);
        if push == Some(true) && !grant.roster.allows_get() {
            let roster = grant.roster.as_str();
            self.report(
                Level::Warn,
                format!("option \"roster_push\": found true beside roster = \"{roster}\", allowed: true only with roster = \"get\" or \"both\"; no pushes are sent"),
            );
        }
        if grant.presence == PresenceAccess::Roster && !grant.roster.allows_get() {
            let roster = grant.roster.as_str();
            self.report(
                Level::Error,
                format!("option \"presence\": found \"roster\" beside roster = \"{roster}\", allowed: \"roster\" only with roster = \"get\" or \"both\"; treated as \"none\""),
            );
            grant.presence = PresenceAccess::None;
        }
        if !except_is_readable {
            grant.scope = Scope::nobody();
        }
        Some(grant)
    }

    /// Reads the option `roster`. Returns whether it wants pushes, if it says so.
    fn roster(&mut self, value: &Value, grant: &mut Grant) -> Option<bool> {
        if let Value::Table(entries) = value {
            let table = self.roster_table(entries)?;
            (grant.roster, grant.contacts) = (table.access, table.contacts);
            return table.push;
        }
        grant.contacts = Contacts::All;
        let allowed = format!("{}, {{ type = ..., contacts = \"own\" }}", tables::ACCESS);
        grant.roster = self.access("roster", value, Access::parse, &allowed);
        None
    }

    fn message(&mut self, value: &Value) -> MessageAccess {
        let allowed = "\"none\", \"outgoing\", \"own\"";
        let access = self.access("message", value, MessageAccess::parse, allowed);
        if access == MessageAccess::Own && self.is_account {
            self.wrong(
                "message",
                value,
                "\"own\" only for a component, since an account has no domain of its own",
                "only messages to the accounts themselves are granted",
            );
        }
        access
    }

    fn access<T: Copy + Default>(
        &mut self,
        option: &str,
        value: &Value,
        parse: fn(&str) -> Option<T>,
        allowed: &str,
    ) -> T {
        if let Value::Text(text) = value
            && let Some(access) = parse(text)
        {
            return access;
        }
        self.wrong(option, value, allowed, "treated as \"none\"");
        T::default()
    }

    fn iq(&mut self, value: &Value, grant: &mut Grant) {
        let Value::Table(entries) = value else {
            self.wrong(
                "iq",
                value,
                "a table of [\"namespace\"] = \"get\", \"set\", \"both\", \"none\" or { type = ..., to = ..., nodes = ... }",
                "no IQ is granted",
            );
            return;
        };
        for (key, value) in in_order(entries) {
            let Value::Text(namespace) = key else {
                self.wrong(
                    "iq",
                    key,
                    "a namespace in quotes as the key",
                    "this entry grants nothing",
                );
                continue;
            };
            if !is_namespace(namespace) {
                self.wrong(
                    "iq",
                    key,
                    "a namespace without spaces and control characters",
                    "this entry grants nothing",
                );
                continue;
            }
            if namespace.starts_with(ns::PRIVILEGE_ANY) {
                self.wrong(
                    "iq",
                    key,
                    "any namespace but those of XEP-0356 itself, since privileges do not nest",
                    "this entry grants nothing",
                );
                continue;
            }
            if namespace == ns::BLOCKING {
                self.report(
                    Level::Warn,
                    format!("option \"iq\": the namespace {} grants nothing, since no entity may see or change what an account has blocked", ns::BLOCKING),
                );
                continue;
            }
            let iq = match value {
                Value::Table(entries) => self.iq_table(namespace, entries).unwrap_or_default(),
                other => {
                    let allowed = format!("{}, {{ type = ..., to = ..., nodes = ... }}", tables::ACCESS);
                    let option = format!("iq[\"{namespace}\"]");
                    IqGrant::from(self.access(&option, other, Access::parse, &allowed))
                }
            };
            if iq.access != Access::None {
                grant.iq.insert(namespace.clone(), iq);
            }
        }
    }

    /// The usernames of `accounts`; what cannot be read covers nobody.
    fn accounts(&mut self, value: &Value) -> BTreeSet<String> {
        const ALLOWED: &str = "a list of usernames, as in { \"juliet\", \"romeo\" }";
        match self.read_names(value) {
            Ok(names) => names,
            Err(NameError::NoList) => {
                self.wrong("accounts", value, ALLOWED, "no account is covered");
                BTreeSet::new()
            }
            Err(NameError::Bad { good, bad }) => {
                for entry in bad {
                    self.wrong("accounts", &entry, ALLOWED, "this entry covers nobody");
                }
                good
            }
        }
    }

    /// The usernames of `except`; `None` (reported) where one cannot be read, since nobody can say
    /// then whom the administrator wanted to be safe from the entity.
    fn except(&mut self, value: &Value) -> Option<BTreeSet<String>> {
        const ALLOWED: &str = "a list of usernames, as in { \"admin\" }";
        const EFFECT: &str = "whom to except is not certain, so no account is covered";
        match self.read_names(value) {
            Ok(names) => Some(names),
            Err(NameError::NoList) => {
                self.wrong("except", value, ALLOWED, EFFECT);
                None
            }
            Err(NameError::Bad { bad, .. }) => {
                for entry in bad {
                    self.wrong("except", &entry, ALLOWED, EFFECT);
                }
                None
            }
        }
    }

    fn read_names(&self, value: &Value) -> Result<BTreeSet<String>, NameError> {
        let Value::Table(entries) = value else {
            return Err(NameError::NoList);
        };
        let (mut good, mut bad) = (BTreeSet::new(), Vec::new());
        for (key, value) in in_order(entries) {
            match (key, value) {
                (Value::Number(_), Value::Text(name)) => match self.server.username(name) {
                    Some(name) => {
                        good.insert(name);
                    }
                    None => bad.push(value.clone()),
                },
                (Value::Number(_), other) => bad.push(other.clone()),
                (key, _) => bad.push(key.clone()),
            }
        }
        if bad.is_empty() {
            Ok(good)
        } else {
            Err(NameError::Bad { good, bad })
        }
    }
}

enum NameError {
    /// Not a table at all.
    NoList,
    /// A table with entries that are no usernames.
    Bad { good: BTreeSet<String>, bad: Vec<Value> },
}

/// The entries of a Lua table in an order that does not change from run to run.
fn in_order(entries: &[(Value, Value)]) -> Vec<&(Value, Value)> {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
        (Value::Number(_), _) => Ordering::Less,
        (_, Value::Number(_)) => Ordering::Greater,
        _ => Ordering::Equal,
    });
    sorted
}

/// A string of the configuration for a log line: on one line, and not endless.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn is_namespace(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

/// The options a grant knows, in the order in which they are listed after a typing mistake (C2).
const OPTIONS: [&str; 9] = [
    "accounts",
    "except",
    "iq",
    "message",
    "presence",
    "profile",
    "protocol",
    "roster",
    "roster_push",
];

/// The known option that takes the fewest single-letter changes to reach from `name`.
fn nearest_option(name: &str) -> &'static str {
    OPTIONS
        .iter()
        .copied()
        .min_by_key(|known| edit_distance(name, known))
        .unwrap_or("roster")
}

/// Levenshtein distance, bounded by looking at the first 64 characters only.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        let mut next = vec![last];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(a != *b);
            last = cost.min(above + 1).min(last + 1);
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
