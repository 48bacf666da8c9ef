/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/mishap.c - see mishap.h. */
#include "tests/faultfs/mishap.h"

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    uint64_t calls; /* until it fails; 0: no rule */
    bool for_ever;
    int error;
    char pattern[256];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t thawed;
    struct rule rules[2]; /* by enum mishap_call */
    bool is_full;         /* soon: when room is used up */
    uint64_t room;
    bool frozen, frozen_sync;
} mishap = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .thawed = PTHREAD_COND_INITIALIZER,
};

static int fail_command(char **rest)
{
    const char *what = strtok_r(NULL, " ", rest);
    const char *count = strtok_r(NULL, " ", rest);
    const char *error = strtok_r(NULL, " ", rest);
    const char *pattern = strtok_r(NULL, " ", rest);
    struct rule rule = {0};
    char *end;

    if (what == NULL || count == NULL || error == NULL)
        return -EINVAL;
    rule.calls = strtoull(count, &end, 10);
    rule.for_ever = *end == '+';
    rule.error = strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO;
    snprintf(rule.pattern, sizeof rule.pattern, "%s",
             pattern == NULL ? "*" : pattern);
    mishap.rules[strcmp(what, "sync") == 0 ? MISHAP_SYNC : MISHAP_WRITE] = rule;
    return 0;
}

static int freeze_command(char **rest)
{
    const char *what = strtok_r(NULL, " ", rest);

    mishap.frozen = what != NULL && strcmp(what, "all") == 0;
    mishap.frozen_sync = true;
    return what == NULL ? -EINVAL : 0;
}

static int full_command(char **rest)
{
    const char *bytes = strtok_r(NULL, " ", rest);

    if (bytes == NULL)
        return -EINVAL;
    mishap.is_full = true;
    mishap.room = strtoull(bytes, NULL, 10);
    return 0;
}

static int clear_command(void)
{
    memset(mishap.rules, 0, sizeof mishap.rules);
    mishap.is_full = mishap.frozen = mishap.frozen_sync = false;
    pthread_cond_broadcast(&mishap.thawed);
    return 0;
}

int mishap_command(char *line)
{
    char *rest = NULL;
    const char *word = strtok_r(line, " ", &rest);
    int rc = -EINVAL;

    pthread_mutex_lock(&mishap.lock);
    if (word == NULL)
        rc = -EINVAL;
    else if (strcmp(word, "fail") == 0)
        rc = fail_command(&rest);
    else if (strcmp(word, "full") == 0)
        rc = full_command(&rest);
    else if (strcmp(word, "freeze") == 0)
        rc = freeze_command(&rest);
    else if (strcmp(word, "clear") == 0)
        rc = clear_command();
    pthread_mutex_unlock(&mishap.lock);
    return rc;
}

static int rule_meet(struct rule *rule, const char *path)
{
    if (rule->calls == 0 || fnmatch(rule->pattern, path, 0) != 0)
        return 0;
    if (rule->calls > 1) {
        rule->calls--;
        return 0;
    }
    if (!rule->for_ever)
        rule->calls = 0;
    return -rule->error;
}

int mishap_meet(enum mishap_call call, const char *path)
{
    int rc = 0;

    pthread_mutex_lock(&mishap.lock);
    while (mishap.frozen || (mishap.frozen_sync && call == MISHAP_SYNC))
        pthread_cond_wait(&mishap.thawed, &mishap.lock);
    if (call != MISHAP_OTHER)
        rc = rule_meet(&mishap.rules[call], path);
    pthread_mutex_unlock(&mishap.lock);
    return rc;
}

uint64_t mishap_room(uint64_t bytes)
{
    pthread_mutex_lock(&mishap.lock);
    if (mishap.is_full) {
        bytes = bytes < mishap.room ? bytes : mishap.room;
        mishap.room -= bytes;
    }
    pthread_mutex_unlock(&mishap.lock);
    return bytes;
}
