/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/harness.h"

#include "base/address.h"

static struct address address(const char *text)
{
    struct address parsed = {0};

    EXPECT_OK(address_parse(text, 20202, &parsed));
    return parsed;
}

static void expect_round_trip(const char *text, const char *expected)
{
    struct address parsed = address(text), again;
    char formatted[ADDRESS_TEXT_BYTES];

    address_format(&parsed, formatted);
    EXPECT_STR(formatted, expected);
    EXPECT_OK(address_parse(formatted, 0, &again));
    EXPECT_TRUE(address_is_equal(&parsed, &again));
}

TEST(names_ipv4_and_ipv6_are_addresses)
{
    expect_round_trip("db1:7", "db1:7");
    expect_round_trip("DB1.Example.ORG:7", "db1.example.org:7");
    expect_round_trip("10.0.0.1:65535", "10.0.0.1:65535");
    expect_round_trip("[::1]:7", "[::1]:7");
    expect_round_trip("[2001:DB8:0:0::1]:7", "[2001:db8::1]:7");
    expect_round_trip("[fe80::1%eth0]:7", "[fe80::1%eth0]:7");
    expect_round_trip(":7", ":7");
}

TEST(the_default_port_stands_in_for_a_missing_one)
{
    struct address none;

    expect_round_trip("db1", "db1:20202");
    expect_round_trip("::1", "[::1]:20202");
    expect_round_trip("[::1]", "[::1]:20202");
    EXPECT_EQ(address_parse("db1", 0, &none), -EINVAL);
}

TEST(what_is_no_address_is_refused_and_leaves_the_old_value)
{
    static const char *const wrong[] = {
        "",       ":",          "db1:",      "db1:0",        "db1:65536",
        "db1:7x", "db1:-7",     "db 1:7",    "[::1",         "[]:7",
        "[::1]7", "[::1]:",     "1::2::3:7", "10.1:7",       "10.0.0.256:7",
        "a..b:7", ".a:7",       "[db1]:7",   "-a:7",         "http://db1:7",
        "20202",  "db1:000007", "db1: 7",    "[fe80::1%]:7",
    };
    struct address kept = address("db1:7");

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (address_parse(wrong[i], 20202, &kept) != -EINVAL)
            fprintf(stderr, "accepted: %s\n", wrong[i]);
        EXPECT_EQ(address_parse(wrong[i], 20202, &kept), -EINVAL);
    }
    EXPECT_STR(kept.host, "db1");
}

TEST(a_name_as_long_as_dns_allows_fits_and_a_longer_one_is_refused)
{
    char text[300];
    struct address parsed;

    memset(text, 'a', sizeof text);
    text[253] = '\0';
    EXPECT_OK(address_parse(text, 7, &parsed));
    text[253] = 'a';
    text[254] = '\0';
    EXPECT_EQ(address_parse(text, 7, &parsed), -EINVAL);
}

static bool is_loopback(const char *text)
{
    struct address parsed = address(text);

    return address_is_loopback(&parsed);
}

TEST(only_what_can_never_leave_the_machine_is_loopback)
{
    EXPECT_TRUE(is_loopback("127.0.0.1:7"));
    EXPECT_TRUE(is_loopback("127.9.9.9:7"));
    EXPECT_TRUE(is_loopback("[::1]:7"));
    EXPECT_TRUE(is_loopback("LocalHost:7"));
    EXPECT_FALSE(is_loopback(":7"));
    EXPECT_FALSE(is_loopback("0.0.0.0:7"));
    EXPECT_FALSE(is_loopback("[::]:7"));
    EXPECT_FALSE(is_loopback("128.0.0.1:7"));
    EXPECT_FALSE(is_loopback("localhost.example.org:7"));
    EXPECT_FALSE(is_loopback("127.example.org:7"));
}

static bool is_same(const char *left, const char *right)
{
    struct address a = address(left), b = address(right);

    return address_is_same(&a, &b);
}

TEST(the_names_of_this_machine_are_the_same_address)
{
    EXPECT_TRUE(is_same("localhost:7", "127.0.0.1:7"));
    EXPECT_TRUE(is_same("[::1]:7", "127.0.0.1:7"));
    EXPECT_TRUE(is_same("db1:7", "DB1:7"));
    EXPECT_FALSE(is_same("localhost:7", "127.0.0.1:8"));
    EXPECT_FALSE(is_same("127.0.0.2:7", "127.0.0.1:7"));
    EXPECT_FALSE(is_same("db1:7", "db2:7"));
}

TEST(every_address_of_the_machine_has_three_spellings)
{
    struct address none = address(":7"), four = address("0.0.0.0:7"),
                   six = address("[0:0::0]:7"), one = address("db1:7");

    EXPECT_TRUE(address_is_any(&none));
    EXPECT_TRUE(address_is_any(&four));
    EXPECT_TRUE(address_is_any(&six));
    EXPECT_FALSE(address_is_any(&one));
}
