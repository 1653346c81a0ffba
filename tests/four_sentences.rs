//! The four sentences that hold whatever is configured and whatever is sent:
//!
//! 1. Nothing configured, nothing allowed.
//! 2. Adding a permission never turns an allow into a deny, removing one never a deny into an allow.
//! 3. The decision depends only on host, entity, judged addresses and grant, and on what no grant covers: forgeries
//!    (M8), and what administers a host (N1).
//! 4. Malformed means deny.
//!
//! Each test also counts the cases that are allowed. A property that is only ever tested on denials is worth nothing.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot build its case has to fail the test"
)]

mod common;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use common::CrateNormaliser;
use minidom::Element;
use privilege_native::address::Normaliser;
use privilege_native::administration::Domain;
use privilege_native::denial::Denial;
use privilege_native::matrix::{Grant, PermissionMatrix, Scope};
use privilege_native::narrow::{Contacts, IqGrant, Recipients};
use privilege_native::permission::{Access, MessageAccess, PresenceAccess, Protocol};
use privilege_native::presence::Occasion;
use privilege_native::request::{Permit, Request, Sender, Session};
use privilege_native::{iq, message, ns, presence, roster};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

const HOST: &str = "capulet.lit";
const ENTITIES: [&str; 3] = ["pubsub.capulet.lit", "gateway.montague.lit", "bot@capulet.lit"];
const ACCOUNTS: [&str; 4] = ["juliet", "nurse", "tybalt", "admin"];
const NAMESPACES: [&str; 4] = [
    "http://jabber.org/protocol/pubsub",
    "jabber:iq:last",
    "a&b",
    ns::REGISTER,
];

/// Pubsub nodes that may be granted.
const NODES: [&str; 3] = ["urn:xmpp:bookmarks:1", "a", "A"];

/// Content that the host itself must not send (M8).
const GRANTS: [&str; 2] = [
    "<privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='both'/></privilege>",
    "<delegation xmlns='urn:xmpp:delegation:2'/>",
];
/// Content that an account must not send to itself (M8).
const COPIES: [&str; 3] = [
    "<result xmlns='urn:xmpp:mam:2'><forwarded xmlns='urn:xmpp:forward:0'/></result>",
    "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit' to='romeo@montague.lit'/></forwarded></sent>",
    "<received xmlns='urn:xmpp:carbons:1'/>",
];

// The questions

/// The sender, as the server vouches for it.
#[derive(Clone, Debug)]
struct Who {
    session_type: &'static str,
    host: String,
    username: Option<String>,
    from: String,
    acting: bool,
}

impl Who {
    fn entity(jid: &str) -> Who {
        match jid.split_once('@') {
            None => Who {
                session_type: "component",
                host: jid.to_owned(),
                username: None,
                from: jid.to_owned(),
                acting: false,
            },
            Some((username, host)) => Who {
                session_type: "c2s",
                host: host.to_owned(),
                username: Some(username.to_owned()),
                from: format!("{jid}/resource"),
                acting: false,
            },
        }
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            session: Session::new(self.session_type, self.username.as_deref()),
            host: &self.host,
            from: &self.from,
            acting: self.acting,
        }
    }
}

/// Everything that a decision may depend on, besides the grant.
#[derive(Clone, Debug)]
struct Ask {
    who: Who,
    version: u8,
    from: Option<&'static str>,
    to: Option<&'static str>,
    account: &'static str,
    kind: &'static str,
    inner_kind: Option<&'static str>,
    inner_from: Option<&'static str>,
    namespace: &'static str,
    /// The pubsub node that an IQ is about, where it is about pubsub.
    node: &'static str,
    /// Content of the message that a reader believes because of its sender; empty for none.
    carries: &'static str,
}

impl Ask {
    /// Whether the recipient would believe that content.
    fn is_forgery(&self) -> bool {
        let from = self.from.unwrap_or_default().to_lowercase();
        let to = self.to.map_or(from.clone(), str::to_lowercase);
        let is_to_self = to.split('/').next() == Some(from.as_str());
        if from == HOST {
            GRANTS.contains(&self.carries)
        } else {
            is_to_self && COPIES.contains(&self.carries)
        }
    }
}

/// Everything that a decision must not depend on.
#[derive(Clone, Debug, Default)]
struct Noise {
    text: String,
    payload: &'static str,
    beside: Vec<&'static str>,
    attributes: BTreeMap<&'static str, String>,
    delay: Option<bool>,
    backwards: bool,
    space: &'static str,
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '\'' => "&apos;".to_owned(),
            '"' => "&quot;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// Writes attributes that matter and attributes that do not, in either order.
fn attributes(noise: &Noise, matter: &[(&str, Option<&str>)]) -> String {
    let mut list: Vec<String> = matter
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!(" {name}='{}'", escaped(value))))
        .collect();
    list.extend(
        noise
            .attributes
            .iter()
            .filter(|(name, _)| !matter.iter().any(|(known, _)| known == *name))
            .map(|(name, value)| format!(" {name}='{}'", escaped(value))),
    );
    if noise.backwards {
        list.reverse();
    }
    list.concat()
}

fn parsed(text: &str) -> Element {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn message_stanza(ask: &Ask, noise: &Noise) -> Element {
    let space = noise.space;
    let inner = format!(
        "<message xmlns='jabber:client'{}>{space}{}<body>{}</body>{}</message>",
        attributes(noise, &[("from", ask.from), ("to", ask.to)]),
        ask.carries,
        escaped(&noise.text),
        noise.payload,
    );
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>";
    let forwarded = match noise.delay {
        None => inner,
        Some(true) => format!("{delay}{space}{inner}"),
        Some(false) => format!("{inner}{delay}"),
    };
    let wrapper = format!(
        "<privilege xmlns='urn:xmpp:privilege:{}'>{space}<forwarded xmlns='urn:xmpp:forward:0'>{space}{forwarded}</forwarded>{space}</privilege>",
        ask.version
    );
    let mut beside: Vec<String> = noise.beside.iter().map(|&child| child.to_owned()).collect();
    beside.push(wrapper);
    if noise.backwards {
        beside.reverse();
    }
    parsed(&format!(
        "<message xmlns='jabber:client'{}>{space}{}</message>",
        attributes(noise, &[]),
        beside.concat()
    ))
}

fn iq_stanza(ask: &Ask, noise: &Noise) -> Element {
    let space = noise.space;
    let (namespace, attributes_of_payload) = (escaped(ask.namespace), attributes(noise, &[]));
    let content = format!("{}{}", escaped(&noise.text), noise.payload);
    let payload = if ask.namespace == ns::PUBSUB {
        let node = attributes(noise, &[("node", Some(ask.node))]);
        format!("<pubsub xmlns='{namespace}'{attributes_of_payload}><items{node}>{content}</items></pubsub>")
    } else {
        format!("<query xmlns='{namespace}'{attributes_of_payload}>{content}</query>")
    };
    let inner = attributes(
        noise,
        &[
            ("id", Some("i")),
            ("type", ask.inner_kind),
            ("from", ask.inner_from),
            ("to", ask.to),
        ],
    );
    let outer = attributes(
        noise,
        &[
            ("id", Some("o")),
            ("type", Some(ask.kind)),
            ("to", Some(ask.account)),
        ],
    );
    parsed(&format!(
        "<iq xmlns='jabber:client'{outer}>{space}<privileged_iq xmlns='urn:xmpp:privilege:2'>{space}<iq xmlns='jabber:client'{inner}>{space}{payload}</iq></privileged_iq></iq>"
    ))
}

// The decisions

#[derive(Clone, Debug, PartialEq)]
struct Decisions {
    message: Result<Permit<()>, Denial>,
    iq: Result<Permit<()>, Denial>,
    roster: Result<Permit<()>, Denial>,
    presence: [bool; 2],
}

impl Decisions {
    fn allowed(&self) -> [bool; 5] {
        let [account, contact] = self.presence;
        [
            self.message.is_ok(),
            self.iq.is_ok(),
            self.roster.is_ok(),
            account,
            contact,
        ]
    }
}

fn request<'a, T>(sender: &Sender<'a>, stanza: T, normaliser: &'a dyn Normaliser) -> Request<'a, T> {
    Request {
        sender: *sender,
        stanza,
        normaliser,
    }
}

fn decide_with(
    matrix: &PermissionMatrix,
    ask: &Ask,
    noise: &Noise,
    normaliser: &dyn Normaliser,
) -> Decisions {
    let sender = ask.who.sender();
    let (message, iq) = (message_stanza(ask, noise), iq_stanza(ask, noise));
    let username = ask.account.split('@').next().unwrap_or_default();
    let entity = sender.entity().unwrap_or_default();
    let may_see = |occasion, from| {
        matrix
            .grant_of(&sender)
            .is_some_and(|grant| presence::may_see(matrix, entity, grant, occasion, username, from))
    };
    Decisions {
        message: message::judge(matrix, &request(&sender, &message, normaliser)).map(Permit::without_stanza),
        iq: iq::judge(matrix, &request(&sender, &iq, normaliser)).map(Permit::without_stanza),
        roster: roster::judge(matrix, &request(&sender, &iq, normaliser)).map(Permit::without_stanza),
        presence: [
            may_see(Occasion::Account, "juliet@capulet.lit/balcony"),
            may_see(Occasion::Contact, "romeo@montague.lit/orchard"),
        ],
    }
}

fn decide(matrix: &PermissionMatrix, ask: &Ask, noise: &Noise) -> Decisions {
    decide_with(matrix, ask, noise, &CrateNormaliser)
}

fn matrix(grants: &[(&str, Grant)]) -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    for (entity, grant) in grants {
        matrix.insert((*entity).to_owned(), grant.clone());
    }
    matrix
}

// The generators. Their weights favour cases that are allowed.

fn any_access() -> impl Strategy<Value = Access> {
    prop_oneof![
        3 => Just(Access::Both),
        1 => Just(Access::Get),
        1 => Just(Access::Set),
        1 => Just(Access::None),
    ]
}

fn any_iq_grant() -> impl Strategy<Value = IqGrant> {
    let listed = |jids: &[&str]| Recipients::Listed(jids.iter().map(|jid| (*jid).to_owned()).collect());
    let to = prop_oneof![
        6 => Just(Recipients::Any),
        1 => Just(Recipients::Account),
        1 => Just(Recipients::Own),
        1 => Just(listed(&["montague.lit"])),
        1 => Just(listed(&["romeo@montague.lit", "pubsub.capulet.lit"])),
    ];
    let nodes = prop_oneof![
        3 => Just(None),
        1 => prop::sample::subsequence(NODES.to_vec(), 0..=2)
            .prop_map(|nodes| Some(nodes.into_iter().map(str::to_owned).collect())),
    ];
    (any_access(), to, nodes).prop_map(|(access, to, nodes)| IqGrant { access, to, nodes })
}

fn any_accounts(most: usize) -> impl Strategy<Value = BTreeSet<String>> {
    prop::sample::subsequence(ACCOUNTS.to_vec(), 0..=most)
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let iq = prop::collection::btree_map(prop::sample::select(NAMESPACES.to_vec()), any_iq_grant(), 3..=4);
    let scope = (
        prop_oneof![3 => Just(None), 1 => any_accounts(4).prop_map(Some)],
        prop_oneof![3 => Just(BTreeSet::new()), 1 => any_accounts(2)],
    );
    (
        (
            any_access(),
            prop_oneof![3 => Just(Contacts::All), 1 => Just(Contacts::Own)],
        ),
        any::<bool>(),
        prop_oneof![
            3 => Just(MessageAccess::Outgoing),
            1 => Just(MessageAccess::Own),
            1 => Just(MessageAccess::None),
        ],
        prop::sample::select(vec![
            PresenceAccess::None,
            PresenceAccess::ManagedEntity,
            PresenceAccess::Roster,
        ]),
        iq,
        scope,
        prop_oneof![Just(Protocol::V1), Just(Protocol::V2)],
    )
        .prop_map(
            |((roster, contacts), roster_push, message, presence, iq, (accounts, except), protocol)| Grant {
                roster,
                contacts,
                roster_push,
                message,
                presence: if roster.allows_get() {
                    presence
                } else {
                    presence.min(PresenceAccess::ManagedEntity)
                },
                iq: iq
                    .into_iter()
                    .filter(|(_, iq)| iq.access != Access::None)
                    .map(|(namespace, mut iq)| {
                        // Other namespaces have none.
                        iq.nodes = iq.nodes.filter(|_| namespace == ns::PUBSUB);
                        (namespace.to_owned(), iq)
                    })
                    .collect(),
                scope: Scope { accounts, except },
                protocol,
                ..Grant::default()
            },
        )
}

fn any_who() -> impl Strategy<Value = Who> {
    let privileged = prop::sample::select(ENTITIES.to_vec()).prop_map(Who::entity);
    prop_oneof![5 => privileged, 1 => prop::sample::select(nobodies())]
}

/// Senders that are almost an entity.
fn nobodies() -> Vec<Who> {
    let changes: [fn(&mut Who); 8] = [
        |who| who.acting = true,
        |who| who.session_type = "s2sin",
        |who| who.session_type = "component_unauthed",
        |who| who.session_type = "",
        |who| who.host = "stranger.lit".to_owned(),
        |who| who.from = format!("somebody@{}", who.host),
        |who| who.from = String::new(),
        |who| who.from.insert(0, 'x'),
    ];
    let mut nobodies = vec![Who::entity("stranger.lit"), Who::entity("juliet@capulet.lit")];
    // An address of a component that is not its own name belongs to somebody behind it.
    let mut behind = Who::entity("pubsub.capulet.lit");
    behind.from.push_str("/resource");
    nobodies.push(behind);
    for entity in ENTITIES {
        nobodies.extend(changes.iter().map(|change| {
            let mut who = Who::entity(entity);
            change(&mut who);
            who
        }));
    }
    nobodies
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let from = prop_oneof![
        8 => prop::sample::select(vec![
            Some("juliet@capulet.lit"), Some("nurse@capulet.lit"), Some("admin@capulet.lit"),
            Some("capulet.lit"), Some("JULIET@Capulet.LIT"),
        ]),
        2 => prop::sample::select(vec![
            None, Some(""), Some("@"), Some("juliet@capulet.lit/balcony"), Some("romeo@montague.lit"),
            Some("pubsub.capulet.lit"), Some("juliet@capulet.lit@montague.lit"),
        ]),
    ];
    let to = prop_oneof![
        8 => prop::sample::select(vec![Some("romeo@montague.lit"), Some("Romeo@Montague.LIT/Orchard"), Some("montague.lit")]),
        3 => prop::sample::select(vec![Some("X@pubsub.capulet.lit/y"), Some("gateway.montague.lit"), Some("a.gateway.montague.lit")]),
        1 => Just(None),
        1 => prop::sample::select(vec![Some("Juliet@capulet.lit/balcony"), Some("juliet@capulet.lit")]),
        1 => Just(Some("@montague.lit")),
    ];
    let account = prop_oneof![
        8 => prop::sample::select(vec!["juliet@capulet.lit", "nurse@capulet.lit", "tybalt@capulet.lit", "admin@capulet.lit"]),
        2 => prop::sample::select(vec!["juliet@capulet.lit/balcony", "romeo@montague.lit", "capulet.lit", ""]),
    ];
    let kinds = prop_oneof![
        4 => Just(("get", Some("get"))),
        4 => Just(("set", Some("set"))),
        1 => prop::sample::select(vec![("get", Some("set")), ("set", None), ("result", Some("result")), ("", None)]),
    ];
    let inner_from = prop_oneof![3 => Just(false), 1 => Just(true)];
    let namespace =
        prop_oneof![8 => prop::sample::select(NAMESPACES.to_vec()), 1 => Just("urn:xmpp:privilege:2")];
    (
        any_who(),
        1..=2u8,
        from,
        to,
        account,
        kinds,
        inner_from,
        (namespace, prop::sample::select(NODES.to_vec())),
        any_carried(),
    )
        .prop_map(
            |(
                who,
                version,
                from,
                to,
                account,
                (kind, inner_kind),
                inner_from,
                (namespace, node),
                carries,
            )| Ask {
                who,
                version,
                from,
                to,
                account,
                kind,
                inner_kind,
                inner_from: inner_from.then_some(account),
                namespace,
                node,
                carries,
            },
        )
}

fn any_carried() -> impl Strategy<Value = &'static str> {
    let forged: Vec<&str> = GRANTS.into_iter().chain(COPIES).collect();
    prop_oneof![4 => Just(""), 1 => prop::sample::select(forged)]
}

fn any_noise() -> impl Strategy<Value = Noise> {
    let payload = prop::sample::select(vec![
        "",
        "<x xmlns='y'/>",
        "<x xmlns='y'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'/></privilege></x>",
        "<private xmlns='urn:xmpp:carbons:2'/><received xmlns='urn:xmpp:receipts' id='x'/>",
        "<message xmlns='jabber:client' from='mallory@montague.lit'/><iq xmlns='jabber:client' id='j'/>",
        "<a xmlns='b'><c><d><e f='g'/></d></c></a>",
    ]);
    let beside = prop::sample::subsequence(
        vec![
            "<body>read me</body>",
            "<x xmlns='privilege'/>",
            "<privilege xmlns='other'/>",
            "<forwarded xmlns='urn:xmpp:forward:0'/>",
            "<message xmlns='jabber:client' from='admin@capulet.lit'/>",
        ],
        0..=3,
    );
    let attributes = prop::collection::btree_map(
        prop::sample::select(vec!["id", "xml:lang", "type", "x", "jid"]),
        "[a-z<&'\"]{0,6}",
        0..=4,
    );
    (
        "[ -~£-ÿ🌹]{0,20}",
        payload,
        beside,
        attributes,
        prop::option::of(any::<bool>()),
        any::<bool>(),
        prop::sample::select(vec!["", " ", "\n\t"]),
    )
        .prop_map(
            |(text, payload, beside, attributes, delay, backwards, space)| Noise {
                text,
                payload,
                beside,
                attributes,
                delay,
                backwards,
                space,
            },
        )
}

/// Counts what was allowed, and fails a test that allowed too little to show anything.
#[derive(Default)]
struct Share {
    cases: Cell<u32>,
    allowed: [Cell<u32>; 5],
}

impl Share {
    fn count(&self, decisions: &Decisions) {
        self.cases.set(self.cases.get() + 1);
        for (count, allowed) in self.allowed.iter().zip(decisions.allowed()) {
            count.set(count.get() + u32::from(allowed));
        }
    }

    /// Some decisions of each kind were allowed, and not all of them.
    ///
    /// The cases are drawn anew in every run, so the bound is far from what is expected. The rarest kind is
    /// allowed in 15 of 100 cases. Fewer than 3 of 100 among 600 come about once in 10^19 runs, or when somebody
    /// changes the generators.
    fn is_worth_something(&self) {
        for (kind, count) in ["message", "iq", "roster", "presence", "contact"]
            .iter()
            .zip(&self.allowed)
        {
            let (allowed, cases) = (count.get(), self.cases.get());
            assert!(
                allowed * 100 >= cases * 3 && allowed < cases,
                "{kind}: {allowed} of {cases} cases were allowed"
            );
        }
    }
}

fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> TestCaseResult) {
    let mut runner = TestRunner::new(Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(&strategy, test) {
        panic!("{error}\n{runner}");
    }
}

// 1

#[test]
fn nothing_configured_nothing_allowed() {
    let strategy = (any_ask(), any_noise(), any_grant(), any_accounts(4));
    let share = Share::default();
    check(strategy, |(ask, noise, grant, accounts)| {
        let entity = ask.who.sender().entity().unwrap_or_default().to_owned();
        let others: Vec<_> = ENTITIES
            .into_iter()
            .filter(|other| *other != entity)
            .map(|other| (other, grant.clone()))
            .collect();
        let empty = Grant {
            scope: Scope {
                accounts: Some(accounts),
                except: BTreeSet::new(),
            },
            ..Grant::default()
        };
        let nobody = Grant {
            scope: Scope::nobody(),
            ..grant.clone()
        };
        for nothing in [
            matrix(&[]),
            matrix(&ENTITIES.map(|entity| (entity, Grant::default()))),
            matrix(&ENTITIES.map(|entity| (entity, empty.clone()))),
            matrix(&others),
        ] {
            prop_assert_eq!(decide(&nothing, &ask, &noise).allowed(), [false; 5]);
        }
        // A grant over nobody allows at most messages of the host itself, which is not an account (M3).
        let decisions = decide(
            &matrix(&ENTITIES.map(|entity| (entity, nobody.clone()))),
            &ask,
            &noise,
        );
        let [message, rest @ ..] = decisions.allowed();
        prop_assert!(!message || ask.from == Some(HOST));
        prop_assert_eq!(rest, [false; 4]);
        // With a grant, enough of the same stanzas are allowed.
        share.count(&decide(
            &matrix(&ENTITIES.map(|entity| (entity, grant.clone()))),
            &ask,
            &noise,
        ));
        Ok(())
    });
    share.is_worth_something();
}

// 2

/// Returns the grant that allows what either grant allows.
fn joined(a: &Grant, b: &Grant) -> Grant {
    let access =
        |a: Access, b: Access| match (a.allows_get() || b.allows_get(), a.allows_set() || b.allows_set()) {
            (true, true) => Access::Both,
            (true, false) => Access::Get,
            (false, true) => Access::Set,
            (false, false) => Access::None,
        };
    let mut iq = a.iq.clone();
    for (namespace, more) in &b.iq {
        let entry = iq.entry(namespace.clone()).or_insert_with(|| more.clone());
        *entry = IqGrant {
            access: access(entry.access, more.access),
            to: if entry.to == more.to {
                more.to.clone()
            } else {
                Recipients::Any
            },
            nodes: entry
                .nodes
                .as_ref()
                .zip(more.nodes.as_ref())
                .map(|(a, b)| a.union(b).cloned().collect()),
        };
    }
    Grant {
        roster: access(a.roster, b.roster),
        contacts: a.contacts.max(b.contacts),
        roster_push: a.roster_push || b.roster_push,
        message: a.message.max(b.message),
        presence: a.presence.max(b.presence),
        iq,
        scope: Scope {
            accounts: match (&a.scope.accounts, &b.scope.accounts) {
                (Some(a), Some(b)) => Some(a.union(b).cloned().collect()),
                _ => None,
            },
            except: a.scope.except.intersection(&b.scope.except).cloned().collect(),
        },
        protocol: b.protocol,
        ..Grant::default()
    }
}

#[test]
fn adding_a_permission_never_takes_one_and_removing_one_never_gives_one() {
    let share = Share::default();
    check(
        (any_ask(), any_noise(), any_grant(), any_grant()),
        |(ask, noise, a, b)| {
            let with = |grant: &Grant| {
                decide(
                    &matrix(&ENTITIES.map(|entity| (entity, grant.clone()))),
                    &ask,
                    &noise,
                )
            };
            let (less, more, fewest) = (with(&a), with(&joined(&a, &b)), with(&a.stricter(&b)));
            for (before, after) in [(&fewest, &less), (&less, &more), (&fewest, &more)] {
                for (was, is) in before.allowed().into_iter().zip(after.allowed()) {
                    prop_assert!(!was || is, "{:?} became {:?}", before, after);
                }
                // A stanza that stays allowed gets the same permit.
                prop_assert!(before.message.is_err() || before.message == after.message);
                prop_assert!(before.iq.is_err() || before.iq == after.iq);
                prop_assert!(before.roster.is_err() || before.roster == after.roster);
            }
            // The stricter of two allows exactly what both allow; presence has a condition of its own (C3).
            let both = less
                .allowed()
                .into_iter()
                .zip(with(&b).allowed())
                .map(|(a, b)| a && b);
            prop_assert!(
                fewest
                    .allowed()
                    .into_iter()
                    .zip(both)
                    .take(3)
                    .all(|(strict, both)| strict == both)
            );
            // An entity written twice has the stricter of each (C5), in either order.
            for twice in [[&a, &b], [&b, &a]] {
                let mut matrix = PermissionMatrix::new(HOST);
                for grant in twice {
                    for entity in ENTITIES {
                        matrix.insert(entity.to_owned(), grant.clone());
                    }
                }
                prop_assert_eq!(&decide(&matrix, &ask, &noise).allowed(), &fewest.allowed());
            }
            share.count(&less);
            Ok(())
        },
    );
    share.is_worth_something();
}

/// Returns the grant without anything that narrows it.
fn widened(grant: &Grant) -> Grant {
    let iq = grant
        .iq
        .iter()
        .map(|(namespace, iq)| (namespace.clone(), iq.access.into()));
    Grant {
        contacts: Contacts::All,
        message: if grant.message == MessageAccess::None {
            MessageAccess::None
        } else {
            MessageAccess::Outgoing
        },
        iq: iq.collect(),
        ..grant.clone()
    }
}

#[test]
fn g1_g2_g3_what_is_narrowed_never_allows_what_the_wide_grant_would_not() {
    let share = Share::default();
    let outside = Cell::new(0u32);
    check((any_ask(), any_noise(), any_grant()), |(ask, noise, grant)| {
        let with = |grant: &Grant| {
            decide(
                &matrix(&ENTITIES.map(|entity| (entity, grant.clone()))),
                &ask,
                &noise,
            )
        };
        let (narrow, wide) = (with(&grant), with(&widened(&grant)));
        for (narrow, wide) in [
            (&narrow.message, &wide.message),
            (&narrow.iq, &wide.iq),
            (&narrow.roster, &wide.roster),
        ] {
            match (narrow, wide) {
                (Ok(_), _) => prop_assert_eq!(narrow, wide),
                // What is narrowed away is refused as what is not granted is.
                (Err(denial), Ok(_)) => {
                    prop_assert_eq!(denial.error_type.as_str(), "auth");
                    prop_assert_eq!(denial.condition.as_str(), "forbidden");
                    prop_assert!(["G2", "G3"].contains(&denial.rule), "{:?}", denial);
                    outside.set(outside.get() + 1);
                }
                (Err(_), Err(_)) => {}
            }
        }
        for (narrow, wide) in narrow.presence.into_iter().zip(wide.presence) {
            prop_assert!(!narrow || wide);
        }
        share.count(&narrow);
        Ok(())
    });
    share.is_worth_something();
    assert!(outside.get() > 20, "{} were narrowed away", outside.get());
}

#[test]
fn g1_a_roster_set_is_refused_where_it_touches_any_other_contact() {
    let domains = prop::sample::select(vec![
        "gateway.lit",
        "a.gateway.lit",
        "lit",
        "montague.lit",
        "gateway.lit.evil",
    ]);
    let contact = (prop::option::of("[a-c]"), domains);
    let allowed = Cell::new(0u32);
    check(prop::collection::btree_set(contact, 1..4), |contacts| {
        let items: String = contacts
            .iter()
            .map(|(node, domain)| match node {
                Some(node) => format!("<item jid='{node}@{domain}'/>"),
                None => format!("<item jid='{domain}'/>"),
            })
            .collect();
        let query = &parsed(&format!("<query xmlns='jabber:iq:roster'>{items}</query>"));
        let sets = roster::read_set(&query, "juliet@capulet.lit", &CrateNormaliser).expect("a good set");
        let check = |contacts| {
            let grant = Grant {
                roster: Access::Both,
                contacts,
                ..Grant::default()
            };
            roster::check_contacts(&matrix(&[("gateway.lit", grant)]), "gateway.lit", &sets)
        };
        let is_own = contacts.iter().all(|(_, domain)| *domain == "gateway.lit");
        prop_assert!(check(Contacts::All).is_ok());
        match check(Contacts::Own) {
            Ok(()) => prop_assert!(is_own),
            Err(denial) => {
                prop_assert!(!is_own && denial.rule == "G1" && denial.condition.as_str() == "forbidden")
            }
        }
        allowed.set(allowed.get() + u32::from(is_own));
        Ok(())
    });
    assert!(allowed.get() > 20, "{} allowed", allowed.get());
}

#[test]
fn what_others_are_granted_changes_nothing() {
    let share = Share::default();
    check(
        (any_ask(), any_noise(), any_grant(), any_grant(), any_grant()),
        |(ask, noise, own, first, second)| {
            let entity = ask.who.sender().entity().unwrap_or("nobody.lit").to_owned();
            let mut others: Vec<_> = ENTITIES
                .into_iter()
                .filter(|other| *other != entity)
                .zip([first, second])
                .collect();
            let alone = decide(&matrix(&[(&entity, own.clone())]), &ask, &noise);
            for at in [0, others.len()] {
                others.insert(at, (&entity, own.clone()));
                prop_assert_eq!(&decide(&matrix(&others), &ask, &noise), &alone);
                others.remove(at);
            }
            share.count(&alone);
            Ok(())
        },
    );
    share.is_worth_something();
}

// 3

#[test]
fn the_decision_depends_on_host_entity_addresses_and_grant_alone() {
    let share = Share::default();
    check(
        (any_ask(), any_noise(), any_noise(), any_grant()),
        |(ask, one, other, grant)| {
            let matrix = matrix(&ENTITIES.map(|entity| (entity, grant.clone())));
            let decisions = decide(&matrix, &ask, &one);
            prop_assert_eq!(&decide(&matrix, &ask, &other), &decisions);
            prop_assert_eq!(&decide(&matrix, &ask, &Noise::default()), &decisions);
            // Another spelling of an address is the same address.
            let respelled = Ask {
                from: match ask.from {
                    Some("juliet@capulet.lit") => Some("JULIET@Capulet.LIT"),
                    Some("JULIET@Capulet.LIT") => Some("juliet@capulet.lit"),
                    from => from,
                },
                ..ask.clone()
            };
            prop_assert_eq!(&decide(&matrix, &respelled, &one), &decisions);
            share.count(&decisions);
            Ok(())
        },
    );
    share.is_worth_something();
}

#[test]
fn m8_what_no_grant_covers_is_refused_whatever_is_granted() {
    let share = Share::default();
    check((any_ask(), any_noise(), any_grant()), |(ask, noise, grant)| {
        let matrix = matrix(&ENTITIES.map(|entity| (entity, grant.clone())));
        let decisions = decide(&matrix, &ask, &noise);
        let plain = decide(
            &matrix,
            &Ask {
                carries: "",
                ..ask.clone()
            },
            &noise,
        );
        if ask.is_forgery() {
            prop_assert!(decisions.message.is_err());
            // If it is the only fault, the refusal says so.
            prop_assert!(
                plain.message.is_err() || decisions.message.is_err_and(|denial| denial.rule == "M8")
            );
        } else {
            // The same content is harmless here.
            prop_assert_eq!(&decisions.message, &plain.message);
        }
        share.count(&plain);
        Ok(())
    });
    share.is_worth_something();
}

#[test]
fn n1_whom_an_account_must_not_administer_depends_on_the_stanza_alone() {
    let share = Share::default();
    check((any_ask(), any_noise(), any_grant()), |(ask, noise, grant)| {
        let decisions = decide(
            &matrix(&ENTITIES.map(|entity| (entity, grant.clone()))),
            &ask,
            &noise,
        );
        if let Ok(permit) = &decisions.message {
            let host = permit.to.as_deref().filter(|to| !to.contains('@'));
            let expected = permit.username.as_ref().and(host);
            prop_assert_eq!(
                permit.unless_administrator_of.clone(),
                expected.map(|host| Domain::Host(host.to_owned()))
            );
        }
        if let Ok(permit) = &decisions.iq {
            let gives_the_account_away = ask.namespace == ns::REGISTER && ask.kind == "set";
            prop_assert_eq!(
                permit.unless_administrator_of.clone(),
                gives_the_account_away.then_some(Domain::Any)
            );
        }
        share.count(&decisions);
        Ok(())
    });
    share.is_worth_something();
}

#[test]
fn the_order_of_items_does_not_change_what_a_roster_set_does() {
    let item = (
        "[a-d]@(x|Y)\\.lit",
        "( name='[a-z]?')?( subscription='(to|both|none)')?",
        "(<group>a</group>)?(<group>b</group>)?",
    );
    let planned = Cell::new(0u32);
    check(
        (prop::collection::vec(item, 1..5), any::<prop::sample::Index>()),
        |(items, turn)| {
            let mut texts: Vec<String> = items
                .iter()
                .map(|(jid, attributes, groups)| format!("<item jid='{jid}'{attributes}>{groups}</item>"))
                .collect();
            let set = |texts: &[String]| {
                let query = &parsed(&format!(
                    "<query xmlns='jabber:iq:roster'>{}</query>",
                    texts.concat()
                ));
                let edits = roster::read_set(&query, "juliet@capulet.lit", &CrateNormaliser);
                let mut changes = roster::plan(edits?, |_| None)?;
                changes.sort_by(|a, b| a.jid.cmp(&b.jid));
                Ok::<_, Denial>(changes)
            };
            let before = set(&texts);
            let at = turn.index(texts.len());
            texts.rotate_left(at);
            prop_assert_eq!(&set(&texts), &before);
            texts.reverse();
            prop_assert_eq!(&set(&texts), &before);
            planned.set(planned.get() + u32::from(before.is_ok()));
            Ok(())
        },
    );
    assert!(planned.get() > 150, "{} planned", planned.get());
}

// 4

/// A grant, a sender and a stanza without any fault.
fn impeccable() -> impl Strategy<Value = (Grant, Ask)> {
    let ask = any_ask().prop_filter_map("would be refused", |mut ask| {
        let entity = ask.who.sender().entity()?.to_owned();
        if !ENTITIES.contains(&entity.as_str()) {
            return None;
        }
        ask.account = "juliet@capulet.lit";
        ask.from = Some(if ask.inner_from.is_some() {
            "nurse@capulet.lit"
        } else {
            "JULIET@Capulet.LIT"
        });
        ask.to = Some(
            ask.to
                .filter(|to| !to.starts_with('@'))
                .unwrap_or("romeo@montague.lit"),
        );
        ask.inner_from = ask.inner_from.map(|_| "Juliet@capulet.lit");
        ask.kind = if ask.kind == "set" { "set" } else { "get" };
        ask.inner_kind = Some(ask.kind);
        ask.namespace = "jabber:iq:last";
        ask.carries = "";
        Some(ask)
    });
    let grant = any_grant().prop_map(|mut grant| {
        grant.roster = Access::Both;
        grant.message = MessageAccess::Outgoing;
        grant.presence = PresenceAccess::Roster;
        grant.iq.insert("jabber:iq:last".to_owned(), Access::Both.into());
        grant.scope = Scope::default();
        grant
    });
    (grant, ask)
}

/// Every way to spoil one level of the envelope: another name, another namespace, twice, not at all,
/// with a stranger beside it.
fn spoiled(stanza: &Element, path: &[(&str, &str)]) -> Vec<(String, Element)> {
    let text = String::from(stanza);
    let mut found = Vec::new();
    let mut add = |what: String, changed: Option<Element>| {
        if let Some(changed) = changed.filter(|changed| changed != stanza) {
            found.push((what, changed));
        } else {
            panic!("{what} changed nothing in {text}");
        }
    };
    for depth in 1..=path.len() {
        let (name, namespace) = *path.get(depth - 1).expect("within the path");
        let way = path.get(..depth).expect("within the path");
        let renamed = |element: &Element, name: &str, namespace: &str| {
            let mut copy = Element::bare(name, namespace);
            for ((namespace, name), value) in element.attrs() {
                copy.set_attr(namespace.clone(), name.clone(), value.to_owned());
            }
            for child in element.children() {
                copy.append_child(child.clone());
            }
            copy
        };
        add(
            format!("{name} renamed"),
            replaced(stanza, way, &|e| vec![renamed(e, &format!("{name}s"), namespace)]),
        );
        add(
            format!("{name} in another namespace"),
            replaced(stanza, way, &|e| vec![renamed(e, name, &format!("{namespace}0"))]),
        );
        add(
            format!("{name} twice"),
            replaced(stanza, way, &|e| vec![e.clone(), e.clone()]),
        );
        add(format!("no {name}"), replaced(stanza, way, &|_| vec![]));
        if depth > 1 {
            let stranger = Element::bare("stranger", "urn:stranger");
            add(
                format!("beside {name}"),
                replaced(stanza, way, &|e| vec![e.clone(), stranger.clone()]),
            );
            add(
                format!("before {name}"),
                replaced(stanza, way, &|e| vec![stranger.clone(), e.clone()]),
            );
        }
    }
    found
}

/// Returns a copy in which other elements replace the one at the end of `way`.
fn replaced(
    element: &Element,
    way: &[(&str, &str)],
    by: &dyn Fn(&Element) -> Vec<Element>,
) -> Option<Element> {
    let (&(name, namespace), rest) = way.split_first()?;
    let mut copy = Element::bare(element.name(), element.ns());
    for ((namespace, name), value) in element.attrs() {
        copy.set_attr(namespace.clone(), name.clone(), value.to_owned());
    }
    for child in element.children() {
        if !child.is(name, namespace) {
            copy.append_child(child.clone());
        } else if rest.is_empty() {
            for replacement in by(child) {
                copy.append_child(replacement);
            }
        } else {
            copy.append_child(replaced(child, rest, by)?);
        }
    }
    Some(copy)
}

const WRONG_SENDERS: [Option<&str>; 14] = [
    None,
    Some(""),
    Some("@"),
    Some("/"),
    Some("juliet@"),
    Some("@capulet.lit"),
    Some("juliet@capulet.lit/x"),
    Some("capulet.lit/x"),
    Some("juliet@montague.lit"),
    Some("juliet@xcapulet.lit"),
    Some("juliet@capulet.lit.evil"),
    Some("juliet@pubsub.capulet.lit"),
    Some("juliet @capulet.lit"),
    Some("a@juliet@capulet.lit"),
];
const WRONG_RECIPIENTS: [&str; 7] = [
    "",
    "@",
    "/",
    "romeo@",
    "@montague.lit",
    "romeo@montague.lit/",
    "romeo @montague.lit",
];
const WRONG_ACCOUNTS: [&str; 9] = [
    "",
    "@",
    "capulet.lit",
    "@capulet.lit",
    "juliet@",
    "juliet@capulet.lit/x",
    "juliet@capulet.lit/",
    "juliet@montague.lit",
    "juliet@capulet.lit.",
];
const WRONG_NAMESPACES: [&str; 5] = [
    "",
    "urn:xmpp:privilege:2",
    "jabber:iq:las",
    "jabber:iq:last2",
    "JABBER:iq:last",
];

/// Refuses to normalise anything.
struct NoNormaliser;

impl Normaliser for NoNormaliser {
    fn jid(&self, _: &str) -> Option<String> {
        None
    }
    fn username(&self, _: &str) -> Option<String> {
        None
    }
}

#[test]
fn malformed_means_deny() {
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (impeccable(), any_noise());
    let tried = Cell::new(0u32);
    let test = |((grant, ask), noise): ((Grant, Ask), Noise)| {
        let matrix = matrix(&ENTITIES.map(|entity| (entity, grant.clone())));
        let good = decide(&matrix, &ask, &noise);
        prop_assert!(
            good.message.is_ok() && good.iq.is_ok() && good.roster.is_ok(),
            "{:?}",
            good
        );
        let judge = |change: &dyn Fn(&mut Ask)| {
            let mut changed = ask.clone();
            change(&mut changed);
            decide(&matrix, &changed, &noise)
        };
        let sender = ask.who.sender();

        // The envelope.
        let noise = Noise {
            beside: vec![],
            payload: "",
            delay: None,
            ..noise.clone()
        };
        let version = format!("urn:xmpp:privilege:{}", ask.version);
        let path = [
            ("privilege", version.as_str()),
            ("forwarded", "urn:xmpp:forward:0"),
            ("message", "jabber:client"),
        ];
        for (what, stanza) in spoiled(&message_stanza(&ask, &noise), &path) {
            let judged = message::judge(&matrix, &request(&sender, &stanza, &CrateNormaliser));
            prop_assert!(judged.is_err(), "{}: {}", what, String::from(&stanza));
            tried.set(tried.get() + 1);
        }
        let path = [
            ("privileged_iq", "urn:xmpp:privilege:2"),
            ("iq", "jabber:client"),
            ("query", ask.namespace),
        ];
        for (what, stanza) in spoiled(&iq_stanza(&ask, &noise), &path) {
            let judged = iq::judge(&matrix, &request(&sender, &stanza, &CrateNormaliser));
            // The name of a payload does not matter, only its namespace.
            prop_assert!(
                judged.is_err() || what == "query renamed",
                "{}: {}",
                what,
                String::from(&stanza)
            );
            tried.set(tried.get() + 1);
        }

        // Addresses and types.
        for from in WRONG_SENDERS {
            let judged = judge(&|ask| ask.from = from);
            prop_assert!(judged.message.is_err(), "{:?}", from);
            let judged = judge(&|ask| ask.inner_from = from);
            prop_assert!(judged.iq.is_err() || from.is_none(), "{:?}", from);
        }
        for to in WRONG_RECIPIENTS {
            let judged = judge(&|ask| ask.to = Some(to));
            prop_assert!(judged.message.is_err() && judged.iq.is_err(), "{}", to);
        }
        for account in WRONG_ACCOUNTS {
            let judged = judge(&|ask| (ask.account, ask.inner_from) = (account, None));
            prop_assert!(judged.iq.is_err() && judged.roster.is_err(), "{}", account);
        }
        for kind in ["", "Get", "result", "error", "get ", "both", "none"] {
            let judged = judge(&|ask| (ask.kind, ask.inner_kind) = (kind, Some(kind)));
            prop_assert!(judged.iq.is_err(), "{}", kind);
            let judged = judge(&|ask| ask.inner_kind = Some(kind));
            prop_assert!(judged.iq.is_err(), "{}", kind);
        }
        let judged = judge(&|ask| ask.inner_kind = None);
        prop_assert!(judged.iq.is_err());
        for version in [0, 3, 22] {
            let judged = judge(&|ask| ask.version = version);
            prop_assert!(judged.message.is_err());
        }
        for namespace in WRONG_NAMESPACES {
            let judged = judge(&|ask| ask.namespace = namespace);
            prop_assert!(judged.iq.is_err(), "{}", namespace);
        }
        // Forgeries.
        for carries in GRANTS {
            let judged = judge(&|ask| (ask.from, ask.carries) = (Some(HOST), carries));
            prop_assert!(judged.message.is_err(), "{}", carries);
        }
        for carries in COPIES {
            for to in [None, Some("juliet@capulet.lit"), Some("Juliet@capulet.lit/x")] {
                let judged = judge(&|ask| {
                    (ask.from, ask.to, ask.carries) = (Some("JULIET@capulet.lit"), to, carries);
                });
                prop_assert!(judged.message.is_err(), "{}", carries);
            }
        }
        // Other senders, and a normaliser that fails.
        for who in nobodies() {
            let judged = judge(&|ask| ask.who = who.clone());
            prop_assert_eq!(judged.allowed(), [false; 5], "{:?}", who);
        }
        let mut unprepped = ask.clone();
        (unprepped.from, unprepped.inner_from) = (Some("JULIET@Capulet.LIT"), Some("Juliet@capulet.lit"));
        let judged = decide_with(&matrix, &unprepped, &noise, &NoNormaliser);
        prop_assert!(judged.message.is_err() && judged.iq.is_err());
        Ok(())
    };
    if let Err(error) = runner.run(&strategy, test) {
        panic!("{error}\n{runner}");
    }
    assert!(tried.get() > 60 * 30, "{} envelopes were spoiled", tried.get());
}
