//! The kinds of access that a grant is made of (XEP-0356 section 4.2).
//!
//! Each kind can be parsed, printed, and compared. The stricter of two values never allows what one of them does
//! not (C5).

/// Access to rosters, or to the IQs of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nothing.
    #[default]
    None,
    /// Requests of type `get`.
    Get,
    /// Requests of type `set`.
    Set,
    /// Both types.
    Both,
}

impl Access {
    /// Reads the value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<Access> {
        match value {
            "none" => Some(Access::None),
            "get" => Some(Access::Get),
            "set" => Some(Access::Set),
            "both" => Some(Access::Both),
            _ => None,
        }
    }

    /// The value as it is configured and advertised.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::None => "none",
            Access::Get => "get",
            Access::Set => "set",
            Access::Both => "both",
        }
    }

    /// Whether requests of type `get` are allowed.
    pub fn allows_get(self) -> bool {
        matches!(self, Access::Get | Access::Both)
    }

    /// Whether requests of type `set` are allowed.
    pub fn allows_set(self) -> bool {
        matches!(self, Access::Set | Access::Both)
    }

    /// Whether requests of this type are allowed.
    pub fn allows(self, kind: IqType) -> bool {
        match kind {
            IqType::Get => self.allows_get(),
            IqType::Set => self.allows_set(),
        }
    }

    /// Returns what both sides allow (C5).
    #[must_use]
    pub fn stricter(self, other: Access) -> Access {
        match (
            self.allows_get() && other.allows_get(),
            self.allows_set() && other.allows_set(),
        ) {
            (true, true) => Access::Both,
            (true, false) => Access::Get,
            (false, true) => Access::Set,
            (false, false) => Access::None,
        }
    }
}

/// The type of an IQ request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqType {
    /// `type='get'`
    Get,
    /// `type='set'`
    Set,
}

impl IqType {
    /// Reads the value of a `type` attribute; `None` if it is not that of a request.
    pub fn parse(value: &str) -> Option<IqType> {
        match value {
            "get" => Some(IqType::Get),
            "set" => Some(IqType::Set),
            _ => None,
        }
    }

    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            IqType::Get => "get",
            IqType::Set => "set",
        }
    }
}

/// Whether messages may be sent on behalf of accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageAccess {
    /// No.
    #[default]
    None,
    /// Only to the entity's own addresses, and to the account itself (G2).
    Own,
    /// To anybody.
    Outgoing,
}

impl MessageAccess {
    /// Reads the value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<MessageAccess> {
        match value {
            "none" => Some(MessageAccess::None),
            "own" => Some(MessageAccess::Own),
            "outgoing" => Some(MessageAccess::Outgoing),
            _ => None,
        }
    }

    /// The value as it is advertised. XEP-0356 knows no narrower one than "outgoing".
    pub fn advertised(self) -> &'static str {
        match self {
            MessageAccess::None => "none",
            MessageAccess::Own | MessageAccess::Outgoing => "outgoing",
        }
    }
}

/// Whose presence an entity is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceAccess {
    /// Nobody's presence.
    #[default]
    None,
    /// The presence of accounts (P1).
    ManagedEntity,
    /// The presence of accounts, and of the contacts that they are subscribed to (P3).
    Roster,
}

impl PresenceAccess {
    /// Reads the value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<PresenceAccess> {
        match value {
            "none" => Some(PresenceAccess::None),
            "managed_entity" => Some(PresenceAccess::ManagedEntity),
            "roster" => Some(PresenceAccess::Roster),
            _ => None,
        }
    }

    /// The value as it is configured and advertised.
    pub fn as_str(self) -> &'static str {
        match self {
            PresenceAccess::None => "none",
            PresenceAccess::ManagedEntity => "managed_entity",
            PresenceAccess::Roster => "roster",
        }
    }
}

/// The version of XEP-0356 that an entity is advertised its permissions in (A5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `urn:xmpp:privilege:1`
    V1,
    /// `urn:xmpp:privilege:2`
    #[default]
    V2,
}

impl Protocol {
    /// Reads the value of the configuration option; `None` for an unknown one.
    pub fn parse(value: &str) -> Option<Protocol> {
        match value {
            "1" => Some(Protocol::V1),
            "2" => Some(Protocol::V2),
            _ => None,
        }
    }

    /// The namespace of this version.
    pub fn namespace(self) -> &'static str {
        match self {
            Protocol::V1 => crate::ns::PRIVILEGE_1,
            Protocol::V2 => crate::ns::PRIVILEGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Access; 4] = [Access::None, Access::Get, Access::Set, Access::Both];

    #[test]
    fn every_access_prints_what_it_parses() {
        for access in ALL {
            assert_eq!(Access::parse(access.as_str()), Some(access));
        }
        for access in [
            PresenceAccess::None,
            PresenceAccess::ManagedEntity,
            PresenceAccess::Roster,
        ] {
            assert_eq!(PresenceAccess::parse(access.as_str()), Some(access));
        }
        for access in [MessageAccess::None, MessageAccess::Outgoing] {
            assert_eq!(MessageAccess::parse(access.advertised()), Some(access));
        }
        for wrong in ["", "Both", "BOTH", " both", "incoming", "get,set"] {
            assert_eq!(Access::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn c5_the_stricter_of_two_allows_only_what_both_allow() {
        for a in ALL {
            for b in ALL {
                let strict = a.stricter(b);
                assert_eq!(strict.allows_get(), a.allows_get() && b.allows_get());
                assert_eq!(strict.allows_set(), a.allows_set() && b.allows_set());
            }
        }
    }
}
