/* Preloaded into a page server: reading one snapshot stalls, as on a disk that does not answer.
 *
 * STALL_PATH: part of the paths of the files whose reads stall. STALL_FIFO: a FIFO. A read opens it
 * for reading, so whoever opens it for writing knows that the read is there, and the read goes on
 * when that end is closed. Without the FIFO in the file system no read stalls.
 * STALL_PROCESS: the name (comm) of the only processes whose reads stall; empty: of all.
 * STALL_PID_FILE: if set, reads stall only in the process whose pid that file holds; in none while
 * there is no such file. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int is_meant_process(void) {
  const char *path = getenv("STALL_PID_FILE");
  long pid = -1;
  FILE *file;
  if (path == NULL) return 1;
  file = fopen(path, "re");
  if (file == NULL) return 0;
  if (fscanf(file, "%ld", &pid) != 1) pid = -1;
  fclose(file);
  return pid == (long)getpid();
}

static int is_meant(int fd) {
  const char *path = getenv("STALL_PATH");
  const char *process = getenv("STALL_PROCESS");
  char link[64];
  char target[4096];
  if (path == NULL || !is_meant_process()) return 0;
  if (process != NULL && *process != 0) {
    /* Of the process, not of the thread. */
    char name[32] = "";
    FILE *comm = fopen("/proc/self/comm", "re");
    if (comm == NULL) return 0;
    if (fgets(name, sizeof(name), comm) == NULL) name[0] = 0;
    fclose(comm);
    name[strcspn(name, "\n")] = 0;
    if (strcmp(name, process) != 0) return 0;
  }
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, target, sizeof(target) - 1);
  if (length < 0) return 0;
  target[length] = 0;
  return strstr(target, path) != NULL;
}

static void stall(int fd) {
  const int before = errno;
  const char *fifo_path = getenv("STALL_FIFO");
  char byte;
  if (fifo_path != NULL && is_meant(fd)) {
    const int fifo = open(fifo_path, O_RDONLY | O_CLOEXEC);
    if (fifo >= 0) {
      while (read(fifo, &byte, 1) > 0) {
      }
      close(fifo);
    }
  }
  errno = before;
}

ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset) {
  static ssize_t (*real)(int, void *, size_t, off_t);
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pread");
  stall(fd);
  return real(fd, buffer, bytes, offset);
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset) {
  static ssize_t (*real)(int, void *, size_t, off64_t);
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "pread64");
  stall(fd);
  return real(fd, buffer, bytes, offset);
}
