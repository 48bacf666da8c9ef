/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_logger.c - lines that people and scripts can read. */
#include "base/logger.h"

#include "base/assert.h"
#include "tests/harness.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <sys/mman.h>

#define TEXT_MAX_BYTES (1u << 20)

static char text[TEXT_MAX_BYTES];
static int real_stderr = -1;

/* Standard error goes into memory until heard(). */
static void listen_to_stderr(void)
{
    int fd = memfd_create("stderr", 0);

    /* The kernel guards the offset of real files only. */
    fcntl(fd, F_SETFL, O_APPEND);
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static const char *heard(void)
{
    ssize_t n;

    fflush(stderr);
    n = pread(STDERR_FILENO, text, sizeof text - 1, 0);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static bool matches(const char *line, const char *pattern)
{
    regex_t regex;
    int rc;

    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    rc = regexec(&regex, line, 0, NULL, 0);
    regfree(&regex);
    return rc == 0;
}

TEST(a_line_is_time_level_event_and_keys)
{
    listen_to_stderr();
    log_info("mount.ready", "mode=%s workers=%d", "classic", 4);
    EXPECT_TRUE(matches(heard(),
                        "^ts=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:"
                        "[0-9]{2}\\.[0-9]{3}Z level=info event=mount\\.ready "
                        "mode=classic workers=4\n$"));
}

TEST(an_event_without_keys_ends_with_its_name)
{
    listen_to_stderr();
    logger_write(LOGGER_ERROR, "node.stopped", "%s", "");
    logger_write(LOGGER_WARN, "node.stopping", " ");
    EXPECT_TRUE(matches(heard(), "level=error event=node\\.stopped ?\n"
                                 ".*level=warn event=node\\.stopping"));
}

TEST(lines_below_the_level_are_dropped)
{
    listen_to_stderr();
    log_debug("a.debug", "x=%d", 1);
    logger_set_level(LOGGER_WARN);
    log_info("an.info", "x=%d", 1);
    log_warn("a.warning", "x=%d", 1);
    logger_set_level(LOGGER_DEBUG);
    log_debug("another.debug", "x=%d", 1);
    logger_set_level(LOGGER_INFO);
    heard();
    EXPECT_TRUE(strstr(text, "a.debug") == NULL);
    EXPECT_TRUE(strstr(text, "an.info") == NULL);
    EXPECT_TRUE(strstr(text, "a.warning") != NULL);
    EXPECT_TRUE(strstr(text, "another.debug") != NULL);
}

TEST(a_long_line_is_cut_and_still_ends)
{
    char value[5000];

    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    listen_to_stderr();
    log_info("long.value", "x=%s", value);
    log_info(value, "x=%d", 1);
    log_info("next.line", "x=%d", 1);
    heard();
    EXPECT_EQ(strchr(text, '\n') - text, LOGGER_LINE_BYTES - 2);
    EXPECT_TRUE(matches(text, "\nts=[^\n]*event=next\\.line x=1\n$"));
}

TEST(plain_text_is_its_own_value)
{
    EXPECT_STR(logger_quote("app.db"), "app.db");
    EXPECT_STR(logger_quote("[::1]:20202"), "[::1]:20202");
    EXPECT_STR(logger_quote("d\xc3\xa9j\xc3\xa0"), "d\xc3\xa9j\xc3\xa0");
}

TEST(text_that_could_be_taken_for_keys_is_quoted)
{
    EXPECT_STR(logger_quote(""), "\"\"");
    EXPECT_STR(logger_quote("my app.db"), "\"my app.db\"");
    EXPECT_STR(logger_quote("a=b"), "\"a=b\"");
    EXPECT_STR(logger_quote("say \"hi\""), "\"say \\\"hi\\\"\"");
    EXPECT_STR(logger_quote("a\\b"), "\"a\\\\b\"");
}

TEST(control_bytes_never_reach_the_terminal)
{
    EXPECT_STR(logger_quote("a\nts=1 level=error"), "\"a ts=1 level=error\"");
    EXPECT_STR(logger_quote("\x1b[31mred"), "\" [31mred\"");
    EXPECT_STR(logger_quote("a\x7f"), "\"a \"");
}

TEST(long_text_is_cut_inside_its_quotes)
{
    char value[5000];
    const char *quoted;

    memset(value, '"', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    quoted = logger_quote(value);
    EXPECT_LT(strlen(quoted), 512);
    EXPECT_EQ(quoted[strlen(quoted) - 1], '"');
    EXPECT_EQ(strlen(quoted) % 2, 0); /* no escape without its quote */
}

TEST(four_quoted_values_fit_in_one_line)
{
    const char *a = logger_quote("a"), *b = logger_quote("b");
    const char *c = logger_quote("c"), *d = logger_quote("d");

    EXPECT_EQ(a[0] + b[0] + c[0] + d[0], 'a' + 'b' + 'c' + 'd');
}

#define WRITERS 4
#define LINES 300

static void *write_lines(void *argument)
{
    for (int i = 0; i < LINES; i++)
        log_info("some.thread", "who=%s who=%s", (const char *)argument,
                 (const char *)argument);
    return NULL;
}

TEST(lines_of_many_threads_never_mix)
{
    static char names[WRITERS][2] = {"a", "b", "c", "d"};
    pthread_t threads[WRITERS];
    char *rest = text, *line;
    int whole = 0;

    listen_to_stderr();
    for (int i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_lines, names[i]);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    heard();
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        const char *who = strstr(line, " who=");

        EXPECT_TRUE(strncmp(line, "ts=", 3) == 0 && who != NULL);
        EXPECT_EQ(strlen(who), strlen(" who=a who=a"));
        EXPECT_EQ(who[5], who[11]);
        whole++;
    }
    EXPECT_EQ(whole, WRITERS * LINES);
}

TEST(a_failed_assertion_says_what_where_who_and_what_went_before)
{
    int status;
    pid_t child;

    listen_to_stderr();
    child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        pthread_setname_np(pthread_self(), "the-worker");
        for (int i = 0; i < 40; i++)
            log_info("before.it", "i=%d", i);
        ASSERT(child == 1);
        _exit(0);
    }
    waitpid(child, &status, 0);
    heard();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    EXPECT_TRUE(strstr(text, "assertion failed: child == 1\n") != NULL);
    EXPECT_TRUE(strstr(text, "test_logger.c:") != NULL);
    EXPECT_TRUE(strstr(text, "thread: the-worker\n") != NULL);
    EXPECT_TRUE(matches(text, "\n  log: ts=[^\n]*i=8\n(  log: [^\n]*\n)+$"));
    EXPECT_FALSE(matches(text, "\n  log: ts=[^\n]*i=7\n"));
    EXPECT_TRUE(matches(text, "  log: ts=[^\n]*i=39\n$"));
}
