//! The judgement over a privileged IQ (Q1, Q2, C4).

use crate::address::{self, Address, Normaliser};
use crate::envelope::{self, Tag};
use crate::matrix::{PermissionMatrix, Sender};
use crate::ns;
use crate::permission::IqType;
use crate::verdict::Denial;

/// A privileged IQ that may be sent, provided that the account exists and passes [`Permit::account`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The account's username, to be looked up.
    pub username: String,
    /// The account's bare JID: the judged sender.
    pub account: String,
    /// The judged recipient; `None` where it was left out, which is the account itself.
    pub to: Option<String>,
    /// The id the entity gave the inner IQ.
    pub id: String,
    /// Whether the payload is an ad-hoc command, which an administrator's account must not be lent for.
    pub is_command: bool,
}

/// Judges an IQ request of type `kind` that was addressed to `to`, normalised, and carries a
/// `<privileged_iq/>`.
///
/// Gives the permit and the inner IQ. Whether the account exists is the caller's to find out; where
/// it does not, [`no_account`] is the answer.
pub fn judge<T: Tag>(
    matrix: &PermissionMatrix,
    sender: &Sender<'_>,
    to: &str,
    kind: &str,
    stanza: &T,
    normaliser: &dyn Normaliser,
) -> Result<(Permit, T), Denial> {
    let host = matrix.host();
    let grant = matrix
        .grant_of(sender)
        .filter(|grant| !grant.iq.is_empty())
        .ok_or_else(|| {
            Denial::forbidden(
                "Q1",
                format!("{host} does not grant you to send IQs in the name of its accounts (iq = {{ ... }})"),
            )
        })?;
    let outer = Address::from_normalised(to)
        .filter(|to| to.is_bare() && to.domain() == host)
        .ok_or_else(|| no_account(host))?;
    let username = outer.node().ok_or_else(|| no_account(host))?;
    if !grant.scope.covers(username) {
        return Err(no_account(host));
    }
    let (envelope, inner) = envelope::read_iq(stanza)?;
    if envelope.namespace != ns::CLIENT {
        return Err(Denial::forbidden(
            "Q1",
            "the inner <iq/> has to be in the namespace jabber:client",
        ));
    }
    let kind = IqType::parse(kind)
        .filter(|kind| envelope.kind.as_deref() == Some(kind.as_str()))
        .ok_or_else(|| {
            Denial::forbidden(
                "Q1",
                "the inner and the outer <iq/> have to be of the same type, get or set",
            )
        })?;
    if !grant.allows_iq(&envelope.payload_namespace, kind) {
        return Err(Denial::forbidden(
            "Q1",
            format!(
                "{host} does not grant you IQs of type {} with a payload in the namespace {}",
                kind.as_str(),
                shortened(&envelope.payload_namespace)
            ),
        ));
    }
    if let Some(from) = &envelope.from
        && Address::normalise(from, normaliser).as_ref() != Some(&outer)
    {
        return Err(Denial::forbidden(
            "Q1",
            "the \"from\" of the inner <iq/> has to be the \"to\" of the outer one, or absent",
        ));
    }
    let to = address::recipient(envelope.to, normaliser, "Q3")?;
    let permit = Permit {
        username: username.to_owned(),
        account: outer.as_str().to_owned(),
        to,
        id: envelope.id,
        is_command: envelope.payload_namespace == ns::COMMANDS,
    };
    Ok((permit, inner))
}

/// The refusal where the outer `to` is no account that the entity may speak for (Q1).
pub fn no_account(host: &str) -> Denial {
    Denial::forbidden(
        "Q1",
        format!(
            "a <privileged_iq/> has to be sent to the bare JID of an account of {host} that you are granted"
        ),
    )
}

/// The refusal of what an administrator steers the server with, ad-hoc commands and messages to the
/// server itself, in the name of one: a grant is not a grant of the server.
pub fn no_administration(target: &str) -> Denial {
    Denial::forbidden(
        "Q3",
        format!("this cannot be sent to {target} in the name of an account that may administer it"),
    )
}

fn shortened(namespace: &str) -> String {
    namespace.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CrateNormaliser;
    use crate::matrix::{Grant, Scope};
    use crate::permission::Access;
    use crate::verdict::Condition;
    use minidom::Element;

    const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

    const SENDER: Sender<'static> = Sender {
        session_type: "component",
        host: "pubsub.capulet.lit",
        username: None,
        from: "pubsub.capulet.lit",
        acting: false,
    };

    fn grant() -> Grant {
        Grant {
            iq: [(PUBSUB.to_owned(), Access::Set)].into(),
            ..Grant::default()
        }
    }

    fn judged(grant: Grant, to: &str, kind: &str, inner: &str) -> Result<Permit, Denial> {
        let mut matrix = PermissionMatrix::new("capulet.lit");
        matrix.insert("pubsub.capulet.lit".into(), grant);
        let stanza: Element = format!(
            "<iq xmlns='jabber:client' id='o'><privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq></iq>"
        )
        .parse()
        .unwrap();
        judge(&matrix, &SENDER, to, kind, &&stanza, &CrateNormaliser).map(|(permit, _)| permit)
    }

    fn inner(attributes: &str) -> String {
        format!("<iq xmlns='jabber:client' id='i' {attributes}><pubsub xmlns='{PUBSUB}'/></iq>")
    }

    #[test]
    fn q3_the_recipient_may_be_anybody_or_absent() {
        let permit = judged(grant(), "juliet@capulet.lit", "set", &inner("type='set'")).unwrap();
        assert_eq!((permit.username.as_str(), permit.to), ("juliet", None));
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
    fn q3_a_recipient_that_is_no_jid_is_refused() {
        let denial = judged(grant(), "juliet@capulet.lit", "set", &inner("type='set' to='@'")).unwrap_err();
        assert_eq!(denial.condition, Condition::JidMalformed);
    }

    #[test]
    fn an_ad_hoc_command_is_recognised() {
        let commands = Grant {
            iq: [(ns::COMMANDS.to_owned(), Access::Set)].into(),
            ..Grant::default()
        };
        let payload = inner("type='set' to='capulet.lit'").replace(PUBSUB, ns::COMMANDS);
        assert!(
            judged(commands, "juliet@capulet.lit", "set", &payload)
                .unwrap()
                .is_command
        );
    }
}
