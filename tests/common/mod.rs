//! Names, senders and stand-ins for a server, for the tests and benchmarks of the core.
#![allow(dead_code, unreachable_pub, reason = "each of them takes what it needs")]

mod normaliser;

use privilege_native::address::Normaliser;
use privilege_native::config::Server;
use privilege_native::request::{Sender, Session};

pub use normaliser::CrateNormaliser;

/// The granting host.
pub const HOST: &str = "capulet.lit";
/// A component that it grants something.
pub const ENTITY: &str = "pubsub.capulet.lit";
/// One of its accounts.
pub const JULIET: &str = "juliet@capulet.lit";

/// The component, on its own connection and under its own name.
pub const SENDER: Sender<'static> = Sender {
    session: Session::Component,
    host: ENTITY,
    from: ENTITY,
    acting: false,
};

/// A server of the host and the component, with the address rules of the `jid` crate.
pub struct TestServer;

impl Normaliser for TestServer {
    fn jid(&self, raw: &str) -> Option<String> {
        CrateNormaliser.jid(raw)
    }
    fn username(&self, raw: &str) -> Option<String> {
        CrateNormaliser.username(raw)
    }
}

impl Server for TestServer {
    fn serves(&self, domain: &str) -> bool {
        domain == HOST || domain == ENTITY
    }
}

/// Takes every address as it is written, so that none is refused or changed.
pub struct AsWritten;

impl Normaliser for AsWritten {
    fn jid(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
    fn username(&self, raw: &str) -> Option<String> {
        Some(raw.to_owned())
    }
}
