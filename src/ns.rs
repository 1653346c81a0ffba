//! Every namespace this module reads or writes.

/// XEP-0356, the current version: advertisement, forwarded messages and privileged IQs.
pub const PRIVILEGE: &str = "urn:xmpp:privilege:2";
/// XEP-0356, the previous version, still spoken by older components (A5).
pub const PRIVILEGE_1: &str = "urn:xmpp:privilege:1";
/// What all versions of XEP-0356 begin with; no IQ permission may lie under it (C4).
pub const PRIVILEGE_ANY: &str = "urn:xmpp:privilege:";
/// XEP-0297 Stanza Forwarding, the wrapper inside the wrapper.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// RFC 6120 stanzas as a client sends them.
pub const CLIENT: &str = "jabber:client";
/// RFC 6120 conditions of stanza errors.
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// RFC 6121 roster management.
pub const ROSTER: &str = "jabber:iq:roster";
/// XEP-0191 Blocking Command.
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// XEP-0203 Delayed Delivery, allowed beside a forwarded message (M4).
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0091 Legacy Delayed Delivery, still stamped on presence by old servers.
pub const DELAY_LEGACY: &str = "jabber:x:delay";
/// XEP-0280 Message Carbons.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// The beginning that all versions of XEP-0280 share.
pub const CARBONS_ANY: &str = "urn:xmpp:carbons:";
/// The beginning that all versions of XEP-0313 Message Archive Management share.
pub const MAM_ANY: &str = "urn:xmpp:mam:";
/// The beginning that all versions of XEP-0355 Namespace Delegation share.
pub const DELEGATION_ANY: &str = "urn:xmpp:delegation:";
/// XEP-0077 In-Band Registration: how an account changes its password or deletes itself.
pub const REGISTER: &str = "jabber:iq:register";
/// Owner configuration of a pubsub service (XEP-0060 section 8).
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// What the owner of a room may do (XEP-0045 section 10).
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// What an administrator of a room may do (XEP-0045 section 9).
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0050 Ad-Hoc Commands: how an administrator administers a server.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
