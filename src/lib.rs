//! The native core of `mod_privilege`: XEP-0356 *Privileged Entity* for the Prosody XMPP server.
//!
//! Everything that decides is here, and none of it knows Lua: [`config`] compiles the administrator's
//! options into the [`matrix`], [`envelope`] reads the fixed-depth shape of a privileged stanza,
//! [`message`], [`iq`] and [`roster`] each hold one judgement, [`forgery`] and [`administration`] what no grant
//! allows, [`ledger`] keeps the privileged IQs that wait for an answer, [`viewers`] and [`memory`] who is told
//! presence and what each has been told. A judgement is a value: a permit, or a [`verdict::Denial`].
//!
//! The `lua` module, present with one of the `luaXX` features, translates between this and the
//! server's Lua and decides nothing.

pub mod address;
pub mod administration;
pub mod advert;
pub mod config;
pub mod envelope;
pub mod forgery;

pub mod iq;
pub mod ledger;
pub mod matrix;
pub mod memory;
pub mod message;
pub mod ns;
pub mod permission;
pub mod presence;
pub mod request;
pub mod roster;
pub mod verdict;
pub mod viewers;
pub mod xml;

#[cfg(any(
    feature = "lua51",
    feature = "lua52",
    feature = "lua53",
    feature = "lua54",
    feature = "luajit"
))]
mod lua;
