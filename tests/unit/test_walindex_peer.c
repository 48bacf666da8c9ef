/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_walindex_peer.c - we write a WAL beside the stock library.
 *
 * A source database is written by stock SQLite; its frames are what a record
 * would bring. The peer holds WRITE on another database, as a replica does,
 * and appends them with chain and salts of its own. Stock SQLite, here and in
 * another process, says whether the two are the same.
 */
#include "tests/harness.h"

#include "base/bytes.h"
#include "tests/support/stock.h"
#include "wal/walindex.h"

#include <fcntl.h>

#define PAGE 1024u
#define FRAME (FRAME_HEADER_BYTES + PAGE)

#define FACTS                                                                  \
    "PRAGMA integrity_check;"                                                  \
    "SELECT count(*), sum(length(x)), sum(k), max(x) FROM t"

/* ---- where the frames come from ----------------------------------------- */

struct source {
    struct stock_folder folder;
    sqlite3 *app;
    struct os_file wal;
    char path[128];
};

static void source_open(struct source *source)
{
    *source = (struct source){0};
    stock_folder_make(&source->folder);
    snprintf(source->path, sizeof source->path, "%s",
             stock_path(&source->folder, "source.db", ""));
    source->app = stock_open(source->path, PAGE);
    stock_exec(source->app, "CREATE TABLE t(k INTEGER PRIMARY KEY, x TEXT);"
                            "CREATE INDEX i ON t(x)");
    EXPECT_OK(os_open(&source->wal, AT_FDCWD,
                      stock_path(&source->folder, "source.db", "-wal"),
                      O_RDONLY, 0, SITE_NONE));
}

static void source_close(struct source *source)
{
    sqlite3_close(source->app);
    os_close(&source->wal);
    stock_folder_remove(&source->folder);
}

/* So many transactions of a few dozen pages each. */
static void source_write(struct source *source, int transactions)
{
    for (int i = 0; i < transactions; i++)
        stock_exec(source->app,
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM "
                   "n WHERE i<20) INSERT OR REPLACE INTO t SELECT "
                   "abs(random()) %% 5000, hex(randomblob(60)) FROM n;"
                   "DELETE FROM t WHERE k=abs(random()) %% 5000");
}

static uint32_t source_frames(struct source *source)
{
    uint64_t size;

    EXPECT_OK(os_size(&source->wal, &size, SITE_NONE));
    return (uint32_t)((size - FRAME_WAL_HEADER_BYTES) / FRAME);
}

/* ---- the peer ----------------------------------------------------------- */

struct peer {
    struct stock_folder folder;
    sqlite3 *anchor;
    struct os_file wal, shm;
    struct walindex index;
    struct walindex_header header; /* the only private copy */
    uint32_t taken;                /* frames of the source already here */
    char path[128];
};

static void peer_open(struct peer *peer)
{
    *peer = (struct peer){0};
    stock_folder_make(&peer->folder);
    snprintf(peer->path, sizeof peer->path, "%s",
             stock_path(&peer->folder, "peer.db", ""));
    peer->anchor = stock_open(peer->path, PAGE);
    EXPECT_OK(os_open(&peer->wal, AT_FDCWD,
                      stock_path(&peer->folder, "peer.db", "-wal"), O_RDWR, 0,
                      SITE_NONE));
    EXPECT_OK(os_open(&peer->shm, AT_FDCWD,
                      stock_path(&peer->folder, "peer.db", "-shm"), O_RDWR, 0,
                      SITE_NONE));
    EXPECT_OK(walindex_open(&peer->index, peer->shm.fd, true));
    EXPECT_OK(walindex_lock(peer->shm.fd, WALINDEX_LOCK_WRITE, 1));
    EXPECT_OK(walindex_read(&peer->index, &peer->header));
}

static void peer_close(struct peer *peer)
{
    walindex_close(&peer->index);
    sqlite3_close(peer->anchor);
    os_close(&peer->wal);
    os_close(&peer->shm); /* after the anchor: closing it drops its locks */
    stock_folder_remove(&peer->folder);
}

/* 0, or -EAGAIN while readers or a checkpoint are in the way. */
static int peer_reset(struct peer *peer)
{
    int shm = peer->shm.fd;
    int rc = walindex_lock(shm, WALINDEX_LOCK_CHECKPOINT, 1);

    if (rc < 0)
        return rc;
    rc = walindex_lock(shm, WALINDEX_LOCK_READ1, 4);
    if (rc == 0) {
        if (walindex_backfilled(&peer->index) == peer->header.max_frame)
            walindex_reset(&peer->index, &peer->header, 0x1234567887654321u);
        else
            rc = -EAGAIN;
        walindex_unlock(shm, WALINDEX_LOCK_READ1, 4);
    }
    walindex_unlock(shm, WALINDEX_LOCK_CHECKPOINT, 1);
    return rc;
}

static void peer_begin_wal(struct peer *peer)
{
    struct frame_wal_header wal = {.page_bytes = PAGE};
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];

    memcpy(wal.salt, peer->header.salt, FRAME_SALT_BYTES);
    frame_wal_header_encode(&wal, bytes);
    EXPECT_OK(os_pwrite(&peer->wal, bytes, sizeof bytes, 0, SITE_NONE));
    peer->header.chain = wal.chain;
    peer->header.page_bytes = PAGE;
}

/* One frame of the source to WAL and tables, not published. */
static struct frame peer_append(struct peer *peer, struct source *source,
                                uint32_t number)
{
    uint8_t bytes[FRAME];
    struct frame frame;

    if (peer->header.max_frame == 0)
        peer_begin_wal(peer);
    EXPECT_OK(os_pread_full(&source->wal, bytes, FRAME,
                            frame_offset(number, PAGE), SITE_NONE));
    frame_decode(bytes, &frame);
    frame_encode(&peer->header.chain, bytes, frame.pgno, frame.commit_pages,
                 peer->header.salt, PAGE);
    peer->header.max_frame++;
    EXPECT_OK(os_pwrite(&peer->wal, bytes, FRAME,
                        frame_offset(peer->header.max_frame, PAGE), SITE_NONE));
    EXPECT_OK(
        walindex_append(&peer->index, peer->header.max_frame, frame.pgno));
    return frame;
}

/* All that the source has by now, published transaction by transaction. */
static void peer_follow(struct peer *peer, struct source *source)
{
    uint32_t end = source_frames(source);

    while (peer->taken < end) {
        struct frame frame = peer_append(peer, source, ++peer->taken);

        if (frame.commit_pages == 0)
            continue;
        peer->header.size_pages = frame.commit_pages;
        peer->header.change++;
        walindex_publish(&peer->index, &peer->header);
    }
}

/* Pages that a new connection sees different from the source's. */
static uint32_t pages_that_differ(struct peer *peer, struct source *source)
{
    sqlite3 *reader = stock_open(peer->path, 0);
    size_t ours_size, theirs_size;
    uint8_t *ours = stock_image(reader, &ours_size);
    uint8_t *theirs = stock_image(source->app, &theirs_size);
    uint32_t differ = 0;

    EXPECT_EQ(ours_size, theirs_size);
    for (size_t at = 0; at < ours_size; at += PAGE)
        differ += memcmp(ours + at, theirs + at, PAGE) != 0;
    free(ours);
    free(theirs);
    sqlite3_close(reader);
    return differ;
}

static void expect_equal(struct peer *peer, struct source *source)
{
    char facts[1024];

    snprintf(facts, sizeof facts, "%s", stock_ask(source->path, FACTS));
    EXPECT_EQ(strncmp(facts, "ok\n", 3), 0);
    EXPECT_STR(stock_ask(peer->path, FACTS), facts);
    EXPECT_EQ(pages_that_differ(peer, source), 0);
}

/* ---- stories ------------------------------------------------------------ */

TEST(stock_readers_read_thousands_of_frames_of_a_peer_writer)
{
    struct source source;
    struct peer peer;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer)); /* draws the first salts */
    source_write(&source, 160);
    peer_follow(&peer, &source);
    EXPECT_GT(peer.header.max_frame, 5000);
    expect_equal(&peer, &source);
    peer_close(&peer);
    source_close(&source);
}

TEST(the_first_salts_are_drawn_and_later_ones_count)
{
    struct source source;
    struct peer peer;
    struct walindex_header header;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    EXPECT_EQ(get_be32(peer.header.salt), 0x12345678);
    EXPECT_EQ(get_be32(peer.header.salt + 4), 0x87654321);
    peer_follow(&peer, &source);
    stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
    EXPECT_OK(peer_reset(&peer));
    EXPECT_EQ(get_be32(peer.header.salt), 0x12345679);
    EXPECT_OK(walindex_read(&peer.index, &header));
    EXPECT_TRUE(walindex_header_is_equal(&header, &peer.header));
    EXPECT_EQ(header.max_frame, 0);
    EXPECT_NE(header.size_pages, 0);
    peer_close(&peer);
    source_close(&source);
}

TEST(our_reset_leaves_what_the_reset_of_the_stock_library_leaves)
{
    struct source source;
    struct peer peer;
    struct walindex stock;
    struct os_file shm = {0};

    source_open(&source);
    source_write(&source, 3);
    peer_open(&peer);
    peer_follow(&peer, &source);
    stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
    memset(peer.index.segments[0] + 104, 7, 16); /* marks 1..4: of the past */
    EXPECT_OK(peer_reset(&peer));
    stock_exec(source.app, "PRAGMA wal_checkpoint(TRUNCATE)");
    EXPECT_OK(os_open(&shm, AT_FDCWD,
                      stock_path(&source.folder, "source.db", "-shm"), O_RDONLY,
                      0, SITE_NONE));
    EXPECT_OK(walindex_open(&stock, shm.fd, false));
    EXPECT_EQ(walindex_backfilled(&stock), 0);
    EXPECT_MEM(peer.index.segments[0] + 96, stock.segments[0] + 96, 24);
    EXPECT_MEM(peer.index.segments[0] + 128, stock.segments[0] + 128, 4);
    walindex_close(&stock);
    peer_close(&peer);
    source_close(&source);
    os_close(&shm);
}

TEST(a_reset_beside_a_reader_of_the_database_file_keeps_its_sight)
{
    struct source source;
    struct peer peer;
    sqlite3 *reader;
    int64_t rows;

    source_open(&source);
    source_write(&source, 40);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    peer_follow(&peer, &source);
    stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
    reader = stock_open(peer.path, 0);
    stock_exec(reader, "BEGIN");
    rows = stock_number(reader, "SELECT count(*) FROM t"); /* on READ0 */
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 40);
    peer_follow(&peer, &source);
    EXPECT_EQ(stock_number(reader, "SELECT count(*) FROM t NOT INDEXED"), rows);
    stock_exec(reader, "COMMIT");
    EXPECT_GT(stock_number(reader, "SELECT count(*) FROM t"), rows);
    expect_equal(&peer, &source);
    sqlite3_close(reader);
    peer_close(&peer);
    source_close(&source);
}

TEST(a_reader_of_the_wal_holds_a_reset_off)
{
    struct source source;
    struct peer peer;
    sqlite3 *reader;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    peer_follow(&peer, &source);
    reader = stock_open(peer.path, 0);
    stock_exec(reader, "BEGIN; SELECT * FROM t");
    stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
    EXPECT_EQ(peer_reset(&peer), -EAGAIN);
    stock_exec(reader, "COMMIT");
    EXPECT_OK(peer_reset(&peer));
    sqlite3_close(reader);
    peer_close(&peer);
    source_close(&source);
}

TEST(generations_follow_each_other_while_a_stock_reader_stays_open)
{
    struct source source;
    struct peer peer;
    sqlite3 *reader;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    reader = stock_open(peer.path, 0);
    for (int generation = 0; generation < 5; generation++) {
        source_write(&source, 30);
        peer_follow(&peer, &source);
        EXPECT_EQ(stock_number(reader, "SELECT sum(k) FROM t"),
                  stock_number(source.app, "SELECT sum(k) FROM t"));
        stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
        EXPECT_OK(peer_reset(&peer));
    }
    expect_equal(&peer, &source);
    sqlite3_close(reader);
    peer_close(&peer);
    source_close(&source);
}

/* Appends what is not in the source's history: its frames in reverse, which
 * would be plain damage if anybody looked at them. */
static void append_and_abandon(struct peer *peer, struct source *source,
                               uint32_t count)
{
    struct walindex_header before = peer->header;

    for (uint32_t i = 0; i < count; i++)
        peer_append(peer, source, 1 + (peer->taken - i + count) % peer->taken);
    peer->header = before;
}

TEST(abandoned_frames_are_never_seen_and_what_follows_is)
{
    static const uint32_t counts[] = {1, 50, 4000, 5000};
    struct source source;
    struct peer peer;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 60);
    peer_follow(&peer, &source);
    for (size_t i = 0; i < ARRAY_LENGTH(counts); i++) {
        append_and_abandon(&peer, &source, counts[i]);
        EXPECT_EQ(pages_that_differ(&peer, &source), 0);
        walindex_cleanup(&peer.index, peer.header.max_frame);
        EXPECT_EQ(pages_that_differ(&peer, &source), 0);
        source_write(&source, 30);
        peer_follow(&peer, &source);
        expect_equal(&peer, &source);
    }
    EXPECT_GT(peer.header.max_frame, 4062);
    peer_close(&peer);
    source_close(&source);
}

TEST(remnants_of_a_peer_that_died_disturb_no_later_peer)
{
    struct source source;
    struct peer peer;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 60);
    peer_follow(&peer, &source);
    append_and_abandon(&peer, &source, 300); /* no cleanup: it is dead */
    walindex_close(&peer.index);
    EXPECT_OK(walindex_open(&peer.index, peer.shm.fd, true));
    EXPECT_OK(walindex_read(&peer.index, &peer.header));
    source_write(&source, 30);
    peer_follow(&peer, &source);
    expect_equal(&peer, &source);
    peer_close(&peer);
    source_close(&source);
}

TEST(a_stock_writer_goes_on_where_a_peer_stopped_or_died)
{
    struct source source;
    struct peer peer;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 20);
    peer_follow(&peer, &source);
    append_and_abandon(&peer, &source, 200);
    EXPECT_EQ(stock_try(peer.anchor, "INSERT INTO t VALUES(-1,'x')"),
              SQLITE_BUSY);
    walindex_unlock(peer.shm.fd, WALINDEX_LOCK_WRITE, 1);
    stock_exec(peer.anchor, "INSERT INTO t VALUES(-1,'x')");
    EXPECT_STR(stock_ask(peer.path, "PRAGMA integrity_check;"
                                    "SELECT count(*) FROM t WHERE k=-1"),
               "ok\n1");
    peer_close(&peer);
    source_close(&source);
}

TEST(what_a_peer_wrote_survives_the_loss_of_the_wal_index)
{
    struct source source;
    struct peer peer;
    char facts[1024];

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 20);
    peer_follow(&peer, &source);
    snprintf(facts, sizeof facts, "%s", stock_ask(source.path, FACTS));
    walindex_unlock(peer.shm.fd, WALINDEX_LOCK_WRITE, 1);
    peer.index.segments[0][0] ^= 1; /* as a writer that died at it leaves it */
    EXPECT_STR(stock_ask(peer.path, FACTS), facts);
    EXPECT_OK(walindex_read(&peer.index, &peer.header));
    EXPECT_EQ(peer.header.change, 0); /* so it was recovered, from the WAL */
    peer_close(&peer);
    source_close(&source);
}

/* ---- a stock reader that never stops, in a process of its own ----------- */

/* Reads the path, then the database until the pipe ends. Every transaction
 * leaves the sum at 0: any other one is a mixture of two. */
static _Noreturn void spin_reading(int pipe)
{
    char path[sizeof((struct peer *)0)->path], byte;
    sqlite3 *reader = NULL;

    if (read(pipe, path, sizeof path) != (ssize_t)sizeof path)
        _exit(2);
    fcntl(pipe, F_SETFL, O_NONBLOCK);
    for (unsigned reads = 0; reads < 20 || read(pipe, &byte, 1) != 0; reads++) {
        if (reads % 50 == 0) { /* with a cache that knows nothing, too */
            sqlite3_close(reader);
            reader = stock_open(path, 0);
        }
        if (stock_number(reader, "SELECT sum(v) FROM a") != 0)
            _exit(1);
    }
    _exit(0);
}

/* To be called while nobody in this process has a database open: SQLite does
 * not survive a fork. */
static pid_t a_spinning_reader(int *ret_pipe)
{
    int pipes[2];
    pid_t pid;

    EXPECT_OK(pipe2(pipes, O_CLOEXEC));
    pid = fork();
    EXPECT_GE(pid, 0);
    if (pid == 0) {
        close(pipes[1]);
        spin_reading(pipes[0]);
    }
    close(pipes[0]);
    *ret_pipe = pipes[1];
    return pid;
}

static void move_amounts(struct source *source, int transactions)
{
    for (int i = 0; i < transactions; i++)
        stock_exec(source->app,
                   "BEGIN; UPDATE a SET v=v+%d WHERE k%%7=%d;"
                   "UPDATE a SET v=v-%d WHERE k%%7=%d; COMMIT",
                   i, i % 7, i, (i + 3) % 7);
}

TEST(a_spinning_stock_reader_sees_whole_transactions_across_resets)
{
    struct source source;
    struct peer peer;
    int pipe, status = -1, resets = 0;
    pid_t reader = a_spinning_reader(&pipe);

    source_open(&source);
    stock_exec(source.app, "CREATE TABLE a(k INTEGER PRIMARY KEY, v INT, x);"
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
                           "i+1 FROM n WHERE i<700) INSERT INTO a SELECT i, 0,"
                           "randomblob(200) FROM n");
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    peer_follow(&peer, &source);
    EXPECT_EQ(write(pipe, peer.path, sizeof peer.path), sizeof peer.path);
    for (int round = 0; round < 60; round++) {
        move_amounts(&source, 4);
        peer_follow(&peer, &source);
        stock_exec(peer.anchor, "PRAGMA wal_checkpoint(PASSIVE)");
        resets += peer_reset(&peer) == 0;
    }
    close(pipe);
    EXPECT_EQ(waitpid(reader, &status, 0), reader);
    EXPECT_EQ(status, 0);
    EXPECT_GT(resets, 0);
    expect_equal(&peer, &source);
    peer_close(&peer);
    source_close(&source);
}

/* The slot of the frame that is the newest of its page, with an older one in
 * the WAL: without it the older one shows. */
static uint16_t *slot_that_matters(struct peer *peer)
{
    uint16_t *slots = (uint16_t *)(void *)(peer->index.segments[0] + 16384);
    uint32_t last = peer->header.max_frame;

    while (*slots != last)
        slots++;
    return slots;
}

TEST(canary_a_single_wrong_slot_makes_these_checks_fail)
{
    struct source source;
    struct peer peer;
    uint16_t *slot, right;

    source_open(&source);
    peer_open(&peer);
    EXPECT_OK(peer_reset(&peer));
    source_write(&source, 40);
    peer_follow(&peer, &source);
    EXPECT_LT(peer.header.max_frame, 4062);
    slot = slot_that_matters(&peer);
    right = *slot;
    *slot = 1;
    EXPECT_NE(pages_that_differ(&peer, &source), 0);
    *slot = right;
    EXPECT_EQ(pages_that_differ(&peer, &source), 0);
    peer_close(&peer);
    source_close(&source);
}
