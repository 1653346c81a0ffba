//! The address rules of the crate `jid`, in place of those of a server.
//!
//! The unit tests of the core take in this file too, from `src/address.rs`.
#![allow(unreachable_pub, reason = "the unit tests have it in a private module")]

use super::Normaliser;

/// Normalises with the crate `jid`. Its tables are stricter than those of the server.
#[derive(Clone, Copy, Debug)]
pub struct CrateNormaliser;

impl Normaliser for CrateNormaliser {
    fn jid(&self, raw: &str) -> Option<String> {
        let jid = jid::Jid::new(raw).ok()?;
        // Put together from its parts: the crate may keep the original text beside parts that it
        // read differently, as with a trailing dot after the domain.
        let mut text = String::with_capacity(raw.len());
        if let Some(node) = jid.node() {
            text.push_str(node.as_str());
            text.push('@');
        }
        text.push_str(jid.domain().as_str());
        if let Some(resource) = jid.resource() {
            text.push('/');
            text.push_str(resource.as_str());
        }
        Some(text)
    }

    fn username(&self, raw: &str) -> Option<String> {
        jid::NodePart::new(raw).ok().map(|node| node.as_str().to_owned())
    }
}
