//! Ready grants, by name (G4). A profile is written as an administrator would write it, and read the same way.

use crate::config::Value;
use crate::ns;

/// The names of the profiles, in the order in which the log lists them.
pub const NAMES: [&str; 2] = ["gateway", "pubsub"];

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn table<'v>(entries: impl IntoIterator<Item = (&'v str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (text(key), value));
    Value::Table(entries.collect())
}

fn list<'v>(values: impl IntoIterator<Item = &'v str>) -> Value {
    let numbered = (1u32..).zip(values);
    let entries = numbered.map(|(index, value)| (Value::Number(f64::from(index)), text(value)));
    Value::Table(entries.collect())
}

/// Returns the options of a profile; `None` for an unknown name.
pub fn options(name: &str) -> Option<Vec<(Value, Value)>> {
    let options = match name {
        // Slidge needs this and no more: its own contacts, messages to its own puppets and copies to the account, the
        // bookmarks and the read markers of the account, and a place to upload files to.
        "gateway" => table([
            (
                "roster",
                table([("type", text("both")), ("contacts", text("own"))]),
            ),
            ("message", text("own")),
            (
                "iq",
                table([
                    (
                        ns::PUBSUB,
                        table([
                            ("type", text("both")),
                            ("to", text("self")),
                            ("nodes", list([ns::BOOKMARKS, ns::DISPLAYED])),
                        ]),
                    ),
                    (
                        ns::PUBSUB_OWNER,
                        table([
                            ("type", text("set")),
                            ("to", text("self")),
                            ("nodes", list([ns::DISPLAYED])),
                        ]),
                    ),
                    (ns::UPLOAD, table([("type", text("get"))])),
                ]),
            ),
        ]),
        // A service that decides by rosters and presence, and sends events.
        "pubsub" => table([
            ("roster", text("get")),
            ("message", text("outgoing")),
            ("presence", text("roster")),
        ]),
        _ => return None,
    };
    match options {
        Value::Table(entries) => Some(entries),
        _ => None,
    }
}
