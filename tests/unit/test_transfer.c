/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "node/transfer.h"

#include <signal.h>

static char folder[64];
static char from[96], to[96];

static void begin(void)
{
    snprintf(folder, sizeof folder, "/tmp/tidemark-XXXXXX");
    EXPECT_TRUE(mkdtemp(folder) != NULL);
    snprintf(from, sizeof from, "%s/from.db", folder);
    snprintf(to, sizeof to, "%s/to.db", folder);
}

static void end(void)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal"};
    char path[128];

    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", from, endings[i]);
        unlink(path);
        snprintf(path, sizeof path, "%s%s", to, endings[i]);
        unlink(path);
    }
    EXPECT_EQ(rmdir(folder), 0);
}

static sqlite3 *open_db(const char *path)
{
    sqlite3 *db = NULL;

    EXPECT_EQ(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void run(sqlite3 *db, const char *sql)
{
    char *error = NULL;

    sqlite3_exec(db, sql, NULL, NULL, &error);
    EXPECT_STR(error, NULL);
}

static void make(const char *path, const char *sql)
{
    sqlite3 *db = open_db(path);

    run(db, sql);
    sqlite3_close(db);
}

/* The number that sql gives. */
static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t number;

    EXPECT_EQ(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

#define COUNT "SELECT count(*) FROM t"
#define ROWS                                                                   \
    "CREATE TABLE t(x); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT "    \
    "i+1 FROM c WHERE i<3000) INSERT INTO t SELECT randomblob(900) FROM c;"

/* A whole import, as the command does it. */
static int import(struct transfer *transfer)
{
    int rc = transfer_open(transfer, from, to);

    if (rc == 0)
        rc = transfer_check(transfer);
    if (rc == 0)
        rc = transfer_run(transfer, "test");
    transfer_close(transfer);
    return rc;
}

TEST(an_import_replaces_the_content_under_open_connections)
{
    struct transfer transfer;
    sqlite3 *open;

    begin();
    make(from, ROWS);
    make(to, "PRAGMA journal_mode=WAL; CREATE TABLE t(x, y);");
    open = open_db(to);
    EXPECT_EQ(ask(open, COUNT), 0);
    EXPECT_OK(import(&transfer));
    EXPECT_EQ(ask(open, COUNT), 3000); /* the same connection */
    run(open, "INSERT INTO t VALUES(1)");
    EXPECT_GT(transfer.pages, 600);
    EXPECT_EQ(transfer.page_bytes, 4096);
    sqlite3_close(open);
    end();
}

TEST(a_reader_sees_the_old_content_until_it_ends)
{
    struct transfer transfer;
    sqlite3 *reader;

    begin();
    make(from, ROWS);
    make(to, "PRAGMA journal_mode=WAL; CREATE TABLE t(x, y);");
    reader = open_db(to);
    run(reader, "BEGIN");
    EXPECT_EQ(ask(reader, COUNT), 0);
    EXPECT_OK(import(&transfer));
    EXPECT_EQ(ask(reader, COUNT), 0);
    run(reader, "COMMIT");
    EXPECT_EQ(ask(reader, COUNT), 3000);
    sqlite3_close(reader);
    end();
}

TEST(another_page_size_in_wal_mode_is_refused_with_the_way_out)
{
    struct transfer transfer;
    sqlite3 *db;

    begin();
    make(from, "PRAGMA page_size=8192; " ROWS);
    make(to, "PRAGMA journal_mode=WAL; CREATE TABLE t(x);");
    EXPECT_EQ(import(&transfer), -EINVAL);
    EXPECT_TRUE(strstr(transfer.text, "PRAGMA page_size=4096; VACUUM INTO") !=
                NULL);
    db = open_db(to);
    EXPECT_EQ(ask(db, COUNT), 0);
    sqlite3_close(db);
    end();
}

TEST(another_page_size_is_fine_in_a_new_database)
{
    struct transfer transfer;
    sqlite3 *db;

    begin();
    make(from, "PRAGMA page_size=8192; " ROWS);
    EXPECT_OK(import(&transfer));
    db = open_db(to);
    EXPECT_EQ(ask(db, "PRAGMA page_size"), 8192);
    EXPECT_EQ(ask(db, COUNT), 3000);
    sqlite3_close(db);
    end();
}

TEST(what_is_no_database_is_refused_before_anything_is_made)
{
    struct transfer transfer;
    FILE *file;

    begin();
    EXPECT_EQ(import(&transfer), -EIO);
    EXPECT_TRUE(strstr(transfer.text, "No such file") != NULL);
    file = fopen(from, "w");
    fputs("this is no database, only text that is long enough", file);
    fclose(file);
    EXPECT_EQ(import(&transfer), -EIO);
    EXPECT_TRUE(strstr(transfer.text, "not a database") != NULL);
    EXPECT_EQ(access(to, F_OK), -1);
    end();
}

TEST(an_export_is_of_one_moment_while_somebody_writes)
{
    struct transfer transfer;
    sqlite3 *writer, *copy;

    begin();
    make(from, "PRAGMA journal_mode=WAL; " ROWS);
    writer = open_db(from);
    EXPECT_OK(transfer_open(&transfer, from, to));
    EXPECT_OK(transfer_hold(&transfer));
    run(writer, "DELETE FROM t; VACUUM; INSERT INTO t VALUES(1)");
    EXPECT_OK(transfer_run(&transfer, "test"));
    transfer_close(&transfer);
    copy = open_db(to);
    EXPECT_EQ(ask(copy, COUNT), 3000);
    EXPECT_EQ(ask(writer, COUNT), 1);
    sqlite3_close(copy);
    sqlite3_close(writer);
    end();
}

static int interrupt(void *unused, int times)
{
    (void)unused;
    (void)times;
    raise(SIGINT);
    return 0; /* no more waiting */
}

TEST(an_interrupted_import_changes_nothing)
{
    struct transfer transfer;
    sqlite3 *db;

    begin();
    make(from, ROWS);
    make(to, "CREATE TABLE t(x);");
    db = open_db(to);
    EXPECT_OK(transfer_open(&transfer, from, to));
    run(db, "BEGIN IMMEDIATE"); /* the import has to wait for this */
    sqlite3_busy_handler(transfer.to, interrupt, NULL);
    EXPECT_EQ(transfer_run(&transfer, "test"), -EINTR);
    EXPECT_STR(transfer.text, "interrupted; nothing was changed");
    transfer_close(&transfer);
    run(db, "COMMIT");
    EXPECT_EQ(ask(db, COUNT), 0);
    sqlite3_close(db);
    end();
}

static json_t *status(const char *role)
{
    return json_pack("{s:{s:s, s:s, s:{s:s}}}", "node", "mount", "/data",
                     "role", role, "primary", "address", "10.0.0.1:20202");
}

TEST(a_database_is_named_by_its_path_below_the_mount)
{
    static const char *const wrong[] = {
        "",
        "/a.db",
        "../a.db",
        "a/../b.db",
        "a/",
        "..",
        "a/..",
        "a.db-wal",
        "a.db-shm",
        "a.db-journal",
        ".tidemark/status.json",
    };
    json_t *primary = status("primary"), *replica = status("replica");
    char path[64], text[TRANSFER_TEXT_BYTES];

    EXPECT_OK(
        transfer_path(primary, "a/..b.db", true, path, sizeof path, text));
    EXPECT_STR(path, "/data/a/..b.db");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        EXPECT_EQ(
            transfer_path(primary, wrong[i], false, path, sizeof path, text),
            -EINVAL);
    EXPECT_OK(transfer_path(replica, "a.db", false, path, sizeof path, text));
    EXPECT_EQ(transfer_path(replica, "a.db", true, path, sizeof path, text),
              -EINVAL);
    EXPECT_STR(text, "this node is a replica; do it on the primary, "
                     "10.0.0.1:20202");
    json_decref(primary);
    json_decref(replica);
}
