//! The value in the place of a string.

use std::borrow::Cow;

/// Returns bytes as text; those that are no UTF-8 become U+FFFD.
pub(super) fn text(bytes: &[u8]) -> String {
    #[cold]
    fn lossy(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
    str::from_utf8(bytes).map_or_else(|_| lossy(bytes), str::to_owned)
}

/// The value in the place of a string.
pub(in super::super) enum Field {
    /// Nothing.
    Absent,
    /// A string. Bytes that are no UTF-8 become U+FFFD, which no address and no name of ours contains.
    Text(Cow<'static, str>),
    /// Something else.
    Other,
}

impl Field {
    /// The string, if it is one.
    pub(in super::super) fn found(self) -> Option<String> {
        match self {
            Field::Text(text) => Some(text.into_owned()),
            Field::Absent | Field::Other => None,
        }
    }
}
