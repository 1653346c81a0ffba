//! One granting host: its permissions, the privileged IQs in flight, and the entities that are connected.
//!
//! The host is told about events, and returns what may be done and what is to be sent. It sends nothing itself.

mod blocked;

pub use self::blocked::BlocklistChange;
use crate::decline::{self, Kind, Why};
use crate::denial::Denial;
use crate::entities::{Entities, Outgoing};
use crate::iq;
use crate::item::Item;
use crate::ledger::{self, Answer, Entry, Ledger};
use crate::matrix::PermissionMatrix;
use crate::memory::Todo;
use crate::permission::PresenceAccess;
use crate::settings::Settings;
use crate::viewers::{Number, SharedMemory, Viewers};
use crate::wire::iq::Reply;
use crate::wire::{self, roster::IqHead};

/// One granting host.
#[derive(Debug)]
pub struct Host {
    /// Its permissions.
    pub matrix: PermissionMatrix,
    /// The privileged IQs that wait for their answer.
    pub ledger: Ledger,
    /// The connections of entities.
    pub entities: Entities,
    /// Those of the connections that may see presence.
    pub viewers: Viewers,
    id_prefix: String,
    /// How many ids of its own the host has made, beside those of privileged IQs.
    last_id: u64,
}

/// A task so that a connection knows the presence that it may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// It is told who is there, from the beginning.
    Tell,
    /// It may see less than before. What it may still see has to be confirmed; see [`Viewers::confirm`].
    Confirm,
    /// It may see nothing any more.
    Stop,
}

impl Task {
    /// The name of the task.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Tell => "tell",
            Task::Confirm => "confirm",
            Task::Stop => "stop",
        }
    }
}

/// The result of reading a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// Stanzas to send.
    pub outbox: Vec<Outgoing>,
    /// The connections that may see more or less presence than before.
    pub tasks: Vec<(Number, Task)>,
}

/// The result of a new connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Connected {
    /// The number of the connection.
    pub number: Number,
    /// The advertisement, if it is news.
    pub advertisement: Option<Outgoing>,
    /// The task about presence, if there is one.
    pub task: Option<Task>,
}

/// The knowledge of an earlier instance of the module about a connection that is kept over a reload (L1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The last advertisement; see [`Entities::advertised`].
    pub advertised: Option<String>,
    /// Whether the connection had not been told everything yet.
    pub is_pending: bool,
    /// Whether its memory of presence has been kept.
    pub has_memory: bool,
    /// Whether everything that the earlier instance told has been noted in that memory. Version 0.1.0 noted nothing.
    pub is_noted: bool,
}

impl Host {
    /// A host that grants nothing yet. `id_prefix` begins the id of everything that it sends; it has to differ from that
    /// of every other host, those of earlier runs included.
    pub fn new(name: impl Into<String>, id_prefix: impl Into<String>) -> Host {
        let id_prefix = id_prefix.into();
        Host {
            matrix: PermissionMatrix::new(name),
            ledger: Ledger::new(id_prefix.clone()),
            entities: Entities::default(),
            viewers: Viewers::default(),
            id_prefix,
            last_id: 0,
        }
    }

    /// Returns an id that nothing else has.
    pub fn new_id(&mut self, what: &str) -> String {
        new_id(&self.id_prefix, &mut self.last_id, what)
    }

    /// How many ids of its own the host has made. An instance after a reload goes on from there; see [`Host::go_on`].
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Makes no id that an earlier instance, which has made so many, may have made.
    pub fn go_on(&mut self, last_id: u64) {
        self.last_id = self.last_id.max(last_id);
    }

    /// Puts a configuration in force: the very next stanza is judged by it, and entities are told what has changed for
    /// them (C6).
    pub fn configure(&mut self, mut matrix: PermissionMatrix, settings: &Settings) -> Configured {
        let changed = self.matrix.changed(&matrix);
        matrix.blocklists = std::mem::take(&mut self.matrix.blocklists);
        if matrix.entities() != self.matrix.entities() {
            matrix.blocklists.forget_all(); // of each only that was kept which concerned an entity
        }
        self.matrix = matrix;
        self.ledger.limits(settings.iq_limit, settings.iq_timeout);
        let granted = |request: &Entry| iq::is_granted(&self.matrix, &request.entity, &request.account);
        let ungranted = self.ledger.forget_unless(granted);
        let mut configured = Configured {
            outbox: given_up(&ungranted, &ledger::withdrawn()),
            tasks: Vec::new(),
        };
        let addresses: Vec<(String, Number)> = self
            .entities
            .iter()
            .filter(|(_, connection)| changed.binary_search(&connection.entity).is_ok())
            .map(|(address, connection)| (address.to_owned(), connection.number))
            .collect();
        for (address, number) in addresses {
            configured.outbox.extend(self.news(&address));
            let task = self.look(&address);
            configured.tasks.extend(task.map(|task| (number, task)));
        }
        configured
    }

    /// A connection of an entity has come: `address` is where its stanzas go, `memory` what it has been told of
    /// presence. `earlier` is given for a connection that is kept over a reload.
    pub fn connected(
        &mut self,
        address: &str,
        entity: &str,
        memory: SharedMemory,
        earlier: Option<Earlier>,
    ) -> Connected {
        self.disconnected(address);
        let advertised = earlier.as_ref().and_then(|earlier| earlier.advertised.clone());
        let number = self.entities.enter(address, entity, memory, advertised);
        let advertisement = self.news(address);
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.has_memory) {
            // An older version has told presence meanwhile and has not noted it: what was noted before may have been
            // told otherwise since. An entity that may see nothing any more is told nothing, so that what it was told is
            // out of date by the time it may see something again.
            if !earlier.is_noted || !self.may_see(entity) {
                self.forget_told(address);
            }
        }
        let todo = self.look(address);
        let task = match earlier {
            _ if !self.viewers.has(number) => None,
            None => Some(Task::Tell),
            Some(earlier) if earlier.is_pending => Some(Task::Tell),
            // Nobody knows what the earlier instance told. To tell all of it once more would be to tell it twice.
            Some(earlier) if !earlier.has_memory && advertisement.is_none() => None,
            Some(_) => todo,
        };
        Connected {
            number,
            advertisement,
            task,
        }
    }

    /// The connection with this address has ended. What waited for it is given up, since nobody is there to be told.
    pub fn disconnected(&mut self, address: &str) {
        let Some(connection) = self.entities.leave(address) else {
            return;
        };
        self.viewers.leave(connection.number, false);
        self.ledger.forget_reply_to(address);
        if address == connection.entity {
            self.ledger.forget_entity(address);
        }
    }

    /// A client of an entity has come or gone that may never have sent presence. Another client may have its address
    /// next, and must not be given its answers.
    pub fn client_changed(&mut self, address: &str) {
        self.ledger.forget_reply_to(address);
    }

    /// An account of the host, given by bare JID, does not exist any more (L7). Returns what is to be sent.
    pub fn account_gone(&mut self, account: &str) -> Vec<Outgoing> {
        if let Some((username, _)) = account.split_once('@') {
            self.matrix.blocklists.forget(username);
        }
        given_up(&self.ledger.forget_account(account), &ledger::withdrawn())
    }

    /// The time is `now`, in milliseconds of the clock of [`Ledger::open`]. Returns what is to be sent (Q6).
    pub fn tick(&mut self, now: u64) -> Vec<Outgoing> {
        given_up(&self.ledger.expire(now), &ledger::timed_out())
    }

    /// The host grants nothing from now on, for good. Returns what is to be sent.
    pub fn stop(&mut self) -> Vec<Outgoing> {
        let numbers: Vec<Number> = self
            .entities
            .iter()
            .map(|(_, connection)| connection.number)
            .collect();
        for number in numbers {
            self.viewers.leave(number, true);
        }
        self.matrix = PermissionMatrix::new(self.matrix.host());
        given_up(&self.ledger.drain(), &ledger::withdrawn())
    }

    /// Takes in that the server declines what was permitted, and returns the denial. `id` is that of a privileged IQ,
    /// which is not in flight any more.
    pub fn decline(&mut self, kind: Kind, why: &Why, id: Option<&str>) -> Denial {
        if let Some(id) = id {
            self.ledger.cancel(id);
        }
        decline::denial(self.matrix.host(), kind, why)
    }

    /// Takes an IQ of type result or error whose id has our prefix (Q5). Returns the request that it answers; `None` where
    /// it ends here, because it is forged, late or repeated.
    pub fn answer(&mut self, id: &str, from: Option<&str>, to: &str) -> Option<Entry> {
        match self.ledger.answer(id, from, to) {
            Answer::NotOurs | Answer::Stray => None,
            Answer::To(request) => Some(*request),
        }
    }

    /// The pushes of one contact in the roster of the account `username`, for all who get them (R7, R8). `item` is `None`
    /// where the contact is gone, `version` where the server keeps none.
    pub fn pushes(
        &mut self,
        username: &str,
        jid: &str,
        item: Option<&Item>,
        version: Option<&str>,
    ) -> Vec<Outgoing> {
        let Host {
            matrix,
            entities,
            id_prefix,
            last_id,
            ..
        } = self;
        let account = format!("{username}@{}", matrix.host());
        let push = |(address, shows_all): (&str, bool)| {
            let id = new_id(id_prefix, last_id, "push");
            // The version is that of the whole roster, which is not for everybody to follow (G1).
            let version = version.filter(|_| shows_all);
            let head = IqHead {
                kind: "set",
                from: &account,
                to: address,
                id: &id,
            };
            Outgoing {
                to: address.to_owned(),
                text: wire::roster::push(&head, version, jid, item),
            }
        };
        entities.pushed(matrix, username, jid).map(push).collect()
    }

    fn news(&mut self, address: &str) -> Option<Outgoing> {
        let Host {
            matrix,
            entities,
            id_prefix,
            last_id,
            ..
        } = self;
        entities.news(address, matrix, || new_id(id_prefix, last_id, "told"))
    }

    /// Whether an entity may see any presence.
    fn may_see(&self, entity: &str) -> bool {
        self.matrix
            .grant(entity)
            .is_some_and(|grant| grant.presence != PresenceAccess::None)
    }

    /// Forgets the presence that this host had a reason to tell a connection.
    fn forget_told(&self, address: &str) {
        if let Some(connection) = self.entities.get(address) {
            let mut memory = connection.memory.borrow_mut();
            let host = memory.host(self.matrix.host());
            memory.grant(host, None);
        }
    }

    /// Enters a connection among the viewers, or takes it out, as its grant says.
    fn look(&mut self, address: &str) -> Option<Task> {
        let connection = self.entities.get(address)?;
        let number = connection.number;
        let grant = self.matrix.grant(&connection.entity);
        let Some(grant) = grant.filter(|grant| grant.presence != PresenceAccess::None) else {
            let was_viewer = self.viewers.has(number);
            self.viewers.leave(number, true);
            return was_viewer.then_some(Task::Stop);
        };
        let memory = SharedMemory::clone(&connection.memory);
        let todo = self
            .viewers
            .enter(number, &connection.entity, grant, self.matrix.host(), memory);
        match todo {
            Todo::Nothing => None,
            Todo::Confirm => Some(Task::Confirm),
            Todo::Tell => Some(Task::Tell),
        }
    }
}

fn new_id(prefix: &str, last: &mut u64, what: &str) -> String {
    *last += 1;
    format!("{prefix}{what}-{last:x}")
}

/// The errors that answer requests which are given up.
fn given_up(requests: &[Entry], why: &Denial) -> Vec<Outgoing> {
    let error = |request: &Entry| Outgoing {
        to: request.reply_to.clone(),
        text: wire::iq::error(&Reply::to(request), why),
    };
    requests.iter().map(error).collect()
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
