/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/replay.c - main for a fuzz target built without libFuzzer.
 *
 * Feeds it every file of tests/fuzz/corpus/TARGET and tests/fuzz/crash/TARGET,
 * each of them also cut short at a few places, and some inputs of its own, so
 * that a target without a corpus still runs. A decoder that breaks ends the
 * process, which is the failure; arguments name files to feed instead.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX_BYTES (1u << 20)

static size_t replay_count;

/* In its own allocation, so that a read past the end is seen by ASan. */
static void replay_bytes(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + (size == 0));

    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    replay_count++;
}

static void replay_file(const char *path)
{
    static uint8_t data[INPUT_MAX_BYTES];
    FILE *file = fopen(path, "rb");
    size_t size;

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size = fread(data, 1, sizeof(data), file);
    fclose(file);
    printf("%s\n", path);
    fflush(stdout); /* the last name printed is the one that broke it */
    replay_bytes(data, size);
    for (size_t cut = 1; cut < 64 && cut < size; cut = cut * 2 + 1) {
        replay_bytes(data, cut);
        replay_bytes(data, size - cut);
    }
}

static void replay_folder(const char *kind, const char *target)
{
    char path[4096];
    struct dirent *entry;
    DIR *folder;

    snprintf(path, sizeof(path), "tests/fuzz/%s/%s", kind, target);
    folder = opendir(path);
    if (folder == NULL)
        return; /* nothing collected yet */
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "tests/fuzz/%s/%s/%s", kind, target,
                 entry->d_name);
        replay_file(path);
    }
    closedir(folder);
}

static void replay_simple(void)
{
    uint8_t data[512];

    for (size_t size = 0; size <= sizeof(data); size = size * 2 + 1) {
        memset(data, 0, sizeof(data));
        replay_bytes(data, size);
        memset(data, 0xff, sizeof(data));
        replay_bytes(data, size);
        memset(data, 'a', sizeof(data));
        replay_bytes(data, size);
    }
}

/* The program is .../fuzz_TARGET. */
static const char *replay_target(const char *program)
{
    const char *slash = strrchr(program, '/');
    const char *name = slash != NULL ? slash + 1 : program;

    return strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            replay_file(argv[i]);
    } else {
        replay_simple();
        replay_folder("corpus", replay_target(argv[0]));
        replay_folder("crash", replay_target(argv[0]));
    }
    printf("%zu passed, 0 failed\n", replay_count);
    return 0;
}
