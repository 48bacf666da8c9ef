/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_delta.c - what a replica says it has of a copy that begins,
 * when copies before it were cut off. What it says is compared with what the
 * file really holds: nobody else would notice.
 *
 * No mount: the database's own pages are only a table of hashes here.
 */
#include "tests/harness.h"

#include "base/bytes.h"
#include "base/thread.h"
#include "wal/catalog.h"
#include "wal/copying.h"
#include "wal/delta.h"
#include "wal/incoming.h"
#include "wal/logdir.h"
#include "wal/notes.h"
#include "wal/replica.h"
#include "wal/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 512u
#define PAGES 4u

static char stage_folder[64];
static struct os_file data_folder;
static struct catalog *catalog;
static struct database *database;
static uint8_t page[PAGE_BYTES];
static uint64_t told[16];
static uint32_t told_count;
static pgno_t told_next;

/* ---- the stage ----------------------------------------------------------- */

static void starts(void)
{
    struct catalog_config config = {.data_fd = data_folder.fd,
                                    .mount_path = "/nowhere",
                                    .role = DATABASE_REPLICA,
                                    .workers = 1};

    EXPECT_OK(catalog_open(&catalog, &config));
    thread_register(THREAD_WORKER, "test");
    database = catalog_find(catalog, "app.db");
}

static void dies(void)
{
    database_unref(database);
    catalog_close(catalog);
}

static void a_replica(void)
{
    struct lineage lineage = {{1}};

    snprintf(stage_folder, sizeof stage_folder, "/tmp/tidemark-test-XXXXXX");
    EXPECT_TRUE(mkdtemp(stage_folder) != NULL);
    EXPECT_OK(os_open(&data_folder, AT_FDCWD, stage_folder,
                      O_RDONLY | O_DIRECTORY, 0, SITE_CATALOG_OPEN));
    starts();
    database = catalog_make(catalog, "app.db", &lineage);
    EXPECT_OK(catalog_create_files(database));
    EXPECT_OK(catalog_add(catalog, database));
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static void the_end(void)
{
    incoming_abandon(database);
    dies();
    os_close(&data_folder);
    nftw(stage_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A page as the letter says: no two letters have the same. */
static const uint8_t *page_of(char letter)
{
    memset(page, letter, sizeof page);
    return page;
}

static uint64_t hash_of(pgno_t pgno, char letter)
{
    return page_hash(pgno, page_of(letter), PAGE_BYTES);
}

/* Its readers see these pages. */
static void has_database_of(const char *letters)
{
    EXPECT_OK(hashes_reserve(&database->hashes, PAGES));
    for (pgno_t pgno = 1; letters[pgno - 1] != '\0'; pgno++)
        hashes_set(&database->hashes, pgno, hash_of(pgno, letters[pgno - 1]));
    database->view.page_bytes = PAGE_BYTES;
}

static void copy_begins(bool delta)
{
    struct database_copy copy = {.start = {1, 10, 0},
                                 .page_bytes = PAGE_BYTES,
                                 .size_pages = PAGES,
                                 .delta = delta};

    EXPECT_OK(incoming_begin(database, &copy));
}

static struct record a_record(unsigned flags, txid_t txid, pgno_t pgno,
                              char letter, uint32_t size_pages)
{
    static pgno_t pgnos[1];

    pgnos[0] = pgno;
    page_of(letter);
    return (struct record){
        .header = {.flags = flags,
                   .lineage = database->lineage,
                   .epoch = 1,
                   .first_txid = txid,
                   .last_txid = txid,
                   .page_bytes = PAGE_BYTES,
                   .size_pages = size_pages,
                   .pages = letter == '\0' ? 0 : 1,
                   .part = 1,
                   .parts = 1},
        .pgnos = pgnos,
        .images = page,
    };
}

static void chunk_comes(pgno_t pgno, char letter)
{
    struct record record = a_record(RECORD_SNAPSHOT, 10, pgno, letter, PAGES);

    EXPECT_OK(incoming_chunk(database, &record));
}

/* All pages are here; then a transaction that the log has is redone. */
static void copy_ends_and(unsigned flags, pgno_t pgno, char letter,
                          uint32_t size_pages)
{
    struct record record = a_record(flags, 11, pgno, letter, size_pages);

    EXPECT_OK(incoming_end(database, &(struct position){1, 12, 0}));
    EXPECT_OK(incoming_record(database, &record));
}

static int tells_from(pgno_t first, uint32_t most)
{
    struct database_request request = {.from_pgno = first,
                                       .max_bytes = most * sizeof(uint64_t)};
    int rc = delta_hashes(database, &request);

    if (rc < 0)
        return rc;
    told_next = request.next_pgno;
    told_count = (uint32_t)(request.blobs[0]->size / sizeof(uint64_t));
    for (uint32_t i = 0; i < told_count; i++)
        told[i] = get_le64(request.blobs[0]->data + (size_t)i * 8);
    blob_unref(request.blobs[0]);
    return 0;
}

/* What it says of all its pages; '-': nothing. */
static void tells(const char *letters)
{
    EXPECT_OK(tells_from(1, 16));
    EXPECT_EQ(told_count, strlen(letters));
    EXPECT_EQ(told_next, 0);
    for (pgno_t pgno = 1; pgno <= told_count; pgno++)
        EXPECT_EQ(told[pgno - 1], letters[pgno - 1] == '-'
                                      ? 0
                                      : hash_of(pgno, letters[pgno - 1]));
}

static int same(pgno_t first, uint32_t count, uint8_t bits)
{
    struct note note = {.first = first, .count = count, .bits = &bits};

    return delta_same(database, &note);
}

/* ---- what is there ------------------------------------------------------- */

TEST(a_first_copy_that_was_cut_off_has_the_pages_that_came)
{
    a_replica();
    copy_begins(false);
    chunk_comes(1, 'a');
    chunk_comes(3, 'c');
    incoming_suspend(database);
    EXPECT_EQ(database->view.base_page_bytes, PAGE_BYTES);
    EXPECT_EQ(database->view.base_pages, 3);
    copy_begins(true);
    tells("a-c");
    EXPECT_OK(same(1, 3, 5));
    EXPECT_EQ(same(1, 3, 2), -EBADMSG); /* nobody has that one */
    EXPECT_EQ(database->incoming.hashes.sum, hash_of(1, 'a') ^ hash_of(3, 'c'));
    the_end();
}

TEST(hashes_are_told_range_by_range_and_the_last_says_so)
{
    a_replica();
    has_database_of("abcd");
    copy_begins(true);
    EXPECT_OK(tells_from(1, 3));
    EXPECT_EQ(told_count, 3);
    EXPECT_EQ(told_next, 4);
    EXPECT_OK(tells_from(4, 3));
    EXPECT_EQ(told_count, 1);
    EXPECT_EQ(told_next, 0);
    EXPECT_OK(tells_from(5, 3)); /* it has shrunk since */
    EXPECT_EQ(told_count, 0);
    EXPECT_EQ(told_next, 0);
    incoming_suspend(database);
    EXPECT_EQ(tells_from(1, 3), -ECANCELED);
    the_end();
}

TEST(what_an_earlier_process_left_is_read_and_its_holes_are_nothing)
{
    a_replica();
    copy_begins(false);
    chunk_comes(1, 'a');
    chunk_comes(3, 'c');
    incoming_suspend(database);
    dies();
    starts();
    /* Page 1 is no header here, so the database has to say the page size. */
    database->view.page_bytes = PAGE_BYTES;
    delta_find(database);
    EXPECT_EQ(database->view.base_pages, 3);
    copy_begins(true);
    tells("a-c");
    the_end();
}

TEST(a_file_that_was_put_aside_is_compared_and_its_pages_are_taken)
{
    char path[INCOMING_PATH_BYTES];
    struct os_file aside = {0};

    a_replica();
    incoming_path(database, "base", path);
    EXPECT_OK(os_open(&aside, data_folder.fd, path, O_RDWR | O_CREAT, 0600,
                      SITE_DELTA_OPEN));
    EXPECT_OK(os_pwrite(&aside, page_of('x'), PAGE_BYTES, 0, SITE_DELTA_READ));
    EXPECT_OK(os_pwrite(&aside, page_of('y'), PAGE_BYTES, 2 * PAGE_BYTES,
                        SITE_DELTA_READ));
    os_close(&aside);
    copy_begins(true);
    tells("x-y");
    EXPECT_OK(os_pread_full(&database->incoming.file, page, PAGE_BYTES,
                            2 * PAGE_BYTES, SITE_DELTA_READ));
    EXPECT_EQ(page[0], 'y');
    incoming_abandon(database);
    EXPECT_EQ(faccessat(data_folder.fd, path, F_OK, 0), -1);
    the_end();
}

TEST(while_a_checkpoint_has_the_anchor_nobody_reads_the_database)
{
    struct database_copy copy = {.start = {1, 10, 0},
                                 .page_bytes = PAGE_BYTES,
                                 .size_pages = PAGES,
                                 .delta = true,
                                 .doubt = true};
    struct database_request request = {.from_pgno = 1, .max_bytes = 4096};

    a_replica();
    has_database_of("abcd");
    EXPECT_OK(anchor_open(&database->anchor, ":memory:"));
    database->apply.checkpointing = true;
    EXPECT_EQ(verify_range(database, &request), -EAGAIN);
    EXPECT_OK(incoming_begin(database, &copy));
    EXPECT_EQ(tells_from(1, 16), -EAGAIN); /* asked again each second */
    database->apply.checkpointing = false;
    anchor_close(&database->anchor, false);
    the_end();
}

/* Written and not published yet: a publish that fails takes it back, and what
 * was told, or kept of another history, would not be what readers see. */
TEST(what_was_applied_is_what_readers_see_before_a_copy_begins)
{
    struct note note = {.kind = NOTE_COPY_BEGIN,
                        .copy = {.start = {1, 10, 0},
                                 .page_bytes = PAGE_BYTES,
                                 .size_pages = PAGES,
                                 .delta = true}};

    a_replica();
    has_database_of("abcd");
    database->view.position = (struct position){1, 4, 0};
    database->applied = (struct position){1, 5, database->hashes.sum};
    database->applied_header = (struct record_header){
        .epoch = 1,
        .first_txid = 5,
        .last_txid = 5,
        .sum_after = database->hashes.sum,
        .page_bytes = PAGE_BYTES,
        .size_pages = PAGES,
    };
    copying_begin(database, &note);
    EXPECT_EQ(database->view.position.txid, 5);
    tells("abcd");
    the_end();
}

/* The database is there and open, in WAL mode, of pages of 64 KiB. */
static void has_an_open_database(void)
{
    char path[128], shm[140];

    snprintf(path, sizeof path, "%s/files", stage_folder);
    EXPECT_TRUE(mkdir(path, 0755) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/files/app.db", stage_folder);
    EXPECT_EQ(close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)), 0);
    EXPECT_OK(anchor_open(&database->anchor, path));
    EXPECT_EQ(sqlite3_exec(database->anchor.connection,
                           "PRAGMA page_size = 65536;"
                           "PRAGMA journal_mode = wal; CREATE TABLE t(v)",
                           NULL, NULL, NULL),
              SQLITE_OK);
    snprintf(shm, sizeof shm, "%s-shm", path);
    EXPECT_OK(os_open(&database->shm_file, AT_FDCWD, shm, O_RDWR, 0,
                      SITE_ATTACH_SHM));
    EXPECT_OK(walindex_open(&database->index, database->shm_file.fd, true));
    snprintf(shm, sizeof shm, "%s-wal", path);
    EXPECT_OK(os_open(&database->wal_file, AT_FDCWD, shm, O_RDONLY, 0,
                      SITE_ATTACH_SHM));
}

static void the_open_database_ends(void)
{
    walindex_close(&database->index);
    anchor_close(&database->anchor, false);
    os_close(&database->shm_file);
    os_close(&database->wal_file);
    os_close(&database->main_file);
}

TEST(in_doubt_the_page_of_the_lock_byte_is_still_none)
{
    enum { SIZE = 65536 };
    pgno_t lock_byte = page_lock_byte(SIZE);
    struct database_copy copy = {.start = {1, 10, 0},
                                 .page_bytes = SIZE,
                                 .size_pages = lock_byte + 1,
                                 .delta = true,
                                 .doubt = true};

    a_replica();
    has_an_open_database();
    database->view.page_bytes = SIZE;
    EXPECT_OK(hashes_reserve(&database->hashes, lock_byte + 1));
    hashes_set(&database->hashes, 1, 1);
    hashes_set(&database->hashes, lock_byte + 1, 2);
    EXPECT_OK(incoming_begin(database, &copy));
    EXPECT_OK(tells_from(lock_byte - 1, 3));
    EXPECT_EQ(told_count, 3);
    EXPECT_EQ(told[1], 0);
    EXPECT_NE(told[2], 2); /* it was read */
    the_open_database_ends();
    the_end();
}

/* A start would believe them, and forget the doubt. */
TEST(hashes_in_doubt_are_not_written_down)
{
    struct position position = {1, 10, 0};
    char path[INCOMING_PATH_BYTES];

    a_replica();
    has_database_of("abcd");
    incoming_path(database, "hashes", path);
    database->doubt = true;
    replica_save_hashes(database, &position, PAGE_BYTES);
    EXPECT_EQ(faccessat(data_folder.fd, path, F_OK, 0), -1);
    EXPECT_EQ(database->hashes_saved_txid, 0);
    database->doubt = false;
    replica_save_hashes(database, &position, PAGE_BYTES);
    EXPECT_EQ(faccessat(data_folder.fd, path, F_OK, 0), 0);
    EXPECT_EQ(database->hashes_saved_txid, 10);
    the_end();
}

static unsigned logs_aside(void)
{
    int fd = openat(data_folder.fd, database->directory,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    unsigned count = 0;

    EXPECT_TRUE(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        count += strncmp(entry->d_name, "log-aside-", 10) == 0;
    closedir(dir);
    return count;
}

/* Each may be as large as log.retain. */
TEST(of_the_logs_that_copies_replaced_one_stays)
{
    char path[INCOMING_PATH_BYTES];

    a_replica();
    incoming_path(database, "log", path);
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(logdir_put_aside(database));
        EXPECT_EQ(logs_aside(), 1);
        EXPECT_EQ(mkdirat(data_folder.fd, path, 0700), 0);
    }
    the_end();
}

/* ---- what is there no more ----------------------------------------------- */

TEST(a_page_that_came_again_as_readers_have_it_is_not_told_as_it_was)
{
    a_replica();
    has_database_of("dddd");
    copy_begins(true);
    chunk_comes(2, 'a');
    incoming_suspend(database);
    copy_begins(true);
    tells("dadd");
    chunk_comes(2, 'd'); /* the primary's is now as ours */
    incoming_suspend(database);
    copy_begins(true);
    tells("dddd"); /* an 'a' is nowhere any more */
    the_end();
}

TEST(a_page_that_could_not_be_written_is_neither_told_as_it_was_nor_as_it_came)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), kept;
    struct record record;

    a_replica();
    copy_begins(false);
    chunk_comes(1, 'a');
    chunk_comes(2, 'b');
    incoming_suspend(database);
    copy_begins(true);
    kept = dup(database->incoming.file.fd);
    EXPECT_GE(dup2(full, database->incoming.file.fd), 0);
    record = a_record(RECORD_SNAPSHOT, 10, 2, 'x', PAGES);
    EXPECT_EQ(incoming_chunk(database, &record), -ENOSPC);
    EXPECT_GE(dup2(kept, database->incoming.file.fd), 0);
    incoming_suspend(database);
    copy_begins(true);
    tells("a-");
    close(full);
    close(kept);
    the_end();
}

TEST(a_page_that_was_overwritten_and_cut_off_is_not_told_as_it_was)
{
    a_replica();
    has_database_of("dd");
    copy_begins(true);
    chunk_comes(3, 'a');
    incoming_suspend(database);
    copy_begins(true);
    tells("dda");
    chunk_comes(3, 'b');
    copy_ends_and(0, 1, 'e', 2); /* two pages are left */
    incoming_suspend(database);
    copy_begins(true);
    EXPECT_OK(tells_from(1, 16));
    EXPECT_NE(told_count >= 3 ? told[2] : 0, hash_of(3, 'a'));
    the_end();
}

TEST(a_record_of_everything_leaves_nothing_of_what_was_there)
{
    a_replica();
    copy_begins(false);
    for (pgno_t pgno = 1; pgno <= PAGES; pgno++)
        chunk_comes(pgno, 'a');
    incoming_suspend(database);
    copy_begins(true);
    tells("aaaa");
    EXPECT_OK(same(1, PAGES, 0x0f));
    copy_ends_and(RECORD_SNAPSHOT, 2, 'b', 2);
    incoming_suspend(database);
    copy_begins(true);
    tells("-b");
    the_end();
}

TEST(pages_of_another_size_are_no_base)
{
    struct database_copy copy = {.start = {1, 10, 0},
                                 .page_bytes = 2 * PAGE_BYTES,
                                 .size_pages = PAGES,
                                 .delta = true};

    a_replica();
    copy_begins(false);
    chunk_comes(1, 'a');
    incoming_suspend(database);
    EXPECT_OK(incoming_begin(database, &copy));
    tells("");
    the_end();
}
