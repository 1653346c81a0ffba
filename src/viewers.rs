//! Who is told presence by a granting host: the connections of entities, each with its memory.

mod asking;
mod blocked;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::fingerprint::{Fingerprint, Sender};
use crate::matrix::{Grant, PermissionMatrix};
use crate::memory::{Host, Knowledge, Memory, Todo};
use crate::presence::{self, Occasion};

/// The memory of a connection, which all granting hosts hold.
pub type SharedMemory = Rc<RefCell<Memory>>;

/// The number of a connection; see [`crate::entities`].
pub type Number = u32;

/// A presence that is at hand: why, of which account, and from whom.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Why it is at hand.
    pub occasion: Occasion,
    /// The account that sends it, or that it has come to.
    pub username: &'a str,
    /// The normalised address of the sender.
    pub from: &'a str,
}

#[derive(Debug)]
struct Viewer {
    number: Number,
    entity: String,
    memory: SharedMemory,
    host: Host,
}

/// How many presences may be on their way between [`Viewers::tell`] and [`Viewers::shown`]. More than
/// one is only where the server had to wait for something in between.
const MOST_UNDER_WAY: usize = 32;

#[derive(Debug)]
struct UnderWay {
    ticket: u64,
    print: Fingerprint,
    /// Those who know the presence from another host.
    informed: Vec<Number>,
}

/// The viewers of one granting host.
#[derive(Debug, Default)]
pub struct Viewers {
    /// In the order of their numbers.
    list: Vec<Viewer>,
    last_ticket: u64,
    under_way: VecDeque<UnderWay>,
}

/// Those who have to be told a presence, and the ticket under which to say that they were.
#[derive(Debug, PartialEq, Eq)]
pub struct Telling {
    /// Empty where nobody has to be told, but somebody's knowledge is to be noted.
    pub viewers: Vec<Number>,
    /// For [`Viewers::shown`].
    pub ticket: u64,
}

impl Viewers {
    /// Enters a connection of an entity that may see presence, or changes its grant if it is there. Returns what is to
    /// be done, because the entity may see more or less than when it was last told.
    pub fn enter(
        &mut self,
        number: Number,
        entity: &str,
        grant: &Rc<Grant>,
        host: &str,
        memory: SharedMemory,
    ) -> Todo {
        let (host, todo) = {
            let mut memory = memory.borrow_mut();
            let host = memory.host(host);
            (host, memory.grant(host, Some(grant)))
        };
        let viewer = Viewer {
            number,
            entity: entity.to_owned(),
            memory,
            host,
        };
        match self.place(number) {
            Ok(place) => {
                if let Some(earlier) = self.list.get_mut(place) {
                    *earlier = viewer;
                }
            }
            Err(place) => self.list.insert(place, viewer),
        }
        todo
    }

    /// The connection has gone, or is a viewer no longer. With `revoked`, the host has taken the grant
    /// away: what the entity was told is no longer known to it on the host's account.
    pub fn leave(&mut self, number: Number, revoked: bool) {
        if revoked && let Some(viewer) = self.get(number) {
            viewer.memory.borrow_mut().grant(viewer.host, None);
        }
        self.list.retain(|viewer| viewer.number != number);
    }

    /// Whether a connection may see presence.
    pub fn has(&self, number: Number) -> bool {
        self.get(number).is_some()
    }

    /// Who may see a presence and does not know it. `among` leaves out everybody else. `None` where
    /// there is nothing to do. The fingerprint is only taken where somebody may see the presence. `is_sent` returns
    /// whether the server itself sends the presence to an entity, as to a contact of the sender: then the entity knows it
    /// (P5).
    pub fn tell(
        &mut self,
        matrix: &PermissionMatrix,
        case: Case<'_>,
        among: Option<&[Number]>,
        print: impl FnOnce() -> Fingerprint,
        is_sent: impl Fn(&str) -> bool,
    ) -> Option<Telling> {
        let mut seeing = self.seeing(matrix, case, among).peekable();
        seeing.peek()?;
        let print = print();
        let (mut news, mut informed) = (Vec::new(), Vec::new());
        for viewer in seeing {
            match viewer.memory.borrow().knowledge(print, viewer.host) {
                Knowledge::News if !is_sent(&viewer.entity) => news.push(viewer.number),
                Knowledge::News => informed.push(viewer.number),
                Knowledge::OfOthers => informed.push(viewer.number),
                Knowledge::Known => {}
            }
        }
        if news.is_empty() && informed.is_empty() {
            return None;
        }
        self.last_ticket += 1;
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.pop_front(); // never shown, or told a second time when it comes again
        }
        self.under_way.push_back(UnderWay {
            ticket: self.last_ticket,
            print,
            informed,
        });
        Some(Telling {
            viewers: news,
            ticket: self.last_ticket,
        })
    }

    /// These viewers have been told the presence of the ticket.
    pub fn shown(&mut self, ticket: u64, told: &[Number]) {
        let Some(place) = self.under_way.iter().position(|entry| entry.ticket == ticket) else {
            return;
        };
        let Some(UnderWay { print, informed, .. }) = self.under_way.remove(place) else {
            return;
        };
        for number in told.iter().chain(&informed) {
            if let Some(viewer) = self.get(*number) {
                viewer.memory.borrow_mut().learn(print, viewer.host);
            }
        }
    }

    /// Whether any of these may believe somebody available for no reason that holds today; see [`Viewers::unfounded`].
    pub fn may_mislead(&self, among: Option<&[Number]>) -> bool {
        let of_some = among.into_iter().flatten().filter_map(|number| self.get(*number));
        let mut all = of_some.chain(among.is_none().then_some(&self.list).into_iter().flatten());
        all.any(|viewer| viewer.memory.borrow().may_mislead())
    }

    /// Those who believe that an account, or a contact of it, is available, for no reason that holds
    /// today, and beside whoever is `present`. They have to be told that its bare JID is unavailable,
    /// which is noted.
    pub fn unfounded(
        &self,
        matrix: &PermissionMatrix,
        case: Case<'_>,
        among: Option<&[Number]>,
        present: &[Sender],
    ) -> Vec<Number> {
        self.seeing(matrix, case, among)
            .filter(|viewer| viewer.memory.borrow_mut().settle(case.from, present))
            .map(|viewer| viewer.number)
            .collect()
    }

    /// An account is no longer subscribed to a contact, though `others` are. For viewers who may not see
    /// it on account of one of those, what they were told is forgotten. Those who are left believing the
    /// contact available; see [`Viewers::unfounded`] (P8). `blocked` are the viewers whose entity the account has just
    /// blocked: the contact is lost to these alone (G5).
    pub fn lost(
        &self,
        matrix: &PermissionMatrix,
        case: Case<'_>,
        others: &[String],
        blocked: Option<&[Number]>,
    ) -> Vec<Number> {
        let losing: Vec<&Viewer> = match blocked {
            Some(blocked) => {
                let blocked = blocked.iter().filter_map(|number| self.get(*number));
                blocked.filter(|viewer| viewer.could_see(matrix, case)).collect()
            }
            None => self.seeing(matrix, case, None).collect(),
        };
        losing
            .into_iter()
            .filter(|viewer| {
                !others
                    .iter()
                    .any(|username| viewer.may_see(matrix, Case { username, ..case }))
            })
            .filter(|viewer| viewer.memory.borrow_mut().forget(case.from, viewer.host))
            .map(|viewer| viewer.number)
            .collect()
    }

    /// An account is what it is and has these contacts: what the viewers were told of it and of them, and
    /// may still see, is known on this account (P4).
    pub fn confirm<'c>(
        &self,
        matrix: &PermissionMatrix,
        username: &str,
        contacts: impl Iterator<Item = &'c str> + Clone,
        among: &[Number],
    ) {
        let account = format!("{username}@{}", matrix.host());
        for viewer in among.iter().filter_map(|number| self.get(*number)) {
            let of_account = std::iter::once((Occasion::Account, account.as_str()));
            let of_contacts = contacts.clone().map(|contact| (Occasion::Contact, contact));
            for (occasion, from) in of_account.chain(of_contacts) {
                let case = Case {
                    occasion,
                    username,
                    from,
                };
                if viewer.may_see(matrix, case) {
                    viewer.memory.borrow_mut().confirm(from, viewer.host);
                }
            }
        }
    }

    /// The place of a viewer in the list, or the one where it belongs.
    fn place(&self, number: Number) -> Result<usize, usize> {
        self.list.binary_search_by_key(&number, |viewer| viewer.number)
    }

    fn get(&self, number: Number) -> Option<&Viewer> {
        self.list.get(self.place(number).ok()?)
    }

    fn seeing<'v>(
        &'v self,
        matrix: &'v PermissionMatrix,
        case: Case<'v>,
        among: Option<&'v [Number]>,
    ) -> impl Iterator<Item = &'v Viewer> {
        let of_list = among.is_none().then_some(&self.list).into_iter().flatten();
        let of_some = among.into_iter().flatten().filter_map(|number| self.get(*number));
        of_list
            .chain(of_some)
            .filter(move |viewer| viewer.may_see(matrix, case))
    }
}

impl Viewer {
    fn may_see(&self, matrix: &PermissionMatrix, case: Case<'_>) -> bool {
        self.sees(matrix, case, presence::may_see)
    }

    fn could_see(&self, matrix: &PermissionMatrix, case: Case<'_>) -> bool {
        self.sees(matrix, case, presence::could_see)
    }

    fn sees(
        &self,
        matrix: &PermissionMatrix,
        case: Case<'_>,
        rule: fn(&PermissionMatrix, &str, &Grant, Occasion, &str, &str) -> bool,
    ) -> bool {
        matrix.grant(&self.entity).is_some_and(|grant| {
            rule(
                matrix,
                &self.entity,
                grant,
                case.occasion,
                case.username,
                case.from,
            )
        })
    }
}

#[cfg(test)]
#[path = "viewers_tests.rs"]
mod tests;
