//! Examples, and a comparison of the memory with a model that remembers everything.

use super::*;
use crate::fingerprint::Fingerprinter;
use crate::matrix::Scope;
use crate::permission::PresenceAccess;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};

fn presence(from: &str, kind: Option<&str>, status: &str) -> Fingerprint {
    let mut print = Fingerprinter::new(from, kind);
    print.open("status", "jabber:client", &mut []);
    print.text(status);
    print.close();
    print.finish()
}

fn here(from: &str) -> Fingerprint {
    presence(from, None, "here")
}

fn gone(from: &str) -> Fingerprint {
    presence(from, Some("unavailable"), "")
}

fn grant(presence: PresenceAccess, accounts: Option<&[&str]>) -> Rc<Grant> {
    let accounts = accounts.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Rc::new(Grant {
        presence,
        scope: Scope {
            accounts,
            except: BTreeSet::new(),
        },
        ..Grant::default()
    })
}

fn knows(memory: &Memory, print: Fingerprint, host: Host) -> bool {
    memory.knowledge(print, host) == Knowledge::Known
}

fn count(memory: &Memory) -> (usize, usize) {
    memory.table.recount()
}

const ROMEO: &str = "romeo@montague.lit/x";
const ROSTER: PresenceAccess = PresenceAccess::Roster;

#[test]
fn p4_the_same_once_and_a_change_always() {
    let mut memory = Memory::new(1000);
    let host = memory.host("capulet.lit");
    assert!(!knows(&memory, here(ROMEO), host));
    memory.learn(here(ROMEO), host);
    assert!(knows(&memory, here(ROMEO), host));
    for change in [
        presence(ROMEO, None, "there"),
        presence(ROMEO, Some("unavailable"), "here"),
        here("romeo@montague.lit/y"),
        here("romeo@montague.lit"),
    ] {
        assert!(!knows(&memory, change, host));
    }
    memory.learn(gone(ROMEO), host);
    assert!(!knows(&memory, here(ROMEO), host), "back after leaving is news");
    assert_eq!(memory.len(), 1);
}

#[test]
fn p4_the_order_of_attributes_says_nothing_and_their_place_does() {
    let print = |attributes: &mut [(String, String)]| {
        let mut print = Fingerprinter::new("a@b/c", None);
        print.open("c", "caps", attributes);
        print.close();
        print.finish()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        print(&mut [pair("a", "1"), pair("b", "2")]),
        print(&mut [pair("b", "2"), pair("a", "1")])
    );
    assert_ne!(
        print(&mut [pair("a", "1"), pair("b", "2")]),
        print(&mut [pair("a", "2"), pair("b", "1")])
    );
    let nested = |close_first: bool| {
        let mut print = Fingerprinter::new("a@b/c", None);
        print.open("x", "n", &mut []);
        if close_first {
            print.close();
        }
        print.open("y", "n", &mut []);
        print.close();
        if !close_first {
            print.close();
        }
        print.finish()
    };
    assert_ne!(nested(true), nested(false));
}

#[test]
fn p4_the_memory_is_bounded_and_small() {
    assert_eq!(size_of::<Option<Entry>>(), 16);
    let mut memory = Memory::new(1 << 12);
    let host = memory.host("capulet.lit");
    for i in 0..100_000 {
        memory.learn(here(&format!("user{i}@montague.lit/x")), host);
    }
    assert!(memory.len() <= 1 << 12, "{}", memory.len());
    assert!(memory.table.bytes() <= (1 << 12) * 16, "{}", memory.table.bytes());
    assert_eq!(count(&memory), (memory.len(), 0));
}

#[test]
fn p4_one_contact_with_many_resources_does_not_make_the_memory_large() {
    let mut memory = Memory::new(1 << 20);
    let host = memory.host("capulet.lit");
    for i in 0..10_000 {
        memory.learn(here(&format!("romeo@montague.lit/{i}")), host);
    }
    assert!(memory.table.bytes() <= 16 << 10, "{}", memory.table.bytes());
    assert!(knows(&memory, here("romeo@montague.lit/9999"), host));
}

#[test]
fn p4_hosts_share_what_was_told() {
    let mut memory = Memory::new(1000);
    let (capulet, mantua) = (memory.host("capulet.lit"), memory.host("mantua.lit"));
    assert_ne!(capulet, mantua);
    assert_eq!(memory.host("capulet.lit"), capulet);
    memory.learn(here(ROMEO), capulet);
    assert_eq!(memory.knowledge(here(ROMEO), mantua), Knowledge::OfOthers);
    memory.learn(here(ROMEO), mantua);
    assert!(knows(&memory, here(ROMEO), capulet) && knows(&memory, here(ROMEO), mantua));
    // After a change only the host that told it has a reason. The other host has not seen it yet.
    memory.learn(gone(ROMEO), mantua);
    assert_eq!(memory.knowledge(gone(ROMEO), capulet), Knowledge::OfOthers);
}

#[test]
fn p4_a_grant_that_narrows_takes_back_what_only_its_host_may_tell() {
    let mut memory = Memory::new(1000);
    let (capulet, mantua) = (memory.host("capulet.lit"), memory.host("mantua.lit"));
    let (all, some) = (grant(ROSTER, None), grant(ROSTER, Some(&["juliet"])));
    assert_eq!(memory.grant(capulet, Some(&all)), Todo::Tell);
    assert_eq!(memory.grant(mantua, Some(&all)), Todo::Tell);
    assert_eq!(memory.grant(capulet, Some(&all)), Todo::Nothing);
    for host in [capulet, mantua] {
        memory.learn(here("both@x.lit/r"), host);
    }
    memory.learn(here("one@x.lit/r"), capulet);
    memory.learn(gone("none@x.lit/r"), capulet);
    assert_eq!(memory.grant(capulet, Some(&some)), Todo::Confirm);
    assert_eq!(
        memory.knowledge(here("both@x.lit/r"), capulet),
        Knowledge::OfOthers
    );
    assert_eq!(memory.knowledge(here("one@x.lit/r"), capulet), Knowledge::News);
    assert_eq!(count(&memory), (2, 1), "who is gone need not be remembered");
    assert_eq!(memory.grant(capulet, Some(&all)), Todo::Tell);
    // mantua.lit still has a reason to show this sender, so the entity is right to believe it.
    assert!(!memory.settle("both@x.lit", &[]));
    assert!(memory.settle("one@x.lit", &[]), "gone meanwhile: has to be told");
    assert!(!memory.settle("one@x.lit", &[]), "once");
    assert_eq!(memory.grant(mantua, None), Todo::Nothing);
    assert!(memory.settle("both@x.lit", &[]));
    assert!(memory.is_empty());
}

#[test]
fn p4_who_is_still_there_is_not_said_to_be_gone() {
    let mut memory = Memory::new(1000);
    let host = memory.host("capulet.lit");
    memory.grant(host, Some(&grant(ROSTER, None)));
    memory.learn(here("romeo@x.lit/a"), host);
    memory.learn(here("romeo@x.lit/b"), host);
    memory.grant(host, None);
    let (a, b) = (Sender::new("romeo@x.lit/a"), Sender::new("romeo@x.lit/b"));
    assert!(!memory.settle("romeo@x.lit", &[a, b]));
    assert!(memory.settle("romeo@x.lit", &[a]));
    assert!(
        !knows(&memory, here("romeo@x.lit/a"), host),
        "so that it is told after that"
    );
    assert!(memory.is_empty());
}

#[test]
fn p4_what_may_still_be_seen_is_confirmed() {
    let mut memory = Memory::new(1000);
    let (capulet, mantua) = (memory.host("capulet.lit"), memory.host("mantua.lit"));
    memory.grant(capulet, Some(&grant(ROSTER, None)));
    memory.learn(here("romeo@x.lit/a"), capulet);
    memory.learn(here("other@x.lit/a"), capulet);
    memory.grant(capulet, Some(&grant(ROSTER, Some(&["juliet"]))));
    assert_eq!(count(&memory), (2, 2));
    memory.confirm("romeo@x.lit", capulet);
    memory.confirm("nobody@x.lit", capulet);
    assert!(knows(&memory, here("romeo@x.lit/a"), capulet));
    assert!(!knows(&memory, here("other@x.lit/a"), capulet));
    assert_eq!(count(&memory), memory.table.counted());
    // If a second host loses its reason, nobody has to be told, because the first one still has a reason.
    memory.learn(here("romeo@x.lit/a"), mantua);
    assert!(!memory.forget("romeo@x.lit", mantua));
}

#[test]
fn p4_a_contact_that_is_no_longer_to_be_shown() {
    let mut memory = Memory::new(1000);
    let (capulet, mantua) = (memory.host("capulet.lit"), memory.host("mantua.lit"));
    memory.learn(here("romeo@x.lit/a"), capulet);
    memory.learn(here("other@x.lit/a"), capulet);
    assert!(
        memory.forget("romeo@x.lit", capulet),
        "believed available: has to be told"
    );
    assert!(!knows(&memory, here("romeo@x.lit/a"), capulet));
    assert!(knows(&memory, here("other@x.lit/a"), capulet));
    memory.learn(gone("romeo@x.lit/a"), capulet);
    assert!(!memory.forget("romeo@x.lit", capulet), "known to be gone");
    memory.learn(here("romeo@x.lit/a"), capulet);
    memory.learn(here("romeo@x.lit/a"), mantua);
    assert!(!memory.forget("romeo@x.lit", capulet), "another host shows it");
    assert!(memory.forget("romeo@x.lit", mantua));
}

#[test]
fn p4_a_bare_jid_that_is_gone_takes_its_resources_along() {
    let mut memory = Memory::new(1000);
    let host = memory.host("capulet.lit");
    memory.learn(here("romeo@x.lit/a"), host);
    memory.learn(here("romeo@x.lit"), host);
    memory.learn(here("other@x.lit/a"), host);
    memory.learn(gone("romeo@x.lit"), host);
    assert!(!knows(&memory, here("romeo@x.lit/a"), host), "back again is news");
    assert!(knows(&memory, gone("romeo@x.lit"), host) && knows(&memory, here("other@x.lit/a"), host));
    // A resource that goes does not change what is known of other resources.
    memory.learn(here("romeo@x.lit/b"), host);
    memory.learn(gone("romeo@x.lit/a"), host);
    assert!(knows(&memory, here("romeo@x.lit/b"), host));
}

#[test]
fn p4_a_bare_jid_that_is_gone_again_is_news() {
    let mut memory = Memory::new(1000);
    let host = memory.host("capulet.lit");
    for _ in 0..2 {
        assert!(!knows(&memory, gone("romeo@x.lit"), host));
        memory.learn(gone("romeo@x.lit"), host);
        assert!(knows(&memory, gone("romeo@x.lit"), host));
        memory.learn(here("romeo@x.lit/a"), host);
    }
    // A resource that is there does not change what is known of another bare JID.
    memory.learn(gone("other@x.lit"), host);
    memory.learn(here("romeo@x.lit/b"), host);
    assert!(knows(&memory, gone("other@x.lit"), host));
}

#[test]
fn p4_p8_twenty_hosts_each_have_a_reason_of_their_own() {
    let mut memory = Memory::new(1000);
    let hosts: Vec<Host> = (0..20).map(|n| memory.host(&format!("host{n}.lit"))).collect();
    for one in &hosts {
        for other in hosts.iter().filter(|other| *other != one) {
            memory.learn(here("romeo@x.lit/a"), *one);
            memory.learn(here("romeo@x.lit/a"), *other);
            assert!(!memory.forget("romeo@x.lit", *one), "{one:?}: {other:?} shows it");
            assert!(memory.forget("romeo@x.lit", *other));
        }
    }
}

#[test]
fn p2_an_entity_that_may_see_presence_is_to_be_told_who_is_there() {
    for presence in [PresenceAccess::ManagedEntity, ROSTER] {
        let mut memory = Memory::new(1000);
        let host = memory.host("capulet.lit");
        assert_eq!(memory.grant(host, Some(&grant(presence, None))), Todo::Tell);
        assert_eq!(memory.knowledge(here(ROMEO), host), Knowledge::News);
    }
}

#[test]
fn p7_another_connection_starts_afresh() {
    let (mut first, mut second) = (Memory::new(1000), Memory::new(1000));
    let host = first.host("capulet.lit");
    first.grant(host, Some(&grant(ROSTER, None)));
    first.learn(here(ROMEO), host);
    let host = second.host("capulet.lit");
    assert_eq!(second.grant(host, Some(&grant(ROSTER, None))), Todo::Tell);
    assert_eq!(second.knowledge(here(ROMEO), host), Knowledge::News);
}

#[test]
fn p6_who_has_been_asked() {
    let mut memory = Memory::new(1000);
    let (capulet, mantua) = (memory.host("capulet.lit"), memory.host("mantua.lit"));
    memory.note_asked("romeo@x.lit", capulet);
    assert!(memory.has_asked("romeo@x.lit", capulet) && !memory.has_asked("romeo@x.lit", mantua));
    memory.forget("romeo@x.lit", capulet);
    assert!(!memory.has_asked("romeo@x.lit", capulet));
    memory.note_asked("romeo@x.lit", capulet);
    memory.forget_asked(capulet);
    assert!(!memory.has_asked("romeo@x.lit", capulet));
}

/// One event: of the presence of a contact, of a grant, or of the connection of the entity.
#[derive(Clone, Debug)]
enum Step {
    Presence {
        host: usize,
        contact: usize,
        resource: usize,
        status: usize,
        available: bool,
    },
    Narrow(usize),
    Forget {
        host: usize,
        contact: usize,
    },
    Settle {
        contact: usize,
        present: usize,
    },
    Confirm {
        host: usize,
        contact: usize,
    },
    Reconnect,
}

const HOSTS: usize = 26;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => (0..HOSTS, 0usize..12, 0usize..4, 0usize..3, any::<bool>()).prop_map(
            |(host, contact, resource, status, available)| Step::Presence { host, contact, resource, status, available }
        ),
        4 => (0..HOSTS).prop_map(Step::Narrow),
        8 => (0..HOSTS, 0usize..12).prop_map(|(host, contact)| Step::Forget { host, contact }),
        8 => (0usize..12, 0usize..4).prop_map(|(contact, present)| Step::Settle { contact, present }),
        4 => (0..HOSTS, 0usize..12).prop_map(|(host, contact)| Step::Confirm { host, contact }),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 0..300)
}

/// The model: the last presence of each full JID, with nothing hashed and nothing forgotten.
#[derive(Default)]
struct Twin(HashMap<(usize, usize), Told>);

struct Told {
    print: Fingerprint,
    available: bool,
    hosts: BTreeSet<usize>,
}

impl Twin {
    fn tidy(&mut self) {
        self.0.retain(|_, told| told.available || !told.hosts.is_empty());
    }

    fn unfounded(&self, contact: usize) -> Vec<usize> {
        let of_contact = self.0.iter().filter(|((owner, _), _)| *owner == contact);
        of_contact
            .filter(|(_, told)| told.available && told.hosts.is_empty())
            .map(|((_, resource), _)| *resource)
            .collect()
    }
}

/// The mark of a host, by the order in which it came.
fn mark(host: usize) -> u64 {
    Host(host).mark()
}

/// Resource 0 stands for the bare JID.
fn jid(contact: usize, resource: usize) -> String {
    match resource {
        0 => format!("c{contact}@montague.lit"),
        _ => format!("c{contact}@montague.lit/{resource}"),
    }
}

proptest! {
    /// News for the model is always news for the memory. Nothing else is, as long as nothing is evicted. The same holds
    /// for a contact that the entity is left believing available.
    ///
    /// Hosts that share the last mark are an exception. Then a presence may be told twice, and a host whose grant
    /// narrows may take the mark of another host with it. But no news is kept back.
    #[test]
    fn p4_never_less_than_the_twin_and_no_more_while_there_is_room(
        steps in steps(),
        roomy in any::<bool>(),
        few_hosts in any::<bool>(),
    ) {
        let most = if roomy { 4096 } else { 8 };
        let hosts = if few_hosts { 8 } else { HOSTS };
        let mut roomy = roomy;
        let mut memory = Memory::new(most);
        let mut twin = Twin::default();
        let shown = grant(ROSTER, None);
        let enter = |memory: &mut Memory| -> Vec<Host> {
            (0..hosts).map(|host| {
                let host = memory.host(&format!("host{host}"));
                memory.grant(host, Some(&shown));
                host
            }).collect()
        };
        let mut known_hosts = enter(&mut memory);
        for step in steps {
            match step {
                Step::Reconnect => {
                    memory = Memory::new(most);
                    known_hosts = enter(&mut memory);
                    twin = Twin::default();
                }
                Step::Presence { host, contact, resource, status, available } => {
                    let host = host % hosts;
                    let kind = (!available).then_some("unavailable");
                    let print = presence(&jid(contact, resource), kind, &status.to_string());
                    let news = twin.0.get(&(contact, resource))
                        .is_none_or(|told| told.print != print || told.hosts.is_empty());
                    let tells = memory.knowledge(print, known_hosts[host]) == Knowledge::News;
                    prop_assert!(tells || !news, "a change was kept back");
                    if roomy && few_hosts {
                        prop_assert_eq!(tells, news);
                    }
                    memory.learn(print, known_hosts[host]);
                    prop_assert!(knows(&memory, print, known_hosts[host]));
                    if resource == 0 && !available {
                        twin.0.retain(|(owner, resource), _| *owner != contact || *resource == 0);
                    }
                    if available && twin.0.get(&(contact, 0)).is_some_and(|told| !told.available) {
                        twin.0.remove(&(contact, 0));
                    }
                    if news {
                        twin.0.insert((contact, resource), Told { print, available, hosts: BTreeSet::new() });
                    }
                    if let Some(told) = twin.0.get_mut(&(contact, resource)) {
                        told.hosts.insert(host);
                    }
                    // By chance the hashes of many senders put them into one bucket. Then one sender is evicted.
                    let is_evicted = memory.len() < twin.0.len();
                    roomy &= !(is_evicted && memory.table.is_full_around(print.sender()));
                }
                Step::Narrow(host) => {
                    let host = host % hosts;
                    memory.grant(known_hosts[host], None);
                    memory.grant(known_hosts[host], Some(&shown));
                    // Hosts with the same mark lose it together.
                    for told in twin.0.values_mut() {
                        told.hosts.retain(|other| mark(*other) != mark(host));
                    }
                    twin.tidy();
                }
                Step::Forget { host, contact } => {
                    let host = host % hosts;
                    let left = memory.forget(&jid(contact, 0), known_hosts[host]);
                    for ((owner, _), told) in &mut twin.0 {
                        if *owner == contact {
                            told.hosts.retain(|other| mark(*other) != mark(host));
                        }
                    }
                    twin.tidy();
                    let expected = !twin.unfounded(contact).is_empty();
                    // A presence that was forgotten and told again has lost the marks of other hosts.
                    prop_assert!(expected || !left || !roomy);
                    if roomy && few_hosts {
                        prop_assert_eq!(left, expected);
                    }
                    if left || expected {
                        twin.0.retain(|(owner, _), _| *owner != contact);
                        memory.table.edit_sender(Sender::new(&jid(contact, 0)), |_| None);
                    }
                }
                Step::Confirm { host, contact } => {
                    let host = host % hosts;
                    memory.confirm(&jid(contact, 0), known_hosts[host]);
                    for ((owner, _), told) in &mut twin.0 {
                        if *owner == contact {
                            told.hosts.insert(host);
                        }
                    }
                }
                Step::Settle { contact, present } => {
                    let left = memory.settle(&jid(contact, 0), &[Sender::new(&jid(contact, present))]);
                    let expected = twin.unfounded(contact).iter().any(|resource| *resource != present);
                    // A presence that was forgotten and told again has lost the marks of other hosts.
                    prop_assert!(expected || !left || !roomy);
                    if roomy && few_hosts {
                        prop_assert_eq!(left, expected);
                    }
                    if left || expected {
                        twin.0.retain(|(owner, _), _| *owner != contact);
                        memory.table.edit_sender(Sender::new(&jid(contact, 0)), |_| None);
                    }
                }
            }
            prop_assert_eq!(count(&memory), memory.table.counted());
            prop_assert!(memory.len() <= twin.0.len());
            prop_assert!(memory.len() == twin.0.len() || !(roomy && few_hosts));
        }
    }
}
