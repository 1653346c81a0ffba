//! Everything that writes XML.
//!
//! [`xml`] is the writer, for what is written often or in bulk: [`roster`] results and pushes, and [`iq`] answers
//! and errors. The one small message of [`advert`] is built with `minidom`.

pub mod advert;
pub mod iq;
pub mod roster;
pub mod xml;
