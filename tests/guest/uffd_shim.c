// Preloaded into QEMU, this makes its guest's memory one that a page server fills, as Firecracker's
// is after a load with a Uffd backend.
//
// QEMU maps the RAM of a memory-backend-ram by a fixed anonymous mapping inside of a reservation.
// The first such mapping of the RAM's size is made private, as Firecracker's is, also where QEMU
// was told to share it (so that it leaves the RAM out of the state that it saves), and registered
// with a userfaultfd (missing pages, REMOVE events), and the descriptor is sent to the server's
// socket together with the regions as JSON. The descriptor and the socket stay open until QEMU
// ends.
//
// Environment:
//   LAMINA_UFFD_SOCKET     where the page server listens
//   LAMINA_UFFD_RAM_BYTES  size of the RAM; no other mapping of QEMU may have it
//
// What fails ends QEMU with exit code 9: a guest that went on would run on zeros.
//
// Rejected: registering a mapping of a file. Userfaultfd does not serve private file mappings, so
// the RAM must be anonymous from the start.

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { kExitBroken = 9, kPageBytes = 4096 };

static void die(const char* what) {
  fprintf(stderr, "uffd_shim: %s: %s\n", what, strerror(errno));
  _exit(kExitBroken);
}

static int register_memory(void* memory, size_t size_bytes) {
  const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) die("userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
  if (ioctl(fd, UFFDIO_API, &api) != 0) die("UFFDIO_API");
  struct uffdio_register registration = {.range = {(uintptr_t)memory, size_bytes},
                                         .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (ioctl(fd, UFFDIO_REGISTER, &registration) != 0) die("UFFDIO_REGISTER");
  return fd;
}

static int connect_to_server(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    die("LAMINA_UFFD_SOCKET");
  }
  strcpy(address.sun_path, path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&address, sizeof(address)) != 0) die(path);
  return fd;
}

static void send_handshake(int socket, int descriptor, void* memory, size_t size_bytes) {
  char json[256];
  const int length = snprintf(json, sizeof(json),
                              "[{\"base_host_virt_addr\":%ju,\"size\":%zu,\"offset\":0,"
                              "\"page_size\":%d,\"page_size_kib\":%d}]",
                              (uintmax_t)(uintptr_t)memory, size_bytes, kPageBytes, kPageBytes);
  struct iovec vector = {json, (size_t)length};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct msghdr message = {.msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof(control.bytes)};
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != length) die("sendmsg");
}

static int is_guest_memory(size_t size_bytes, int protection, int flags) {
  const char* wanted = getenv("LAMINA_UFFD_RAM_BYTES");
  const int needed = MAP_ANONYMOUS | MAP_FIXED;
  return wanted != NULL && size_bytes == strtoull(wanted, NULL, 10) && (protection & PROT_WRITE) &&
         (flags & needed) == needed;
}

typedef void* (*MmapFunction)(void*, size_t, int, int, int, off_t);

void* mmap(void* address, size_t size_bytes, int protection, int flags, int fd, off_t offset) {
  static MmapFunction real_mmap;
  static int served;
  // Two steps: ISO C has no conversion from an object pointer to a function pointer.
  if (real_mmap == NULL) {
    void* symbol = dlsym(RTLD_NEXT, "mmap");
    memcpy(&real_mmap, &symbol, sizeof(real_mmap));
  }
  if (served || !is_guest_memory(size_bytes, protection, flags)) {
    return real_mmap(address, size_bytes, protection, flags, fd, offset);
  }
  served = 1;
  const int private_flags = (flags & ~(MAP_SHARED | MAP_SHARED_VALIDATE)) | MAP_PRIVATE;
  void* memory = real_mmap(address, size_bytes, protection, private_flags, fd, offset);
  if (memory == MAP_FAILED) return memory;
  const char* path = getenv("LAMINA_UFFD_SOCKET");
  if (path == NULL) {
    errno = EINVAL;
    die("LAMINA_UFFD_SOCKET is not set");
  }
  const int userfaultfd = register_memory(memory, size_bytes);
  send_handshake(connect_to_server(path), userfaultfd, memory, size_bytes);
  return memory;
}

// QEMU is built with 64-bit offsets and calls this name. (This file must not be: its mmap would be
// renamed to it.)
void* mmap64(void* address, size_t size_bytes, int protection, int flags, int fd, off_t offset) {
  return mmap(address, size_bytes, protection, flags, fd, offset);
}
