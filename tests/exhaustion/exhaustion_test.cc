// What is left of each operation when memory runs out in it: after the n-th allocation every other
// one fails, for n = 0, 1, 2 and so on until the operation succeeds. It must fail with an error,
// close what it has opened, and leave a store in which everything that was there is there, whole;
// the same operation must succeed afterwards. Threads that cannot be started likewise.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exhaustion/allocations.h"
#include "lamina.h"
#include "lamina/compact.h"
#include "lamina/doctor.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/lifecycle.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/page_server.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/verify.h"
#include "os/fd.h"
#include "scratch_directory.h"
#include "stand_ins/guest_process.h"
#include "stand_ins/known_snapshot.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;
using tests::GuestRegion;
using tests::MemoryRunsOut;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 40;
constexpr int kGenerations = 3;

std::size_t open_descriptors() {
  const fs::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fs::begin(entries), fs::end(entries)));
}

class Exhaustion : public testing::Test {
 protected:
  void SetUp() override { make_store(); }

  void make_store() {
    fs::remove_all(root_ / "store");
    fs::create_directory(root_ / "store");
    auto made = tests::make_snapshot(root_ / "store", kPages * kPage, kGenerations, 11);
    ASSERT_TRUE(made) << made.error().message;
    snapshot_ = std::move(*made);
  }

  [[nodiscard]] std::string path(const std::string& name) const { return (root_ / name).string(); }

  /// A full memory file with other contents.
  [[nodiscard]] std::string new_memory_file() const {
    const std::string file = path("new-memory");
    const os::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    std::vector<std::byte> memory = snapshot_.memory;
    memory[7 * kPage] = std::byte{99};
    EXPECT_EQ(::write(fd.get(), memory.data(), memory.size()), static_cast<ssize_t>(memory.size()));
    return file;
  }

  /// Every snapshot that the store lists is whole, and the one that was there is among them, as it
  /// was.
  void check_store(const std::string& when) {
    RecoverOptions recovery;
    recovery.store = path("store");
    const auto recovered = recover(recovery);
    ASSERT_TRUE(recovered) << when << recovered.error().message;
    const auto listing = list_store(path("store"));
    ASSERT_TRUE(listing) << when << listing.error().message;
    bool found = false;
    for (const SnapshotListing& one : listing->snapshots) {
      VerifyOptions options;
      options.snapshot = path("store") + "/" + one.name;
      const auto verified = verify(options);
      ASSERT_TRUE(verified) << when << verified.error().message;
      EXPECT_TRUE(verified->problems.empty()) << when << one.name;
      found |= options.snapshot == snapshot_.path;
    }
    EXPECT_TRUE(found || may_be_gone_) << when;
    for (const auto& entry : fs::directory_iterator(root_ / "store" / ".tmp")) {
      ADD_FAILURE() << when << entry.path() << " was left";
    }
  }

  /// Has `operation` run out of memory at each of its allocations. `prepare` is done before each.
  template <typename Operation>
  void try_all(const std::function<void()>& prepare, Operation operation) {
    std::int64_t step = 1;
    for (std::int64_t n = 0;; n += step) {
      // The first ones and each of the later tenth: there are thousands, and they repeat.
      if (n > 200) step = 7;
      prepare();
      const std::string when = "allocation " + std::to_string(n) + ": ";
      const std::size_t descriptors = open_descriptors();
      bool succeeded = false;
      bool lacked = false;
      std::string message;
      {
        MemoryRunsOut runs_out(n);
        auto done = operation();
        lacked = MemoryRunsOut::end();
        succeeded = done.has_value();
        if (!succeeded) message = done.error().message;
      }
      EXPECT_EQ(open_descriptors(), descriptors) << when;
      if (succeeded && !lacked) return;
      EXPECT_TRUE(succeeded || !message.empty()) << when;
      check_store(when);
      if (HasFailure()) return;
    }
  }

  tests::ScratchDirectory scratch_{"/dev/shm"};
  fs::path root_ = scratch_.path();
  tests::MadeSnapshot snapshot_;
  bool may_be_gone_ = false;
};

TEST_F(Exhaustion, AFailedIngestLeavesTheStoreWhole) {
  IngestOptions options;
  options.snapshot = path("store/new");
  try_all(
      [&] {
        fs::remove_all(path("store/new"));
        options.memory_file = new_memory_file();
      },
      [&] { return ingest(options); });
}

TEST_F(Exhaustion, AFailedAdoptionLeavesTheStoreWhole) {
  IngestOptions options;
  options.snapshot = path("store/new");
  options.layout = Layout::kAdopted;
  options.parent = snapshot_.path;
  try_all(
      [&] {
        fs::remove_all(path("store/new"));
        options.memory_file = new_memory_file();
      },
      [&] {
        auto done = ingest(options);
        return done;
      });
}

TEST_F(Exhaustion, AFailedMergeLeavesTheStoreWhole) {
  MergeOptions options;
  try_all(
      [&] {
        make_store();
        options.snapshot = snapshot_.path;
      },
      [&] { return merge(options); });
}

TEST_F(Exhaustion, AFailedCompactLeavesTheStoreWhole) {
  CompactOptions options;
  options.policy = "full:cap=2";
  try_all(
      [&] {
        make_store();
        options.snapshot = snapshot_.path;
      },
      [&] { return compact(options); });
}

TEST_F(Exhaustion, AFailedForkLeavesTheStoreWhole) {
  const ForkOptions options{snapshot_.path, path("store/fork")};
  try_all([&] { fs::remove_all(options.fork); }, [&] { return fork_snapshot(options); });
}

TEST_F(Exhaustion, AFailedRemoveLeavesTheStoreWhole) {
  may_be_gone_ = true;
  RemoveOptions options;
  try_all(
      [&] {
        make_store();
        options.snapshots = {snapshot_.path};
      },
      [&] { return remove_snapshots(options); });
}

TEST_F(Exhaustion, AFailedRepairLeavesTheStoreWhole) {
  try_all([] {}, [&] { return repair(snapshot_.path); });
}

TEST_F(Exhaustion, AFailedMaterializeLeavesTheStoreWhole) {
  MaterializeOptions options;
  options.snapshot = snapshot_.path;
  options.out = path("out");
  try_all([&] { fs::remove(path("out")); }, [&] { return materialize(options); });
}

TEST_F(Exhaustion, ReadersFailWithAnErrorOrSucceed) {
  VerifyOptions options;
  options.snapshot = snapshot_.path;
  const std::string store = path("store");
  try_all([] {}, [&] { return verify(options); });
  try_all([] {}, [&] { return inspect(snapshot_.path); });
  try_all([] {}, [&] { return list_store(store); });
  try_all([] {}, [&] { return examine(store); });
}

/// The outcome of a call of the C interface.
class COutcome {
 public:
  COutcome(lamina_code code, const lamina_error* error) : code_(code), error_(error) {}
  [[nodiscard]] bool has_value() const { return code_ == LAMINA_OK; }
  [[nodiscard]] const lamina_error& error() const { return *error_; }

 private:
  struct Free {
    void operator()(const lamina_error* error) const { lamina_free(error); }
  };
  lamina_code code_;
  std::unique_ptr<const lamina_error, Free> error_;
};

TEST_F(Exhaustion, TheCInterfaceFailsWithAnErrorOrSucceeds) {
  const std::string store_path = path("store");
  const lamina_error* error = nullptr;
  lamina_store* store = nullptr;
  try_all([] {},
          [&] {
            const lamina_code code = lamina_store_open(store_path.c_str(), &store, &error);
            EXPECT_EQ(code == LAMINA_OK, store != nullptr);
            lamina_store_close(store);
            return COutcome(code, error);
          });
  ASSERT_EQ(lamina_store_open(store_path.c_str(), &store, nullptr), LAMINA_OK);
  try_all([] {},
          [&] {
            const lamina_listing* listing = nullptr;
            const lamina_code code = lamina_list(store, nullptr, &listing, &error);
            EXPECT_EQ(code == LAMINA_OK, listing != nullptr);
            lamina_free(listing);
            return COutcome(code, error);
          });
  try_all([] {},
          [&] {
            lamina_reader* reader = nullptr;
            const lamina_snapshot_info* info = nullptr;
            lamina_code code = lamina_reader_open(store, snapshot_.path.c_str(), &reader, &error);
            if (code == LAMINA_OK) code = lamina_reader_info(reader, &info, &error);
            lamina_free(info);
            lamina_reader_close(reader);
            return COutcome(code, error);
          });
  const std::string fork = path("store/fork");
  lamina_fork_options options{};
  options.struct_size = sizeof options;
  options.snapshot = snapshot_.path.c_str();
  options.fork = fork.c_str();
  try_all([&] { fs::remove_all(fork); },
          [&] {
            const lamina_code code = lamina_fork(store, &options, nullptr, &error);
            return COutcome(code, error);
          });
  EXPECT_EQ(lamina_store_close(store), LAMINA_OK);
}

TEST_F(Exhaustion, AFailedRecoverLeavesTheStoreWhole) {
  RecoverOptions options;
  options.store = path("store");
  try_all([] {}, [&] { return recover(options); });
}

/// A page server that runs out of memory serves its VM rightly or ends it, and can be stopped.
TEST_F(Exhaustion, AServerWithoutMemoryServesRightOrEndsItsVm) {
  ServeOptions options;
  options.endpoints = {{snapshot_.path, path("socket")}};
  options.threads = 1;
  options.populate = Populate::kAll;
  options.record = true;
  options.state_dir = path("states");
  int served = 0;
  int ended = 0;
  int step = 1;
  for (int n = 0; served < 3; n += step) {
    if (n > 20) step = 23;
    const tests::Gate gate;
    const pid_t guest = tests::start_guest(
        path("socket"), {.region_bytes = {kPages * kPage}, .gate = &gate},
        [&](std::span<GuestRegion> regions) {
          return std::memcmp(regions[0].memory, snapshot_.memory.data(), kPages * kPage) == 0 ? 0
                                                                                              : 1;
        });
    const std::size_t descriptors = open_descriptors();
    auto server = PageServer::start(options);
    ASSERT_TRUE(server) << server.error().message;
    gate.open();
    int code = 0;
    bool lacked = false;
    {
      // Not for good: a guest that is not accepted waits until it is.
      MemoryRunsOut runs_out(n, 30);
      code = tests::wait_for(guest);
      lacked = MemoryRunsOut::end();
    }
    (*server)->detach();
    server->reset();
    // 78: nobody listened to it to the end of its handshake.
    EXPECT_TRUE(code == 0 || code == 128 + SIGKILL || code == 78) << n << ": " << code;
    EXPECT_EQ(open_descriptors(), descriptors) << n;
    served += lacked ? 0 : 1;
    ended += code == 0 ? 0 : 1;
    fs::remove(path("store/g2/working-set"));
    if (HasFailure()) return;
  }
  EXPECT_GT(ended, 0);
}

TEST_F(Exhaustion, AFailedStartOfAPageServerLeavesTheStoreWhole) {
  ServeOptions options;
  options.endpoints = {{snapshot_.path, path("socket")}};
  options.threads = 2;
  options.state_dir = path("states");
  try_all([] {},
          [&]() -> Result<std::unique_ptr<PageServer>> {
            auto started = PageServer::start(options);
            if (!started) return started;
            static_cast<void>(MemoryRunsOut::end());
            started->reset();
            return started;
          });
}

/// No thread can be started while it lives: there is no room for a stack.
class NoThreads {
 public:
  NoThreads() {
    ::getrlimit(RLIMIT_AS, &before_);
    // What there is may be used; a stack of 8 MiB does not fit.
    rlimit none = before_;
    none.rlim_cur = used_bytes() + (std::uint64_t{4} << 20);
    ::setrlimit(RLIMIT_AS, &none);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;
  NoThreads(NoThreads&&) = delete;
  NoThreads& operator=(NoThreads&&) = delete;
  ~NoThreads() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  static std::uint64_t used_bytes() {
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * kPage;
  }

  rlimit before_{};
};

TEST_F(Exhaustion, WithoutThreadsCompactAndServeFailAndLaterSucceed) {
  CompactOptions options;
  options.snapshot = snapshot_.path;
  options.policy = "full:cap=2";
  options.background = true;
  ServeOptions serving;
  serving.endpoints = {{snapshot_.path, path("socket")}};
  serving.state_dir = path("states");
  {
    const NoThreads none;
    const auto compacted = compact(options);
    ASSERT_FALSE(compacted);
    EXPECT_EQ(compacted.error().kind, ErrorKind::kFailed);
    const auto server = PageServer::start(serving);
    ASSERT_FALSE(server);
  }
  check_store("");
  EXPECT_TRUE(compact(options));
  EXPECT_TRUE(PageServer::start(serving));
}

}  // namespace
}  // namespace lamina
