/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/site.h - names for the places where the world can say no.
 *
 * Each OS call in the tree carries an enum site. When it fails, site_fail()
 * remembers site, object and errno for this thread, and whoever decides what
 * to do logs it once with site_failure(). In builds with TIDEMARK_FAULTS a
 * test makes the k-th call of a site fail: TIDEMARK_FAULT="log.append=3:EIO"
 * (k from 1; "3+" means the third and all after it, "3-5" the third to the
 * fifth; several by comma). KILL for an errno ends the process instead, before
 * the call is made. TIDEMARK_FAULT=list prints all names, at the first call;
 * "met:FILE", alone or among plans, appends to FILE each name that the process
 * meets, its children not.
 */
#ifndef TIDEMARK_BASE_SITE_H
#define TIDEMARK_BASE_SITE_H

#include <stddef.h>

enum site {
#define SITE(name, text) SITE_##name,
#include "base/site.def"
#undef SITE
    SITES
};

/* "log.append"; never NULL. */
const char *site_name(enum site site);

/*
 * Records a failure of this thread and returns -error, so that callers write
 * `return site_fail(site, path, errno);`. what may be NULL; it is copied.
 */
int site_fail(enum site site, const char *what, int error);

/*
 * "site: object: strerror" of this thread's last failure, for a log line.
 * The text lives until the thread's next call of this function.
 */
const char *site_failure(void);

/* 0, or the errno a test planted for this call. Counts the call. Any thread. */
int site_fault(enum site site);

#endif
