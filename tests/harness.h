/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/harness.h - what a test program needs; include it once per program.
 *
 *     TEST(a_frame_whose_page_is_0_is_refused)
 *     {
 *         EXPECT_EQ(frame_decode(...), -EINVAL);
 *     }
 *
 * It brings its own main: every TEST of the file runs, in the order of the
 * file, and the last line says `N passed, N failed`. Arguments choose the
 * tests whose name contains one of them. A failed EXPECT ends its test.
 *
 * Random tests take their numbers from test_rng(): the seed is printed, and
 * SEED=that in the environment repeats the run, also of one test alone.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/rng.h"

#define HARNESS_TESTS_MAX 256

struct harness_test {
    const char *name;
    void (*body)(void);
};

static struct harness_test harness_tests[HARNESS_TESTS_MAX];
static size_t harness_count;
static uint64_t harness_seed;
static const struct harness_test *harness_now; /* the test that runs */

static inline void harness_register(const char *name, void (*body)(void))
{
    if (harness_count == HARNESS_TESTS_MAX) {
        fprintf(stderr, "harness: more than %d tests\n", HARNESS_TESTS_MAX);
        abort();
    }
    harness_tests[harness_count++] = (struct harness_test){name, body};
}

#define TEST(test_name)                                                        \
    static void test_name(void);                                               \
    __attribute__((constructor)) static void harness_add_##test_name(void)     \
    {                                                                          \
        harness_register(#test_name, test_name);                               \
    }                                                                          \
    static void test_name(void)

/* ---- expectations ---------------------------------------------------- */

/* Any integer or pointer without loss: the sign apart from the bits. */
struct harness_value {
    uint64_t bits; /* two's complement when negative */
    bool negative;
    bool pointer;
};

static inline struct harness_value harness_signed(intmax_t value)
{
    return (struct harness_value){(uint64_t)value, value < 0, false};
}

static inline struct harness_value harness_unsigned(uintmax_t value)
{
    return (struct harness_value){value, false, false};
}

static inline struct harness_value harness_pointer(const volatile void *value)
{
    return (struct harness_value){(uintptr_t)value, false, true};
}

/* The choice of x or x makes a bit-field, a bool or a char an integer. */
#define HARNESS_VALUE(x)                                                       \
    _Generic(1 ? (x) : (x), int                                                \
             : harness_signed, long                                            \
             : harness_signed, long long                                       \
             : harness_signed, unsigned int                                    \
             : harness_unsigned, unsigned long                                 \
             : harness_unsigned, unsigned long long                            \
             : harness_unsigned, default                                       \
             : harness_pointer)(x)

static inline int harness_compare(struct harness_value a,
                                  struct harness_value b)
{
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    return (a.bits > b.bits) - (a.bits < b.bits);
}

static inline void harness_print(struct harness_value value)
{
    if (value.negative)
        fprintf(stderr, "%jd", (intmax_t)value.bits);
    else if (value.pointer || value.bits > 0xffff)
        fprintf(stderr, "%ju (0x%jx)", (uintmax_t)value.bits,
                (uintmax_t)value.bits);
    else
        fprintf(stderr, "%ju", (uintmax_t)value.bits);
}

/* Ends the test. Not for a forked child: cmocka would jump in there too. */
__attribute__((noreturn)) static inline void harness_fail(const char *file,
                                                          int line)
{
    fflush(stderr);
    _fail(file, line);
    abort(); /* not reached: _fail jumps back to cmocka */
}

static inline void harness_relation(bool ok, const char *relation,
                                    struct harness_value a,
                                    struct harness_value b, const char *a_text,
                                    const char *b_text, const char *file,
                                    int line)
{
    if (ok)
        return;
    fprintf(stderr, "%s:%d: expected %s %s %s\n    left is  ", file, line,
            a_text, relation, b_text);
    harness_print(a);
    fprintf(stderr, "\n    right is ");
    harness_print(b);
    fprintf(stderr, "\n");
    harness_fail(file, line);
}

#define HARNESS_RELATION(a, relation, b)                                       \
    do {                                                                       \
        struct harness_value harness_a = HARNESS_VALUE(a);                     \
        struct harness_value harness_b = HARNESS_VALUE(b);                     \
        harness_relation(harness_compare(harness_a, harness_b) relation 0,     \
                         #relation, harness_a, harness_b, #a, #b, __FILE__,    \
                         __LINE__);                                            \
    } while (0)

#define EXPECT_EQ(a, b) HARNESS_RELATION(a, ==, b)
#define EXPECT_NE(a, b) HARNESS_RELATION(a, !=, b)
#define EXPECT_LT(a, b) HARNESS_RELATION(a, <, b)
#define EXPECT_LE(a, b) HARNESS_RELATION(a, <=, b)
#define EXPECT_GT(a, b) HARNESS_RELATION(a, >, b)
#define EXPECT_GE(a, b) HARNESS_RELATION(a, >=, b)

static inline void harness_truth(bool ok, const char *text, const char *file,
                                 int line)
{
    if (ok)
        return;
    fprintf(stderr, "%s:%d: expected %s\n", file, line, text);
    harness_fail(file, line);
}

#define EXPECT_TRUE(x) harness_truth(!!(x), #x, __FILE__, __LINE__)
#define EXPECT_FALSE(x) harness_truth(!(x), "not " #x, __FILE__, __LINE__)

/* rc is 0 or more; a negative errno is named. */
static inline void harness_ok(intmax_t rc, const char *text, const char *file,
                              int line)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s:%d: %s returned %jd (%s)\n", file, line, text, rc,
            strerror((int)-rc));
    harness_fail(file, line);
}

#define EXPECT_OK(rc) harness_ok((rc), #rc, __FILE__, __LINE__)

static inline void harness_string(const char *a, const char *b,
                                  const char *a_text, const char *b_text,
                                  const char *file, int line)
{
    if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0))
        return;
    fprintf(stderr, "%s:%d: expected %s equals %s\n", file, line, a_text,
            b_text);
    fprintf(stderr, "    left is  \"%s\"\n", a != NULL ? a : "(null)");
    fprintf(stderr, "    right is \"%s\"\n", b != NULL ? b : "(null)");
    harness_fail(file, line);
}

#define EXPECT_STR(a, b) harness_string(a, b, #a, #b, __FILE__, __LINE__)

static inline void harness_memory(const void *a, const void *b, size_t size,
                                  const char *a_text, const char *b_text,
                                  const char *file, int line)
{
    const uint8_t *left = a, *right = b;
    size_t at = 0;

    while (at < size && left[at] == right[at])
        at++;
    if (at == size)
        return;
    fprintf(stderr, "%s:%d: expected %s equals %s, differ at byte %zu of %zu\n",
            file, line, a_text, b_text, at, size);
    fprintf(stderr, "    left is  ");
    for (size_t i = at; i < size && i < at + 16; i++)
        fprintf(stderr, "%02x ", left[i]);
    fprintf(stderr, "\n    right is ");
    for (size_t i = at; i < size && i < at + 16; i++)
        fprintf(stderr, "%02x ", right[i]);
    fprintf(stderr, "\n");
    harness_fail(file, line);
}

#define EXPECT_MEM(a, b, size)                                                 \
    harness_memory(a, b, size, #a, #b, __FILE__, __LINE__)

/*
 * Expects that the statement ends in abort(), as a broken ASSERT does. It
 * runs in a child with its messages thrown away: it changes nothing here.
 */
#define EXPECT_ABORT(statement)                                                \
    do {                                                                       \
        pid_t harness_child = harness_fork();                                  \
        if (harness_child == 0) {                                              \
            statement;                                                         \
            _exit(0);                                                          \
        }                                                                      \
        harness_truth(harness_aborted(harness_child),                          \
                      "an abort by " #statement, __FILE__, __LINE__);          \
    } while (0)

static inline pid_t harness_fork(void)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
    }
    return pid;
}

static inline bool harness_aborted(pid_t pid)
{
    int status = 0;

    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGABRT;
}

/* ---- random numbers --------------------------------------------------- */

/* A fresh stream for the test that runs: from the seed and its name. */
static inline struct rng test_rng(void)
{
    struct rng rng = {harness_seed};

    for (const char *c = harness_now->name; *c != '\0'; c++)
        rng.state = rng_u64(&rng) ^ (uint8_t)*c;
    return rng;
}

/* ---- main ------------------------------------------------------------- */

static void harness_run(void **state)
{
    harness_now = *state;
    harness_now->body();
}

static bool harness_chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return argc < 2;
}

static uint64_t harness_pick_seed(void)
{
    const char *text = getenv("SEED");
    struct timespec now;

    if (text != NULL && *text != '\0')
        return strtoull(text, NULL, 0);
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec +
            (uint64_t)getpid()) %
           1000000000u; /* short enough to be typed */
}

int main(int argc, char **argv)
{
    static struct CMUnitTest chosen[HARNESS_TESTS_MAX];
    size_t count = 0;
    int failed;

    for (size_t i = 0; i < harness_count; i++)
        if (harness_chosen(harness_tests[i].name, argc, argv))
            chosen[count++] = (struct CMUnitTest){
                .name = harness_tests[i].name,
                .test_func = harness_run,
                .initial_state = &harness_tests[i],
            };
    harness_seed = harness_pick_seed();
    printf("seed %ju\n", (uintmax_t)harness_seed);
    fflush(stdout);
    failed = _cmocka_run_group_tests("tests", chosen, count, NULL, NULL);
    if (failed < 0)
        failed = (int)count;
    printf("%zu passed, %d failed\n", count - (size_t)failed, failed);
    return failed != 0 || count == 0;
}

#endif
