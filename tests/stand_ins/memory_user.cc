#include "stand_ins/memory_user.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <thread>

#include "os/fd.h"

namespace lamina::tests {
namespace {

using Clock = std::chrono::steady_clock;

/// Neighbouring pages of one thread: what it gives back at once is up to so many.
constexpr std::size_t kPagesPerShare = 8;

/// What a thread tells the watchdog: how far it is, and at which page.
struct Progress {
  std::atomic<std::uint64_t> steps{0};
  std::atomic<const std::byte*> at{nullptr};
  std::atomic<bool> done{false};
};

struct Shared {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> operations{0};
  std::mutex mutex;
  UsageReport report;
};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

/// What the region must hold, mapped until the process ends: first what `truth` says.
std::byte* model_of(const GuestRegion& region, const Truth& truth) {
  std::byte* model = map_region(region.size_bytes, false);
  if (model == nullptr) die("mmap");
  truth(region.memory_offset, {model, region.size_bytes});
  return model;
}

/// A run of pages that one thread owns.
struct OwnedPages {
  std::byte* memory;
  std::byte* model;
  std::size_t pages;
  std::uint64_t memory_offset;
};

std::string describe(const OwnedPages& share, std::size_t page, std::size_t page_bytes) {
  const std::byte* have = share.memory + page * page_bytes;
  const std::byte* want = share.model + page * page_bytes;
  const std::byte* at = std::mismatch(have, have + page_bytes, want).first;
  const auto byte = static_cast<std::size_t>(at - have);
  char text[160];
  std::snprintf(text, sizeof(text), "byte %#zx of the page at %#zx is %#x instead of %#x", byte,
                static_cast<std::size_t>(share.memory_offset) + page * page_bytes,
                std::to_integer<unsigned>(have[byte]), std::to_integer<unsigned>(want[byte]));
  return text;
}

/// One thread of the guest.
class User {
 public:
  User(const Usage& usage, Shared& shared, Progress& progress, std::vector<OwnedPages> shares,
       std::uint64_t seed)
      : usage_(usage),
        shared_(shared),
        progress_(progress),
        shares_(std::move(shares)),
        random_(seed),
        scratch_(::memfd_create("scratch", MFD_CLOEXEC)) {
    if (!scratch_.valid()) die("memfd_create");
  }

  void run() {
    for (std::uint64_t i = 0; i < usage_.operations && !shared_.stop; ++i) operate();
    while (usage_.wait_for_end_of_input && !shared_.stop) {
      progress_.steps.fetch_add(1);
      ::usleep(kIdleMicroseconds);
    }
    for (const OwnedPages& share : shares_) {
      for (std::size_t page = 0; page < share.pages; ++page) check(share, page);
    }
    finish();
  }

 private:
  static constexpr useconds_t kIdleMicroseconds = 1000;

  void operate() {
    const OwnedPages& share = shares_[random_() % shares_.size()];
    const std::size_t page = random_() % share.pages;
    constexpr unsigned kActions = 16;
    switch (random_() % kActions) {
      case 0:
      case 1:
        return write(share, page);
      case 2:
        return write_by_system_call(share, page);
      case 3:
      case 4:
        return remove(share, page);
      case 5:
        return check_by_system_call(share, page);
      default:
        return check(share, page);
    }
  }

  void advance(const std::byte* at) {
    progress_.at = at;
    progress_.steps.fetch_add(1);
    const std::uint64_t done = shared_.operations.fetch_add(1) + 1;
    if (usage_.die_after > 0 && done >= usage_.die_after) ::kill(::getpid(), SIGKILL);
  }

  void check(const OwnedPages& share, std::size_t page) {
    const std::size_t offset = page * usage_.page_bytes;
    advance(share.memory + offset);
    ++report_.reads;
    if (std::memcmp(share.memory + offset, share.model + offset, usage_.page_bytes) == 0) return;
    note_wrong(share, page);
  }

  /// The kernel reads guest memory, as for a block device's write.
  void check_by_system_call(const OwnedPages& share, std::size_t page) {
    const std::size_t offset = page * usage_.page_bytes;
    advance(share.memory + offset);
    ++report_.reads;
    std::vector<std::byte> copy(kGuestPageBytes);
    if (::pwrite(scratch_.get(), share.memory + offset, kGuestPageBytes, 0) != kWhole ||
        ::pread(scratch_.get(), copy.data(), kGuestPageBytes, 0) != kWhole) {
      die("pwrite from guest memory");
    }
    if (std::memcmp(copy.data(), share.model + offset, kGuestPageBytes) != 0)
      note_wrong(share, page);
  }

  /// A part of the page; the rest must stay what it was.
  void write(const OwnedPages& share, std::size_t page) {
    const std::size_t start = random_() % usage_.page_bytes;
    const std::size_t count = 1 + random_() % (usage_.page_bytes - start);
    const std::size_t offset = page * usage_.page_bytes + start;
    advance(share.memory + offset);
    ++report_.writes;
    const auto value = static_cast<int>(random_() % 256);
    std::memset(share.memory + offset, value, count);
    std::memset(share.model + offset, value, count);
  }

  /// The kernel writes guest memory, as for a block device's read.
  void write_by_system_call(const OwnedPages& share, std::size_t page) {
    const std::size_t offset = page * usage_.page_bytes;
    advance(share.memory + offset);
    ++report_.writes;
    std::vector<std::byte> data(kGuestPageBytes);
    for (std::size_t i = 0; i < kGuestPageBytes; i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random_();
      std::memcpy(&data[i], &word, sizeof(word));
    }
    if (::pwrite(scratch_.get(), data.data(), kGuestPageBytes, 0) != kWhole ||
        ::pread(scratch_.get(), share.memory + offset, kGuestPageBytes, 0) != kWhole) {
      die("pread into guest memory");
    }
    std::memcpy(share.model + offset, data.data(), kGuestPageBytes);
  }

  /// Gives a run of pages back: they must be zeros from then on.
  void remove(const OwnedPages& share, std::size_t page) {
    const std::size_t count = 1 + random_() % (share.pages - page);
    const std::size_t offset = page * usage_.page_bytes;
    advance(share.memory + offset);
    ++report_.removes;
    if (::madvise(share.memory + offset, count * usage_.page_bytes, MADV_DONTNEED) != 0) {
      die("madvise");
    }
    std::memset(share.model + offset, 0, count * usage_.page_bytes);
    check(share, page);
  }

  void note_wrong(const OwnedPages& share, std::size_t page) {
    ++report_.wrong_pages;
    if (report_.first_wrong.empty()) {
      report_.first_wrong = describe(share, page, usage_.page_bytes);
    }
  }

  void finish() {
    const std::lock_guard lock(shared_.mutex);
    UsageReport& all = shared_.report;
    all.reads += report_.reads;
    all.writes += report_.writes;
    all.removes += report_.removes;
    all.wrong_pages += report_.wrong_pages;
    if (all.first_wrong.empty()) all.first_wrong = report_.first_wrong;
    progress_.done = true;
  }

  static constexpr auto kWhole = static_cast<ssize_t>(kGuestPageBytes);

  const Usage& usage_;
  Shared& shared_;
  Progress& progress_;
  std::vector<OwnedPages> shares_;
  std::mt19937_64 random_;
  os::Fd scratch_;
  UsageReport report_;
};

/// Ends the process when a thread stands still; returns when all are done.
void watch(std::vector<Progress>& progress, Shared& shared, const Usage& usage) {
  constexpr int kLookMs = 20;
  std::vector<std::uint64_t> seen(progress.size(), 0);
  std::vector<Clock::time_point> since(progress.size(), Clock::now());
  bool input_open = usage.wait_for_end_of_input;
  while (true) {
    pollfd input{input_open ? STDIN_FILENO : -1, POLLIN, 0};
    if (::poll(&input, 1, kLookMs) > 0) {
      char byte = 0;
      if (::read(STDIN_FILENO, &byte, 1) <= 0) {
        input_open = false;
        shared.stop = true;
      }
    }
    bool all_done = true;
    for (std::size_t i = 0; i < progress.size(); ++i) {
      if (progress[i].done) continue;
      all_done = false;
      const std::uint64_t steps = progress[i].steps;
      if (steps != seen[i]) {
        seen[i] = steps;
        since[i] = Clock::now();
      } else if (Clock::now() - since[i] > usage.timeout) {
        std::fprintf(stderr, "thread %zu is stuck at %p after %llu steps\n", i,
                     static_cast<const void*>(progress[i].at.load()),
                     static_cast<unsigned long long>(steps));
        std::_Exit(kExitStuck);
      }
    }
    if (all_done) return;
  }
}

}  // namespace

Truth truth_of(const std::vector<std::byte>& memory) {
  return [&memory](std::uint64_t offset, std::span<std::byte> bytes) {
    if (offset >= memory.size()) return;
    const std::size_t count = std::min<std::size_t>(bytes.size(), memory.size() - offset);
    std::memcpy(bytes.data(), &memory[offset], count);
  };
}

Truth truth_of_file(const std::string& path) {
  return [path](std::uint64_t offset, std::span<std::byte> bytes) {
    const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) die(path.c_str());
    while (!bytes.empty()) {
      const ssize_t count =
          ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0) die(path.c_str());
      if (count == 0) return;
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  };
}

UsageReport use_memory(std::span<const GuestRegion> regions, const Truth& truth,
                       const Usage& usage) {
  std::vector<std::vector<OwnedPages>> shares(usage.threads);
  std::size_t next = 0;
  for (const GuestRegion& region : regions) {
    std::byte* model = model_of(region, truth);
    const std::size_t pages = region.size_bytes / usage.page_bytes;
    for (std::size_t page = 0; page < pages; page += kPagesPerShare) {
      const std::size_t offset = page * usage.page_bytes;
      shares[next++ % usage.threads].push_back({region.memory + offset, model + offset,
                                                std::min(kPagesPerShare, pages - page),
                                                region.memory_offset + offset});
    }
  }
  Shared shared;
  std::vector<Progress> progress(usage.threads);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < usage.threads; ++i) {
    if (shares[i].empty()) {
      progress[i].done = true;
      continue;
    }
    threads.emplace_back([&, i] {
      constexpr std::uint64_t kSpread = 1000003;
      User(usage, shared, progress[i], std::move(shares[i]), usage.seed * kSpread + i).run();
    });
  }
  watch(progress, shared, usage);
  for (std::thread& thread : threads) thread.join();
  return shared.report;
}

UsageReport touch_pages(std::span<const GuestRegion> regions, const Truth& truth,
                        const std::vector<std::uint64_t>& pages) {
  UsageReport report;
  std::vector<const std::byte*> models;
  models.reserve(regions.size());
  for (const GuestRegion& region : regions) models.push_back(model_of(region, truth));
  for (const std::uint64_t page : pages) {
    for (std::size_t i = 0; i < regions.size(); ++i) {
      const std::uint64_t offset = page * kGuestPageBytes - regions[i].memory_offset;
      if (offset >= regions[i].size_bytes) continue;
      ++report.reads;
      if (std::memcmp(regions[i].memory + offset, models[i] + offset, kGuestPageBytes) != 0) {
        ++report.wrong_pages;
      }
    }
  }
  return report;
}

}  // namespace lamina::tests
