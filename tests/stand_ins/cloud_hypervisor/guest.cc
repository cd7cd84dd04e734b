#include "stand_ins/cloud_hypervisor/guest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/bytes.h"
#include "base/error.h"
#include "os/file.h"
#include "stand_ins/guest_region.h"

namespace lamina::cloud_hypervisor_stand_in {
namespace {

using tests::kGuestPageBytes;

constexpr char kDigits[] = "0123456789abcdef";

}  // namespace

void MappedRange::Unmap::operator()(std::byte* memory) const { ::munmap(memory, bytes); }

Result<MappedRange> map_range(const Range& range, Backing backing, os::Fd file) {
  const bool is_shared = backing == Backing::kMemfd || backing == Backing::kSharedFile;
  const int flags =
      (is_shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE | (file.valid() ? 0 : MAP_ANONYMOUS);
  void* memory = ::mmap(nullptr, range.size, PROT_READ | PROT_WRITE, flags, file.get(),
                        file.valid() ? static_cast<off_t>(range.file_offset) : 0);
  if (memory == MAP_FAILED) {
    return fail(ErrorKind::kFailed, "Cannot create memory region: {}", std::strerror(errno));
  }
  return MappedRange{
      range, backing, std::move(file), {static_cast<std::byte*>(memory), {range.size}}};
}

Guest::Guest(std::vector<MappedRange> ranges, tests::PageModel model)
    : ranges_(std::move(ranges)), model_(std::move(model)) {
  std::sort(ranges_.begin(), ranges_.end(),
            [](const MappedRange& a, const MappedRange& b) { return a.range.gpa < b.range.gpa; });
}

std::byte* Guest::address_of(std::size_t page) const {
  std::uint64_t offset = std::uint64_t{page} * kGuestPageBytes;
  for (const MappedRange& mapped : ranges_) {
    if (offset < mapped.range.size) return mapped.memory.get() + offset;
    offset -= mapped.range.size;
  }
  std::fprintf(stderr, "page %zu is outside the memory\n", page);
  std::abort();
}

bool Guest::compare(std::size_t page) {
  const std::span<const std::byte> have{address_of(page), kGuestPageBytes};
  if (model_.is_right(page, have)) return true;
  if (!first_wrong_) {
    first_wrong_ = fmt::format("page={}{}", page, model_.is_discarded(page) ? " discarded" : "");
  }
  return false;
}

void Guest::write(std::size_t page, std::uint64_t seed) {
  const std::lock_guard lock(mutex_);
  tests::fill_page({address_of(page), kGuestPageBytes}, page, seed);
  model_.write(page, seed);
}

bool Guest::read(std::size_t page) {
  const std::lock_guard lock(mutex_);
  return compare(page);
}

void Guest::discard(std::size_t first, std::size_t count) {
  const std::lock_guard lock(mutex_);
  for (std::size_t page = first; page < first + count; ++page) {
    std::uint64_t offset = std::uint64_t{page} * kGuestPageBytes;
    for (const MappedRange& mapped : ranges_) {
      if (offset >= mapped.range.size) {
        offset -= mapped.range.size;
        continue;
      }
      if (mapped.backing == Backing::kMemfd) {
        ::fallocate(mapped.file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(mapped.range.file_offset + offset), kGuestPageBytes);
      }
      ::madvise(mapped.memory.get() + offset, kGuestPageBytes, MADV_DONTNEED);
      break;
    }
    model_.discard(page);
  }
}

void Guest::operate(std::uint64_t& random, bool discards) {
  constexpr std::uint64_t kKinds = 8;
  constexpr std::size_t kMostDiscarded = 16;
  const std::size_t page = tests::next_random(random) % pages();
  switch (tests::next_random(random) % kKinds) {
    case 0:
      write(page, 0);
      break;
    case 1:
    case 2:
    case 3:
      write(page, tests::next_random(random) | 1);
      break;
    case 4:
      if (discards) discard(page, std::min(kMostDiscarded, pages() - page));
      break;
    default:
      read(page);
  }
}

std::optional<std::string> Guest::check() {
  const std::lock_guard lock(mutex_);
  for (std::size_t page = 0; page < pages(); ++page) {
    if (!compare(page)) break;
  }
  return first_wrong_;
}

Status Guest::dump(const std::string& path) {
  const std::lock_guard lock(mutex_);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, path));
  std::uint64_t offset = 0;
  for (const MappedRange& mapped : ranges_) {
    LAMINA_RETURN_IF_ERROR(
        os::write_at(file.get(), {mapped.memory.get(), mapped.range.size}, offset, path));
    offset += mapped.range.size;
  }
  return {};
}

void Guest::remember_pages() {
  const std::lock_guard lock(mutex_);
  for (std::size_t page = 0; page < pages(); ++page) model_.remember(page);
}

std::string Guest::encode_model() {
  constexpr unsigned kHalf = 4;
  constexpr unsigned kLow = 15;
  const std::lock_guard lock(mutex_);
  ByteWriter writer;
  model_.encode(writer);
  std::string text;
  text.reserve(2 * writer.size());
  for (const std::byte byte : writer.view()) {
    text += kDigits[std::to_integer<unsigned>(byte) >> kHalf];
    text += kDigits[std::to_integer<unsigned>(byte) & kLow];
  }
  return text;
}

Result<tests::PageModel> Guest::decode_model(const std::string& text, std::size_t pages) {
  constexpr int kHexadecimal = 16;
  std::vector<std::byte> bytes(text.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::uint8_t value = 0;
    const char* begin = text.data() + 2 * i;
    if (std::from_chars(begin, begin + 2, value, kHexadecimal).ptr != begin + 2) {
      return fail(ErrorKind::kCorrupt, "the guest's state is not hexadecimal");
    }
    bytes[i] = std::byte{value};
  }
  ByteReader reader(bytes);
  return tests::PageModel::decode(reader, pages);
}

}  // namespace lamina::cloud_hypervisor_stand_in
