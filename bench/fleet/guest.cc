#include "fleet/guest.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <span>

#include "base/error.h"
#include "os/fd.h"

namespace lamina::bench::fleet {
namespace {

constexpr std::uint32_t kBootedRun = 64;
constexpr std::uint32_t kBootedEvery = 256;

using Page = std::array<std::uint64_t, 512>;
static_assert(sizeof(Page) == 4096);

void fill(Page& page, std::uint64_t value) {
  if (value == 0) return page.fill(0);
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = value + i * 0x9e3779b97f4a7c15U;
}

Status write_pages(int fd, const std::string& path, std::span<const std::uint64_t> values,
                   std::uint64_t first) {
  std::vector<Page> pages(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) fill(pages[i], values[i]);
  const char* at = reinterpret_cast<const char*>(pages.data());
  std::size_t left = pages.size() * sizeof(Page);
  auto offset = static_cast<off_t>(first * sizeof(Page));
  while (left > 0) {
    const ssize_t wrote = pwrite(fd, at, left, offset);
    if (wrote <= 0) {
      return fail(ErrorKind::kFailed, "write '{}' at {}: {}", path, offset, std::strerror(errno));
    }
    at += wrote;
    left -= static_cast<std::size_t>(wrote);
    offset += wrote;
  }
  return {};
}

}  // namespace

void Guest::boot(Random& random) {
  for (std::size_t start = 0; start < values_.size(); start += kBootedEvery) {
    const std::size_t end = std::min<std::size_t>(start + kBootedRun, values_.size());
    for (std::size_t page = start; page < end; ++page) {
      values_[page] = random() | 1U;
      dirty_[page] = 1;
    }
  }
}

void Guest::run(const mapping::GuestShape& shape, Random& random) {
  const auto pages = static_cast<std::uint32_t>(values_.size());
  auto left = static_cast<std::int64_t>(std::ceil(mapping::diff_blocks(shape, pages, random)));
  while (left > 0) {
    const mapping::GuestWrite write = mapping::next_write(shape, pages, random);
    for (std::uint32_t page = write.begin; page < write.end; ++page) {
      values_[page] = write.is_cleared ? 0 : random() | 1U;
      dirty_[page] = 1;
    }
    left -= write.end - write.begin;
  }
}

Status Guest::write_file(const std::string& path, bool full) {
  const os::Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return fail(ErrorKind::kFailed, "make '{}': {}", path, std::strerror(errno));
  if (ftruncate(fd.get(), static_cast<off_t>(values_.size() * sizeof(Page))) != 0) {
    return fail(ErrorKind::kFailed, "set the size of '{}': {}", path, std::strerror(errno));
  }
  const auto written = [&](std::size_t page) {
    return full ? values_[page] != 0 : dirty_[page] != 0;
  };
  for (std::size_t page = 0; page < values_.size();) {
    std::size_t end = page + 1;
    if (written(page)) {
      while (end < values_.size() && written(end)) ++end;
      LAMINA_RETURN_IF_ERROR(
          write_pages(fd.get(), path, std::span(values_).subspan(page, end - page), page));
    }
    page = end;
  }
  std::fill(dirty_.begin(), dirty_.end(), 0);
  return {};
}

std::uint64_t Guest::dirty_pages() const {
  return static_cast<std::uint64_t>(std::count(dirty_.begin(), dirty_.end(), 1));
}

Status Guest::check(const SnapshotReader& reader, std::uint32_t first, std::uint32_t step) const {
  if (reader.memory_bytes() != values_.size() * sizeof(Page)) {
    return fail(ErrorKind::kFailed, "the snapshot has {} bytes of memory, its guest has {}",
                reader.memory_bytes(), values_.size() * sizeof(Page));
  }
  Page expected;
  Page found;
  for (std::size_t page = first; page < values_.size(); page += step) {
    LAMINA_RETURN_IF_ERROR(
        reader.read(page * sizeof(Page), std::as_writable_bytes(std::span(found))));
    fill(expected, values_[page]);
    if (found != expected) {
      return fail(ErrorKind::kCorrupt,
                  "page {} is not what the guest wrote: begins with {}, not {}", page, found[0],
                  expected[0]);
    }
  }
  return {};
}

}  // namespace lamina::bench::fleet
