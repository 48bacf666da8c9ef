/* SPDX-License-Identifier: Apache-2.0 */
/* node/cmd_verify.c - reads every page again and compares it with its hash. */
#include "node/command.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define RANGE_MS 60000u /* a writer may be in the way for a while */
#define PROGRESS_EACH_NS (100 * NS_PER_MS)

struct pass {
    const struct command_args *args;
    const char *name;
    bool shows;       /* on a terminal */
    uint64_t next_ns; /* when progress is shown again */
    json_int_t pages, page_bytes, damaged, damaged_page;
};

static json_int_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void progress_show(struct pass *pass, json_int_t at, bool last)
{
    if (!pass->shows || (!last && clock_now_ns() < pass->next_ns))
        return;
    pass->next_ns = clock_now_ns() + PROGRESS_EACH_NS;
    if (last)
        fputs("\r\033[K", stderr);
    else
        fprintf(stderr, "\rverify %s: %3d%%\033[K", pass->name,
                pass->pages == 0 ? 0 : (int)(at * 100 / pass->pages));
}

/* All ranges of one database. */
static int pass_run(struct pass *pass)
{
    json_int_t next = 1;
    int rc = COMMAND_OK;

    while (rc == COMMAND_OK && next != 0) {
        struct control_answer answer;

        rc = command_ask(pass->args,
                         json_pack("{s:s, s:s, s:I}", "do", "verify", "db",
                                   pass->name, "from", next),
                         RANGE_MS, &answer);
        next = number_of(answer.json, "next");
        pass->pages = number_of(answer.json, "of_pages");
        if (number_of(answer.json, "page_bytes") != 0)
            pass->page_bytes = number_of(answer.json, "page_bytes");
        pass->damaged += number_of(answer.json, "damaged");
        if (pass->damaged_page == 0)
            pass->damaged_page = number_of(answer.json, "damaged_page");
        control_client_free(&answer);
        progress_show(pass, next, rc != COMMAND_OK || next == 0);
    }
    return rc;
}

static int verdict_say(const struct pass *pass)
{
    if (pass->damaged == 0) {
        printf("%s: ok, %" PRId64 " pages, %" PRId64 " bytes\n", pass->name,
               (int64_t)pass->pages, (int64_t)(pass->pages * pass->page_bytes));
        return COMMAND_OK;
    }
    printf("%s: %" PRId64 " of %" PRId64
           " pages are not what was written, page %" PRId64 " first\n",
           pass->name, (int64_t)pass->damaged, (int64_t)pass->pages,
           (int64_t)pass->damaged_page);
    return COMMAND_FAILED;
}

static int verify_one(const struct command_args *args, const char *name)
{
    struct pass pass = {.args = args, .name = name};
    int rc;

    pass.shows = isatty(STDERR_FILENO) == 1;
    rc = pass_run(&pass);
    return rc == COMMAND_OK ? verdict_say(&pass) : rc;
}

/* One after the other; the worst of them is the exit code. */
static int verify_each(const struct command_args *args)
{
    struct control_answer answer;
    int rc = command_ask(args, json_pack("{s:s}", "do", "status"),
                         COMMAND_ANSWER_MS, &answer);
    const json_t *status = json_object_get(answer.json, "status"), *database;
    size_t i;

    json_array_foreach(json_object_get(status, "databases"), i, database)
    {
        const char *name = json_string_value(json_object_get(database, "name"));

        if (name != NULL && verify_one(args, name) != COMMAND_OK)
            rc = COMMAND_FAILED;
    }
    control_client_free(&answer);
    return rc;
}

static int run(const struct command_args *args)
{
    return args->operands[0] == NULL ? verify_each(args)
                                     : verify_one(args, args->operands[0]);
}

const struct command command_verify = {
    .name = "verify",
    .operands = "[DB]",
    .options = COMMAND_NODE,
    .summary = "compares every page on this node's disk with its hash",
    .help = "Reads DB, or every database, as a reader sees it, while "
            "applications go\non, and compares each page with the hash it had "
            "when it was written.\nExits with 1 when a page is not what was "
            "written. A replica then fetches\nsuch pages from the primary by "
            "itself; a primary sends them to nobody,\nand `tidemark status` "
            "names them.",
    .run = run,
};
