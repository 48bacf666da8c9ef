/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/assert.h - assertions that stay on in every build.
 *
 * They are for our own mistakes; disk, wire, kernel and user get an error
 * code. A failure prints where it was born and what the thread was doing,
 * then aborts: a stopped replica is an incident, a wrong one a disaster.
 */
#ifndef TIDEMARK_BASE_ASSERT_H
#define TIDEMARK_BASE_ASSERT_H

#define ASSERT(condition)                                                      \
    do {                                                                       \
        if (__builtin_expect(!(condition), 0))                                 \
            assert_failed(#condition, __FILE__, __LINE__, __func__);           \
    } while (0)

/* Prints the failed condition, thread and last log lines; never returns. */
_Noreturn void assert_failed(const char *condition, const char *file, int line,
                             const char *function);

#endif
