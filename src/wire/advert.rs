//! The `<privilege/>` advertisement, which tells an entity what it may do (A1, A2, A5).

use std::collections::BTreeMap;

use minidom::Element;
use minidom::rxml::{Namespace, NcName};

use super::xml;
use crate::matrix::Grant;
use crate::ns;
use crate::permission::{Access, Protocol};

/// The message that tells `entity` what `host` grants it.
///
/// Roster, message and presence are always there, with the type "none" where nothing is granted, because clients merge
/// what they are told: an access that is left out stays granted to them (A1). `earlier` is the advertisement that the
/// entity was told last. An IQ namespace that was granted there and is granted no more is "none" here (C6). The previous
/// protocol knows neither IQ permissions nor pushes (A5). The message has no namespace of its own: it takes that of the
/// stream it is written to.
pub fn advertisement(
    grant: &Grant,
    earlier: Option<&Element>,
    host: &str,
    entity: &str,
    id: &str,
) -> Element {
    let namespace = grant.protocol.namespace();
    let mut privilege = Element::bare("privilege", namespace);
    let mut roster = perm(namespace, "roster", Some(grant.roster.as_str()));
    let has_roster = grant.roster != Access::None;
    if has_roster && grant.protocol == Protocol::V2 {
        set(
            &mut roster,
            "push",
            if grant.pushes_roster() { "true" } else { "false" },
        );
    }
    privilege.append_child(roster);
    privilege.append_child(perm(namespace, "message", Some(grant.message.advertised())));
    privilege.append_child(perm(namespace, "presence", Some(grant.presence.as_str())));
    let mut iq: BTreeMap<String, Access> = BTreeMap::new();
    if grant.protocol == Protocol::V2 {
        let withdrawn = earlier.into_iter().flat_map(iq_namespaces);
        iq.extend(withdrawn.map(|namespace| (namespace, Access::None)));
        iq.extend(
            grant
                .iq
                .iter()
                .map(|(namespace, iq)| (namespace.clone(), iq.access)),
        );
    }
    if !iq.is_empty() {
        let mut perm = perm(namespace, "iq", None);
        for (ns, access) in &iq {
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

/// Returns the advertisement as text; `None` if it would hold a character that XML cannot. `earlier` is the last one as
/// text; see [`advertisement`].
pub fn text(grant: &Grant, earlier: Option<&str>, host: &str, entity: &str, id: &str) -> Option<String> {
    let namespaces = grant.iq.keys().map(String::as_str);
    if !namespaces.chain([host, entity, id]).all(xml::can_hold) {
        return None;
    }
    let earlier = earlier.and_then(read);
    let mut out = Vec::new();
    advertisement(grant, earlier.as_ref(), host, entity, id)
        .write_to(&mut out)
        .ok()?;
    String::from_utf8(out).ok()
}

/// The protocol that an advertisement speaks.
pub fn protocol(text: &str) -> Protocol {
    let is_first = read(text).is_some_and(|message| {
        message
            .children()
            .any(|child| child.is("privilege", ns::PRIVILEGE_1))
    });
    if is_first { Protocol::V1 } else { Protocol::V2 }
}

/// Reads an advertisement. Its own text has no namespace, which no XML document may be without.
fn read(text: &str) -> Option<Element> {
    Element::from_reader_with_prefixes(text.as_bytes(), ns::CLIENT.to_owned()).ok()
}

/// The namespaces of an advertisement in which IQs are granted.
fn iq_namespaces(message: &Element) -> impl Iterator<Item = String> + '_ {
    message
        .children()
        .flat_map(Element::children)
        .filter(|perm| perm.attr("access") == Some("iq"))
        .flat_map(Element::children)
        .filter(|namespace| namespace.attr("type") != Some(Access::None.as_str()))
        .filter_map(|namespace| namespace.attr("ns").map(str::to_owned))
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
    use crate::permission::{MessageAccess, PresenceAccess};

    fn slidge() -> Grant {
        Grant {
            roster: Access::Both,
            roster_push: true,
            message: MessageAccess::Outgoing,
            presence: PresenceAccess::Roster,
            iq: [
                (
                    "http://jabber.org/protocol/pubsub".to_owned(),
                    Access::Both.into(),
                ),
                ("a&b<c>".to_owned(), Access::Get.into()),
            ]
            .into(),
            ..Grant::default()
        }
    }

    fn told(grant: &Grant, earlier: Option<&str>) -> String {
        text(grant, earlier, "capulet.lit", "gateway.lit", "x1").unwrap()
    }

    const NOTHING: &str = "<message from='capulet.lit' id='x1' to='gateway.lit'>\
         <privilege xmlns='urn:xmpp:privilege:2'>\
         <perm access='roster' type='none'/>\
         <perm access='message' type='none'/>\
         <perm access='presence' type='none'/>\
         </privilege></message>";

    #[test]
    fn a1_a2_one_perm_per_access_and_namespaces_as_siblings_in_order() {
        assert_eq!(
            told(&slidge(), None),
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
    fn a1_what_is_not_granted_is_none_explicitly() {
        assert_eq!(told(&Grant::default(), None), NOTHING);
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
            let message = advertisement(&grant, None, "h", "e", "i");
            let perm = message.children().flat_map(Element::children).next().unwrap();
            assert_eq!(perm.attr("push"), Some(expected));
        }
    }

    #[test]
    fn a5_the_previous_protocol_knows_neither_iq_permissions_nor_pushes() {
        let grant = Grant {
            protocol: Protocol::V1,
            ..slidge()
        };
        let first = told(&grant, Some(&told(&slidge(), None)));
        assert!(!first.contains("push") && !first.contains("'iq'"), "{first}");
        let message = read(&first).unwrap();
        let privilege = message.children().next().unwrap();
        assert!(privilege.is("privilege", "urn:xmpp:privilege:1"));
        assert_eq!(privilege.children().count(), 3);
        assert!(
            privilege
                .children()
                .all(|perm| perm.is("perm", "urn:xmpp:privilege:1") && perm.attr("type").is_some())
        );
        assert_eq!(protocol(&first), Protocol::V1);
        assert_eq!(protocol(&told(&slidge(), None)), Protocol::V2);
    }

    #[test]
    fn c6_a_namespace_that_is_granted_no_more_is_none_once() {
        let mut narrower = slidge();
        narrower.iq.remove("a&b<c>");
        let second = told(&narrower, Some(&told(&slidge(), None)));
        assert!(
            second.contains(
                "<namespace ns='a&amp;b&lt;c&gt;' type='none'/>\
                 <namespace ns='http://jabber.org/protocol/pubsub' type='both'/>"
            ),
            "{second}"
        );
        assert_eq!(told(&narrower, Some(&second)), told(&narrower, None));
        let last = told(&Grant::default(), Some(&second));
        assert!(
            last.contains("<namespace ns='http://jabber.org/protocol/pubsub' type='none'/>")
                && !last.contains("a&amp;b"),
            "{last}"
        );
    }

    #[test]
    fn c6_an_earlier_advertisement_that_cannot_be_read_is_none() {
        for earlier in ["", "<message", "<message/>", "text"] {
            assert_eq!(told(&Grant::default(), Some(earlier)), NOTHING);
            assert_eq!(protocol(earlier), Protocol::V2);
        }
    }

    #[test]
    fn what_xml_cannot_hold_is_not_written() {
        let nothing = Grant::default();
        for (entity, id) in [("gate\u{0}way.lit", "x1"), ("gateway.lit", "\u{ffff}")] {
            assert_eq!(text(&nothing, None, "capulet.lit", entity, id), None);
        }
    }
}
