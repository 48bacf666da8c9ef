/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_recover.c - what a start makes of a prepared commit, and of
 * what the record that decided it says about the WAL (docs/decisions/0007).
 */
#include "tests/unit/recover_stage.h"

/* A table, a row: two commits, captured. */
static void a_primary_in_wal_mode(const char *uri)
{
    a_primary(uri);
    stock_exec(application, "PRAGMA page_size=512;"
                            "PRAGMA journal_mode=WAL;"
                            "PRAGMA wal_autocheckpoint=0;"
                            "CREATE TABLE rows(name);"
                            "INSERT INTO rows VALUES ('before');");
    frames_read();
    captures(1, frames_count, 2, 0);
    EXPECT_EQ(view.position.txid, 2);
}

/* One more, prepared: its commit frame. */
static uint32_t prepares_a_row(void)
{
    uint32_t before = frames_count, end;

    stock_exec(application, "INSERT INTO rows VALUES ('held')");
    frames_read();
    end = commit_frame(before, 1);
    captures(before + 1, end, 1, RECORD_PREPARED);
    EXPECT_EQ(view.position.txid, 2);
    EXPECT_EQ(view.prepared.txid, 3);
    EXPECT_TRUE(view.prepared_durable);
    return end;
}

static void starts_again(void)
{
    application_ends();
    dies();
    EXPECT_OK(starts_as(DATABASE_PRIMARY));
}

/*
 * The frames of a refused commit lie whole in the WAL, SQLite's recovery will
 * commit them. Should the ABORT name them, a start takes them for captured:
 * the row is then on this node and on no other, and no sum says so.
 */
TEST(an_abort_does_not_make_a_start_think_the_refused_frames_were_captured)
{
    uint32_t before;

    a_primary_in_wal_mode("");
    before = frames_count;
    prepares_a_row();
    EXPECT_OK(emit_resolve(database, false, NULL));
    looks();
    EXPECT_EQ(view.position.txid, 3);
    EXPECT_EQ(view.prepared.txid, 0);
    stands_at(before);
    starts_again();
    EXPECT_EQ(view.position.txid, 4); /* captured: it is everybody's */
    EXPECT_EQ(view.position.sum, sum_of_files());
    the_end();
}

TEST(a_commit_stands_at_the_published_end_and_a_start_captures_nothing_again)
{
    uint32_t end;

    a_primary_in_wal_mode("");
    end = prepares_a_row();
    EXPECT_OK(emit_resolve(database, true, &frame_ends[end]));
    stands_at(end);
    starts_again();
    EXPECT_EQ(view.position.txid, 3);
    EXPECT_EQ(view.position.sum, sum_of_files());
    the_end();
}

/* The log was synced by the checkpoint, the power failed two commits later:
 * replicas may have them. */
TEST(commits_in_a_wal_that_started_over_behind_the_log_keep_their_names)
{
    struct position before;

    a_primary_in_wal_mode("");
    before = view.position;
    stock_exec(application, "PRAGMA wal_checkpoint(TRUNCATE);"
                            "INSERT INTO rows VALUES ('three');"
                            "INSERT INTO rows VALUES ('four')");
    starts_again();
    EXPECT_FALSE(database->needs_reread);
    EXPECT_EQ(view.position.epoch, before.epoch);
    EXPECT_EQ(view.position.txid, before.txid + 2);
    EXPECT_EQ(view.position.sum, sum_of_files());
    the_end();
}

/* Nobody waited for the log: a checkpointer with synchronous=OFF. What else
 * was copied back, and is in this WAL no more, cannot be known. */
TEST(a_wal_that_started_over_behind_a_file_the_log_does_not_know_is_no_proof)
{
    a_primary_in_wal_mode("");
    stock_exec(application, "PRAGMA wal_checkpoint(TRUNCATE);"
                            "INSERT INTO rows VALUES ('three');"
                            "PRAGMA wal_checkpoint(TRUNCATE);"
                            "INSERT INTO rows VALUES ('four')");
    starts_again();
    EXPECT_TRUE(database->needs_reread);
    EXPECT_EQ(view.position.txid, 2);
    the_end();
}

/* Without powersafe overwrite SQLite fills a sector with the last frame again
 * and again, each a commit: all of them are this one. */
TEST(what_pads_a_commit_behind_its_prepared_frame_is_not_captured_again)
{
    uint32_t end;

    a_primary_in_wal_mode("psow=0");
    end = prepares_a_row();
    EXPECT_GT(frames_count, end);
    EXPECT_OK(emit_resolve(database, true, &frame_ends[frames_count]));
    stands_at(frames_count);
    starts_again();
    EXPECT_EQ(view.position.txid, 3);
    EXPECT_EQ(view.position.sum, sum_of_files());
    the_end();
}

static struct record_header redone; /* newest */

static int redo_note(struct database *one, const struct record *record)
{
    (void)one;
    redone = record->header;
    return 0;
}

TEST(a_commit_happened_when_and_where_its_resolve_says)
{
    struct record_header resolve;

    a_primary_in_wal_mode("psow=0");
    prepares_a_row();
    EXPECT_OK(emit_resolve(database, true, &frame_ends[frames_count]));
    resolve = *log_newest(database->log);
    looks();
    EXPECT_EQ(view.commit_wall_ns, resolve.commit_wall_ns);
    /* Redo reads the pages from the one and these from the other. */
    EXPECT_OK(redo_log(database, 1, redo_note));
    EXPECT_EQ(redone.last_txid, 3);
    EXPECT_GT(redone.pages, 0);
    EXPECT_EQ(redone.commit_wall_ns, resolve.commit_wall_ns);
    EXPECT_EQ(redone.wal_frame, frames_count);
    EXPECT_EQ(redone.wal_checksum[1], resolve.wal_checksum[1]);
    the_end();
}

/* ---- rollback modes ------------------------------------------------------ */

static int zero_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                      const uint8_t **ret_image)
{
    (void)pgno;
    memset(buffer, 0, *(const uint32_t *)context);
    *ret_image = buffer;
    return 0;
}

/* As rollback_prepare() does: no frame is named. */
static void prepares_pages(uint32_t flags, uint32_t page_bytes)
{
    struct emit_plan plan = {.flags = RECORD_PREPARED | flags,
                             .commits = 1,
                             .page_bytes = page_bytes,
                             .size_pages = 9};
    pgno_t pgnos[] = {2};
    struct emit_source source = {.count = 1,
                                 .pgnos = pgnos,
                                 .fetch = zero_fetch,
                                 .context = &plan.page_bytes};
    bool emitted;

    EXPECT_OK(emit(database, &plan, &source, &emitted));
}

TEST(in_a_rollback_mode_neither_decision_names_a_frame)
{
    a_primary_in_wal_mode("");
    prepares_pages(0, 512);
    EXPECT_OK(emit_resolve(database, true, NULL));
    stands_at(0);
    prepares_pages(0, 512);
    EXPECT_OK(emit_resolve(database, false, NULL));
    stands_at(0);
    the_end();
}

TEST(an_abort_goes_back_to_the_size_and_page_size_before)
{
    struct database_view before;

    a_primary_in_wal_mode("");
    before = view;
    prepares_pages(RECORD_SNAPSHOT, 8192); /* VACUUM with another page size */
    EXPECT_OK(emit_resolve(database, false, NULL));
    looks();
    EXPECT_EQ(view.position.txid, 3);
    EXPECT_EQ(view.position.sum, before.position.sum);
    EXPECT_EQ(view.page_bytes, before.page_bytes);
    EXPECT_EQ(view.size_pages, before.size_pages);
    EXPECT_EQ(log_newest(database->log)->page_bytes, before.page_bytes);
    EXPECT_EQ(log_newest(database->log)->size_pages, before.size_pages);
    the_end();
}

/* ---- not decided --------------------------------------------------------- */

static void is_decided(uint32_t flags)
{
    struct position prepared;

    EXPECT_EQ(log_newest(database->log)->flags, RECORD_RESOLVE | flags);
    EXPECT_EQ(log_newest(database->log)->last_txid, 3);
    EXPECT_FALSE(log_prepared(database->log, &prepared));
    EXPECT_EQ(prepared.txid, 0);
    EXPECT_EQ(view.prepared.txid, 0);
    EXPECT_EQ(view.durable_txid, view.position.txid);
}

TEST(a_primary_that_starts_without_a_journal_commits_what_was_prepared)
{
    a_primary_in_wal_mode("");
    prepares_pages(0, 512);
    starts_again();
    is_decided(0);
    the_end();
}

/* Somebody may still write: all will be read again, under later TXIDs. What
 * replicas hold is decided first, or the next record would make it void. */
TEST(a_primary_that_holds_the_database_back_aborts_what_was_prepared)
{
    a_primary_in_wal_mode("");
    prepares_pages(0, 512);
    dies(); /* the application lives */
    EXPECT_OK(starts_as(DATABASE_PRIMARY));
    EXPECT_EQ(view.state, DATABASE_HELD_BACK);
    is_decided(RECORD_ABORT);
    EXPECT_EQ(view.position.txid, 3);
    the_end();
}

/* An empty record of TXID last + 1 that says so of itself. */
static void appends(uint32_t flags, uint64_t sum_after)
{
    const struct record_header *newest = log_newest(database->log);
    struct record_header header = {
        .flags = flags,
        .lineage = database->lineage,
        .epoch = newest->epoch,
        .first_txid = newest->last_txid + 1,
        .last_txid = newest->last_txid + 1,
        .previous = record_position(newest),
        .sum_after = sum_after,
        .page_bytes = newest->page_bytes,
        .size_pages = newest->size_pages,
        .part = 1,
        .parts = 1,
    };
    struct blob *blob;

    EXPECT_OK(record_encode(&header, NULL, NULL, 0, &blob));
    EXPECT_OK(log_append(database->log, &header, blob));
    blob_unref(blob);
}

TEST(a_primary_whose_hashes_are_lost_aborts_what_was_prepared)
{
    a_primary_in_wal_mode("");
    appends(0, 4711); /* nothing explains that sum */
    appends(RECORD_PREPARED, 4712);
    starts_again();
    EXPECT_TRUE(database->needs_reread);
    EXPECT_EQ(log_newest(database->log)->flags, RECORD_RESOLVE | RECORD_ABORT);
    EXPECT_EQ(log_newest(database->log)->last_txid, 4);
    EXPECT_EQ(view.prepared.txid, 0);
    the_end();
}

/* What was a primary's is a replica's: its log explains all of its file. */
static void becomes_a_replica(void)
{
    database->meta.flags |= META_COPIED;
    database->meta.base_txid = 0;
    EXPECT_OK(notes_save_meta(database));
    application_ends();
    dies();
    EXPECT_OK(starts_as(DATABASE_REPLICA));
}

TEST(a_replica_that_starts_with_a_prepared_commit_says_so_and_shows_it_nowhere)
{
    struct position held;

    a_primary_in_wal_mode("");
    prepares_a_row();
    held = view.prepared;
    for (int starts = 0; starts < 3; starts++) {
        becomes_a_replica();
        EXPECT_TRUE(position_is_equal(&view.prepared, &held));
        EXPECT_TRUE(view.prepared_durable); /* synced before it is told */
        EXPECT_EQ(view.position.txid, 2);
        EXPECT_EQ(view.received_txid, 2);
        EXPECT_EQ(view.durable_txid, 2);
        EXPECT_EQ(view.position.sum, sum_of_files());
        application = stock_open(stage_path(""), 0);
    }
    EXPECT_EQ(stock_number(application, "SELECT count(*) FROM rows"), 1);
    the_end();
}

TEST(a_sync_that_is_due_is_not_put_off_by_what_comes_after)
{
    uint64_t due;

    a_primary_in_wal_mode("");
    becomes_a_replica();
    replica_sync_soon(database);
    due = database->sync_due_ns;
    EXPECT_GT(due, 0);
    replica_sync_soon(database);
    EXPECT_EQ(database->sync_due_ns, due);
    the_end();
}

#ifdef TIDEMARK_FAULTS

/* Plans of faults are read once per process: this test in one of its own. */
TEST(what_a_start_could_not_sync_is_not_told_as_durable)
{
    int status = -1;
    pid_t child;

    if (getenv("TIDEMARK_FAULT") == NULL) {
        fflush(NULL);
        child = fork();
        if (child == 0) {
            setenv("TIDEMARK_FAULT", "log.sync=3+:EIO", 1);
            execl("/proc/self/exe", "test_recover", harness_now->name, NULL);
            _exit(1);
        }
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        return;
    }
    a_primary_in_wal_mode("");
    prepares_a_row(); /* syncs the log and its name */
    becomes_a_replica();
    EXPECT_EQ(view.prepared.txid, 3);
    EXPECT_FALSE(view.prepared_durable);
    EXPECT_EQ(view.received_txid, 2);
    EXPECT_EQ(view.durable_txid, 0);
    the_end();
}

#endif
