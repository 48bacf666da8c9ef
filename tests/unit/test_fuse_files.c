/* SPDX-License-Identifier: Apache-2.0 */
/* A mount behaves as users expect of a file system. */
#include "tests/unit/fuse_stage.h"

#include <sys/statvfs.h>

IN_BOTH_MODES(files_behave_as_files_do, NULL)
{
    EXPECT_SH("echo one >f; echo two >>f; test $(wc -c <f) = 8; "
              "test $(stat -c %%s f) = 8; cmp f $F/f; "
              "test $(stat -c %%i f) = $(stat -c %%i $F/f)");
    EXPECT_SH(
        ": >f; test $(stat -c %%s f) = 0; truncate -s 10000 f; "
        "test $(stat -c %%s f) = 10000; test $(stat -c %%s $F/f) = 10000");
    EXPECT_SH("dd if=/dev/urandom of=big bs=1M count=5 2>/dev/null; cmp big "
              "$F/big; cp big copy; cmp big copy; dd if=big of=copy bs=7777 "
              "2>/dev/null; cmp big copy");
    EXPECT_SH("fallocate -l 1M g; test $(stat -c %%s g) = 1048576; "
              "cp --sparse=always g h; cmp g h");
    EXPECT_SH("chmod 640 f; touch -d @1000000000 f; test \"$(stat -c "
              "\"%%a %%Y\" f)\" = \"640 1000000000\"; test \"$(stat -c "
              "\"%%a %%Y\" $F/f)\" = \"640 1000000000\"");
}

IN_BOTH_MODES(an_unlinked_file_lives_while_it_is_open, NULL)
{
    EXPECT_SH("echo hello >f; exec 3<f; rm f; test ! -e f; test \"$(cat <&3)\" "
              "= hello; echo new >f; test \"$(cat f)\" = new");
    EXPECT_SH("echo a >a; echo b >b; exec 3<b; mv a b; test ! -e a; test "
              "\"$(cat b)\" = a; test \"$(cat <&3)\" = b");
    EXPECT_SH("exec 3<>x; rm x; echo later >&3; test $(stat -L -c %%s "
              "/dev/fd/3) = 6; chmod 600 /dev/fd/3; test $(stat -L -c %%h "
              "/dev/fd/3) = 0");
}

IN_BOTH_MODES(directories_nest_move_and_list, NULL)
{
    EXPECT_SH(
        "mkdir -p a/b/c; echo x >a/b/c/f; mv a/b z; test \"$(cat "
        "z/c/f)\" = x; echo y >>z/c/f; test \"$(cat $F/z/c/f | tr -d "
        "\"\\n\")\" = xy; no rmdir z 2>/dev/null; rm z/c/f; rmdir z/c z a; "
        "test -z \"$(ls -A)\"");
    EXPECT_SH("for i in $(seq 500); do : >file$i; done; test $(ls | wc -l) = "
              "500; test $(ls -l | tail -n +2 | wc -l) = 500; rm file*; test "
              "-z \"$(ls -A)\"");
    EXPECT_SH("mkdir d; sqlite3 d/x.db \"create table t(a)\"; exec 3<d; rm -r "
              "d; test ! -e d");
}

IN_BOTH_MODES(what_a_database_must_not_have_is_refused, NULL)
{
    EXPECT_SH("echo x >f; no ln -s f s 2>$F/../err; grep -q \"not permitted\" "
              "$F/../err; no ln f h 2>$F/../err; grep -q \"not permitted\" "
              "$F/../err; no mkfifo p 2>/dev/null; test $(ls | wc -l) = 1");
    EXPECT_SH("ln -s /etc/passwd $F/s; mkfifo $F/p; test ! -e s; test ! -e p; "
              "test \"$(ls -A)\" = f; rm $F/s $F/p");
}

IN_BOTH_MODES(the_file_system_tells_its_space, NULL)
{
    struct statvfs mine, data;
    char path[96];

    snprintf(path, sizeof path, "%s/mnt", now.dir);
    EXPECT_OK(statvfs(path, &mine));
    EXPECT_OK(fstatvfs(now.files_fd, &data));
    EXPECT_EQ(mine.f_blocks, data.f_blocks);
    EXPECT_EQ(mine.f_namemax, data.f_namemax);
}

IN_BOTH_MODES(files_belong_to_who_makes_them, NULL)
{
    EXPECT_SH("chmod 1777 .; setpriv --reuid 65534 --regid 65534 "
              "--clear-groups sh -ec \"umask 027; sqlite3 n.db \\\"pragma "
              "journal_mode=wal; create table t(a); insert into t values(1)\\\""
              " >/dev/null; mkdir dir; echo x >dir/f\"; test \"$(stat -c "
              "\"%%u %%g %%a\" n.db)\" = \"65534 65534 640\"; test \"$(stat -c "
              "\"%%u %%g %%a\" $F/dir)\" = \"65534 65534 750\"");
    EXPECT_SH("echo secret >mine; chmod 600 mine; no setpriv --reuid 65534 "
              "--regid 65534 --clear-groups cat mine 2>/dev/null; no setpriv "
              "--reuid 65534 --regid 65534 --clear-groups rm -f mine "
              "2>/dev/null; test -e mine");
    EXPECT_SH("mkdir sg; chgrp 1234 sg; chmod 2777 sg; setpriv --reuid 65534 "
              "--regid 65534 --clear-groups sh -ec \"echo x >sg/f; mkdir "
              "sg/d\"; test $(stat -c %%g sg/f) = 1234; test \"$(stat -c "
              "\"%%g %%A\" sg/d)\" = \"1234 drwxr-sr-x\"");
}

IN_BOTH_MODES(the_engine_hears_of_owner_and_mode, NULL)
{
    EXPECT_SH("sqlite3 o.db \"create table t(a)\"; chown 1001:1002 o.db; chmod "
              "604 o.db; echo x >plain; chmod 600 plain");
    EXPECT_EQ(atomic_load(&now.catalog.owners), 2);
}

static void write_behind(const char *name, const char *text)
{
    int fd = openat(now.files_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    EXPECT_OK(fd);
    EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* A name that was not there is asked for again, and opening finds out about a
 * file that was replaced: so the engine puts new databases in place. */
IN_BOTH_MODES(what_is_put_in_place_behind_the_mount_shows, NULL)
{
    EXPECT_SH("mkdir d; test ! -e d/f");
    write_behind("d/f", "new\n");
    EXPECT_SH("test \"$(cat d/f)\" = new");
    write_behind("d/other", "replaced\n");
    EXPECT_OK(renameat(now.files_fd, "d/other", now.files_fd, "d/f"));
    EXPECT_SH("test \"$(cat d/f)\" = replaced");
}

/* Makes, moves, opens and removes at once: the names must stay whole. */
IN_BOTH_MODES(names_stay_whole_when_many_change_them, NULL)
{
    EXPECT_SH(
        "mkdir a b; exec 2>/dev/null; for w in 1 2 3 4; do (set +e; i=0; "
        "while test $i -lt 100; do echo $w >a/f$w; mv a/f$w b/g$w; cat "
        "b/g$w; mv b/g$w a/shared; cat a/shared; rm -f a/shared; ls -l a "
        "b; i=$((i+1)); done) >/dev/null & done; (set +e; i=0; while test "
        "$i -lt 100; do mv -T b c && mv -T c b; i=$((i+1)); done) & wait; "
        "rm -f a/* b/*; rmdir a b; test -z \"$(ls -A)\"; test -z \"$(ls "
        "-A $F)\"");
}

TEST(a_configured_owner_is_shown_and_given)
{
    struct mount_config config = {
        .catalog = &now.catalog,
        .mode = MOUNT_CLASSIC,
        .allow_other = true,
        .uid = 4321,
        .gid = 8765,
    };
    char error[MOUNT_ERROR_BYTES];

    if (!can_mount())
        return;
    stage_set();
    config.mount_path = mount_path();
    config.files_fd = now.files_fd;
    write_behind("before", "x");
    EXPECT_OK(mount_open(&now.mount, &config, error));
    EXPECT_OK(mount_start(now.mount));
    EXPECT_SH("touch f; mkdir d; test \"$(stat -c \"%%u %%g\" f)\" = \"4321 "
              "8765\"; test \"$(stat -c \"%%u %%g\" $F/f $F/d)\" = \"4321 8765"
              "\n4321 8765\"; test $(stat -c %%u before) = 4321; no chown 7 f "
              "2>/dev/null; chown 4321:8765 f; sqlite3 x.db \"pragma "
              "journal_mode=wal; create table t(a)\" >/dev/null");
    stage_close();
}
