//! Examples and properties of roster requests.

use super::*;
use crate::address::CrateNormaliser;
use crate::matrix::{Grant, Scope};
use crate::permission::Access;
use crate::request::{Sender, Session};
use minidom::Element as Xml;
use std::collections::BTreeSet;

const JULIET: &str = "juliet@capulet.lit";

fn query(items: &str) -> Xml {
    format!("<query xmlns='jabber:iq:roster'>{items}</query>")
        .parse()
        .unwrap()
}

fn read(query: &Xml) -> Result<Vec<ItemEdit>, Denial> {
    read_set(&query, JULIET, &CrateNormaliser)
}

fn planned(items: &str, current: &[(&str, Item)]) -> Result<Vec<Change>, Denial> {
    let edits = read(&query(items))?;
    plan(edits, |jid| {
        current
            .iter()
            .find(|(key, _)| *key == jid)
            .map(|(_, item)| Current::from(item.clone()))
    })
}

fn subscribed(subscription: Subscription) -> Item {
    Item {
        subscription,
        ..Item::default()
    }
}

fn one(items: &str, current: &[(&str, Item)]) -> Item {
    let changes = planned(items, current).unwrap();
    assert_eq!(changes.len(), 1, "{items}");
    changes[0].item.clone().unwrap()
}

fn condition(items: &str) -> (ErrorType, Condition) {
    let denial = planned(items, &[]).expect_err(items);
    assert_eq!(denial.rule, "R4");
    (denial.error_type, denial.condition)
}

#[test]
fn r2_a_set_may_hold_several_items_and_honours_the_subscription() {
    let changes = planned(
        "<item jid='Romeo@Montague.lit' name='R' subscription='both'><group>Lovers</group></item>
         <item jid='nurse@capulet.lit' subscription='from'/>",
        &[],
    )
    .unwrap();
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].jid, "romeo@montague.lit");
    let item = changes[0].item.clone().unwrap();
    assert_eq!(
        (item.subscription, item.name.as_deref()),
        (Subscription::Both, Some("R"))
    );
    assert_eq!(item.groups, ["Lovers".to_owned()].into());
    assert_eq!(changes[1].item.clone().unwrap().subscription, Subscription::From);
}

#[test]
fn r3_what_is_absent_stays_and_an_empty_name_clears() {
    let old = Item {
        subscription: Subscription::From,
        ask: true,
        approved: true,
        name: Some("R".into()),
        groups: ["A".to_owned()].into(),
    };
    let current = [("romeo@montague.lit", old.clone())];
    let item = one(
        "<item jid='romeo@montague.lit' name='Romeo'><group>A</group></item>",
        &current,
    );
    assert_eq!(
        item,
        Item {
            name: Some("Romeo".into()),
            ..old.clone()
        }
    );
    let item = one(
        "<item jid='romeo@montague.lit' name=''><group>A</group></item>",
        &current,
    );
    assert_eq!(
        item,
        Item {
            name: None,
            ..old.clone()
        }
    );
    let item = one(
        "<item jid='romeo@montague.lit' subscription='none'><group>A</group></item>",
        &current,
    );
    assert_eq!(
        item,
        Item {
            subscription: Subscription::None,
            ..old.clone()
        }
    );
    let item = one(
        "<item jid='romeo@montague.lit' subscription='both'><group>A</group></item>",
        &current,
    );
    assert_eq!(
        item,
        Item {
            subscription: Subscription::Both,
            ask: false,
            ..old.clone()
        }
    );
    let item = one("<item jid='romeo@montague.lit'/>", &current);
    assert_eq!(
        item,
        Item {
            groups: BTreeSet::new(),
            ..old
        }
    );
}

#[test]
fn r9_setting_what_is_there_changes_nothing() {
    let old = Item {
        name: Some("R".into()),
        ..Item::default()
    };
    let current = [("romeo@montague.lit", old)];
    assert_eq!(
        planned(
            "<item jid='romeo@montague.lit' name='R' subscription='none'/>",
            &current
        ),
        Ok(vec![])
    );
}

#[test]
fn r4_what_is_wrong_is_said() {
    let bad = (ErrorType::Modify, Condition::BadRequest);
    for wrong in [
        "",
        "<item/>",
        "<item jid='romeo@montague.lit' subscription='Both'/>",
        "<item jid='romeo@montague.lit' ask='x'/>",
        "<item jid='romeo@montague.lit' approved='x'/>",
        "<item jid='romeo@montague.lit/orchard'/>",
        "<item jid='romeo@montague.lit'><x/></item>",
        "<item jid='romeo@montague.lit'><group xmlns='other'>A</group></item>",
        "<item jid='romeo@montague.lit'><group><group/></group></item>",
        "<item jid='romeo@montague.lit'/><x xmlns='other'/>",
        "<item xmlns='other' jid='romeo@montague.lit'/>",
        "<item jid='romeo@montague.lit'/><item jid='ROMEO@montague.lit'/>",
    ] {
        assert_eq!(condition(wrong), bad, "{wrong}");
    }
    assert_eq!(
        condition("<item jid='@'/>"),
        (ErrorType::Modify, Condition::JidMalformed)
    );
    assert_eq!(
        condition("<item jid='juliet@capulet.lit'/>"),
        (ErrorType::Cancel, Condition::NotAllowed)
    );
    assert_eq!(
        condition("<item jid='romeo@montague.lit' subscription='remove'/>"),
        (ErrorType::Cancel, Condition::ItemNotFound)
    );
    assert_eq!(
        condition("<item jid='romeo@montague.lit'><group/></item>"),
        (ErrorType::Modify, Condition::NotAcceptable)
    );
}

#[test]
fn r2_one_bad_item_refuses_all() {
    assert!(
        planned(
            "<item jid='a@x.lit'/><item jid='b@x.lit' subscription='remove'/>",
            &[]
        )
        .is_err()
    );
}

const SENDER: Sender<'static> = Sender {
    session: Session::Component,
    host: "pubsub.capulet.lit",
    from: "pubsub.capulet.lit",
    acting: false,
};

#[test]
fn r4_r6_c7_who_may_ask_for_which_roster() {
    let grant = Grant {
        roster: Access::Get,
        scope: Scope {
            accounts: None,
            except: ["admin".to_owned()].into(),
        },
        ..Grant::default()
    };
    let mut matrix = PermissionMatrix::new("capulet.lit");
    matrix.insert("pubsub.capulet.lit".into(), grant);
    let judged = |sender, to: &str, kind: IqType| {
        let stanza: Xml = format!(
            "<iq xmlns='jabber:client' id='x' to='{to}' type='{}'/>",
            kind.as_str()
        )
        .parse()
        .unwrap();
        let request = Request {
            sender,
            stanza: &stanza,
            normaliser: &CrateNormaliser,
        };
        judge(&matrix, &request).map(|permit| permit.username)
    };
    assert_eq!(judged(SENDER, JULIET, IqType::Get), Ok(Some("juliet".to_owned())));
    let stranger = Sender {
        host: "stranger.lit",
        from: "stranger.lit",
        ..SENDER
    };
    for (sender, to, kind) in [
        (SENDER, JULIET, IqType::Set),
        (SENDER, "admin@capulet.lit", IqType::Get),
        (SENDER, "romeo@montague.lit", IqType::Get),
        (SENDER, "juliet@capulet.lit/x", IqType::Get),
        (SENDER, "capulet.lit", IqType::Get),
        (stranger, JULIET, IqType::Get),
    ] {
        let denial = judged(sender, to, kind).unwrap_err();
        assert_eq!(denial.condition, Condition::Forbidden, "{to}");
    }
}

#[test]
fn r4_a_request_without_an_id_and_an_unknown_account() {
    let mut matrix = PermissionMatrix::new("capulet.lit");
    matrix.insert(
        SENDER.host.to_owned(),
        Grant {
            roster: Access::Both,
            ..Grant::default()
        },
    );
    let stanza: Xml = format!("<iq xmlns='jabber:client' to='{JULIET}' type='get'/>")
        .parse()
        .unwrap();
    let request = Request {
        sender: SENDER,
        stanza: &stanza,
        normaliser: &CrateNormaliser,
    };
    let denial = judge(&matrix, &request).unwrap_err();
    assert_eq!((denial.condition, denial.rule), (Condition::BadRequest, "R4"));
    let denial = no_account();
    assert_eq!(
        (denial.error_type, denial.condition, denial.rule),
        (ErrorType::Cancel, Condition::ItemNotFound, "R4")
    );
}

#[test]
fn r1_a_matching_version_is_current() {
    for (theirs, ours, expected) in [
        (Some("7"), Some(7.0), true),
        (Some("6"), Some(7.0), false),
        (Some(""), Some(7.0), false),
        (Some("x"), Some(7.0), false),
        (None, Some(7.0), false),
        (Some("7"), None, false),
    ] {
        assert_eq!(is_current(theirs, ours), expected, "{theirs:?} {ours:?}");
    }
}

#[test]
fn r7_what_changed_between_two_rosters() {
    let item = |name: &str| Item {
        name: Some(name.to_owned()),
        ..Item::default()
    };
    let roster = |items: &[(&str, &str)]| -> BTreeMap<String, Item> {
        items
            .iter()
            .map(|(jid, name)| ((*jid).to_owned(), item(name)))
            .collect()
    };
    let before = roster(&[("gone@x", "g"), ("other@x", "o"), ("same@x", "s")]);
    let after = roster(&[("new@x", "n"), ("other@x", "p"), ("same@x", "s")]);
    assert_eq!(changed(&before, &after), ["gone@x", "new@x", "other@x"]);
    assert_eq!(changed(&after, &after), Vec::<String>::new());
}

#[test]
fn r11_a_contact_that_is_not_stored_is_a_change_even_as_it_is() {
    let given = Item {
        subscription: Subscription::Both,
        name: Some("N".into()),
        ..Item::default()
    };
    let set = |is_stored| {
        let edits = read(&query("<item jid='a@b' name='N'/>")).unwrap();
        let item = given.clone();
        plan(edits, |_| {
            Some(Current {
                item: item.clone(),
                is_stored,
            })
        })
        .unwrap()
    };
    assert_eq!(set(true), []);
    let changes = set(false);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].item.as_ref(), Some(&given));
    assert!(!changes[0].gains_to);
}

const STATES: [Subscription; 4] = [
    Subscription::None,
    Subscription::To,
    Subscription::From,
    Subscription::Both,
];

#[test]
fn r10_only_a_change_that_adds_to_gains_it() {
    for before in STATES {
        for after in STATES {
            let items = format!("<item jid='a@b' name='new' subscription='{}'/>", after.as_str());
            let changes = planned(&items, &[("a@b", subscribed(before))]).unwrap();
            assert_eq!(
                changes[0].gains_to,
                after.includes_to() && !before.includes_to(),
                "{before:?} {after:?}"
            );
        }
    }
    assert!(planned("<item jid='a@b' subscription='to'/>", &[]).unwrap()[0].gains_to);
    assert!(
        !planned(
            "<item jid='a@b' subscription='remove'/>",
            &[("a@b", subscribed(Subscription::None))]
        )
        .unwrap()[0]
            .gains_to
    );
}

#[test]
fn r2_a_contact_that_is_removed_or_told_presence_asks_no_more() {
    for before in [None].into_iter().chain(STATES.map(Some)) {
        let now: Vec<(&str, Item)> = before
            .map(|state| ("a@b", subscribed(state)))
            .into_iter()
            .collect();
        for after in STATES {
            let items = format!("<item jid='a@b' name='new' subscription='{}'/>", after.as_str());
            let changes = planned(&items, &now).unwrap();
            assert_eq!(
                changes[0].settles_request,
                matches!(after, Subscription::From | Subscription::Both),
                "{before:?} {after:?}"
            );
        }
        if before.is_some() {
            let removed = planned("<item jid='a@b' subscription='remove'/>", &now).unwrap();
            assert!(removed[0].settles_request && !removed[0].gains_to);
        }
    }
    // A change of another field settles a request as well, if the contact is told presence.
    let both = [("a@b", subscribed(Subscription::Both))];
    assert!(planned("<item jid='a@b' name='new'/>", &both).unwrap()[0].settles_request);
    let to = [("a@b", subscribed(Subscription::To))];
    assert!(!planned("<item jid='a@b' name='new'/>", &to).unwrap()[0].settles_request);
    // The same holds for the roster of a contact that is made to agree.
    for wanted in [Subscription::To, Subscription::Both] {
        let change = agree(JULIET, "nurse@capulet.lit", wanted, None, true).unwrap();
        assert!(change.unwrap().settles_request, "{wanted:?}");
    }
}

#[test]
fn r10_a_contact_has_to_agree() {
    for theirs in STATES {
        for wanted in [Subscription::To, Subscription::Both] {
            let item = subscribed(theirs);
            let verdict = agree(JULIET, "nurse@capulet.lit", wanted, Some(&item), false);
            if theirs.includes_from() {
                assert_eq!(verdict, Ok(None), "{theirs:?} {wanted:?}");
            } else {
                let denial = verdict.unwrap_err();
                assert_eq!(
                    (denial.error_type, denial.condition, denial.rule),
                    (ErrorType::Cancel, Condition::NotAllowed, "R10")
                );
            }
        }
    }
    assert!(agree(JULIET, "nurse@capulet.lit", Subscription::To, None, false).is_err());
}

#[test]
fn r10_who_may_set_both_rosters_makes_them_agree() {
    for theirs in [None].into_iter().chain(STATES.map(Some)) {
        for wanted in [Subscription::To, Subscription::Both] {
            let item = theirs.map(|subscription| Item {
                name: Some("J".into()),
                ask: true,
                ..subscribed(subscription)
            });
            let change = agree(JULIET, "nurse@capulet.lit", wanted, item.as_ref(), true).unwrap();
            if theirs == Some(wanted.mirrored()) {
                assert_eq!(change, None);
                continue;
            }
            let change = change.unwrap();
            let after = change.item.unwrap();
            assert_eq!(change.jid, JULIET);
            assert_eq!(after.subscription.mirrored(), wanted);
            // The name belongs to the contact and stays.
            assert_eq!(after.name, item.as_ref().and_then(|item| item.name.clone()));
            assert_eq!(after.ask, item.is_some() && !after.subscription.includes_to());
        }
    }
}
