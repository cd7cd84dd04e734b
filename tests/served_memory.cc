#include "served_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "base/error.h"
#include "lamina/ingest.h"
#include "os/fd.h"

namespace lamina::tests {
namespace {

constexpr std::size_t kPage = 4096;

/// Writes the next pause's diff and applies it to `memory`.
Status write_next_diff(const std::string& file, std::vector<std::byte>& memory,
                       std::mt19937_64& random) {
  const os::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (::ftruncate(fd.get(), static_cast<off_t>(memory.size())) != 0) {
    return system_failure("truncate", file, errno);
  }
  const std::size_t pages = memory.size() / kPage;
  for (std::size_t page = 0; page < pages;) {
    const std::size_t longest = random() % 8 == 0 ? 700 : 24;  // some longer than a fault's window
    const std::size_t count = std::min(1 + random() % longest, pages - page);
    const auto action = random() % 3;
    for (std::size_t i = page; i < page + count && action < 2; ++i) {
      const auto fill = action == 0 ? std::byte{0} : static_cast<std::byte>(random());
      std::fill_n(&memory[i * kPage], kPage, fill);
      if (action == 1) std::memcpy(&memory[i * kPage], &i, sizeof(i));
      if (::pwrite(fd.get(), &memory[i * kPage], kPage, static_cast<off_t>(i * kPage)) !=
          static_cast<ssize_t>(kPage)) {
        return system_failure("write", file, errno);
      }
    }
    page += count;
  }
  return {};
}

/// What one page of the guest should hold; each page belongs to one thread.
class GuestPage {
 public:
  GuestPage(std::byte* memory, const std::byte* truth) : memory_(memory), truth_(truth) {}

  [[nodiscard]] bool is_right() const {
    if (written_ == 0 && !removed_) return std::memcmp(memory_, truth_, kPage) == 0;
    for (std::size_t i = 0; i < kPage; ++i) {
      if (memory_[i] != static_cast<std::byte>(written_)) return false;
    }
    return true;
  }
  void write(std::uint8_t value) {
    std::memset(memory_, value, kPage);
    written_ = value;
    removed_ = false;
  }
  void remove() {
    ::madvise(memory_, kPage, MADV_DONTNEED);
    written_ = 0;
    removed_ = true;
  }

 private:
  std::byte* memory_;
  const std::byte* truth_;
  std::uint8_t written_ = 0;
  bool removed_ = false;
};

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

int use_memory(std::span<GuestRegion> regions, const std::vector<std::byte>& truth, int threads,
               int operations, std::uint64_t seed) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> running;
  for (int number = 0; number < threads; ++number) {
    running.emplace_back([&, number] {
      std::mt19937_64 random(seed * 31 + static_cast<std::uint64_t>(number));
      std::vector<GuestPage> pages;
      for (const GuestRegion& region : regions) {
        for (std::size_t page = static_cast<std::size_t>(number); page < region.size_bytes / kPage;
             page += static_cast<std::size_t>(threads)) {
          pages.emplace_back(region.memory + page * kPage,
                             &truth[region.memory_offset + page * kPage]);
        }
      }
      for (int i = 0; i < operations; ++i) {
        GuestPage& page = pages[random() % pages.size()];
        const auto action = random() % 8;
        if (!page.is_right()) ++wrong;
        if (action == 0) page.write(static_cast<std::uint8_t>(1 + random() % 250));
        if (action == 1) page.remove();
      }
      for (const GuestPage& page : pages) wrong += page.is_right() ? 0 : 1;
    });
  }
  for (std::thread& thread : running) thread.join();
  return wrong > 0 ? 1 : 0;
}

}  // namespace lamina::tests
