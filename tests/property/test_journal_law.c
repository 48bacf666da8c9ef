/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/property/test_journal_law.c - no page that a rollback transaction of
 * stock SQLite changes is ever missing from the set of journal_read().
 *
 * tests/support/watch.c compares each answer with every page of the file.
 */
#include "wal/journal.h"

#include "base/bytes.h"
#include "tests/harness.h"
#include "tests/support/watch.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a database under watch ------------------------------------------- */

struct world {
    char dir[64];
    char path[128];
    sqlite3 *db;
    struct watch *watch;
};

static void run(sqlite3 *db, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs SQL; what it may say about constraints or locks is SQLite's affair. */
static void run(sqlite3 *db, const char *format, ...)
{
    char sql[2000];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(sql, sizeof sql, format, arguments);
    va_end(arguments);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        EXPECT_TRUE(false);
    }
}

static sqlite3 *open_at(const char *path)
{
    sqlite3 *db = NULL;

    EXPECT_EQ(sqlite3_open_v2(path, &db,
                              SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              WATCH_VFS),
              SQLITE_OK);
    run(db, "PRAGMA temp_store=memory");
    return db;
}

static void world_make(struct world *world)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    watch_start();
    snprintf(world->dir, sizeof world->dir, "%s/tidemark-journal-XXXXXX", base);
    EXPECT_TRUE(mkdtemp(world->dir) != NULL);
    snprintf(world->path, sizeof world->path, "%s/app.db", world->dir);
}

static void world_open(struct world *world)
{
    world->db = open_at(world->path);
    world->watch = watch_add(world->path);
}

/* Watches another file of the same directory, which need not be there. */
static struct watch *watch_add_beside(struct world *world, const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", world->dir, name);
    return watch_add(path);
}

static void world_end(struct world *world)
{
    static const char *const names[] = {"app.db", "app.db-journal", "copy.db",
                                        "copy.db-journal", "other.db"};
    char path[200];

    sqlite3_close(world->db);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof path, "%s/%s", world->dir, names[i]);
        unlink(path);
    }
    rmdir(world->dir);
}

/* One transaction; the next starts from what it leaves. */
#define COMMIT(world, ...)                                                     \
    do {                                                                       \
        watch_begin((world)->watch);                                           \
        run((world)->db, __VA_ARGS__);                                         \
    } while (0)

/* ---- random workloads -------------------------------------------------- */

struct workload {
    struct world world;
    struct rng rng;
    uint32_t page_bytes;
    uint32_t rows;      /* about as many as the database should hold */
    struct watch *copy; /* of a copy made when the application died */
};

static const char *any_of(struct rng *rng, const char *const *of, size_t count)
{
    return of[rng_below(rng, count)];
}

#define ANY_OF(rng, ...)                                                       \
    any_of(rng, (const char *const[]){__VA_ARGS__},                            \
           ARRAY_LENGTH(((const char *const[]){__VA_ARGS__})))

/* A blob: noise, zeros, or small numbers that look like a trunk's leaves. */
static const char *a_blob(struct workload *w)
{
    static char text[400];
    unsigned bytes = (unsigned)rng_below(&w->rng, 3 * w->page_bytes) / 2;

    switch (rng_below(&w->rng, 4)) {
    case 0:
        snprintf(text, sizeof text, "zeroblob(%u)", bytes);
        break;
    case 1: {
        unsigned number = (unsigned)rng_below(&w->rng, 90);

        snprintf(text, sizeof text,
                 "CAST(replace(hex(zeroblob(%u)), '00', char(0,0,0,%u)) "
                 "AS blob)",
                 bytes / 4, number);
        break;
    }
    default:
        snprintf(text, sizeof text, "randomblob(%u)", bytes);
    }
    return text;
}

static unsigned a_row(struct workload *w)
{
    return (unsigned)rng_below(&w->rng, w->rows);
}

static void step_insert(struct workload *w)
{
    run(w->world.db,
        "WITH RECURSIVE g(a) AS (SELECT %u UNION ALL SELECT a + 1 FROM g "
        "LIMIT %u) INSERT OR REPLACE INTO t SELECT a, %s, random() FROM g",
        a_row(w), (unsigned)rng_below(&w->rng, w->rows / 4) + 1, a_blob(w));
}

static void step_change(struct workload *w)
{
    unsigned from = a_row(w);
    unsigned to = from + (unsigned)rng_below(&w->rng, w->rows / 2);

    if (rng_chance(&w->rng, 60))
        run(w->world.db, "DELETE FROM t WHERE a BETWEEN %u AND %u", from, to);
    else
        run(w->world.db, "UPDATE t SET b=%s, c=c+1 WHERE a BETWEEN %u AND %u",
            a_blob(w), from, to);
}

static void step_schema(struct workload *w)
{
    sqlite3 *db = w->world.db;

    switch (rng_below(&w->rng, 6)) {
    case 0:
        run(db, "CREATE INDEX IF NOT EXISTS i ON t(c, b)");
        break;
    case 1:
        run(db, "DROP INDEX IF EXISTS i");
        break;
    case 2:
        run(db, "DROP TABLE IF EXISTS s;"
                "CREATE TABLE s AS SELECT * FROM t WHERE a %% 3 = 0");
        break;
    case 3:
        run(db, "DROP TABLE IF EXISTS s");
        break;
    case 4:
        run(db, "DELETE FROM t");
        break;
    default:
        run(db, "PRAGMA user_version=%u", a_row(w));
    }
}

static void step(struct workload *w)
{
    uint64_t kind = rng_below(&w->rng, 100);

    if (kind < 50)
        step_insert(w);
    else if (kind < 85)
        step_change(w);
    else
        step_schema(w);
}

/* A savepoint, steps inside, and away with them or not. */
static void step_savepoint(struct workload *w)
{
    run(w->world.db, "SAVEPOINT p");
    for (uint64_t i = rng_below(&w->rng, 3); i > 0; i--)
        step(w);
    if (rng_chance(&w->rng, 60))
        run(w->world.db, "ROLLBACK TO p");
    run(w->world.db, "RELEASE p");
}

static void copy_file(const char *from, const char *to)
{
    struct os_file in = {0}, out = {0};
    static uint8_t bytes[65536];
    uint64_t at = 0;
    ssize_t n;

    if (os_open(&in, AT_FDCWD, from, O_RDONLY, 0, SITE_NONE) < 0)
        return;
    EXPECT_OK(os_open(&out, AT_FDCWD, to, O_WRONLY | O_CREAT | O_TRUNC, 0600,
                      SITE_NONE));
    while ((n = os_pread(&in, bytes, sizeof bytes, at, SITE_NONE)) > 0) {
        EXPECT_OK(os_pwrite(&out, bytes, (size_t)n, at, SITE_NONE));
        at += (uint64_t)n;
    }
    os_close(&in);
    os_close(&out);
}

/* The application dies here: a copy of both files is opened and, when hot,
 * played back under its own watch. */
static void crash(struct workload *w)
{
    char journal[200], copy_journal[300];
    sqlite3 *db;

    snprintf(journal, sizeof journal, "%s-journal", w->world.path);
    snprintf(copy_journal, sizeof copy_journal, "%s-journal", w->copy->path);
    unlink(copy_journal);
    copy_file(w->world.path, w->copy->path);
    copy_file(journal, copy_journal);
    watch_begin_as(w->copy, w->world.watch);
    db = open_at(w->copy->path);
    run(db, "SELECT count(*) FROM sqlite_schema");
    sqlite3_close(db);
}

static void transaction_of_steps(struct workload *w)
{
    run(w->world.db, "BEGIN IMMEDIATE");
    for (uint64_t i = rng_below(&w->rng, 5); i > 0; i--) {
        if (rng_chance(&w->rng, 25))
            step_savepoint(w);
        else
            step(w);
    }
    if (rng_chance(&w->rng, 15))
        crash(w);
    run(w->world.db, rng_chance(&w->rng, 75) ? "COMMIT" : "ROLLBACK");
}

static void transaction(struct workload *w)
{
    uint64_t kind = rng_below(&w->rng, 100);

    watch_begin(w->world.watch);
    if (kind < 2)
        run(w->world.db, "PRAGMA page_size=%u; VACUUM",
            PAGE_MIN_BYTES << rng_below(&w->rng, 8));
    else if (kind < 4)
        run(w->world.db, "VACUUM");
    else if (kind < 10)
        run(w->world.db, "PRAGMA incremental_vacuum(%u)", a_row(w));
    else if (kind < 50)
        step(w);
    else
        transaction_of_steps(w);
}

static void pragmas_shuffle(struct workload *w)
{
    run(w->world.db, "PRAGMA journal_mode=%s",
        ANY_OF(&w->rng, "delete", "truncate", "persist"));
    run(w->world.db, "PRAGMA synchronous=%s",
        ANY_OF(&w->rng, "off", "normal", "full", "extra"));
    run(w->world.db, "PRAGMA cache_size=%s",
        ANY_OF(&w->rng, "5", "5", "20", "-2000"));
    run(w->world.db, "PRAGMA secure_delete=%s",
        ANY_OF(&w->rng, "off", "off", "on", "fast"));
    watch_characteristics = rng_chance(&w->rng, 60)
                                ? SQLITE_IOCAP_POWERSAFE_OVERWRITE
                            : rng_chance(&w->rng, 50) ? SQLITE_IOCAP_SAFE_APPEND
                                                      : 0;
    watch_sector_bytes = rng_chance(&w->rng, 60) ? 512 : 4096;
}

static void workload_open(struct workload *w)
{
    world_make(&w->world);
    watch_sector_bytes = rng_chance(&w->rng, 60) ? 512 : 4096;
    world_open(&w->world);
    w->copy = watch_add_beside(&w->world, "copy.db");
    w->page_bytes = PAGE_MIN_BYTES << rng_below(&w->rng, 8);
    w->rows = (1u << 20) / w->page_bytes;
    w->rows = w->rows < 30 ? 30 : w->rows > 600 ? 600 : w->rows;
    run(w->world.db, "PRAGMA page_size=%u", w->page_bytes);
    run(w->world.db, "PRAGMA auto_vacuum=%s",
        ANY_OF(&w->rng, "none", "full", "incremental"));
    if (rng_chance(&w->rng, 15))
        run(w->world.db, "PRAGMA locking_mode=exclusive");
    COMMIT(&w->world,
           "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB, c INTEGER)");
}

struct totals {
    size_t checks, changed, leaves, missed, refused;
};

static void totals_add(struct totals *totals, const struct watch *watch)
{
    totals->checks += watch->checks;
    totals->changed += watch->changed;
    totals->leaves += watch->leaves;
    totals->missed += watch->missed;
    totals->refused += watch->refused;
}

static off_t size_of(const char *path)
{
    struct stat status;

    EXPECT_EQ(stat(path, &status), 0);
    return status.st_size;
}

/* A file that shrinks is cut after the commit: as if who did that had died in
 * between. */
static void undo_cut(struct workload *w, off_t before)
{
    const char *path = w->world.path;

    if (size_of(path) < before && rng_chance(&w->rng, 2))
        EXPECT_EQ(truncate(path, before), 0);
}

static void workload_run(struct rng *rng, int transactions, bool canary,
                         struct totals *totals)
{
    struct workload w = {.rng = {rng_u64(rng)}};
    off_t before;

    workload_open(&w);
    w.world.watch->canary = canary;
    for (int i = 0; i < transactions; i++) {
        if (rng_chance(&w.rng, 10))
            pragmas_shuffle(&w);
        before = size_of(w.world.path);
        transaction(&w);
        undo_cut(&w, before);
    }
    totals_add(totals, w.world.watch);
    totals_add(totals, w.copy);
    world_end(&w.world);
}

/* ROUNDS=n runs longer. */
static int rounds(int usual)
{
    const char *text = getenv("ROUNDS");

    return text == NULL ? usual : atoi(text);
}

TEST(every_changed_page_is_in_the_set_whatever_sqlite_does)
{
    struct rng rng = test_rng();
    struct totals totals = {0};

    for (int i = rounds(40); i > 0; i--)
        workload_run(&rng, 40, false, &totals);
    printf("%zu checks, %zu changed pages, %zu of them reused leaves, "
           "%zu changes of the page size\n",
           totals.checks, totals.changed, totals.leaves, totals.refused);
    EXPECT_EQ(totals.missed, 0);
    EXPECT_GT(totals.leaves, 0);
}

TEST(canary_a_set_without_the_leaves_of_old_trunks_is_caught)
{
    struct rng rng = test_rng();
    struct totals totals = {0};

    for (int i = 5; i > 0; i--)
        workload_run(&rng, 40, true, &totals);
    EXPECT_GT(totals.missed, 0);
    EXPECT_LE(totals.missed, totals.leaves);
}

/* ---- single stories ----------------------------------------------------- */

/* A database of 4 KiB pages, tens of thousands of them free. */
static void world_with_free_pages(struct world *world)
{
    world_make(world);
    world_open(world);
    run(world->db, "PRAGMA page_size=4096; PRAGMA synchronous=normal;"
                   "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
                   "CREATE TABLE small(a INTEGER PRIMARY KEY, b);"
                   "INSERT INTO small VALUES(1, 1);"
                   "INSERT INTO t VALUES(1, zeroblob(80000000));"
                   "DELETE FROM t");
}

TEST(a_small_commit_beside_a_huge_free_list_stays_small)
{
    struct world world;

    world_with_free_pages(&world);
    COMMIT(&world, "UPDATE small SET b=2");
    EXPECT_EQ(world.watch->changed, 2 * 2); /* seen at fsync and at unlink */
    EXPECT_EQ(world.watch->set_pages, 2);
    EXPECT_EQ(world.watch->missed, 0);
    world_end(&world);
}

TEST(reusing_one_free_page_costs_one_trunk_not_the_free_list)
{
    struct world world;

    world_with_free_pages(&world);
    COMMIT(&world, "INSERT INTO small VALUES(2, randomblob(5000))");
    EXPECT_GT(world.watch->leaves, 0);
    EXPECT_LE(world.watch->set_pages, 4096 / 4 + 4);
    EXPECT_EQ(world.watch->missed, 0);
    world_end(&world);
}

TEST(a_transaction_that_spills_has_many_segments_and_loses_none)
{
    struct world world;

    world_make(&world);
    world_open(&world);
    run(world.db, "PRAGMA page_size=512; PRAGMA cache_size=5;"
                  "CREATE TABLE t(a, b); CREATE INDEX i ON t(b)");
    COMMIT(&world,
           "WITH RECURSIVE g(a) AS (SELECT 1 UNION ALL SELECT a + 1 "
           "FROM g LIMIT 2000) INSERT INTO t SELECT a, random() FROM g");
    COMMIT(&world, "UPDATE t SET b=random()");
    EXPECT_GT(world.watch->set_pages, 100);
    EXPECT_EQ(world.watch->missed, 0);
    world_end(&world);
}

/*
 * Taken leaves are written without waiting for the sync of the segment that
 * holds their trunk, and rolled back they stay as they are: free, but changed.
 */
TEST(leaves_that_a_rollback_leaves_changed_are_in_the_set)
{
    struct world world;

    world_make(&world);
    world_open(&world);
    run(world.db, "PRAGMA page_size=512; PRAGMA cache_size=5;"
                  "CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(900000));"
                  "DELETE FROM t");
    for (unsigned kilobytes = 20; kilobytes < 200; kilobytes += 5)
        COMMIT(&world,
               "BEGIN; INSERT INTO t VALUES(randomblob(%u000)); ROLLBACK",
               kilobytes);
    EXPECT_GT(world.watch->leaves, 1000);
    EXPECT_EQ(world.watch->missed, 0);
    world_end(&world);
}

TEST(pages_behind_a_cut_that_nobody_made_are_in_the_set)
{
    struct world world;
    off_t before;

    world_make(&world);
    world_open(&world);
    run(world.db, "PRAGMA page_size=512; PRAGMA auto_vacuum=full;"
                  "CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
                  "INSERT INTO t VALUES(1, zeroblob(20000))");
    before = size_of(world.path);
    COMMIT(&world, "UPDATE t SET b=1");
    EXPECT_LT(size_of(world.path), before);
    EXPECT_EQ(truncate(world.path, before), 0);
    COMMIT(&world, "INSERT INTO t VALUES(2, randomblob(30000))");
    EXPECT_EQ(world.watch->missed, 0);
    world_end(&world);
}

TEST(databases_that_commit_together_name_their_super_journal)
{
    struct world world;
    struct watch *other;
    char expected[200];

    world_make(&world);
    world_open(&world);
    other = watch_add_beside(&world, "other.db");
    run(world.db,
        "ATTACH '%s' AS other;"
        "CREATE TABLE t(a); CREATE TABLE other.u(a)",
        other->path);
    watch_begin(other);
    COMMIT(&world, "BEGIN; INSERT INTO t VALUES(1);"
                   "INSERT INTO u VALUES(1); COMMIT");
    snprintf(expected, sizeof expected, "%s-mj", world.path);
    EXPECT_MEM(world.watch->super_name, expected, strlen(expected));
    EXPECT_STR(other->super_name, world.watch->super_name);
    COMMIT(&world, "INSERT INTO t VALUES(2)");
    EXPECT_STR(world.watch->super_name, "");
    EXPECT_EQ(world.watch->missed + other->missed, 0);
    world_end(&world);
}
