//! The ledger of privileged IQs that wait for their answer (Q4 to Q6).
//!
//! Every request leaves under an id made here, so ids chosen outside never meet: not those of two
//! accounts, two entities, two targets, nor one used twice. Only the address that was asked can
//! answer, and only once.

use std::collections::{BTreeSet, HashMap};

use crate::denial::{Condition, Denial, ErrorType};
use crate::element::Element;
use crate::request::{Permit, Request};

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The privileged entity, by bare JID: whom it counts against.
    pub entity: String,
    /// Where the answer goes: `from` of the outer IQ.
    pub reply_to: String,
    /// `id` of the outer IQ.
    pub outer_id: String,
    /// `id` of the inner IQ as the entity gave it.
    pub inner_id: String,
    /// The account it was sent for, by bare JID.
    pub account: String,
    /// Who was asked; `None` for the account's own server, by leaving `to` out.
    pub to: Option<String>,
}

impl Entry {
    /// Whether the entity is a component.
    pub fn is_of_component(&self) -> bool {
        !self.entity.contains('@')
    }

    /// Whether an answer from this address is one to this request. The account's own server answers
    /// in the name of the account, or without any.
    fn is_answered_by(&self, from: Option<&str>) -> bool {
        let asked = self.to.as_deref().unwrap_or(&self.account);
        match from {
            Some(from) => from == asked,
            None => asked == self.account,
        }
    }
}

/// The meaning of an IQ of type result or error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its id was not made here: somebody else's business.
    NotOurs,
    /// Forged, late or repeated: to be dropped.
    Stray,
    /// The answer to this request, which is no longer in flight.
    To(Box<Entry>),
}

/// All requests in flight of one granting host.
#[derive(Debug)]
pub struct Ledger {
    prefix: String,
    next: u64,
    requests: HashMap<u64, (u64, Entry)>,
    deadlines: BTreeSet<(u64, u64)>,
    per_entity: HashMap<String, usize>,
    limit: usize,
    timeout: u64,
}

impl Ledger {
    /// An empty ledger. `prefix` starts every id and has to differ from that of every other ledger,
    /// those of earlier runs included, so that a late answer is recognised as such.
    pub fn new(prefix: impl Into<String>) -> Ledger {
        Ledger {
            prefix: prefix.into(),
            next: 1,
            requests: HashMap::new(),
            deadlines: BTreeSet::new(),
            per_entity: HashMap::new(),
            limit: 10_000,
            timeout: 90_000,
        }
    }

    /// Sets how many requests one entity may have in flight and how long each may take, in
    /// milliseconds. Applies to requests from now on.
    pub fn limits(&mut self, limit: usize, timeout: u64) {
        self.limit = limit;
        self.timeout = timeout;
    }

    /// How many requests are in flight.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Enters what a permit lets go ahead; see [`Ledger::open`]. The answer goes to the sender of the request.
    pub fn enter<T: Element>(
        &mut self,
        now: u64,
        request: &Request<'_, T>,
        permit: &Permit<T>,
    ) -> Result<String, Denial> {
        let attribute = |name| request.stanza.attribute(name).unwrap_or_default();
        self.open(
            now,
            Entry {
                entity: request.sender.entity().unwrap_or_default().to_owned(),
                reply_to: attribute("from"),
                outer_id: attribute("id"),
                inner_id: permit.inner_id.clone().unwrap_or_default(),
                account: permit.account.clone(),
                to: permit.to.clone(),
            },
        )
    }

    /// Enters a request at the time `now` (milliseconds on any clock that does not run backwards)
    /// and returns the id that it has to leave under. Where too many are in flight, returns
    /// `wait/resource-constraint` (Q6).
    pub fn open(&mut self, now: u64, request: Entry) -> Result<String, Denial> {
        let count = self.per_entity.entry(request.entity.clone()).or_insert(0);
        if *count >= self.limit {
            return Err(Denial::new(
                ErrorType::Wait,
                Condition::ResourceConstraint,
                "Q6",
                format!(
                    "{} privileged IQs wait for their answer already (privilege_iq_limit); try again when some are answered",
                    *count
                ),
            ));
        }
        *count += 1;
        let number = self.next;
        self.next += 1;
        self.put(number, now.saturating_add(self.timeout), request);
        Ok(format!("{}{number:x}", self.prefix))
    }

    fn put(&mut self, number: u64, deadline: u64, request: Entry) {
        self.deadlines.insert((deadline, number));
        self.requests.insert(number, (deadline, request));
    }

    /// Returns the request that an IQ with this id answers, sent by `from` to the account `to` (Q5). A stray answer
    /// changes nothing.
    pub fn answer(&mut self, id: &str, from: Option<&str>, to: &str) -> Answer {
        let Some(number) = id.strip_prefix(self.prefix.as_str()) else {
            return Answer::NotOurs;
        };
        // Ids are compared as written: `from_str_radix` would also read "+1" and "01".
        let Some(number) = u64::from_str_radix(number, 16)
            .ok()
            .filter(|n| format!("{n:x}") == number)
        else {
            return Answer::Stray;
        };
        match self.requests.get(&number) {
            Some((_, request)) if request.account == to && request.is_answered_by(from) => self
                .take(number)
                .map_or(Answer::Stray, |request| Answer::To(Box::new(request))),
            _ => Answer::Stray,
        }
    }

    fn take(&mut self, number: u64) -> Option<Entry> {
        let (deadline, request) = self.requests.remove(&number)?;
        self.deadlines.remove(&(deadline, number));
        if let Some(count) = self.per_entity.get_mut(&request.entity) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_entity.remove(&request.entity);
            }
        }
        Some(request)
    }

    /// Takes out the request that left under this id, answered or not.
    pub fn cancel(&mut self, id: &str) -> Option<Entry> {
        self.take(self.number(id)?)
    }

    /// Whether the request that left under this id waits for its answer.
    pub fn is_in_flight(&self, id: &str) -> bool {
        self.number(id)
            .is_some_and(|number| self.requests.contains_key(&number))
    }

    fn number(&self, id: &str) -> Option<u64> {
        u64::from_str_radix(id.strip_prefix(self.prefix.as_str())?, 16).ok()
    }

    /// Takes out what has waited too long, oldest first; each is to be answered with
    /// [`timed_out`].
    pub fn expire(&mut self, now: u64) -> Vec<Entry> {
        let mut expired = Vec::new();
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            expired.extend(self.take(number));
        }
        expired
    }

    /// Takes out every request whose answer would go to `reply_to`, which is gone.
    pub fn forget_reply_to(&mut self, reply_to: &str) -> Vec<Entry> {
        self.take_where(|request| request.reply_to == reply_to)
    }

    /// Takes out every request of an entity, by bare JID.
    pub fn forget_entity(&mut self, entity: &str) -> Vec<Entry> {
        self.take_where(|request| request.entity == entity)
    }

    /// Takes out every request of an account that is no more (L7).
    pub fn forget_account(&mut self, account: &str) -> Vec<Entry> {
        self.take_where(|request| request.account == account)
    }

    /// Takes out every request that is not to be kept.
    pub fn forget_unless(&mut self, keep: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.take_where(|request| !keep(request))
    }

    /// Takes out everything, oldest first.
    pub fn drain(&mut self) -> Vec<Entry> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut numbers: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, (_, request))| wanted(request))
            .map(|(n, _)| *n)
            .collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|number| self.take(number))
            .collect()
    }

    /// Takes out everything needed to go on in another instance: the next number, and each request
    /// with its number and deadline (L1). What is answered afterwards is answered there.
    pub fn export(&mut self) -> (u64, Vec<(u64, u64, Entry)>) {
        let mut requests: Vec<_> = self
            .requests
            .drain()
            .map(|(number, (deadline, request))| (number, deadline, request))
            .collect();
        requests.sort_unstable_by_key(|(number, ..)| *number);
        self.deadlines.clear();
        self.per_entity.clear();
        (self.next, requests)
    }

    /// Goes on where another instance stopped; the ids of its requests have to begin with the
    /// prefix of this one.
    pub fn import(&mut self, next: u64, requests: Vec<(u64, u64, Entry)>) {
        self.next = self.next.max(next);
        for (number, deadline, request) in requests {
            self.next = self.next.max(number.saturating_add(1));
            *self.per_entity.entry(request.entity.clone()).or_insert(0) += 1;
            self.put(number, deadline, request);
        }
    }
}

/// The answer the entity gets where none came in time (Q6).
pub fn timed_out() -> Denial {
    Denial::new(
        ErrorType::Wait,
        Condition::RemoteServerTimeout,
        "Q6",
        "no answer to the privileged IQ in time (privilege_iq_timeout)",
    )
}

/// The answer the entity gets where the one that came cannot be relayed (Q7).
pub fn unrelayable() -> Denial {
    Denial::failed(
        "Q7",
        "the answer to the privileged IQ cannot be relayed: it is nested too deeply",
    )
}

/// The answer the entity gets where the account or the grant has gone while it waited (L7).
pub fn withdrawn() -> Denial {
    Denial::new(
        ErrorType::Cancel,
        Condition::ServiceUnavailable,
        "L1",
        "the privileged IQ was given up: the account, the permission or the module is gone",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(entity: &str, account: &str, to: Option<&str>, id: &str) -> Entry {
        Entry {
            entity: entity.into(),
            reply_to: entity.into(),
            outer_id: format!("outer-{id}"),
            inner_id: id.into(),
            account: account.into(),
            to: to.map(str::to_owned),
        }
    }

    fn inner_id(answer: Answer) -> Option<String> {
        match answer {
            Answer::To(request) => Some(request.inner_id),
            _ => None,
        }
    }

    const JULIET: &str = "juliet@capulet.lit";

    #[test]
    fn q5_only_the_asked_address_answers_and_only_once() {
        let mut ledger = Ledger::new("p-");
        let id = ledger
            .open(0, request("c", JULIET, Some("romeo@montague.lit"), "1"))
            .unwrap();
        for (from, to) in [
            (Some("mallory@montague.lit"), JULIET),
            (Some("romeo@montague.lit/x"), JULIET),
            (Some("montague.lit"), JULIET),
            (None, JULIET),
            (Some("romeo@montague.lit"), "nurse@capulet.lit"),
        ] {
            assert_eq!(ledger.answer(&id, from, to), Answer::Stray);
        }
        assert_eq!(
            ledger.answer("x-1", Some("romeo@montague.lit"), JULIET),
            Answer::NotOurs
        );
        assert_eq!(
            ledger.answer("p-", Some("romeo@montague.lit"), JULIET),
            Answer::Stray
        );
        assert_eq!(
            ledger.answer("p-+1", Some("romeo@montague.lit"), JULIET),
            Answer::Stray
        );
        assert_eq!(
            ledger.answer("p-01", Some("romeo@montague.lit"), JULIET),
            Answer::Stray
        );
        assert_eq!(
            inner_id(ledger.answer(&id, Some("romeo@montague.lit"), JULIET)).as_deref(),
            Some("1")
        );
        assert_eq!(
            ledger.answer(&id, Some("romeo@montague.lit"), JULIET),
            Answer::Stray
        );
        assert!(ledger.is_empty());
    }

    #[test]
    fn q3_the_accounts_own_server_answers_for_it_or_without_a_name() {
        for to in [None, Some(JULIET)] {
            for from in [None, Some(JULIET)] {
                let mut ledger = Ledger::new("p-");
                let id = ledger.open(0, request("c", JULIET, to, "1")).unwrap();
                assert_eq!(ledger.answer(&id, Some("capulet.lit"), JULIET), Answer::Stray);
                assert!(inner_id(ledger.answer(&id, from, JULIET)).is_some());
            }
        }
    }

    #[test]
    fn q6_the_limit_counts_per_entity_and_what_is_answered_counts_no_more() {
        let mut ledger = Ledger::new("p-");
        ledger.limits(2, 1000);
        let first = ledger.open(0, request("a", JULIET, None, "same")).unwrap();
        let second = ledger.open(0, request("a", JULIET, None, "same")).unwrap();
        assert_ne!(first, second);
        let denial = ledger.open(0, request("a", JULIET, None, "x")).unwrap_err();
        assert_eq!(
            (denial.error_type, denial.condition),
            (ErrorType::Wait, Condition::ResourceConstraint)
        );
        ledger.open(0, request("b", JULIET, None, "same")).unwrap();
        assert!(inner_id(ledger.answer(&first, None, JULIET)).is_some());
        ledger.open(0, request("a", JULIET, None, "x")).unwrap();
    }

    #[test]
    fn q6_what_waits_too_long_is_taken_out_oldest_first() {
        let mut ledger = Ledger::new("p-");
        ledger.limits(10, 1000);
        ledger.open(0, request("a", JULIET, None, "1")).unwrap();
        ledger.open(500, request("a", JULIET, None, "2")).unwrap();
        assert!(ledger.expire(999).is_empty());
        ledger.limits(10, 10);
        ledger.open(900, request("a", JULIET, None, "3")).unwrap();
        let ids: Vec<String> = ledger.expire(1000).into_iter().map(|r| r.inner_id).collect();
        assert_eq!(ids, ["3", "1"]);
        assert_eq!(ledger.len(), 1);
        assert_eq!(ledger.forget_entity("a").len(), 1);
        assert!(ledger.expire(u64::MAX).is_empty() && ledger.per_entity.is_empty());
    }

    #[test]
    fn l1_another_instance_goes_on_where_this_one_stopped() {
        let mut ledger = Ledger::new("p-");
        let id = ledger.open(0, request("a", JULIET, Some("x.lit"), "1")).unwrap();
        let mut next = Ledger::new("p-");
        let (number, requests) = ledger.export();
        next.import(number, requests);
        let other = next.open(0, request("a", JULIET, Some("x.lit"), "2")).unwrap();
        assert_ne!(id, other);
        assert_eq!(ledger.answer(&id, Some("x.lit"), JULIET), Answer::Stray);
        assert_eq!(
            inner_id(next.answer(&id, Some("x.lit"), JULIET)).as_deref(),
            Some("1")
        );
    }

    proptest! {
        /// However requests and answers are shuffled, each answer finds its own request.
        #[test]
        fn q5_answers_never_mix(
            asked in prop::collection::vec((0usize..3, 0usize..3, 0usize..3, 0usize..2), 1..60),
            order in any::<u64>(),
        ) {
            let mut ledger = Ledger::new("p-");
            let mut open: Vec<(String, Entry)> = asked
                .into_iter()
                .map(|(entity, account, target, id)| {
                    let request = request(
                        ["a", "b", "c"][entity],
                        ["x@h", "y@h", "z@h"][account],
                        [None, Some("s.lit"), Some("t.lit")][target],
                        ["same", "other"][id],
                    );
                    (ledger.open(0, request.clone()).unwrap(), request)
                })
                .collect();
            let mut seed = order;
            while !open.is_empty() {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (id, request) = open.swap_remove((seed >> 33) as usize % open.len());
                let from = request.to.clone().or(Some(request.account.clone()));
                match ledger.answer(&id, from.as_deref(), &request.account) {
                    Answer::To(found) => prop_assert_eq!(*found, request),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(ledger.is_empty());
            prop_assert!(ledger.deadlines.is_empty() && ledger.per_entity.is_empty());
        }
    }
}
