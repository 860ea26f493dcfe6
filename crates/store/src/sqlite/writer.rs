//! The one connection that writes, on a thread of its own. It takes every write that waits, runs each in
//! a savepoint of one transaction, and answers after the commit: one flush of the disk for all of them.
//! A write that fails is undone alone; a commit that fails, fails all that it would have kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::StoreError;

/// So many writes share a commit at the most, so that the first of them does not wait for long.
const TOGETHER: usize = 64;
/// How long the end of a process waits for the last commit and the folding in of the log.
const CLOSING: Duration = Duration::from_secs(1);

/// The door to the writing thread. Dropped, it waits until the connection is closed.
pub(super) struct Writer {
    writes: Option<mpsc::Sender<Write>>,
    /// Ends with the thread; nothing is ever sent.
    closed: Mutex<mpsc::Receiver<()>>,
    state: Arc<State>,
}

/// What the thread lets others see.
#[derive(Default)]
struct State {
    failed: AtomicBool,
    busy_since: Mutex<Option<Instant>>,
}

impl State {
    fn busy_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a write, or refuses it because no transaction could be begun.
type Write = Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> Ran + Send>;

/// A write that ran. Its answer is kept back until it is known whether it was committed.
struct Ran {
    worked: bool,
    answer: Box<dyn FnOnce(Result<(), StoreError>)>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(db: Connection) -> Result<Self, StoreError> {
        let (writes, waiting) = mpsc::channel();
        let (closing, closed) = mpsc::channel();
        let state = Arc::<State>::default();
        let seen = Arc::clone(&state);
        thread::Builder::new()
            .name("database writer".to_owned())
            .spawn(move || {
                serve(db, &waiting, &seen);
                drop(closing);
            })
            .map_err(|error| StoreError::Database(Arc::new(error)))?;
        Ok(Self { writes: Some(writes), closed: Mutex::new(closed), state })
    }

    /// Runs `work` in an immediate transaction that it may share with others.
    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |tx| {
            let result = tx.map_err(E::from).and_then(work);
            let worked = result.is_ok();
            let answer = Box::new(move |committed: Result<(), StoreError>| {
                let result = result.and_then(|value| committed.map(|()| value).map_err(E::from));
                // Whoever asked may have gone.
                let _gone = answer.send(result);
            });
            Ran { worked, answer }
        });
        if let Some(writes) = &self.writes {
            // A thread that has ended drops the write, and with it the answer.
            let _ended = writes.send(write);
        }
        answered.await.unwrap_or(Err(StoreError::Stopped.into()))
    }

    /// Whether any of the last writes failed, be it that somebody's wish was refused.
    pub(super) fn failed(&self) -> bool {
        self.state.failed.load(Ordering::Relaxed)
    }

    /// For how long the write that is under way has been.
    pub(super) fn busy_for(&self) -> Duration {
        self.state.busy_since().map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.writes = None;
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _closed = closed.recv_timeout(CLOSING);
    }
}

fn serve(mut db: Connection, waiting: &mpsc::Receiver<Write>, state: &State) {
    while let Ok(first) = waiting.recv() {
        *state.busy_since() = Some(Instant::now());
        let mut ran = Vec::new();
        let writes = std::iter::once(first).chain(waiting.try_iter()).take(TOGETHER);
        let committed = together(&mut db, writes, &mut ran);
        state.failed.store(committed.is_err() || ran.iter().any(|ran| !ran.worked), Ordering::Relaxed);
        *state.busy_since() = None;
        for ran in ran {
            (ran.answer)(committed.clone());
        }
    }
}

/// Runs the writes in one transaction. What one of them came to is in `ran` also when this fails.
fn together(
    db: &mut Connection,
    mut writes: impl Iterator<Item = Write>,
    ran: &mut Vec<Ran>,
) -> Result<(), StoreError> {
    let tx = match db.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            let error = StoreError::from(error);
            ran.extend(writes.map(|write| write(Err(error.clone()))));
            return Err(error);
        }
    };
    writes.try_for_each(|write| alone(&tx, write, ran))?;
    Ok(tx.commit()?)
}

/// Runs one write in a savepoint. An error says that the whole transaction is lost.
fn alone(tx: &Transaction<'_>, write: Write, ran: &mut Vec<Ran>) -> Result<(), StoreError> {
    tx.prepare_cached("SAVEPOINT write")?.execute([])?;
    // A write that panics is undone and gets no answer but that; the others shall not suffer.
    let worked = match catch_unwind(AssertUnwindSafe(|| write(Ok(tx)))) {
        Ok(write) => {
            let worked = write.worked;
            ran.push(write);
            worked
        }
        Err(_) => false,
    };
    if !worked {
        tx.prepare_cached("ROLLBACK TO write")?.execute([])?;
    }
    tx.prepare_cached("RELEASE write")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer over a file with one table, and what another connection reads of it.
    struct Desk {
        _folder: tempfile::TempDir,
        writer: Writer,
        reader: Connection,
    }

    impl Desk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("desk.db");
            let db = Connection::open(&path).unwrap();
            db.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; CREATE TABLE note (text TEXT UNIQUE)",
            )
            .unwrap();
            Self {
                _folder: folder,
                writer: Writer::start(db).unwrap(),
                reader: Connection::open(path).unwrap(),
            }
        }

        async fn note(&self, text: &'static str) -> Result<(), StoreError> {
            let work = move |tx: &Transaction<'_>| {
                Ok(tx.execute("INSERT INTO note VALUES (?1)", [text]).map(drop)?)
            };
            self.writer.write(work).await
        }

        /// Holds the thread up until the sender is dropped, so that writes come together.
        fn held_up(&self) -> (mpsc::Sender<()>, impl Future<Output = Result<(), StoreError>>) {
            let (release, released) = mpsc::channel::<()>();
            let work = move |_: &Transaction<'_>| {
                let _released = released.recv();
                Ok(())
            };
            (release, self.writer.write(work))
        }

        fn notes(&self) -> Vec<String> {
            let mut notes = self.reader.prepare("SELECT text FROM note ORDER BY rowid").unwrap();
            notes.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        }
    }

    #[tokio::test]
    async fn of_writes_that_share_a_commit_the_one_that_fails_is_undone_alone() {
        let desk = Desk::new();
        let (release, first) = desk.held_up();
        let half = |tx: &Transaction<'_>| {
            tx.execute("INSERT INTO note VALUES ('half')", [])?;
            Err::<(), _>(StoreError::Stopped)
        };
        let panics = |tx: &Transaction<'_>| -> Result<(), StoreError> {
            tx.execute("INSERT INTO note VALUES ('lost')", [])?;
            panic!("a defect")
        };
        let (first, one, refused, lost, two, ()) = tokio::join!(
            first,
            desk.note("one"),
            desk.writer.write(half),
            desk.writer.write(panics),
            desk.note("two"),
            async { drop(release) }
        );
        assert!(first.is_ok() && one.is_ok() && two.is_ok());
        assert!(matches!(refused, Err(StoreError::Stopped)) && matches!(lost, Err(StoreError::Stopped)));
        assert_eq!(desk.notes(), ["one", "two"]);
        assert!(desk.writer.failed());
        desk.note("three").await.unwrap();
        assert!(!desk.writer.failed());
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_every_write_that_it_would_have_kept() {
        let desk = Desk::new();
        desk.note("there").await.unwrap();
        let (release, first) = desk.held_up();
        // A deferred constraint is looked at by the commit alone.
        let dangling = |tx: &Transaction<'_>| -> Result<(), StoreError> {
            tx.execute_batch(
                "CREATE TABLE child (parent TEXT REFERENCES note (text) DEFERRABLE INITIALLY DEFERRED);
                 INSERT INTO child VALUES ('nobody')",
            )?;
            Ok(())
        };
        let (first, one, dangling, two, ()) =
            tokio::join!(first, desk.note("one"), desk.writer.write(dangling), desk.note("two"), async {
                drop(release)
            });
        for failed in [first, one, dangling, two] {
            assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
        }
        assert_eq!(desk.notes(), ["there"]);
        desk.note("two").await.unwrap();
        assert_eq!(desk.notes(), ["there", "two"]);
    }

    #[tokio::test]
    async fn an_answer_comes_after_the_commit() {
        let desk = Desk::new();
        for text in ["a", "b", "c"] {
            desk.note(text).await.unwrap();
            assert_eq!(desk.notes().last().map(String::as_str), Some(text));
        }
    }
}
