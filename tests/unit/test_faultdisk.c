/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk may hold after a power cut: the model that other tests trust. */
#include "tests/harness.h"
#include "tests/support/faultdisk.h"

#include <fcntl.h>
#include <sys/stat.h>

#define FILE_A 10
#define FILE_B 11
#define FOLDER 12

struct story {
    struct faultdisk *disk;
    char folder[64];
    int states;
};

static struct story begin(enum faultdisk_kind kind)
{
    struct story story = {.disk = faultdisk_new(kind)};

    snprintf(story.folder, sizeof story.folder, "/tmp/tidemark-test-XXXXXX");
    if (mkdtemp(story.folder) == NULL)
        abort();
    return story;
}

static void end(struct story *story)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", story->folder);
    EXPECT_EQ(system(command), 0);
    faultdisk_free(story->disk);
}

/* ---- telling it ---------------------------------------------------------- */

static void name(struct story *story, enum trace_kind kind, uint64_t object,
                 const char *text)
{
    faultdisk_take(story->disk,
                   &(struct trace_item){.event = {.kind = kind,
                                                  .object = object,
                                                  .parent = TRACE_ROOT,
                                                  .mode = 0644},
                                        .name = text,
                                        .name_to = ""});
}

static void rename_to(struct story *story, uint64_t object, const char *from,
                      uint64_t parent_to, const char *to)
{
    faultdisk_take(story->disk,
                   &(struct trace_item){.event = {.kind = TRACE_RENAME,
                                                  .object = object,
                                                  .parent = TRACE_ROOT,
                                                  .parent_to = parent_to},
                                        .name = from,
                                        .name_to = to});
}

static void put(struct story *story, uint64_t object, uint64_t offset,
                const char *text)
{
    faultdisk_take(
        story->disk,
        &(struct trace_item){.event = {.kind = TRACE_WRITE,
                                       .object = object,
                                       .offset = offset,
                                       .data_bytes = (uint32_t)strlen(text)},
                             .data = (const uint8_t *)text});
}

static void truncate_to(struct story *story, uint64_t object, uint64_t size)
{
    faultdisk_take(story->disk,
                   &(struct trace_item){.event = {.kind = TRACE_TRUNCATE,
                                                  .object = object,
                                                  .offset = size}});
}

static void sync_object(struct story *story, uint64_t object, int error)
{
    faultdisk_take(
        story->disk,
        &(struct trace_item){
            .event = {.kind = TRACE_SYNC, .error = error, .object = object}});
}

/* A file with its name, and this content, all of it durable. */
static void settled(struct story *story, uint64_t object, const char *path,
                    const char *text)
{
    name(story, TRACE_CREATE, object, path);
    put(story, object, 0, text);
    sync_object(story, object, 0);
    sync_object(story, TRACE_ROOT, 0);
}

/* ---- asking it ----------------------------------------------------------- */

static const char *state(struct story *story, enum faultdisk_fate fate,
                         uint64_t seed)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%d", story->folder, story->states++);
    EXPECT_EQ(mkdir(path, 0700), 0);
    EXPECT_EQ(faultdisk_write(story->disk, fate, seed, path), 0);
    return path;
}

/* The content of a file of a state; "none" where there is no such name. */
static const char *content(const char *path, const char *file)
{
    static char text[4096];
    char full[256];
    ssize_t n;
    int fd;

    snprintf(full, sizeof full, "%s/%s", path, file);
    fd = open(full, O_RDONLY);
    if (fd < 0)
        return "none";
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static const char *after(struct story *story, enum faultdisk_fate fate,
                         const char *file)
{
    return content(state(story, fate, 1), file);
}

/* ---- bytes --------------------------------------------------------------- */

TEST(what_was_synced_is_there_and_what_was_not_is_lost)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "old!");
    put(&story, FILE_A, 0, "NEW");
    put(&story, FILE_A, 4, "longer");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "old!");
    EXPECT_STR(after(&story, FAULTDISK_KEPT, "a"), "NEW!longer");
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "NEW!longer");
    end(&story);
}

TEST(a_truncate_that_was_not_synced_is_undone)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "content");
    truncate_to(&story, FILE_A, 3);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "content");
    EXPECT_STR(after(&story, FAULTDISK_KEPT, "a"), "con");
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "con");
    end(&story);
}

TEST(a_sync_of_one_file_does_nothing_for_another)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "a");
    settled(&story, FILE_B, "b", "b");
    put(&story, FILE_A, 0, "A");
    sync_object(&story, FILE_B, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "a");
    end(&story);
}

TEST(a_prefix_has_no_later_write_without_the_earlier_ones)
{
    struct story story = begin(FAULTDISK_STRICT);
    bool seen[3] = {false};

    settled(&story, FILE_A, "a", "--");
    put(&story, FILE_A, 0, "1");
    put(&story, FILE_A, 1, "2");
    for (uint64_t seed = 0; seed < 100; seed++) {
        const char *text = content(state(&story, FAULTDISK_PREFIX, seed), "a");

        EXPECT_TRUE(strcmp(text, "-2") != 0);
        seen[0] |= strcmp(text, "--") == 0;
        seen[1] |= strcmp(text, "1-") == 0;
        seen[2] |= strcmp(text, "12") == 0;
    }
    EXPECT_TRUE(seen[0] && seen[1] && seen[2]);
    end(&story);
}

TEST(free_writes_come_in_every_combination)
{
    struct story story = begin(FAULTDISK_STRICT);
    bool late_without_early = false;

    settled(&story, FILE_A, "a", "--");
    put(&story, FILE_A, 0, "1");
    put(&story, FILE_A, 1, "2");
    for (uint64_t seed = 0; seed < 100; seed++)
        late_without_early |=
            strcmp(content(state(&story, FAULTDISK_FREE, seed), "a"), "-2") ==
            0;
    EXPECT_TRUE(late_without_early);
    end(&story);
}

TEST(a_torn_write_has_whole_sectors_of_the_old_and_of_the_new)
{
    struct story story = begin(FAULTDISK_STRICT);
    char old[2049], new[2049];
    bool mixed = false;

    memset(old, 'o', 2048);
    memset(new, 'n', 2048);
    old[2048] = new[2048] = '\0';
    settled(&story, FILE_A, "a", old);
    put(&story, FILE_A, 0, new);
    for (uint64_t seed = 0; seed < 30; seed++) {
        const char *text = content(state(&story, FAULTDISK_TORN, seed), "a");

        EXPECT_EQ(strlen(text), 2048);
        for (int i = 0; i < 2048; i++)
            EXPECT_EQ(text[i], text[i / 512 * 512]);
        mixed |= strchr(text, 'o') != NULL && strchr(text, 'n') != NULL;
    }
    EXPECT_TRUE(mixed);
    end(&story);
}

TEST(what_a_failed_sync_left_out_no_later_sync_makes_durable)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "old");
    put(&story, FILE_A, 0, "new");
    sync_object(&story, FILE_A, -EIO);
    put(&story, FILE_A, 3, "more");
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "oldmore");
    put(&story, FILE_A, 0, "new"); /* written again, as one must */
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "newmore");
    end(&story);
}

TEST(names_that_a_failed_sync_left_out_a_later_one_makes_durable)
{
    struct story story = begin(FAULTDISK_STRICT);

    name(&story, TRACE_CREATE, FILE_A, "a");
    sync_object(&story, TRACE_ROOT, -EIO);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "none");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "");
    end(&story);
}

/* ---- names --------------------------------------------------------------- */

TEST(a_file_that_was_synced_needs_its_folder_synced_for_its_name)
{
    struct story story = begin(FAULTDISK_STRICT);

    name(&story, TRACE_CREATE, FILE_A, "a");
    put(&story, FILE_A, 0, "a");
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "none");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "a");
    end(&story);
}

TEST(a_journal_takes_all_names_before_with_any_sync)
{
    struct story story = begin(FAULTDISK_JOURNAL);

    name(&story, TRACE_CREATE, FILE_B, "b");
    name(&story, TRACE_CREATE, FILE_A, "a");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "none");
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "b"), "");
    end(&story);
}

TEST(names_in_a_journal_come_in_their_order)
{
    struct story story = begin(FAULTDISK_JOURNAL);

    name(&story, TRACE_CREATE, FILE_A, "a");
    name(&story, TRACE_CREATE, FILE_B, "b");
    for (uint64_t seed = 0; seed < 50; seed++) {
        char path[128];

        snprintf(path, sizeof path, "%s", state(&story, FAULTDISK_FREE, seed));
        EXPECT_TRUE(strcmp(content(path, "b"), "none") == 0 ||
                    strcmp(content(path, "a"), "none") != 0);
    }
    end(&story);
}

TEST(a_rename_over_a_file_leaves_the_old_or_the_new_one)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "old");
    settled(&story, FILE_B, "a.new", "new");
    rename_to(&story, FILE_B, "a.new", TRACE_ROOT, "a");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "old");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a.new"), "new");
    EXPECT_STR(after(&story, FAULTDISK_KEPT, "a"), "new");
    EXPECT_STR(after(&story, FAULTDISK_KEPT, "a.new"), "none");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "new");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a.new"), "none");
    end(&story);
}

TEST(a_rename_between_folders_waits_for_both)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "a");
    name(&story, TRACE_MKDIR, FOLDER, "folder");
    sync_object(&story, TRACE_ROOT, 0);
    rename_to(&story, FILE_A, "a", FOLDER, "b");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "a");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "folder/b"), "none");
    sync_object(&story, FOLDER, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "none");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "folder/b"), "a");
    end(&story);
}

TEST(what_is_in_a_folder_goes_with_its_name)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "a");
    name(&story, TRACE_MKDIR, FOLDER, "folder");
    rename_to(&story, FILE_A, "a", FOLDER, "b");
    sync_object(&story, FOLDER, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "a");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "folder/b"), "none");
    end(&story);
}

TEST(a_file_that_was_unlinked_may_be_there_again)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "a");
    name(&story, TRACE_UNLINK, FILE_A, "a");
    put(&story, FILE_A, 0, "A"); /* by who still has it open */
    sync_object(&story, FILE_A, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "A");
    EXPECT_STR(after(&story, FAULTDISK_KEPT, "a"), "none");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "none");
    end(&story);
}

TEST(a_name_that_was_given_anew_is_of_the_new_file)
{
    struct story story = begin(FAULTDISK_STRICT);

    settled(&story, FILE_A, "a", "old");
    name(&story, TRACE_UNLINK, FILE_A, "a");
    name(&story, TRACE_CREATE, FILE_B, "a");
    put(&story, FILE_B, 0, "new");
    sync_object(&story, FILE_B, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "old");
    sync_object(&story, TRACE_ROOT, 0);
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "new");
    end(&story);
}

TEST(two_names_of_one_file_have_one_content)
{
    struct story story = begin(FAULTDISK_STRICT);
    struct stat one, two;
    char path[256];

    settled(&story, FILE_A, "a", "a");
    name(&story, TRACE_LINK, FILE_A, "b");
    EXPECT_STR(after(&story, FAULTDISK_LOST, "b"), "none");
    snprintf(path, sizeof path, "%s/a", state(&story, FAULTDISK_KEPT, 1));
    EXPECT_EQ(stat(path, &one), 0);
    path[strlen(path) - 1] = 'b';
    EXPECT_EQ(stat(path, &two), 0);
    EXPECT_EQ(one.st_ino, two.st_ino);
    end(&story);
}

TEST(what_was_there_before_is_durable)
{
    struct story story = begin(FAULTDISK_STRICT);

    name(&story, TRACE_CREATE, FILE_A, "a");
    put(&story, FILE_A, 0, "a");
    faultdisk_take(story.disk, &(struct trace_item){.event.kind = TRACE_BASE});
    EXPECT_STR(after(&story, FAULTDISK_LOST, "a"), "a");
    end(&story);
}
