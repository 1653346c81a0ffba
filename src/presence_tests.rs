//! Examples, and the memory against a model that remembers everything.

use super::*;
use crate::matrix::Scope;
use proptest::prelude::*;
use std::collections::HashMap;

fn presence(from: &str, kind: Option<&str>, status: &str) -> Fingerprint {
    let mut print = Fingerprinter::new(from, kind);
    print.open("status", "jabber:client", &mut []);
    print.text(status);
    print.close();
    print.finish()
}

fn grant(presence: PresenceAccess) -> Grant {
    Grant {
        presence,
        ..Grant::default()
    }
}

fn sees(entity: &str, grant: &Grant, occasion: Occasion, username: &str, from: &str) -> bool {
    may_see(entity, grant, "capulet.lit", occasion, username, from)
}

#[test]
fn p1_p3_accounts_for_some_contacts_for_fewer() {
    use Occasion::{Account, Contact};
    for (access, account, contact) in [
        (PresenceAccess::None, false, false),
        (PresenceAccess::ManagedEntity, true, false),
        (PresenceAccess::Roster, true, true),
    ] {
        let grant = grant(access);
        assert_eq!(
            sees("gw.lit", &grant, Account, "juliet", "juliet@capulet.lit/x"),
            account
        );
        assert_eq!(
            sees("gw.lit", &grant, Contact, "juliet", "romeo@montague.lit/x"),
            contact
        );
    }
}

#[test]
fn c7_an_account_out_of_scope_is_not_seen() {
    use Occasion::{Account, Contact};
    let mut grant = grant(PresenceAccess::Roster);
    grant.scope = Scope {
        accounts: Some(["juliet".to_owned()].into()),
        except: ["admin".to_owned()].into(),
    };
    assert!(sees("gw.lit", &grant, Account, "juliet", "juliet@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Account, "nurse", "nurse@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Contact, "nurse", "romeo@montague.lit/x"));
    assert!(sees("gw.lit", &grant, Contact, "juliet", "nurse@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Contact, "juliet", "admin@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Account, "admin", "admin@capulet.lit/x"));
    assert!(sees("gw.lit", &grant, Contact, "juliet", "admin@montague.lit/x"));
}

#[test]
fn p1_what_an_account_directs_at_another_is_not_seen() {
    let grant = grant(PresenceAccess::Roster);
    assert!(!sees(
        "gw.lit",
        &grant,
        Occasion::Contact,
        "nurse",
        "juliet@capulet.lit/x"
    ));
    assert!(sees(
        "gw.lit",
        &grant,
        Occasion::Account,
        "juliet",
        "juliet@capulet.lit/x"
    ));
}

#[test]
fn p5_not_what_comes_from_the_entity_itself() {
    let grant = grant(PresenceAccess::Roster);
    for (entity, from, expected) in [
        ("gw.lit", "gw.lit", false),
        ("gw.lit", "someone@gw.lit/x", false),
        ("gw.lit", "someone@other.gw.lit/x", true),
        ("bot@capulet.lit", "bot@capulet.lit/x", false),
        ("bot@capulet.lit", "nurse@montague.lit/x", true),
    ] {
        assert_eq!(
            sees(entity, &grant, Occasion::Contact, "juliet", from),
            expected,
            "{entity} {from}"
        );
    }
}

#[test]
fn p4_the_same_once_and_a_change_always() {
    let mut memory = Memory::new(1000);
    let here = presence("romeo@montague.lit/x", None, "here");
    assert!(!memory.knows(here));
    memory.learn(here);
    assert!(memory.knows(here));
    for change in [
        presence("romeo@montague.lit/x", None, "there"),
        presence("romeo@montague.lit/x", Some("unavailable"), "here"),
        presence("romeo@montague.lit/y", None, "here"),
    ] {
        assert!(!memory.knows(change));
    }
    memory.learn(presence("romeo@montague.lit/x", Some("unavailable"), "here"));
    assert!(!memory.knows(here), "back after leaving is news");
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
    let mut memory = Memory::new(1 << 12);
    for i in 0..100_000 {
        memory.learn(presence(&format!("user{i}@montague.lit/x"), None, "here"));
    }
    assert!(memory.len() <= 1 << 12, "{}", memory.len());
    assert!(memory.bytes() <= (1 << 12) * 16, "{}", memory.bytes());
    assert_eq!(memory.len(), memory.buckets.iter().flatten().flatten().count());
}

#[test]
fn a_fingerprint_travels_as_bytes() {
    let print = presence("a@b/c", None, "x");
    assert_eq!(Fingerprint::from_bytes(&print.to_bytes()), Some(print));
    for wrong in [&[][..], &[1; 15], &[1; 17], &[0; 16]] {
        assert_eq!(Fingerprint::from_bytes(wrong), None);
    }
}

/// What happens to the presence of a few contacts, and to the entity's connection.
#[derive(Clone, Debug)]
enum Step {
    Presence {
        sender: usize,
        status: usize,
        available: bool,
    },
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0usize..40, 0usize..3, any::<bool>())
            .prop_map(|(sender, status, available)| Step::Presence { sender, status, available }),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Against a memory without bounds: what that one calls news is told, always; and as long as
    /// nothing is evicted, nothing else is.
    #[test]
    fn p4_never_less_than_the_model_and_no_more_while_there_is_room(steps in steps(), roomy in any::<bool>()) {
        let most = if roomy { 4096 } else { 8 };
        let mut memory = Memory::new(most);
        let mut model: HashMap<usize, Fingerprint> = HashMap::new();
        for step in steps {
            match step {
                Step::Reconnect => {
                    memory = Memory::new(most);
                    model.clear();
                }
                Step::Presence { sender, status, available } => {
                    let kind = (!available).then_some("unavailable");
                    let print = presence(&format!("c{sender}@montague.lit/x"), kind, &status.to_string());
                    let news = model.insert(sender, print) != Some(print);
                    let told = !memory.knows(print);
                    memory.learn(print);
                    prop_assert!(told || !news, "a change was kept back");
                    if roomy {
                        prop_assert_eq!(told, news);
                    }
                }
            }
        }
        prop_assert_eq!(memory.len(), memory.buckets.iter().flatten().flatten().count());
        prop_assert!(memory.len() <= model.len());
    }
}
