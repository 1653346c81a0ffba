//! The services that may act for an account, in words for its user (G6).

use crate::matrix::{Grant, PermissionMatrix};
use crate::narrow::Contacts;
use crate::ns;
use crate::permission::{Access, MessageAccess, PresenceAccess};

/// A service that may act for an account, or may not because the account has blocked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The entity, by bare JID.
    pub jid: String,
    /// Whether the account has blocked it.
    pub is_blocked: bool,
    /// Its abilities in the name of the account, while it is not blocked; sentences, one each.
    pub may: Vec<String>,
}

/// Returns the services that are granted anything about the account `username`, in the order of their names.
pub fn of_account(matrix: &PermissionMatrix, username: &str) -> Vec<Service> {
    let granted = matrix.entities().into_iter().filter_map(|entity| {
        let grant = matrix.grant(entity)?;
        grant.scope.covers(username).then_some((entity, grant))
    });
    granted
        .map(|(entity, grant)| Service {
            jid: entity.to_owned(),
            is_blocked: !matrix.covers(entity, grant, username),
            may: sentences(entity, grant),
        })
        .collect()
}

fn sentences(entity: &str, grant: &Grant) -> Vec<String> {
    let mut may = Vec::new();
    let contacts = match grant.contacts {
        Contacts::All => "your contacts".to_owned(),
        Contacts::Own => format!("those of your contacts that are at {entity}"),
    };
    match grant.roster {
        Access::None => {}
        Access::Get => may.push(format!("It can see {contacts}.")),
        Access::Set => may.push(format!("It can add, change and remove {contacts}.")),
        Access::Both => may.push(format!("It can see, add, change and remove {contacts}.")),
    }
    match grant.message {
        MessageAccess::None => {}
        MessageAccess::Own if entity.contains('@') => {
            may.push("It can send messages to you in your name.".to_owned())
        }
        MessageAccess::Own => may.push(format!(
            "It can send messages in your name to addresses at {entity}, and to yourself."
        )),
        MessageAccess::Outgoing => may.push("It can send messages to anybody in your name.".to_owned()),
    }
    match grant.presence {
        PresenceAccess::None => {}
        PresenceAccess::ManagedEntity => may.push("It can see when you are online.".to_owned()),
        PresenceAccess::Roster => may.push(format!("It can see when you and {contacts} are online.")),
    }
    for (namespace, iq) in &grant.iq {
        let what = match iq.access {
            Access::Get => "ask for",
            Access::Set => "change",
            Access::None | Access::Both => "ask for and change",
        };
        let subject = subject(namespace);
        let about = match &iq.nodes {
            Some(nodes) if nodes.is_empty() => ", of none of them at present".to_owned(),
            Some(nodes) => {
                let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
                format!(" ({} alone)", nodes.join(", "))
            }
            None => String::new(),
        };
        may.push(format!("It can {what} {subject}{about} in your name."));
    }
    may
}

/// The subject of the IQs of a namespace.
fn subject(namespace: &str) -> String {
    match namespace {
        ns::PUBSUB => "what you publish, such as your bookmarks and keys".to_owned(),
        ns::PUBSUB_OWNER => "the settings of what you publish".to_owned(),
        ns::UPLOAD => "places to upload files to".to_owned(),
        ns::COMMANDS => "anything that commands of the server can do".to_owned(),
        ns::REGISTER => "your password".to_owned(),
        other => format!("\"{other}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Scope;
    use std::collections::BTreeSet;

    #[test]
    fn g6_each_service_of_the_account_and_what_it_may_do() {
        let mut matrix = PermissionMatrix::new("capulet.lit");
        let wide = Grant {
            roster: Access::Both,
            message: MessageAccess::Outgoing,
            presence: PresenceAccess::Roster,
            iq: [(ns::REGISTER.to_owned(), Access::Set.into())].into(),
            ..Grant::default()
        };
        let narrow = Grant {
            contacts: Contacts::Own,
            message: MessageAccess::Own,
            ..wide.clone()
        };
        let of_others = Grant {
            scope: Scope::nobody(),
            ..wide.clone()
        };
        matrix.insert("wide.lit".into(), wide);
        matrix.insert("narrow.lit".into(), narrow);
        matrix.insert("others.lit".into(), of_others);
        matrix.insert("named.lit".into(), Grant::default());
        matrix.blocklists.begin(true);
        let list: BTreeSet<String> = ["wide.lit".to_owned()].into();
        matrix
            .blocklists
            .read("juliet", &list, ["wide.lit", "narrow.lit"].into_iter());
        let services = of_account(&matrix, "juliet");
        let seen: Vec<(&str, bool)> = services
            .iter()
            .map(|service| (service.jid.as_str(), service.is_blocked))
            .collect();
        assert_eq!(seen, [("narrow.lit", false), ("wide.lit", true)]);
        let [narrow, wide] = services.as_slice() else {
            panic!()
        };
        assert_eq!(
            wide.may,
            [
                "It can see, add, change and remove your contacts.",
                "It can send messages to anybody in your name.",
                "It can see when you and your contacts are online.",
                "It can change your password in your name.",
            ]
        );
        assert_eq!(
            narrow.may[..2],
            [
                "It can see, add, change and remove those of your contacts that are at narrow.lit.",
                "It can send messages in your name to addresses at narrow.lit, and to yourself.",
            ]
        );
    }
}
