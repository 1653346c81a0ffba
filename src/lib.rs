//! The native core of `mod_privilege`: XEP-0356 *Privileged Entity* for the Prosody XMPP server.
//!
//! Everything that decides is here, and none of it knows Lua: [`config`] compiles the administrator's
//! options into the [`matrix`], [`envelope`] reads the fixed-depth shape of a privileged stanza,
//! [`message`], [`iq`] and [`roster`] each hold one judgement, [`forgery`] and [`administration`] what no grant
//! allows, [`ledger`] keeps the privileged IQs that wait for an answer, [`viewers`] and [`memory`] who is told
//! presence and what each has been told. A judgement is a value: a [`request::Permit`], or a [`denial::Denial`].
//!
//! ```
//! use privilege_native::config::{self, Value};
//! use privilege_native::message;
//! use privilege_native::request::{Request, Sender, Session};
//! # use privilege_native::address::Normaliser;
//! # struct Server;
//! # impl Normaliser for Server {
//! #     fn jid(&self, raw: &str) -> Option<String> { Some(raw.to_lowercase()) }
//! #     fn username(&self, raw: &str) -> Option<String> { Some(raw.to_lowercase()) }
//! # }
//! # impl config::Server for Server {
//! #     fn serves(&self, _: &str) -> bool { true }
//! # }
//!
//! // The administrator wrote: privileged_entities = { ["gateway.lit"] = { message = "outgoing" } }
//! let text = |text: &str| Value::Text(text.to_owned());
//! let grant = Value::Table(vec![(text("message"), text("outgoing"))]);
//! let options = Value::Table(vec![(text("gateway.lit"), grant)]);
//! let (matrix, problems) = config::compile("capulet.lit", &options, &Server);
//! assert!(problems.is_empty());
//!
//! // The gateway sends this, in the name of an account of another host.
//! let stanza: minidom::Element = "<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'>\
//!     <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='romeo@montague.lit' to='a@b.lit'/>\
//!     </forwarded></privilege></message>".parse().unwrap();
//! let sender = Sender {
//!     session: Session::Component, host: "gateway.lit", from: "gateway.lit", acting: false,
//! };
//! let request = Request { sender, stanza: &stanza, normaliser: &Server };
//! let denial = message::judge(&matrix, &request).unwrap_err();
//! assert_eq!(denial.condition.as_str(), "forbidden");
//! println!("{}", denial.text); // the "from" of the forwarded message has to be the bare JID of an account of capulet.lit ...
//! ```
//!
//! The `lua` module, present with one of the `luaXX` features, translates between this and the
//! server's Lua and decides nothing.

pub mod address;
pub mod administration;
pub mod blocklists;
pub mod config;
pub mod decline;
pub mod denial;
pub mod element;
pub mod entities;
pub mod envelope;
pub mod fingerprint;
pub mod forgery;
pub mod host;
pub mod iq;
pub mod item;
pub mod ledger;
pub mod matrix;
pub mod memory;
pub mod message;
pub mod narrow;
pub mod nodes;
pub mod ns;
pub mod permission;
pub mod presence;
pub mod profile;
pub mod request;
pub mod roster;
pub mod services;
pub mod settings;
pub mod viewers;
pub mod wire;

#[cfg(any(
    feature = "lua51",
    feature = "lua52",
    feature = "lua53",
    feature = "lua54",
    feature = "luajit"
))]
mod lua;
