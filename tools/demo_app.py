"""tools/demo_app.py - the application of tools/demo: somebody sees network
cards here and there, and writes each sighting down.

    demo_app.py DB

An ordinary program that has never heard of Tidemark: SQLAlchemy's ORM where
it is installed, else Python's own sqlite3. Commits until SIGTERM, a few rows
every 20 ms.
"""
import random
import signal
import sqlite3
import sys
import time

PAUSE_SECONDS = 0.02
PLACES = ("airport", "library", "office", "station", "university")
running = True


def on_signal(_number, _frame):
    global running
    running = False


class PlainSightings:
    """Without an ORM."""

    name = "Python's sqlite3 " + sqlite3.sqlite_version

    def __init__(self, path):
        self.connection = sqlite3.connect(path, timeout=10)
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS sightings(id INTEGER PRIMARY KEY, "
            "vendor TEXT, place TEXT, seen REAL)")
        self.vendors = [row[0] for row in self.connection.execute(
            'SELECT "Organization Name" FROM vendors LIMIT 5000')]

    def add(self, count):
        with self.connection:
            self.connection.executemany(
                "INSERT INTO sightings(vendor, place, seen) VALUES(?, ?, ?)",
                [(random.choice(self.vendors), random.choice(PLACES),
                  time.time()) for _ in range(count)])

    def close(self):
        self.connection.close()


def mapped_sightings():
    """The same by SQLAlchemy; ImportError where it is not installed."""
    import sqlalchemy
    from sqlalchemy import orm

    class Base(orm.DeclarativeBase):
        pass

    class Sighting(Base):
        __tablename__ = "sightings"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        vendor: orm.Mapped[str]
        place: orm.Mapped[str]
        seen: orm.Mapped[float]

    class MappedSightings:
        name = "SQLAlchemy " + sqlalchemy.__version__

        def __init__(self, path):
            self.engine = sqlalchemy.create_engine("sqlite:///" + path)
            Base.metadata.create_all(self.engine)
            self.session = orm.Session(self.engine)
            self.vendors = self.session.scalars(sqlalchemy.text(
                'SELECT "Organization Name" FROM vendors LIMIT 5000')).all()
            self.session.rollback()

        def add(self, count):
            self.session.add_all(
                Sighting(vendor=random.choice(self.vendors),
                         place=random.choice(PLACES), seen=time.time())
                for _ in range(count))
            self.session.commit()

        def close(self):
            self.session.close()
            self.engine.dispose()

    return MappedSightings


def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        kind = mapped_sightings()
    except ImportError:
        kind = PlainSightings
    sightings, commits = kind(sys.argv[1]), 0
    print("writing with %s" % kind.name, flush=True)
    while running:
        sightings.add(random.randint(1, 5))
        commits += 1
        time.sleep(PAUSE_SECONDS)
    sightings.close()
    print("%d commits, none refused" % commits)


if __name__ == "__main__":
    main()
