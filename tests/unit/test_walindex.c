/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_walindex.c - SQLite's wal-index as its readers see it, and
 * the file under it. Writing beside the stock library: test_walindex_peer. */
#include "tests/harness.h"

#include "base/bytes.h"
#include "tests/support/stock.h"
#include "wal/walindex.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* A database that an application has open, and our view of its files. */
struct live {
    struct stock_folder folder;
    sqlite3 *app;
    struct os_file main_file, wal, shm;
    struct walindex index;
};

static void live_open(struct live *live, uint32_t page_bytes)
{
    *live = (struct live){0};
    stock_folder_make(&live->folder);
    live->app = stock_open(stock_path(&live->folder, "a.db", ""), page_bytes);
    stock_exec(live->app, "CREATE TABLE t(k INTEGER PRIMARY KEY, x)");
    EXPECT_OK(os_open(&live->main_file, AT_FDCWD,
                      stock_path(&live->folder, "a.db", ""), O_RDONLY, 0,
                      SITE_NONE));
    EXPECT_OK(os_open(&live->wal, AT_FDCWD,
                      stock_path(&live->folder, "a.db", "-wal"), O_RDONLY, 0,
                      SITE_NONE));
    EXPECT_OK(os_open(&live->shm, AT_FDCWD,
                      stock_path(&live->folder, "a.db", "-shm"), O_RDWR, 0,
                      SITE_NONE));
    EXPECT_OK(walindex_open(&live->index, live->shm.fd, false));
}

static void live_close(struct live *live)
{
    walindex_close(&live->index);
    sqlite3_close(live->app);
    os_close(&live->main_file);
    os_close(&live->wal);
    os_close(&live->shm);
    stock_folder_remove(&live->folder);
}

/* A -shm of nobody else, in memory. */
static int an_empty_file(void)
{
    int fd = memfd_create("shm", MFD_CLOEXEC);

    EXPECT_GE(fd, 0);
    return fd;
}

static uint64_t size_of(int fd)
{
    struct stat st;

    EXPECT_OK(fstat(fd, &st));
    return (uint64_t)st.st_size;
}

/* Every page as the wal-index leads to it, against the same page as SQLite
 * serves it. */
static void expect_pages_like_stock(struct live *live)
{
    struct walindex_header header;
    uint32_t minimum, frame;
    size_t size;
    uint8_t *image = stock_image(live->app, &size), *page;

    EXPECT_OK(walindex_read(&live->index, &header));
    EXPECT_EQ((uint64_t)header.size_pages * header.page_bytes, size);
    page = malloc(header.page_bytes);
    minimum = walindex_backfilled(&live->index);
    for (pgno_t pgno = 1; pgno <= header.size_pages; pgno++) {
        EXPECT_OK(walindex_find(&live->index, pgno, minimum, header.max_frame,
                                &frame));
        if (frame != 0)
            EXPECT_OK(os_pread_full(&live->wal, page, header.page_bytes,
                                    frame_offset(frame, header.page_bytes) +
                                        FRAME_HEADER_BYTES,
                                    SITE_NONE));
        else
            EXPECT_OK(os_pread_full(&live->main_file, page, header.page_bytes,
                                    (uint64_t)(pgno - 1) * header.page_bytes,
                                    SITE_NONE));
        EXPECT_MEM(page, image + (size_t)(pgno - 1) * header.page_bytes,
                   header.page_bytes);
    }
    free(page);
    free(image);
}

/* The chain from the WAL header through max_frame ends in header.chain. */
static void expect_chain_like_header(struct live *live)
{
    struct walindex_header header;
    struct frame_wal_header wal;
    uint8_t bytes[FRAME_HEADER_BYTES + PAGE_MAX_BYTES];

    EXPECT_OK(walindex_read(&live->index, &header));
    EXPECT_OK(
        os_pread_full(&live->wal, bytes, FRAME_WAL_HEADER_BYTES, 0, SITE_NONE));
    EXPECT_OK(frame_wal_header_decode(bytes, &wal));
    EXPECT_EQ(wal.page_bytes, header.page_bytes);
    EXPECT_MEM(wal.salt, header.salt, FRAME_SALT_BYTES);
    for (uint32_t frame = 1; frame <= header.max_frame; frame++) {
        EXPECT_OK(os_pread_full(
            &live->wal, bytes, FRAME_HEADER_BYTES + header.page_bytes,
            frame_offset(frame, header.page_bytes), SITE_NONE));
        EXPECT_TRUE(frame_check(&wal.chain, bytes, header.page_bytes));
    }
    EXPECT_MEM(wal.chain.word, header.chain.word, sizeof wal.chain.word);
    EXPECT_EQ(wal.chain.big_endian, header.chain.big_endian);
}

/* Transactions that touch old and new pages, and now and then free some. */
static void live_write(struct live *live, struct rng *rng, int transactions)
{
    for (int i = 0; i < transactions; i++) {
        unsigned row = (unsigned)rng_below(rng, 200);

        stock_exec(live->app,
                   "BEGIN; INSERT OR REPLACE INTO t VALUES(%u,"
                   "randomblob(%u)); UPDATE t SET x=randomblob(40) WHERE "
                   "k=%u; DELETE FROM t WHERE k=%u; COMMIT",
                   row, 1 + (unsigned)rng_below(rng, 5000), row / 2, row / 3);
    }
}

TEST(pages_are_found_where_the_stock_library_finds_them)
{
    static const uint32_t sizes[] = {512, 4096, 65536};
    struct rng rng = test_rng();

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct live live;

        live_open(&live, sizes[i]);
        live_write(&live, &rng, 120);
        expect_pages_like_stock(&live);
        expect_chain_like_header(&live);
        live_close(&live);
    }
}

TEST(pages_are_found_while_half_of_the_wal_is_backfilled)
{
    struct rng rng = test_rng();
    struct live live;
    struct walindex_header header;
    sqlite3 *reader;

    live_open(&live, 4096);
    live_write(&live, &rng, 60);
    reader = stock_open(stock_path(&live.folder, "a.db", ""), 0);
    stock_exec(reader, "BEGIN; SELECT * FROM t");
    live_write(&live, &rng, 60);
    stock_exec(live.app, "PRAGMA wal_checkpoint(PASSIVE)");
    EXPECT_OK(walindex_read(&live.index, &header));
    EXPECT_GT(walindex_backfilled(&live.index), 0);
    EXPECT_LT(walindex_backfilled(&live.index), header.max_frame);
    expect_pages_like_stock(&live);
    sqlite3_close(reader);
    live_close(&live);
}

TEST(pages_are_found_again_after_the_stock_library_resets_its_wal)
{
    struct rng rng = test_rng();
    struct live live;
    struct walindex_header before, after;

    live_open(&live, 1024);
    live_write(&live, &rng, 50);
    EXPECT_OK(walindex_read(&live.index, &before));
    stock_exec(live.app, "PRAGMA wal_checkpoint(RESTART)");
    live_write(&live, &rng, 10);
    EXPECT_OK(walindex_read(&live.index, &after));
    EXPECT_LT(after.max_frame, before.max_frame);
    EXPECT_EQ(get_be32(after.salt), get_be32(before.salt) + 1);
    expect_pages_like_stock(&live);
    expect_chain_like_header(&live);
    live_close(&live);
}

TEST(change_counts_commits_and_nothing_else)
{
    struct live live;
    struct walindex_header before, after;
    uint32_t max_frame, change;

    live_open(&live, 4096);
    EXPECT_OK(walindex_read(&live.index, &before));
    stock_exec(live.app, "BEGIN; INSERT INTO t VALUES(1,1); ROLLBACK");
    EXPECT_OK(walindex_read(&live.index, &after));
    EXPECT_TRUE(walindex_header_is_equal(&before, &after));
    for (int i = 0; i < 10; i++)
        stock_exec(live.app, "INSERT INTO t(x) VALUES(1)");
    EXPECT_OK(walindex_read(&live.index, &after));
    EXPECT_EQ(after.change, before.change + 10);
    EXPECT_FALSE(walindex_header_is_equal(&before, &after));
    walindex_peek(&live.index, &max_frame, &change);
    EXPECT_EQ(max_frame, after.max_frame);
    EXPECT_EQ(change, after.change);
    live_close(&live);
}

TEST(any_frame_of_any_range_is_found_as_a_list_of_the_wal_says)
{
    struct rng rng = test_rng();
    struct live live;
    struct walindex_header header;
    uint8_t bytes[FRAME_HEADER_BYTES];
    pgno_t *pages;

    live_open(&live, 512);
    live_write(&live, &rng, 900); /* into the third segment */
    EXPECT_OK(walindex_read(&live.index, &header));
    EXPECT_GT(header.max_frame, 4062 + 4096);
    pages = calloc(header.max_frame + 1, sizeof *pages);
    for (uint32_t i = 1; i <= header.max_frame; i++) {
        EXPECT_OK(os_pread_full(&live.wal, bytes, sizeof bytes,
                                frame_offset(i, 512), SITE_NONE));
        pages[i] = get_be32(bytes);
    }
    for (int i = 0; i < 20000; i++) {
        uint32_t maximum = (uint32_t)rng_below(&rng, header.max_frame + 1);
        uint32_t minimum = (uint32_t)rng_below(&rng, header.max_frame + 1);
        pgno_t pgno = (pgno_t)rng_between(&rng, 1, header.size_pages);
        uint32_t frame, expected = maximum;

        while (expected > minimum && pages[expected] != pgno)
            expected--;
        EXPECT_OK(walindex_find(&live.index, pgno, minimum, maximum, &frame));
        EXPECT_EQ(frame, expected > minimum ? expected : 0);
    }
    free(pages);
    live_close(&live);
}

TEST(a_file_that_is_too_short_is_an_answer_and_not_a_signal)
{
    struct walindex index;
    struct walindex_header header;
    uint32_t frame, max_frame = 1, change = 1;
    int fd = an_empty_file();

    EXPECT_OK(walindex_open(&index, fd, false));
    EXPECT_EQ(walindex_read(&index, &header), -EAGAIN);
    EXPECT_OK(ftruncate(fd, 3)); /* SQLite's mark of a fresh one */
    EXPECT_EQ(walindex_read(&index, &header), -EAGAIN);
    EXPECT_OK(ftruncate(fd, WALINDEX_SEGMENT_BYTES - 1));
    EXPECT_EQ(walindex_read(&index, &header), -EAGAIN);
    EXPECT_EQ(walindex_backfilled(&index), 0);
    walindex_peek(&index, &max_frame, &change);
    EXPECT_EQ(max_frame + change, 0);
    EXPECT_EQ(walindex_find(&index, 1, 0, 1, &frame), -EIO);
    EXPECT_OK(ftruncate(fd, WALINDEX_SEGMENT_BYTES));
    EXPECT_EQ(walindex_read(&index, &header), -EAGAIN); /* zeroes: not begun */
    EXPECT_OK(walindex_find(&index, 1, 0, 4062, &frame));
    EXPECT_EQ(frame, 0);
    EXPECT_EQ(walindex_find(&index, 1, 0, 4063, &frame), -EIO);
    EXPECT_EQ(walindex_find(&index, 1, 0, UINT32_MAX, &frame), -EIO);
    walindex_close(&index);
    walindex_close(&index);
    close(fd);
}

/* An index with `frames` frames for pages 1.., published. */
static struct walindex_header a_published(struct walindex *index, int fd,
                                          uint32_t frames)
{
    struct walindex_header header = {.change = 1,
                                     .page_bytes = 65536,
                                     .max_frame = frames,
                                     .size_pages = frames,
                                     .chain = {{1, 2}, false},
                                     .salt = {1, 2, 3, 4}};

    EXPECT_OK(walindex_open(index, fd, true));
    for (uint32_t i = 1; i <= frames; i++)
        EXPECT_OK(walindex_append(index, i, i));
    walindex_publish(index, &header);
    return header;
}

TEST(a_header_comes_back_as_it_was_published)
{
    struct walindex index;
    int fd = an_empty_file();
    struct walindex_header in = a_published(&index, fd, 9), out;

    EXPECT_OK(walindex_read(&index, &out));
    EXPECT_TRUE(walindex_header_is_equal(&in, &out));
    EXPECT_EQ(index.segments[0][14] + index.segments[0][15], 1); /* 65536 */
    in.page_bytes = 512;
    in.chain.big_endian = true;
    walindex_publish(&index, &in);
    EXPECT_OK(walindex_read(&index, &out));
    EXPECT_TRUE(walindex_header_is_equal(&in, &out));
    walindex_close(&index);
    close(fd);
}

TEST(a_header_with_any_byte_changed_is_not_taken)
{
    struct walindex index;
    int fd = an_empty_file();
    struct walindex_header out;

    a_published(&index, fd, 9);
    for (size_t i = 0; i < 96; i++) {
        out.change = 77;
        index.segments[0][i] ^= 0x41;
        EXPECT_EQ(walindex_read(&index, &out), -EAGAIN);
        EXPECT_EQ(out.change, 77);
        index.segments[0][i] ^= 0x41;
    }
    for (size_t i = 0; i < 48; i++) { /* in both copies alike: the sum tells */
        index.segments[0][i] ^= 0x41;
        index.segments[0][i + 48] ^= 0x41;
        EXPECT_EQ(walindex_read(&index, &out), -EAGAIN);
        index.segments[0][i] ^= 0x41;
        index.segments[0][i + 48] ^= 0x41;
    }
    EXPECT_OK(walindex_read(&index, &out));
    walindex_close(&index);
    close(fd);
}

/* Puts a word into both copies, with a good checksum. */
static void forge(struct walindex *index, size_t at, uint32_t word)
{
    struct frame_chain chain = frame_chain_native();
    uint8_t *header = index->segments[0];

    memcpy(header + at, &word, sizeof word);
    frame_chain_extend(&chain, header, 40);
    memcpy(header + 40, chain.word, sizeof chain.word);
    memcpy(header + 48, header, 48);
}

TEST(a_header_of_another_format_is_refused_for_good)
{
    struct walindex index;
    int fd = an_empty_file();
    struct walindex_header out;

    a_published(&index, fd, 9);
    forge(&index, 0, 3007001);
    EXPECT_EQ(walindex_read(&index, &out), -EINVAL);
    forge(&index, 0, 3007000);
    EXPECT_OK(walindex_read(&index, &out));
    forge(&index, 20, 0); /* frames, but a database of no pages */
    EXPECT_EQ(walindex_read(&index, &out), -EINVAL);
    forge(&index, 16, 0);
    EXPECT_OK(walindex_read(&index, &out));
    forge(&index, 12, htole32(0x06000001)); /* page size 1536 */
    EXPECT_EQ(walindex_read(&index, &out), -EINVAL);
    walindex_close(&index);
    close(fd);
}

TEST(the_file_grows_by_whole_segments_without_holes)
{
    struct walindex index;
    int fd = an_empty_file();

    EXPECT_OK(ftruncate(fd, 3));
    EXPECT_OK(walindex_open(&index, fd, true));
    for (uint32_t frame = 1; frame <= 4062; frame++)
        EXPECT_OK(walindex_append(&index, frame, frame));
    EXPECT_EQ(size_of(fd), WALINDEX_SEGMENT_BYTES);
    EXPECT_OK(walindex_append(&index, 4063, 1));
    EXPECT_EQ(size_of(fd), 2 * WALINDEX_SEGMENT_BYTES);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), size_of(fd));
    walindex_close(&index);
    close(fd);
}

TEST(a_file_that_cannot_grow_is_an_error_and_can_be_tried_again)
{
    struct rlimit limit = {WALINDEX_SEGMENT_BYTES + 4096, RLIM_INFINITY};
    struct stock_folder folder;
    struct walindex index;
    int fd;
    uint32_t frame;

    stock_folder_make(&folder); /* the limit does not hold for a memfd */
    fd = open(stock_path(&folder, "shm", ""), O_RDWR | O_CREAT, 0600);
    a_published(&index, fd, 4062);
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_EQ(walindex_append(&index, 4063, 5), -EFBIG);
    limit.rlim_cur = RLIM_INFINITY;
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &limit));
    EXPECT_OK(walindex_append(&index, 4063, 5));
    EXPECT_OK(walindex_find(&index, 5, 0, 4063, &frame));
    EXPECT_EQ(frame, 4063);
    EXPECT_EQ(size_of(fd), 2 * WALINDEX_SEGMENT_BYTES);
    walindex_close(&index);
    close(fd);
    stock_folder_remove(&folder);
}

TEST(what_is_cleaned_up_is_gone_and_the_rest_stays)
{
    struct walindex index;
    int fd = an_empty_file();
    uint32_t frame;

    a_published(&index, fd, 9);
    for (uint32_t i = 10; i <= 4100; i++)
        EXPECT_OK(walindex_append(&index, i, i));
    walindex_cleanup(&index, 9);
    for (uint32_t i = 1; i <= 4062; i++) {
        EXPECT_OK(walindex_find(&index, i, 0, 4062, &frame));
        EXPECT_EQ(frame, i <= 9 ? i : 0);
    }
    EXPECT_OK(walindex_append(&index, 10, 77));
    EXPECT_OK(walindex_find(&index, 77, 9, 10, &frame));
    EXPECT_EQ(frame, 10);
    walindex_cleanup(&index, 0); /* the next first frame will clear it */
    walindex_close(&index);
    close(fd);
}

TEST(our_own_mistakes_are_assertions)
{
    struct walindex index;
    int fd = an_empty_file();
    struct walindex_header header = a_published(&index, fd, 9);

    EXPECT_ABORT(walindex_append(&index, 10, 0));
    EXPECT_ABORT(walindex_append(&index, 0, 1));
    header.size_pages = 0;
    EXPECT_ABORT(walindex_publish(&index, &header));
    header.size_pages = 9;
    EXPECT_ABORT(walindex_reset(&index, &header, 1)); /* not backfilled */
    index.writable = false;
    EXPECT_ABORT(walindex_publish(&index, &header));
    walindex_close(&index);
    close(fd);
}

TEST(a_lock_is_seen_by_others_and_not_by_its_owner)
{
    struct live live;
    int other;

    live_open(&live, 4096);
    other = open(stock_path(&live.folder, "a.db", "-shm"), O_RDWR | O_CLOEXEC);
    EXPECT_FALSE(walindex_is_locked(other, WALINDEX_LOCK_WRITE));
    EXPECT_OK(walindex_lock(live.shm.fd, WALINDEX_LOCK_WRITE, 1));
    EXPECT_TRUE(walindex_is_locked(other, WALINDEX_LOCK_WRITE));
    EXPECT_FALSE(walindex_is_locked(live.shm.fd, WALINDEX_LOCK_WRITE));
    EXPECT_FALSE(walindex_is_locked(other, WALINDEX_LOCK_CHECKPOINT));
    EXPECT_EQ(walindex_lock(other, WALINDEX_LOCK_WRITE, 3), -EAGAIN);
    EXPECT_EQ(stock_try(live.app, "BEGIN IMMEDIATE"), SQLITE_BUSY);
    walindex_unlock(live.shm.fd, WALINDEX_LOCK_WRITE, 1);
    EXPECT_FALSE(walindex_is_locked(other, WALINDEX_LOCK_WRITE));
    EXPECT_EQ(stock_try(live.app, "BEGIN IMMEDIATE"), SQLITE_OK);
    EXPECT_TRUE(walindex_is_locked(other, WALINDEX_LOCK_WRITE));
    EXPECT_EQ(walindex_lock(other, WALINDEX_LOCK_WRITE, 1), -EAGAIN);
    live_close(&live);
    EXPECT_TRUE(walindex_is_locked(-1, WALINDEX_LOCK_WRITE)); /* who knows */
    close(other);
}

/* ---- a reader beside a writer ------------------------------------------- */

#define RACE_FRAMES 12000u
#define RACE_PAGES 97u

struct race {
    int fd;
    _Atomic bool done;
};

static struct walindex_header race_header(uint32_t frame)
{
    return (struct walindex_header){
        .change = frame * 3,
        .page_bytes = frame % 2 ? 512 : 65536,
        .max_frame = frame,
        .size_pages = frame ^ 0x5555555,
        .chain = {{frame * 7, frame * 11}, frame % 3 == 0},
        .salt = {(uint8_t)frame, 2, 3, 4, 5, 6, 7, (uint8_t)(frame >> 8)},
    };
}

static void *race_write(void *argument)
{
    struct race *race = argument;
    struct walindex index;

    walindex_open(&index, race->fd, true);
    for (uint32_t frame = 1; frame <= RACE_FRAMES; frame++) {
        struct walindex_header header = race_header(frame);

        if (walindex_append(&index, frame, frame % RACE_PAGES + 1) < 0)
            abort();
        walindex_publish(&index, &header);
    }
    walindex_close(&index);
    race->done = true;
    return NULL;
}

/* The newest frame of a page is known by arithmetic: anything else, and any
 * mixture of two headers, is a torn read. */
TEST(a_reader_beside_a_writer_sees_whole_headers_and_whole_tables)
{
    struct rng rng = test_rng();
    struct race race = {.fd = an_empty_file()};
    struct walindex index;
    struct walindex_header header, expected;
    pthread_t writer;
    uint32_t seen = 0;

    EXPECT_OK(walindex_open(&index, race.fd, false));
    EXPECT_EQ(pthread_create(&writer, NULL, race_write, &race), 0);
    while (seen < RACE_FRAMES) {
        bool done = race.done;
        uint32_t rest = (uint32_t)rng_below(&rng, RACE_PAGES), frame;
        int rc = walindex_read(&index, &header);

        if (rc == -EAGAIN) {
            EXPECT_FALSE(done);
            continue;
        }
        EXPECT_OK(rc);
        EXPECT_GE(header.max_frame, seen);
        seen = header.max_frame;
        expected = race_header(seen);
        EXPECT_TRUE(walindex_header_is_equal(&header, &expected));
        EXPECT_OK(walindex_find(&index, rest + 1, 0, seen, &frame));
        EXPECT_LE(frame, seen);
        EXPECT_EQ(frame, seen < rest || seen - (seen - rest) % RACE_PAGES == 0
                             ? 0
                             : seen - (seen - rest) % RACE_PAGES);
    }
    pthread_join(writer, NULL);
    walindex_close(&index);
    close(race.fd);
}
