/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "base/thread.h"
#include "node/control.h"
#include "node/control_client.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A node that knows nothing but its control socket, on a thread of its own. */
struct node {
    char data[64];
    char path[96];
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop, later;
    struct control control;
    struct control_call *parked; /* the call of "later.db" or "never.db" */
    uint64_t timeout_ms;         /* of the last wait */
    int rc;                      /* of control_open */
    sem_t ready, was_parked, was_cancelled;
};

static struct node node;

static json_t *handle_status(void *context)
{
    EXPECT_TRUE(context == &node);
    return json_pack("{s:s}", "hello", "world");
}

static void handle_token(void *context, struct control_call *call,
                         const char *database)
{
    (void)context;
    if (strcmp(database, "missing.db") == 0) {
        control_fail(call, CONTROL_NOT_FOUND, "%s: no such database; ls",
                     database);
        return;
    }
    if (strcmp(database, "later.db") == 0 ||
        strcmp(database, "never.db") == 0) {
        node.parked = call;
        if (database[0] == 'l')
            uv_async_send(&node.later);
        sem_post(&node.was_parked);
        return;
    }
    control_reply(call, json_pack("{s:s}", "token", database));
}

static void handle_wait(void *context, struct control_call *call,
                        const char *database, const char *token,
                        uint64_t timeout_ms)
{
    (void)context;
    node.timeout_ms = timeout_ms;
    if (strcmp(database, "lost.db") == 0)
        control_fail(call, CONTROL_LOST, "%s: lost", token);
    else
        control_reply(call, json_pack("{s:s}", "verdict", "reached"));
}

static void handle_verify(void *context, struct control_call *call,
                          const char *database, uint32_t from)
{
    (void)context;
    EXPECT_EQ(call->what, CONTROL_VERIFY);
    control_reply(call, json_pack("{s:s, s:I}", "db", database, "next",
                                  (json_int_t)from + 1));
}

static void handle_cancel(void *context, struct control_call *call)
{
    (void)context;
    EXPECT_TRUE(call == node.parked);
    node.parked = NULL;
    control_fail(call, CONTROL_STOPPING, "nobody reads this");
    sem_post(&node.was_cancelled);
}

static void on_later(uv_async_t *async)
{
    (void)async;
    control_reply(node.parked, json_pack("{s:s}", "token", "late"));
}

static void on_control_closed(struct control *control)
{
    EXPECT_TRUE(control == &node.control);
    uv_close((uv_handle_t *)&node.stop, NULL);
    uv_close((uv_handle_t *)&node.later, NULL);
}

static void on_stop(uv_async_t *async)
{
    (void)async;
    control_close(&node.control, on_control_closed);
}

static void *node_main(void *argument)
{
    struct control_handlers handlers = {&node,         handle_status,
                                        handle_token,  handle_wait,
                                        handle_verify, handle_cancel};

    (void)argument;
    thread_register(THREAD_LOOP, "loop");
    uv_loop_init(&node.loop);
    uv_async_init(&node.loop, &node.stop, on_stop);
    uv_async_init(&node.loop, &node.later, on_later);
    node.rc = control_open(&node.control, &node.loop, node.path, &handlers);
    sem_post(&node.ready);
    uv_run(&node.loop, UV_RUN_DEFAULT);
    EXPECT_EQ(uv_loop_close(&node.loop), 0);
    thread_unregister();
    return NULL;
}

static void start(void)
{
    signal(SIGPIPE, SIG_IGN);
    node = (struct node){0};
    snprintf(node.data, sizeof node.data, "/tmp/tidemark-XXXXXX");
    EXPECT_TRUE(mkdtemp(node.data) != NULL);
    snprintf(node.path, sizeof node.path, "%s/control.sock", node.data);
    sem_init(&node.ready, 0, 0);
    sem_init(&node.was_parked, 0, 0);
    sem_init(&node.was_cancelled, 0, 0);
    pthread_create(&node.thread, NULL, node_main, NULL);
    sem_wait(&node.ready);
}

static void stop(void)
{
    uv_async_send(&node.stop);
    pthread_join(node.thread, NULL);
    EXPECT_EQ(access(node.path, F_OK), -1); /* libuv removed it */
    EXPECT_EQ(rmdir(node.data), 0);
}

static struct control_answer ask(const char *question)
{
    struct control_answer answer;

    control_client_ask(node.data, json_loads(question, 0, NULL), 5000, &answer);
    return answer;
}

static void expect_error(const char *question, enum control_code code,
                         const char *text)
{
    struct control_answer answer = ask(question);

    EXPECT_FALSE(answer.ok);
    EXPECT_EQ(answer.code, code);
    if (strstr(answer.text, text) == NULL)
        EXPECT_STR(answer.text, text);
    control_client_free(&answer);
}

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(address.sun_path, node.path, strlen(node.path) + 1);
    EXPECT_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Everything the node says until it closes. */
static void expect_until_end(int fd, const char *expected)
{
    char text[4096];
    size_t used = 0;
    ssize_t got;

    while ((got = read(fd, text + used, sizeof text - used - 1)) > 0)
        used += (size_t)got;
    text[used] = '\0';
    EXPECT_STR(text, expected);
    close(fd);
}

TEST(a_question_gets_the_answer_of_its_handler)
{
    struct control_answer answer;

    start();
    EXPECT_OK(node.rc);
    answer = ask("{\"do\":\"status\"}");
    EXPECT_TRUE(answer.ok);
    EXPECT_STR(json_string_value(json_object_get(
                   json_object_get(answer.json, "status"), "hello")),
               "world");
    control_client_free(&answer);
    answer = ask("{\"do\":\"token\",\"db\":\"a/\xc3\xa4.db\"}");
    EXPECT_STR(json_string_value(json_object_get(answer.json, "token")),
               "a/\xc3\xa4.db");
    control_client_free(&answer);
    answer = ask("{\"do\":\"wait\",\"db\":\"a.db\",\"token\":\"t\"}");
    EXPECT_TRUE(answer.ok);
    EXPECT_EQ(node.timeout_ms, CONTROL_TIMEOUT_MS);
    control_client_free(&answer);
    answer = ask("{\"do\":\"wait\",\"db\":\"a.db\",\"token\":\"t\","
                 "\"timeout_ms\":7}");
    EXPECT_EQ(node.timeout_ms, 7);
    control_client_free(&answer);
    stop();
}

TEST(an_answer_may_come_later)
{
    struct control_answer answer;

    start();
    answer = ask("{\"do\":\"token\",\"db\":\"later.db\"}");
    EXPECT_STR(json_string_value(json_object_get(answer.json, "token")),
               "late");
    control_client_free(&answer);
    stop();
}

TEST(what_cannot_be_done_has_a_code_and_a_message)
{
    start();
    expect_error("{\"do\":\"token\",\"db\":\"missing.db\"}", CONTROL_NOT_FOUND,
                 "missing.db: no such database; ls");
    expect_error("{\"do\":\"wait\",\"db\":\"lost.db\",\"token\":\"x.1.2\"}",
                 CONTROL_LOST, "x.1.2: lost");
    stop();
}

TEST(a_request_that_is_not_understood_is_refused_with_a_reason)
{
    static const struct {
        const char *question, *reason;
    } wrong[] = {
        {"[]", "\"do\" must be"},
        {"{}", "\"do\" must be"},
        {"{\"do\":\"dance\"}", "\"do\" must be"},
        {"{\"do\":7}", "\"do\" must be"},
        {"{\"do\":\"token\"}", "db"},
        {"{\"do\":\"token\",\"db\":\"\"}", "db"},
        {"{\"do\":\"token\",\"db\":7}", "db"},
        {"{\"do\":\"wait\",\"db\":\"a\"}", "token"},
        {"{\"do\":\"verify\",\"db\":\"a\",\"from\":0}", "from"},
        {"{\"do\":\"verify\",\"db\":\"a\",\"from\":4294967296}", "from"},
        {"{\"do\":\"verify\",\"db\":\"a\",\"timeout_ms\":1}", "unknown member"},
        {"{\"do\":\"status\",\"db\":\"a\"}", "unknown member: db"},
        {"{\"do\":\"token\",\"db\":\"a\",\"timeout_ms\":1}", "timeout_ms"},
        {"{\"do\":\"wait\",\"db\":\"a\",\"token\":\"b\",\"timeout\":1}",
         "unknown member: timeout"},
        {"{\"do\":\"wait\",\"db\":\"a\",\"token\":\"b\",\"timeout_ms\":-1}",
         "timeout_ms"},
        {"{\"do\":\"wait\",\"db\":\"a\",\"token\":\"b\",\"timeout_ms\":1.5}",
         "timeout_ms"},
        {"{\"do\":\"wait\",\"db\":\"a\",\"token\":\"b\","
         "\"timeout_ms\":9000000000000000}",
         "timeout_ms"},
    };

    start();
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
        expect_error(wrong[i].question, CONTROL_BAD_REQUEST, wrong[i].reason);
    stop();
}

TEST(several_lines_at_once_are_answered_in_order)
{
    static const char lines[] = "{\"do\":\"token\",\"db\":\"later.db\"}\n"
                                "{\"do\":\"token\",\"db\":\"b\"}\n"
                                "{}\n"
                                "{\"do\":\"token\",\"db\":\"c\"}\n"
                                "and an end that is cut";
    int fd;

    start();
    fd = raw_connect();
    EXPECT_EQ(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
    shutdown(fd, SHUT_WR); /* only our end: the answers still come */
    expect_until_end(fd,
                     "{\"token\":\"late\",\"ok\":true}\n"
                     "{\"token\":\"b\",\"ok\":true}\n"
                     "{\"error\":\"bad_request\",\"message\":\"\\\"do\\\" must "
                     "be status, token, wait or verify\"}\n"
                     "{\"token\":\"c\",\"ok\":true}\n");
    stop();
}

TEST(a_line_without_an_end_is_refused_at_its_limit)
{
    static char line[CONTROL_LINE_MAX + 1];
    int fd;

    start();
    memset(line, ' ', sizeof line);
    fd = raw_connect();
    EXPECT_EQ(send(fd, line, sizeof line, 0), (ssize_t)sizeof line);
    expect_until_end(fd, "{\"error\":\"bad_request\",\"message\":\"a request "
                         "has at most 64 KiB in one line\"}\n");
    /* and the longest one that fits is read */
    memcpy(line, "{\"do\":\"token\",\"db\":\"b\"}", 23);
    line[CONTROL_LINE_MAX] = '\n';
    fd = raw_connect();
    EXPECT_EQ(send(fd, line, sizeof line, 0), (ssize_t)sizeof line);
    shutdown(fd, SHUT_WR);
    expect_until_end(fd, "{\"token\":\"b\",\"ok\":true}\n");
    stop();
}

TEST(a_client_that_goes_away_has_its_call_cancelled)
{
    static const char line[] = "{\"do\":\"token\",\"db\":\"never.db\"}\n";
    int fd;

    start();
    fd = raw_connect();
    EXPECT_EQ(write(fd, line, strlen(line)), (ssize_t)strlen(line));
    sem_wait(&node.was_parked);
    close(fd);
    sem_wait(&node.was_cancelled);
    stop();
}

TEST(a_node_that_stops_cancels_what_waits_and_closes_every_connection)
{
    static const char line[] = "{\"do\":\"token\",\"db\":\"never.db\"}\n";
    int waiting, idle;

    start();
    idle = raw_connect();
    waiting = raw_connect();
    EXPECT_EQ(write(waiting, line, strlen(line)), (ssize_t)strlen(line));
    sem_wait(&node.was_parked);
    stop();
    expect_until_end(waiting, "");
    expect_until_end(idle, "");
}

/* Opens count connections; false: this user may not have as many files. */
static bool raw_connect_many(int *ret_fds, size_t count)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_max < 2 * count + 64)
        return false;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        ret_fds[i] = raw_connect();
    return true;
}

/* Asks until the answer is another than "too many". */
static struct control_answer ask_until_not_busy(void)
{
    struct control_answer answer = ask("{\"do\":\"status\"}");

    while (!answer.ok && answer.code == CONTROL_BUSY) {
        control_client_free(&answer); /* the node may not have noticed yet */
        answer = ask("{\"do\":\"status\"}");
    }
    return answer;
}

TEST(one_connection_too_many_is_told_so)
{
    static int fds[CONTROL_CONNECTIONS_MAX];
    struct control_answer answer;

    start();
    if (raw_connect_many(fds, CONTROL_CONNECTIONS_MAX)) {
        expect_error("{\"do\":\"status\"}", CONTROL_BUSY,
                     "too many connections");
        close(fds[0]);
        answer = ask_until_not_busy();
        EXPECT_TRUE(answer.ok);
        control_client_free(&answer);
        for (size_t i = 1; i < CONTROL_CONNECTIONS_MAX; i++)
            close(fds[i]);
    }
    stop();
}

TEST(far_too_many_connections_wait_until_somebody_leaves)
{
    static int fds[CONTROL_CONNECTIONS_MAX + 64];
    struct control_answer answer;

    start();
    if (raw_connect_many(fds, ARRAY_LENGTH(fds))) {
        EXPECT_EQ(control_client_ask(node.data, json_object(), 20, &answer),
                  -ETIMEDOUT);
        control_client_free(&answer);
        for (size_t i = 0; i < ARRAY_LENGTH(fds); i++)
            close(fds[i]);
        answer = ask_until_not_busy();
        EXPECT_TRUE(answer.ok);
        control_client_free(&answer);
    }
    stop();
}

TEST(only_owner_and_group_may_connect)
{
    struct stat status;

    start();
    EXPECT_EQ(stat(node.path, &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0660);
    stop();
}

TEST(a_socket_that_a_dead_node_left_is_taken_over)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    start();
    stop();
    EXPECT_EQ(mkdir(node.data, 0700), 0);
    memcpy(address.sun_path, node.path, strlen(node.path) + 1);
    EXPECT_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* the file stays */
    expect_error("{\"do\":\"status\"}", CONTROL_UNAVAILABLE, "has stopped");
    sem_init(&node.ready, 0, 0);
    pthread_create(&node.thread, NULL, node_main, NULL);
    sem_wait(&node.ready);
    EXPECT_OK(node.rc);
    stop();
}

TEST(where_no_node_runs_the_message_says_how_to_start_one)
{
    struct control_answer answer;

    EXPECT_EQ(control_client_ask("/nowhere", json_object(), 100, &answer),
              -ENOENT);
    EXPECT_STR(answer.text, "no node is running on /nowhere (there is no "
                            "socket /nowhere/control.sock); start one with: "
                            "tidemark mount");
    control_client_free(&answer);
}

TEST(a_node_that_does_not_answer_costs_no_more_than_the_deadline)
{
    struct control_answer answer;

    start();
    EXPECT_EQ(control_client_ask(
                  node.data,
                  json_pack("{s:s, s:s}", "do", "token", "db", "never.db"), 20,
                  &answer),
              -ETIMEDOUT);
    EXPECT_TRUE(strstr(answer.text, "did not answer in time") != NULL);
    control_client_free(&answer);
    sem_wait(&node.was_cancelled);
    stop();
}

TEST(a_path_that_no_socket_can_have_is_refused)
{
    uv_loop_t loop;
    struct control control;
    char path[200];

    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = '\0';
    thread_register(THREAD_LOOP, "loop");
    uv_loop_init(&loop);
    EXPECT_EQ(control_open(&control, &loop, path, &node.control.handlers),
              -ENAMETOOLONG);
    uv_close((uv_handle_t *)&control.listener, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    thread_unregister();
}
