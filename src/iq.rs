//! The judgement over a privileged IQ (Q1, Q2, C4, M8, N1, G3, G7).

use crate::address::{self, Address};
use crate::administration::Domain;
use crate::blocklists::Reach;
use crate::denial::Denial;
use crate::element::Element;
use crate::envelope;
use crate::forgery;
use crate::matrix::PermissionMatrix;
use crate::narrow;
use crate::nodes;
use crate::ns;
use crate::permission::IqType;
use crate::request::{Permit, Request};

/// Judges an IQ request that carries a `<privileged_iq/>`.
///
/// Returns the permit with the inner IQ in it. Only the server can check the conditions of a permit. If the account
/// does not exist, the answer is [`no_account`].
pub fn judge<T: Element>(matrix: &PermissionMatrix, request: &Request<'_, T>) -> Result<Permit<T>, Denial> {
    let host = matrix.host();
    let missing = || {
        Denial::forbidden(
            "Q1",
            format!("{host} does not grant you to send IQs in the name of its accounts (iq = {{ ... }})"),
        )
    };
    let grant = request.grant(matrix, |grant| !grant.iq.is_empty(), missing)?;
    let account = request.account(matrix, grant, || no_account(host))?;
    let (envelope, inner) = envelope::read_iq(&request.stanza)?;
    if envelope.namespace != ns::CLIENT {
        return Err(Denial::forbidden(
            "Q1",
            "the inner <iq/> has to be in the namespace jabber:client",
        ));
    }
    let kind = request
        .kind()
        .filter(|kind| envelope.kind.as_deref() == Some(kind.as_str()))
        .ok_or_else(|| {
            Denial::forbidden(
                "Q1",
                "the inner and the outer <iq/> have to be of the same type, get or set",
            )
        })?;
    let Some(allowed) = grant.allows_iq(&envelope.payload_namespace, kind) else {
        return Err(Denial::forbidden(
            "Q1",
            format!(
                "{host} does not grant you IQs of type {} with a payload in the namespace {}",
                kind.as_str(),
                shortened(&envelope.payload_namespace)
            ),
        ));
    };
    if let Some(from) = &envelope.from
        && Address::normalise(from, request.normaliser).as_ref() != Some(&account.jid)
    {
        return Err(Denial::forbidden(
            "Q1",
            "the \"from\" of the inner <iq/> has to be the \"to\" of the outer one, or absent",
        ));
    }
    let to = address::recipient(envelope.to, request.normaliser, "Q3")?;
    let own = account.jid.as_str();
    let addressed = to.as_deref().unwrap_or(own);
    let entity = request.sender.entity().unwrap_or_default();
    if !allowed.to.include(entity, own, addressed) {
        return Err(narrow::not_recipient(
            host,
            &shortened(&envelope.payload_namespace),
        ));
    }
    let payload = inner.child(0).ok_or_else(envelope::no_payload)?;
    check_never_sent(&payload)?;
    if let Some(nodes) = &allowed.nodes {
        nodes::check(&payload, kind, nodes, host)?;
    }
    forgery::check_iq(&envelope.payload_namespace, kind, own, to.as_deref())?;
    let unless_administrator_of = administered(&envelope.payload_namespace, kind, addressed);
    Ok(Permit {
        stanza: Some(inner),
        unless_administrator_of,
        to,
        inner_id: Some(envelope.id),
        ..Permit::for_account(account)
    })
}

/// Refuses a request by which an entity would undo what stops it: `auth/forbidden` (G7).
///
/// That is any request about a blocklist, and the command in which users block the services that may act for them.
fn check_never_sent<T: Element>(payload: &T) -> Result<(), Denial> {
    let is_command = payload.namespace() == ns::COMMANDS
        && payload.attribute("node").as_deref() == Some(ns::SERVICES_COMMAND);
    if is_command || payload.namespace() == ns::BLOCKING {
        return Err(Denial::forbidden(
            "G7",
            "no entity may see or change in the name of an account what the account has blocked",
        ));
    }
    Ok(())
}

/// Returns the part of the server that an account must not administer if it is to send this payload (N1).
///
/// A command administers the host that it is addressed to. A new password hands over everything that the account may
/// do, on every host. An administrator of a service owns all its rooms and nodes. The nodes of an account are its
/// own, so they are not covered here. `addressed` is the recipient.
fn administered(namespace: &str, kind: IqType, addressed: &str) -> Option<Domain> {
    let host = || Some(Domain::Host(address::domain(addressed).to_owned()));
    match (namespace, kind) {
        (ns::COMMANDS | ns::MUC_OWNER | ns::MUC_ADMIN, _) => host(),
        (ns::PUBSUB_OWNER, _) if !address::bare(addressed).contains('@') => host(),
        (ns::REGISTER, IqType::Set) => Some(Domain::Any),
        _ => None,
    }
}

/// Whether the entity is granted any IQs on behalf of the account with the bare JID `account`. Requests in flight are
/// given up when that has ended (C6).
pub fn is_granted(matrix: &PermissionMatrix, entity: &str, account: &str) -> bool {
    matrix.grant(entity).is_some_and(|grant| {
        let username = account.split_once('@').map(|(username, _)| username);
        let reach = username.map(|username| matrix.reach(entity, grant, username));
        !grant.iq.is_empty() && reach.is_some_and(|reach| reach != Reach::Outside)
    })
}

/// Refuses an IQ whose outer `to` is not an account that the entity may speak for: `auth/forbidden` (Q1).
pub fn no_account(host: &str) -> Denial {
    Denial::forbidden(
        "Q1",
        format!(
            "a <privileged_iq/> has to be sent to the bare JID of an account of {host} that you are granted"
        ),
    )
}

/// The answer if the server failed to send a permitted IQ: `wait/internal-server-error` (Q7).
pub fn failed() -> Denial {
    Denial::failed("Q7", "the server failed to handle this IQ")
}

/// Returns the first 100 characters.
fn shortened(namespace: &str) -> String {
    namespace.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CrateNormaliser;
    use crate::denial::{Condition, ErrorType};
    use crate::matrix::{Grant, Scope};
    use crate::permission::Access;
    use crate::request::{Sender, Session};
    use minidom::Element as Xml;

    const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

    const SENDER: Sender<'static> = Sender {
        session: Session::Component,
        host: "pubsub.capulet.lit",
        from: "pubsub.capulet.lit",
        acting: false,
    };

    fn grant() -> Grant {
        Grant {
            iq: [(PUBSUB.to_owned(), Access::Set.into())].into(),
            ..Grant::default()
        }
    }

    fn judged(grant: Grant, to: &str, kind: &str, inner: &str) -> Result<Permit<()>, Denial> {
        let mut matrix = PermissionMatrix::new("capulet.lit");
        matrix.insert("pubsub.capulet.lit".into(), grant);
        let stanza: Xml = format!(
            "<iq xmlns='jabber:client' id='o' to='{to}' type='{kind}'><privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq></iq>"
        )
        .parse()
        .unwrap();
        let request = Request {
            sender: SENDER,
            stanza: &stanza,
            normaliser: &CrateNormaliser,
        };
        judge(&matrix, &request).map(Permit::without_stanza)
    }

    fn inner(attributes: &str) -> String {
        format!("<iq xmlns='jabber:client' id='i' {attributes}><pubsub xmlns='{PUBSUB}'/></iq>")
    }

    #[test]
    fn q3_the_recipient_may_be_anybody_or_absent() {
        let permit = judged(grant(), "juliet@capulet.lit", "set", &inner("type='set'")).unwrap();
        assert_eq!((permit.username.as_deref(), permit.to), (Some("juliet"), None));
        let permit = judged(
            grant(),
            "juliet@capulet.lit",
            "set",
            &inner("type='set' from='JULIET@capulet.lit' to='Pubsub.Montague.LIT'"),
        )
        .unwrap();
        assert_eq!(permit.to.as_deref(), Some("pubsub.montague.lit"));
        assert_eq!(permit.account, "juliet@capulet.lit");
    }

    #[test]
    fn q1_every_broken_rule_is_forbidden_and_named() {
        let good = inner("type='set'");
        for (to, kind, inner, part) in [
            ("juliet@capulet.lit/balcony", "set", good.clone(), "bare JID"),
            ("capulet.lit", "set", good.clone(), "bare JID"),
            ("romeo@montague.lit", "set", good.clone(), "bare JID"),
            ("juliet@capulet.lit", "get", inner("type='get'"), "type get"),
            (
                "juliet@capulet.lit",
                "set",
                good.replace(PUBSUB, "jabber:iq:last"),
                "jabber:iq:last",
            ),
            (
                "juliet@capulet.lit",
                "set",
                good.replace("jabber:client", "jabber:server"),
                "jabber:client",
            ),
            ("juliet@capulet.lit", "set", inner("type='get'"), "same type"),
            (
                "juliet@capulet.lit",
                "result",
                inner("type='result'"),
                "same type",
            ),
            ("juliet@capulet.lit", "set", inner(""), "same type"),
            (
                "juliet@capulet.lit",
                "set",
                inner("type='set' from='romeo@capulet.lit'"),
                "\"from\"",
            ),
            (
                "juliet@capulet.lit",
                "set",
                inner("type='set' from='juliet@capulet.lit/x'"),
                "\"from\"",
            ),
            (
                "juliet@capulet.lit",
                "set",
                inner("type='set' from=''"),
                "\"from\"",
            ),
        ] {
            let denial = judged(grant(), to, kind, &inner).unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::Forbidden, "Q1"),
                "{to} {kind} {inner}"
            );
            assert!(denial.text.contains(part), "{part}: {}", denial.text);
        }
    }

    #[test]
    fn c7_out_of_scope_is_as_if_nothing_had_been_granted() {
        let grant = Grant {
            scope: Scope::nobody(),
            ..grant()
        };
        let denial = judged(grant, "juliet@capulet.lit", "set", &inner("type='set'")).unwrap_err();
        assert_eq!(denial, no_account("capulet.lit"));
        let denial = judged(
            Grant::default(),
            "juliet@capulet.lit",
            "set",
            &inner("type='set'"),
        )
        .unwrap_err();
        assert_eq!(denial.condition, Condition::Forbidden);
    }

    #[test]
    fn q2_a_wrong_shape_is_a_bad_request() {
        let denial = judged(grant(), "juliet@capulet.lit", "set", "").unwrap_err();
        assert_eq!((denial.condition, denial.rule), (Condition::BadRequest, "Q2"));
    }

    #[test]
    fn q3_a_recipient_that_is_not_a_jid_is_refused() {
        let denial = judged(grant(), "juliet@capulet.lit", "set", &inner("type='set' to='@'")).unwrap_err();
        assert_eq!(denial.condition, Condition::JidMalformed);
    }

    #[test]
    fn c4_a_privileged_iq_does_not_nest() {
        let nested = inner("type='set'").replace(
            &format!("<pubsub xmlns='{PUBSUB}'/>"),
            &format!("<privileged_iq xmlns='{}'/>", ns::PRIVILEGE),
        );
        let denial = judged(grant(), "juliet@capulet.lit", "set", &nested).unwrap_err();
        assert_eq!((denial.condition, denial.rule), (Condition::Forbidden, "Q1"));
    }

    #[test]
    fn q4_the_permit_keeps_the_inner_id_for_the_answer() {
        let permit = judged(grant(), "juliet@capulet.lit", "set", &inner("type='set'")).unwrap();
        assert_eq!(permit.inner_id.as_deref(), Some("i"));
    }

    #[test]
    fn q7_a_failure_of_the_server_may_be_tried_again() {
        for denial in [failed(), crate::message::failed(), crate::ledger::unrelayable()] {
            assert_eq!(
                (denial.error_type, denial.condition, denial.rule),
                (ErrorType::Wait, Condition::InternalServerError, "Q7")
            );
        }
    }

    #[test]
    fn m8_a_roster_push_is_the_servers() {
        let grant = Grant {
            iq: [(ns::ROSTER.to_owned(), Access::Both.into())].into(),
            ..Grant::default()
        };
        let set = |to: &str| {
            let payload = inner(&format!("type='set'{to}")).replace(PUBSUB, ns::ROSTER);
            judged(grant.clone(), "juliet@capulet.lit", "set", &payload)
        };
        let denial = set(" to='Juliet@capulet.lit/x'").unwrap_err();
        assert_eq!((denial.condition, denial.rule), (Condition::NotAcceptable, "M8"));
        set("").unwrap();
        set(" to='juliet@capulet.lit'").unwrap();
        set(" to='nurse@capulet.lit/x'").unwrap();
    }

    #[test]
    fn c6_an_iq_in_flight_needs_a_grant_that_goes_on() {
        let with = |grant: Grant| {
            let mut matrix = PermissionMatrix::new("capulet.lit");
            matrix.insert("pubsub.capulet.lit".into(), grant);
            matrix
        };
        let is = |matrix: &PermissionMatrix, entity| is_granted(matrix, entity, "juliet@capulet.lit");
        assert!(is(&with(grant()), "pubsub.capulet.lit"));
        assert!(!is(&with(grant()), "gateway.capulet.lit"));
        assert!(!is(&with(Grant::default()), "pubsub.capulet.lit"));
        let nobody = Grant {
            scope: Scope::nobody(),
            ..grant()
        };
        assert!(!is(&with(nobody), "pubsub.capulet.lit"));
    }

    #[test]
    fn n1_what_the_account_must_not_administer_comes_with_the_permit() {
        let grant = Grant {
            iq: [
                ns::COMMANDS,
                ns::REGISTER,
                ns::MUC_OWNER,
                ns::MUC_ADMIN,
                ns::PUBSUB_OWNER,
                PUBSUB,
            ]
            .map(|namespace| (namespace.to_owned(), Access::Both.into()))
            .into(),
            ..Grant::default()
        };
        let host = |host: &str| Some(Domain::Host(host.to_owned()));
        for (namespace, kind, to, expected) in [
            (ns::COMMANDS, "set", "", host("capulet.lit")),
            (ns::COMMANDS, "get", "to='montague.lit'", host("montague.lit")),
            (
                ns::COMMANDS,
                "set",
                "to='romeo@Montague.LIT/x'",
                host("montague.lit"),
            ),
            (ns::REGISTER, "set", "", Some(Domain::Any)),
            (ns::REGISTER, "set", "to='capulet.lit'", Some(Domain::Any)),
            (ns::REGISTER, "set", "to='gateway.lit'", Some(Domain::Any)),
            // A get only tells that the account exists.
            (ns::REGISTER, "get", "", None),
            (PUBSUB, "set", "to='capulet.lit'", None),
            (
                ns::MUC_OWNER,
                "set",
                "to='r@rooms.capulet.lit'",
                host("rooms.capulet.lit"),
            ),
            (
                ns::MUC_ADMIN,
                "get",
                "to='r@rooms.capulet.lit'",
                host("rooms.capulet.lit"),
            ),
            (
                ns::PUBSUB_OWNER,
                "set",
                "to='news.capulet.lit'",
                host("news.capulet.lit"),
            ),
            // The nodes of an account are its own.
            (ns::PUBSUB_OWNER, "set", "", None),
            (ns::PUBSUB_OWNER, "set", "to='juliet@capulet.lit'", None),
        ] {
            let payload = inner(&format!("type='{kind}' {to}")).replace(PUBSUB, namespace);
            let permit = judged(grant.clone(), "juliet@capulet.lit", kind, &payload).unwrap();
            assert_eq!(
                permit.unless_administrator_of, expected,
                "{namespace} {kind} {to}"
            );
        }
    }
}
