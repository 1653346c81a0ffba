//! Examples of who may see whose presence.

use super::*;
use crate::matrix::Scope;

fn grant(presence: PresenceAccess) -> Grant {
    Grant {
        presence,
        ..Grant::default()
    }
}

fn sees(entity: &str, grant: &Grant, occasion: Occasion, username: &str, from: &str) -> bool {
    let matrix = PermissionMatrix::new("capulet.lit");
    may_see(&matrix, entity, grant, occasion, username, from)
}

#[test]
fn p1_p3_accounts_for_some_contacts_for_fewer() {
    use Occasion::{Account, Contact};
    for (access, account, contact) in [
        (PresenceAccess::None, false, false),
        (PresenceAccess::ManagedEntity, true, false),
        (PresenceAccess::Roster, true, true),
    ] {
        let grant = grant(access);
        assert_eq!(
            sees("gw.lit", &grant, Account, "juliet", "juliet@capulet.lit/x"),
            account
        );
        assert_eq!(
            sees("gw.lit", &grant, Contact, "juliet", "romeo@montague.lit/x"),
            contact
        );
    }
}

#[test]
fn c7_an_account_out_of_scope_is_not_seen() {
    use Occasion::{Account, Contact};
    let mut grant = grant(PresenceAccess::Roster);
    grant.scope = Scope {
        accounts: Some(["juliet".to_owned()].into()),
        except: ["admin".to_owned()].into(),
    };
    assert!(sees("gw.lit", &grant, Account, "juliet", "juliet@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Account, "nurse", "nurse@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Contact, "nurse", "romeo@montague.lit/x"));
    assert!(sees("gw.lit", &grant, Contact, "juliet", "nurse@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Contact, "juliet", "admin@capulet.lit/x"));
    assert!(!sees("gw.lit", &grant, Account, "admin", "admin@capulet.lit/x"));
    assert!(sees("gw.lit", &grant, Contact, "juliet", "admin@montague.lit/x"));
}

#[test]
fn p1_what_an_account_directs_at_another_is_not_seen() {
    let grant = grant(PresenceAccess::Roster);
    assert!(!sees(
        "gw.lit",
        &grant,
        Occasion::Contact,
        "nurse",
        "juliet@capulet.lit/x"
    ));
    assert!(sees(
        "gw.lit",
        &grant,
        Occasion::Account,
        "juliet",
        "juliet@capulet.lit/x"
    ));
}

#[test]
fn p5_not_what_comes_from_the_entity_itself() {
    let grant = grant(PresenceAccess::Roster);
    for (entity, from, expected) in [
        ("gw.lit", "gw.lit", false),
        ("gw.lit", "someone@gw.lit/x", false),
        ("gw.lit", "someone@other.gw.lit/x", true),
        ("bot@capulet.lit", "bot@capulet.lit/x", false),
        ("bot@capulet.lit", "nurse@montague.lit/x", true),
    ] {
        assert_eq!(
            sees(entity, &grant, Occasion::Contact, "juliet", from),
            expected,
            "{entity} {from}"
        );
    }
}
