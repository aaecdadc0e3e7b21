//! Sessions: unsettled ones stay in memory, settled ones leave it once they are written.

use super::known_keys::KnownKeys;
use super::{PAGE, body, text};
use crate::database::Database;
use crate::rows::{Table, Value};
use crate::session_counts::{authorized_by, authorized_by_name, phase_name};
use eroam_domain::cdr::SessionId;
use eroam_gateway::ports::StoreError;
use eroam_gateway::sessions::{Phase, Session};
use std::collections::{BTreeMap, BTreeSet};

const TABLE: Table = Table {
    name: "sessions",
    keys: &["id"],
    columns: &["phase", "settled", "requested_at", "home", "authorized_by", "denial", "body"],
    sticky: Some("authorized_by"),
};

pub(super) struct Sessions {
    /// Unsettled and changed ones.
    kept: BTreeMap<SessionId, Kept>,
    changed: BTreeSet<SessionId>,
    known: KnownKeys,
}

struct Kept {
    session: Session,
    /// How it was once authorized, which a denied session no longer says itself.
    authorized_by: Option<&'static str>,
}

impl Sessions {
    pub(super) fn load(database: &mut Database) -> Result<Self, StoreError> {
        let known = KnownKeys::load(
            database,
            TABLE.name,
            1,
            "SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT $2",
        )?;
        let mut kept = BTreeMap::new();
        for row in database.rows("SELECT id, body FROM sessions WHERE settled = 0", Vec::new())? {
            let session: Session = body(database, TABLE.name, &row, 1)?;
            if text(database, TABLE.name, &row, 0)? != session.id.as_str() {
                return Err(database.damaged("a record of `sessions`", "it stands under another id"));
            }
            // Unsettled sessions still say how they were authorized.
            let authorized_by = authorized_by(&session.phase).map(authorized_by_name);
            kept.insert(session.id.clone(), Kept { session, authorized_by });
        }
        Ok(Self { kept, changed: BTreeSet::new(), known })
    }

    pub(super) fn get(&self, database: &mut Database, id: &SessionId) -> Result<Option<Session>, StoreError> {
        if let Some(kept) = self.kept.get(id) {
            return Ok(Some(kept.session.clone()));
        }
        if !self.known.may_have(id.as_str(), "") {
            return Ok(None);
        }
        let row =
            database.row("SELECT body FROM sessions WHERE id = $1", vec![Value::Text(id.to_string())])?;
        row.map(|row| body(database, TABLE.name, &row, 0)).transpose()
    }

    pub(super) fn put(&mut self, session: &Session) {
        let by = authorized_by(&session.phase).map(authorized_by_name);
        match self.kept.get_mut(&session.id) {
            Some(kept) => {
                kept.session.clone_from(session);
                kept.authorized_by = by.or(kept.authorized_by);
            }
            None => {
                self.known.add(session.id.as_str(), "");
                let kept = Kept { session: session.clone(), authorized_by: by };
                self.kept.insert(session.id.clone(), kept);
            }
        }
        self.changed.insert(session.id.clone());
    }

    pub(super) fn unsettled(&self) -> Vec<Session> {
        self.kept.values().map(|kept| &kept.session).filter(|s| !s.is_settled()).cloned().collect()
    }

    pub(super) fn write(&mut self, database: &mut Database) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        database.put(&TABLE, self.changed.iter().filter_map(|id| self.kept.get(id)).map(row))?;
        for id in std::mem::take(&mut self.changed) {
            if self.kept.get(&id).is_some_and(|kept| kept.session.is_settled()) {
                self.kept.remove(&id);
            }
        }
        Ok(())
    }
}

fn row(kept: &Kept) -> Result<Vec<Value>, serde_json::Error> {
    let session = &kept.session;
    let denial = match session.phase {
        Phase::Denied(denial) => serde_json::to_value(denial)?.as_str().map(str::to_owned),
        _ => None,
    };
    Ok(vec![
        Value::Text(session.id.to_string()),
        Value::Text(phase_name(&session.phase).into()),
        Value::Int(i64::from(session.is_settled())),
        Value::Int(session.requested_at.get()),
        Value::OptionalText(session.home().map(|home| home.to_string())),
        Value::OptionalText(kept.authorized_by.map(str::to_owned)),
        Value::OptionalText(denial),
        Value::Text(serde_json::to_string(session)?),
    ])
}

/// Hands out every session in the order of the ids.
pub(super) fn each(
    database: &mut Database,
    visit: &mut dyn FnMut(Session) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = "SELECT id, body FROM sessions WHERE id > $1 ORDER BY id LIMIT $2";
    let mut after = String::new();
    loop {
        let rows = database.rows(sql, vec![Value::Text(after.clone()), Value::Int(PAGE)])?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = text(database, TABLE.name, last, 0)?;
        for row in &rows {
            visit(body(database, TABLE.name, row, 1)?)?;
        }
    }
}
