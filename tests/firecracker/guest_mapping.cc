#include "guest_mapping.h"

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
#include "page_model.h"

namespace lamina::tests {
namespace {

constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::unexpected<Error> cannot(const char* what) {
  return fail(ErrorKind::kFailed, "{}: {}", what, os_error_text(errno));
}

}  // namespace

std::string os_error_text(int number) {
  return fmt::format("{} (os error {})", std::strerror(number), number);
}

void GuestMapping::add(std::byte* memory, std::uint64_t bytes) {
  regions_.push_back({memory, bytes, std::uint64_t{pages_} * kGuestPageBytes});
  pages_ += bytes / kGuestPageBytes;
}

Result<GuestMapping> GuestMapping::fresh(std::span<const std::uint64_t> region_bytes,
                                         bool huge_pages) {
  GuestMapping mapping;
  for (const std::uint64_t bytes : region_bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          huge_pages ? kAnonymous | MAP_HUGETLB : kAnonymous, -1, 0);
    if (memory == MAP_FAILED) return cannot("Cannot create memory region");
    mapping.add(static_cast<std::byte*>(memory), bytes);
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
  mapping.userfaultfd_ = userfaultfd.valid() ? std::move(userfaultfd) : os::Fd(open_userfaultfd());
  for (const GuestRegion& region : mapping.regions_) {
    register_memory(mapping.userfaultfd_.get(), region.memory, region.size_bytes);
  }
  mapping.server_ = os::Fd(connect_to(path));
  if (!mapping.server_.valid()) {
    return cannot("Error creating guest memory from uffd: Failed to connect to UDS Unix stream");
  }
  const std::array<int, 1> descriptors = {mapping.userfaultfd_.get()};
  if (!send_with_descriptors(
          mapping.server_.get(),
          regions_json(mapping.regions_, huge_pages ? kHugePageBytes : kGuestPageBytes),
          descriptors)) {
    return cannot("Error creating guest memory from uffd: Failed to send file descriptor");
  }
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
