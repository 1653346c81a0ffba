//! What a judgement comes to when it is not an allow: a denial is a value, never an error.
//!
//! A peer can provoke a denial whenever it likes, so it has to be as cheap and as boring as an allow.

/// The `type` of a stanza error (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// Not allowed to do this; ask the administrator.
    Auth,
    /// Do not retry.
    Cancel,
    /// Retry after changing the stanza.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }
}

/// The defined condition of a stanza error (RFC 6120 section 8.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Not shaped as it has to be.
    BadRequest,
    /// The permission is missing.
    Forbidden,
    /// The server could not do it.
    InternalServerError,
    /// There is no such account or roster item.
    ItemNotFound,
    /// An address that is no JID.
    JidMalformed,
    /// Understood, and not to be done: RFC 6121 section 2.3.3 for roster items, M8 for messages.
    NotAcceptable,
    /// Nobody may do this.
    NotAllowed,
    /// Too much in flight.
    ResourceConstraint,
    /// No answer in time.
    RemoteServerTimeout,
    /// The server went away from the request.
    ServiceUnavailable,
}

impl Condition {
    /// The element name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::BadRequest => "bad-request",
            Condition::Forbidden => "forbidden",
            Condition::InternalServerError => "internal-server-error",
            Condition::ItemNotFound => "item-not-found",
            Condition::JidMalformed => "jid-malformed",
            Condition::NotAcceptable => "not-acceptable",
            Condition::NotAllowed => "not-allowed",
            Condition::ResourceConstraint => "resource-constraint",
            Condition::RemoteServerTimeout => "remote-server-timeout",
            Condition::ServiceUnavailable => "service-unavailable",
        }
    }
}

/// Why a stanza was refused, ready to become a stanza error and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The `type` of the stanza error.
    pub error_type: ErrorType,
    /// The condition of the stanza error.
    pub condition: Condition,
    /// A sentence for the author of the component: what was wrong and what would be right.
    pub text: String,
    /// The number of the requirement that was broken, such as `M2`.
    pub rule: &'static str,
}

impl Denial {
    /// A refusal for want of a permission: `auth/forbidden`.
    pub fn forbidden(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Auth, Condition::Forbidden, rule, text)
    }

    /// A refusal for a stanza of the wrong shape: `modify/bad-request`.
    pub fn bad_request(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Modify, Condition::BadRequest, rule, text)
    }

    /// A failure of the server that is not the sender's fault: `wait/internal-server-error`.
    pub fn failed(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Wait, Condition::InternalServerError, rule, text)
    }

    /// Any other refusal.
    pub fn new(
        error_type: ErrorType,
        condition: Condition,
        rule: &'static str,
        text: impl Into<String>,
    ) -> Denial {
        Denial {
            error_type,
            condition,
            text: text.into(),
            rule,
        }
    }
}
