//! Statements of the evidence about one reference. Which address a reference means is the table's to know,
//! so every repository that its path may end in is looked at.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::iter;

use domain::algorithm::Username;
use domain::fact::{Fact, ImageId, Revision, Route};
use domain::reference::Tag;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{columns, pushes};
use crate::StoreError;
use crate::evidence::{Evidence, Named, Success};

/// More pushes than this say nothing new to a reader.
const PUSHES_SHOWN: usize = 20;

// A `CROSS JOIN` keeps its order: a repository has few images, and the planner does not know it.
const OWNED: &str = "SELECT a.owner = ?2 FROM image i CROSS JOIN version v ON v.image = i.id
         JOIN algorithm a ON a.id = v.algorithm WHERE i.repository = ?1 LIMIT 1";
const BY_DIGEST: &str = "SELECT id, source, repository, digest, NULL AS tag, 0 AS revision FROM image
    WHERE repository = ?1 AND digest = ?2";
// Of the images that have carried a tag only these can matter: the newest, and each registry's latest.
// Beside a lone max() the other columns are of its row.
const NEWEST_BY_TAG: &str =
    "SELECT i.id, i.source, i.repository, i.digest, t.tag, max(t.revision) AS revision
    FROM image i CROSS JOIN image_tag t ON t.image = i.id AND t.tag = ?2
    WHERE i.repository = ?1 GROUP BY i.source";
const LATEST_BY_TAG: &str =
    "SELECT i.id, i.source, i.repository, i.digest, t.tag, t.revision, max(o.revision)
    FROM image i CROSS JOIN image_tag t ON t.image = i.id AND t.tag = ?2 CROSS JOIN route o ON o.image = i.id
    WHERE i.repository = ?1 GROUP BY i.source, o.registry";
const SOURCES: &str =
    "SELECT min(id) AS id, source, repository, digest FROM image WHERE repository = ?1 GROUP BY source";
const ROUTES: &str = "SELECT i.id, i.source, i.repository, i.digest, r.uuid, a.address AS url, o.tag,
        o.succeeded_at, o.revision
    FROM image i CROSS JOIN route o ON o.image = i.id JOIN registry r ON r.id = o.registry
         JOIN registry_address a ON a.id = o.address WHERE i.id = ?1";
const DESTINATIONS: &str = "SELECT min(i.id) AS id, i.source, i.repository, i.digest, r.uuid,
        a.address AS url, o.tag, o.succeeded_at, o.revision
    FROM image i CROSS JOIN route o ON o.image = i.id JOIN registry r ON r.id = o.registry
         JOIN registry_address a ON a.id = o.address WHERE i.repository = ?1 GROUP BY o.address";

pub(crate) fn gather(
    db: &Connection,
    repository: &str,
    named: &Named,
    of: Option<&Username>,
) -> Result<Option<Evidence>, StoreError> {
    let mut evidence = Evidence { facts: surroundings(db)?, ..Evidence::default() };
    let mut theirs = of.is_none();
    for repository in endings(repository) {
        if let Some(owner) = of
            && !is_of(db, repository, owner)?
        {
            continue;
        }
        theirs = true;
        named_images(db, repository, named, &mut evidence)?;
        neighbours(db, repository, &mut evidence.facts)?;
    }
    evidence.successes.sort_by_key(|success| Reverse(success.route.succeeded));
    evidence.pushes.sort_by_key(|push| Reverse(push.updated_at));
    evidence.pushes.truncate(PUSHES_SHOWN);
    Ok(theirs.then_some(evidence))
}

/// `a/b/c`, `b/c`, `c`.
fn endings(repository: &str) -> impl Iterator<Item = &str> {
    iter::successors(Some(repository), |longer| longer.split_once('/').map(|(_, shorter)| shorter))
}

/// The source registry and the registries, which are few.
fn surroundings(db: &Connection) -> rusqlite::Result<Vec<Fact>> {
    let source = db
        .prepare_cached("SELECT source FROM instance")?
        .query_one([], |row| columns::parsed_option(row, "source"))?;
    let mut statement = db.prepare_cached("SELECT uuid, name, deleted_at IS NULL AS live FROM registry")?;
    let registries = statement.query_map([], |row| {
        let id = columns::registry_id(row, "uuid")?;
        Ok(Fact::Registry { id, name: row.get("name")?, live: row.get("live")? })
    })?;
    source.map(Fact::Source).into_iter().map(Ok).chain(registries).collect()
}

/// A repository is one owner's, since its name holds the owner's: any version tells.
fn is_of(db: &Connection, repository: &str, owner: &Username) -> rusqlite::Result<bool> {
    let found =
        db.prepare_cached(OWNED)?.query_one((repository, owner.as_str()), |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_default())
}

/// The images that the reference names, with their tag, their routes and what their pushes are doing.
fn named_images(
    db: &Connection,
    repository: &str,
    named: &Named,
    evidence: &mut Evidence,
) -> rusqlite::Result<()> {
    let (statements, name) = match named {
        Named::Digest(digest) => (&[BY_DIGEST][..], digest),
        Named::Tag(tag) => (&[NEWEST_BY_TAG, LATEST_BY_TAG][..], tag),
    };
    let mut routes = db.prepare_cached(ROUTES)?;
    let mut seen = HashSet::new();
    for sql in statements {
        let mut images = db.prepare_cached(sql)?;
        let mut rows = images.query((repository, name))?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get("id")?;
            if !seen.insert(id) {
                continue;
            }
            evidence.facts.push(image(row)?);
            if let Some(tag) = columns::parsed_option::<Tag>(row, "tag")? {
                let revision = columns::count(row, "revision").map(Revision)?;
                evidence.facts.push(Fact::Tag { image: ImageId(columns::count(row, "id")?), tag, revision });
            }
            for success in routes.query_map([id], success)? {
                let success = success?;
                evidence.facts.push(Fact::Route(success.route.clone()));
                evidence.successes.push(success);
            }
            evidence.pushes.extend(pushes::not_succeeded(db, id)?);
        }
    }
    Ok(())
}

/// One image of each source registry and one route to each address: they tell that the repository is a
/// source, or a destination, whatever is asked for in it.
fn neighbours(db: &Connection, repository: &str, facts: &mut Vec<Fact>) -> rusqlite::Result<()> {
    let mut sources = db.prepare_cached(SOURCES)?;
    for image in sources.query_map([repository], image)? {
        facts.push(image?);
    }
    let mut destinations = db.prepare_cached(DESTINATIONS)?;
    let mut rows = destinations.query([repository])?;
    while let Some(row) = rows.next()? {
        facts.extend([image(row)?, Fact::Route(success(row)?.route)]);
    }
    Ok(())
}

fn image(row: &Row<'_>) -> rusqlite::Result<Fact> {
    Ok(Fact::Image {
        id: columns::count(row, "id").map(ImageId)?,
        source: columns::parsed(row, "source")?,
        repository: columns::parsed(row, "repository")?,
        digest: columns::parsed(row, "digest")?,
    })
}

fn success(row: &Row<'_>) -> rusqlite::Result<Success> {
    Ok(Success {
        route: Route {
            image: columns::count(row, "id").map(ImageId)?,
            registry: columns::registry_id(row, "uuid")?,
            address: columns::parsed(row, "url")?,
            tag: columns::parsed(row, "tag")?,
            succeeded_at: columns::moment(row, "succeeded_at")?,
            succeeded: columns::count(row, "revision").map(Revision)?,
        },
        repository: columns::parsed(row, "repository")?,
        digest: columns::parsed(row, "digest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::migrate;

    #[test]
    fn no_statement_goes_through_a_table_that_grows() {
        let mut db = Connection::open_in_memory().expect("a database");
        migrate::migrate::<rusqlite::Error>(&mut db, |_| Ok(())).expect("a schema");
        let pushes = pushes::not_succeeded_sql();
        for sql in [OWNED, BY_DIGEST, NEWEST_BY_TAG, LATEST_BY_TAG, SOURCES, ROUTES, DESTINATIONS, &pushes] {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
            let arguments = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps =
                plan.query_map(rusqlite::params_from_iter(arguments), |row| row.get::<_, String>("detail"));
            for step in steps.expect("a plan") {
                let step = step.expect("a step");
                assert!(!step.starts_with("SCAN"), "{step}: {sql}");
            }
        }
    }
}
