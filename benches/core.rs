//! The cost of the core by itself, without Lua and without a server: `make bench-core`.
//!
//! Stanzas are made from XML text, so an envelope is read from a `minidom::Element` here. The cost of reading the
//! tables of the server is measured by `spec/bench/border.lua`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::process::ExitCode;

use common::{AsWritten, CrateNormaliser, ENTITY, HOST, JULIET, SENDER, TestServer};
use criterion::{BatchSize, Criterion, Throughput};
use minidom::Element;
use privilege_native::address::Normaliser;
use privilege_native::config::{self, Value};
use privilege_native::fingerprint::{Fingerprint, Fingerprinter};
use privilege_native::item::{Item, Subscription};
use privilege_native::ledger::{Entry, Ledger};
use privilege_native::matrix::{Grant, PermissionMatrix};
use privilege_native::memory::Memory;
use privilege_native::permission::{Access, MessageAccess, PresenceAccess};
use privilege_native::request::{Request, Sender};
use privilege_native::roster;
use privilege_native::wire::roster::{IqHead, RosterWriter};
use privilege_native::{envelope, iq, message, ns};

fn matrix() -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    let iq = [
        (ns::ROSTER, Access::Get),
        ("http://jabber.org/protocol/pubsub", Access::Both),
        ("urn:xmpp:ping", Access::Get),
    ];
    matrix.insert(
        ENTITY.to_owned(),
        Grant {
            roster: Access::Both,
            message: MessageAccess::Outgoing,
            presence: PresenceAccess::Roster,
            iq: iq
                .map(|(namespace, access)| (namespace.to_owned(), access.into()))
                .into(),
            ..Grant::default()
        },
    );
    matrix
}

fn privileged_message() -> String {
    format!(
        "<message xmlns='jabber:client' from='{ENTITY}' to='{HOST}' id='o'>\
         <privilege xmlns='{}'><forwarded xmlns='{}'>\
         <message xmlns='jabber:client' from='{JULIET}' to='romeo@montague.lit/orchard' type='chat' id='i'>\
         <body>Shall I hear more, or shall I speak at this?</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/></message></forwarded></privilege></message>",
        ns::PRIVILEGE,
        ns::FORWARD
    )
}

fn privileged_iq() -> String {
    format!(
        "<iq xmlns='jabber:client' from='{ENTITY}' to='{JULIET}' id='o' type='get'><privileged_iq xmlns='{}'>\
         <iq xmlns='jabber:client' type='get' to='{HOST}' id='i'><ping xmlns='urn:xmpp:ping'/></iq>\
         </privileged_iq></iq>",
        ns::PRIVILEGE
    )
}

fn request<'a, T>(sender: Sender<'a>, stanza: T, normaliser: &'a dyn Normaliser) -> Request<'a, T> {
    Request {
        sender,
        stanza,
        normaliser,
    }
}

fn judgements(c: &mut Criterion) -> Result<(), minidom::Error> {
    let matrix = matrix();
    let message: &Element = &privileged_message().parse()?;
    let iq: &Element = &privileged_iq().parse()?;
    let stranger = Sender {
        host: "stranger.lit",
        from: "stranger.lit",
        ..SENDER
    };

    let mut group = c.benchmark_group("message");
    group.bench_function("envelope", |b| {
        b.iter(|| envelope::read_message(black_box(&message)).is_ok());
    });
    group.bench_function("judge, addresses taken as they are", |b| {
        b.iter(|| message::judge(&matrix, &request(SENDER, black_box(message), &AsWritten)).is_ok());
    });
    group.bench_function("judge, addresses normalised by the jid crate", |b| {
        b.iter(|| message::judge(&matrix, &request(SENDER, black_box(message), &CrateNormaliser)).is_ok());
    });
    group.bench_function("deny a stranger", |b| {
        b.iter(|| message::judge(&matrix, &request(stranger, black_box(message), &CrateNormaliser)).is_err());
    });
    group.finish();

    let mut group = c.benchmark_group("iq");
    group.bench_function("envelope", |b| {
        b.iter(|| envelope::read_iq(black_box(&iq)).is_ok());
    });
    group.bench_function("judge, addresses taken as they are", |b| {
        b.iter(|| iq::judge(&matrix, &request(SENDER, black_box(iq), &AsWritten)).is_ok());
    });
    group.bench_function("deny a stranger", |b| {
        b.iter(|| iq::judge(&matrix, &request(stranger, black_box(iq), &AsWritten)).is_err());
    });
    group.finish();
    Ok(())
}

fn contacts(count: usize) -> Vec<(String, Item)> {
    let kinds = [
        Subscription::Both,
        Subscription::To,
        Subscription::From,
        Subscription::None,
    ];
    (0..count)
        .zip(kinds.into_iter().cycle())
        .map(|(number, subscription)| {
            let mut item = Item {
                subscription,
                name: Some(format!("Contact Number {number}")),
                ..Item::default()
            };
            if number % 2 == 0 {
                item.groups.insert("Friends & family".to_owned());
            }
            (format!("contact{number:05}@verona.lit"), item)
        })
        .collect()
}

const RESULT: IqHead<'static> = IqHead {
    kind: "result",
    from: JULIET,
    to: ENTITY,
    id: "o",
};

fn rosters(c: &mut Criterion) -> Result<(), minidom::Error> {
    const ITEMS: usize = 5_000;
    let contacts = contacts(ITEMS);
    let set: &Element = &format!(
        "<query xmlns='{}'><item jid='contact00042@verona.lit' name='Another' subscription='both'><group>Verona</group></item></query>",
        ns::ROSTER
    )
    .parse()?;

    let mut group = c.benchmark_group("roster");
    group.bench_function("plan a set of one item", |b| {
        let item = contacts.get(42).map(|(_, item)| item.clone());
        b.iter(|| {
            roster::read_set(black_box(&set), JULIET, &AsWritten)
                .and_then(|edits| roster::plan(edits, |_| item.clone().map(roster::Current::from)))
                .is_ok()
        });
    });
    group.throughput(Throughput::Elements(ITEMS as u64));
    group.bench_function("write 5,000 items", |b| {
        b.iter(|| {
            let mut writer = RosterWriter::new(&RESULT, Some("17"), 4096);
            for (jid, item) in black_box(&contacts) {
                writer.whole(jid, Some(item));
            }
            writer.finish()
        });
    });
    group.finish();
    Ok(())
}

/// The fingerprint of a presence of usual size.
fn fingerprint(number: usize, status: &str) -> Fingerprint {
    let mut print = Fingerprinter::new(&format!("contact{number}@verona.lit/phone"), None);
    print.open("status", ns::CLIENT, &mut []);
    print.text(status);
    print.close();
    print.finish()
}

fn presence(c: &mut Criterion) {
    const SENDERS: usize = 1_000_000;
    let prints: Vec<Fingerprint> = (0..SENDERS).map(|number| fingerprint(number, "here")).collect();
    let mut memory = Memory::new(1 << 20);
    let host = memory.host("capulet.lit");
    for print in &prints {
        memory.learn(*print, host);
    }
    println!(
        "presence memory: {SENDERS} senders told, {} remembered",
        memory.len()
    );

    let mut group = c.benchmark_group("presence memory of a million");
    let mut next = prints.iter().cycle();
    group.bench_function("knows", |b| {
        b.iter(|| next.next().map(|print| memory.knowledge(*print, host)));
    });
    let changes: Vec<Fingerprint> = (0..SENDERS).map(|number| fingerprint(number, "away")).collect();
    let mut next = changes.iter().cycle();
    group.bench_function("learn a change", |b| {
        b.iter(|| {
            if let Some(print) = next.next() {
                memory.learn(*print, host);
            }
        });
    });
    group.bench_function("fingerprint", |b| {
        b.iter(|| fingerprint(black_box(7), black_box("Sleeping, perchance dreaming")));
    });
    group.finish();
}

fn entry(number: usize) -> Entry {
    Entry {
        entity: ENTITY.to_owned(),
        reply_to: ENTITY.to_owned(),
        outer_id: format!("outer-{number}"),
        inner_id: format!("inner-{number}"),
        account: JULIET.to_owned(),
        to: Some(HOST.to_owned()),
    }
}

fn ledger(c: &mut Criterion) {
    const IN_FLIGHT: usize = 10_000;
    let mut ledger = Ledger::new("privileged-bench-");
    ledger.limits(IN_FLIGHT + 1, 120_000);
    let mut now = 0;
    for number in 1..IN_FLIGHT {
        now += 1;
        // The limit is higher than this.
        let _ = ledger.open(now, entry(number));
    }
    let mut group = c.benchmark_group("ledger with 10,000 in flight");
    group.bench_function("open and answer", |b| {
        b.iter_batched(
            || entry(0),
            |request| {
                now += 1;
                ledger
                    .open(now, request)
                    .map(|id| ledger.answer(&id, Some(HOST), JULIET))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn configuration(c: &mut Criterion) {
    let text = |text: &str| Value::Text(text.to_owned());
    let table = |entries: Vec<(&str, Value)>| {
        Value::Table(
            entries
                .into_iter()
                .map(|(key, value)| (text(key), value))
                .collect(),
        )
    };
    let grant = table(vec![
        ("roster", text("both")),
        ("message", text("outgoing")),
        ("presence", text("roster")),
        (
            "iq",
            table(vec![
                ("http://jabber.org/protocol/pubsub", text("both")),
                ("http://jabber.org/protocol/pubsub#owner", text("set")),
                ("urn:xmpp:http:upload:0", text("get")),
            ]),
        ),
    ]);
    let names: Vec<String> = (0..100)
        .map(|number| format!("gateway{number}.capulet.lit"))
        .collect();
    let options = table(names.iter().map(|name| (name.as_str(), grant.clone())).collect());
    c.bench_function("compile the configuration of 100 entities", |b| {
        b.iter(|| config::compile(HOST, black_box(&options), &TestServer));
    });
}

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    let stanzas = judgements(&mut criterion).and_then(|()| rosters(&mut criterion));
    if let Err(error) = stanzas {
        eprintln!("a stanza of the benchmark is not XML: {error}");
        return ExitCode::FAILURE;
    }
    presence(&mut criterion);
    ledger(&mut criterion);
    configuration(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}
