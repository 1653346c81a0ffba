//! Random XML for the readers and the judgements. Nothing panics, and nothing is allowed that must not be.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot build its case has to fail the test"
)]

mod common;

use std::borrow::Cow;
use std::cell::Cell;

use common::{AsWritten, CrateNormaliser, ENTITY, HOST, JULIET, SENDER};
use minidom::Element as Xml;
use minidom::rxml::{Namespace, NcName};
use privilege_native::address::{Address, Normaliser};
use privilege_native::element::Element;
use privilege_native::item::Edit;
use privilege_native::matrix::{Grant, PermissionMatrix, Scope};
use privilege_native::permission::{Access, MessageAccess, PresenceAccess};
use privilege_native::request::{Request, Sender};
use privilege_native::{iq, message, ns, roster};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

fn matrix() -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    let grant = Grant {
        roster: Access::Both,
        roster_push: true,
        message: MessageAccess::Outgoing,
        presence: PresenceAccess::Roster,
        iq: [
            ("urn:x".to_owned(), Access::Both.into()),
            (ns::CLIENT.to_owned(), Access::Get.into()),
        ]
        .into(),
        scope: Scope {
            accounts: None,
            except: ["admin".to_owned()].into(),
        },
        ..Grant::default()
    };
    matrix.insert(ENTITY.to_owned(), grant);
    matrix
}

/// Any text that XML can hold: addresses, almost addresses, and others.
fn any_value() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        JULIET,
        JULIET,
        "nurse@capulet.lit",
        HOST,
        "JULIET@Capulet.LIT",
        "juliet@capulet.lit/balcony",
        "romeo@montague.lit",
        "Romeo@Montague.LIT/Orchard",
        "montague.lit",
        "admin@capulet.lit",
        "ADMIN@capulet.lit",
        "juliet@capulet.lit.",
        "@",
        "/",
        "",
        "a@b@c",
        "capulet.lit/juliet@capulet.lit",
        "juliet@montague.lit/@capulet.lit",
        "get",
        "set",
        "result",
        "error",
        "remove",
        "both",
        "none",
        "to",
        "from",
        "subscribe",
        "true",
        "false",
        "i",
        "1",
    ]);
    prop_oneof![
        6 => known.prop_map(str::to_owned),
        1 => "[ -\u{d7ff}\t\n]{0,30}",
        1 => "[a-zA-Z.@/＠．／ß🌹\u{301}-]{0,12}",
    ]
}

fn any_attributes() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let name = prop::sample::select(vec![
        "from",
        "from",
        "to",
        "to",
        "id",
        "type",
        "jid",
        "name",
        "subscription",
        "ask",
        "approved",
        "ver",
        "x",
    ]);
    prop::collection::vec((name, any_value()), 0..6)
}

fn element(
    name: &str,
    namespace: &str,
    attributes: Vec<(&'static str, String)>,
    content: Vec<Content>,
) -> Xml {
    let mut element = Xml::bare(name, namespace);
    let mut seen = Vec::new();
    for (name, value) in attributes {
        if !seen.contains(&name) {
            seen.push(name);
            let name = NcName::try_from(name).unwrap_or_else(|error| panic!("{error}"));
            element.set_attr(Namespace::NONE, name, value);
        }
    }
    for piece in content {
        match piece {
            Content::Element(child) => {
                element.append_child(child);
            }
            Content::Text(text) => {
                element.append_text(text);
            }
        }
    }
    element
}

#[derive(Clone, Debug)]
enum Content {
    Element(Xml),
    Text(String),
}

/// A tree of the names and namespaces that matter, in any arrangement.
fn any_tree() -> impl Strategy<Value = Xml> {
    let name = || {
        prop::sample::select(vec![
            "message",
            "iq",
            "presence",
            "privilege",
            "privileged_iq",
            "forwarded",
            "delay",
            "query",
            "item",
            "group",
            "x",
        ])
    };
    let namespace = || {
        prop::sample::select(vec![
            ns::CLIENT,
            ns::PRIVILEGE,
            ns::PRIVILEGE_1,
            ns::FORWARD,
            ns::ROSTER,
            ns::DELAY,
            "urn:x",
            "jabber:server",
        ])
    };
    let leaf = (name(), namespace(), any_attributes())
        .prop_map(|(name, namespace, attributes)| element(name, namespace, attributes, vec![]));
    leaf.prop_recursive(5, 24, 3, move |inner| {
        let content = prop_oneof![
            4 => inner.prop_map(Content::Element),
            1 => any_value().prop_map(Content::Text),
        ];
        (
            name(),
            namespace(),
            any_attributes(),
            prop::collection::vec(content, 0..4),
        )
            .prop_map(|(name, namespace, attributes, content)| element(name, namespace, attributes, content))
    })
}

/// Attributes that fit together, most of them present and most of them right, and some others.
fn likely_attributes() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let known = [
        ("from", JULIET),
        ("to", JULIET),
        ("id", "i"),
        ("type", "get"),
        ("jid", "a@b"),
        ("subscription", "both"),
        ("ask", "subscribe"),
        ("approved", "true"),
    ];
    let each = known.map(|(name, value)| {
        prop_oneof![
            5 => Just(vec![(name, value.to_owned())]),
            1 => any_value().prop_map(move |value| vec![(name, value)]),
            1 => Just(vec![]),
        ]
    });
    (each.to_vec(), any_attributes()).prop_map(|(mut known, others)| {
        known.push(others);
        known.concat()
    })
}

/// A chain of elements around some content, mostly the right one, sometimes with a stranger in it.
fn any_chain(chain: &'static [(&'static str, &'static str)]) -> impl Strategy<Value = Xml> {
    let levels: Vec<_> = chain
        .iter()
        .map(|level| {
            let level = prop_oneof![
                30 => Just(*level),
                1 => Just(("x", level.1)),
                1 => Just((level.0, "urn:x")),
            ];
            let stray = prop_oneof![12 => Just(None), 1 => any_tree().prop_map(Some)];
            (level, likely_attributes(), stray)
        })
        .collect();
    let extra = prop::collection::vec(any_tree().prop_map(Content::Element), 0..2);
    (levels, extra).prop_map(|(levels, extra)| {
        let mut content = extra;
        for ((name, namespace), attributes, stray) in levels.into_iter().rev() {
            let mut whole = vec![Content::Element(element(name, namespace, attributes, content))];
            whole.extend(stray.map(Content::Element));
            content = whole;
        }
        match content.into_iter().next() {
            Some(Content::Element(outermost)) => outermost,
            _ => Xml::bare("x", ""),
        }
    })
}

fn any_stanza() -> impl Strategy<Value = Xml> {
    prop_oneof![
        2 => any_tree(),
        3 => any_chain(&[
            ("message", ns::CLIENT),
            ("privilege", ns::PRIVILEGE),
            ("forwarded", ns::FORWARD),
            ("message", ns::CLIENT),
        ]),
        3 => any_chain(&[
            ("iq", ns::CLIENT),
            ("privileged_iq", ns::PRIVILEGE),
            ("iq", ns::CLIENT),
            ("x", "urn:x"),
        ]),
        3 => any_chain(&[("iq", ns::CLIENT), ("query", ns::ROSTER), ("item", ns::ROSTER)]),
    ]
}

/// Writes a stanza and reads it again, as if it came from a connection.
fn through_text(stanza: &Xml) -> Option<Xml> {
    let mut text = Vec::new();
    stanza.write_to(&mut text).ok()?;
    String::from_utf8(text).ok()?.parse().ok()
}

fn is_of_host(jid: &str) -> bool {
    Address::from_normalised(jid).is_some_and(|jid| jid.is_bare() && jid.domain() == HOST)
}

#[derive(Default)]
struct Allowed {
    messages: Cell<u32>,
    iqs: Cell<u32>,
    sets: Cell<u32>,
}

fn one_more(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

/// A stanza under another `to` and `type`. A copy of a deep one would overflow the stack.
struct Addressed<'a> {
    element: &'a Xml,
    head: Option<(&'a str, &'a str)>,
}

impl Element for Addressed<'_> {
    fn name(&self) -> String {
        Element::name(&self.element)
    }

    fn namespace(&self) -> Cow<'_, str> {
        Element::namespace(&self.element)
    }

    fn attribute(&self, name: &str) -> Option<String> {
        match (self.head, name) {
            (Some((to, _)), "to") => Some(to.to_owned()),
            (Some((_, kind)), "type") => Some(kind.to_owned()),
            _ => self.element.attribute(name),
        }
    }

    fn child_count(&self) -> usize {
        self.element.child_count()
    }

    fn child(&self, index: usize) -> Option<Self> {
        self.element
            .child(index)
            .map(|element| Addressed { element, head: None })
    }

    fn text(&self) -> String {
        Element::text(&self.element)
    }
}

fn request<'a, T>(sender: Sender<'a>, stanza: T, normaliser: &'a dyn Normaliser) -> Request<'a, T> {
    Request {
        sender,
        stanza,
        normaliser,
    }
}

fn hold(stanza: &Xml, normaliser: &dyn Normaliser, allowed: &Allowed) -> TestCaseResult {
    let matrix = matrix();
    let is_privileged = stanza
        .children()
        .any(|child| child.is("privilege", ns::PRIVILEGE) || child.is("privilege", ns::PRIVILEGE_1));
    if let Ok(permit) = message::judge(&matrix, &request(SENDER, stanza, normaliser)) {
        let inner = permit.stanza.expect("a message inside");
        one_more(&allowed.messages);
        prop_assert!(is_privileged);
        prop_assert!(is_of_host(&permit.account), "{:?}", permit);
        prop_assert_eq!(
            permit
                .account
                .strip_suffix(HOST)
                .and_then(|node| node.strip_suffix('@')),
            permit.username.as_deref()
        );
        prop_assert!(permit.username.as_deref() != Some("admin"));
        prop_assert!(permit.to.is_some() || permit.username.is_some());
        prop_assert!(
            permit
                .to
                .as_deref()
                .is_none_or(|to| Address::from_normalised(to).is_some())
        );
        prop_assert!(
            [ns::CLIENT, ns::COMPONENT, ns::FORWARD]
                .iter()
                .any(|xmlns| Xml::is(inner, "message", *xmlns))
        );
        prop_assert_eq!(inner.attr("to").is_some(), permit.to.is_some());
        prop_assert_eq!(
            inner.attr("from").and_then(|from| normaliser.jid(from)),
            Some(permit.account)
        );
    }
    for account in [
        JULIET,
        "admin@capulet.lit",
        "juliet@capulet.lit/x",
        HOST,
        "romeo@montague.lit",
        "",
    ] {
        for kind in ["get", "set", "result"] {
            let asked = Addressed {
                element: stanza,
                head: Some((account, kind)),
            };
            let Ok(permit) = iq::judge(&matrix, &request(SENDER, asked, normaliser)) else {
                continue;
            };
            let inner = permit.stanza.expect("an IQ inside").element;
            one_more(&allowed.iqs);
            prop_assert_eq!(
                (account, permit.username.as_deref(), permit.account.as_str()),
                (JULIET, Some("juliet"), JULIET)
            );
            prop_assert!(kind != "result");
            prop_assert!(Xml::is(inner, "iq", ns::CLIENT));
            prop_assert_eq!(inner.attr("type"), Some(kind));
            prop_assert_eq!(inner.attr("id"), permit.inner_id.as_deref());
            prop_assert_eq!(inner.children().count(), 1);
            let namespace = inner.children().next().map(|payload| payload.ns());
            prop_assert!(
                namespace.as_deref() == Some("urn:x")
                    || kind == "get" && namespace.as_deref() == Some(ns::CLIENT)
            );
            prop_assert!(
                inner
                    .attr("from")
                    .is_none_or(|from| normaliser.jid(from).as_deref() == Some(JULIET))
            );
            prop_assert_eq!(permit.unless_administrator_of, None);
        }
    }
    for query in std::iter::once(stanza).chain(stanza.children()) {
        if let Ok(edits) = roster::read_set(&query, JULIET, normaliser) {
            one_more(&allowed.sets);
            prop_assert_eq!(edits.len(), query.children().count());
            for (index, item) in edits.iter().enumerate() {
                let contact = Address::from_normalised(item.jid.as_str());
                prop_assert!(
                    contact.is_some_and(|jid| jid.is_bare()) && item.jid != JULIET,
                    "{:?}",
                    item
                );
                prop_assert!(edits.iter().take(index).all(|other| other.jid != item.jid));
                if let Edit::Put { groups, .. } = &item.edit {
                    prop_assert!(groups.iter().all(|group| !group.is_empty()));
                }
            }
            // A second run of the same edits changes nothing.
            let changes = roster::plan(edits.clone(), |_| None);
            let removes = edits.iter().any(|item| item.edit == Edit::Remove);
            prop_assert_eq!(
                changes.as_ref().map(Vec::len).ok(),
                (!removes).then_some(edits.len())
            );
            if let Ok(changes) = changes {
                let find = |jid: &str| {
                    let change = changes.iter().find(|change| change.jid == jid)?;
                    change.item.clone().map(roster::Current::from)
                };
                prop_assert_eq!(roster::plan(edits, find), Ok(vec![]));
            }
        }
    }
    // Nothing is allowed to another sender.
    let stranger = Sender {
        host: "stranger.lit",
        from: "stranger.lit",
        ..SENDER
    };
    prop_assert!(message::judge(&matrix, &request(stranger, stanza, normaliser)).is_err());
    prop_assert!(iq::judge(&matrix, &request(stranger, stanza, normaliser)).is_err());
    prop_assert!(roster::judge(&matrix, &request(stranger, stanza, normaliser)).is_err());
    Ok(())
}

fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(&strategy, test) {
        panic!("{error}\n{runner}");
    }
}

#[test]
fn whatever_is_allowed_may_be_allowed() {
    let (strict, credulous, parsed) = (Allowed::default(), Allowed::default(), Cell::new(0));
    check(1000, any_stanza(), |stanza| {
        if let Some(stanza) = through_text(&stanza) {
            one_more(&parsed);
            hold(&stanza, &CrateNormaliser, &strict)?;
            hold(&stanza, &AsWritten, &credulous)?;
        }
        Ok(())
    });
    assert!(parsed.get() > 800, "{} of 1000 were XML", parsed.get());
    for (what, count, least) in [
        ("messages", &strict.messages, 20),
        ("IQs", &strict.iqs, 3),
        ("roster sets", &strict.sets, 20),
        ("messages", &credulous.messages, 20),
    ] {
        assert!(count.get() >= least, "only {} {what} were allowed", count.get());
    }
}

#[test]
fn text_that_is_hardly_xml_is_no_danger() {
    let good = "<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit' to='a@b'/></forwarded></privilege></message>";
    let allowed = Allowed::default();
    let parsed = Cell::new(0);
    let cut = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        "[<>/='\" a-z&;\u{0}-\u{ff}]{0,6}",
        any::<bool>(),
    );
    check(1500, cut, |(from, till, insert, keep)| {
        let (a, b) = (from.index(good.len()), till.index(good.len()));
        let till = if keep { a } else { a.max(b).min(a + 8) };
        let text: String = good
            .chars()
            .take(a)
            .chain(insert.chars())
            .chain(good.chars().skip(till))
            .collect();
        if let Ok(stanza) = text.parse::<Xml>() {
            one_more(&parsed);
            hold(&stanza, &CrateNormaliser, &allowed)?;
            hold(&stanza, &AsWritten, &allowed)?;
        }
        Ok(())
    });
    assert!(parsed.get() > 20, "{} of 1500 were XML", parsed.get());
}

/// The readers stop at the payload, however deep it is. So a small stack is enough for them. Only `minidom` needs a
/// large one, to build and to drop the stanza.
#[test]
fn a_payload_is_never_looked_into() {
    let depth = 70_000;
    let deep = "<x xmlns='urn:x'>".repeat(depth) + &"</x>".repeat(depth);
    let message = "<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'>\
        <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit' to='a@b'>\
        *</message></forwarded></privilege></message>";
    let iq = "<iq xmlns='jabber:client' id='o'><privileged_iq xmlns='urn:xmpp:privilege:2'>\
        <iq xmlns='jabber:client' type='get' id='i'>*</iq></privileged_iq></iq>";
    let query = "<query xmlns='jabber:iq:roster'><item jid='a@b'><group>*</group></item></query>";
    for (around, expected) in [(message, 1), (iq, 1), (query, 0), ("*", 0)] {
        let xml = around.replace('*', &deep);
        let whole = move || {
            let stanza: Xml = xml.parse().unwrap();
            let judged = || {
                let allowed = Allowed::default();
                hold(&stanza, &CrateNormaliser, &allowed).unwrap();
                allowed.messages.get() + allowed.iqs.get() + allowed.sets.get()
            };
            std::thread::scope(|scope| {
                let small = std::thread::Builder::new().stack_size(192 << 10);
                small.spawn_scoped(scope, judged).unwrap().join().unwrap()
            })
        };
        let large = std::thread::Builder::new().stack_size(512 << 20);
        assert_eq!(large.spawn(whole).unwrap().join().unwrap(), expected);
    }
}
