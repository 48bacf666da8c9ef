/* SPDX-License-Identifier: Apache-2.0 */
/* Stock SQLite in a mount, in both modes: it works, and nothing the engine must
 * know about escapes. */
#include "tests/unit/fuse_stage.h"

IN_BOTH_MODES(sqlite_works_in_every_journal_mode, NULL)
{
    static const char *const modes[] = {"wal", "delete", "truncate", "persist"};

    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        EXPECT_SH("sqlite3 %s.db \"pragma journal_mode=%s; create table "
                  "t(a integer primary key, b); insert into t(b) "
                  "values(1),(2),(3); update t set b=b+1; "
                  "delete from t where a=2;\" >/dev/null",
                  modes[i], modes[i]);
        EXPECT_SH("test \"$(sqlite3 %s.db \"select sum(b) from t\")\" = 6",
                  modes[i]);
        EXPECT_SH("test \"$(sqlite3 $F/%s.db \"pragma integrity_check\")\" "
                  "= ok",
                  modes[i]);
    }
}

/* Three transactions each, the first of which creates the file. */
static void expect_commits(const char *mode)
{
    int commits = atomic_load(&now.catalog.hot_commits);
    int committed = atomic_load(&now.catalog.committed);
    int fsyncs = atomic_load(&now.catalog.fsyncs_main);

    EXPECT_SH("sqlite3 %s.db \"pragma journal_mode=%s; create table t(a);"
              "insert into t values(1); insert into t values(2);\" >/dev/null",
              mode, mode);
    EXPECT_EQ(atomic_load(&now.catalog.hot_commits) - commits, 3);
    EXPECT_GE(atomic_load(&now.catalog.committed) - committed, 3);
    EXPECT_EQ(atomic_load(&now.catalog.fsyncs_main) - fsyncs, 3);
}

IN_BOTH_MODES(every_commit_of_a_rollback_journal_is_seen, NULL)
{
    expect_commits("delete");
    expect_commits("truncate");
    expect_commits("persist");
    EXPECT_EQ(atomic_load(&now.catalog.failed_commits), 0);
}

IN_BOTH_MODES(a_commit_without_fsync_is_seen_at_its_journal, NULL)
{
    EXPECT_SH("sqlite3 off.db \"pragma synchronous=off; create table t(a);"
              "insert into t values(1)\"");
    EXPECT_EQ(atomic_load(&now.catalog.fsyncs_main), 0);
    EXPECT_EQ(atomic_load(&now.catalog.hot_commits), 2);
}

IN_BOTH_MODES(every_full_commit_of_a_wal_is_an_fsync, NULL)
{
    int before;

    EXPECT_SH("sqlite3 w.db \"pragma journal_mode=wal; create table t(a)\" "
              ">/dev/null");
    before = atomic_load(&now.catalog.fsyncs_wal);
    EXPECT_SH("sqlite3 w.db \"pragma wal_autocheckpoint=0; "
              "pragma synchronous=full; insert into t values(1);"
              "insert into t values(2);insert into t values(3)\" >/dev/null");
    /* The first after a reset syncs the header too; the close checkpoints. */
    EXPECT_GE(atomic_load(&now.catalog.fsyncs_wal) - before, 4);
    EXPECT_GT(atomic_load(&now.catalog.synced), 0);
}

IN_BOTH_MODES(processes_that_write_at_once_lose_nothing, NULL)
{
    static const char *const modes[] = {"wal", "delete", "persist"};

    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        EXPECT_SH("sqlite3 m.db \"pragma journal_mode=%s; create table if not "
                  "exists t(a)\" >/dev/null",
                  modes[i]);
        EXPECT_SH("for w in 1 2 3 4; do (for i in 1 2 3 4 5 6 7 8; do "
                  "echo \".timeout 20000\ninsert into t values($i);\"; done | "
                  "sqlite3 m.db) & done; wait");
        EXPECT_SH("test $(sqlite3 m.db \"select count(*) from t\") = %zu",
                  32 * (i + 1));
        EXPECT_SH("test $(sqlite3 m.db \"pragma integrity_check\") = ok");
    }
}

IN_BOTH_MODES(a_lock_of_one_process_is_seen_by_another, NULL)
{
    EXPECT_SH("sqlite3 l.db \"create table t(a)\"");
    EXPECT_SH("sqlite3 l.db \"begin immediate\" "
              "\".shell ! sqlite3 l.db \\\"begin immediate\\\" 2>err\" "
              "\".shell sqlite3 l.db \\\"select count(*) from t\\\" >n\"; "
              "grep -q locked err; test $(cat n) = 0");
    EXPECT_SH("sqlite3 l.db \"begin immediate; insert into t values(1); "
              "commit\"");
    EXPECT_SH("(flock -n 9 && no flock -n l.lock true) 9>l.lock");
}

IN_BOTH_MODES(sqlite_features_that_stress_a_file_system_work, NULL)
{
    static const char *const modes[] = {"wal", "delete"};

    for (size_t i = 0; i < ARRAY_LENGTH(modes); i++) {
        EXPECT_SH("sqlite3 s%zu.db \"pragma page_size=512; pragma "
                  "journal_mode=%s; pragma mmap_size=1000000; pragma "
                  "cache_size=5; create table t(a integer primary key, b);"
                  "with recursive n(i) as (select 1 union all select i+1 from "
                  "n where i<3000) insert into t(b) select randomblob(300) "
                  "from n; savepoint x; delete from t where a%%3=0; rollback "
                  "to x; delete from t where a>2000; release x; vacuum; "
                  "vacuum into \\\"copy%zu.db\\\";\" >/dev/null",
                  i, modes[i], i);
        EXPECT_SH("test $(sqlite3 s%zu.db \"select count(*) from t\") = 2000",
                  i);
        EXPECT_SH("mv copy%zu.db moved%zu.db; test $(sqlite3 moved%zu.db "
                  "\"pragma integrity_check\") = ok",
                  i, i, i);
    }
    EXPECT_SH("sqlite3 a1.db \"attach \\\"a2.db\\\" as two; begin; create "
              "table x(a); create table two.y(a); commit\"; test $(sqlite3 "
              "a2.db \"select count(*) from sqlite_schema\") = 1");
}

IN_BOTH_MODES(an_open_file_that_becomes_a_database_is_announced_late, NULL)
{
    struct database *database;

    EXPECT_SH("sqlite3 new.db \"create table t(a)\" "
              "\".shell test -f new.db\"");
    EXPECT_GT(atomic_load(&now.catalog.late_opens), 0);
    database = catalog_find(&now.catalog, "new.db");
    EXPECT_TRUE(database != NULL);
    /* The kernel tells of a close when the program may have ended. */
    while (atomic_load(&database->opens) != 0)
        usleep(1000);
    database_unref(database);
}
