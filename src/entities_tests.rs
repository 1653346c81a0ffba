//! Connections: who is told what is granted, and to whom changes of rosters matter.

use super::*;
use crate::matrix::Scope;
use crate::memory::Memory;
use crate::permission::{Access, MessageAccess, Protocol};
use minidom::Element;
use std::cell::RefCell;
use std::rc::Rc;

const HOST: &str = "capulet.lit";
const GATEWAY: &str = "gateway.lit";
const BOT: &str = "bot@capulet.lit";

fn memory() -> SharedMemory {
    Rc::new(RefCell::new(Memory::new(8)))
}

fn matrix(grants: &[(&str, Grant)]) -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    for (entity, grant) in grants {
        matrix.insert((*entity).to_owned(), grant.clone());
    }
    matrix
}

fn messages() -> Grant {
    Grant {
        message: MessageAccess::Outgoing,
        ..Grant::default()
    }
}

fn rosters() -> Grant {
    Grant {
        roster: Access::Get,
        roster_push: true,
        ..Grant::default()
    }
}

fn presence(presence: PresenceAccess) -> Grant {
    Grant {
        presence,
        ..Grant::default()
    }
}

fn only(username: &str, grant: Grant) -> Grant {
    Grant {
        scope: Scope {
            accounts: Some([username.to_owned()].into()),
            ..Scope::default()
        },
        ..grant
    }
}

fn enter(entities: &mut Entities, address: &str) -> Number {
    entities.enter(address, crate::address::bare(address), memory(), None)
}

fn news(entities: &mut Entities, address: &str, matrix: &PermissionMatrix) -> Option<Outgoing> {
    entities.news(address, matrix, || "an-id".to_owned())
}

fn read(outgoing: &Outgoing) -> Element {
    outgoing
        .text
        .replacen(' ', " xmlns='jabber:client' ", 1)
        .parse()
        .unwrap()
}

#[test]
fn a1_told_once_at_its_own_address() {
    let (mut entities, matrix) = (Entities::default(), matrix(&[(GATEWAY, messages())]));
    enter(&mut entities, GATEWAY);
    let told = news(&mut entities, GATEWAY, &matrix).unwrap();
    assert_eq!(told.to, GATEWAY);
    let message = read(&told);
    assert_eq!(
        (message.attr("to"), message.attr("from"), message.attr("id")),
        (Some(GATEWAY), Some(HOST), Some("an-id"))
    );
    assert_eq!(news(&mut entities, GATEWAY, &matrix), None);
}

#[test]
fn a1_nobody_is_told_that_it_has_nothing() {
    let (mut entities, matrix) = (Entities::default(), matrix(&[(GATEWAY, messages())]));
    enter(&mut entities, "stranger.lit");
    assert_eq!(news(&mut entities, "stranger.lit", &matrix), None);
    // Somebody who is not connected is told nothing either.
    assert_eq!(news(&mut entities, GATEWAY, &matrix), None);
}

#[test]
fn a3_a_component_that_comes_again_is_told_again() {
    let (mut entities, matrix) = (Entities::default(), matrix(&[(GATEWAY, messages())]));
    let first = enter(&mut entities, GATEWAY);
    assert!(news(&mut entities, GATEWAY, &matrix).is_some());
    assert_eq!(entities.leave(GATEWAY).map(|gone| gone.number), Some(first));
    assert!(entities.leave(GATEWAY).is_none());
    assert!(entities.get(GATEWAY).is_none());
    let second = enter(&mut entities, GATEWAY);
    assert_ne!(first, second);
    assert!(news(&mut entities, GATEWAY, &matrix).is_some());
}

#[test]
fn a4_each_client_of_an_account_is_told_by_itself() {
    let (mut entities, matrix) = (Entities::default(), matrix(&[(BOT, messages())]));
    for address in ["bot@capulet.lit/1", "bot@capulet.lit/2"] {
        enter(&mut entities, address);
        assert_eq!(news(&mut entities, address, &matrix).unwrap().to, address);
    }
    // The account's bare JID is not a connection.
    assert_eq!(news(&mut entities, BOT, &matrix), None);
}

#[test]
fn a5_c6_another_protocol_is_news() {
    let mut entities = Entities::default();
    enter(&mut entities, GATEWAY);
    news(&mut entities, GATEWAY, &matrix(&[(GATEWAY, messages())])).unwrap();
    let older = Grant {
        protocol: Protocol::V1,
        ..messages()
    };
    let told = news(&mut entities, GATEWAY, &matrix(&[(GATEWAY, older)])).unwrap();
    assert!(told.text.contains("urn:xmpp:privilege:1"), "{}", told.text);
}

#[test]
fn c6_only_news_is_told_and_a_revocation_once() {
    let mut entities = Entities::default();
    enter(&mut entities, GATEWAY);
    let mut told = |grants: &[(&str, Grant)]| news(&mut entities, GATEWAY, &matrix(grants)).is_some();
    let both = Grant {
        roster: Access::Get,
        ..messages()
    };
    assert!(told(&[(GATEWAY, messages())]));
    assert!(told(&[(GATEWAY, both)]));
    assert!(told(&[(GATEWAY, messages())]));
    // Which accounts it is about is not told (O7).
    assert!(!told(&[(GATEWAY, only("juliet", messages()))]));
    assert!(told(&[]));
    assert!(!told(&[]));
    // That it is named, and granted nothing, is told as well (A1).
    assert!(told(&[(GATEWAY, Grant::default())]));
    assert!(!told(&[(GATEWAY, Grant::default())]));
}

#[test]
fn l1_what_was_told_is_handed_over() {
    let (mut before, matrix) = (Entities::default(), matrix(&[(GATEWAY, messages())]));
    enter(&mut before, GATEWAY);
    enter(&mut before, "stranger.lit");
    news(&mut before, GATEWAY, &matrix).unwrap();
    let saved: Vec<(&str, Option<&str>)> = before.advertised().collect();
    assert_eq!(saved.len(), 2);
    assert_eq!(saved[1], ("stranger.lit", None));

    let mut after = Entities::default();
    for (address, advertised) in saved {
        after.enter(address, address, memory(), advertised.map(str::to_owned));
    }
    assert_eq!(news(&mut after, GATEWAY, &matrix), None);
    assert!(news(&mut after, GATEWAY, &PermissionMatrix::new(HOST)).is_some());
}

#[test]
fn c7_r7_pushes_go_to_those_who_are_connected_and_may_see_the_account() {
    let mut entities = Entities::default();
    let matrix = matrix(&[
        (GATEWAY, only("juliet", rosters())),
        (BOT, rosters()),
        ("quiet.lit", {
            Grant {
                roster_push: false,
                ..rosters()
            }
        }),
        ("set.lit", {
            Grant {
                roster: Access::Set,
                ..rosters()
            }
        }),
        ("away.lit", rosters()),
    ]);
    for address in [
        GATEWAY,
        "bot@capulet.lit/1",
        "bot@capulet.lit/2",
        "quiet.lit",
        "set.lit",
        "stranger.lit",
    ] {
        enter(&mut entities, address);
    }
    let pushed = |username| {
        let pushed = entities.pushed(&matrix, username, "romeo@montague.lit");
        pushed.map(|(address, _)| address).collect::<Vec<_>>()
    };
    let bots = ["bot@capulet.lit/1", "bot@capulet.lit/2"];
    assert_eq!(pushed("juliet"), [bots[0], bots[1], GATEWAY]);
    assert_eq!(pushed("romeo"), bots);
}

#[test]
fn p3_r7_a_roster_is_followed_for_pushes_and_for_the_presence_of_contacts() {
    let follows = |grant: Grant, is_connected: bool| {
        let mut entities = Entities::default();
        if is_connected {
            enter(&mut entities, GATEWAY);
        }
        let matrix = matrix(&[(GATEWAY, grant)]);
        ["juliet", "romeo"].map(|username| entities.follow_roster(&matrix, username))
    };
    assert_eq!(follows(rosters(), true), [true, true]);
    assert_eq!(follows(rosters(), false), [false, false]);
    assert_eq!(follows(only("juliet", rosters()), true), [true, false]);
    let contacts = presence(PresenceAccess::Roster);
    assert_eq!(follows(only("romeo", contacts), true), [false, true]);
    let accounts = presence(PresenceAccess::ManagedEntity);
    assert_eq!(follows(accounts, true), [false, false]);
}

#[test]
fn p1_p3_the_most_presence_is_that_of_somebody_who_is_connected() {
    let mut entities = Entities::default();
    let matrix = matrix(&[
        (GATEWAY, presence(PresenceAccess::Roster)),
        (BOT, presence(PresenceAccess::ManagedEntity)),
    ]);
    assert_eq!(entities.most_presence(&matrix), PresenceAccess::None);
    enter(&mut entities, "bot@capulet.lit/1");
    assert_eq!(entities.most_presence(&matrix), PresenceAccess::ManagedEntity);
    enter(&mut entities, GATEWAY);
    assert_eq!(entities.most_presence(&matrix), PresenceAccess::Roster);
    entities.leave(GATEWAY);
    assert_eq!(entities.most_presence(&matrix), PresenceAccess::ManagedEntity);
}
