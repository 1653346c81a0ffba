//! Every namespace this module reads or writes.

/// XEP-0356, the current version: advertisement, forwarded messages and privileged IQs.
pub const PRIVILEGE: &str = "urn:xmpp:privilege:2";
/// XEP-0356, the previous version, still spoken by older components (A5).
pub const PRIVILEGE_1: &str = "urn:xmpp:privilege:1";
/// The beginning that all versions of XEP-0356 share. IQs in such a namespace cannot be granted (C4).
pub const PRIVILEGE_ANY: &str = "urn:xmpp:privilege:";
/// XEP-0297 Stanza Forwarding: the element around a forwarded message (M4).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// RFC 6120: stanzas as a client sends them.
pub const CLIENT: &str = "jabber:client";
/// XEP-0114: stanzas as a component sends them.
pub const COMPONENT: &str = "jabber:component:accept";
/// RFC 6120 conditions of stanza errors.
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// RFC 6121: rosters.
pub const ROSTER: &str = "jabber:iq:roster";
/// XEP-0191 Blocking Command (M8).
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// XEP-0203 Delayed Delivery, allowed beside a forwarded message (M4).
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0091 Legacy Delayed Delivery. Old servers still stamp presence with it.
pub const DELAY_LEGACY: &str = "jabber:x:delay";
/// XEP-0280 Message Carbons (M8).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// The beginning that all versions of XEP-0280 share.
pub const CARBONS_ANY: &str = "urn:xmpp:carbons:";
/// The beginning that all versions of XEP-0313 Message Archive Management share.
pub const MAM_ANY: &str = "urn:xmpp:mam:";
/// The beginning that all versions of XEP-0355 Namespace Delegation share.
pub const DELEGATION_ANY: &str = "urn:xmpp:delegation:";
/// XEP-0077 In-Band Registration: how an account changes its password or deletes itself (N1).
pub const REGISTER: &str = "jabber:iq:register";
/// Owner configuration of a pubsub service (XEP-0060 section 8).
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// The requests of the owner of a room (XEP-0045 section 10).
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// The requests of an administrator of a room (XEP-0045 section 9).
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0050 Ad-Hoc Commands. Administrators use them to administer a server (N1).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// XEP-0060 Publish-Subscribe: requests about nodes (G3).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060: what a service tells about nodes. Readers believe such an event because of its sender (M8).
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0059 Result Set Management (G3).
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// The node of an account's bookmarks (XEP-0402; G4).
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
/// The node of an account's read markers (XEP-0490; G4).
pub const DISPLAYED: &str = "urn:xmpp:mds:displayed:0";
/// XEP-0363 HTTP File Upload (G4).
pub const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// The node of the ad-hoc command in which users see and block the services that may act for them. No entity may run it in
/// their name (G6, G7).
pub const SERVICES_COMMAND: &str = "urn:xmpp:privilege:2#services";
