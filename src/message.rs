//! The judgement over a privileged message (M2, M4 to M7).

use crate::address::{self, Address, Normaliser};
use crate::envelope::{self, Tag};
use crate::matrix::{PermissionMatrix, Sender};
use crate::permission::MessageAccess;
use crate::verdict::Denial;

/// A privileged message that may be sent, provided that the account exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The judged sender: a bare JID of the granting host, or the host itself.
    pub from: String,
    /// The judged recipient; `None` where the account writes to itself by leaving it out.
    pub to: Option<String>,
    /// The account, to be looked up; `None` for the host itself (M3).
    pub username: Option<String>,
}

/// Judges a message that was addressed to the granting host and carries a privileged wrapper.
///
/// Gives the permit and the forwarded message. Whether the account exists is the caller's to find
/// out; where it does not, [`no_account`] is the answer.
pub fn judge<T: Tag>(
    matrix: &PermissionMatrix,
    sender: &Sender<'_>,
    stanza: &T,
    normaliser: &dyn Normaliser,
) -> Result<(Permit, T), Denial> {
    let host = matrix.host();
    let grant = matrix
        .grant_of(sender)
        .filter(|grant| grant.message == MessageAccess::Outgoing)
        .ok_or_else(|| {
            Denial::forbidden(
                "M7",
                format!("{host} does not grant you to send messages (message = \"outgoing\")"),
            )
        })?;
    let (envelope, inner) = envelope::read_message(stanza)?;
    let from = envelope
        .from
        .and_then(|from| Address::normalise(&from, normaliser))
        .filter(|from| from.is_bare() && from.domain() == host)
        .ok_or_else(|| no_account(host))?;
    let username = from.node().map(str::to_owned);
    if username
        .as_deref()
        .is_some_and(|username| !grant.scope.covers(username))
    {
        return Err(no_account(host));
    }
    let to = address::recipient(envelope.to, normaliser, "M5")?;
    if to.is_none() && username.is_none() {
        return Err(Denial::bad_request(
            "M3",
            format!("a message from {host} itself needs a \"to\""),
        ));
    }
    Ok((
        Permit {
            from: from.into_string(),
            to,
            username,
        },
        inner,
    ))
}

/// The refusal where the sender inside is none that the entity may speak for (M2).
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
    use crate::matrix::{Grant, Scope};
    use crate::verdict::Condition;
    use minidom::Element;

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

    fn wrap(inner: &str) -> Element {
        format!("<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege></message>").parse().unwrap()
    }

    const SENDER: Sender<'static> = Sender {
        session_type: "component",
        host: "pubsub.capulet.lit",
        username: None,
        from: "pubsub.capulet.lit",
        acting: false,
    };

    fn judge_from(grant: Grant, from: &str, to: &str) -> Result<Permit, Denial> {
        let stanza = wrap(&format!(
            "<message xmlns='jabber:client' from='{from}' to='{to}'/>"
        ));
        judge(&matrix(grant), &SENDER, &&stanza, &CrateNormaliser).map(|(permit, _)| permit)
    }

    #[test]
    fn m5_the_judged_addresses_are_the_normalised_ones() {
        let permit = judge_from(outgoing(), "Juliet@CAPULET.lit", "Romeo@Montague.LIT/Orchard").unwrap();
        assert_eq!(permit.from, "juliet@capulet.lit");
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
        let denial = judge(&matrix(outgoing()), &SENDER, &&stanza, &CrateNormaliser).unwrap_err();
        assert_eq!(denial.rule, "M2");
    }

    #[test]
    fn m3_the_host_itself_is_no_account() {
        let permit = judge_from(outgoing(), "capulet.lit", "juliet@capulet.lit").unwrap();
        assert_eq!((permit.from.as_str(), permit.username), ("capulet.lit", None));
    }

    #[test]
    fn c7_an_account_out_of_scope_is_no_account() {
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
                let denial = judge(&matrix(outgoing()), &sender, &&stanza, &CrateNormaliser).unwrap_err();
                assert_eq!((denial.condition, denial.rule), (Condition::Forbidden, "M7"));
            }
            let denial = judge(&matrix(Grant::default()), &SENDER, &&stanza, &CrateNormaliser).unwrap_err();
            assert_eq!(denial.rule, "M7");
        }
    }

    #[test]
    fn m5_a_recipient_that_is_no_jid_is_refused() {
        let denial = judge_from(outgoing(), "juliet@capulet.lit", "@montague.lit").unwrap_err();
        assert_eq!(denial.condition, Condition::JidMalformed);
        let permit = judge_from(outgoing(), "juliet@capulet.lit", "capulet.lit").unwrap();
        assert_eq!(permit.to.as_deref(), Some("capulet.lit"));
    }
}
