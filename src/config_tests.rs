//! Examples and properties of the configuration compiler.

use super::*;
use crate::address::CrateNormaliser;
use crate::permission::IqType;
use proptest::prelude::*;

struct TestServer;

impl Normaliser for TestServer {
    fn jid(&self, raw: &str) -> Option<String> {
        CrateNormaliser.jid(raw)
    }
    fn username(&self, raw: &str) -> Option<String> {
        CrateNormaliser.username(raw)
    }
}

impl Server for TestServer {
    fn serves(&self, domain: &str) -> bool {
        domain == "capulet.lit" || domain.ends_with(".capulet.lit")
    }
}

pub(super) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(super) fn list(values: &[&str]) -> Value {
    let entries = values.iter().enumerate();
    Value::Table(
        entries
            .map(|(i, value)| (Value::Number((i + 1) as f64), text(value)))
            .collect(),
    )
}

pub(super) fn table(entries: &[(&str, Value)]) -> Value {
    Value::Table(
        entries
            .iter()
            .map(|(key, value)| (text(key), value.clone()))
            .collect(),
    )
}

pub(super) fn compile_for(entity: &str, options: &[(&str, Value)]) -> (Grant, Vec<Problem>) {
    let tree = table(&[(entity, table(options))]);
    let (matrix, problems) = compile("capulet.lit", &tree, &TestServer);
    let grant = matrix.named(entity).map(|grant| (**grant).clone());
    (grant.unwrap_or_default(), problems)
}

fn compile_one(options: &[(&str, Value)]) -> (Grant, Vec<Problem>) {
    compile_for("pubsub.capulet.lit", options)
}

#[test]
fn c1_the_community_modules_example_means_the_same() {
    let (grant, problems) = compile_one(&[
        ("roster", text("get")),
        ("message", text("outgoing")),
        ("presence", text("roster")),
        ("iq", table(&[("http://jabber.org/protocol/pubsub", text("set"))])),
    ]);
    assert_eq!(problems, []);
    assert_eq!(grant.roster, Access::Get);
    assert!(grant.pushes_roster());
    assert_eq!(grant.message, MessageAccess::Outgoing);
    assert_eq!(grant.presence, PresenceAccess::Roster);
    assert!(
        grant
            .allows_iq("http://jabber.org/protocol/pubsub", IqType::Set)
            .is_some()
    );
    assert!(
        grant
            .allows_iq("http://jabber.org/protocol/pubsub", IqType::Get)
            .is_none()
    );
    assert!(grant.scope.covers("juliet"));
}

#[test]
fn nothing_configured_nothing_granted() {
    for nothing in [Value::Nil, Value::Table(vec![])] {
        let (matrix, problems) = compile("capulet.lit", &nothing, &TestServer);
        assert_eq!(problems, []);
        assert!(matrix.entities().is_empty());
    }
}

#[test]
fn c2_a_wrong_value_costs_its_own_permission_and_says_everything() {
    let (grant, problems) = compile_one(&[("roster", text("bth")), ("message", text("outgoing"))]);
    assert_eq!(
        (grant.roster, grant.message),
        (Access::None, MessageAccess::Outgoing)
    );
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].level, Level::Error);
    for part in [
        "capulet.lit",
        "pubsub.capulet.lit",
        "roster",
        "bth",
        "\"get\"",
        "\"both\"",
    ] {
        assert!(problems[0].text.contains(part), "{part}: {}", problems[0].text);
    }
}

#[test]
fn c2_wrong_types_are_errors_and_grant_nothing() {
    for wrong in [
        Value::Bool(true),
        Value::Number(1.0),
        Value::Table(vec![]),
        Value::Other("function"),
    ] {
        for option in ["roster", "message", "presence"] {
            let (grant, problems) = compile_one(&[(option, wrong.clone())]);
            assert!(grant.is_empty(), "{option} {wrong:?}");
            assert_eq!(problems.len(), 1, "{option} {wrong:?}");
        }
    }
    for tree in [text("x"), Value::Bool(true), list(&["pubsub.capulet.lit"])] {
        let (matrix, problems) = compile("capulet.lit", &tree, &TestServer);
        assert!(matrix.entities().is_empty());
        assert_eq!(problems.len(), 1, "{tree:?}");
        assert_eq!(problems[0].level, Level::Error);
    }
}

#[test]
fn c2_an_unknown_option_gets_a_suggestion() {
    let (grant, problems) = compile_one(&[("rosters", text("get")), ("message", text("outgoing"))]);
    assert_eq!(grant.message, MessageAccess::Outgoing);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].level, Level::Warn);
    assert!(problems[0].text.contains("\"roster\""), "{}", problems[0].text);
}

#[test]
fn c2_an_invalid_entity_is_no_entity() {
    for wrong in ["", "@", "a@b@c", "pubsub.capulet.lit/resource"] {
        let tree = table(&[(wrong, table(&[("roster", text("get"))]))]);
        let (matrix, problems) = compile("capulet.lit", &tree, &TestServer);
        assert!(matrix.entities().is_empty(), "{wrong:?}");
        assert_eq!(problems.len(), 1, "{wrong:?}");
    }
}

#[test]
fn a_remote_jid_is_pointed_out() {
    let tree = table(&[("bot@montague.lit", table(&[("roster", text("get"))]))]);
    let (_, problems) = compile("capulet.lit", &tree, &TestServer);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].text.contains("montague.lit"));
}

#[test]
fn c2_a_bad_namespace_grants_nothing_and_the_others_stand() {
    let iq = table(&[
        ("", text("get")),
        ("with space", text("get")),
        ("jabber:iq:last", text("get")),
    ]);
    let (grant, problems) = compile_one(&[("iq", iq)]);
    assert_eq!(grant.iq.len(), 1);
    assert_eq!(problems.len(), 2);
    let (grant, problems) = compile_one(&[("iq", table(&[("a", text("bth")), ("b", text("none"))]))]);
    assert!(grant.is_empty());
    assert_eq!(problems.len(), 1);
}

#[test]
fn c3_presence_of_contacts_needs_the_roster() {
    for (roster, expected) in [
        ("get", PresenceAccess::Roster),
        ("both", PresenceAccess::Roster),
        ("set", PresenceAccess::None),
    ] {
        let (grant, problems) = compile_one(&[("roster", text(roster)), ("presence", text("roster"))]);
        assert_eq!(grant.presence, expected, "{roster}");
        assert_eq!(
            problems.len(),
            usize::from(expected == PresenceAccess::None),
            "{roster}"
        );
    }
    let (grant, problems) = compile_one(&[("presence", text("roster"))]);
    assert!(grant.is_empty());
    assert_eq!(problems[0].level, Level::Error);
}

#[test]
fn c4_privileges_do_not_nest() {
    let iq = table(&[
        ("urn:xmpp:privilege:2", text("both")),
        ("urn:xmpp:privilege:9", text("get")),
    ]);
    let (grant, problems) = compile_one(&[("iq", iq)]);
    assert!(grant.is_empty());
    assert_eq!(problems.len(), 2);
}

#[test]
fn c5_two_spellings_of_one_jid_give_the_stricter_of_each() {
    let tree = table(&[
        (
            "Pubsub.Capulet.LIT",
            table(&[
                ("roster", text("both")),
                ("message", text("outgoing")),
                ("iq", table(&[("a", text("both")), ("b", text("get"))])),
            ]),
        ),
        (
            "pubsub.capulet.lit",
            table(&[
                ("roster", text("get")),
                ("roster_push", Value::Bool(false)),
                ("iq", table(&[("a", text("set"))])),
                ("except", list(&["admin"])),
            ]),
        ),
    ]);
    let (matrix, problems) = compile("capulet.lit", &tree, &TestServer);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].text.contains("Pubsub.Capulet.LIT"));
    assert!(problems[0].text.contains("\"pubsub.capulet.lit\""));
    let grant = matrix.grant("pubsub.capulet.lit").unwrap();
    assert_eq!((grant.roster, grant.message), (Access::Get, MessageAccess::None));
    assert!(!grant.pushes_roster());
    assert_eq!(grant.iq, [("a".to_owned(), Access::Set.into())].into());
    assert!(!grant.scope.covers("admin"));
}

#[test]
fn c5_usernames_are_normalised() {
    let (grant, problems) = compile_one(&[("roster", text("get")), ("accounts", list(&["Juliet", "ROMEO"]))]);
    assert_eq!(problems, []);
    assert!(grant.scope.covers("juliet") && grant.scope.covers("romeo") && !grant.scope.covers("nurse"));
}

#[test]
fn c7_an_empty_list_of_accounts_means_nobody() {
    let (grant, problems) = compile_one(&[("roster", text("get")), ("accounts", Value::Table(vec![]))]);
    assert_eq!(problems, []);
    assert!(!grant.scope.covers("juliet"));
}

#[test]
fn c2_lists_of_accounts_that_cannot_be_read_fail_closed() {
    for wrong in [
        text("juliet"),
        Value::Bool(true),
        table(&[("juliet", Value::Bool(true))]),
    ] {
        for option in ["accounts", "except"] {
            let (grant, problems) = compile_one(&[("roster", text("get")), (option, wrong.clone())]);
            assert!(!grant.scope.covers("juliet"), "{option} {wrong:?}");
            assert_eq!(problems.len(), 1, "{option} {wrong:?}");
        }
    }
    let names = list(&["juliet", "ad@min"]);
    let (grant, problems) = compile_one(&[("roster", text("get")), ("accounts", names.clone())]);
    assert!(grant.scope.covers("juliet") && !grant.scope.covers("ad@min"));
    assert_eq!(problems.len(), 1);
    // An exception nobody can read might have been anybody's.
    for options in [
        vec![("roster", text("get")), ("except", names.clone())],
        vec![
            ("accounts", list(&["romeo"])),
            ("roster", text("get")),
            ("except", names),
        ],
    ] {
        let (grant, problems) = compile_one(&options);
        assert!(!grant.scope.covers("romeo"));
        assert_eq!(problems.len(), 1);
    }
}

#[test]
fn r7_pushes_follow_the_roster_permission_unless_told_otherwise() {
    for (roster, push, expected, problems_expected) in [
        ("get", None, true, 0),
        ("both", None, true, 0),
        ("set", None, false, 0),
        ("none", None, false, 0),
        ("get", Some(Value::Bool(false)), false, 0),
        ("set", Some(Value::Bool(true)), false, 1),
        ("get", Some(text("yes")), false, 1),
    ] {
        let mut options = vec![("roster", text(roster)), ("message", text("outgoing"))];
        options.extend(push.clone().map(|push| ("roster_push", push)));
        let (grant, problems) = compile_one(&options);
        assert_eq!(grant.pushes_roster(), expected, "{roster} {push:?}");
        assert_eq!(problems.len(), problems_expected, "{roster} {push:?}");
    }
}

#[test]
fn a5_the_protocol_is_chosen_per_grant() {
    let (grant, problems) = compile_one(&[("roster", text("get")), ("protocol", text("1"))]);
    assert_eq!((grant.protocol, problems.len()), (Protocol::V1, 0));
    let (grant, problems) = compile_one(&[("roster", text("get")), ("protocol", Value::Number(1.0))]);
    assert_eq!((grant.protocol, problems.len()), (Protocol::V2, 1));
}

#[test]
fn a_log_line_stays_one_short_line() {
    let long = format!("a\nb{}", "x".repeat(5000));
    let (_, problems) = compile_one(&[("roster", text(&long)), (&long, text("x"))]);
    for problem in problems {
        assert!(!problem.text.contains('\n'));
        assert!(problem.text.len() < 1000, "{}", problem.text.len());
    }
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("none"),
        Just("get"),
        Just("set"),
        Just("both"),
        Just("outgoing"),
        Just("managed_entity"),
        Just("roster"),
        Just("juliet"),
        Just("1"),
        Just("2"),
        Just("pubsub.capulet.lit"),
        Just("iq"),
        Just("accounts"),
        Just("except"),
        Just("message"),
        Just("presence"),
        Just("profile"),
        Just("gateway"),
        Just("type"),
        Just("contacts"),
        Just("own"),
        Just("to"),
        Just("self"),
        Just("nodes"),
        Just("http://jabber.org/protocol/pubsub"),
    ];
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_map(Value::Number),
        words.prop_map(text),
        "\\PC{0,12}".prop_map(Value::Text),
        Just(Value::Other("function")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Table)
    })
}

proptest! {
    #[test]
    fn c2_any_configuration_compiles_and_grants_only_what_is_written(tree in any_value()) {
        let (matrix, _) = compile("capulet.lit", &tree, &TestServer);
        for entity in matrix.entities() {
            if let Some(grant) = matrix.grant(entity) {
                prop_assert!(grant.presence != PresenceAccess::Roster || grant.roster.allows_get());
                prop_assert!(grant.iq.keys().all(|ns| !ns.starts_with("urn:xmpp:privilege:")));
            }
        }
    }

    #[test]
    fn what_compiles_does_not_depend_on_the_order_of_the_table(
        (entries, shuffled) in prop::collection::vec((any_value(), any_value()), 0..6)
            .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle()))
    ) {
        let unique: BTreeSet<String> = entries.iter().map(|(key, _)| format!("{key:?}")).collect();
        prop_assume!(unique.len() == entries.len());
        let (matrix, _) = compile("capulet.lit", &Value::Table(entries), &TestServer);
        let (again, _) = compile("capulet.lit", &Value::Table(shuffled), &TestServer);
        prop_assert_eq!(matrix, again);
    }
}

#[test]
fn c2_a_typing_mistake_finds_its_option() {
    assert_eq!(nearest_option("rooster"), "roster");
    assert_eq!(nearest_option("roster-push"), "roster_push");
    assert_eq!(nearest_option("messages"), "message");
    assert_eq!(nearest_option("presense"), "presence");
    assert_eq!(nearest_option("acounts"), "accounts");
    assert_eq!(nearest_option("exclude"), "except");
}
