//! Roster results and pushes as text (R1, R7, R9).

use std::collections::BTreeMap;

use super::xml::Writer;
use crate::item::Item;
use crate::ns;
use crate::roster;

/// The attributes of an IQ that we write.
#[derive(Clone, Copy, Debug)]
pub struct IqHead<'a> {
    /// `type`
    pub kind: &'a str,
    /// `from`
    pub from: &'a str,
    /// `to`
    pub to: &'a str,
    /// `id`
    pub id: &'a str,
}

/// Writes a roster result or push into one string, item by item.
#[derive(Debug)]
pub struct RosterWriter {
    out: Writer,
    /// Whether the open item has no group yet. It is then closed as `<item/>`, which saves bytes, and with them work
    /// of the server's garbage collector.
    item_is_empty: bool,
}

impl RosterWriter {
    /// Begins the IQ. `ver` is the roster version, if the server keeps one; `capacity` is the expected size in bytes.
    pub fn new(head: &IqHead<'_>, ver: Option<&str>, capacity: usize) -> RosterWriter {
        let mut out = Writer::with_capacity(capacity);
        open_iq(&mut out, head);
        out.content();
        out.open("query");
        out.attribute("xmlns", ns::ROSTER);
        out.optional("ver", ver);
        out.content();
        RosterWriter {
            out,
            item_is_empty: true,
        }
    }

    /// Opens an item. Its groups follow, and [`RosterWriter::end_item`]. `approved` and `ask` are written only if set.
    pub fn item(
        &mut self,
        jid: &str,
        subscription: &str,
        ask: Option<&str>,
        approved: bool,
        name: Option<&str>,
    ) {
        self.out.open("item");
        if approved {
            self.out.attribute("approved", "true");
        }
        self.out.optional("ask", ask);
        self.out.attribute("jid", jid);
        self.out.optional("name", name);
        self.out.attribute("subscription", subscription);
        self.item_is_empty = true;
    }

    /// Writes a group of the open item.
    pub fn group(&mut self, name: &str) {
        if self.item_is_empty {
            self.out.content();
            self.item_is_empty = false;
        }
        self.out.open("group");
        self.out.content();
        self.out.text(name);
        self.out.close("group");
    }

    /// Closes the open item.
    pub fn end_item(&mut self) {
        if self.item_is_empty {
            self.out.close_empty();
        } else {
            self.out.close("item");
        }
    }

    /// Writes a whole item; `None` for a contact that is removed.
    pub fn whole(&mut self, jid: &str, item: Option<&Item>) {
        match item {
            Some(item) => {
                let ask = item.ask.then_some("subscribe");
                self.item(
                    jid,
                    item.subscription.as_str(),
                    ask,
                    item.approved,
                    item.name.as_deref(),
                );
                for group in &item.groups {
                    self.group(group);
                }
            }
            None => self.item(jid, "remove", None, false, None),
        }
        self.end_item();
    }

    /// Ends the IQ and returns it.
    pub fn finish(mut self) -> String {
        self.out.close("query");
        self.out.close("iq");
        self.out.finish()
    }
}

/// Returns the answer to a get of a part of a roster. Its version is that of the part; a requester whose version, `theirs`, is
/// the same gets the empty result (G1).
pub fn part(head: &IqHead<'_>, theirs: Option<&str>, items: &BTreeMap<String, Item>) -> String {
    let version = roster::version_of(items);
    if theirs == Some(&version) {
        return empty_iq(head);
    }
    let mut writer = RosterWriter::new(head, Some(&version), 512);
    for (jid, item) in items {
        writer.whole(jid, Some(item));
    }
    writer.finish()
}

/// Returns the push of one contact; `ver` is the roster version, if the server keeps one. `item` is `None` for a contact
/// that is gone (R7).
pub fn push(head: &IqHead<'_>, ver: Option<&str>, jid: &str, item: Option<&Item>) -> String {
    let mut writer = RosterWriter::new(head, ver, 256);
    writer.whole(jid, item);
    writer.finish()
}

/// Returns an IQ without content, such as the empty result.
pub fn empty_iq(head: &IqHead<'_>) -> String {
    let mut out = Writer::default();
    open_iq(&mut out, head);
    out.close_empty();
    out.finish()
}

/// Writes the start tag of an IQ up to its attributes; [`Writer::content`] or [`Writer::close_empty`] has to follow.
pub(super) fn open_iq(out: &mut Writer, head: &IqHead<'_>) {
    out.open("iq");
    out.attribute("from", head.from);
    out.attribute("id", head.id);
    out.attribute("to", head.to);
    out.attribute("type", head.kind);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CrateNormaliser;
    use crate::item::Subscription;
    use crate::roster::{Change, plan, read_set};
    use minidom::Element as Xml;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const JULIET: &str = "juliet@capulet.lit";

    fn any_item() -> impl Strategy<Value = (String, Option<Item>)> {
        let subscription = prop_oneof![
            Just(Subscription::None),
            Just(Subscription::To),
            Just(Subscription::From),
            Just(Subscription::Both)
        ];
        let text = "[\\PC\t\n\r<>&'\"]{1,8}";
        let item = (
            subscription,
            any::<bool>(),
            any::<bool>(),
            prop::option::of(text),
            prop::collection::btree_set(text, 0..3),
        )
            .prop_map(|(subscription, ask, approved, name, groups)| Item {
                subscription,
                ask,
                approved,
                name,
                groups,
            });
        ("[a-z]{1,4}@[a-z]{1,4}", prop::option::of(item))
    }

    proptest! {
        /// The writer says what minidom says, and its text is read back as the same items.
        #[test]
        fn r9_what_is_written_is_read_back_exactly(items in prop::collection::vec(any_item(), 0..6)) {
            let head = IqHead { kind: "result", from: JULIET, to: "pubsub.capulet.lit", id: "<&'\">" };
            let mut writer = RosterWriter::new(&head, Some("3"), 0);
            let mut expected = Xml::bare("query", ns::ROSTER);
            for (jid, item) in &items {
                writer.whole(jid, item.as_ref());
                let name = |name: &'static str| minidom::rxml::NcName::try_from(name).unwrap();
                let mut element = Xml::builder("item", ns::ROSTER).attr(name("jid"), jid.as_str());
                match item {
                    None => element = element.attr(name("subscription"), "remove"),
                    Some(item) => {
                        element = element
                            .attr(name("subscription"), item.subscription.as_str())
                            .attr(name("ask"), item.ask.then_some("subscribe"))
                            .attr(name("approved"), item.approved.then_some("true"))
                            .attr(name("name"), item.name.clone());
                        for group in &item.groups {
                            element = element.append(
                                Xml::builder("group", ns::ROSTER).append(group.as_str()).build(),
                            );
                        }
                    }
                }
                expected.append_child(element.build());
            }
            let text = writer.finish().replacen("<iq ", "<iq xmlns='jabber:client' ", 1);
            let iq: Xml = text.parse().unwrap();
            prop_assert_eq!(iq.attr("id"), Some("<&'\">"));
            let query = iq.get_child("query", ns::ROSTER).unwrap();
            prop_assert_eq!(query.attr("ver"), Some("3"));
            prop_assert!(query.children().eq(expected.children()));

            let unique: HashSet<&String> = items.iter().map(|(jid, _)| jid).collect();
            if unique.len() == items.len() && items.iter().all(|(_, item)| item.is_some()) && !items.is_empty() {
                let edits = read_set(&query, "nobody@x", &CrateNormaliser).unwrap();
                let changes = plan(edits, |_| None).unwrap();
                let wanted: Vec<Change> = items
                    .into_iter()
                    .map(|(jid, item)| Change {
                        jid,
                        gains_to: item.as_ref().is_some_and(|item| item.subscription.includes_to()),
                        settles_request: item.as_ref().is_none_or(|item| item.subscription.includes_from()),
                        item: item.map(|item| Item { ask: item.ask && !item.subscription.includes_to(), ..item }),
                    })
                    .collect();
                prop_assert_eq!(changes, wanted);
            }
        }
    }
}
