#include "stand_ins/firecracker/guest_mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "stand_ins/firecracker/page_model.h"

namespace lamina::tests {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

std::unexpected<Error> cannot(const char* what) {
  return fail(ErrorKind::kFailed, "{}: {}", what, os_error_text(errno));
}

}  // namespace

void GuestMapping::add(std::byte* memory, std::uint64_t bytes) {
  regions_.push_back({memory, bytes, std::uint64_t{pages_} * kGuestPageBytes});
  pages_ += bytes / kGuestPageBytes;
}

Result<GuestMapping> GuestMapping::fresh(std::span<const std::uint64_t> region_bytes,
                                         bool huge_pages) {
  GuestMapping mapping;
  for (const std::uint64_t bytes : region_bytes) {
    std::byte* memory = map_region(bytes, huge_pages);
    if (memory == nullptr) return cannot("Cannot create memory region");
    mapping.add(memory, bytes);
  }
  return mapping;
}

Result<GuestMapping> GuestMapping::from_file(const std::string& path,
                                             std::span<const std::uint64_t> region_bytes) {
  const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    return cannot("Error creating guest memory from file: Failed to load guest memory");
  }
  struct stat facts{};
  if (::fstat(file.get(), &facts) != 0) return cannot("Error creating guest memory from file");
  const auto wanted = std::accumulate(region_bytes.begin(), region_bytes.end(), std::uint64_t{0});
  if (static_cast<std::uint64_t>(facts.st_size) != wanted) {
    return fail(ErrorKind::kFailed,
                "Error creating guest memory from file: the file has {} bytes, the memory {}",
                facts.st_size, wanted);
  }
  GuestMapping mapping;
  mapping.is_file_ = true;
  off_t offset = 0;
  for (const std::uint64_t bytes : region_bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                          file.get(), offset);
    if (memory == MAP_FAILED) return cannot("Error creating guest memory from file");
    mapping.add(static_cast<std::byte*>(memory), bytes);
    offset += static_cast<off_t>(bytes);
  }
  return mapping;
}

Result<GuestMapping> GuestMapping::from_page_server(const std::string& path,
                                                    std::span<const std::uint64_t> region_bytes,
                                                    bool huge_pages, os::Fd userfaultfd) {
  LAMINA_ASSIGN_OR_RETURN(GuestMapping mapping, fresh(region_bytes, huge_pages));
  auto connection = connect_to_page_server(path, mapping.regions_,
                                           huge_pages ? kGuestHugePageBytes : kGuestPageBytes,
                                           std::move(userfaultfd));
  if (!connection) {
    return std::unexpected(
        with_context("Error creating guest memory from uffd", std::move(connection.error())));
  }
  mapping.server_ = std::move(*connection);
  return mapping;
}

std::span<std::byte> GuestMapping::page(std::size_t number) const {
  const std::uint64_t offset = std::uint64_t{number} * kGuestPageBytes;
  for (const GuestRegion& region : regions_) {
    if (offset - region.memory_offset < region.size_bytes) {
      return {region.memory + (offset - region.memory_offset), kGuestPageBytes};
    }
  }
  std::fprintf(stderr, "page %zu is outside the memory\n", number);
  std::abort();
}

void GuestMapping::discard(std::size_t first, std::size_t count) const {
  while (count > 0) {
    // Not over the end of a region.
    std::size_t here = 1;
    while (here < count &&
           page(first + here).data() == page(first + here - 1).data() + kGuestPageBytes) {
      ++here;
    }
    std::byte* memory = page(first).data();
    const std::size_t bytes = here * kGuestPageBytes;
    const bool done = is_file_ ? ::mmap(memory, bytes, PROT_READ | PROT_WRITE,
                                        kAnonymous | MAP_FIXED, -1, 0) != MAP_FAILED
                               : ::madvise(memory, bytes, MADV_DONTNEED) == 0;
    if (!done) {
      std::perror("giving memory back");
      std::abort();
    }
    first += here;
    count -= here;
  }
}

std::vector<bool> GuestMapping::resident() const {
  std::vector<bool> resident;
  for (const GuestRegion& region : regions_) {
    std::vector<unsigned char> bytes(region.size_bytes / kGuestPageBytes);
    if (::mincore(region.memory, region.size_bytes, bytes.data()) != 0) {
      std::perror("mincore");
      std::abort();
    }
    for (const unsigned char byte : bytes) resident.push_back((byte & 1) != 0);
  }
  return resident;
}

}  // namespace lamina::tests
