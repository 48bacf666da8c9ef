/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_frame.c - SQLite's WAL file, read and written by us. */
#include "tests/harness.h"

#include "base/bytes.h"
#include "tests/support/stock.h"
#include "wal/frame.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PAGE 512u
#define FRAME (FRAME_HEADER_BYTES + PAGE)

static const uint8_t salt[FRAME_SALT_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};

/* The sum as the format says it, word by word: what ours is measured by. */
static void sum_plainly(uint32_t *sum, const uint8_t *bytes, size_t size,
                        bool big_endian)
{
    for (size_t i = 0; i < size; i += 8) {
        const uint8_t *b = bytes + i;

        sum[0] += (big_endian ? get_be32(b) : get_le32(b)) + sum[1];
        sum[1] += (big_endian ? get_be32(b + 4) : get_le32(b + 4)) + sum[0];
    }
}

/* A WAL header whose chain reads words in the given order. */
static struct frame_wal_header a_header(uint8_t *bytes, uint32_t page_bytes,
                                        bool big_endian)
{
    struct frame_wal_header header = {.page_bytes = page_bytes};

    memcpy(header.salt, salt, sizeof salt);
    frame_wal_header_encode(&header, bytes);
    put_be32(bytes, big_endian ? 0x377f0683 : 0x377f0682);
    header.chain = (struct frame_chain){.big_endian = big_endian};
    frame_chain_extend(&header.chain, bytes, 24);
    put_be32(bytes + 24, header.chain.word[0]);
    put_be32(bytes + 28, header.chain.word[1]);
    return header;
}

static uint8_t *file_bytes(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    struct stat st;

    EXPECT_TRUE(file != NULL && fstat(fileno(file), &st) == 0);
    bytes = malloc((size_t)st.st_size + 1);
    *ret_size = fread(bytes, 1, (size_t)st.st_size, file);
    EXPECT_EQ(*ret_size, st.st_size);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    EXPECT_TRUE(file != NULL && fwrite(bytes, 1, size, file) == size);
    EXPECT_EQ(fclose(file), 0);
}

TEST(the_sum_is_the_same_for_every_length_and_word_order)
{
    struct rng rng = test_rng();
    uint8_t bytes[256];

    for (size_t size = 0; size <= sizeof bytes; size += 8)
        for (int big = 0; big < 2; big++) {
            struct frame_chain chain = {{7, 9}, big};
            uint32_t plain[2] = {7, 9};

            rng_bytes(&rng, bytes, sizeof bytes);
            frame_chain_extend(&chain, bytes, size);
            sum_plainly(plain, bytes, size, big);
            EXPECT_EQ(chain.word[0], plain[0]);
            EXPECT_EQ(chain.word[1], plain[1]);
            EXPECT_EQ(chain.big_endian, big);
        }
}

TEST(a_sum_over_pieces_is_the_sum_over_the_whole)
{
    struct rng rng = test_rng();
    struct frame_chain whole = frame_chain_native(), pieces = whole;
    uint8_t bytes[512];

    rng_bytes(&rng, bytes, sizeof bytes);
    frame_chain_extend(&whole, bytes, sizeof bytes);
    frame_chain_extend(&pieces, bytes, 8);
    frame_chain_extend(&pieces, bytes + 8, 48);
    frame_chain_extend(&pieces, bytes + 56, sizeof bytes - 56);
    EXPECT_MEM(&whole.word, &pieces.word, sizeof whole.word);
}

TEST(what_is_not_a_multiple_of_eight_is_our_mistake)
{
    struct frame_chain chain = frame_chain_native();
    uint8_t bytes[16] = {0};

    EXPECT_ABORT(frame_chain_extend(&chain, bytes, 12));
}

TEST(a_wal_header_comes_back_as_it_was_written)
{
    static const uint32_t sizes[] = {512, 1024, 4096, 32768, 65536};

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct frame_wal_header in = {.page_bytes = sizes[i]}, out;
        uint8_t bytes[FRAME_WAL_HEADER_BYTES];

        memcpy(in.salt, salt, sizeof salt);
        frame_wal_header_encode(&in, bytes);
        EXPECT_OK(frame_wal_header_decode(bytes, &out));
        EXPECT_EQ(out.page_bytes, sizes[i]);
        EXPECT_EQ(get_be32(bytes + 8), sizes[i]);
        EXPECT_MEM(out.salt, salt, sizeof salt);
        EXPECT_MEM(out.chain.word, in.chain.word, sizeof in.chain.word);
        EXPECT_EQ(out.chain.big_endian, in.chain.big_endian);
    }
}

TEST(a_wal_header_with_any_bit_flipped_is_refused)
{
    struct frame_wal_header out = {.page_bytes = 77};
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];

    a_header(bytes, PAGE, false);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        EXPECT_EQ(frame_wal_header_decode(bytes, &out), -EINVAL);
        EXPECT_EQ(out.page_bytes, 77); /* untouched on failure */
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    EXPECT_OK(frame_wal_header_decode(bytes, &out));
}

TEST(a_wal_header_with_a_good_sum_may_still_be_refused)
{
    static const uint32_t page_sizes[] = {0, 1, 256, 513, 131072};
    struct frame_wal_header out;
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];
    struct frame_chain chain;

    for (size_t i = 0; i <= ARRAY_LENGTH(page_sizes); i++) {
        a_header(bytes, PAGE, false);
        if (i < ARRAY_LENGTH(page_sizes))
            put_be32(bytes + 8, page_sizes[i]);
        else
            put_be32(bytes + 4, 3007001); /* a format of the future */
        chain = (struct frame_chain){0};
        frame_chain_extend(&chain, bytes, 24);
        put_be32(bytes + 24, chain.word[0]);
        put_be32(bytes + 28, chain.word[1]);
        EXPECT_EQ(frame_wal_header_decode(bytes, &out), -EINVAL);
    }
}

TEST(frames_lie_one_behind_the_other)
{
    EXPECT_EQ(frame_offset(1, 4096), 32);
    EXPECT_EQ(frame_offset(2, 4096), 32 + 24 + 4096);
    EXPECT_EQ(frame_offset(UINT32_MAX, 65536),
              32 + 4294967294u * UINT64_C(65560));
}

TEST(a_frame_comes_back_as_it_was_written)
{
    struct rng rng = test_rng();
    uint8_t bytes[FRAME];
    struct frame_chain chain = {{1, 2}, false}, reader = chain;
    struct frame frame;

    rng_bytes(&rng, bytes, sizeof bytes);
    frame_encode(&chain, bytes, 42, 99, salt, PAGE);
    frame_decode(bytes, &frame);
    EXPECT_EQ(frame.pgno, 42);
    EXPECT_EQ(frame.commit_pages, 99);
    EXPECT_MEM(frame.salt, salt, sizeof salt);
    EXPECT_EQ(frame.checksum[0], chain.word[0]);
    EXPECT_EQ(frame.checksum[1], chain.word[1]);
    EXPECT_TRUE(frame_check(&reader, bytes, PAGE));
    EXPECT_MEM(reader.word, chain.word, sizeof chain.word);
}

TEST(a_frame_with_any_byte_changed_ends_the_log)
{
    struct rng rng = test_rng();
    uint8_t bytes[FRAME];
    struct frame_chain start = {{1, 2}, true}, chain = start;
    struct frame frame;

    rng_bytes(&rng, bytes, sizeof bytes);
    frame_encode(&chain, bytes, 1, 0, salt, PAGE);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 0x10;
        chain = start;
        EXPECT_FALSE(frame_accept(&chain, salt, bytes, PAGE, &frame));
        EXPECT_EQ(chain.word[0], start.word[0]);
        EXPECT_EQ(chain.word[1], start.word[1]);
        bytes[i] ^= 0x10;
    }
    EXPECT_TRUE(frame_accept(&chain, salt, bytes, PAGE, &frame));
}

TEST(a_frame_whose_page_is_0_is_refused)
{
    uint8_t bytes[FRAME] = {0};
    struct frame_chain chain = frame_chain_native(), reader = chain;
    struct frame frame;

    memcpy(bytes + 8, salt, sizeof salt);
    frame_chain_extend(&chain, bytes, 8);
    frame_chain_extend(&chain, bytes + FRAME_HEADER_BYTES, PAGE);
    put_be32(bytes + 16, chain.word[0]);
    put_be32(bytes + 20, chain.word[1]);
    EXPECT_FALSE(frame_accept(&reader, salt, bytes, PAGE, &frame));
    EXPECT_ABORT(frame_encode(&chain, bytes, 0, 0, salt, PAGE));
}

TEST(a_frame_out_of_its_place_in_the_chain_is_refused)
{
    uint8_t wal[FRAME_WAL_HEADER_BYTES], frames[3][FRAME] = {{0}};
    struct frame_wal_header header = a_header(wal, PAGE, false);
    struct frame_chain chain = header.chain;

    for (int i = 0; i < 3; i++) {
        frames[i][100] = (uint8_t)i;
        frame_encode(&chain, frames[i], 5, 0, salt, PAGE);
    }
    chain = header.chain;
    EXPECT_TRUE(frame_check(&chain, frames[0], PAGE));
    EXPECT_FALSE(frame_check(&chain, frames[2], PAGE));
}

/* Walks a WAL to its end; the number of frames, 0 when it has no header. */
static uint32_t walk(const uint8_t *wal, size_t size,
                     struct frame_chain *ret_chain, struct frame *ret_last)
{
    struct frame_wal_header header;
    uint32_t count = 0;

    if (size < FRAME_WAL_HEADER_BYTES ||
        frame_wal_header_decode(wal, &header) < 0)
        return 0;
    *ret_chain = header.chain;
    while (frame_offset(count + 2, header.page_bytes) <= size &&
           frame_accept(ret_chain, header.salt,
                        wal + frame_offset(count + 1, header.page_bytes),
                        header.page_bytes, ret_last))
        count++;
    return count;
}

TEST(every_frame_the_stock_library_writes_is_accepted)
{
    static const uint32_t sizes[] = {512, 4096, 65536};
    struct stock_folder folder;

    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        struct frame_chain chain;
        struct frame last;
        uint8_t *wal;
        size_t size;
        sqlite3 *app;

        stock_folder_make(&folder);
        app = stock_open(stock_path(&folder, "a.db", ""), sizes[i]);
        stock_exec(app, "CREATE TABLE t(x)");
        for (int row = 0; row < 20; row++)
            stock_exec(app, "INSERT INTO t VALUES(randomblob(9000))");
        wal = file_bytes(stock_path(&folder, "a.db", "-wal"), &size);
        EXPECT_EQ(frame_offset(walk(wal, size, &chain, &last) + 1, sizes[i]),
                  size);
        EXPECT_EQ(last.commit_pages, stock_number(app, "PRAGMA page_count"));
        free(wal);
        sqlite3_close(app);
        stock_folder_remove(&folder);
    }
}

TEST(the_walk_ends_where_an_older_generation_begins)
{
    struct stock_folder folder;
    struct frame_chain chain;
    struct frame last;
    uint8_t *wal;
    size_t size;
    sqlite3 *app;
    uint32_t count;

    stock_folder_make(&folder);
    app = stock_open(stock_path(&folder, "a.db", ""), 4096);
    stock_exec(app,
               "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(90000));"
               "PRAGMA wal_checkpoint(RESTART);"
               "INSERT INTO t VALUES(1)");
    wal = file_bytes(stock_path(&folder, "a.db", "-wal"), &size);
    count = walk(wal, size, &chain, &last);
    EXPECT_GE(count, 1);
    EXPECT_LT(frame_offset(count + 1, 4096), size);
    EXPECT_NE(last.commit_pages, 0);
    free(wal);
    sqlite3_close(app);
    stock_folder_remove(&folder);
}

/* Chains the frames of a WAL anew, as a machine of that order writes them. */
static void rechain(uint8_t *wal, uint32_t page_bytes, uint32_t count,
                    bool big_endian)
{
    struct frame_wal_header header = a_header(wal, page_bytes, big_endian);
    struct frame frame;

    for (uint32_t i = 1; i <= count; i++) {
        uint8_t *at = wal + frame_offset(i, page_bytes);

        frame_decode(at, &frame);
        frame_encode(&header.chain, at, frame.pgno, frame.commit_pages, salt,
                     page_bytes);
    }
}

/* The WAL of a live database is moved beside a copy of the file alone: only a
 * recovery, by the stock program, brings the rows back. */
static void recover_with_order(bool big_endian)
{
    struct stock_folder folder;
    struct frame_chain chain;
    struct frame last;
    size_t size, main_size;
    uint8_t *wal, *main_bytes;
    sqlite3 *app;

    stock_folder_make(&folder);
    app = stock_open(stock_path(&folder, "a.db", ""), 1024);
    stock_exec(app, "CREATE TABLE t(x)");
    for (int row = 0; row < 50; row++)
        stock_exec(app, "INSERT INTO t VALUES(%d)", row);
    wal = file_bytes(stock_path(&folder, "a.db", "-wal"), &size);
    rechain(wal, 1024, walk(wal, size, &chain, &last), big_endian);
    write_file(stock_path(&folder, "b.db", "-wal"), wal, size);
    sqlite3_close(app);
    main_bytes = file_bytes(stock_path(&folder, "a.db", ""), &main_size);
    write_file(stock_path(&folder, "b.db", ""), main_bytes, 1024);
    EXPECT_STR(stock_ask(stock_path(&folder, "b.db", ""),
                         "PRAGMA integrity_check; SELECT sum(x) FROM t"),
               "ok\n1225");
    free(main_bytes);
    free(wal);
    stock_folder_remove(&folder);
}

TEST(the_stock_library_recovers_what_we_chain_in_either_word_order)
{
    recover_with_order(false);
    recover_with_order(true);
}
