#include "stand_ins/known_snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "lamina/ingest.h"
#include "os/fd.h"
#include "stand_ins/guest_region.h"

namespace lamina::tests {
namespace {

/// Writes the next pause's diff and applies it to `memory`.
Status write_next_diff(const std::string& file, std::vector<std::byte>& memory,
                       std::mt19937_64& random) {
  const os::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (::ftruncate(fd.get(), static_cast<off_t>(memory.size())) != 0) {
    return system_failure("truncate", file, errno);
  }
  const std::size_t pages = memory.size() / kGuestPageBytes;
  for (std::size_t page = 0; page < pages;) {
    const std::size_t longest = random() % 8 == 0 ? 700 : 24;  // some longer than a fault's window
    const std::size_t count = std::min(1 + random() % longest, pages - page);
    const auto action = random() % 3;
    for (std::size_t i = page; i < page + count && action < 2; ++i) {
      const auto fill = action == 0 ? std::byte{0} : static_cast<std::byte>(random());
      std::fill_n(&memory[i * kGuestPageBytes], kGuestPageBytes, fill);
      if (action == 1) std::memcpy(&memory[i * kGuestPageBytes], &i, sizeof(i));
      if (::pwrite(fd.get(), &memory[i * kGuestPageBytes], kGuestPageBytes,
                   static_cast<off_t>(i * kGuestPageBytes)) !=
          static_cast<ssize_t>(kGuestPageBytes)) {
        return system_failure("write", file, errno);
      }
    }
    page += count;
  }
  return {};
}

}  // namespace

Result<MadeSnapshot> make_snapshot(const std::filesystem::path& store, std::size_t bytes,
                                   int generations, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  MadeSnapshot made;
  made.memory.assign(bytes, std::byte{0});
  const std::string file = (store.parent_path() / "memory").string();
  for (int generation = 0; generation < generations; ++generation) {
    LAMINA_RETURN_IF_ERROR(write_next_diff(file, made.memory, random));
    IngestOptions options;
    options.memory_file = file;
    options.snapshot = (store / ("g" + std::to_string(generation))).string();
    options.zeros = Zeros::kWritten;
    if (generation > 0) options.parent = made.path;
    LAMINA_RETURN_IF_ERROR(ingest(options));
    made.path = options.snapshot;
  }
  return made;
}

}  // namespace lamina::tests
