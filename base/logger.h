/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/logger.h - key=value lines on standard error.
 *
 *   ts=2026-01-31T12:00:00.123Z level=info event=mount.ready mode=passthrough
 *
 * One line per event, `event` is room.what, the rest are keys a script can
 * read. Text that comes from elsewhere goes through logger_quote(): a name
 * with a space or a line break in it must not look like another key or line.
 * At most LOGGER_LINE_BYTES are written, the rest is cut. Libraries (base,
 * wal, cores, lease) never log: whoever decides what to do about a failure
 * does, once. Any thread.
 */
#ifndef TIDEMARK_BASE_LOGGER_H
#define TIDEMARK_BASE_LOGGER_H

#define LOGGER_LINE_BYTES 1024 /* with its line break */

enum logger_level { LOGGER_DEBUG, LOGGER_INFO, LOGGER_WARN, LOGGER_ERROR };

/* Drops lines below level; LOGGER_INFO at start. */
void logger_set_level(enum logger_level level);

/* Writes one line; format makes "key=value key=value" or is "". */
void logger_write(enum logger_level level, const char *event,
                  const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(...) logger_write(LOGGER_DEBUG, __VA_ARGS__)
#define log_info(...) logger_write(LOGGER_INFO, __VA_ARGS__)
#define log_warn(...) logger_write(LOGGER_WARN, __VA_ARGS__)
#define log_error(...) logger_write(LOGGER_ERROR, __VA_ARGS__)

/* Text as a value: quoted when it is empty or holds spaces, quotes, '=' or
 * control bytes, which become spaces; cut at some 500 bytes. The result lives
 * until this thread's fourth next call. */
const char *logger_quote(const char *text);

/* Prints the last lines again, whatever their level; for assert_failed(). */
void logger_dump_last(void);

#endif
