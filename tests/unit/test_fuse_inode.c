/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of names, the commit operation and mountinfo, without a mount. */
#include "tests/harness.h"

#include "fuse/backing.h"
#include "fuse/commit.h"
#include "fuse/inode.h"
#include "fuse/mountpoint.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct inode_table table;
static char dir[64];
static int dir_fd;

static void tree_open(void)
{
    strcpy(dir, "/tmp/tidemark-inode-XXXXXX");
    EXPECT_TRUE(mkdtemp(dir) != NULL);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    EXPECT_OK(dir_fd);
    EXPECT_OK(inode_table_open(&table, dir_fd));
}

static void tree_close(void)
{
    char command[96];

    inode_table_close(&table);
    close(dir_fd);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    EXPECT_EQ(system(command), 0);
}

static void make_file(const char *path)
{
    int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    EXPECT_OK(fd);
    close(fd);
}

static struct inode *look_up(struct inode *parent, const char *name)
{
    struct inode_identity identity;
    struct inode *inode = NULL;
    struct stat status;

    EXPECT_OK(fstatat(parent->directory.fd, name, &status, 0));
    EXPECT_OK(inode_identify(&status, &identity));
    EXPECT_OK(inode_enter(&table, parent, name, &identity, &inode));
    return inode;
}

static const char *path_of(struct inode *inode)
{
    static char path[1024];

    EXPECT_OK(inode_path(&table, inode, path, sizeof path));
    return path;
}

TEST(a_name_has_one_inode_until_the_kernel_forgets_it)
{
    struct inode *first;

    tree_open();
    make_file("f");
    first = look_up(&table.root, "f");
    EXPECT_EQ(look_up(&table.root, "f"), first);
    EXPECT_EQ(table.count, 1);
    inode_unref(&table, first, 1);
    EXPECT_EQ(table.count, 1);
    inode_unref(&table, first, 1);
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_directory_stays_as_long_as_what_is_in_it)
{
    struct inode *folder, *file;

    tree_open();
    EXPECT_OK(mkdirat(dir_fd, "d", 0755));
    make_file("d/f");
    folder = look_up(&table.root, "d");
    file = look_up(folder, "f");
    inode_unref(&table, folder, 1);
    EXPECT_STR(path_of(file), "d/f");
    inode_unref(&table, file, 1);
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_rename_moves_a_directory_with_all_in_it)
{
    struct inode *a, *b, *file;

    tree_open();
    EXPECT_OK(mkdirat(dir_fd, "a", 0755));
    EXPECT_OK(mkdirat(dir_fd, "b", 0755));
    make_file("a/f");
    a = look_up(&table.root, "a");
    b = look_up(&table.root, "b");
    file = look_up(a, "f");
    EXPECT_OK(renameat(dir_fd, "a", dir_fd, "b/c"));
    inode_renamed(&table, &table.root, "a", b, "c");
    EXPECT_STR(path_of(file), "b/c/f");
    EXPECT_OK(backing_use(&table, file, true));
    backing_leave(file);
    inode_unref(&table, file, 1);
    inode_unref(&table, a, 1);
    inode_unref(&table, b, 1);
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_file_renamed_over_lives_on_without_a_name)
{
    struct inode *from, *to, *found, *parent = NULL;
    struct stat status;

    tree_open();
    make_file("from");
    make_file("to");
    from = look_up(&table.root, "from");
    to = look_up(&table.root, "to");
    EXPECT_OK(backing_use(&table, to, false));
    EXPECT_OK(renameat(dir_fd, "from", dir_fd, "to"));
    inode_renamed(&table, &table.root, "from", &table.root, "to");
    EXPECT_FALSE(inode_is_linked(&table, to));
    EXPECT_STR(path_of(to), "to");
    EXPECT_OK(backing_stat(&table, to, &status));
    EXPECT_EQ(status.st_nlink, 0);
    found = inode_find(&table, "to", &parent);
    EXPECT_EQ(found, from);
    inode_unref(&table, found, 2);
    inode_unref(&table, parent, 1);
    backing_leave(to);
    EXPECT_EQ(backing_use(&table, to, false), -ESTALE);
    inode_unref(&table, to, 1);
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_file_replaced_behind_the_mount_is_stale_until_looked_up)
{
    struct inode *old, *new;
    struct stat status;

    tree_open();
    make_file("f");
    make_file("other");
    old = look_up(&table.root, "f");
    EXPECT_OK(renameat(dir_fd, "other", dir_fd, "f"));
    EXPECT_EQ(backing_stat(&table, old, &status), -ESTALE);
    EXPECT_EQ(backing_use(&table, old, false), -ESTALE);
    new = look_up(&table.root, "f");
    EXPECT_NE(new, old);
    EXPECT_OK(backing_use(&table, new, true));
    backing_leave(new);
    inode_unref(&table, new, 1);
    inode_unref(&table, old, 1);
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_symbolic_link_is_never_followed)
{
    struct inode_identity identity;
    struct inode *inode;
    struct stat status;

    tree_open();
    make_file("f");
    inode = look_up(&table.root, "f");
    EXPECT_OK(unlinkat(dir_fd, "f", 0));
    EXPECT_OK(symlinkat("/etc/passwd", dir_fd, "f"));
    EXPECT_OK(fstatat(dir_fd, "f", &status, AT_SYMLINK_NOFOLLOW));
    EXPECT_EQ(inode_identify(&status, &identity), -EPERM);
    EXPECT_EQ(backing_use(&table, inode, false), -ESTALE);
    inode_unref(&table, inode, 1);
    tree_close();
}

TEST(thousands_of_names_are_all_found)
{
    char name[32];

    tree_open();
    for (unsigned i = 0; i < 3000; i++) {
        const struct inode_identity identity = {
            .type = INODE_VIRTUAL,
            .virtual = i + 1,
        };
        struct inode *inode = NULL;

        snprintf(name, sizeof name, "name%u", i);
        EXPECT_OK(inode_enter(&table, &table.root, name, &identity, &inode));
    }
    for (unsigned i = 0; i < 3000; i++) {
        struct inode *parent = NULL, *inode;

        snprintf(name, sizeof name, "name%u", i);
        inode = inode_find(&table, name, &parent);
        EXPECT_TRUE(inode != NULL);
        EXPECT_EQ(inode->identity.virtual, i + 1);
        inode_unref(&table, parent, 1);
        inode_unref(&table, inode, 2);
    }
    EXPECT_EQ(table.count, 0);
    tree_close();
}

TEST(a_path_too_long_for_the_engine_is_an_error)
{
    char path[16];

    tree_open();
    EXPECT_OK(inode_path_of(&table, &table.root, "12345678901234", path,
                            sizeof path));
    EXPECT_STR(path, "12345678901234");
    EXPECT_EQ(inode_path_of(&table, &table.root, "123456789012345", path,
                            sizeof path),
              -ENAMETOOLONG);
    EXPECT_OK(inode_path(&table, &table.root, path, sizeof path));
    EXPECT_STR(path, "");
    tree_close();
}

/* ---- commit operations --------------------------------------------------- */

TEST(only_28_zero_bytes_at_the_start_zero_a_journal)
{
    char bytes[512] = {0};

    EXPECT_TRUE(commit_is_zeroing(bytes, 28, 0));
    EXPECT_TRUE(commit_is_zeroing(bytes, 512, 0));
    EXPECT_FALSE(commit_is_zeroing(bytes, 27, 0));
    EXPECT_FALSE(commit_is_zeroing(bytes, 28, 28));
    bytes[22] = 2; /* a fresh header: the magic comes later, this does not */
    EXPECT_FALSE(commit_is_zeroing(bytes, 512, 0));
}

/* ---- mountinfo ----------------------------------------------------------- */

TEST(the_last_mount_on_a_path_is_the_one_that_counts)
{
    static const char text[] =
        "22 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
        "40 22 0:33 / /data rw shared:7 master:2 - fuse.tidemark tidemark rw\n"
        "41 22 0:34 / /with\\040space rw - fuse.tidemark tidemark rw\n"
        "42 40 0:35 / /data rw - tmpfs tmpfs rw\n"
        "a broken line\n";
    char type[64];

    EXPECT_TRUE(mountpoint_find(text, "/data", type, sizeof type));
    EXPECT_STR(type, "tmpfs");
    EXPECT_TRUE(mountpoint_find(text, "/with space", type, sizeof type));
    EXPECT_STR(type, "fuse.tidemark");
    EXPECT_FALSE(mountpoint_find(text, "/data/below", type, sizeof type));
    EXPECT_FALSE(mountpoint_find("", "/", type, sizeof type));
}
