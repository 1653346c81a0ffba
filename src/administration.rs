//! No administration: a grant is about accounts, never about the server (N1).
//!
//! Only the server knows who administers what. So a judgement adds a condition to its permit, and the server says
//! whether the condition holds. If it does not, the answer is [`refused`].

use crate::denial::Denial;

/// The part of the server that an account must not administer if an entity is to act on its behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// This host, or the granting host.
    Host(String),
    /// Any host of the server.
    Any,
}

impl Domain {
    /// [`Domain::Any`] as [`Domain::as_str`] writes it. It is not a valid domain name.
    const ANY: &'static str = "*";

    /// Returns the name of the host, or `*`.
    pub fn as_str(&self) -> &str {
        match self {
            Domain::Host(host) => host,
            Domain::Any => Self::ANY,
        }
    }

    /// Reads what [`Domain::as_str`] has written.
    pub fn parse(text: &str) -> Domain {
        match text {
            Self::ANY => Domain::Any,
            host => Domain::Host(host.to_owned()),
        }
    }
}

/// Refuses a stanza on behalf of an account that administers `domain`: `auth/forbidden` (N1).
pub fn refused(domain: &Domain) -> Denial {
    Denial::forbidden(
        "N1",
        match domain {
            Domain::Host(host) => format!(
                "this cannot be sent to {host} in the name of an account that may administer it, or the host of that account"
            ),
            Domain::Any => {
                "this cannot be sent in the name of an account that may administer any host of the server"
                    .to_owned()
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Condition;

    #[test]
    fn n1_a_refusal_is_forbidden_and_names_what_is_administered() {
        for (domain, part) in [
            (Domain::Host("montague.lit".to_owned()), "montague.lit"),
            (Domain::Any, "any host"),
        ] {
            let denial = refused(&domain);
            assert_eq!((denial.condition, denial.rule), (Condition::Forbidden, "N1"));
            assert!(denial.text.contains(part), "{}", denial.text);
        }
    }

    #[test]
    fn a_domain_is_read_as_it_was_written() {
        for domain in [Domain::Any, Domain::Host("capulet.lit".to_owned())] {
            assert_eq!(Domain::parse(domain.as_str()), domain);
        }
    }
}
