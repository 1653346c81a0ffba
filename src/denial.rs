//! Denials: the answer "no" of a judgement. A denial is a value, never an error.
//!
//! A peer can provoke a denial whenever it likes. So a denial has to cost no more than a permit.

/// The `type` of a stanza error (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The sender may not do this; the administrator can change that.
    Auth,
    /// The sender should not try again.
    Cancel,
    /// The sender may try again with another stanza.
    Modify,
    /// The sender may try again later.
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
    /// The stanza has the wrong shape.
    BadRequest,
    /// The sender has no permission for this.
    Forbidden,
    /// The server failed to do it.
    InternalServerError,
    /// The account or the roster item does not exist.
    ItemNotFound,
    /// An address is not a JID.
    JidMalformed,
    /// The content is refused: a roster item (RFC 6121 section 2.3.3), or a forgery (M8).
    NotAcceptable,
    /// Nobody may do this, whatever is granted.
    NotAllowed,
    /// Too many requests are in flight (Q6).
    ResourceConstraint,
    /// No answer came in time (Q6).
    RemoteServerTimeout,
    /// The server has given up the request.
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

/// The reason why a stanza was refused, ready to become a stanza error and a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The `type` of the stanza error.
    pub error_type: ErrorType,
    /// The condition of the stanza error.
    pub condition: Condition,
    /// A sentence for the author of the component. It says what was wrong and what would be right (O7).
    pub text: String,
    /// The number of the requirement that was broken, such as `M2`.
    pub rule: &'static str,
}

impl Denial {
    /// A refusal because a permission is missing: `auth/forbidden`.
    #[cold]
    pub fn forbidden(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Auth, Condition::Forbidden, rule, text)
    }

    /// A refusal because the stanza has the wrong shape: `modify/bad-request`.
    #[cold]
    pub fn bad_request(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Modify, Condition::BadRequest, rule, text)
    }

    /// A failure of the server that is not the sender's fault: `wait/internal-server-error`.
    #[cold]
    pub fn failed(rule: &'static str, text: impl Into<String>) -> Denial {
        Denial::new(ErrorType::Wait, Condition::InternalServerError, rule, text)
    }

    /// Any other refusal.
    #[cold]
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
