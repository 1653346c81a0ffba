//! Everything that writes XML.

pub mod iq;
