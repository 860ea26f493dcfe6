//! The database: schema, migrations, every SQL statement; two doors, Store and feed.
