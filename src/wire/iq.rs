//! Stanzas about privileged IQs: the wrapper of an answer, and errors (Q4, Q6, Q7).

use super::xml::Writer;
use crate::denial::Denial;
use crate::ledger::Entry;
use crate::ns;

/// The addresses and the id of a stanza to an entity about its privileged IQ.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The address that it goes to.
    pub to: &'a str,
    /// The account that it is from, by bare JID.
    pub from: &'a str,
    /// The id; for an answer that of the request.
    pub id: &'a str,
}

impl<'a> Reply<'a> {
    /// The answer to this request.
    pub fn to(request: &'a Entry) -> Reply<'a> {
        Reply {
            to: &request.reply_to,
            from: &request.account,
            id: &request.outer_id,
        }
    }
}

/// A stanza of a service, to be written into a wrapper.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    /// The name of the element.
    pub name: &'a str,
    /// The attributes by name. The server writes the name of one with a namespace as the namespace, U+0001, and the rest.
    pub attributes: &'a [(String, String)],
    /// The content as XML text.
    pub content: &'a str,
}

/// A stanza of a service in its wrapper (Q4). `kind` is the type of an answer, "result" or "error"; `None` for a message
/// that the service sends ahead of its answer, such as one out of an archive. `inner` is the stanza, or `None` where it is
/// put in later; `error` is its error as text, or empty.
pub fn wrapped(reply: &Reply<'_>, kind: Option<&str>, inner: Option<&Inner<'_>>, error: &str) -> String {
    let name = if kind.is_some() { "iq" } else { "message" };
    let mut out = open_wrapper(reply, kind);
    if let Some(inner) = inner {
        out.open(inner.name);
        out.attribute("xmlns", ns::CLIENT);
        for (place, (name, value)) in inner.attributes.iter().enumerate() {
            match name.split_once('\u{1}') {
                None => out.attribute(name, value),
                Some((namespace, name)) => {
                    out.attribute(&format!("xmlns:ns{place}"), namespace);
                    out.attribute(&format!("ns{place}:{name}"), value);
                }
            }
        }
        out.content();
        out.written(inner.content);
        out.close(inner.name);
    }
    close_wrapper(&mut out);
    out.written(error);
    out.close(name);
    out.finish()
}

/// Writes what stands before the stanza in its wrapper; see [`wrapped`].
pub fn open_wrapper(reply: &Reply<'_>, kind: Option<&str>) -> Writer {
    let name = if kind.is_some() { "iq" } else { "message" };
    let mut out = open(name, kind, reply.id, reply.from, reply.to);
    for (name, namespace) in WRAPPERS {
        out.open(name);
        out.attribute("xmlns", namespace);
        out.content();
    }
    out
}

/// Closes the wrapper. The stanza around it stays open.
pub fn close_wrapper(out: &mut Writer) {
    for (name, _) in WRAPPERS.iter().rev() {
        out.close(name);
    }
}

/// The elements around a stanza of a service, and their namespaces.
const WRAPPERS: [(&str, &str); 2] = [("privilege", ns::PRIVILEGE), ("forwarded", ns::FORWARD)];

/// The error that answers a privileged IQ.
pub fn error(reply: &Reply<'_>, why: &Denial) -> String {
    let mut out = open("iq", Some("error"), reply.id, reply.from, reply.to);
    write_error(&mut out, why);
    out.close("iq");
    out.finish()
}

/// A stanza that is refused: its name, "iq" or "message", and its attributes as they are on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The name of the element.
    pub name: &'a str,
    /// The attribute `id`.
    pub id: Option<&'a str>,
    /// The attribute `from`.
    pub from: Option<&'a str>,
    /// The attribute `to`.
    pub to: Option<&'a str>,
}

/// The error that answers a stanza which is refused (RFC 6120 section 8.3.1). It holds nothing of that stanza.
pub fn refusal(refused: &Refused<'_>, why: &Denial) -> String {
    let mut out = Writer::with_capacity(512);
    out.open(refused.name);
    out.attribute("type", "error");
    out.optional("id", refused.id);
    out.optional("from", refused.to);
    out.optional("to", refused.from);
    out.content();
    write_error(&mut out, why);
    out.close(refused.name);
    out.finish()
}

/// Writes the error element of a denial.
fn write_error(out: &mut Writer, why: &Denial) {
    out.open("error");
    out.attribute("type", why.error_type.as_str());
    out.content();
    out.open(why.condition.as_str());
    out.attribute("xmlns", ns::STANZA_ERRORS);
    out.close_empty();
    out.open("text");
    out.attribute("xmlns", ns::STANZA_ERRORS);
    out.content();
    out.text(&why.text);
    out.close("text");
    out.close("error");
}

/// Opens a stanza and leaves it open for its content.
fn open(name: &str, kind: Option<&str>, id: &str, from: &str, to: &str) -> Writer {
    let mut out = Writer::with_capacity(256);
    out.open(name);
    out.optional("type", kind);
    out.attribute("id", id);
    out.attribute("from", from);
    out.attribute("to", to);
    out.content();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger;
    use minidom::Element;

    fn request() -> Entry {
        Entry {
            entity: "gateway.lit".into(),
            reply_to: "bot@capulet.lit/<'&\">".into(),
            outer_id: "<'&\">".into(),
            inner_id: "i".into(),
            account: "juliet@capulet.lit".into(),
            to: None,
        }
    }

    fn read(text: &str) -> Element {
        text.replacen(' ', " xmlns='jabber:client' ", 1)
            .parse()
            .unwrap_or_else(|problem| panic!("{problem}: {text}"))
    }

    #[test]
    fn q4_the_answer_is_wrapped_and_its_error_is_beside_the_wrapper() {
        for (kind, error) in [("result", ""), ("error", "<error type='auth'/>")] {
            let attributes = [
                ("id".to_owned(), "<'&\">".to_owned()),
                ("xml:lang".to_owned(), "it".to_owned()),
                ("urn:x\u{1}mood".to_owned(), "sad".to_owned()),
            ];
            let inner = Inner {
                name: "iq",
                attributes: &attributes,
                content: "<x xmlns='urn:x'/>",
            };
            let text = wrapped(&Reply::to(&request()), Some(kind), Some(&inner), error);
            let iq = read(&text);
            let of = |name| iq.attr(name).unwrap_or_default();
            assert_eq!(
                (of("type"), of("id"), of("from"), of("to")),
                (kind, "<'&\">", "juliet@capulet.lit", "bot@capulet.lit/<'&\">")
            );
            let privilege = iq.get_child("privilege", ns::PRIVILEGE).unwrap();
            let forwarded = privilege.get_child("forwarded", ns::FORWARD).unwrap();
            let inner = forwarded.get_child("iq", ns::CLIENT).unwrap();
            assert_eq!(inner.attr("id"), Some("<'&\">"));
            assert_eq!(inner.attrs().iter().count(), 3);
            assert!(inner.has_child("x", "urn:x"));
            assert_eq!(iq.has_child("error", ns::CLIENT), kind == "error");
        }
    }

    #[test]
    fn q4_a_message_ahead_has_no_type() {
        let reply = Reply {
            to: "gateway.lit",
            from: "juliet@capulet.lit",
            id: "p-ahead-1",
        };
        let message = read(&wrapped(&reply, None, None, ""));
        assert_eq!(message.name(), "message");
        assert_eq!(
            (message.attr("type"), message.attr("id")),
            (None, Some("p-ahead-1"))
        );
    }

    #[test]
    fn q6_an_error_says_type_condition_and_text() {
        let iq = read(&error(&Reply::to(&request()), &ledger::timed_out()));
        assert_eq!((iq.attr("type"), iq.attr("id")), (Some("error"), Some("<'&\">")));
        let error = iq.get_child("error", ns::CLIENT).unwrap();
        assert_eq!(error.attr("type"), Some("wait"));
        assert!(error.has_child("remote-server-timeout", ns::STANZA_ERRORS));
        let text = error.get_child("text", ns::STANZA_ERRORS).unwrap();
        assert_eq!(text.text(), ledger::timed_out().text);
    }
}
