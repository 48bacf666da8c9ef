/* SPDX-License-Identifier: Apache-2.0 */
/* .primary, .lag, DB-pos and .tidemark/ */
#include "tests/unit/fuse_stage.h"

#include <signal.h>
#include <spawn.h>

static _Atomic(struct mount_wait *) waiting;
static atomic_int cancels;
static char waited_for[128];
static pthread_mutex_t waited_for_lock = PTHREAD_MUTEX_INITIALIZER;

static int hook_status(void *context, char **ret_text, size_t *ret_size)
{
    (void)context;
    *ret_text = strdup("{\"ok\":true}\n");
    *ret_size = strlen(*ret_text);
    return 0;
}

static const char *hook_primary(void *context, char buffer[MOUNT_PRIMARY_BYTES])
{
    (void)context;
    snprintf(buffer, MOUNT_PRIMARY_BYTES, "fra-1");
    return buffer;
}

static int64_t hook_lag(void *context)
{
    (void)context;
    return 42;
}

static int hook_wait(void *context, const char *db, const char *token,
                     size_t token_size, struct mount_wait *wait)
{
    (void)context;
    pthread_mutex_lock(&waited_for_lock);
    snprintf(waited_for, sizeof waited_for, "%s %.*s", db, (int)token_size,
             token);
    pthread_mutex_unlock(&waited_for_lock);
    if (strncmp(token, "bad", 3) == 0)
        return -EINVAL;
    if (strncmp(token, "now", 3) == 0)
        wait->on_done(wait, 0);
    else if (strncmp(token, "late", 4) == 0)
        wait->on_done(wait, -ETIMEDOUT);
    else if (strncmp(token, "lost", 4) == 0)
        wait->on_done(wait, -ESTALE);
    else
        atomic_store(&waiting, wait);
    return 0;
}

static void hook_cancel(void *context, uint64_t wait_id)
{
    struct mount_wait *wait = atomic_load(&waiting);

    (void)context;
    if (wait != NULL && wait->id == wait_id)
        atomic_fetch_add(&cancels, 1);
}

static const struct mount_hooks hooks = {
    .status_json = hook_status,
    .primary_name = hook_primary,
    .lag_ms = hook_lag,
    .wait = hook_wait,
    .wait_cancel = hook_cancel,
};

IN_BOTH_MODES(virtual_files_say_where_the_node_stands, &hooks)
{
    EXPECT_SH("test \"$(cat .primary)\" = fra-1; test $(stat -c %%s .primary) "
              "= 6; test \"$(cat .lag)\" = +000000042; test $(stat -c %%s "
              ".lag) = 11; test \"$(cat .tidemark/status.json)\" = "
              "\"{\\\"ok\\\":true}\"; test -z \"$(ls -A)\"");
    EXPECT_SH("test ! -e v.db-pos; sqlite3 v.db \"create table t(a)\"; test "
              "\"$(cat v.db-pos)\" = 0000000000000001/0000000000005eed");
    atomic_store(&now.catalog.txid, 255);
    EXPECT_SH("test \"$(cat v.db-pos)\" = 00000000000000ff/0000000000005eed; "
              "test $(stat -c %%s v.db-pos) = 34; test $(ls -A) = v.db");
}

IN_BOTH_MODES(a_token_covers_what_was_committed_before_the_open, &hooks)
{
    int passes;

    EXPECT_SH("mkdir -p a/b; sqlite3 a/b/v.db \"create table t(a)\"; sqlite3 "
              "top.db \"create table t(a)\"; test \"$(ls .tidemark)\" = "
              "\"status.json\ntoken\nwait\"; test \"$(ls .tidemark/token)\" = "
              "\"a\ntop.db\"; test $(ls .tidemark/token/a/b) = v.db");
    passes = atomic_load(&now.catalog.passes);
    EXPECT_SH("test \"$(cat .tidemark/token/a/b/v.db)\" = 0a0b0c0d.1000007.1");
    EXPECT_EQ(atomic_load(&now.catalog.passes), passes + 1);
    atomic_store(&now.catalog.txid, 2);
    EXPECT_SH("test \"$(cat .tidemark/token/top.db)\" = 0a0b0c0d.1000007.2; "
              "no cat .tidemark/token/none.db 2>/dev/null");
    /* Fixed when it was opened. */
    EXPECT_SH("exec 3<.tidemark/token/top.db; test \"$(cat <&3)\" = "
              "0a0b0c0d.1000007.2");
}

IN_BOTH_MODES(opening_a_wait_answers_in_the_words_of_errno, &hooks)
{
    EXPECT_SH("mkdir d; sqlite3 d/w.db \"create table t(a)\"; cat "
              ".tidemark/wait/d/w.db/now; test -d .tidemark/wait/d/w.db; "
              "test -d .tidemark/wait/unheard.db; "
              "no cat .tidemark/wait/d/w.db/late 2>$F/../err; grep -q \"timed "
              "out\" $F/../err; no cat .tidemark/wait/d/w.db/lost 2>$F/../err; "
              "grep -qi stale $F/../err; no cat .tidemark/wait/d/w.db/bad "
              "2>$F/../err; grep -q Invalid $F/../err");
    pthread_mutex_lock(&waited_for_lock);
    EXPECT_STR(waited_for, "d/w.db bad");
    pthread_mutex_unlock(&waited_for_lock);
}

static struct mount_wait *wait_for_wait(void)
{
    struct mount_wait *wait = NULL;

    for (int i = 0; i < 5000 && wait == NULL; i++) {
        wait = atomic_exchange(&waiting, NULL);
        usleep(1000);
    }
    return wait;
}

IN_BOTH_MODES(a_wait_ends_when_it_is_reached, &hooks)
{
    struct mount_wait *wait;

    EXPECT_SH("sqlite3 w.db \"create table t(a)\"; (cat .tidemark/wait/w.db/"
              "0a0b0c0d.1.5; echo $? >$F/../done) >/dev/null 2>&1 & sleep 0.1; "
              "test ! -e $F/../done");
    wait = wait_for_wait();
    EXPECT_TRUE(wait != NULL);
    wait->on_done(wait, 0);
    EXPECT_SH("for i in 1 2 3 4 5 6 7 8 9; do test -s $F/../done && break; "
              "sleep 0.1; done; test $(cat $F/../done) = 0");
}

IN_BOTH_MODES(a_wait_can_be_interrupted, &hooks)
{
    struct mount_wait *wait = NULL;
    pid_t child;
    char path[128], program[] = "cat";
    char *words[] = {program, path, NULL};
    int status;

    atomic_store(&cancels, 0);
    EXPECT_SH("sqlite3 w.db \"create table t(a)\"");
    snprintf(path, sizeof path, "%s/mnt/.tidemark/wait/w.db/0a0b0c0d.1.9",
             now.dir);
    EXPECT_EQ(posix_spawnp(&child, "cat", NULL, NULL, words, environ), 0);
    for (int i = 0; i < 5000 && wait == NULL; i++) {
        wait = atomic_load(&waiting);
        usleep(1000);
    }
    EXPECT_TRUE(wait != NULL);
    kill(child, SIGTERM);
    for (int i = 0; i < 5000 && atomic_load(&cancels) == 0; i++)
        usleep(1000);
    EXPECT_EQ(atomic_load(&cancels), 1);
    wait = atomic_exchange(&waiting, NULL);
    wait->on_done(wait, -EINTR);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
}

IN_BOTH_MODES(virtual_names_cannot_be_taken, &hooks)
{
    EXPECT_SH("sqlite3 v.db \"create table t(a)\"; echo x >f; "
              "no touch .tidemark/x 2>/dev/null; no mkdir .tidemark/d "
              "2>/dev/null; no rm .lag 2>/dev/null; no mv f v.db-pos "
              "2>/dev/null; no mv f .tidemark 2>/dev/null; no sh -c \"echo x "
              ">.primary\" 2>/dev/null; no rm -r .tidemark 2>/dev/null; test "
              "$(ls $F | wc -l) = 2; echo y >free-pos; test \"$(cat "
              "free-pos)\" = y");
}
