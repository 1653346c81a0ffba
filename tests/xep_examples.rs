//! The examples of XEP-0356, for every kind of privilege, through the public functions of the core: configure,
//! advertise, judge, plan and answer.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot build its example has to fail the test"
)]

mod common;

use common::{CrateNormaliser, ENTITY, HOST, JULIET, SENDER, TestServer};
use minidom::Element;
use privilege_native::config::{self, Value};
use privilege_native::denial::{Condition, Denial, ErrorType};
use privilege_native::item::{Item, Subscription};
use privilege_native::ledger::{Answer, Entry, Ledger};
use privilege_native::matrix::PermissionMatrix;
use privilege_native::permission::IqType;
use privilege_native::presence::{self, Occasion};
use privilege_native::request::{Permit, Request, Sender};
use privilege_native::wire::advert;
use privilege_native::wire::roster::{IqHead, RosterWriter};
use privilege_native::{iq, message, roster};

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn table(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(key, value)| (text(key), value.clone()));
    Value::Table(entries.collect())
}

/// The matrix of a host that grants the entity these options, as an administrator writes them.
fn granting(options: &[(&str, Value)]) -> PermissionMatrix {
    let (matrix, problems) = config::compile(HOST, &table(&[(ENTITY, table(options))]), &TestServer);
    assert_eq!(problems, []);
    matrix
}

fn stanza(text: &str) -> Element {
    // A stanza is in the namespace of its stream.
    let at = text.find([' ', '>']).unwrap_or_default();
    let (name, rest) = text.split_at(at);
    format!("{name} xmlns='jabber:client'{rest}")
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn advertised(matrix: &PermissionMatrix) -> Element {
    let grant = matrix.named(ENTITY).expect("it is named");
    stanza(&advert::text(grant, None, HOST, ENTITY, "12345").expect("can be written"))
}

fn is_forbidden<T: std::fmt::Debug>(result: Result<T, Denial>) {
    let denial = result.expect_err("has to be refused");
    assert_eq!(
        (denial.error_type, denial.condition),
        (ErrorType::Auth, Condition::Forbidden)
    );
}

#[test]
fn a1_a2_what_was_granted_is_advertised() {
    let matrix = granting(&[
        ("roster", text("both")),
        ("message", text("outgoing")),
        ("presence", text("managed_entity")),
        ("iq", table(&[(PUBSUB, text("both"))])),
    ]);
    assert_eq!(
        advertised(&matrix),
        stanza(
            "<message from='capulet.lit' to='pubsub.capulet.lit' id='12345'>\
             <privilege xmlns='urn:xmpp:privilege:2'>\
             <perm access='roster' type='both' push='true'/>\
             <perm access='message' type='outgoing'/>\
             <perm access='presence' type='managed_entity'/>\
             <perm access='iq'><namespace ns='http://jabber.org/protocol/pubsub' type='both'/></perm>\
             </privilege></message>"
        )
    );
}

#[test]
fn a1_nothing_granted_is_told_as_none() {
    for options in [
        vec![],
        vec![
            ("roster", text("none")),
            ("message", text("none")),
            ("presence", text("none")),
        ],
        vec![("iq", table(&[(PUBSUB, text("none"))]))],
    ] {
        let matrix = granting(&options);
        assert_eq!(matrix.grant(ENTITY), None);
        assert_eq!(
            advertised(&matrix),
            stanza(
                "<message from='capulet.lit' to='pubsub.capulet.lit' id='12345'>\
                 <privilege xmlns='urn:xmpp:privilege:2'>\
                 <perm access='roster' type='none'/><perm access='message' type='none'/>\
                 <perm access='presence' type='none'/></privilege></message>"
            )
        );
    }
}

fn request<T>(sender: Sender<'_>, stanza: T) -> Request<'_, T> {
    Request {
        sender,
        stanza,
        normaliser: &CrateNormaliser,
    }
}

// Roster

/// Judges a roster request. Returns the username of the account that has to exist.
fn may_ask(
    matrix: &PermissionMatrix,
    sender: Sender<'_>,
    to: &str,
    kind: IqType,
) -> Result<Option<String>, Denial> {
    let stanza = stanza(&format!("<iq id='x' to='{to}' type='{}'/>", kind.as_str()));
    roster::judge(matrix, &request(sender, &stanza)).map(|permit| permit.username)
}

#[test]
fn r1_the_entity_asks_for_a_roster_and_gets_it() {
    let matrix = granting(&[("roster", text("get"))]);
    let request = stanza(
        "<iq id='roster1' from='pubsub.capulet.lit' to='juliet@capulet.lit' type='get'><query xmlns='jabber:iq:roster'/></iq>",
    );
    let (to, kind) = (
        request.attr("to").unwrap(),
        IqType::parse(request.attr("type").unwrap()).unwrap(),
    );
    assert_eq!(may_ask(&matrix, SENDER, to, kind), Ok(Some("juliet".to_owned())));

    let head = IqHead {
        kind: "result",
        from: to,
        to: ENTITY,
        id: request.attr("id").unwrap(),
    };
    let mut writer = RosterWriter::new(&head, None, 0);
    writer.whole(
        "romeo@montague.lit",
        Some(&Item {
            subscription: Subscription::Both,
            name: Some("Romeo".into()),
            groups: ["Friends".to_owned()].into(),
            ..Item::default()
        }),
    );
    assert_eq!(
        stanza(&writer.finish()),
        stanza(
            "<iq id='roster1' from='juliet@capulet.lit' to='pubsub.capulet.lit' type='result'>\
             <query xmlns='jabber:iq:roster'>\
             <item jid='romeo@montague.lit' name='Romeo' subscription='both'><group>Friends</group></item>\
             </query></iq>"
        )
    );
}

#[test]
fn r2_the_entity_adds_an_item_and_removes_it() {
    let matrix = granting(&[("roster", text("both"))]);
    assert_eq!(
        may_ask(&matrix, SENDER, JULIET, IqType::Set),
        Ok(Some("juliet".to_owned()))
    );
    let planned = |set: &str, now: Option<Item>| {
        let request = stanza(set);
        let query = request.get_child("query", "jabber:iq:roster").unwrap();
        let edits = roster::read_set(&query, JULIET, &CrateNormaliser).unwrap();
        roster::plan(edits, |_| now.clone().map(roster::Current::from)).unwrap()
    };
    let added = planned(
        "<iq id='roster2' from='pubsub.capulet.lit' to='juliet@capulet.lit' type='set'><query xmlns='jabber:iq:roster'>\
         <item jid='nurse@capulet.lit' name='Nurse' subscription='both'><group>Servants</group></item></query></iq>",
        None,
    );
    let item = added[0].item.clone().unwrap();
    assert_eq!((added.len(), added[0].jid.as_str()), (1, "nurse@capulet.lit"));
    assert_eq!(
        (item.subscription, item.name.as_deref()),
        (Subscription::Both, Some("Nurse"))
    );
    assert_eq!(item.groups, ["Servants".to_owned()].into());
    let removed = planned(
        "<iq id='roster3' from='pubsub.capulet.lit' to='juliet@capulet.lit' type='set'><query xmlns='jabber:iq:roster'>\
         <item jid='nurse@capulet.lit' subscription='remove'/></query></iq>",
        Some(item),
    );
    assert_eq!((removed.len(), removed[0].item.clone()), (1, None));
}

#[test]
fn r4_r6_a_roster_that_is_not_granted_is_forbidden() {
    for (option, kind) in [("get", IqType::Set), ("set", IqType::Get), ("none", IqType::Get)] {
        is_forbidden(may_ask(
            &granting(&[("roster", text(option))]),
            SENDER,
            JULIET,
            kind,
        ));
    }
    let stranger = Sender {
        host: "stranger.lit",
        from: "stranger.lit",
        ..SENDER
    };
    is_forbidden(may_ask(
        &granting(&[("roster", text("both"))]),
        stranger,
        JULIET,
        IqType::Get,
    ));
}

#[test]
fn r7_a_change_is_pushed_from_the_account() {
    let head = IqHead {
        kind: "set",
        from: JULIET,
        to: ENTITY,
        id: "push1",
    };
    let mut writer = RosterWriter::new(&head, None, 0);
    writer.whole("romeo@montague.lit", None);
    assert_eq!(
        stanza(&writer.finish()),
        stanza(
            "<iq id='push1' from='juliet@capulet.lit' to='pubsub.capulet.lit' type='set'>\
             <query xmlns='jabber:iq:roster'><item jid='romeo@montague.lit' subscription='remove'/></query></iq>"
        )
    );
    let pushes = |options: &[(&str, Value)]| granting(options).grant(ENTITY).unwrap().pushes_roster();
    assert!(pushes(&[("roster", text("both"))]));
    assert!(!pushes(&[
        ("roster", text("both")),
        ("roster_push", Value::Bool(false))
    ]));
    assert!(!pushes(&[("roster", text("set"))]));
}

// Messages

const NOTIFICATION: &str = "<message from='pubsub.capulet.lit' to='capulet.lit' id='54321'>\
    <privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
    <message from='juliet@capulet.lit' id='foo' to='romeo@montague.lit/orchard' xmlns='jabber:client'>\
    <event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/nick'>\
    <item id='current'><nick xmlns='http://jabber.org/protocol/nick'>Juliet</nick></item></items></event>\
    </message></forwarded></privilege></message>";

#[test]
fn m1_m5_a_message_in_the_name_of_an_account() {
    let matrix = granting(&[("message", text("outgoing"))]);
    for xml in [
        NOTIFICATION.to_owned(),
        NOTIFICATION.replace("privilege:2", "privilege:1"),
    ] {
        let outer = stanza(&xml);
        let permit = message::judge(&matrix, &request(SENDER, &outer)).unwrap();
        let inner = permit.stanza.unwrap();
        assert_eq!(
            permit.without_stanza(),
            Permit {
                stanza: None,
                account: JULIET.to_owned(),
                to: Some("romeo@montague.lit/orchard".to_owned()),
                username: Some("juliet".to_owned()),
                unless_administrator_of: None,
                unread_blocklist: None,
                inner_id: None,
                delay: None,
            }
        );
        // The payload is the one that came in.
        assert!(inner.has_child("event", "http://jabber.org/protocol/pubsub#event"));
    }
}

#[test]
fn m3_a_message_in_the_name_of_the_server() {
    let matrix = granting(&[("message", text("outgoing"))]);
    let outer = stanza(&NOTIFICATION.replace(JULIET, HOST));
    let permit = message::judge(&matrix, &request(SENDER, &outer)).unwrap();
    assert_eq!((permit.account.as_str(), permit.username), (HOST, None));
}

#[test]
fn m2_m7_a_message_that_is_not_granted_is_forbidden() {
    let judge = |matrix: &PermissionMatrix, xml: &str| {
        message::judge(matrix, &request(SENDER, &stanza(xml))).map(Permit::without_stanza)
    };
    is_forbidden(judge(&granting(&[("message", text("none"))]), NOTIFICATION));
    is_forbidden(judge(&granting(&[("roster", text("both"))]), NOTIFICATION));
    let matrix = granting(&[("message", text("outgoing"))]);
    for other in ["romeo@montague.lit", "juliet@capulet.lit/balcony", "montague.lit"] {
        is_forbidden(judge(&matrix, &NOTIFICATION.replace(JULIET, other)));
    }
}

// IQs

const INNER: &str = "<iq xmlns='jabber:client' from='juliet@capulet.lit' to='juliet@capulet.lit' type='set' id='publish1'>\
    <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/nick'>\
    <item id='current'><nick xmlns='http://jabber.org/protocol/nick'>Juliet</nick></item></publish></pubsub></iq>";

fn privileged_iq(kind: &str, inner: &str) -> Element {
    stanza(&format!(
        "<iq from='pubsub.capulet.lit' to='juliet@capulet.lit' type='{kind}' id='priv1'>\
         <privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq></iq>"
    ))
}

fn judged(matrix: &PermissionMatrix, kind: &str, inner: &str) -> Result<Permit<()>, Denial> {
    let outer = privileged_iq(kind, inner);
    iq::judge(matrix, &request(SENDER, &outer)).map(Permit::without_stanza)
}

#[test]
fn q3_q4_an_iq_in_the_name_of_an_account_and_its_answer() {
    let matrix = granting(&[("iq", table(&[(PUBSUB, text("set"))]))]);
    let permit = judged(&matrix, "set", INNER).unwrap();
    assert_eq!(
        permit,
        Permit {
            stanza: None,
            username: Some("juliet".to_owned()),
            account: JULIET.to_owned(),
            to: Some(JULIET.to_owned()),
            inner_id: Some("publish1".to_owned()),
            delay: None,
            unless_administrator_of: None,
            unread_blocklist: None,
        }
    );
    // The IQ leaves under an id of ours; its answer goes back under the ids of the entity.
    let mut ledger = Ledger::new("prefix-");
    let entry = Entry {
        entity: ENTITY.to_owned(),
        reply_to: ENTITY.to_owned(),
        outer_id: "priv1".to_owned(),
        inner_id: permit.inner_id.unwrap(),
        account: permit.account,
        to: permit.to,
    };
    let id = ledger.open(0, entry.clone()).unwrap();
    assert_ne!(id, "publish1");
    assert_eq!(ledger.answer("publish1", Some(JULIET), JULIET), Answer::NotOurs);
    assert_eq!(
        ledger.answer(&id, Some("romeo@montague.lit"), JULIET),
        Answer::Stray
    );
    assert_eq!(
        ledger.answer(&id, Some(JULIET), JULIET),
        Answer::To(Box::new(entry))
    );
    assert_eq!(ledger.answer(&id, Some(JULIET), JULIET), Answer::Stray);
}

#[test]
fn q1_an_iq_that_breaks_a_rule_of_the_xep_is_forbidden() {
    let granted = granting(&[(
        "iq",
        table(&[(PUBSUB, text("set")), ("jabber:iq:last", text("get"))]),
    )]);
    assert!(judged(&granted, "set", INNER).is_ok());
    // IQs are not granted at all; not of this type; not in this namespace.
    is_forbidden(judged(&granting(&[("roster", text("both"))]), "set", INNER));
    is_forbidden(judged(
        &granting(&[("iq", table(&[(PUBSUB, text("get"))]))]),
        "set",
        INNER,
    ));
    is_forbidden(judged(
        &granted,
        "set",
        &INNER.replace(
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'",
            "<pubsub xmlns='y'",
        ),
    ));
    // The types differ; the sender is another account; the namespace of the inner IQ is wrong.
    is_forbidden(judged(&granted, "get", INNER));
    is_forbidden(judged(
        &granted,
        "set",
        &INNER.replace("from='juliet@", "from='romeo@"),
    ));
    is_forbidden(judged(
        &granted,
        "set",
        &INNER.replace("jabber:client", "jabber:server"),
    ));
    // In the namespace of XEP-0356 nothing can be granted (C4).
    let options = table(&[(
        ENTITY,
        table(&[("iq", table(&[("urn:xmpp:privilege:2", text("both"))]))]),
    )]);
    let (matrix, problems) = config::compile(HOST, &options, &TestServer);
    assert_eq!((problems.len(), matrix.grant(ENTITY)), (1, None));
}

#[test]
fn q2_an_iq_of_the_wrong_shape_is_a_bad_request() {
    let granted = granting(&[("iq", table(&[(PUBSUB, text("set"))]))]);
    for wrong in [
        "",
        &INNER.repeat(2),
        &INNER.replace("id='publish1'", ""),
        "<iq xmlns='jabber:client' type='set' id='i'/>",
    ] {
        let denial = judged(&granted, "set", wrong).unwrap_err();
        assert_eq!(
            (denial.error_type, denial.condition),
            (ErrorType::Modify, Condition::BadRequest),
            "{wrong}"
        );
    }
}

// Presence

#[test]
fn p1_p3_whose_presence_may_be_seen() {
    let sees = |options: &[(&str, Value)], occasion, from: &str| {
        let matrix = granting(options);
        matrix
            .grant(ENTITY)
            .is_some_and(|grant| presence::may_see(&matrix, ENTITY, grant, occasion, "juliet", from))
    };
    let (account, contact) = ("juliet@capulet.lit/balcony", "romeo@montague.lit/orchard");
    let managed = [("presence", text("managed_entity"))];
    assert!(sees(&managed, Occasion::Account, account));
    assert!(!sees(&managed, Occasion::Contact, contact));
    let rosters = [("presence", text("roster")), ("roster", text("get"))];
    assert!(sees(&rosters, Occasion::Account, account));
    assert!(sees(&rosters, Occasion::Contact, contact));
    assert!(!sees(&[("roster", text("both"))], Occasion::Account, account));

    // The presence of contacts cannot be granted without access to the roster (C3).
    let options = table(&[(ENTITY, table(&[("presence", text("roster"))]))]);
    let (matrix, problems) = config::compile(HOST, &options, &TestServer);
    assert_eq!((problems.len(), matrix.grant(ENTITY)), (1, None));
}
