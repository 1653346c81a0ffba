//! Examples of tables that narrow a grant, and of profiles.

use super::super::tests::{any_value, compile_for, list, table, text};
use super::super::{Grant, Problem};
use super::*;
use crate::ns;
use crate::permission::MessageAccess;
use proptest::prelude::*;

const GATEWAY: &str = "gateway.capulet.lit";

fn compiled(options: &[(&str, Value)]) -> (Grant, Vec<Problem>) {
    compile_for(GATEWAY, options)
}

/// The grant is empty, and one error names these words.
fn grants_nothing(entity: &str, options: &[(&str, Value)], words: &[&str]) {
    let (grant, problems) = compile_for(entity, options);
    assert!(grant.is_empty(), "{options:?}: {grant:?}");
    let [problem] = problems.as_slice() else {
        panic!("{options:?}: {problems:?}");
    };
    assert_eq!(problem.level, Level::Error, "{problem:?}");
    for word in words.iter().chain(&["capulet.lit", entity]) {
        assert!(problem.text.contains(word), "{word}: {}", problem.text);
    }
}

#[test]
fn g1_a_roster_of_own_contacts() {
    let roster = |entries: &[(&str, Value)]| compiled(&[("roster", table(entries))]);
    let (grant, problems) = roster(&[("type", text("both")), ("contacts", text("own"))]);
    assert_eq!(
        (problems, grant.roster, grant.contacts),
        (vec![], Access::Both, Contacts::Own)
    );
    assert!(grant.pushes_roster());
    let (grant, problems) = roster(&[("type", text("get")), ("push", Value::Bool(false))]);
    assert_eq!(
        (problems, grant.contacts, grant.pushes_roster()),
        (vec![], Contacts::All, false)
    );
    // Beside the table, `roster_push` can only take pushes away.
    let own = [
        ("type", text("both")),
        ("contacts", text("own")),
        ("push", Value::Bool(true)),
    ];
    for (push, expected) in [(true, true), (false, false)] {
        let (grant, _) = compiled(&[("roster", table(&own)), ("roster_push", Value::Bool(push))]);
        assert_eq!(grant.pushes_roster(), expected);
    }
}

#[test]
fn g1_g3_a_table_with_anything_unknown_in_it_grants_nothing() {
    for (entries, words) in [
        (
            vec![("contacts", text("own"))],
            vec!["roster.type", "nothing", "\"both\""],
        ),
        (
            vec![("type", text("all"))],
            vec!["roster.type", "\"all\"", "\"get\""],
        ),
        (
            vec![("type", text("both")), ("contacts", text("mine"))],
            vec!["roster.contacts", "\"own\""],
        ),
        (
            vec![("type", text("both")), ("contacts", list(&["a@b"]))],
            vec!["roster.contacts"],
        ),
        (
            vec![("type", text("both")), ("contact", text("own"))],
            vec!["the key \"contact\"", "\"contacts\""],
        ),
        (
            vec![("type", text("both")), ("push", text("no"))],
            vec!["roster.push", "true, false"],
        ),
    ] {
        grants_nothing(GATEWAY, &[("roster", table(&entries))], &words);
    }
    let own = table(&[("type", text("both")), ("contacts", text("own"))]);
    grants_nothing("bot@capulet.lit", &[("roster", own)], &["only for a component"]);

    for (namespace, entries, words) in [
        (ns::PUBSUB, vec![("nodes", list(&["a"]))], vec![".type"]),
        (
            ns::PUBSUB,
            vec![("type", text("both")), ("to", text("everybody"))],
            vec![".to", "\"self\""],
        ),
        (
            ns::PUBSUB,
            vec![("type", text("both")), ("to", list(&["a@@b"]))],
            vec![".to"],
        ),
        (
            ns::PUBSUB,
            vec![
                ("type", text("both")),
                ("to", table(&[("a@b", Value::Bool(true))])),
            ],
            vec![".to"],
        ),
        (
            ns::PUBSUB,
            vec![("type", text("both")), ("nodes", text("a"))],
            vec![".nodes", "a list of nodes"],
        ),
        (
            ns::PUBSUB,
            vec![
                ("type", text("both")),
                ("nodes", table(&[("a", Value::Bool(true))])),
            ],
            vec![".nodes"],
        ),
        (
            ns::PUBSUB,
            vec![("type", text("both")), ("node", text("a"))],
            vec!["the key \"node\"", "\"nodes\""],
        ),
        (
            "jabber:iq:last",
            vec![("type", text("both")), ("nodes", list(&[]))],
            vec![".nodes", ns::PUBSUB_OWNER],
        ),
    ] {
        grants_nothing(GATEWAY, &[("iq", table(&[(namespace, table(&entries))]))], &words);
    }
    let own = table(&[("type", text("get")), ("to", text("own"))]);
    grants_nothing(
        "bot@capulet.lit",
        &[("iq", table(&[("urn:x", own)]))],
        &["only for a component"],
    );
    // The rest of the grant stands (C2).
    let (grant, problems) = compiled(&[("message", text("own")), ("roster", table(&[]))]);
    assert_eq!(
        (grant.message, grant.roster, problems.len()),
        (MessageAccess::Own, Access::None, 1)
    );
}

#[test]
fn g3_recipients_and_nodes() {
    let iq = |namespace: &str, entries: &[(&str, Value)]| {
        let (grant, problems) = compiled(&[("iq", table(&[(namespace, table(entries))]))]);
        assert_eq!(problems, []);
        grant.iq[namespace].clone()
    };
    let narrowed = iq(
        ns::PUBSUB,
        &[
            ("type", text("get")),
            ("to", text("self")),
            ("nodes", list(&["a", "b"])),
        ],
    );
    let nodes = ["a".to_owned(), "b".to_owned()].into();
    assert_eq!(
        narrowed,
        IqGrant {
            access: Access::Get,
            to: Recipients::Account,
            nodes: Some(nodes)
        }
    );
    assert_eq!(
        iq(ns::PUBSUB, &[("type", text("set")), ("nodes", list(&[]))]).nodes,
        Some(BTreeSet::new())
    );
    assert_eq!(iq("urn:x", &[("type", text("set"))]), Access::Set.into());
    assert_eq!(
        iq("urn:x", &[("type", text("set")), ("to", text("any"))]).to,
        Recipients::Any
    );
    let listed = iq(
        "urn:x",
        &[
            ("type", text("set")),
            ("to", list(&["Upload.Capulet.LIT", "Nurse@capulet.lit"])),
        ],
    );
    let jids = ["upload.capulet.lit".to_owned(), "nurse@capulet.lit".to_owned()];
    assert_eq!(listed.to, Recipients::Listed(jids.into()));
}

#[test]
fn g4_every_profile_is_read_without_a_problem() {
    for name in profile::NAMES {
        let (grant, problems) = compiled(&[("profile", text(name))]);
        assert_eq!(problems, [], "{name}");
        assert!(!grant.is_empty(), "{name}");
    }
    let (gateway, _) = compiled(&[("profile", text("gateway"))]);
    assert_eq!(
        (gateway.contacts, gateway.message),
        (Contacts::Own, MessageAccess::Own)
    );
    let namespaces: Vec<&str> = gateway.iq.keys().map(String::as_str).collect();
    assert_eq!(namespaces, [ns::PUBSUB, ns::PUBSUB_OWNER, ns::UPLOAD]);
    assert!(
        gateway
            .iq
            .iter()
            .all(|(namespace, iq)| iq.nodes.is_some() == nodes::has_nodes(namespace))
    );
}

#[test]
fn g4_options_beside_a_profile_win() {
    let (grant, problems) = compiled(&[
        ("profile", text("gateway")),
        ("message", text("none")),
        ("roster_push", Value::Bool(false)),
        (
            "iq",
            table(&[
                (ns::PUBSUB, text("get")),
                (ns::UPLOAD, text("none")),
                ("urn:x", text("set")),
            ]),
        ),
    ]);
    assert_eq!(problems, []);
    assert_eq!(
        (grant.message, grant.roster, grant.contacts),
        (MessageAccess::None, Access::Both, Contacts::Own)
    );
    assert!(!grant.pushes_roster());
    assert_eq!(grant.iq[ns::PUBSUB], Access::Get.into());
    assert_eq!(grant.iq["urn:x"], Access::Set.into());
    assert!(!grant.iq.contains_key(ns::UPLOAD) && grant.iq[ns::PUBSUB_OWNER].nodes.is_some());
    // A table of IQs that is none takes all of them away.
    let (grant, problems) = compiled(&[("profile", text("gateway")), ("iq", text("none"))]);
    assert!(grant.iq.is_empty() && problems.len() == 1);
}

#[test]
fn g4_an_unknown_profile_grants_nothing_and_the_rest_stands() {
    grants_nothing(
        GATEWAY,
        &[("profile", text("gatway"))],
        &["\"gatway\"", "\"gateway\", \"pubsub\""],
    );
    grants_nothing(GATEWAY, &[("profile", Value::Bool(true))], &["\"profile\""]);
    let (grant, problems) = compiled(&[("profile", text("Gateway")), ("roster", text("get"))]);
    assert_eq!((grant.roster, problems.len()), (Access::Get, 1));
}

#[test]
fn g_an_option_that_nearly_narrows_grants_nothing() {
    for wrong in [
        "acounts", "account", "exept", "profil", "contacts", "to", "nodes", "node", "Except",
    ] {
        let options = [("roster", text("both")), (wrong, list(&["juliet"]))];
        grants_nothing(GATEWAY, &options, &[wrong, "did you mean"]);
    }
    for harmless in ["rooster", "mesage", "comment", "note", "x"] {
        let (grant, problems) = compiled(&[("roster", text("both")), (harmless, text("x"))]);
        assert_eq!(grant.roster, Access::Both, "{harmless}");
        assert!(
            matches!(
                problems.as_slice(),
                [Problem {
                    level: Level::Warn,
                    ..
                }]
            ),
            "{harmless}"
        );
    }
}

#[test]
fn g2_an_account_has_no_domain_of_its_own() {
    let (grant, problems) = compile_for("bot@capulet.lit", &[("message", text("own"))]);
    assert_eq!((grant.message, problems.len()), (MessageAccess::Own, 1));
}

#[test]
fn g7_blocklists_cannot_be_granted() {
    for grant in [text("both"), table(&[("type", text("get"))])] {
        let (grant, problems) = compiled(&[("iq", table(&[(ns::BLOCKING, grant)]))]);
        assert!(grant.is_empty());
        let [problem] = problems.as_slice() else {
            panic!("{problems:?}");
        };
        assert!(
            problem.level == Level::Warn && problem.text.contains(ns::BLOCKING),
            "{problem:?}"
        );
    }
}

/// Where a grant is narrowed: the way to the option.
const NARROWED: [&[&str]; 5] = [
    &["roster", "contacts"],
    &["message"],
    &["iq", ns::PUBSUB, "to"],
    &["iq", ns::PUBSUB, "nodes"],
    &["accounts"],
];

fn narrowed() -> Value {
    let pubsub = table(&[
        ("type", text("both")),
        ("to", text("self")),
        ("nodes", list(&["a"])),
    ]);
    table(&[
        (
            "roster",
            table(&[("type", text("both")), ("contacts", text("own"))]),
        ),
        ("message", text("own")),
        ("iq", table(&[(ns::PUBSUB, pubsub)])),
        ("accounts", list(&["juliet"])),
    ])
}

/// Changes the entry at the end of the way.
fn changed(tree: &mut Value, way: &[&str], change: &mut dyn FnMut(&mut (Value, Value))) {
    let (Value::Table(entries), Some((first, rest))) = (tree, way.split_first()) else {
        panic!("no table");
    };
    let entry = entries.iter_mut().find(|(key, _)| *key == text(first)).unwrap();
    if rest.is_empty() {
        change(entry);
    } else {
        changed(&mut entry.1, rest, change);
    }
}

/// One letter left out, put in, or exchanged.
fn mistyped(name: &str, at: usize, letter: char, how: u8) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let at = at % letters.len();
    match how {
        0 => drop(letters.remove(at)),
        1 => letters.insert(at, letter),
        _ => letters[at] = letter,
    }
    letters.into_iter().collect()
}

/// Nothing is granted beside what the narrowed grant allows.
fn is_within(grant: &Grant) -> bool {
    let pubsub = IqGrant {
        access: Access::Both,
        to: Recipients::Account,
        nodes: Some(["a".to_owned()].into()),
    };
    grant.is_empty()
        || (grant.roster == Access::None || grant.contacts == Contacts::Own)
            && grant.message <= MessageAccess::Own
            && grant
                .iq
                .iter()
                .all(|(namespace, iq)| namespace == ns::PUBSUB && iq.stricter(&pubsub) == *iq)
            && grant
                .scope
                .accounts
                .as_ref()
                .is_some_and(|accounts| accounts.iter().all(|name| name == "juliet"))
}

proptest! {
    #[test]
    fn g_a_mistake_in_a_narrowing_never_widens(
        way in prop::sample::select(NARROWED.to_vec()), at in 0usize..10, letter in "[a-z_]", how in 0u8..3
    ) {
        let mut tree = narrowed();
        changed(&mut tree, way, &mut |(key, _)| {
            let Value::Text(name) = key else { return };
            *name = mistyped(name, at, letter.chars().next().unwrap(), how);
        });
        let Value::Table(entries) = &tree else { panic!() };
        let options: Vec<(&str, Value)> = entries.iter().map(|(key, value)| (named(key).unwrap(), value.clone())).collect();
        let (grant, _) = compiled(&options);
        prop_assert!(is_within(&grant), "{:?}: {:?}", tree, grant);
    }

    #[test]
    fn g_a_wrong_value_of_a_narrowing_never_widens(
        way in prop::sample::select(NARROWED.to_vec()), value in any_value()
    ) {
        // A list is a good value of some, and so are some words.
        let takes_list = way != ["roster", "contacts"] && way != ["message"];
        let good = [text("all"), text("any"), text("outgoing")];
        let is_good = good.contains(&value) || takes_list && matches!(value, Value::Table(_));
        let value = if is_good { Value::Bool(true) } else { value };
        let mut tree = narrowed();
        changed(&mut tree, way, &mut |(_, old)| *old = value.clone());
        let Value::Table(entries) = &tree else { panic!() };
        let options: Vec<(&str, Value)> = entries.iter().map(|(key, value)| (named(key).unwrap(), value.clone())).collect();
        let (grant, _) = compiled(&options);
        prop_assert!(is_within(&grant), "{:?}: {:?}", tree, grant);
    }
}
