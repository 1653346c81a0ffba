//! A granting host: by example, and against a small twin.

use super::*;
use crate::address;
use crate::administration::Domain;
use crate::matrix::{Grant, Scope};
use crate::memory::Memory;
use crate::permission::{Access, MessageAccess};
use crate::presence::Occasion;
use crate::settings::Probe;
use minidom::Element;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const HOST: &str = "capulet.lit";
const GATEWAY: &str = "gateway.lit";
const BOT: &str = "bot@capulet.lit";
const JULIET: &str = "juliet@capulet.lit";

fn memory() -> SharedMemory {
    Rc::new(RefCell::new(Memory::new(64)))
}

fn matrix(grants: &[(&str, Grant)]) -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    for (entity, grant) in grants {
        matrix.insert((*entity).to_owned(), grant.clone());
    }
    matrix
}

fn settings(iq_limit: usize, iq_timeout: u64) -> Settings {
    Settings {
        iq_limit,
        iq_timeout,
        probe: Probe::All,
        probe_rate: 200.0,
    }
}

fn of_presence(presence: PresenceAccess) -> Grant {
    Grant {
        roster: Access::Get,
        presence,
        ..Grant::default()
    }
}

fn of_iqs() -> Grant {
    Grant {
        iq: [("urn:x".to_owned(), Access::Both.into())].into(),
        ..Grant::default()
    }
}

/// A host with these grants.
fn host(grants: &[(&str, Grant)]) -> Host {
    let mut host = Host::new(HOST, "t-");
    host.configure(matrix(grants), &settings(100, 1000));
    host
}

fn configure(host: &mut Host, grants: &[(&str, Grant)]) -> Configured {
    host.configure(matrix(grants), &settings(100, 1000))
}

fn connect(host: &mut Host, address: &str) -> Connected {
    host.connected(address, address::bare(address), memory(), None)
}

fn request(reply_to: &str, account: &str) -> Entry {
    Entry {
        entity: address::bare(reply_to).to_owned(),
        reply_to: reply_to.to_owned(),
        outer_id: "outer".to_owned(),
        inner_id: "inner".to_owned(),
        account: account.to_owned(),
        to: None,
    }
}

fn open(host: &mut Host, reply_to: &str) -> String {
    host.ledger.open(0, request(reply_to, JULIET)).unwrap()
}

fn answer(host: &mut Host, id: &str) -> Option<Entry> {
    host.answer(id, Some(JULIET), JULIET)
}

fn read(outgoing: &Outgoing) -> Element {
    outgoing
        .text
        .replacen(' ', " xmlns='jabber:client' ", 1)
        .parse()
        .unwrap_or_else(|problem| panic!("{problem}: {}", outgoing.text))
}

/// The address and the condition of each error.
fn errors(outbox: &[Outgoing]) -> Vec<(String, String)> {
    outbox
        .iter()
        .map(|outgoing| {
            let iq = read(outgoing);
            assert_eq!(
                (iq.attr("type"), iq.attr("to")),
                (Some("error"), Some(outgoing.to.as_str()))
            );
            let error = iq.get_child("error", crate::ns::CLIENT).unwrap();
            let condition = error.children().next().unwrap().name();
            (outgoing.to.clone(), condition.to_owned())
        })
        .collect()
}

fn error_to(address: &str, condition: &str) -> Vec<(String, String)> {
    vec![(address.to_owned(), condition.to_owned())]
}

/// The knowledge that a later instance is given of a connection. All presence was noted.
fn kept(host: &Host, address: &str) -> Earlier {
    Earlier {
        advertised: host
            .entities
            .advertised()
            .find(|(other, _)| *other == address)
            .and_then(|(_, advertised)| advertised.map(str::to_owned)),
        is_pending: false,
        has_memory: true,
        is_noted: true,
    }
}

#[test]
fn a1_p2_a_new_connection_is_told_what_it_may_do_and_who_is_there() {
    let mut host = host(&[
        (GATEWAY, of_presence(PresenceAccess::ManagedEntity)),
        (BOT, of_iqs()),
    ]);
    let connected = connect(&mut host, GATEWAY);
    assert_eq!(connected.advertisement.unwrap().to, GATEWAY);
    assert_eq!(connected.task, Some(Task::Tell));
    let connected = connect(&mut host, "bot@capulet.lit/1");
    assert_eq!(connected.advertisement.unwrap().to, "bot@capulet.lit/1");
    assert_eq!(connected.task, None);
    let connected = connect(&mut host, "stranger.lit");
    assert_eq!((connected.advertisement, connected.task), (None, None));
}

#[test]
fn c6_a_change_is_told_to_those_it_concerns() {
    let mut host = host(&[(GATEWAY, of_iqs()), (BOT, of_iqs())]);
    let number = connect(&mut host, GATEWAY).number;
    connect(&mut host, "bot@capulet.lit/1");
    let roster = of_presence(PresenceAccess::Roster);
    let configured = configure(&mut host, &[(GATEWAY, roster.clone()), (BOT, of_iqs())]);
    assert_eq!(configured.outbox.len(), 1);
    assert_eq!(configured.outbox[0].to, GATEWAY);
    assert_eq!(configured.tasks, [(number, Task::Tell)]);
    assert_eq!(
        configure(&mut host, &[(GATEWAY, roster), (BOT, of_iqs())]),
        Configured::default()
    );
    let narrower = of_presence(PresenceAccess::ManagedEntity);
    let configured = configure(&mut host, &[(GATEWAY, narrower), (BOT, of_iqs())]);
    assert_eq!(configured.tasks, [(number, Task::Confirm)]);
    let configured = configure(&mut host, &[(BOT, of_iqs())]);
    assert_eq!(
        (configured.outbox.len(), configured.tasks),
        (1, vec![(number, Task::Stop)])
    );
}

#[test]
fn c6_requests_are_given_up_with_their_grant() {
    let mut host = host(&[(GATEWAY, of_iqs()), (BOT, of_iqs())]);
    let (gone, stays) = (open(&mut host, GATEWAY), open(&mut host, "bot@capulet.lit/1"));
    let configured = configure(&mut host, &[(BOT, of_iqs())]);
    assert_eq!(
        errors(&configured.outbox),
        error_to(GATEWAY, "service-unavailable")
    );
    assert_eq!(answer(&mut host, &gone), None);
    assert!(answer(&mut host, &stays).is_some());
}

#[test]
fn l1_a_connection_that_is_kept_is_told_only_what_is_new() {
    let roster = of_presence(PresenceAccess::Roster);
    let (mut before, memory) = (host(&[(GATEWAY, roster.clone())]), memory());
    before.connected(GATEWAY, GATEWAY, memory.clone(), None);
    let earlier = kept(&before, GATEWAY);
    let again = |grant: &Grant, earlier: &Earlier| {
        let connected = host(&[(GATEWAY, grant.clone())]).connected(
            GATEWAY,
            GATEWAY,
            memory.clone(),
            Some(earlier.clone()),
        );
        (connected.advertisement.is_some(), connected.task)
    };
    assert_eq!(again(&roster, &earlier), (false, None));
    let narrower = of_presence(PresenceAccess::ManagedEntity);
    assert_eq!(again(&narrower, &earlier), (true, Some(Task::Confirm)));
    // The memory has what the instance before was granted.
    assert_eq!(again(&roster, &earlier), (false, Some(Task::Tell)));
    let pending = Earlier {
        is_pending: true,
        ..earlier.clone()
    };
    assert_eq!(again(&roster, &pending), (false, Some(Task::Tell)));
    // The earlier instance has not noted the presence that it told.
    let unnoted = Earlier {
        is_noted: false,
        ..earlier
    };
    assert_eq!(again(&roster, &unnoted), (false, Some(Task::Tell)));
}

#[test]
fn l1_p4_without_its_memory_a_connection_is_told_presence_again_only_with_another_grant() {
    let roster = of_presence(PresenceAccess::Roster);
    let mut before = host(&[(GATEWAY, roster.clone())]);
    connect(&mut before, GATEWAY);
    let earlier = Earlier {
        has_memory: false,
        ..kept(&before, GATEWAY)
    };
    let again = |grant: &Grant| {
        host(&[(GATEWAY, grant.clone())])
            .connected(GATEWAY, GATEWAY, memory(), Some(earlier.clone()))
            .task
    };
    assert_eq!(again(&roster), None);
    assert_eq!(
        again(&of_presence(PresenceAccess::ManagedEntity)),
        Some(Task::Tell)
    );
}

/// Whether the viewer knows the presence of an account.
fn knows(host: &mut Host, account: &str) -> bool {
    let Host { matrix, viewers, .. } = host;
    let from = format!("{account}/balcony");
    let case = crate::viewers::Case {
        occasion: Occasion::Account,
        username: account.split('@').next().unwrap(),
        from: &from,
    };
    let print = || crate::fingerprint::Fingerprinter::new(&from, None).finish();
    let telling = viewers.tell(matrix, case, None, print, |_| false);
    telling.is_none_or(|telling| {
        viewers.shown(telling.ticket, &telling.viewers);
        telling.viewers.is_empty()
    })
}

#[test]
fn l1_p4_presence_that_was_revoked_by_a_reload_is_told_anew_when_it_is_granted_again() {
    let grants = [(GATEWAY, of_presence(PresenceAccess::ManagedEntity))];
    let (mut before, memory) = (host(&grants), memory());
    before.connected(GATEWAY, GATEWAY, memory.clone(), None);
    assert!(!knows(&mut before, JULIET));
    assert!(knows(&mut before, JULIET));

    let mut after = host(&[(GATEWAY, of_iqs())]);
    let connected = after.connected(GATEWAY, GATEWAY, memory, Some(kept(&before, GATEWAY)));
    assert_eq!(connected.task, None);
    // Nobody has told it anything meanwhile.
    let configured = configure(&mut after, &grants);
    assert_eq!(configured.tasks, [(connected.number, Task::Tell)]);
    assert!(!knows(&mut after, JULIET));
}

#[test]
fn l1_ids_and_requests_go_on() {
    let grants = [(GATEWAY, of_iqs())];
    let mut before = host(&grants);
    let ids = [
        before.new_id("push"),
        before.new_id("push"),
        open(&mut before, GATEWAY),
    ];
    let (next, requests) = before.ledger.export();
    let mut after = host(&grants);
    after.ledger.import(next, requests);
    after.go_on(before.last_id());
    after.go_on(0);
    assert!(!ids.contains(&after.new_id("push")));
    assert!(!ids.contains(&open(&mut after, GATEWAY)));
    // The connection comes only now, and its requests stay.
    after.connected(GATEWAY, GATEWAY, memory(), Some(Earlier::default()));
    assert!(answer(&mut after, &ids[2]).is_some());
}

#[test]
fn l1_a_host_that_has_stopped_grants_nothing() {
    let all = Grant {
        roster_push: true,
        ..of_presence(PresenceAccess::Roster)
    };
    let memory = memory();
    let mut host = host(&[(
        GATEWAY,
        Grant {
            iq: of_iqs().iq,
            ..all
        },
    )]);
    let connected = host.connected(GATEWAY, GATEWAY, memory.clone(), None);
    open(&mut host, GATEWAY);
    assert!(!knows(&mut host, JULIET));
    assert_eq!(errors(&host.stop()), error_to(GATEWAY, "service-unavailable"));
    assert!(host.ledger.is_empty() && !host.viewers.has(connected.number));
    assert!(host.pushes("juliet", "a@b", None, None).is_empty());
    assert_eq!(host.matrix.grant(GATEWAY), None);
    assert_eq!(host.matrix.host(), HOST);
    assert!(host.stop().is_empty());
}

#[test]
fn l7_q6_requests_are_given_up_with_their_account_and_their_time() {
    let mut host = host(&[(GATEWAY, of_iqs())]);
    open(&mut host, GATEWAY);
    assert!(host.account_gone("romeo@capulet.lit").is_empty());
    assert_eq!(
        errors(&host.account_gone(JULIET)),
        error_to(GATEWAY, "service-unavailable")
    );
    let late = open(&mut host, GATEWAY);
    assert!(host.tick(999).is_empty());
    assert_eq!(
        errors(&host.tick(1000)),
        error_to(GATEWAY, "remote-server-timeout")
    );
    assert!(host.tick(u64::MAX).is_empty());
    assert_eq!(answer(&mut host, &late), None);
}

#[test]
fn q5_an_answer_comes_once() {
    let mut host = host(&[(GATEWAY, of_iqs())]);
    let id = open(&mut host, GATEWAY);
    assert_eq!(host.answer(&id, Some("mallory@montague.lit"), JULIET), None);
    assert_eq!(answer(&mut host, &id), Some(request(GATEWAY, JULIET)));
    assert_eq!(answer(&mut host, &id), None);
    // No id that is made for another purpose is one of a request.
    open(&mut host, GATEWAY);
    for what in ["push", "", "1", "a"] {
        let other = host.new_id(what);
        assert_eq!(answer(&mut host, &other), None);
    }
}

#[test]
fn p7_q6_what_waits_for_a_client_goes_with_it_and_with_no_other() {
    let grants = [(BOT, of_iqs())];
    for goes in [Host::disconnected, Host::client_changed] {
        let mut host = host(&grants);
        let addresses = ["bot@capulet.lit/1", "bot@capulet.lit/2"];
        for address in addresses {
            connect(&mut host, address);
        }
        let ids = addresses.map(|address| open(&mut host, address));
        goes(&mut host, addresses[0]);
        assert_eq!(answer(&mut host, &ids[0]), None);
        assert!(answer(&mut host, &ids[1]).is_some());
    }
}

#[test]
fn p7_q6_what_waits_for_a_component_goes_with_it() {
    let mut host = host(&[
        (GATEWAY, of_presence(PresenceAccess::Roster)),
        ("other.lit", of_iqs()),
    ]);
    let number = connect(&mut host, GATEWAY).number;
    let (gone, stays) = (open(&mut host, GATEWAY), open(&mut host, "other.lit"));
    host.disconnected("nobody.lit");
    host.disconnected(GATEWAY);
    assert!(!host.viewers.has(number));
    assert_eq!(
        host.entities.get(GATEWAY).map(|connection| connection.number),
        None
    );
    assert_eq!(answer(&mut host, &gone), None);
    assert!(answer(&mut host, &stays).is_some());
}

#[test]
fn q6_q7_what_is_declined_is_in_flight_no_more() {
    let mut host = host(&[(GATEWAY, of_iqs())]);
    for why in [Why::UnknownAccount, Why::Lookup, Why::Failed, Why::Unrelayable] {
        let id = open(&mut host, GATEWAY);
        assert!(host.ledger.is_in_flight(&id));
        let denied = host.decline(Kind::Iq, &why, Some(&id));
        assert!(host.ledger.is_empty() && !host.ledger.is_in_flight(&id));
        // One that has been answered, or given up, is declined in the same words.
        assert_eq!(host.decline(Kind::Iq, &why, Some(&id)), denied);
    }
}

#[test]
fn m7_q7_r4_each_judgement_declines_in_its_own_way() {
    let mut host = host(&[]);
    let mut rule = |kind, why| {
        let denial = host.decline(kind, &why, None);
        (denial.condition.as_str(), denial.rule)
    };
    assert_eq!(rule(Kind::Message, Why::UnknownAccount).0, "forbidden");
    assert_eq!(rule(Kind::Iq, Why::UnknownAccount), ("forbidden", "Q1"));
    assert_eq!(rule(Kind::Roster, Why::UnknownAccount).0, "item-not-found");
    for kind in [Kind::Message, Kind::Iq, Kind::Roster] {
        assert_eq!(rule(kind, Why::Lookup), ("internal-server-error", "L7"));
        assert_eq!(rule(kind, Why::Failed).0, "internal-server-error");
        assert_eq!(rule(kind, Why::Administrator(Domain::Any)), ("forbidden", "N1"));
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(Kind::parse("presence"), None);
    assert_eq!(rule(Kind::Roster, Why::Unreadable).0, "internal-server-error");
    assert_eq!(rule(Kind::Roster, Why::Unsaved).0, "internal-server-error");
}

#[test]
fn r7_r8_a_push_goes_to_all_who_get_it_under_ids_of_their_own() {
    let pushed = Grant {
        roster: Access::Get,
        roster_push: true,
        ..Grant::default()
    };
    let mut host = host(&[(GATEWAY, pushed.clone()), (BOT, pushed), ("other.lit", of_iqs())]);
    for address in [GATEWAY, "bot@capulet.lit/1", "other.lit"] {
        connect(&mut host, address);
    }
    let outbox = host.pushes("juliet", "romeo@montague.lit", None, Some("7"));
    let mut ids = BTreeSet::new();
    for outgoing in &outbox {
        let iq = read(outgoing);
        assert_eq!(
            (iq.attr("type"), iq.attr("from"), iq.attr("to")),
            (Some("set"), Some(JULIET), Some(outgoing.to.as_str()))
        );
        ids.insert(iq.attr("id").unwrap().to_owned());
        let query = iq.get_child("query", crate::ns::ROSTER).unwrap();
        assert_eq!(query.attr("ver"), Some("7"));
        assert_eq!(
            query.children().next().unwrap().attr("subscription"),
            Some("remove")
        );
    }
    let to: Vec<&str> = outbox.iter().map(|outgoing| outgoing.to.as_str()).collect();
    assert_eq!(to, ["bot@capulet.lit/1", GATEWAY]);
    assert_eq!(ids.len(), 2);
}

// The twin: what each connection was told, in the plainest form, next to the host. It knows no numbers but those it is
// given, no memory, and no text.

const ADDRESSES: [&str; 5] = [
    "a.lit",
    "b.lit",
    "bot@capulet.lit/1",
    "bot@capulet.lit/2",
    "stranger.lit",
];
const ENTITIES: [&str; 3] = ["a.lit", "b.lit", BOT];
/// The last is in no list.
const USERNAMES: [&str; 4] = ["juliet", "romeo", "nurse", "tybalt"];
const TIMEOUT: u64 = 10;

/// A grant by its few choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    presence: PresenceAccess,
    iq: bool,
    push: bool,
    message: bool,
    scope: u8,
}

impl Choice {
    fn covers(self, username: &str) -> bool {
        match self.scope {
            0 => true,
            1 => username == "juliet",
            2 => username == "juliet" || username == "romeo",
            3 => username != "romeo",
            _ => username == "juliet" || username == "nurse",
        }
    }

    fn excepts(self, username: &str) -> bool {
        self.scope == 3 && username == "romeo"
    }

    fn grant(self) -> Grant {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let list = |list: &[&str]| Scope {
            accounts: Some(names(list)),
            except: BTreeSet::new(),
        };
        Grant {
            roster: if self.push { Access::Get } else { Access::None },
            roster_push: self.push,
            message: if self.message {
                MessageAccess::Outgoing
            } else {
                MessageAccess::None
            },
            presence: self.presence,
            iq: if self.iq { of_iqs().iq } else { BTreeMap::new() },
            scope: match self.scope {
                0 => Scope::default(),
                1 => list(&["juliet"]),
                2 => list(&["juliet", "romeo"]),
                3 => Scope {
                    accounts: None,
                    except: names(&["romeo"]),
                },
                _ => list(&["juliet", "nurse"]),
            },
            ..Grant::default()
        }
    }

    /// Returns the content of an advertisement.
    fn said(self) -> (PresenceAccess, bool, bool, bool) {
        (self.presence, self.iq, self.push, self.message)
    }

    /// All that may be seen, one by one: presence of an account, of its contacts, and of an account as a contact.
    fn seen(self) -> BTreeSet<(u8, &'static str)> {
        let mut seen = BTreeSet::new();
        for username in USERNAMES {
            let is_covered = self.covers(username);
            if is_covered && self.presence != PresenceAccess::None {
                seen.insert((0, username));
            }
            if is_covered && self.presence == PresenceAccess::Roster {
                seen.insert((1, username));
            }
            if !self.excepts(username) && self.presence == PresenceAccess::Roster {
                seen.insert((2, username));
            }
        }
        seen
    }
}

type Seen = BTreeSet<(u8, &'static str)>;

fn task(before: &Seen, after: &Seen) -> Option<Task> {
    if !after.is_subset(before) {
        Some(Task::Tell)
    } else if after == before {
        None
    } else if after.is_empty() {
        Some(Task::Stop)
    } else {
        Some(Task::Confirm)
    }
}

#[derive(Debug)]
struct TwinConnection {
    number: Number,
    memory: SharedMemory,
    told: Option<(PresenceAccess, bool, bool, bool)>,
    /// The types by access and namespace, for a client that merges what it is told (A1).
    merged: BTreeMap<String, String>,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TwinRequest {
    id: String,
    outer_id: String,
    reply_to: &'static str,
    account: String,
    deadline: u64,
}

#[derive(Debug, Default)]
struct Twin {
    grants: BTreeMap<&'static str, Choice>,
    connections: BTreeMap<&'static str, TwinConnection>,
    requests: Vec<TwinRequest>,
    now: u64,
    /// All ids that were ever sent.
    ids: BTreeSet<String>,
    outer_ids: usize,
}

impl Twin {
    fn choice(&self, address: &str) -> Option<Choice> {
        self.grants.get(address::bare(address)).copied()
    }

    fn said(&self, address: &str) -> Option<(PresenceAccess, bool, bool, bool)> {
        self.choice(address).map(Choice::said)
    }

    fn seen(&self, address: &str) -> Seen {
        self.choice(address).map(Choice::seen).unwrap_or_default()
    }

    fn may_wait(&self, request: &TwinRequest) -> bool {
        let username = request.account.split('@').next().unwrap();
        self.choice(request.reply_to)
            .is_some_and(|choice| choice.iq && choice.covers(username))
    }

    /// Takes out the requests that are given up, oldest first.
    fn give_up(&mut self, is_given_up: impl Fn(&Twin, &TwinRequest) -> bool) -> Vec<TwinRequest> {
        let requests = std::mem::take(&mut self.requests);
        let (gone, left) = requests
            .into_iter()
            .partition(|request| is_given_up(self, request));
        self.requests = left;
        gone
    }

    fn matrix(&self) -> PermissionMatrix {
        let mut matrix = PermissionMatrix::new(HOST);
        for (entity, choice) in &self.grants {
            matrix.insert((*entity).to_owned(), choice.grant());
        }
        matrix
    }

    fn new_id(&mut self, stanza: &Element) {
        let id = stanza.attr("id").unwrap().to_owned();
        assert!(self.ids.insert(id.clone()), "{id} comes twice");
    }

    /// Checks one advertisement, and that its entity had not been told the same.
    fn takes_in(&mut self, address: &'static str, outgoing: Option<&Outgoing>) {
        let said = self.said(address);
        let connection = self.connections.get_mut(address).unwrap();
        let is_news = connection.told != said;
        connection.told = said;
        assert_eq!(outgoing.is_some(), is_news, "{address}");
        let Some(outgoing) = outgoing else {
            return;
        };
        assert_eq!(outgoing.to, address);
        let message = read(outgoing);
        self.new_id(&message);
        assert_eq!((message.name(), message.attr("to")), ("message", Some(address)));
        let privilege = message.get_child("privilege", crate::ns::PRIVILEGE).unwrap();
        let merged = &mut self.connections.get_mut(address).unwrap().merged;
        for perm in privilege.children() {
            let key = |element: &Element, name| element.attr(name).unwrap().to_owned();
            if let Some(kind) = perm.attr("type") {
                merged.insert(key(perm, "access"), kind.to_owned());
            }
            for namespace in perm.children() {
                merged.insert(key(namespace, "ns"), key(namespace, "type"));
            }
        }
        for access in ["roster", "message", "presence"] {
            assert!(merged.contains_key(access), "{access}");
        }
        let has = |name: &str| merged.get(name).is_some_and(|kind| kind != "none");
        let (presence, iq, push, message) = said.unwrap_or_default();
        assert_eq!(
            [has("presence"), has("urn:x"), has("roster"), has("message")],
            [presence != PresenceAccess::None, iq, push, message]
        );
    }

    fn takes_errors(gone: &[TwinRequest], outbox: &[Outgoing], condition: &str) {
        assert_eq!(outbox.len(), gone.len());
        for (outgoing, request) in outbox.iter().zip(gone) {
            let iq = read(outgoing);
            assert_eq!(
                (outgoing.to.as_str(), iq.attr("id"), iq.attr("from")),
                (
                    request.reply_to,
                    Some(request.outer_id.as_str()),
                    Some(request.account.as_str())
                )
            );
        }
        assert!(errors(outbox).iter().all(|(_, found)| found == condition));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Connect(usize),
    Disconnect(usize),
    ClientChanged(usize),
    Configure(Vec<(usize, Choice)>),
    Reload {
        /// How the configuration has changed meanwhile, if it has.
        grants: Option<Vec<(usize, Choice)>>,
        pending: u8,
    },
    AccountGone(usize),
    Tick(u64),
    Request(usize, usize),
    Answer(usize),
    Push(usize),
}

fn choice() -> impl Strategy<Value = Choice> {
    let presence = prop_oneof![
        Just(PresenceAccess::None),
        Just(PresenceAccess::ManagedEntity),
        Just(PresenceAccess::Roster)
    ];
    (presence, any::<bool>(), any::<bool>(), any::<bool>(), 0..5_u8).prop_map(
        |(presence, iq, push, message, scope)| Choice {
            presence,
            iq,
            push,
            message,
            scope,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let grants = || proptest::collection::vec((0..ENTITIES.len(), choice()), 0..4);
    prop_oneof![
        3 => (0..ADDRESSES.len()).prop_map(Step::Connect),
        1 => (0..ADDRESSES.len()).prop_map(Step::Disconnect),
        1 => (0..ADDRESSES.len()).prop_map(Step::ClientChanged),
        4 => grants().prop_map(Step::Configure),
        2 => (proptest::option::of(grants()), any::<u8>()).prop_map(|(grants, pending)| Step::Reload { grants, pending }),
        1 => (0..USERNAMES.len()).prop_map(Step::AccountGone),
        1 => (0..8_u64).prop_map(Step::Tick),
        4 => (0..ADDRESSES.len(), 0..USERNAMES.len()).prop_map(|(address, username)| Step::Request(address, username)),
        1 => any::<usize>().prop_map(Step::Answer),
        2 => (0..USERNAMES.len()).prop_map(Step::Push),
    ]
}

/// The host and its twin.
struct Pair {
    host: Host,
    twin: Twin,
}

impl Pair {
    fn settings() -> Settings {
        settings(1000, TIMEOUT)
    }

    fn grant(&mut self, grants: &[(usize, Choice)]) {
        self.twin.grants = grants
            .iter()
            .map(|(entity, choice)| (ENTITIES[*entity], *choice))
            .collect();
    }

    fn forget_address(&mut self, address: &str) {
        self.twin.give_up(|_, request| request.reply_to == address);
    }

    fn connect(&mut self, address: &'static str) {
        let memory = memory();
        let connected = self
            .host
            .connected(address, address::bare(address), memory.clone(), None);
        if self.twin.connections.remove(address).is_some() {
            self.forget_address(address);
        }
        let seen = self.twin.seen(address);
        assert_eq!(connected.task, (!seen.is_empty()).then_some(Task::Tell));
        let connection = TwinConnection {
            number: connected.number,
            memory,
            told: None,
            merged: BTreeMap::new(),
            seen,
        };
        self.twin.connections.insert(address, connection);
        self.twin.takes_in(address, connected.advertisement.as_ref());
    }

    /// Configures the host, and compares what it says with what has changed for each connection.
    fn configure(&mut self) {
        let configured = self.host.configure(self.twin.matrix(), &Pair::settings());
        let gone = self.twin.give_up(|twin, request| !twin.may_wait(request));
        let (given_up, told) = configured.outbox.split_at(gone.len());
        Twin::takes_errors(&gone, given_up, "service-unavailable");
        let addresses: Vec<&'static str> = self.twin.connections.keys().copied().collect();
        let mut tasks = Vec::new();
        let mut left: Vec<&Outgoing> = told.iter().collect();
        for address in addresses {
            let place = left.iter().position(|outgoing| outgoing.to == address);
            let outgoing = place.map(|place| left.remove(place));
            self.twin.takes_in(address, outgoing);
            let seen = self.twin.seen(address);
            let connection = self.twin.connections.get_mut(address).unwrap();
            tasks.extend(task(&connection.seen, &seen).map(|task| (connection.number, task)));
            connection.seen = seen;
        }
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(configured.tasks, tasks);
    }

    fn reload(&mut self, grants: Option<&[(usize, Choice)]>, pending: u8) {
        let saved: Vec<(String, Option<String>)> = self
            .host
            .entities
            .advertised()
            .map(|(address, advertised)| (address.to_owned(), advertised.map(str::to_owned)))
            .collect();
        let (next, requests) = self.host.ledger.export();
        let last_id = self.host.last_id();
        assert!(self.host.ledger.is_empty());
        self.host = Host::new(HOST, "t-");
        self.host.ledger.import(next, requests);
        self.host.go_on(last_id);
        if let Some(grants) = grants {
            self.grant(grants);
        }
        let configured = self.host.configure(self.twin.matrix(), &Pair::settings());
        let gone = self.twin.give_up(|twin, request| !twin.may_wait(request));
        Twin::takes_errors(&gone, &configured.outbox, "service-unavailable");
        assert_eq!(configured.tasks, []);

        for (index, (address, advertised)) in saved.into_iter().enumerate() {
            let address = ADDRESSES.into_iter().find(|known| *known == address).unwrap();
            let is_pending = pending & (1 << index) != 0;
            let earlier = Earlier {
                advertised,
                is_pending,
                has_memory: true,
                is_noted: true,
            };
            let seen = self.twin.seen(address);
            let connection = self.twin.connections.get_mut(address).unwrap();
            let memory = connection.memory.clone();
            let connected = self
                .host
                .connected(address, address::bare(address), memory, Some(earlier));
            connection.number = connected.number;
            // The new instance has nothing to stop, and a connection that was not told everything is told everything.
            let expected = match task(&connection.seen, &seen) {
                _ if seen.is_empty() => None,
                _ if is_pending => Some(Task::Tell),
                other => other,
            };
            connection.seen = seen;
            assert_eq!(connected.task, expected, "{address}");
            self.twin.takes_in(address, connected.advertisement.as_ref());
        }
    }

    fn request(&mut self, address: &'static str, username: &str) {
        self.twin.outer_ids += 1;
        let mut request = TwinRequest {
            id: String::new(),
            outer_id: format!("outer-{}", self.twin.outer_ids),
            reply_to: address,
            account: format!("{username}@{HOST}"),
            deadline: self.twin.now + TIMEOUT,
        };
        if !self.twin.may_wait(&request) {
            return;
        }
        let entry = Entry {
            outer_id: request.outer_id.clone(),
            ..self::request(address, &request.account)
        };
        request.id = self.host.ledger.open(self.twin.now, entry).unwrap();
        assert!(self.twin.ids.insert(request.id.clone()));
        self.twin.requests.push(request);
    }

    fn push(&mut self, username: &str) {
        let outbox = self.host.pushes(username, "romeo@montague.lit", None, None);
        let expected: Vec<&str> = self
            .twin
            .connections
            .keys()
            .copied()
            .filter(|address| {
                self.twin
                    .choice(address)
                    .is_some_and(|choice| choice.push && choice.covers(username))
            })
            .collect();
        let found: Vec<&str> = outbox.iter().map(|outgoing| outgoing.to.as_str()).collect();
        assert_eq!(found, expected);
        for outgoing in &outbox {
            let iq = read(outgoing);
            self.twin.new_id(&iq);
            assert_eq!(iq.attr("to"), Some(outgoing.to.as_str()));
            assert_eq!(iq.attr("from"), Some(format!("{username}@{HOST}").as_str()));
        }
    }

    fn answer(&mut self, which: usize) {
        if self.twin.requests.is_empty() {
            return;
        }
        let request = self.twin.requests.remove(which % self.twin.requests.len());
        let (id, account) = (&request.id, &request.account);
        let found = self.host.answer(id, Some(account), account).unwrap();
        assert_eq!(
            (found.reply_to.as_str(), found.outer_id.as_str()),
            (request.reply_to, request.outer_id.as_str())
        );
        assert_eq!(self.host.answer(id, Some(account), account), None);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect(which) => self.connect(ADDRESSES[*which]),
            Step::Disconnect(which) => {
                let address = ADDRESSES[*which];
                self.host.disconnected(address);
                if self.twin.connections.remove(address).is_some() {
                    self.forget_address(address);
                }
            }
            Step::ClientChanged(which) => {
                self.host.client_changed(ADDRESSES[*which]);
                self.forget_address(ADDRESSES[*which]);
            }
            Step::Configure(grants) => {
                self.grant(grants);
                self.configure();
            }
            Step::Reload { grants, pending } => self.reload(grants.as_deref(), *pending),
            Step::AccountGone(which) => {
                let account = format!("{}@{HOST}", USERNAMES[*which]);
                let outbox = self.host.account_gone(&account);
                let gone = self.twin.give_up(|_, request| request.account == account);
                Twin::takes_errors(&gone, &outbox, "service-unavailable");
            }
            Step::Tick(time) => {
                self.twin.now += time;
                let now = self.twin.now;
                let outbox = self.host.tick(now);
                let gone = self.twin.give_up(|_, request| request.deadline <= now);
                Twin::takes_errors(&gone, &outbox, "remote-server-timeout");
            }
            Step::Request(which, username) => self.request(ADDRESSES[*which], USERNAMES[*username]),
            Step::Answer(which) => self.answer(*which),
            Step::Push(which) => self.push(USERNAMES[*which]),
        }
    }

    /// Checks that hold after every step.
    fn compare(&self) {
        let Pair { host, twin } = self;
        assert_eq!(host.ledger.len(), twin.requests.len());
        let found: Vec<(&str, Number)> = host
            .entities
            .iter()
            .map(|(address, connection)| (address, connection.number))
            .collect();
        let expected: Vec<(&str, Number)> = twin
            .connections
            .iter()
            .map(|(address, connection)| (*address, connection.number))
            .collect();
        assert_eq!(found, expected);
        for (address, connection) in &twin.connections {
            assert_eq!(
                host.viewers.has(connection.number),
                !connection.seen.is_empty(),
                "{address}"
            );
        }
        let most = twin
            .connections
            .keys()
            .filter_map(|address| Some(twin.choice(address)?.presence))
            .max();
        assert_eq!(
            host.entities.most_presence(&host.matrix),
            most.unwrap_or_default()
        );
        for username in USERNAMES {
            let follows = twin.connections.keys().any(|address| {
                twin.choice(address).is_some_and(|choice| {
                    choice.covers(username) && (choice.push || choice.presence == PresenceAccess::Roster)
                })
            });
            assert_eq!(host.entities.follow_roster(&host.matrix, username), follows);
        }
    }
}

proptest! {
    /// Whatever comes: exactly those are told their permissions for whom they are not what they were told, and nobody
    /// twice; presence is told, confirmed or stopped as what may be seen has changed; pushes go to those who are
    /// covered; each request is answered or given up once, to its own address; no id comes twice.
    #[test]
    fn a1_c6_l1_p4_q6_r7_as_the_twin(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair { host: Host::new(HOST, "t-"), twin: Twin::default() };
        pair.configure();
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        let outbox = pair.host.stop();
        let gone = pair.twin.give_up(|_, _| true);
        Twin::takes_errors(&gone, &outbox, "service-unavailable");
        for connection in pair.twin.connections.values() {
            prop_assert!(!pair.host.viewers.has(connection.number));
        }
    }
}
