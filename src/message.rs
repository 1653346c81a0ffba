//! The judgement over a privileged message (M2, M4 to M8, N1, G2).

use crate::address::{self, Address};
use crate::administration::Domain;
use crate::blocklists::Reach;
use crate::denial::Denial;
use crate::element::Element;
use crate::envelope;
use crate::forgery;
use crate::matrix::PermissionMatrix;
use crate::narrow;
use crate::permission::MessageAccess;
use crate::request::{Permit, Request};

/// Judges a message that was addressed to the granting host and carries a privileged wrapper.
///
/// Returns the permit with the forwarded message in it. Only the server can check the conditions of a permit. If the
/// account does not exist, the answer is [`no_account`].
pub fn judge<T: Element>(matrix: &PermissionMatrix, request: &Request<'_, T>) -> Result<Permit<T>, Denial> {
    let host = matrix.host();
    let missing = || {
        Denial::forbidden(
            "M7",
            format!("{host} does not grant you to send messages (message = \"outgoing\")"),
        )
    };
    let grant = request.grant(matrix, |grant| grant.message != MessageAccess::None, missing)?;
    let forwarded = envelope::read_message(&request.stanza)?;
    let inner = forwarded.message;
    let from = forwarded
        .from
        .and_then(|from| Address::normalise(&from, request.normaliser))
        .filter(|from| from.is_bare() && from.domain() == host)
        .ok_or_else(|| no_account(host))?;
    let username = from.node().map(str::to_owned);
    let entity = request.sender.entity().unwrap_or_default();
    let mut unread_blocklist = None;
    let mut check = |username: &str, reach: Reach| match reach {
        Reach::Inside => Ok(()),
        Reach::Outside => Err(no_account(host)),
        Reach::Unknown => {
            unread_blocklist = Some(username.to_owned());
            Ok(())
        }
    };
    if let Some(username) = &username {
        check(username, matrix.reach(entity, grant, username))?;
    }
    let to = address::recipient(forwarded.to, request.normaliser, "M5")?;
    if username.is_none() {
        // The host itself does not write either to an account that has blocked the entity (G5).
        let recipient = to.as_deref().filter(|to| address::domain(to) == host);
        if let Some((username, _)) = recipient.and_then(|to| address::bare(to).split_once('@')) {
            check(username, matrix.blocklists.reach(entity, username))?;
        }
    }
    if to.is_none() && username.is_none() {
        return Err(Denial::bad_request(
            "M3",
            format!("a message from {host} itself needs a \"to\""),
        ));
    }
    let is_to_self = to.as_deref().is_none_or(|to| address::bare(to) == from.as_str());
    let own_domain = request.sender.own_domain();
    if grant.message == MessageAccess::Own && !(is_to_self && username.is_some()) {
        let is_own = |to: &String| own_domain.is_some_and(|domain| narrow::is_own(domain, to));
        if !to.as_ref().is_some_and(is_own) {
            return Err(narrow::not_own_recipient(host, username.is_none()));
        }
    }
    let sends_events = grant.sends_events();
    if !sends_events {
        forgery::check_events(&inner)?;
    }
    if username.is_none() {
        forgery::check_message_of_host(&inner)?;
    } else if is_to_self {
        forgery::check_message_to_self(
            &inner,
            from.as_str(),
            own_domain,
            !sends_events,
            request.normaliser,
        )?;
    }
    let unless_administrator_of = username.as_ref().and(to.as_deref()).and_then(host_addressed);
    Ok(Permit {
        stanza: Some(inner),
        account: from.into_string(),
        to,
        username,
        unless_administrator_of,
        unread_blocklist,
        inner_id: None,
        delay: forwarded.delay,
    })
}

/// Returns the host that a message is addressed to. Such a message may administer it, as one to
/// `host/announce/online` does (N1).
fn host_addressed(to: &str) -> Option<Domain> {
    let bare = address::bare(to);
    (!bare.contains('@')).then(|| Domain::Host(bare.to_owned()))
}

/// The answer if the server failed to send a permitted message: `wait/internal-server-error` (Q7).
pub fn failed() -> Denial {
    Denial::failed("Q7", "the server failed to send this message")
}

/// Refuses a message whose inner `from` is not an account that the entity may speak for: `auth/forbidden` (M2).
pub fn no_account(host: &str) -> Denial {
    Denial::forbidden(
        "M2",
        format!(
            "the \"from\" of the forwarded message has to be the bare JID of an account of {host} that you are granted, or {host} itself"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CrateNormaliser;
    use crate::denial::Condition;
    use crate::matrix::{Grant, Scope};
    use crate::request::{Sender, Session};
    use minidom::Element as Xml;

    fn matrix(grant: Grant) -> PermissionMatrix {
        let mut matrix = PermissionMatrix::new("capulet.lit");
        matrix.insert("pubsub.capulet.lit".into(), grant);
        matrix
    }

    fn outgoing() -> Grant {
        Grant {
            message: MessageAccess::Outgoing,
            ..Grant::default()
        }
    }

    fn wrap(inner: &str) -> Xml {
        format!("<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege></message>").parse().unwrap()
    }

    const SENDER: Sender<'static> = Sender {
        session: Session::Component,
        host: "pubsub.capulet.lit",
        from: "pubsub.capulet.lit",
        acting: false,
    };

    fn judged(matrix: &PermissionMatrix, sender: Sender<'_>, stanza: &Xml) -> Result<Permit<()>, Denial> {
        let request = Request {
            sender,
            stanza,
            normaliser: &CrateNormaliser,
        };
        judge(matrix, &request).map(Permit::without_stanza)
    }

    fn judge_from(grant: Grant, from: &str, to: &str) -> Result<Permit<()>, Denial> {
        let stanza = wrap(&format!(
            "<message xmlns='jabber:client' from='{from}' to='{to}'/>"
        ));
        judged(&matrix(grant), SENDER, &stanza)
    }

    #[test]
    fn m5_the_judged_addresses_are_the_normalised_ones() {
        let permit = judge_from(outgoing(), "Juliet@CAPULET.lit", "Romeo@Montague.LIT/Orchard").unwrap();
        assert_eq!(permit.account, "juliet@capulet.lit");
        assert_eq!(permit.username.as_deref(), Some("juliet"));
        assert_eq!(permit.to.as_deref(), Some("romeo@montague.lit/Orchard"));
    }

    #[test]
    fn m2_only_bare_jids_of_the_granting_host() {
        for wrong in [
            "juliet@capulet.lit/balcony",
            "romeo@montague.lit",
            "pubsub.capulet.lit",
            "capulet.lit/x",
            "@capulet.lit",
            "",
        ] {
            let denial = judge_from(outgoing(), wrong, "romeo@montague.lit").unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::Forbidden, "M2"),
                "{wrong}"
            );
        }
        let stanza = wrap("<message xmlns='jabber:client' to='romeo@montague.lit'/>");
        let denial = judged(&matrix(outgoing()), SENDER, &stanza).unwrap_err();
        assert_eq!(denial.rule, "M2");
    }

    #[test]
    fn m3_the_host_itself_is_not_an_account() {
        let permit = judge_from(outgoing(), "capulet.lit", "juliet@capulet.lit").unwrap();
        assert_eq!((permit.account.as_str(), permit.username), ("capulet.lit", None));
    }

    fn judge_inner(from: &str, to: &str, content: &str) -> Result<Permit<()>, Denial> {
        let stanza = wrap(&format!(
            "<message xmlns='jabber:client' from='{from}'{to}>{content}</message>"
        ));
        judged(&matrix(outgoing()), SENDER, &stanza)
    }

    #[test]
    fn n1_a_message_to_a_host_is_not_for_those_who_administer_it() {
        for (to, host) in [
            ("capulet.lit", "capulet.lit"),
            ("Montague.LIT/announce/online", "montague.lit"),
            ("capulet.lit/x@y", "capulet.lit"),
        ] {
            let permit = judge_from(outgoing(), "juliet@capulet.lit", to).unwrap();
            assert_eq!(
                permit.unless_administrator_of,
                Some(Domain::Host(host.to_owned())),
                "{to}"
            );
        }
        for (from, to) in [
            ("juliet@capulet.lit", "romeo@montague.lit"),
            ("juliet@capulet.lit", "romeo@montague.lit/x"),
            // The host itself administers nothing: the server takes no orders from it.
            ("capulet.lit", "capulet.lit"),
            ("capulet.lit", "montague.lit/announce/online"),
        ] {
            assert_eq!(
                judge_from(outgoing(), from, to).unwrap().unless_administrator_of,
                None,
                "{to}"
            );
        }
        let permit = judge_inner("juliet@capulet.lit", "", "<body/>").unwrap();
        assert_eq!(permit.unless_administrator_of, None);
    }

    #[test]
    fn m8_forgeries_are_refused_where_they_would_be_believed() {
        let advertised = "<privilege xmlns='urn:xmpp:privilege:2'><perm access='iq'/></privilege>";
        let archived = "<result xmlns='urn:xmpp:mam:2'/>";
        let copied = |to: &str| {
            format!(
                "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@capulet.lit' to='{to}'/></forwarded></sent>"
            )
        };
        let (forged, own) = (copied("romeo@montague.lit"), copied("a@pubsub.capulet.lit"));
        for (from, to, content) in [
            ("capulet.lit", " to='gateway.capulet.lit'", advertised),
            ("capulet.lit", " to='juliet@capulet.lit'", advertised),
            ("juliet@capulet.lit", "", archived),
            ("juliet@capulet.lit", " to='Juliet@capulet.lit'", archived),
            ("juliet@capulet.lit", " to='juliet@capulet.lit/x'", archived),
            ("juliet@capulet.lit", " to='juliet@capulet.lit/x'", &forged),
        ] {
            let denial = judge_inner(from, to, content).unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::NotAcceptable, "M8"),
                "{from}{to}"
            );
        }
        for (from, to, content) in [
            ("juliet@capulet.lit", " to='gateway.capulet.lit'", advertised),
            ("juliet@capulet.lit", " to='nurse@capulet.lit'", archived),
            ("juliet@capulet.lit", " to='nurse@capulet.lit'", &forged),
            ("juliet@capulet.lit", "", &own),
            ("capulet.lit", " to='juliet@capulet.lit'", archived),
        ] {
            judge_inner(from, to, content).unwrap();
        }
    }

    #[test]
    fn c7_an_account_out_of_scope_is_refused_like_an_unknown_one() {
        let grant = Grant {
            scope: Scope::nobody(),
            ..outgoing()
        };
        let denial = judge_from(grant, "juliet@capulet.lit", "romeo@montague.lit").unwrap_err();
        assert_eq!(denial, no_account("capulet.lit"));
    }

    #[test]
    fn m7_without_the_permission_the_content_does_not_matter() {
        for inner in ["", "<message xmlns='jabber:client' from='juliet@capulet.lit'/>"] {
            let stanza = wrap(inner);
            for sender in [
                Sender {
                    from: "x@pubsub.capulet.lit",
                    ..SENDER
                },
                Sender {
                    acting: true,
                    ..SENDER
                },
                Sender {
                    host: "stranger.lit",
                    from: "stranger.lit",
                    ..SENDER
                },
            ] {
                let denial = judged(&matrix(outgoing()), sender, &stanza).unwrap_err();
                assert_eq!((denial.condition, denial.rule), (Condition::Forbidden, "M7"));
            }
            let denial = judged(&matrix(Grant::default()), SENDER, &stanza).unwrap_err();
            assert_eq!(denial.rule, "M7");
        }
    }

    #[test]
    fn m5_a_recipient_that_is_not_a_jid_is_refused() {
        let denial = judge_from(outgoing(), "juliet@capulet.lit", "@montague.lit").unwrap_err();
        assert_eq!(denial.condition, Condition::JidMalformed);
        let permit = judge_from(outgoing(), "juliet@capulet.lit", "capulet.lit").unwrap();
        assert_eq!(permit.to.as_deref(), Some("capulet.lit"));
    }
}
