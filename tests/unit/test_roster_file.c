/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_roster_file.c - the roster between two runs: what is
 * written, what is believed, what becomes of a file that is not. */
#include "node/roster_file.h"

#include "tests/harness.h"
#include "tests/support/stock.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static struct roster roster;
static char reason[ROSTER_FILE_REASON_BYTES];

static void a_roster(void)
{
    roster_close(&roster);
    roster_init(&roster, NULL, NULL);
}

static int reads(const char *text)
{
    a_roster();
    reason[0] = '\0';
    return roster_file_decode(text, strlen(text), "us", &roster, reason);
}

#define NODE(id) /* as it was written by the first version */                  \
    "{\"advertise\": \"" id ":20202\", \"candidate\": true, \"id\": \"" id     \
    "\", \"region\": \"fra\"}"

#define FILE_OF(nodes) "{\"version\": 1, \"nodes\": [" nodes "]}"

TEST(what_was_written_is_read_again)
{
    char *text;

    a_roster();
    EXPECT_OK(roster_add(&roster, "a", "fra", "[2001:db8::1]:1", true));
    EXPECT_OK(roster_add(&roster, "b \\ \"c\"", "", "", false));
    text = roster_file_encode(&roster);
    EXPECT_TRUE(text != NULL);
    EXPECT_OK(reads(text));
    free(text);
    EXPECT_EQ(roster.count, 2);
    EXPECT_STR(roster.entries[0].node, "a");
    EXPECT_STR(roster.entries[0].region, "fra");
    EXPECT_STR(roster.entries[0].advertise, "[2001:db8::1]:1");
    EXPECT_TRUE(roster.entries[0].candidate);
    EXPECT_STR(roster.entries[1].node, "b \\ \"c\"");
    EXPECT_FALSE(roster.entries[1].candidate);
    EXPECT_EQ(roster.entries[1].connections, 0);
    EXPECT_EQ(roster.entries[1].seen_ns, 0); /* not since we started */
}

TEST(an_empty_roster_is_one_too)
{
    char *text;

    a_roster();
    text = roster_file_encode(&roster);
    EXPECT_OK(reads(text));
    EXPECT_EQ(roster.count, 0);
    free(text);
}

TEST(version_1_is_read_for_ever_and_what_it_does_not_know_passed_over)
{
    EXPECT_OK(reads(FILE_OF(NODE("a") "," NODE("b"))));
    EXPECT_EQ(roster.count, 2);
    EXPECT_OK(reads("{\"version\": 1, \"more\": [], \"nodes\": [{\"id\": \"a\","
                    "\"region\": \"\", \"advertise\": \"\", \"x\": null,"
                    "\"candidate\": false}]}"));
    EXPECT_EQ(roster.count, 1);
}

TEST(a_node_does_not_hear_of_itself)
{
    EXPECT_OK(reads(FILE_OF(NODE("us") "," NODE("b"))));
    EXPECT_EQ(roster.count, 1);
    EXPECT_STR(roster.entries[0].node, "b");
}

static void is_refused(const char *text)
{
    EXPECT_EQ(reads(text), -EBADMSG);
    EXPECT_TRUE(reason[0] != '\0');
    EXPECT_EQ(roster.count, 0);
}

TEST(what_is_no_roster_is_refused_whole_and_with_a_reason)
{
    is_refused("");
    is_refused("{");
    is_refused("[]");
    is_refused("{}");
    is_refused("{\"version\": 0, \"nodes\": []}");
    is_refused("{\"version\": 1}");
    is_refused("{\"version\": 1, \"nodes\": {}}");
    is_refused("{\"version\": 1, \"version\": 1, \"nodes\": []}");
    is_refused(FILE_OF(NODE("a")) "x");
    is_refused(FILE_OF(NODE("a") ", 7"));
    is_refused(FILE_OF(NODE("a") "," NODE("b") "," NODE("a")));
    EXPECT_TRUE(strstr(reason, "nodes 1 and 3") != NULL);
    is_refused(FILE_OF(NODE("")));
    is_refused(FILE_OF(NODE("a\\n")));
    is_refused(
        FILE_OF("{\"id\": \"a\", \"region\": \"\", \"advertise\": \"\"}"));
    is_refused(FILE_OF("{\"id\": \"a\", \"region\": \"\", \"advertise\": 1,"
                       "\"candidate\": true}"));
}

TEST(texts_and_nodes_have_their_limits)
{
    static char text[400000];
    char id[BODY_ID_MAX + 2];
    size_t at;

    memset(id, 'x', sizeof id);
    id[BODY_ID_MAX] = '\0';
    snprintf(text, sizeof text,
             FILE_OF("{\"id\": \"%s\", \"region\": \"%s\", \"advertise\": "
                     "\"\", \"candidate\": true}"),
             id, id);
    EXPECT_OK(reads(text));
    snprintf(text, sizeof text,
             FILE_OF("{\"id\": \"%sx\", \"region\": \"\", \"advertise\": "
                     "\"\", \"candidate\": true}"),
             id);
    is_refused(text);
    for (unsigned nodes = PULSE_NODES_MAX - 1; nodes <= PULSE_NODES_MAX;
         nodes++) {
        at = (size_t)sprintf(text, "{\"version\": 1, \"nodes\": [");
        for (unsigned i = 0; i < nodes; i++)
            at += (size_t)sprintf(text + at,
                                  "%s{\"id\": \"%u\", \"region\": \"\", "
                                  "\"advertise\": \"\", \"candidate\": "
                                  "false}",
                                  i == 0 ? "" : ",", i);
        snprintf(text + at, sizeof text - at, "]}");
        if (nodes == PULSE_NODES_MAX)
            is_refused(text);
        else
            EXPECT_OK(reads(text));
    }
}

TEST(a_newer_version_is_not_called_damaged_and_both_are_named)
{
    EXPECT_EQ(reads("{\"version\": 2, \"nodes\": \"elsewhere\"}"),
              -EPROTONOSUPPORT);
    EXPECT_TRUE(strstr(reason, "version 2") != NULL);
    EXPECT_TRUE(strstr(reason, "reads 1") != NULL);
}

/* ---- the file ------------------------------------------------------------ */

static struct stock_folder folder;
static int data_fd;

static void a_folder(const char *text)
{
    int fd;

    stock_folder_make(&folder);
    data_fd = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT_OK(mkdirat(data_fd, "lost", 0700));
    if (text == NULL)
        return;
    fd = openat(data_fd, ROSTER_FILE_NAME, O_WRONLY | O_CREAT, 0600);
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* How many files lie in lost/, which are removed. */
static unsigned kept(void)
{
    int fd = openat(data_fd, "lost", O_RDONLY | O_DIRECTORY);
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && unlinkat(fd, entry->d_name, 0) == 0)
            count++;
    closedir(dir);
    return count;
}

static void no_folder(void)
{
    kept();
    unlinkat(data_fd, "lost", AT_REMOVEDIR);
    close(data_fd);
    stock_folder_remove(&folder);
}

static bool file_is_there(void)
{
    return faccessat(data_fd, ROSTER_FILE_NAME, F_OK, 0) == 0;
}

TEST(no_file_is_an_empty_roster)
{
    a_folder(NULL);
    a_roster();
    EXPECT_OK(roster_file_load(data_fd, "us", &roster));
    EXPECT_EQ(roster.count, 0);
    EXPECT_EQ(kept(), 0);
    no_folder();
}

TEST(a_damaged_file_moves_aside_and_counts_as_none)
{
    a_folder(FILE_OF(NODE("a")) "garbage");
    a_roster();
    EXPECT_OK(roster_file_load(data_fd, "us", &roster));
    EXPECT_EQ(roster.count, 0);
    EXPECT_FALSE(file_is_there());
    EXPECT_EQ(kept(), 1);
    no_folder();
}

TEST(a_file_that_is_newer_or_cannot_be_read_stays_where_it_is)
{
    a_folder("{\"version\": 2}");
    a_roster();
    EXPECT_EQ(roster_file_load(data_fd, "us", &roster), -EPROTONOSUPPORT);
    EXPECT_TRUE(file_is_there());
    EXPECT_OK(unlinkat(data_fd, ROSTER_FILE_NAME, 0));
    EXPECT_OK(mkdirat(data_fd, ROSTER_FILE_NAME, 0700)); /* reads EISDIR */
    EXPECT_LT(roster_file_load(data_fd, "us", &roster), 0);
    EXPECT_TRUE(file_is_there());
    EXPECT_OK(unlinkat(data_fd, ROSTER_FILE_NAME, AT_REMOVEDIR));
    EXPECT_EQ(kept(), 0);
    no_folder();
}
