/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that are answered later, or refused. */
#include "tests/unit/fuse_stage.h"

IN_BOTH_MODES(a_parked_fsync_keeps_only_its_own_program_waiting, NULL)
{
    EXPECT_SH("sqlite3 p.db \"pragma journal_mode=wal; create table t(a)\" "
              ">/dev/null; chmod 666 p.db; chmod 1777 .; echo hello >other");
    atomic_store(&now.catalog.hold, true);
    atomic_store(&now.catalog.park_fsync, true);
    EXPECT_SH("(sqlite3 p.db \"pragma synchronous=full; insert into t "
              "values(1)\"; echo $? >$F/../done) >/dev/null 2>&1 & sleep 0.3");
    EXPECT_SH("test ! -e $F/../done; test \"$(cat other)\" = hello; "
              "echo x >another; mkdir folder; mv another folder/; "
              "sync -d other");
    /* Not as root: its SQLite would chown the WAL, which the kernel keeps
     * locked for the time of an FSYNC. */
    EXPECT_SH("test $(setpriv --reuid 65534 --clear-groups sqlite3 p.db "
              "\"select count(*) from t\") = 0");
    atomic_store(&now.catalog.hold, false);
    EXPECT_SH("for i in 1 2 3 4 5 6 7 8 9 0; do test -e $F/../done && break; "
              "sleep 0.1; done; test $(cat $F/../done) = 0");
    atomic_store(&now.catalog.park_fsync, false);
    EXPECT_SH("test $(sqlite3 p.db \"select count(*) from t\") = 1");
}

IN_BOTH_MODES(parked_opens_do_not_hold_up_the_directory, NULL)
{
    EXPECT_SH("sqlite3 p.db \"create table t(a)\"; echo x >plain");
    atomic_store(&now.catalog.park_open, true);
    atomic_store(&now.catalog.hold, true);
    EXPECT_SH("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 "
              "22 23 24 25 26 27 28 29 30; do (cat p.db >/dev/null; echo "
              ">$F/../done$i) & done; sleep 0.2; test ! -e $F/../done1; echo y "
              ">created; cat plain >/dev/null; ls -l >/dev/null; mv created "
              "gone; rm gone");
    atomic_store(&now.catalog.hold, false);
    EXPECT_SH("i=0; while test $(ls $F/.. | grep -c done) -lt 30; do sleep "
              "0.1; i=$((i+1)); test $i -lt 50; done");
    atomic_store(&now.catalog.park_open, false);
}

IN_BOTH_MODES(an_open_answered_before_it_is_parked_opens, NULL)
{
    EXPECT_SH("sqlite3 p.db \"create table t(a)\"");
    atomic_store(&now.catalog.park_open, true);
    atomic_store(&now.catalog.early, true);
    EXPECT_SH("for i in 1 2 3 4 5 6 7 8 9; do sqlite3 p.db \"insert into t "
              "values(1)\"; done; test $(sqlite3 p.db \"select count(*) from "
              "t\") = 9");
}

IN_BOTH_MODES(a_refusal_reaches_the_program, NULL)
{
    EXPECT_SH("sqlite3 r.db \"create table t(a)\"; echo x >plain");
    atomic_store(&now.catalog.refuse_open, -EBUSY);
    EXPECT_SH("no cat plain 2>$F/../err; grep -q busy $F/../err");
    atomic_store(&now.catalog.refuse_open, 0);
    atomic_store(&now.catalog.refuse_create, -EROFS);
    EXPECT_SH(
        "no touch fresh 2>$F/../err; grep -q Read-only $F/../err; test ! -e "
        "fresh");
    atomic_store(&now.catalog.refuse_create, 0);
    atomic_store(&now.catalog.refuse_unlink, -EROFS);
    EXPECT_SH("no rm plain 2>/dev/null; test -e plain");
    atomic_store(&now.catalog.refuse_unlink, 0);
    atomic_store(&now.catalog.refuse_rename, -EBUSY);
    EXPECT_SH("no mv plain moved 2>/dev/null; test -e plain; test ! -e moved");
    atomic_store(&now.catalog.refuse_rename, 0);
    atomic_store(&now.catalog.refuse_fsync, -EIO);
    EXPECT_SH(
        "no sqlite3 r.db \"insert into t values(1)\" 2>$F/../err; grep -qi "
        "\"disk I/O error\" $F/../err");
    atomic_store(&now.catalog.refuse_fsync, 0);
    EXPECT_SH("test $(sqlite3 r.db \"select count(*) from t\") = 0");
}
