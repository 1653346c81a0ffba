//! Forgeries: content that speaks with the authority of somebody else is refused in a privileged stanza (M8).
//!
//! A reader believes some elements because of their sender. A component believes `<privilege/>` and `<delegation/>`
//! of the host. A client believes carbons, results from the archive, and roster pushes of its own account. An entity
//! must not be able to make those.
//!
//! The checks look at the children of a message, and into a carbon at a fixed depth.

use crate::address::{self, Address, Normaliser};
use crate::denial::{Condition, Denial, ErrorType};
use crate::element::{Element, children};
use crate::envelope;
use crate::ns;
use crate::permission::IqType;

/// Refuses a message of the host itself that grants or delegates something: `modify/not-acceptable` (M8).
pub fn check_message_of_host<T: Element>(message: &T) -> Result<(), Denial> {
    for child in children(message) {
        let name = if child.namespace().starts_with(ns::PRIVILEGE_ANY) {
            "privilege"
        } else if child.namespace().starts_with(ns::DELEGATION_ANY) {
            "delegation"
        } else {
            continue;
        };
        if child.has_name(name) {
            return Err(refused(format!(
                "a message from the host itself cannot carry <{name}/>: only the server says what it grants"
            )));
        }
    }
    Ok(())
}

/// Refuses a message with a pubsub event: `modify/not-acceptable` (M8).
///
/// Readers believe an event because of the account that it is from: avatars, and lists of encryption keys. A grant that is
/// narrowed to some nodes, or to the entity's own addresses, must not be a way around that.
pub fn check_events<T: Element>(message: &T) -> Result<(), Denial> {
    if children(message).any(|child| is_event(&child)) {
        return Err(refused(
            "a message cannot carry pubsub events where your permissions are narrowed (message = \"own\", or nodes)",
        ));
    }
    Ok(())
}

/// Refuses a message of an account to itself that pretends to come from the server: `modify/not-acceptable` (M8).
///
/// That is a message with a result from the archive, or with a carbon. One carbon is allowed if it is the copy of a
/// message between the account and `own_domain`. `account` is the bare JID of the account; `own_domain` is the domain
/// of the entity, if it has one. `without_events` says whether a carbon may not hold a pubsub event either.
pub fn check_message_to_self<T: Element>(
    message: &T,
    account: &str,
    own_domain: Option<&str>,
    without_events: bool,
    normaliser: &dyn Normaliser,
) -> Result<(), Denial> {
    let mut carbons = 0usize;
    for child in children(message) {
        if is_of_archive(&child) {
            return Err(refused(
                "a message to the account itself cannot carry results of the archive (urn:xmpp:mam:*)",
            ));
        }
        if is_carbon(&child) {
            carbons += 1;
            let copies = |domain| copies_message_with(&child, account, domain, without_events, normaliser);
            if carbons > 1 || !own_domain.is_some_and(copies) {
                return Err(refused(
                    "a message to the account itself cannot carry carbons, except one: <sent/> of a message from the account to the domain of the component, or <received/> of one from there to the account",
                ));
            }
        }
    }
    Ok(())
}

/// Refuses a set that a client of the account would take for a push of the server: `modify/not-acceptable` (M8).
///
/// `account` is the bare JID that the set comes from; `to` is the judged recipient.
pub fn check_iq(
    payload_namespace: &str,
    kind: IqType,
    account: &str,
    to: Option<&str>,
) -> Result<(), Denial> {
    let is_to_own_client = to.is_some_and(|to| to != account && address::bare(to) == account);
    if kind == IqType::Set && is_to_own_client && matches!(payload_namespace, ns::ROSTER | ns::BLOCKING) {
        return Err(refused(
            "a client of the account itself is told by the server alone what its roster and its blocklist are",
        ));
    }
    Ok(())
}

fn refused(text: impl Into<String>) -> Denial {
    Denial::new(ErrorType::Modify, Condition::NotAcceptable, "M8", text)
}

fn is_of_archive<T: Element>(child: &T) -> bool {
    child.namespace().starts_with(ns::MAM_ANY)
}

/// Whether this is a pubsub event.
fn is_event<T: Element>(child: &T) -> bool {
    child.namespace() == ns::PUBSUB_EVENT
}

/// Whether this is a carbon, in any version. `<private/>` is in the same namespace and is not a carbon.
fn is_carbon<T: Element>(child: &T) -> bool {
    child.namespace().starts_with(ns::CARBONS_ANY) && (child.has_name("sent") || child.has_name("received"))
}

/// Whether a carbon is the copy of a message between `account` and `domain`, and holds nothing else.
fn copies_message_with<T: Element>(
    carbon: &T,
    account: &str,
    domain: &str,
    without_events: bool,
    normaliser: &dyn Normaliser,
) -> bool {
    if carbon.namespace() != ns::CARBONS || carbon.child_count() != 1 {
        return false;
    }
    let Some(copy) = carbon
        .child(0)
        .filter(|child| child.is("forwarded", ns::FORWARD))
        .and_then(|forwarded| envelope::forwarded_message(&forwarded).ok())
    else {
        return false;
    };
    // A client that unwraps a copy may unwrap the content of the copy as well.
    let is_forged = |child: &T| is_of_archive(child) || is_carbon(child) || without_events && is_event(child);
    if children(&copy).any(|child| is_forged(&child)) {
        return false;
    }
    let party = |name| {
        copy.attribute(name)
            .and_then(|raw| Address::normalise(&raw, normaliser))
    };
    let (Some(from), Some(to)) = (party("from"), party("to")) else {
        return false;
    };
    let (own, other) = if carbon.has_name("sent") {
        (from, to)
    } else {
        (to, from)
    };
    own.bare() == account && address::domain(other.as_str()) == domain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::CrateNormaliser;
    use minidom::Element as Xml;
    use proptest::prelude::*;

    const ACCOUNT: &str = "juliet@capulet.lit";
    const GATEWAY: &str = "gateway.capulet.lit";

    fn message(content: &str) -> Xml {
        format!("<message xmlns='jabber:client' from='{ACCOUNT}'>{content}</message>")
            .parse()
            .unwrap()
    }

    fn carbon(direction: &str, from: &str, to: &str) -> String {
        format!(
            "<{direction} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{from}' to='{to}'><body>copied</body></message></forwarded></{direction}>"
        )
    }

    fn to_self(content: &str, own_domain: Option<&str>) -> Result<(), Denial> {
        let message = &message(content);
        check_message_to_self(&message, ACCOUNT, own_domain, false, &CrateNormaliser)
    }

    fn of_host(content: &str) -> Result<(), Denial> {
        let message = &message(content);
        check_message_of_host(&message)
    }

    fn assert_refused(checked: Result<(), Denial>, what: &str) {
        let denial = checked.expect_err(what);
        assert_eq!(
            (denial.error_type, denial.condition, denial.rule),
            (ErrorType::Modify, Condition::NotAcceptable, "M8"),
            "{what}"
        );
    }

    #[test]
    fn m8_the_host_grants_and_delegates_nothing_through_an_entity() {
        for forged in [
            "<privilege xmlns='urn:xmpp:privilege:2'/>",
            "<privilege xmlns='urn:xmpp:privilege:1'><perm access='roster' type='both'/></privilege>",
            "<body>x</body><privilege xmlns='urn:xmpp:privilege:9'/>",
            "<delegation xmlns='urn:xmpp:delegation:1'/>",
            "<delegation xmlns='urn:xmpp:delegation:2'><delegated namespace='jabber:iq:roster'/></delegation>",
        ] {
            assert_refused(of_host(forged), forged);
        }
        for harmless in [
            "",
            "<body>&lt;privilege/&gt;</body>",
            "<privilege xmlns='urn:example:privilege'/>",
            "<x xmlns='urn:example'><privilege xmlns='urn:xmpp:privilege:2'/></x>",
            &carbon("sent", "a@b.lit", "c@d.lit"),
        ] {
            of_host(harmless).expect(harmless);
        }
    }

    #[test]
    fn m8_no_results_of_the_archive_for_the_account_itself() {
        for version in ["tmp", "0", "1", "2", "3"] {
            let result = format!(
                "<result xmlns='urn:xmpp:mam:{version}'><forwarded xmlns='urn:xmpp:forward:0'/></result>"
            );
            assert_refused(to_self(&result, Some(GATEWAY)), &result);
            assert_refused(to_self(&format!("<body/>{result}"), None), &result);
        }
        assert_refused(
            to_self("<fin xmlns='urn:xmpp:mam:0' complete='true'/>", None),
            "fin",
        );
        to_self("<result xmlns='urn:example:search'/>", None).unwrap();
        to_self(
            "<x xmlns='urn:example'><result xmlns='urn:xmpp:mam:2'/></x>",
            None,
        )
        .unwrap();
    }

    #[test]
    fn m8_a_carbon_is_taken_of_a_message_with_the_own_domain() {
        let own = Some(GATEWAY);
        for right in [
            carbon("sent", ACCOUNT, "friend@gateway.capulet.lit"),
            carbon("sent", "Juliet@CAPULET.lit/balcony", GATEWAY),
            carbon("sent", ACCOUNT, "friend@Gateway.Capulet.LIT/phone"),
            carbon("received", "friend@gateway.capulet.lit/x", ACCOUNT),
            carbon("received", GATEWAY, "juliet@capulet.lit/balcony"),
            "<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>".to_owned(),
            carbon("sent", ACCOUNT, GATEWAY).replace(
                "<message ",
                "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/><message ",
            ),
        ] {
            to_self(&right, own).expect(&right);
        }
        // An account has no domain of its own.
        assert_refused(
            to_self(&carbon("sent", ACCOUNT, "friend@gateway.capulet.lit"), None),
            "an account",
        );
    }

    #[test]
    fn m8_any_other_carbon_is_refused() {
        let good = carbon("sent", ACCOUNT, "friend@gateway.capulet.lit");
        for wrong in [
            carbon("sent", ACCOUNT, "romeo@montague.lit"),
            carbon("sent", ACCOUNT, ACCOUNT),
            carbon("sent", ACCOUNT, "friend@x.gateway.capulet.lit"),
            carbon("sent", ACCOUNT, "friend@capulet.lit/gateway.capulet.lit"),
            carbon("sent", ACCOUNT, "capulet.lit"),
            carbon("sent", ACCOUNT, ""),
            carbon("sent", "nurse@capulet.lit", "friend@gateway.capulet.lit"),
            carbon("sent", "friend@gateway.capulet.lit", ACCOUNT),
            carbon("sent", "", "friend@gateway.capulet.lit"),
            carbon("received", "romeo@montague.lit", ACCOUNT),
            carbon("received", "friend@gateway.capulet.lit", "nurse@capulet.lit"),
            carbon("received", ACCOUNT, "friend@gateway.capulet.lit"),
            carbon("received", "friend@gateway.capulet.lit", "gateway.capulet.lit"),
            good.replace("carbons:2", "carbons:1"),
            good.replace("carbons:2", "carbons:0"),
            good.replace("carbons:2", "carbons:3"),
            good.replace("forward:0", "forward:1"),
            good.replace("jabber:client", "jabber:server"),
            good.replace("<message xmlns='jabber:client' ", "<message "),
            good.replace(" to='friend@gateway.capulet.lit'", ""),
            good.replace(" from='juliet@capulet.lit'", ""),
            good.replace("message", "iq"),
            good.repeat(2),
            format!("{good}{}", carbon("received", "romeo@montague.lit", ACCOUNT)),
            format!("{good}<result xmlns='urn:xmpp:mam:2'/>"),
            good.replace("<body>copied</body>", "<result xmlns='urn:xmpp:mam:2'/>"),
            good.replace("<body>copied</body>", &carbon("sent", ACCOUNT, GATEWAY)),
            good.replace("</message>", "</message><message xmlns='jabber:client'/>"),
            good.replace(
                "</forwarded>",
                "</forwarded><forwarded xmlns='urn:xmpp:forward:0'/>",
            ),
            "<sent xmlns='urn:xmpp:carbons:2'/>".to_owned(),
            "<received xmlns='urn:xmpp:carbons:1'/><forwarded xmlns='urn:xmpp:forward:0'/>".to_owned(),
        ] {
            assert_refused(to_self(&wrong, Some(GATEWAY)), &wrong);
        }
    }

    #[test]
    fn m8_no_pushes_to_the_clients_of_the_account() {
        let own_client = Some("juliet@capulet.lit/balcony");
        for namespace in [ns::ROSTER, ns::BLOCKING] {
            assert_refused(check_iq(namespace, IqType::Set, ACCOUNT, own_client), namespace);
            for to in [
                None,
                Some(ACCOUNT),
                Some("nurse@capulet.lit/x"),
                Some("capulet.lit"),
                Some("juliet@capulet.lit.evil/x"),
            ] {
                check_iq(namespace, IqType::Set, ACCOUNT, to).unwrap();
            }
            check_iq(namespace, IqType::Get, ACCOUNT, own_client).unwrap();
        }
        check_iq("urn:xmpp:ping", IqType::Set, ACCOUNT, own_client).unwrap();
    }

    proptest! {
        /// A carbon passes only if it is a copy of a message with the own domain.
        #[test]
        fn m8_a_carbon_that_passes_is_about_the_own_domain(
            direction in prop::sample::select(vec!["sent", "received", "private"]),
            version in 0..4u8,
            from in prop::sample::select(vec![ACCOUNT, "Juliet@capulet.lit/x", "a@gateway.capulet.lit", GATEWAY, "romeo@montague.lit", "@", ""]),
            to in prop::sample::select(vec![ACCOUNT, "Juliet@capulet.lit/x", "a@gateway.capulet.lit", GATEWAY, "romeo@montague.lit", "@", ""]),
            nested in prop::sample::select(vec!["<body/>", "<result xmlns='urn:xmpp:mam:1'/>", "<sent xmlns='urn:xmpp:carbons:2'/>"]),
        ) {
            let text = carbon(direction, from, to)
                .replace("carbons:2", &format!("carbons:{version}"))
                .replace("<body>copied</body>", nested);
            let (own, other) = if direction == "sent" { (from, to) } else { (to, from) };
            let right = direction == "private"
                || version == 2
                    && nested == "<body/>"
                    && own.to_lowercase().starts_with(ACCOUNT)
                    && other.ends_with(GATEWAY);
            prop_assert_eq!(to_self(&text, Some(GATEWAY)).is_ok(), right, "{}", text);
        }
    }
}
