//! Addresses. Each is normalised once, judged in that form, and forwarded in that form (M5).
//!
//! The server normalises by its own rules, because it routes and stores by the result. The crate `jid` only checks
//! the keys of the configuration a second time, see [`is_ambiguous`]. Its tables are stricter than those of the
//! server, so it is never the reason to refuse an account or a contact.

use jid::Jid;

use crate::denial::{Condition, Denial, ErrorType};

/// Turns an address as a peer wrote it into the form that the server routes by.
pub trait Normaliser {
    /// Returns the normalised JID; `None` if `raw` is not a JID.
    fn jid(&self, raw: &str) -> Option<String>;
    /// Returns the normalised localpart; `None` if `raw` is not a localpart.
    fn username(&self, raw: &str) -> Option<String>;
}

/// Whether two careful readers can take a normalised address apart into different parts.
///
/// Returns true only if the crate `jid` accepts the address and reads other parts in it. Such an address must not
/// become the key of a grant (C2). An address that the crate refuses is not ambiguous; the crate is merely stricter
/// than the server.
pub fn is_ambiguous(address: &Address) -> bool {
    match Jid::new(address.as_str()) {
        Ok(jid) => {
            jid.domain().as_str() != address.domain()
                || jid.node().map(|node| node.as_str()) != address.node()
                || jid.as_str() != address.as_str()
        }
        Err(_) => false,
    }
}

/// A JID in normalised form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
}

impl Address {
    /// Normalises `raw` with the rules of the server; `None` if it is not a JID.
    pub fn normalise(raw: &str, normaliser: &dyn Normaliser) -> Option<Address> {
        if is_plain(raw) {
            return Some(Address { text: raw.to_owned() });
        }
        normaliser.jid(raw).and_then(Address::from_normalised)
    }

    /// Takes a JID that is normalised already, such as one that the server has routed by.
    ///
    /// Returns `None` if a part is empty, or if there is a second `@`. Normalising can make that out of a character
    /// that looks alike, and the router of the server does not take the result for an address.
    pub fn from_normalised(text: impl Into<String>) -> Option<Address> {
        let address = Address { text: text.into() };
        let complete = !address.domain().is_empty()
            && !address.domain().contains('@')
            && address.node() != Some("")
            && address.resource() != Some("");
        complete.then_some(address)
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole address, owned.
    pub fn into_string(self) -> String {
        self.text
    }

    /// The address without its resource.
    pub fn bare(&self) -> &str {
        bare(&self.text)
    }

    /// The localpart; `None` if there is none.
    pub fn node(&self) -> Option<&str> {
        self.bare().split_once('@').map(|(node, _)| node)
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        domain(&self.text)
    }

    /// The resource; `None` if there is none.
    pub fn resource(&self) -> Option<&str> {
        self.text.split_once('/').map(|(_, resource)| resource)
    }

    /// Whether the address has no resource.
    pub fn is_bare(&self) -> bool {
        !self.text.contains('/')
    }
}

/// Returns the recipient of an inner stanza in the form that it leaves in (M5); `None` if `to` is absent.
///
/// A `to` that is not a JID is denied with `modify/jid-malformed` by the rule `rule`.
pub fn recipient(
    to: Option<String>,
    normaliser: &dyn Normaliser,
    rule: &'static str,
) -> Result<Option<String>, Denial> {
    let text = "the \"to\" of the inner stanza is no valid JID";
    let malformed = || Denial::new(ErrorType::Modify, Condition::JidMalformed, rule, text);
    let judged = |to: String| Address::normalise(&to, normaliser).map(Address::into_string);
    to.map(|to| judged(to).ok_or_else(malformed)).transpose()
}

/// Returns the domain of a normalised JID.
pub fn domain(text: &str) -> &str {
    let bare = bare(text);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// Returns a normalised JID without its resource.
pub fn bare(text: &str) -> &str {
    text.split_once('/').map_or(text, |(bare, _)| bare)
}

/// Whether every normaliser leaves `raw` as it is: short, lower-case ASCII, at most one `@`, no empty label, and a
/// resource, if any, of visible ASCII. Nearly every address on the wire is like that, and needs no call to the
/// server.
fn is_plain(raw: &str) -> bool {
    if raw.len() > 255 {
        return false;
    }
    let (bare, resource) = raw.split_once('/').unwrap_or((raw, "x"));
    let mut seen_at = false;
    let mut label = 0usize;
    for byte in bare.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => label += 1,
            b'-' | b'_' if label > 0 => label += 1,
            b'.' if label > 0 => label = 0,
            b'@' if label > 0 && !seen_at => {
                seen_at = true;
                label = 0;
            }
            _ => return false,
        }
        if label > 63 {
            return false;
        }
    }
    let resource_is_plain = !resource.is_empty() && resource.bytes().all(|byte| byte.is_ascii_graphic());
    label > 0 && !bare.ends_with('-') && resource_is_plain
}

/// The rules of the crate `jid`, for tests that have no server.
#[cfg(test)]
#[path = "../tests/common/normaliser.rs"]
mod normaliser;
#[cfg(test)]
pub(crate) use normaliser::CrateNormaliser;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> (Option<String>, String, Option<String>) {
        let address = Address::normalise(text, &CrateNormaliser).expect(text);
        (
            address.node().map(str::to_owned),
            address.domain().to_owned(),
            address.resource().map(str::to_owned),
        )
    }

    #[test]
    fn c5_an_address_is_taken_apart_after_it_is_normalised() {
        assert_eq!(
            parts("Juliet@Capulet.LIT"),
            (Some("juliet".into()), "capulet.lit".into(), None)
        );
        assert_eq!(
            parts("juliet@capulet.lit/Bal@cony/2"),
            (
                Some("juliet".into()),
                "capulet.lit".into(),
                Some("Bal@cony/2".into())
            )
        );
        assert_eq!(parts("capulet.lit"), (None, "capulet.lit".into(), None));
        assert_eq!(
            parts("capulet.lit/a@b"),
            (None, "capulet.lit".into(), Some("a@b".into()))
        );
    }

    #[test]
    fn text_that_is_not_a_jid_is_not_an_address() {
        for wrong in [
            "",
            "@",
            "@capulet.lit",
            "juliet@",
            "juliet@/x",
            "a@b@c",
            "/x",
            "juliet@capulet.lit/",
        ] {
            assert_eq!(Address::normalise(wrong, &CrateNormaliser), None, "{wrong:?}");
        }
    }

    #[test]
    fn m5_a_second_at_sign_is_not_an_address() {
        assert_eq!(Address::from_normalised("a@x@capulet.lit"), None);
        assert!(Address::from_normalised("a@capulet.lit/x@y").is_some());
    }

    #[test]
    fn c2_an_address_two_readers_read_differently_is_ambiguous() {
        let dotted = Address::from_normalised("juliet@capulet.lit./balcony").unwrap();
        assert!(is_ambiguous(&dotted));
        for clear in ["juliet@capulet.lit", "pubsub.capulet.lit", "user%old@gateway.lit"] {
            assert!(
                !is_ambiguous(&Address::from_normalised(clear).unwrap()),
                "{clear}"
            );
        }
    }

    proptest! {
        #[test]
        fn m5_the_short_cut_for_plain_addresses_changes_nothing(
            raw in "[a-z0-9._@-]{1,20}(/[!-~]{0,6})?"
        ) {
            // If the crate accepts a plain address, it must agree with the short cut.
            if is_plain(&raw) && let Some(text) = CrateNormaliser.jid(&raw) {
                prop_assert_eq!(text, raw);
            }
        }

        #[test]
        fn taking_an_address_apart_never_fails(raw in "\\PC{0,40}") {
            if let Some(address) = Address::from_normalised(raw.clone()) {
                prop_assert!(!address.domain().is_empty());
                prop_assert_eq!(address.as_str(), raw.as_str());
            }
        }
    }
}
