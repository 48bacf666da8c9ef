/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/site.c - the table of sites, the last failure of each thread, and the
 * planted faults of test builds. Faults are parsed once, at the first call.
 */
#include "base/site.h"

#include "base/assert.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef TIDEMARK_FAULTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>
#endif

static const char *const site_names[SITES] = {
#define SITE(name, text) [SITE_##name] = text,
#include "base/site.def"
#undef SITE
};

struct site_last {
    enum site site;
    int error;
    char what[200];
    char text[320];
};

static _Thread_local struct site_last last;

const char *site_name(enum site site)
{
    ASSERT((unsigned)site < SITES);
    return site_names[site];
}

int site_fail(enum site site, const char *what, int error)
{
    ASSERT(error > 0);
    last.site = site;
    last.error = error;
    snprintf(last.what, sizeof last.what, "%s", what == NULL ? "" : what);
    return -error;
}

const char *site_failure(void)
{
    const char *between = last.what[0] == '\0' ? "" : ": ";
    char reason[80];

    snprintf(last.text, sizeof last.text, "%s: %s%s%s", site_name(last.site),
             last.what, between, strerror_r(last.error, reason, sizeof reason));
    return last.text;
}

#ifdef TIDEMARK_FAULTS

#define FAULT_KILL (-1) /* no errno: the process ends here */

struct site_plan {
    unsigned at;    /* the first call that fails, from 1; 0: none */
    unsigned until; /* the last */
    int error;
    atomic_uint calls;
    atomic_bool met;
};

static struct site_plan plans[SITES];
static pthread_once_t parsed = PTHREAD_ONCE_INIT;
static int met_fd = -1; /* the file that tells which sites were met */
static pid_t met_by;    /* not by its children, who may have closed it */

static int fault_errno(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } known[] = {
        {"EIO", EIO},         {"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM},
        {"EACCES", EACCES},   {"EMFILE", EMFILE}, {"ENOENT", ENOENT},
        {"KILL", FAULT_KILL},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].error;
    fprintf(stderr, "TIDEMARK_FAULT: unknown errno %s\n", name);
    exit(2);
}

static void met_open(const char *path)
{
    met_by = getpid();
    met_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (met_fd >= 0)
        return;
    fprintf(stderr, "TIDEMARK_FAULT: %s: %s\n", path, strerror(errno));
    exit(2);
}

/* Lines of several threads do not mix: each is one write. */
static void met_tell(enum site site)
{
    char line[80];
    int size = snprintf(line, sizeof line, "%s\n", site_names[site]);

    if (write(met_fd, line, (size_t)size) != size)
        abort(); /* who asked would take it for never met */
}

static void fault_parse_one(const char *text)
{
    char name[64], error[16], plus[2] = "";
    unsigned at, until = 0;

    if (strncmp(text, "met:", 4) == 0) {
        met_open(text + 4);
        return;
    }
    if (sscanf(text, "%63[^=]=%u%1[+]:%15s", name, &at, plus, error) == 4) {
        until = UINT_MAX;
    } else if (sscanf(text, "%63[^=]=%u:%15s", name, &at, error) == 3) {
        until = at;
    } else if (sscanf(text, "%63[^=]=%u-%u:%15s", name, &at, &until, error) !=
               4) {
        fprintf(stderr, "TIDEMARK_FAULT: cannot read \"%s\"\n", text);
        exit(2);
    }
    for (int i = 0; i < SITES; i++) {
        if (strcmp(site_names[i], name) != 0)
            continue;
        plans[i].at = at;
        plans[i].until = until;
        plans[i].error = fault_errno(error);
        return;
    }
    fprintf(stderr, "TIDEMARK_FAULT: no site named %s\n", name);
    exit(2);
}

static void fault_parse(void)
{
    const char *all = getenv("TIDEMARK_FAULT");
    char copy[512], *rest = copy, *one;

    if (all == NULL)
        return;
    if (strcmp(all, "list") == 0) {
        for (int i = SITE_NONE + 1; i < SITES; i++)
            printf("%s\n", site_names[i]);
        exit(0);
    }
    if (snprintf(copy, sizeof copy, "%s", all) >= (int)sizeof copy) {
        fprintf(stderr, "TIDEMARK_FAULT: longer than %zu bytes\n",
                sizeof copy - 1);
        exit(2);
    }
    while ((one = strsep(&rest, ",")) != NULL)
        if (*one != '\0')
            fault_parse_one(one);
}

int site_fault(enum site site)
{
    struct site_plan *plan = &plans[site];
    unsigned call;

    pthread_once(&parsed, fault_parse);
    if (met_fd >= 0 && !atomic_exchange(&plan->met, true) && getpid() == met_by)
        met_tell(site);
    if (plan->at == 0)
        return 0;
    call = atomic_fetch_add(&plan->calls, 1) + 1;
    if (call < plan->at || call > plan->until)
        return 0;
    if (plan->error == FAULT_KILL)
        (void)raise(SIGKILL);
    return plan->error;
}

#else

int site_fault(enum site site)
{
    (void)site;
    return 0;
}

#endif
