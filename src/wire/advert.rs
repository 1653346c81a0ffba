//! The `<privilege/>` advertisement, which tells an entity what it may do (A1, A2, A5).

use minidom::Element;
use minidom::rxml::{Namespace, NcName};

use super::xml;
use crate::matrix::Grant;
use crate::permission::{Access, MessageAccess, PresenceAccess};

/// The message that tells `entity` what `host` grants it.
///
/// It holds one `<perm/>` per granted access, and nothing for an access that is "none". Without a grant it holds an
/// empty `<privilege/>`, which tells a revocation (C6). The caller must not send that to an entity that had nothing
/// before. The message has no namespace of its own: it takes that of the stream it is written to.
pub fn advertisement(grant: Option<&Grant>, host: &str, entity: &str, id: &str) -> Element {
    let nothing = Grant::default();
    let grant = grant.unwrap_or(&nothing);
    let namespace = grant.protocol.namespace();
    let mut privilege = Element::bare("privilege", namespace);
    if grant.roster != Access::None {
        let mut perm = perm(namespace, "roster", Some(grant.roster.as_str()));
        set(
            &mut perm,
            "push",
            if grant.pushes_roster() { "true" } else { "false" },
        );
        privilege.append_child(perm);
    }
    if grant.message != MessageAccess::None {
        privilege.append_child(perm(namespace, "message", Some(grant.message.as_str())));
    }
    if grant.presence != PresenceAccess::None {
        privilege.append_child(perm(namespace, "presence", Some(grant.presence.as_str())));
    }
    if !grant.iq.is_empty() {
        let mut perm = perm(namespace, "iq", None);
        for (ns, access) in &grant.iq {
            let mut child = Element::bare("namespace", namespace);
            set(&mut child, "ns", ns);
            set(&mut child, "type", access.as_str());
            perm.append_child(child);
        }
        privilege.append_child(perm);
    }
    let mut message = Element::bare("message", "");
    set(&mut message, "from", host);
    set(&mut message, "to", entity);
    set(&mut message, "id", id);
    message.append_child(privilege);
    message
}

/// Returns the advertisement as text; `None` if it would hold a character that XML cannot.
pub fn text(grant: Option<&Grant>, host: &str, entity: &str, id: &str) -> Option<String> {
    let namespaces = grant
        .into_iter()
        .flat_map(|grant| grant.iq.keys().map(String::as_str));
    if !namespaces.chain([host, entity, id]).all(xml::can_hold) {
        return None;
    }
    let mut out = Vec::new();
    advertisement(grant, host, entity, id).write_to(&mut out).ok()?;
    String::from_utf8(out).ok()
}

/// A `<perm/>` for an access; `value` is its type.
fn perm(namespace: &str, access: &str, value: Option<&str>) -> Element {
    let mut perm = Element::bare("perm", namespace);
    set(&mut perm, "access", access);
    if let Some(value) = value {
        set(&mut perm, "type", value);
    }
    perm
}

/// Sets an attribute whose name is one of our own literals.
fn set(element: &mut Element, name: &str, value: &str) {
    if let Ok(name) = NcName::try_from(name) {
        element.set_attr(Namespace::NONE, name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Protocol;

    fn slidge() -> Grant {
        Grant {
            roster: Access::Both,
            roster_push: true,
            message: MessageAccess::Outgoing,
            presence: PresenceAccess::Roster,
            iq: [
                ("http://jabber.org/protocol/pubsub".to_owned(), Access::Both),
                ("a&b<c>".to_owned(), Access::Get),
            ]
            .into(),
            ..Grant::default()
        }
    }

    #[test]
    fn a1_a2_one_perm_per_access_and_namespaces_as_siblings_in_order() {
        let text = text(Some(&slidge()), "capulet.lit", "gateway.lit", "x1").unwrap();
        assert_eq!(
            text,
            "<message from='capulet.lit' id='x1' to='gateway.lit'>\
             <privilege xmlns='urn:xmpp:privilege:2'>\
             <perm access='roster' push='true' type='both'/>\
             <perm access='message' type='outgoing'/>\
             <perm access='presence' type='roster'/>\
             <perm access='iq'>\
             <namespace ns='a&amp;b&lt;c&gt;' type='get'/>\
             <namespace ns='http://jabber.org/protocol/pubsub' type='both'/>\
             </perm></privilege></message>"
        );
    }

    #[test]
    fn a2_push_is_explicit_and_false_without_get() {
        for (roster, push, expected) in [
            (Access::Get, true, "true"),
            (Access::Get, false, "false"),
            (Access::Set, true, "false"),
        ] {
            let grant = Grant {
                roster,
                roster_push: push,
                ..Grant::default()
            };
            let message = advertisement(Some(&grant), "h", "e", "i");
            let perm = message
                .children()
                .next()
                .unwrap()
                .children()
                .next()
                .unwrap()
                .clone();
            assert_eq!(perm.attr("push"), Some(expected));
        }
    }

    #[test]
    fn a5_the_previous_namespace_on_request() {
        let grant = Grant {
            protocol: Protocol::V1,
            ..slidge()
        };
        let message = advertisement(Some(&grant), "h", "e", "i");
        let privilege = message.children().next().unwrap();
        assert!(privilege.is("privilege", "urn:xmpp:privilege:1"));
        assert!(
            privilege
                .children()
                .all(|perm| perm.is("perm", "urn:xmpp:privilege:1"))
        );
    }

    #[test]
    fn what_xml_cannot_hold_is_not_written() {
        assert_eq!(text(None, "capulet.lit", "gate\u{0}way.lit", "x1"), None);
        assert_eq!(text(None, "capulet.lit", "gateway.lit", "\u{ffff}"), None);
    }

    #[test]
    fn c6_a_revocation_is_an_empty_privilege() {
        let text = text(None, "capulet.lit", "gateway.lit", "x1").unwrap();
        assert!(
            text.contains("<privilege xmlns='urn:xmpp:privilege:2'/>"),
            "{text}"
        );
    }
}
