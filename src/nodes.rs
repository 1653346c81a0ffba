//! Whether a pubsub request is about nodes that are granted, and about nothing else (G3).
//!
//! The children of the payload are read, and nothing deeper. A service acts on the first child, so that one has to be the
//! request, and there may be no second.

use std::collections::BTreeSet;

use crate::denial::Denial;
use crate::element::{Element, children};
use crate::ns;
use crate::permission::IqType;

/// Whether requests in a namespace can be narrowed to nodes.
pub fn has_nodes(namespace: &str) -> bool {
    matches!(namespace, ns::PUBSUB | ns::PUBSUB_OWNER)
}

/// Refuses a request that is about anything but these nodes: `auth/forbidden` (G3). `payload` is in a namespace that
/// [`has_nodes`].
pub fn check<T: Element>(
    payload: &T,
    kind: IqType,
    nodes: &BTreeSet<String>,
    host: &str,
) -> Result<(), Denial> {
    let namespace = payload.namespace();
    let refused = |what: &str| {
        Denial::forbidden(
            "G3",
            format!(
                "{host} grants you some pubsub nodes alone: {what} (iq = {{ [\"{namespace}\"] = {{ nodes = ... }} }})"
            ),
        )
    };
    if !payload.has_name("pubsub") {
        return Err(refused("the payload has to be a <pubsub/>"));
    }
    let mut parts = children(payload);
    let request = parts
        .next()
        .filter(|request| request.namespace() == namespace)
        .ok_or_else(|| refused("the first element in it has to be the request"))?;
    let node = request.attribute("node");
    if !node.is_some_and(|node| nodes.contains(&node)) {
        return Err(refused(
            "the request has to name one of these in its attribute \"node\"",
        ));
    }
    let mut seen_beside = false;
    for part in parts {
        let may_be = !seen_beside && (is_option(&request, &part, nodes) || is_page(&request, &part, kind));
        if !may_be {
            return Err(refused(
                "nothing may stand beside the request but its own options",
            ));
        }
        seen_beside = true;
    }
    Ok(())
}

/// Whether this is the configuration of a node that is created, or the options of what is published. It may name a node
/// itself, and then a granted one.
fn is_option<T: Element>(request: &T, part: &T, nodes: &BTreeSet<String>) -> bool {
    let belongs = request.has_name("create") && part.has_name("configure")
        || request.has_name("publish") && part.has_name("publish-options");
    belongs
        && request.namespace() == ns::PUBSUB
        && part.namespace() == ns::PUBSUB
        && part.attribute("node").is_none_or(|node| nodes.contains(&node))
}

/// Whether this asks for a part of what is read (XEP-0059).
fn is_page<T: Element>(request: &T, part: &T, kind: IqType) -> bool {
    kind == IqType::Get && request.namespace() == ns::PUBSUB && part.is("set", ns::RSM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Condition;
    use minidom::Element as Xml;

    fn checked(kind: IqType, namespace: &str, content: &str) -> Result<(), Denial> {
        let payload: Xml = format!("<pubsub xmlns='{namespace}'>{content}</pubsub>")
            .parse()
            .unwrap();
        let nodes = ["own".to_owned(), "second".to_owned()].into();
        check(&&payload, kind, &nodes, "capulet.lit")
    }

    #[test]
    fn g3_requests_about_the_nodes_are_allowed() {
        for (kind, content) in [
            (IqType::Get, "<items node='own'/>"),
            (
                IqType::Get,
                "<items node='own'/><set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>",
            ),
            (
                IqType::Set,
                "<publish node='own'><item id='x'><y xmlns='z'/></item></publish>",
            ),
            (
                IqType::Set,
                "<publish node='own'/><publish-options><x xmlns='jabber:x:data'/></publish-options>",
            ),
            (
                IqType::Set,
                "<publish node='own'/><publish-options node='second'/>",
            ),
            (
                IqType::Set,
                "<create node='own'/><configure><x xmlns='jabber:x:data'/></configure>",
            ),
            (IqType::Set, "<create node='own'/>"),
            (
                IqType::Set,
                "<retract node='own' notify='true'><item id='x'/></retract>",
            ),
        ] {
            assert_eq!(checked(kind, ns::PUBSUB, content), Ok(()), "{content}");
        }
        for content in [
            "<configure node='own'/>",
            "<delete node='second'/>",
            "<purge node='own'/>",
        ] {
            assert_eq!(
                checked(IqType::Set, ns::PUBSUB_OWNER, content),
                Ok(()),
                "{content}"
            );
        }
    }

    /// Each of these would reach a node that is not granted, on a server that reads it otherwise than we do.
    #[test]
    fn g3_anything_else_is_refused() {
        for (kind, content) in [
            // No node, or another one.
            (IqType::Get, ""),
            (IqType::Get, "<items/>"),
            (IqType::Get, "<subscriptions/>"),
            (IqType::Get, "<items node=''/>"),
            (IqType::Get, "<items node='other'/>"),
            (IqType::Get, "<items node='OWN'/>"),
            (IqType::Get, "<items node=' own'/>"),
            (IqType::Set, "<create/>"),
            // A service acts on the first child: here on the one that is not granted.
            (IqType::Set, "<publish node='other'/><publish node='own'/>"),
            (IqType::Set, "<configure/><create node='own'/>"),
            (
                IqType::Set,
                "<publish-options node='own'/><publish node='other'/>",
            ),
            // A service may act on all of them.
            (IqType::Set, "<publish node='own'/><publish node='other'/>"),
            (IqType::Set, "<publish node='own'/><retract node='own'/>"),
            (
                IqType::Set,
                "<publish node='own'/><delete xmlns='http://jabber.org/protocol/pubsub#owner' node='own'/>",
            ),
            (
                IqType::Set,
                "<publish node='own'/><publish-options node='other'/>",
            ),
            (IqType::Set, "<create node='own'/><configure node='other'/>"),
            (IqType::Set, "<create node='own'/><publish-options/>"),
            (IqType::Set, "<publish node='own'/><configure/>"),
            (
                IqType::Set,
                "<create node='own'/><configure/><configure node='own'/>",
            ),
            (
                IqType::Set,
                "<subscribe node='own' jid='x@y'/><options node='own' jid='x@y'/>",
            ),
            // A second payload.
            (IqType::Set, "<pubsub><publish node='own'/></pubsub>"),
            (IqType::Set, "<publish node='own'/><pubsub node='own'/>"),
            // A node of another namespace, or on another level.
            (IqType::Set, "<publish xmlns:x='y' x:node='own'/>"),
            (IqType::Set, "<publish><item node='own'/></publish>"),
            (IqType::Set, "<publish xmlns='urn:other' node='own'/>"),
            // A page is for reading.
            (
                IqType::Set,
                "<publish node='own'/><set xmlns='http://jabber.org/protocol/rsm'/>",
            ),
            (
                IqType::Get,
                "<set xmlns='http://jabber.org/protocol/rsm'/><items node='other'/>",
            ),
        ] {
            let denial = checked(kind, ns::PUBSUB, content).unwrap_err();
            assert_eq!(
                (denial.condition, denial.rule),
                (Condition::Forbidden, "G3"),
                "{content}"
            );
        }
        for content in [
            "<configure/>",
            "<create node='own'/><configure/>",
            "<publish node='own'/><publish-options/>",
            "<configure node='own'/><configure node='other'/>",
            "<subscriptions node='own'/><set xmlns='http://jabber.org/protocol/rsm'/>",
        ] {
            let denial = checked(IqType::Get, ns::PUBSUB_OWNER, content).unwrap_err();
            assert_eq!(denial.rule, "G3", "{content}");
        }
    }

    #[test]
    fn g3_the_payload_itself_is_a_pubsub_without_a_node_of_its_own() {
        let nodes = ["own".to_owned()].into();
        for text in [
            "<query xmlns='http://jabber.org/protocol/pubsub' node='own'><items node='own'/></query>",
            "<pubsub xmlns='http://jabber.org/protocol/pubsub' node='own'><items/></pubsub>",
        ] {
            let payload: Xml = text.parse().unwrap();
            assert!(
                check(&&payload, IqType::Get, &nodes, "capulet.lit").is_err(),
                "{text}"
            );
        }
    }
}
