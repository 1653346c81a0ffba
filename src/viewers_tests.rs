//! Viewers, and who of them is told what.

use super::*;
use crate::fingerprint::Fingerprinter;
use crate::permission::Access;
use crate::permission::PresenceAccess;
use std::sync::atomic::{AtomicU32, Ordering};

const HOST: &str = "capulet.lit";
const ROMEO: &str = "romeo@montague.lit/orchard";

fn grant(presence: PresenceAccess) -> Grant {
    Grant {
        roster: Access::Get,
        presence,
        ..Grant::default()
    }
}

fn matrix(grants: &[(&str, Grant)]) -> PermissionMatrix {
    let mut matrix = PermissionMatrix::new(HOST);
    for (entity, grant) in grants {
        matrix.insert((*entity).to_owned(), grant.clone());
    }
    matrix
}

fn memory() -> SharedMemory {
    Rc::new(RefCell::new(Memory::new(64)))
}

fn enter(
    viewers: &mut Viewers,
    matrix: &PermissionMatrix,
    entity: &str,
    memory: &SharedMemory,
) -> (Number, Todo) {
    let grant = matrix.grant(entity).expect("a grant");
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    (
        number,
        viewers.enter(number, entity, grant, matrix.host(), Rc::clone(memory)),
    )
}

fn case<'a>(occasion: Occasion, username: &'a str, from: &'a str) -> Case<'a> {
    Case {
        occasion,
        username,
        from,
    }
}

fn of_contact(from: &str) -> Case<'_> {
    case(Occasion::Contact, "juliet", from)
}

fn tell(
    viewers: &mut Viewers,
    matrix: &PermissionMatrix,
    case: Case<'_>,
    among: Option<&[Number]>,
) -> Option<Telling> {
    let print = || Fingerprinter::new(case.from, None).finish();
    viewers.tell(matrix, case, among, print, |_| false)
}

/// Tells and shows; the viewers that were told.
fn told(viewers: &mut Viewers, matrix: &PermissionMatrix, case: Case<'_>) -> Vec<Number> {
    tell(viewers, matrix, case, None).map_or_else(Vec::new, |telling| {
        viewers.shown(telling.ticket, &telling.viewers);
        telling.viewers
    })
}

#[test]
fn p1_p3_p4_each_viewer_what_it_may_see_and_once() {
    let matrix = matrix(&[
        ("some.lit", grant(PresenceAccess::ManagedEntity)),
        ("all.lit", grant(PresenceAccess::Roster)),
    ]);
    let mut viewers = Viewers::default();
    let (some, todo) = enter(&mut viewers, &matrix, "some.lit", &memory());
    let (all, _) = enter(&mut viewers, &matrix, "all.lit", &memory());
    assert!(todo == Todo::Tell && some != all);
    let juliet = case(Occasion::Account, "juliet", "juliet@capulet.lit/x");
    assert_eq!(told(&mut viewers, &matrix, juliet), [some, all]);
    assert_eq!(told(&mut viewers, &matrix, juliet), []);
    assert_eq!(told(&mut viewers, &matrix, of_contact(ROMEO)), [all]);
    assert_eq!(told(&mut viewers, &matrix, of_contact("x@all.lit/r")), []);
    viewers.leave(some, false);
    assert_eq!(
        told(
            &mut viewers,
            &matrix,
            case(Occasion::Account, "nurse", "nurse@capulet.lit/x")
        ),
        [all]
    );
}

#[test]
fn p5_what_the_server_sends_to_an_entity_as_a_contact_is_known_and_not_told() {
    let matrix = matrix(&[
        ("contact.lit", grant(PresenceAccess::ManagedEntity)),
        ("other.lit", grant(PresenceAccess::ManagedEntity)),
    ]);
    let mut viewers = Viewers::default();
    enter(&mut viewers, &matrix, "contact.lit", &memory());
    let (other, _) = enter(&mut viewers, &matrix, "other.lit", &memory());
    let juliet = case(Occasion::Account, "juliet", "juliet@capulet.lit/x");
    let print = || Fingerprinter::new(juliet.from, None).finish();
    let is_contact = |entity: &str| entity == "contact.lit";
    let telling = viewers.tell(&matrix, juliet, None, print, is_contact).unwrap();
    assert_eq!(telling.viewers, [other]);
    viewers.shown(telling.ticket, &telling.viewers);
    assert_eq!(told(&mut viewers, &matrix, juliet), []);
}

#[test]
fn p4_what_was_not_shown_is_not_known() {
    let matrix = matrix(&[("all.lit", grant(PresenceAccess::Roster))]);
    let mut viewers = Viewers::default();
    let (all, _) = enter(&mut viewers, &matrix, "all.lit", &memory());
    let first = tell(&mut viewers, &matrix, of_contact(ROMEO), None).expect("news");
    let second = tell(&mut viewers, &matrix, of_contact(ROMEO), None).expect("news still");
    // Tickets may be used in any order. One that is used for nobody, and an unknown one, change nothing.
    viewers.shown(second.ticket, &[]);
    viewers.shown(99, &[all]);
    assert!(tell(&mut viewers, &matrix, of_contact(ROMEO), None).is_some());
    viewers.shown(first.ticket, &first.viewers);
    assert_eq!(tell(&mut viewers, &matrix, of_contact(ROMEO), None), None);
}

#[test]
fn p4_what_is_never_shown_is_not_kept_for_ever() {
    let matrix = matrix(&[("all.lit", grant(PresenceAccess::Roster))]);
    let mut viewers = Viewers::default();
    enter(&mut viewers, &matrix, "all.lit", &memory());
    for _ in 0..1000 {
        assert!(tell(&mut viewers, &matrix, of_contact(ROMEO), None).is_some());
    }
    assert!(viewers.under_way.len() <= MOST_UNDER_WAY);
}

#[test]
fn p4_two_hosts_share_the_memory_of_a_connection() {
    let (mut capulet, mut mantua) = (Viewers::default(), Viewers::default());
    let here = matrix(&[("all.lit", grant(PresenceAccess::Roster))]);
    let mut there = PermissionMatrix::new("mantua.lit");
    there.insert("all.lit".to_owned(), grant(PresenceAccess::Roster));
    let shared = memory();
    let (first, _) = enter(&mut capulet, &here, "all.lit", &shared);
    let (_, todo) = enter(&mut mantua, &there, "all.lit", &shared);
    assert_eq!(todo, Todo::Tell, "of this host it has been told nothing");
    assert_eq!(told(&mut capulet, &here, of_contact(ROMEO)), [first]);
    // Nobody is to be told, but that it is known to this host too has to be noted.
    let telling = tell(&mut mantua, &there, of_contact(ROMEO), None).expect("something to note");
    assert!(telling.viewers.is_empty());
    mantua.shown(telling.ticket, &[]);
    assert_eq!(tell(&mut mantua, &there, of_contact(ROMEO), None), None);
    capulet.leave(first, true);
    assert_eq!(
        tell(&mut mantua, &there, of_contact(ROMEO), None),
        None,
        "one host's reason is enough"
    );
}

#[test]
fn p4_what_a_revoked_grant_told_is_told_again_and_who_left_is_reported() {
    let matrix = matrix(&[("all.lit", grant(PresenceAccess::Roster))]);
    let mut viewers = Viewers::default();
    let shared = memory();
    let (first, _) = enter(&mut viewers, &matrix, "all.lit", &shared);
    told(&mut viewers, &matrix, of_contact(ROMEO));
    told(&mut viewers, &matrix, of_contact("gone@montague.lit/x"));
    viewers.leave(first, true);
    let (second, todo) = enter(&mut viewers, &matrix, "all.lit", &shared);
    assert_eq!(todo, Todo::Tell);
    let left = |viewers: &Viewers, from| viewers.unfounded(&matrix, of_contact(from), Some(&[second]), &[]);
    assert!(viewers.needs_round(&matrix, second, false));
    assert_eq!(left(&viewers, "gone@montague.lit"), [second]);
    assert_eq!(left(&viewers, "gone@montague.lit"), []);
    assert_eq!(told(&mut viewers, &matrix, of_contact(ROMEO)), [second]);
    assert_eq!(left(&viewers, "romeo@montague.lit"), []);
    assert!(!viewers.needs_round(&matrix, second, false) && viewers.needs_round(&matrix, second, true));
    // Over a reload nothing is revoked.
    viewers.leave(second, false);
    let (third, todo) = enter(&mut viewers, &matrix, "all.lit", &shared);
    assert_eq!(todo, Todo::Nothing);
    assert_eq!(told(&mut viewers, &matrix, of_contact(ROMEO)), []);
    let lost = |viewers: &Viewers, others: &[&str]| {
        let others: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
        viewers.lost(&matrix, of_contact("romeo@montague.lit"), &others, None)
    };
    assert_eq!(lost(&viewers, &["nurse"]), [], "another account shares it");
    assert_eq!(told(&mut viewers, &matrix, of_contact(ROMEO)), []);
    assert_eq!(lost(&viewers, &[]), [third]);
    assert_eq!(lost(&viewers, &[]), []);
    assert_eq!(
        told(&mut viewers, &matrix, of_contact(ROMEO)),
        [third],
        "won again"
    );
}

#[test]
fn p3_p6_each_contact_is_asked_once_for_all_who_wait() {
    let mut narrow = grant(PresenceAccess::Roster);
    narrow.scope.accounts = Some(["nurse".to_owned()].into());
    let matrix = matrix(&[
        ("all.lit", grant(PresenceAccess::Roster)),
        ("nurse.lit", narrow),
        ("some.lit", grant(PresenceAccess::ManagedEntity)),
    ]);
    let mut viewers = Viewers::default();
    let everybody: Vec<Number> = ["all.lit", "nurse.lit", "some.lit"]
        .iter()
        .map(|entity| enter(&mut viewers, &matrix, entity, &memory()).0)
        .collect();
    let (all, nurse) = (everybody[0], everybody[1]);
    let contacts = ["a@x.lit", "b@all.lit", "tybalt@capulet.lit"];
    let worth = |viewers: &Viewers, username| {
        viewers.worth_asking(&matrix, username, contacts.into_iter(), &everybody)
    };
    assert_eq!(worth(&viewers, "juliet"), ["a@x.lit"]);
    assert_eq!(
        worth(&viewers, "nurse"),
        contacts,
        "another entity's address, and an account outside the scope"
    );
    assert_eq!(
        viewers.askers(&matrix, case(Occasion::Contact, "juliet", "a@x.lit"), &everybody),
        [all]
    );
    viewers.asked("a@x.lit", &[all]);
    assert_eq!(worth(&viewers, "juliet"), Vec::<&str>::new());
    let by_nurse = case(Occasion::Contact, "nurse", "a@x.lit");
    assert_eq!(viewers.askers(&matrix, by_nurse, &everybody), [nurse]);
    viewers.all_asked(all);
    assert_eq!(viewers.askers(&matrix, by_nurse, &everybody), [all, nurse]);
    assert_eq!(viewers.askers(&matrix, by_nurse, &[]), []);
}

#[test]
fn p4_a_narrower_scope_leaves_known_what_may_still_be_seen() {
    let wide = matrix(&[("all.lit", grant(PresenceAccess::Roster))]);
    let mut less = grant(PresenceAccess::Roster);
    less.scope.except = ["nurse".to_owned()].into();
    let narrow = matrix(&[("all.lit", less)]);
    let mut viewers = Viewers::default();
    let shared = memory();
    let (first, _) = enter(&mut viewers, &wide, "all.lit", &shared);
    let juliet = case(Occasion::Account, "juliet", "juliet@capulet.lit/x");
    let nurse = case(Occasion::Account, "nurse", "nurse@capulet.lit/x");
    for presence in [
        juliet,
        nurse,
        of_contact(ROMEO),
        of_contact("other@montague.lit/x"),
    ] {
        assert_eq!(told(&mut viewers, &wide, presence), [first]);
    }
    viewers.leave(first, false);
    let (second, todo) = enter(&mut viewers, &narrow, "all.lit", &shared);
    assert_eq!(todo, Todo::Confirm);
    for (username, contacts) in [
        ("juliet", vec!["romeo@montague.lit"]),
        ("nurse", vec!["other@montague.lit"]),
    ] {
        viewers.confirm(&narrow, username, contacts.into_iter(), &[second]);
    }
    assert_eq!(told(&mut viewers, &narrow, juliet), []);
    assert_eq!(told(&mut viewers, &narrow, of_contact(ROMEO)), []);
    assert_eq!(told(&mut viewers, &narrow, nurse), []);
    assert_eq!(
        told(&mut viewers, &narrow, of_contact("other@montague.lit/x")),
        [second]
    );
}
