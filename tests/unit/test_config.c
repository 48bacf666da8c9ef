/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "node/advertise.h"
#include "node/config.h"
#include "node/config_keys.h"
#include "node/quantity.h"

#define MINIMAL "mount: /m\ndata: /d\n"

static struct config_error error;

static int parse(const char *yaml, struct config *ret_config)
{
    return config_parse(yaml, strlen(yaml), "/etc/t.yml", ret_config, &error);
}

/* For tests that look at one thing and leave; freed at exit of the test. */
static struct config loaded(const char *yaml)
{
    struct config config = {0};
    int rc = parse(yaml, &config);

    if (rc < 0)
        fprintf(stderr, "%s\n", error.text);
    EXPECT_OK(rc);
    return config;
}

static void expect_error(const char *yaml, const char *expected)
{
    struct config config = {0};

    error.text[0] = '\0';
    EXPECT_EQ(parse(yaml, &config), -EINVAL);
    if (strstr(error.text, expected) == NULL)
        fprintf(stderr, "in: %s\nsays: %s\nnot: %s\n", yaml, error.text,
                expected);
    EXPECT_TRUE(strstr(error.text, expected) != NULL);
    EXPECT_TRUE(config.mount == NULL);
}

TEST(mount_and_data_alone_make_a_static_primary_on_loopback)
{
    struct config config = loaded(MINIMAL);

    EXPECT_STR(config.mount, "/m");
    EXPECT_STR(config.data, "/d");
    EXPECT_STR(config.node.advertise.host, "127.0.0.1");
    EXPECT_EQ(config.node.advertise.port, 20202);
    EXPECT_FALSE(config_needs_advertise(&config));
    EXPECT_TRUE(config_is_primary(&config));
    EXPECT_TRUE(config.node.candidate);
    EXPECT_FALSE(config.insecure);
    EXPECT_STR(config.node.region, "local");
    EXPECT_STR(config.cluster.secret, "");
    EXPECT_TRUE(config.node.id[0] != '\0');
    EXPECT_EQ(config.log.retain_bytes, UINT64_C(1) << 30);
    EXPECT_EQ(config.log.max_age_ms, UINT64_C(86400000));
    EXPECT_EQ(config.log.level, LOGGER_INFO);
    EXPECT_EQ(config.fuse.mode, CONFIG_FUSE_AUTO);
    EXPECT_EQ(config.fuse.allow_other, CONFIG_AUTO);
    EXPECT_EQ(config.fuse.uid, CONFIG_ID_NONE);
    EXPECT_TRUE(config_follows(&config, "a/b.db"));
    config_free(&config);
    config_free(&config); /* and again does no harm */
}

TEST(every_key_of_this_version_can_be_given)
{
    struct config config = loaded(
        "mount: /m\ndata: /d\ninsecure: yes\n"
        "node: { id: a1, region: fra, advertise: '10.0.0.2:20202', "
        "candidate: false }\n"
        "cluster: { name: app, secret: s }\n"
        "listen: { replication: '[::]:20202' }\n"
        "lease: { type: static, primary: 'db1:7' }\n"
        "durability: { level: local }\n"
        "replica: { writes: busy, databases: ['app.db', 'users/*'] }\n"
        "log: { retain: 64MiB, total: 2GiB, max_age: 1h30m, level: debug }\n"
        "scrub: { every: 7d, rate: 1MiB }\n"
        "fuse: { mode: classic, allow_other: true, uid: 33, gid: 0 }\n");

    EXPECT_TRUE(config.insecure);
    EXPECT_STR(config.node.id, "a1");
    EXPECT_FALSE(config.node.candidate);
    EXPECT_STR(config.cluster.name, "app");
    EXPECT_STR(config.cluster.secret, "s");
    EXPECT_STR(config.listen.replication.host, "::");
    EXPECT_STR(config.lease.primary.host, "db1");
    EXPECT_FALSE(config_is_primary(&config));
    EXPECT_EQ(config.replica.writes, CONFIG_WRITES_BUSY);
    EXPECT_FALSE(config_writes_readonly(&config));
    EXPECT_TRUE(config_follows(&config, "app.db"));
    EXPECT_TRUE(config_follows(&config, "users/7/x.db"));
    EXPECT_FALSE(config_follows(&config, "other.db"));
    EXPECT_EQ(config.log.retain_bytes, UINT64_C(64) << 20);
    EXPECT_EQ(config.log.max_age_ms, 5400000);
    EXPECT_EQ(config.log.total_bytes, UINT64_C(2) << 30);
    EXPECT_EQ(config.scrub.every_ms, UINT64_C(7) * 86400000);
    EXPECT_EQ(config.scrub.rate_bytes, 1u << 20);
    EXPECT_EQ(config.log.level, LOGGER_DEBUG);
    EXPECT_EQ(config.fuse.mode, CONFIG_FUSE_CLASSIC);
    EXPECT_EQ(config.fuse.allow_other, CONFIG_ON);
    EXPECT_EQ(config.fuse.uid, 33);
    EXPECT_EQ(config.fuse.gid, 0);
    config_free(&config);
}

TEST(an_unknown_key_names_its_line_and_the_nearest_one)
{
    expect_error(MINIMAL "mout: /x\n", "/etc/t.yml:3: mout: unknown key; did "
                                       "you mean mount?");
    expect_error(MINIMAL "node:\n  regoin: x\n", "t.yml:4: node.regoin: "
                                                 "unknown key; did you mean "
                                                 "node.region?");
    expect_error(MINIMAL "retain: 1GiB\n", "did you mean log.retain?");
    expect_error(MINIMAL "log: { level: info, secret: x }\n",
                 "did you mean cluster.secret?");
    expect_error(MINIMAL "lisen: {}\n", "did you mean listen?");
    expect_error(MINIMAL "somethingelse: 1\n", "tidemark config keys");
}

TEST(keys_of_later_versions_are_refused_never_ignored)
{
    static const char *const later[] = {
        "proxy: { listen: ':8080', target: '127.0.0.1:8081' }\n",
        "exec: [node, server.js]\n",
        "start_timeout: 60s\n",
        "http: { admin_token: x }\n",
        "listen: { http: '127.0.0.1:20203' }\n",
        "listen: { health: ':20204' }\n",
        "cluster: { tls: { ca: a, cert: b, key: c } }\n",
        "lease: { type: etcd }\n",
        "lease: { type: consul }\n",
        "lease: { etcd: { endpoints: [a], key: b, ttl: 5s } }\n",
        "lease: { consul: { url: a, key: b, ttl: 5s } }\n",
        "lease: { prefer: [fra] }\n",
        "durability: { level: 'replicas: 1' }\n",
        "durability: { level: 'regions: 2' }\n",
        "durability: { level: quorum }\n",
        "durability: { timeout: 2s }\n",
        "durability: { on_timeout: refuse }\n",
        "durability: { databases: { 'b.db': { level: local } } }\n",
        "proxy:\n",
    };
    char yaml[256];

    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
        snprintf(yaml, sizeof yaml, MINIMAL "%s", later[i]);
        expect_error(yaml, "is not available in this version");
        expect_error(yaml, "/etc/t.yml:3: ");
    }
}

TEST(plain_replication_stays_on_loopback_unless_somebody_says_insecure)
{
    struct config config;

    expect_error(MINIMAL "listen: { replication: '[::]:20202' }\n",
                 "t.yml:3: listen.replication: [::]:20202 is beyond this "
                 "machine");
    expect_error(MINIMAL "listen: { replication: ':7' }\n", "insecure: true");
    expect_error(MINIMAL "lease: { primary: 'db1:7' }\n", "lease.primary");
    expect_error(MINIMAL "node: { advertise: '10.0.0.1' }\n", "node.advertise");
    expect_error(MINIMAL "cluster: { secret: s }\n"
                         "lease: { primary: 'db1:7' }\n",
                 "insecure: true");
    config = loaded(MINIMAL "insecure: true\nlease: { primary: 'db1:7' }\n");
    config_free(&config);
    config = loaded(MINIMAL "listen: { replication: '127.0.0.2:7' }\n");
    config_free(&config);
}

TEST(a_node_is_primary_exactly_when_it_advertises_the_lease)
{
    struct config config = loaded(MINIMAL
                                  "listen: { replication: 'localhost:8' }\n"
                                  "lease: { primary: '127.0.0.1:7' }\n");

    EXPECT_FALSE(config_is_primary(&config));
    EXPECT_TRUE(config_writes_readonly(&config));
    config_free(&config);
    config = loaded(MINIMAL "node: { advertise: 'localhost:7' }\n"
                            "lease: { primary: '[0::1]:7' }\n");
    EXPECT_TRUE(config_is_primary(&config));
    config_free(&config);
}

TEST(who_listens_everywhere_must_say_where_others_find_it)
{
    struct config config;

    expect_error(MINIMAL "insecure: true\nlisten: { replication: ':7' }\n",
                 "node.advertise: must be given");
    expect_error(MINIMAL "insecure: true\nnode: { advertise: ':7' }\n",
                 "no other node can connect");
    expect_error(MINIMAL "insecure: true\nlease: { primary: '[::]:7' }\n",
                 "is every address");
    config = loaded(MINIMAL "insecure: true\nlisten: { replication: ':7' }\n"
                            "lease: { primary: 'localhost:7' }\n");
    EXPECT_TRUE(config_needs_advertise(&config));
    EXPECT_OK(advertise_find(&config, &error));
    EXPECT_TRUE(config_is_primary(&config));
    config_free(&config);
    config = loaded(MINIMAL "insecure: true\nlisten: { replication: ':8' }\n"
                            "lease: { primary: '127.0.0.1:7' }\n");
    EXPECT_OK(advertise_find(&config, &error));
    EXPECT_STR(config.node.advertise.host, "127.0.0.1");
    EXPECT_EQ(config.node.advertise.port, 8);
    EXPECT_FALSE(config_is_primary(&config));
    config_free(&config);
}

TEST(mount_and_data_are_required_and_apart)
{
    expect_error("", "mount: must be given");
    expect_error("# nothing\n", "mount: must be given");
    expect_error("mount: /m\n", "data: must be given");
    expect_error("mount: /m\ndata:\n", "t.yml:2: data: must be given");
    expect_error("mount: /m\ndata: /m/d\n", "inside each other");
    expect_error("mount: /d/m\ndata: /d/\n", "inside each other");
    expect_error("mount: /\ndata: /d\n", "root");
    expect_error("mount: /m\ndata: /0123456789012345678901234567890123456789"
                 "0123456789012345678901234567890123456789012345678901234\n",
                 "control socket");
}

TEST(relative_paths_begin_at_the_folder_of_the_file)
{
    struct config config = loaded("mount: m/\ndata: ./a//b/.\n");

    EXPECT_STR(config.mount, "/etc/m");
    EXPECT_STR(config.data, "/etc/a/b");
    config_free(&config);
}

TEST(variables_come_from_the_environment)
{
    struct config config;

    setenv("TEST_SET", "fra", 1);
    setenv("TEST_EMPTY", "", 1);
    unsetenv("TEST_UNSET");
    unsetenv("HOSTNAME"); /* a shell's own, and not always exported */
    config = loaded(MINIMAL "node: { id: 'x-${TEST_SET}-${TEST_UNSET:-y}', "
                            "region: \"${TEST_EMPTY:-mars}\" }\n"
                            "cluster: { secret: '$5{TEST_SET}' }\n"
                            "lease: { primary: '${TEST_EMPTY}' }\n");
    EXPECT_STR(config.node.id, "x-fra-y");
    EXPECT_STR(config.node.region, "mars");
    EXPECT_STR(config.cluster.secret, "$5{TEST_SET}");
    EXPECT_TRUE(config_is_primary(&config)); /* empty is not given */
    config_free(&config);
    config = loaded(MINIMAL "node: { id: '${HOSTNAME}' }\n");
    EXPECT_TRUE(config.node.id[0] != '\0');
    config_free(&config);
    expect_error(MINIMAL "node: { id: '${TEST_UNSET}' }\n",
                 "t.yml:3: node.id: the environment variable TEST_UNSET is "
                 "not set");
    expect_error(MINIMAL "node: { id: '${TEST_SET' }\n", "cannot read");
    expect_error(MINIMAL "node: { id: '${TEST_SET-x}' }\n", "cannot read");
    expect_error(MINIMAL "node: { id: '${}' }\n", "cannot read");
    expect_error(MINIMAL "node: { id: '${1A}' }\n", "cannot read");
}

TEST(values_of_the_wrong_kind_say_what_is_right)
{
    expect_error(MINIMAL "log: { retain: 1.5GiB }\n", "KiB, MiB");
    expect_error(MINIMAL "log: { retain: 1gib }\n", "KiB, MiB");
    expect_error(MINIMAL "log: { retain: 99999999TiB }\n", "too large");
    expect_error(MINIMAL "log: { retain: 4KiB }\n", "at least 1MiB");
    expect_error(MINIMAL "log: { max_age: 5 }\n", "ms, s, m, h or d");
    expect_error(MINIMAL "log: { max_age: 40000d }\n", "century");
    expect_error(MINIMAL "log: { level: loud }\n",
                 "\"loud\" is not debug, info, warn or error");
    expect_error(MINIMAL "node: { candidate: maybe }\n", "true or false");
    expect_error(MINIMAL "node: { id: 'a b' }\n", "node.id");
    expect_error(MINIMAL "node: { advertise: 'a b' }\n", "no address");
    expect_error(MINIMAL "fuse: { uid: -1 }\n", "number");
    expect_error(MINIMAL "fuse: { uid: 4294967295 }\n", "number");
    expect_error(MINIMAL "fuse: { mode: [a] }\n", "single value");
    expect_error(MINIMAL "replica: { databases: [[a]] }\n", "entry 1");
    expect_error(MINIMAL "node: x\n", "keys below it");
    expect_error(MINIMAL "node: [x]\n", "keys below it");
}

TEST(yaml_that_is_not_ours_is_refused_with_its_line)
{
    expect_error("mount: /m\ndata: [\n", "t.yml:3: not YAML");
    expect_error("- a\n- b\n", "keys and values");
    expect_error("hello\n", "keys and values");
    expect_error(MINIMAL "---\nmount: /x\n", "second document");
    expect_error(MINIMAL "mount: /x\n", "t.yml:3: mount: given twice, first "
                                        "in line 1");
    expect_error(MINIMAL "node: { id: a }\nnode: { id: b }\n", "given twice");
    expect_error(MINIMAL "node.id: a\n", "has a dot");
    expect_error(MINIMAL "? [a, b]\n: c\n", "a key must be a word");
    expect_error("mount: \"a\\0b\"\ndata: /d\n", "single value");
    expect_error("mount: \xff\xfe\xfd\n", "UTF-8");
    expect_error("a: &a\n  b: *a\n" MINIMAL, "unknown key");
    expect_error("node: &a\n  node: *a\n" MINIMAL, "node.node: unknown key");
}

TEST(null_is_as_if_the_key_were_not_there)
{
    struct config config = loaded(MINIMAL "node:\nfuse: { uid: null, gid: ~ }\n"
                                          "log: { retain: }\n");

    EXPECT_EQ(config.fuse.uid, CONFIG_ID_NONE);
    EXPECT_EQ(config.log.retain_bytes, UINT64_C(1) << 30);
    config_free(&config);
}

TEST(an_empty_list_of_databases_follows_none)
{
    struct config config = loaded(MINIMAL "replica: { databases: [] }\n");

    EXPECT_FALSE(config_follows(&config, "app.db"));
    config_free(&config);
    config = loaded(MINIMAL "replica: { databases: app.db }\n");
    EXPECT_TRUE(config_follows(&config, "app.db"));
    config_free(&config);
}

TEST(a_file_that_cannot_be_read_says_so)
{
    struct config config = {0};

    EXPECT_EQ(config_load("/nowhere/tidemark.yml", &config, &error), -ENOENT);
    EXPECT_TRUE(strstr(error.text, "/nowhere/tidemark.yml: cannot be read: No "
                                   "such file") != NULL);
    EXPECT_EQ(config_load("/tmp", &config, &error), -EISDIR);
}

TEST(every_row_of_the_table_can_be_reached_and_has_a_help)
{
    for (size_t i = 0; i < config_keys_count; i++) {
        const struct config_key *key = &config_keys[i];

        EXPECT_TRUE(config_keys_find(key->path) == key);
        EXPECT_FALSE(config_keys_is_section(key->path));
        EXPECT_TRUE(strlen(key->path) < CONFIG_PATH_BYTES);
        EXPECT_EQ(key->help[strlen(key->help) - 1], '.');
    }
}

/* The whole file; the caller frees it. NULL: there is none. */
static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t size = 0;

    if (file == NULL)
        return NULL;
    if (getdelim(&text, &size, '\0', file) < 0)
        text[0] = '\0';
    fclose(file);
    return text;
}

TEST(the_manual_page_lists_the_keys_as_the_table_has_them)
{
    char *page = read_whole("docs/man/tidemark.yml.5"), *list = NULL;
    size_t size;
    FILE *to = open_memstream(&list, &size);

    EXPECT_TRUE(page != NULL);
    config_keys_print_mdoc(to);
    fclose(to);
    if (strstr(page, list) == NULL)
        fprintf(stderr, "put this in: tidemark config keys --mdoc\n");
    EXPECT_TRUE(strstr(page, list) != NULL);
    free(page);
    free(list);
}

TEST(sizes_and_durations_are_read_exactly)
{
    uint64_t value = 7;

    EXPECT_OK(quantity_parse_size("0", &value));
    EXPECT_EQ(value, 0);
    EXPECT_OK(quantity_parse_size("5MB", &value));
    EXPECT_EQ(value, 5000000);
    EXPECT_EQ(quantity_parse_size("16777216TiB", &value), -ERANGE);
    EXPECT_EQ(quantity_parse_size("99999999999999999999", &value), -ERANGE);
    EXPECT_EQ(quantity_parse_size("1GiBs", &value), -EINVAL);
    EXPECT_EQ(quantity_parse_size("", &value), -EINVAL);
    EXPECT_EQ(quantity_parse_size("-1", &value), -EINVAL);
    EXPECT_OK(quantity_parse_duration("1d2h3m4s5ms", &value));
    EXPECT_EQ(value, 93784005);
    EXPECT_EQ(quantity_parse_duration("5", &value), -EINVAL);
    EXPECT_EQ(quantity_parse_duration("5s ", &value), -EINVAL);
    EXPECT_EQ(quantity_parse_duration("", &value), -EINVAL);
    EXPECT_EQ(value, 93784005);
}
