//! The value in the place of a string.

use std::borrow::Cow;

/// Returns bytes as text; those that are no UTF-8 become U+FFFD.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    #[cold]
    fn replaced(bytes: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(bytes)
    }
    str::from_utf8(bytes).map_or_else(|_| replaced(bytes), Cow::Borrowed)
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
