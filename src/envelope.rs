//! The fixed-depth shape of a privileged stanza, as plain data (M4, Q2).
//!
//! A reader here looks at a known number of levels, and never into a payload. The sender chooses how deep a payload
//! is, and native recursion over it would let the sender crash the server.

use crate::denial::Denial;
use crate::element::{Element, children};
use crate::ns;

/// The message inside a privileged message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded<T> {
    /// `from` of the message, as written.
    pub from: Option<String>,
    /// `to` of the message, as written.
    pub to: Option<String>,
    /// The message.
    pub message: T,
    /// The `<delay/>` beside the message, where the message has none of its own (M4).
    pub delay: Option<T>,
}

/// The attributes and the payload of the IQ inside a privileged IQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IqEnvelope {
    /// The namespace of the element inside `<privileged_iq/>`.
    pub namespace: String,
    /// `type` of the inner IQ, as written.
    pub kind: Option<String>,
    /// `from` of the inner IQ, as written.
    pub from: Option<String>,
    /// `to` of the inner IQ, as written.
    pub to: Option<String>,
    /// `id` of the inner IQ, as written.
    pub id: String,
    /// The namespace of the payload.
    pub payload_namespace: String,
}

/// Whether this is the wrapper of a privileged message, in either version (A5).
fn is_privilege<T: Element>(element: &T) -> bool {
    let is_ours = matches!(&*element.namespace(), ns::PRIVILEGE | ns::PRIVILEGE_1);
    is_ours && element.has_name("privilege")
}

/// Reads `<message><privilege><forwarded><message/>`. Returns the envelope and the forwarded message.
///
/// A `<delay/>` beside the forwarded message is allowed. Anything else is denied with `modify/bad-request` and a text
/// that says what is wrong (M4).
pub fn read_message<T: Element>(stanza: &T) -> Result<Forwarded<T>, Denial> {
    let wrong = |text: &str| Denial::bad_request("M4", text);
    let mut wrappers = children(stanza).filter(is_privilege);
    let privilege = wrappers.next().ok_or_else(|| wrong("there is no <privilege/>"))?;
    if wrappers.next().is_some() {
        return Err(wrong("there is more than one <privilege/>"));
    }
    if privilege.child_count() != 1 {
        return Err(wrong(
            "<privilege/> has to hold exactly one <forwarded/> and nothing else",
        ));
    }
    let forwarded = privilege
        .child(0)
        .filter(|child| child.is("forwarded", ns::FORWARD))
        .ok_or_else(|| wrong("<privilege/> has to hold a <forwarded xmlns='urn:xmpp:forward:0'/>"))?;
    let (inner, delay) = forwarded_content(&forwarded).map_err(wrong)?;
    let is_message = inner.has_name("message") && MESSAGE_NAMESPACES.contains(&&*inner.namespace());
    if !is_message {
        return Err(wrong(NO_MESSAGE));
    }
    let has_delay = || children(&inner).any(|child| child.is("delay", ns::DELAY));
    let delay = delay.filter(|_| !has_delay());
    Ok(Forwarded {
        from: inner.attribute("from"),
        to: inner.attribute("to"),
        message: inner,
        delay,
    })
}

/// The namespaces that the forwarded message of a component may have: the right one; that of a component's stream; and
/// the one that it inherits where it has none of its own (M4). Clients that exist send all of them.
const MESSAGE_NAMESPACES: [&str; 3] = [ns::CLIENT, ns::COMPONENT, ns::FORWARD];

const NO_MESSAGE: &str = "<forwarded/> has to hold one <message xmlns='jabber:client'/>";

/// Returns the one `<message/>` inside a `<forwarded/>`, or a text that says what is wrong. One `<delay/>` may stand
/// beside the message.
pub fn forwarded_message<T: Element>(forwarded: &T) -> Result<T, &'static str> {
    let (inner, _) = forwarded_content(forwarded)?;
    Some(inner)
        .filter(|inner| inner.is("message", ns::CLIENT))
        .ok_or(NO_MESSAGE)
}

/// Returns the one element inside a `<forwarded/>`, and the `<delay/>` that may stand beside it.
fn forwarded_content<T: Element>(forwarded: &T) -> Result<(T, Option<T>), &'static str> {
    let (mut inner, mut delay) = (None, None);
    for child in children(forwarded) {
        if child.is("delay", ns::DELAY) {
            if delay.replace(child).is_some() {
                return Err("<forwarded/> holds more than one <delay/>");
            }
        } else if inner.replace(child).is_some() {
            return Err("<forwarded/> has to hold exactly one <message/>");
        }
    }
    Ok((inner.ok_or(NO_MESSAGE)?, delay))
}

/// Reads `<iq><privileged_iq><iq/>`. Returns the envelope and the inner IQ.
///
/// Anything but one inner IQ, one payload, and an id outside and inside is denied with `modify/bad-request` (Q2).
/// The judgement checks the namespace and the type of the inner IQ (Q1).
pub fn read_iq<T: Element>(stanza: &T) -> Result<(IqEnvelope, T), Denial> {
    let wrong = |text: &str| Denial::bad_request("Q2", text);
    if stanza.attribute("id").is_none() {
        return Err(wrong("the outer <iq/> has no id"));
    }
    if stanza.child_count() != 1 {
        return Err(wrong("the outer <iq/> has to hold exactly one <privileged_iq/>"));
    }
    let wrapper = stanza
        .child(0)
        .filter(|child| child.is("privileged_iq", ns::PRIVILEGE))
        .ok_or_else(|| wrong("there is no <privileged_iq xmlns='urn:xmpp:privilege:2'/>"))?;
    if wrapper.child_count() != 1 {
        return Err(wrong(
            "<privileged_iq/> has to hold exactly one <iq/> and nothing else",
        ));
    }
    let inner = wrapper
        .child(0)
        .filter(|child| child.has_name("iq"))
        .ok_or_else(|| wrong("<privileged_iq/> has to hold an <iq xmlns='jabber:client'/>"))?;
    if inner.child_count() != 1 {
        return Err(wrong("the inner <iq/> has to hold exactly one payload element"));
    }
    let payload = inner.child(0).ok_or_else(no_payload)?;
    let id = inner
        .attribute("id")
        .ok_or_else(|| wrong("the inner <iq/> has no id"))?;
    let envelope = IqEnvelope {
        namespace: inner.namespace().into_owned(),
        kind: inner.attribute("type"),
        from: inner.attribute("from"),
        to: inner.attribute("to"),
        id,
        payload_namespace: payload.namespace().into_owned(),
    };
    Ok((envelope, inner))
}

/// Refuses an inner IQ without a payload: `modify/bad-request` (Q2).
pub fn no_payload() -> Denial {
    Denial::bad_request("Q2", "the inner <iq/> has no payload")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Condition;
    use minidom::Element as Xml;
    use proptest::prelude::*;

    fn message(content: &str) -> Xml {
        format!(
            "<message xmlns='jabber:client' from='pubsub.capulet.lit' to='capulet.lit'>{content}</message>"
        )
        .parse()
        .unwrap()
    }

    fn iq(content: &str) -> Xml {
        format!("<iq xmlns='jabber:client' from='pubsub.capulet.lit' to='juliet@capulet.lit' id='o' type='get'>{content}</iq>")
            .parse()
            .unwrap()
    }

    fn read_message(stanza: &Xml) -> Result<Forwarded<&Xml>, Denial> {
        super::read_message(&stanza)
    }

    fn read_iq(stanza: &Xml) -> Result<(IqEnvelope, &Xml), Denial> {
        super::read_iq(&stanza)
    }

    fn forwarded(content: &str) -> String {
        format!(
            "<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{content}</forwarded></privilege>"
        )
    }

    const INNER: &str = "<message xmlns='jabber:client' from='juliet@capulet.lit' to='romeo@montague.lit'><body>x</body></message>";

    #[test]
    fn m4_the_example_of_the_xep_is_read() {
        for version in [1, 2] {
            let stanza = message(&format!(
                "<privilege xmlns='urn:xmpp:privilege:{version}'><forwarded xmlns='urn:xmpp:forward:0'>{INNER}</forwarded></privilege>"
            ));
            let found = read_message(&stanza).unwrap();
            assert_eq!(found.from.as_deref(), Some("juliet@capulet.lit"));
            assert_eq!(found.to.as_deref(), Some("romeo@montague.lit"));
            assert!(found.message.has_child("body", ns::CLIENT));
        }
    }

    #[test]
    fn m4_anything_else_is_a_bad_request_that_says_why() {
        let delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>";
        for (wrong, part) in [
            (String::new(), "no <privilege/>"),
            (
                "<privilege xmlns='urn:xmpp:privilege:2'/>".to_owned(),
                "exactly one <forwarded/>",
            ),
            (
                "<privilege xmlns='urn:xmpp:privilege:2'><x xmlns='y'/></privilege>".to_owned(),
                "<forwarded xmlns",
            ),
            (forwarded(""), "one <message xmlns"),
            (forwarded(&(INNER.to_owned() + INNER)), "exactly one <message/>"),
            (
                forwarded(&format!("{INNER}<x xmlns='y'/>")),
                "exactly one <message/>",
            ),
            (
                forwarded("<message xmlns='jabber:server'/>"),
                "<message xmlns='jabber:client'/>",
            ),
            (
                forwarded("<iq xmlns='jabber:client'/>"),
                "<message xmlns='jabber:client'/>",
            ),
            (forwarded(delay), "one <message xmlns"),
            (
                forwarded(&format!("{delay}{delay}{INNER}")),
                "more than one <delay/>",
            ),
            (forwarded(INNER) + &forwarded(INNER), "more than one <privilege/>"),
            (
                forwarded(INNER).replace("forward:0", "forward:1"),
                "urn:xmpp:forward:0",
            ),
        ] {
            let denial = read_message(&message(&wrong)).unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::BadRequest, "M4"),
                "{wrong}"
            );
            assert!(denial.text.contains(part), "{wrong}: {}", denial.text);
        }
        for right in [format!("{delay}{INNER}"), format!("{INNER}{delay}")] {
            let stanza = message(&forwarded(&right));
            let found = read_message(&stanza).unwrap();
            assert!(found.delay.unwrap().is("delay", ns::DELAY));
        }
    }

    #[test]
    fn m4_a_message_that_has_a_delay_keeps_its_own() {
        let delay = "<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/>";
        let own = INNER.replace("</message>", &format!("{delay}</message>"));
        let stanza = message(&forwarded(&format!("{delay}{own}")));
        assert_eq!(read_message(&stanza).unwrap().delay, None);
        let stanza = message(&forwarded(INNER));
        assert_eq!(read_message(&stanza).unwrap().delay, None);
    }

    #[test]
    fn m4_the_namespaces_that_clients_send_are_taken() {
        for xmlns in [
            " xmlns='jabber:client'",
            " xmlns='jabber:component:accept'",
            " xmlns='urn:xmpp:forward:0'",
            "",
        ] {
            let stanza = message(&forwarded(&INNER.replace(" xmlns='jabber:client'", xmlns)));
            assert!(read_message(&stanza).is_ok(), "{xmlns}");
        }
        for xmlns in ["jabber:server", "urn:xmpp:privilege:2", "urn:xmpp:delay"] {
            let stanza = message(&forwarded(&INNER.replace("jabber:client", xmlns)));
            assert!(read_message(&stanza).is_err(), "{xmlns}");
        }
    }

    #[test]
    fn q2_one_iq_one_payload_and_an_id() {
        let wrap = |content: &str| {
            iq(&format!(
                "<privileged_iq xmlns='urn:xmpp:privilege:2'>{content}</privileged_iq>"
            ))
        };
        let (envelope, _) = read_iq(&wrap(
            "<iq xmlns='jabber:client' id='i' type='get' to='upload.capulet.lit'><request xmlns='urn:xmpp:http:upload:0'/></iq>",
        ))
        .unwrap();
        assert_eq!(envelope.payload_namespace, "urn:xmpp:http:upload:0");
        assert_eq!((envelope.id.as_str(), envelope.from), ("i", None));
        let payload = "<query xmlns='jabber:iq:last'/>";
        let whole = format!("<iq xmlns='jabber:client' id='i' type='get'>{payload}</iq>");
        for wrong in [
            String::new(),
            format!("{whole}{whole}"),
            format!("<iq xmlns='jabber:client' type='get'>{payload}</iq>"),
            "<iq xmlns='jabber:client' id='i' type='get'/>".to_owned(),
            format!("<iq xmlns='jabber:client' id='i' type='get'>{payload}{payload}</iq>"),
            "<message xmlns='jabber:client' id='i'><body/></message>".to_owned(),
        ] {
            let denial = read_iq(&wrap(&wrong)).unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::BadRequest, "Q2"),
                "{wrong}"
            );
        }
    }

    /// XML made of the names and namespaces that matter, in any arrangement.
    fn any_xml() -> impl Strategy<Value = Xml> {
        let name = prop_oneof![
            Just("message"),
            Just("iq"),
            Just("privilege"),
            Just("forwarded"),
            Just("privileged_iq"),
            Just("delay"),
            Just("body"),
            Just("presence"),
        ];
        let namespace = prop_oneof![
            Just(ns::CLIENT),
            Just(ns::PRIVILEGE),
            Just(ns::PRIVILEGE_1),
            Just(ns::FORWARD),
            Just(ns::DELAY),
            Just("x"),
        ];
        let leaf = (name.clone(), namespace.clone()).prop_map(|(name, namespace)| Xml::bare(name, namespace));
        leaf.prop_recursive(5, 30, 3, move |inner| {
            (
                name.clone(),
                namespace.clone(),
                prop::collection::vec(inner, 0..3),
            )
                .prop_map(|(name, namespace, children)| {
                    let mut element = Xml::bare(name, namespace);
                    for child in children {
                        element.append_child(child);
                    }
                    element
                })
        })
    }

    proptest! {
        #[test]
        fn m4_whatever_is_read_has_the_one_shape(stanza in any_xml()) {
            if let Ok(Forwarded { message: inner, .. }) = read_message(&stanza) {
                prop_assert!(inner.name() == "message" && MESSAGE_NAMESPACES.contains(&&*inner.ns()));
                let privilege: Vec<_> = stanza.children().filter(is_privilege).collect();
                prop_assert_eq!(privilege.len(), 1);
                prop_assert!(std::ptr::eq(
                    inner,
                    privilege[0].get_child("forwarded", ns::FORWARD).unwrap().get_child("message", inner.ns().as_str()).unwrap()
                ));
            }
            let _ = read_iq(&stanza);
        }
    }
}
