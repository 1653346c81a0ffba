//! Which contacts are asked for their presence, and on behalf of which viewers (P3, P6).

use super::{Case, Number, Viewer, Viewers};
use crate::matrix::PermissionMatrix;
use crate::permission::PresenceAccess;
use crate::presence::Occasion;

impl Viewers {
    /// Those of `among` who are to be told of this contact of an account, and for whom nobody has asked
    /// it yet.
    pub fn askers(&self, matrix: &PermissionMatrix, case: Case<'_>, among: &[Number]) -> Vec<Number> {
        self.asking(matrix, case.username, among)
            .filter(|viewer| viewer.is_to_ask(matrix, case))
            .map(|viewer| viewer.number)
            .collect()
    }

    /// Which of an account's contacts are worth asking for some of `among`.
    pub fn worth_asking<'c>(
        &self,
        matrix: &PermissionMatrix,
        username: &str,
        contacts: impl Iterator<Item = &'c str>,
        among: &[Number],
    ) -> Vec<&'c str> {
        let asking: Vec<&Viewer> = self.asking(matrix, username, among).collect();
        contacts
            .filter(|from| {
                let case = Case {
                    occasion: Occasion::Contact,
                    username,
                    from,
                };
                asking.iter().any(|viewer| viewer.is_to_ask(matrix, case))
            })
            .collect()
    }

    /// Whether the accounts have to be gone through for a viewer: for `asking` contacts, or because it may be wrong.
    pub fn needs_round(&self, matrix: &PermissionMatrix, number: Number, asking: bool) -> bool {
        self.get(number).is_some_and(|viewer| {
            let grant = matrix.grant(&viewer.entity);
            let asks = asking && grant.is_some_and(|grant| grant.presence == PresenceAccess::Roster);
            asks || viewer.memory.borrow().may_mislead()
        })
    }

    /// A contact has been asked on behalf of these.
    pub fn asked(&self, contact: &str, numbers: &[Number]) {
        for viewer in numbers.iter().filter_map(|number| self.get(*number)) {
            viewer.memory.borrow_mut().note_asked(contact, viewer.host);
        }
    }

    /// Everybody has been asked on behalf of this viewer, or all are to be asked anew.
    pub fn all_asked(&self, number: Number) {
        if let Some(viewer) = self.get(number) {
            viewer.memory.borrow_mut().forget_asked(viewer.host);
        }
    }

    fn asking<'v>(
        &'v self,
        matrix: &'v PermissionMatrix,
        username: &'v str,
        among: &'v [Number],
    ) -> impl Iterator<Item = &'v Viewer> {
        among
            .iter()
            .filter_map(|number| self.get(*number))
            .filter(move |viewer| {
                matrix.grant(&viewer.entity).is_some_and(|grant| {
                    grant.presence == PresenceAccess::Roster && matrix.covers(&viewer.entity, grant, username)
                })
            })
    }
}

impl Viewer {
    /// Whether the contact is still to be asked. What may not be seen is noted as asked, so that the
    /// question is not put again for each account that shares the contact.
    fn is_to_ask(&self, matrix: &PermissionMatrix, case: Case<'_>) -> bool {
        if self.memory.borrow().has_asked(case.from, self.host) {
            return false;
        }
        let may = self.may_see(matrix, case);
        if !may {
            self.memory.borrow_mut().note_asked(case.from, self.host);
        }
        may
    }
}
