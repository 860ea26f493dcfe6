//! Statements of registries, their addresses and their stored logins.

use domain::credentials::Credentials;
use domain::fact::Revision;
use domain::push::{PushStatus, Reason};
use domain::registry::{Address, RegistryId};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use uuid::Uuid;

use super::{columns, dependents, holds};
use crate::seal::SealKey;
use crate::{
    LoginChange, NewRegistry, ReadLogin, ReadLogins, Registry, RegistryChange, RemoveError, Removed,
    ReplaceError, Replaced, StoreError,
};

const SELECT: &str = "SELECT r.*, a.address AS url,
        EXISTS (SELECT 1 FROM registry_credentials c WHERE c.registry = r.id) AS has_login
    FROM registry r JOIN registry_address a ON a.id = r.address WHERE r.deleted_at IS NULL";

pub(crate) fn create(
    tx: &Transaction<'_>,
    seal: &SealKey,
    new: &NewRegistry,
) -> Result<Registry, StoreError> {
    let id = RegistryId(Uuid::new_v4());
    let now = columns::now(tx)?;
    let row: i64 = tx.query_one(
        "INSERT INTO registry (uuid, name, created_at, updated_at, revision) VALUES (?1, ?2, ?3, ?3, ?4)
         RETURNING id",
        (id.to_string(), &new.name, now, columns::next_revision(tx)?),
        |row| row.get(0),
    )?;
    let address = address_row(tx, row, &new.address, now)?;
    tx.execute("UPDATE registry SET address = ?2 WHERE id = ?1", (row, address))?;
    if let Some(login) = &new.login {
        store_login(tx, seal, row, id, &new.address, login)?;
    }
    reread(tx, id)
}

pub(crate) fn list(db: &Connection) -> Result<Vec<Registry>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} ORDER BY r.id"))?;
    Ok(statement.query_map([], from_row)?.collect::<Result<_, _>>()?)
}

pub(crate) fn find(db: &Connection, id: RegistryId) -> Result<Option<Registry>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{SELECT} AND r.uuid = ?1"))?;
    Ok(statement.query_one([id.to_string()], from_row).optional()?)
}

pub(crate) fn read_logins(
    db: &Connection,
    seal: &SealKey,
    since: Option<Revision>,
) -> Result<Option<ReadLogins>, StoreError> {
    // Whatever changes a registry gives it the next revision, a deletion too.
    let last = db.query_one("SELECT coalesce(max(revision), 0) AS last FROM registry", [], |row| {
        columns::count(row, "last").map(Revision)
    })?;
    if since == Some(last) {
        return Ok(None);
    }
    let mut statement = db.prepare_cached(
        "SELECT r.id, r.uuid, a.address AS url, c.sealed
         FROM registry r JOIN registry_address a ON a.id = r.address JOIN registry_credentials c ON c.registry = r.id
         WHERE r.deleted_at IS NULL ORDER BY r.id",
    )?;
    let logins = statement.query_map([], |row| {
        let registry = columns::registry_id(row, "uuid")?;
        let address: Address = columns::parsed(row, "url")?;
        let sealed: Vec<u8> = row.get("sealed")?;
        let login = seal.unseal_login(&sealed, &login_place(registry, &address));
        let mut addresses = earlier_addresses(db, row.get("id")?)?;
        addresses.retain(|earlier| earlier.same_host(&address) && *earlier != address);
        addresses.push(address);
        Ok(ReadLogin { registry, addresses, login })
    })?;
    Ok(Some(ReadLogins { revision: last, logins: logins.collect::<Result<_, _>>()? }))
}

/// Where routes to a registry still lead, beside where it is.
fn earlier_addresses(db: &Connection, registry: i64) -> rusqlite::Result<Vec<Address>> {
    let mut statement = db.prepare_cached(
        "SELECT e.address AS url FROM registry_address e JOIN registry r ON r.id = e.registry
         WHERE e.registry = ?1 AND e.id <> r.address
             AND EXISTS (SELECT 1 FROM route o WHERE o.registry = ?1 AND o.address = e.id)",
    )?;
    statement.query_map([registry], |row| columns::parsed(row, "url"))?.collect()
}

pub(crate) fn replace(
    tx: &Transaction<'_>,
    seal: &SealKey,
    id: RegistryId,
    change: &RegistryChange,
) -> Result<Replaced, ReplaceError> {
    let before = find(tx, id)?.ok_or(ReplaceError::Unknown)?;
    let moves = !before.address.same_host(&change.address);
    if moves && before.has_login && matches!(change.login, LoginChange::Keep) {
        return Err(ReplaceError::LoginNeeded);
    }
    let replaced = || -> Result<Replaced, StoreError> {
        let now = columns::now(tx)?;
        let row = row_id(tx, id)?;
        if moves {
            end_pushes(tx, row, now, "the registry was moved to another host; ask for the push again")?;
        }
        match &change.login {
            LoginChange::Keep => {}
            LoginChange::Clear => forget_login(tx, row)?,
            LoginChange::Set(login) => store_login(tx, seal, row, id, &change.address, login)?,
        }
        holds::forget(tx, row)?;
        let address = address_row(tx, row, &change.address, now)?;
        tx.execute(
            "UPDATE registry SET name = ?2, address = ?3, updated_at = ?4, revision = ?5 WHERE id = ?1",
            (row, &change.name, address, now, columns::next_revision(tx)?),
        )?;
        let versions_at_old_address = tx.query_one(
            "SELECT count(DISTINCT v.id) AS n FROM route o JOIN version v ON v.image = o.image
             WHERE o.registry = ?1 AND o.address <> ?2",
            (row, address),
            |row| columns::count(row, "n"),
        )?;
        Ok(Replaced { registry: reread(tx, id)?, versions_at_old_address })
    };
    Ok(replaced()?)
}

pub(crate) fn cordon(
    tx: &Transaction<'_>,
    id: RegistryId,
    cordoned: bool,
) -> Result<Option<Registry>, StoreError> {
    tx.execute(
        "UPDATE registry SET updated_at = ?2, cordoned_at = CASE WHEN ?3 THEN coalesce(cordoned_at, ?2) END
         WHERE uuid = ?1 AND deleted_at IS NULL",
        (id.to_string(), columns::now(tx)?, cordoned),
    )?;
    find(tx, id)
}

pub(crate) fn remove(tx: &Transaction<'_>, id: RegistryId, if_unused: bool) -> Result<Removed, RemoveError> {
    if find(tx, id)?.is_none() {
        return Err(RemoveError::Unknown);
    }
    let row = row_id(tx, id)?;
    let dependents = dependents::of(tx, id, row)?;
    if if_unused && !dependents.is_empty() {
        return Err(RemoveError::InUse(Box::new(dependents)));
    }
    let removed = || -> Result<(), StoreError> {
        let now = columns::now(tx)?;
        end_pushes(tx, row, now, "the registry was deleted")?;
        forget_login(tx, row)?;
        holds::forget(tx, row)?;
        tx.execute(
            "UPDATE registry SET deleted_at = ?2, updated_at = ?2, revision = ?3 WHERE id = ?1",
            (row, now, columns::next_revision(tx)?),
        )?;
        Ok(())
    };
    removed()?;
    Ok(Removed { dependents })
}

/// Ends what waits for or runs to a registry that is no longer where it was. The running ones lose
/// their lease, so that nothing of theirs is written any more.
fn end_pushes(tx: &Transaction<'_>, registry: i64, now: i64, message: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM push_credentials WHERE push IN (SELECT id FROM push WHERE registry = ?1)",
        [registry],
    )?;
    tx.execute(
        "UPDATE push SET status = ?2, reason = ?3, message = ?4, updated_at = ?5, due_at = NULL,
             leased_until = NULL, leased_by = NULL, lease = lease + 1
         WHERE registry = ?1 AND status IN ('pending', 'in-progress')",
        (registry, PushStatus::Failed.as_str(), Reason::RegistryChanged.as_str(), message, now),
    )?;
    Ok(())
}

/// What a registry's own login is bound to.
pub(super) fn login_place(id: RegistryId, address: &Address) -> String {
    format!("registry_credentials {id} {}", host(address))
}

/// Scheme, host and port: what a login may be sent to.
pub(super) fn host(address: &Address) -> String {
    Address::new(address.host().clone(), None, address.plain_http()).to_string()
}

fn store_login(
    tx: &Transaction<'_>,
    seal: &SealKey,
    row: i64,
    id: RegistryId,
    address: &Address,
    login: &Credentials,
) -> Result<(), StoreError> {
    let sealed = seal.seal_login(login, &login_place(id, address))?;
    tx.execute(
        "INSERT INTO registry_credentials (registry, sealed) VALUES (?1, ?2)
         ON CONFLICT (registry) DO UPDATE SET sealed = excluded.sealed",
        (row, sealed),
    )?;
    Ok(())
}

fn forget_login(tx: &Transaction<'_>, row: i64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM registry_credentials WHERE registry = ?1", [row])?;
    Ok(())
}

fn address_row(tx: &Transaction<'_>, registry: i64, address: &Address, now: i64) -> Result<i64, StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO registry_address (registry, address, created_at) VALUES (?1, ?2, ?3)",
        (registry, address.to_string(), now),
    )?;
    Ok(tx.query_one(
        "SELECT id FROM registry_address WHERE registry = ?1 AND address = ?2",
        (registry, address.to_string()),
        |row| row.get(0),
    )?)
}

fn row_id(db: &Connection, id: RegistryId) -> Result<i64, StoreError> {
    Ok(db.query_one("SELECT id FROM registry WHERE uuid = ?1", [id.to_string()], |row| row.get(0))?)
}

fn reread(db: &Connection, id: RegistryId) -> Result<Registry, StoreError> {
    find(db, id)?.ok_or_else(|| StoreError::Unreadable(format!("registry {id} vanished")))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Registry> {
    Ok(Registry {
        id: columns::registry_id(row, "uuid")?,
        name: row.get("name")?,
        address: columns::parsed(row, "url")?,
        has_login: row.get("has_login")?,
        cordoned_at: columns::moment_option(row, "cordoned_at")?,
        created_at: columns::moment(row, "created_at")?,
        updated_at: columns::moment(row, "updated_at")?,
    })
}
