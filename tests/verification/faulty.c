/* Fails the n-th system call that changes a file below a folder: preloaded into a process, which says when and how.

   Only calls that write, resize or flush are counted, on descriptors whose path lies below the folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long fails_at, seen;
static int failure, lasting, shortened;

/* From the n-th call on (`for_good`) or at the n-th alone: fail with `error`, or write half of what was asked (`half`),
   and fail with `error`, where that is not 0, from the next call on. n = 0 counts only. */
void fleet_fail(const char *below, long n, int error, int for_good, int half) {
    snprintf(folder, sizeof folder, "%s/", below);
    fails_at = n, failure = error, lasting = for_good, shortened = half, seen = 0;
}

long fleet_seen(void) { return seen; }

/* A process that cannot call is told by its environment: FLEET_FAIL=N:ERROR:FOR_GOOD:HALF:FOLDER. */
__attribute__((constructor)) static void told(void) {
    const char *said = getenv("FLEET_FAIL");
    long n;
    int error, for_good, half, length = 0;
    if (said && sscanf(said, "%ld:%d:%d:%d:%n", &n, &error, &for_good, &half, &length) == 4 && length)
        fleet_fail(said + length, n, error, for_good, half);
}

static int counts(int descriptor) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

enum { GO_ON, FAIL, HALF };

static int fate(int descriptor, int writes) {
    if (!counts(descriptor)) return GO_ON;
    seen++;
    if (!fails_at || seen < fails_at || (seen > fails_at && !lasting)) return GO_ON;
    if (shortened && seen == fails_at) return writes ? HALF : GO_ON;
    return failure ? FAIL : GO_ON;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITING(name, arguments, passed)                                     \
    ssize_t name arguments {                                                 \
        int said = fate(descriptor, length > 1);                             \
        if (said == FAIL) return errno = failure, -1;                        \
        if (said == HALF) length /= 2;                                       \
        return REAL(name) passed;                                            \
    }

WRITING(write, (int descriptor, const void *from, size_t length), (descriptor, from, length))
WRITING(pwrite, (int descriptor, const void *from, size_t length, off_t at), (descriptor, from, length, at))
WRITING(pwrite64, (int descriptor, const void *from, size_t length, off64_t at), (descriptor, from, length, at))

#define OTHER(name, arguments, passed)                                       \
    int name arguments {                                                     \
        if (fate(descriptor, 0) == FAIL) return errno = failure, -1;         \
        return REAL(name) passed;                                            \
    }

OTHER(fsync, (int descriptor), (descriptor))
OTHER(fdatasync, (int descriptor), (descriptor))
OTHER(ftruncate, (int descriptor, off_t length), (descriptor, length))
OTHER(ftruncate64, (int descriptor, off64_t length), (descriptor, length))
