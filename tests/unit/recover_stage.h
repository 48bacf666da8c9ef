/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/recover_stage.h - a node without a mount: the stock SQLite
 * writes to the plain file, the test says what of it is captured, the node
 * ends and starts over what is left. Include it once per program; it brings
 * the harness.
 */
#ifndef TESTS_UNIT_RECOVER_STAGE_H
#define TESTS_UNIT_RECOVER_STAGE_H

#include "tests/harness.h"
#include "tests/support/stock.h"

#include "base/thread.h"
#include "wal/catalog.h"
#include "wal/emit.h"
#include "wal/notes.h"
#include "wal/recover.h"
#include "wal/redo.h"
#include "wal/replica.h"

#include <fcntl.h>
#include <ftw.h>

#define STAGE_FRAMES_MAX 256u

static char stage_folder[64];
static struct os_file stage_data;
static struct catalog *catalog;
static struct database *database; /* one reference */
static struct database_view view; /* as of the last look */
static sqlite3 *application;

/* The frames of the WAL as they lie there, [1 .. frames_count]. */
static struct frame frames[STAGE_FRAMES_MAX + 1];
static uint8_t *frame_pages[STAGE_FRAMES_MAX + 1];
static struct walindex_header frame_ends[STAGE_FRAMES_MAX + 1];
static uint32_t frames_count;

static const char *stage_path(const char *suffix)
{
    static char path[160];

    snprintf(path, sizeof path, "%s/files/app.db%s", stage_folder, suffix);
    return path;
}

static void looks(void)
{
    database_view(database, &view);
}

/* ---- the node ------------------------------------------------------------ */

static int starts_as(enum database_role role)
{
    static char plain[80]; /* what a mount would show */
    struct catalog_config config = {.data_fd = stage_data.fd,
                                    .mount_path = plain,
                                    .role = role,
                                    .workers = 1};
    int rc;

    snprintf(plain, sizeof plain, "%s/files", stage_folder);
    rc = catalog_open(&catalog, &config);
    if (rc < 0)
        return rc;
    thread_register(THREAD_WORKER, "test");
    database = catalog_find(catalog, "app.db");
    if (database != NULL)
        looks();
    return 0;
}

static void dies(void)
{
    database_unref(database);
    catalog_close(catalog);
    database = NULL;
    catalog = NULL;
}

/* Keeps its WAL, as one that is killed does. */
static void application_ends(void)
{
    EXPECT_EQ(sqlite3_db_config(application, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                                1, NULL),
              SQLITE_OK);
    EXPECT_EQ(sqlite3_close(application), SQLITE_OK);
    application = NULL;
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

/* A primary with a new database that SQLite has made. uri: its options. */
static void a_primary(const char *uri)
{
    struct lineage lineage;
    char name[200];

    snprintf(stage_folder, sizeof stage_folder, "/tmp/tidemark-test-XXXXXX");
    EXPECT_TRUE(mkdtemp(stage_folder) != NULL);
    EXPECT_OK(os_open(&stage_data, AT_FDCWD, stage_folder,
                      O_RDONLY | O_DIRECTORY, 0, SITE_CATALOG_OPEN));
    EXPECT_OK(starts_as(DATABASE_PRIMARY));
    snprintf(name, sizeof name, "file:%s?%s", stage_path(""), uri);
    EXPECT_EQ(sqlite3_open_v2(name, &application,
                              SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                  SQLITE_OPEN_URI,
                              NULL),
              SQLITE_OK);
    EXPECT_OK(catalog_draw_lineage(&lineage));
    database = catalog_make(catalog, "app.db", &lineage);
    EXPECT_OK(catalog_create_files(database));
    EXPECT_OK(catalog_add(catalog, database));
}

static void the_end(void)
{
    if (application != NULL)
        application_ends();
    dies();
    os_close(&stage_data);
    for (uint32_t i = 1; i <= frames_count; i++)
        free(frame_pages[i]);
    frames_count = 0;
    nftw(stage_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- capture, by hand ---------------------------------------------------- */

/* Reads what SQLite appended to the WAL. */
__attribute__((unused)) static void frames_read(void)
{
    struct frame_wal_header header;
    struct frame_chain chain;
    uint8_t bytes[FRAME_HEADER_BYTES + 4096];
    int fd = open(stage_path("-wal"), O_RDONLY);

    EXPECT_EQ(pread(fd, bytes, FRAME_WAL_HEADER_BYTES, 0),
              FRAME_WAL_HEADER_BYTES);
    EXPECT_OK(frame_wal_header_decode(bytes, &header));
    EXPECT_LE(header.page_bytes, 4096);
    chain = frames_count == 0 ? header.chain : frame_ends[frames_count].chain;
    for (uint32_t i = frames_count + 1; i <= STAGE_FRAMES_MAX; i++) {
        size_t stride = FRAME_HEADER_BYTES + header.page_bytes;

        if (pread(fd, bytes, stride,
                  (off_t)frame_offset(i, header.page_bytes)) !=
                (ssize_t)stride ||
            !frame_accept(&chain, header.salt, bytes, header.page_bytes,
                          &frames[i]))
            break;
        frame_pages[i] = malloc(header.page_bytes);
        memcpy(frame_pages[i], bytes + FRAME_HEADER_BYTES, header.page_bytes);
        frame_ends[i] = (struct walindex_header){
            .page_bytes = header.page_bytes,
            .max_frame = i,
            .size_pages = frames[i].commit_pages,
            .chain = chain};
        memcpy(frame_ends[i].salt, header.salt, FRAME_SALT_BYTES);
        frames_count = i;
    }
    close(fd);
}

/* The k-th commit frame behind frame `from`. */
__attribute__((unused)) static uint32_t commit_frame(uint32_t from, unsigned k)
{
    while (k > 0 && from < frames_count)
        k -= frames[++from].commit_pages != 0;
    EXPECT_EQ(k, 0);
    return from;
}

static int frame_fetch(void *context, pgno_t pgno, uint8_t *buffer,
                       const uint8_t **ret_image)
{
    uint32_t i = *(const uint32_t *)context;

    (void)buffer;
    while (frames[i].pgno != pgno)
        i--;
    *ret_image = frame_pages[i];
    return 0;
}

/* Frames from .. to, as `commits` transactions in one record. */
__attribute__((unused)) static void captures(uint32_t from, uint32_t to,
                                             uint64_t commits, uint32_t flags)
{
    struct emit_plan plan = {.flags = flags,
                             .commits = commits,
                             .page_bytes = frame_ends[to].page_bytes,
                             .size_pages = frames[to].commit_pages,
                             .wal = &frame_ends[to]};
    pgno_t pgnos[STAGE_FRAMES_MAX];
    struct emit_source source = {
        .pgnos = pgnos, .fetch = frame_fetch, .context = &to};
    bool emitted;

    for (pgno_t pgno = 1; pgno <= plan.size_pages; pgno++)
        for (uint32_t i = from; i <= to; i++)
            if (frames[i].pgno == pgno) {
                pgnos[source.count++] = pgno;
                break;
            }
    EXPECT_OK(emit(database, &plan, &source, &emitted));
    EXPECT_TRUE(emitted);
    looks();
}

/* ---- what is there ------------------------------------------------------- */

/* Of the content as SQLite makes it of the files: the judge. */
__attribute__((unused)) static uint64_t sum_of_files(void)
{
    sqlite3 *connection = stock_open(stage_path(""), 0);
    uint32_t page_bytes = (uint32_t)stock_number(connection,
                                                 "PRAGMA page_size");
    uint64_t sum = 0;
    size_t size;
    uint8_t *image = stock_image(connection, &size);

    for (pgno_t pgno = 1; pgno <= size / page_bytes; pgno++)
        sum ^= page_hash(pgno, image + (size_t)(pgno - 1) * page_bytes,
                         page_bytes);
    free(image);
    sqlite3_close(connection);
    return sum;
}

/* The newest record names this frame of the WAL, or none. */
__attribute__((unused)) static void stands_at(uint32_t frame)
{
    const struct record_header *newest = log_newest(database->log);
    static const uint8_t none[FRAME_SALT_BYTES];

    EXPECT_EQ(newest->wal_frame, frame);
    EXPECT_MEM(newest->wal_salt, frame == 0 ? none : frame_ends[frame].salt,
               FRAME_SALT_BYTES);
    EXPECT_EQ(newest->wal_checksum[0], frame_ends[frame].chain.word[0]);
    EXPECT_EQ(newest->wal_checksum[1], frame_ends[frame].chain.word[1]);
}

#endif
