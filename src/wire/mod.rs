//! Everything that writes XML.
//!
//! [`xml`] is the writer, for what is written often or in bulk: [`roster`] results and pushes. The one small
//! message of [`advert`] is built with `minidom`.

pub mod advert;
pub mod roster;
pub mod xml;
