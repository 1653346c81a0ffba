//! An account blocks an entity, or unblocks it (G5).

use std::collections::BTreeSet;

use super::{Host, given_up};
use crate::blocklists::Reach;
use crate::entities::Outgoing;
use crate::iq;
use crate::viewers::Number;

/// The result of reading a blocklist.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlocklistChange {
    /// The viewers whose entity the account has blocked now.
    pub blocked: Vec<Number>,
    /// The viewers whose entity the account has blocked no more.
    pub unblocked: Vec<Number>,
    /// Stanzas to send: the errors for requests in flight.
    pub outbox: Vec<Outgoing>,
}

impl Host {
    /// Takes in the blocklist of the account `username`, as it is stored (G5).
    pub fn blocklist(&mut self, username: &str, list: &BTreeSet<String>) -> BlocklistChange {
        let entities = self.viewers.entities();
        let reaches = |host: &Host| -> Vec<Reach> {
            let reach = |(_, entity): &(Number, String)| host.matrix.blocklists.reach(entity, username);
            entities.iter().map(reach).collect()
        };
        let before = reaches(self);
        let mut lists = std::mem::take(&mut self.matrix.blocklists);
        lists.read(username, list, self.matrix.entities().into_iter());
        self.matrix.blocklists = lists;
        let after = reaches(self);
        let numbers = |has_changed: fn(Reach, Reach) -> bool| {
            let both = before.iter().zip(&after);
            let changed = entities.iter().zip(both);
            let changed = changed.filter(|(_, (before, after))| has_changed(**before, **after));
            changed.map(|((number, _), _)| *number).collect()
        };
        let blocked = numbers(|before, after| before != Reach::Outside && after == Reach::Outside);
        let unblocked = numbers(|before, after| before == Reach::Outside && after == Reach::Inside);
        let (account, lists) = (
            format!("{username}@{}", self.matrix.host()),
            &self.matrix.blocklists,
        );
        let stopped = self.ledger.forget_unless(|request| {
            request.account != account || lists.reach(&request.entity, username) != Reach::Outside
        });
        BlocklistChange {
            blocked,
            unblocked,
            outbox: given_up(&stopped, &iq::no_account(self.matrix.host())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::ledger::Entry;
    use crate::matrix::{Grant, PermissionMatrix};
    use crate::memory::Memory;
    use crate::message;
    use crate::permission::{Access, MessageAccess, PresenceAccess};
    use crate::request::{Request, Sender, Session};
    use crate::settings;
    use std::cell::RefCell;
    use std::rc::Rc;

    const GATEWAY: &str = "gateway.lit";
    const OTHER: &str = "other.lit";

    fn grants(entities: &[&str]) -> PermissionMatrix {
        let mut matrix = PermissionMatrix::new("capulet.lit");
        for entity in entities {
            let grant = Grant {
                roster: Access::Both,
                message: MessageAccess::Outgoing,
                presence: PresenceAccess::Roster,
                iq: [("urn:x".to_owned(), Access::Both.into())].into(),
                ..Grant::default()
            };
            matrix.insert((*entity).to_owned(), grant);
        }
        matrix
    }

    fn settings() -> settings::Settings {
        let raw = settings::Raw {
            iq_limit: config::Value::Nil,
            iq_timeout: config::Value::Nil,
            probe: config::Value::Nil,
            probe_rate: config::Value::Nil,
        };
        settings::read("capulet.lit", &raw).0
    }

    /// A host with both entities connected; returns the numbers of their connections.
    fn host() -> (Host, Number, Number) {
        let mut host = Host::new("capulet.lit", "t-");
        host.configure(grants(&[GATEWAY, OTHER]), &settings());
        let mut connect = |entity: &str| {
            let memory = Rc::new(RefCell::new(Memory::new(64)));
            host.connected(entity, entity, memory, None).number
        };
        let numbers = (connect(GATEWAY), connect(OTHER));
        host.matrix.blocklists.begin(true);
        (host, numbers.0, numbers.1)
    }

    fn list(jids: &[&str]) -> BTreeSet<String> {
        jids.iter().map(|jid| (*jid).to_owned()).collect()
    }

    /// Who may act for juliet by a message: `None` where her list has to be read first.
    fn may(host: &Host, entity: &str, inner: &str) -> Option<bool> {
        let stanza: minidom::Element = format!(
            "<message xmlns='jabber:client'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege></message>"
        )
        .parse()
        .unwrap();
        let sender = Sender {
            session: Session::Component,
            host: entity,
            from: entity,
            acting: false,
        };
        let request = Request {
            sender,
            stanza: &stanza,
            normaliser: &crate::address::CrateNormaliser,
        };
        match message::judge(&host.matrix, &request) {
            Ok(permit) => permit.unread_blocklist.is_none().then_some(true),
            Err(denial) => {
                assert_eq!(denial.rule, "M2");
                Some(false)
            }
        }
    }

    const AS_JULIET: &str = "<message xmlns='jabber:client' from='juliet@capulet.lit' to='a@b.lit'/>";
    const TO_JULIET: &str = "<message xmlns='jabber:client' from='capulet.lit' to='juliet@capulet.lit/x'/>";

    #[test]
    fn g5_a_list_is_read_before_anything_is_allowed_and_ends_everything() {
        let (mut host, gateway, _) = host();
        for inner in [AS_JULIET, TO_JULIET] {
            assert_eq!(may(&host, GATEWAY, inner), None);
        }
        assert_eq!(host.blocklist("juliet", &list(&[])), BlocklistChange::default());
        for inner in [AS_JULIET, TO_JULIET] {
            assert_eq!(may(&host, GATEWAY, inner), Some(true));
        }
        let change = host.blocklist("juliet", &list(&[GATEWAY]));
        assert_eq!((change.blocked, change.unblocked), (vec![gateway], vec![]));
        for inner in [AS_JULIET, TO_JULIET] {
            assert_eq!(may(&host, GATEWAY, inner), Some(false));
            assert_eq!(may(&host, OTHER, inner), Some(true));
        }
        let change = host.blocklist("juliet", &list(&["x.lit"]));
        assert_eq!((change.blocked, change.unblocked), (vec![], vec![gateway]));
        assert_eq!(may(&host, GATEWAY, AS_JULIET), Some(true));
    }

    #[test]
    fn g5_requests_in_flight_of_the_blocked_entity_are_given_up() {
        let (mut host, _, _) = host();
        let open = |host: &mut Host, entity: &str, account: &str| {
            let entry = Entry {
                entity: entity.to_owned(),
                reply_to: entity.to_owned(),
                outer_id: "o".to_owned(),
                inner_id: "i".to_owned(),
                account: account.to_owned(),
                to: None,
            };
            host.ledger.open(0, entry).unwrap()
        };
        let gone = open(&mut host, GATEWAY, "juliet@capulet.lit");
        let others = [(OTHER, "juliet@capulet.lit"), (GATEWAY, "nurse@capulet.lit")];
        let kept = others.map(|(entity, account)| open(&mut host, entity, account));
        let change = host.blocklist("juliet", &list(&[GATEWAY]));
        let [error] = change.outbox.as_slice() else {
            panic!("{change:?}")
        };
        assert!(
            error.to == GATEWAY && error.text.contains("<forbidden "),
            "{error:?}"
        );
        assert!(!host.ledger.is_in_flight(&gone));
        assert!(kept.iter().all(|id| host.ledger.is_in_flight(id)));
    }

    #[test]
    fn g5_a_list_is_read_anew_for_other_entities_and_for_another_account_of_the_name() {
        let (mut host, _, _) = host();
        host.blocklist("juliet", &list(&["new.lit", GATEWAY]));
        host.configure(grants(&[GATEWAY, OTHER]), &settings());
        assert_eq!(may(&host, GATEWAY, AS_JULIET), Some(false));
        host.configure(grants(&[GATEWAY, OTHER, "new.lit"]), &settings());
        assert_eq!(may(&host, "new.lit", AS_JULIET), None);
        host.blocklist("juliet", &list(&["new.lit"]));
        assert_eq!(may(&host, "new.lit", AS_JULIET), Some(false));
        host.account_gone("juliet@capulet.lit");
        assert_eq!(may(&host, "new.lit", AS_JULIET), None);
    }
}
