// A session against real faults: a process with several threads reads, writes and gives back its
// memory while it is served and populated; every byte is compared with the truth.
#include "pager/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "lamina/ingest.h"
#include "os/fd.h"
#include "os/peer.h"
#include "os/process.h"
#include "pager/handshake.h"
#include "scratch_directory.h"
#include "stand_ins/guest_process.h"
#include "stand_ins/known_snapshot.h"
#include "stand_ins/memory_user.h"
#include "stand_ins/sockets.h"
#include "store/snapshot_directory.h"

namespace lamina::pager {
namespace {

namespace fs = std::filesystem;
using tests::GuestLayout;
using tests::GuestRegion;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHuge = std::size_t{2} << 20;
constexpr std::chrono::seconds kTimeout{20};

class ServedSession : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(root_ / "store"); }

  /// See tests::make_snapshot; the truth is left in memory_.
  void make_snapshot(std::size_t bytes, int generations, std::uint64_t seed) {
    auto made = tests::make_snapshot(root_ / "store", bytes, generations, seed);
    ASSERT_TRUE(made) << made.error().message;
    snapshot_ = made->path;
    memory_ = std::move(made->memory);
  }

  /// Makes a snapshot of memory_.
  void make_snapshot_of_memory() {
    const std::string file = (root_ / "memory").string();
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(memory_.data()),
               static_cast<std::streamsize>(memory_.size()));
    IngestOptions options;
    options.memory_file = file;
    snapshot_ = (root_ / "store" / "made").string();
    options.snapshot = snapshot_;
    const auto made = ingest(options);
    ASSERT_TRUE(made) << made.error().message;
  }

  /// Accepts the guest's connection and makes its session.
  void accept_guest(int listener, const engine::Chain& chain) {
    socket_ = os::Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    auto handshake = receive_handshake(socket_.get(), kTimeout);
    ASSERT_TRUE(handshake) << handshake.error().message;
    begin_session(chain, std::move(*handshake));
  }

  /// Starts a guest and receives its handshake; nobody serves it yet.
  void start_unserved(const std::vector<std::size_t>& region_bytes,
                      const std::function<int(std::span<GuestRegion>)>& guest) {
    const std::string path = (root_ / "socket").string();
    const os::Fd listener(tests::listen_at(path));
    process_ = tests::start_guest(path, {region_bytes, false, true}, guest);
    socket_ = os::Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    auto handshake = receive_handshake(socket_.get(), kTimeout);
    ASSERT_TRUE(handshake) << handshake.error().message;
    handshake_ = std::move(*handshake);
  }

  /// Serves that guest to its end; returns its exit code. The start of a session wakes all who
  /// wait; `at_start` is called after that, before the first events are read.
  int serve_to_the_end(const std::function<void()>& at_start = [] {}) {
    const auto snapshot = store::open_snapshot(snapshot_);
    if (!snapshot) {
      ADD_FAILURE() << snapshot.error().message;
      return -1;
    }
    begin_session(snapshot->chain, std::move(handshake_));
    if (!session_) return -1;
    at_start();
    while (session_->step(1000) == SessionState::kServing) {
    }
    session_.reset();  // before what it reads from
    return tests::wait_for(process_);
  }

  void begin_session(const engine::Chain& chain, Handshake handshake) {
    userfaultfd_ = std::move(handshake.userfaultfd);
    const auto regions = RegionTable::decode(handshake.regions_json, memory_.size());
    ASSERT_TRUE(regions) << regions.error().message;
    const auto peer = os::peer_of(socket_.get());
    ASSERT_TRUE(peer);
    auto pidfd = os::open_process(peer->pid);
    ASSERT_TRUE(pidfd) << pidfd.error().message;
    pidfd_ = std::move(*pidfd);
    VmRecord record;
    record.pid = peer->pid;
    record.memory_bytes = memory_.size();
    record.regions.assign(regions->regions().begin(), regions->regions().end());
    const os::Fd directory(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ::unlink((root_ / "state").c_str());
    auto state = VmState::create(directory.get(), "state", record, "state");
    ASSERT_TRUE(state) << state.error().message;
    state_ = std::make_unique<VmState>(std::move(*state));
    buffer_.resize(kFillBufferBytes);
    SessionOptions options;
    options.plan = populates_ ? &plan_ : nullptr;
    options.reader = reader_.get();
    options.shortage = shortage_;
    auto session =
        Session::create(chain, *state_, {userfaultfd_.get(), pidfd_.get()}, buffer_, options);
    ASSERT_TRUE(session) << session.error().message;
    session_ = std::move(*session);
  }

  void start_reader() {
    auto reader = PlanReader::start();
    ASSERT_TRUE(reader) << reader.error().message;
    reader_ = std::move(*reader);
  }

  /// A byte of the first stored block changes behind lamina's back.
  void damage_first_block() {
    for (const auto& entry : fs::directory_iterator(snapshot_)) {
      const std::string name = entry.path().filename();
      if (!store::parse_layer_file_name(name)) continue;
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file.put('!');
    }
  }

  /// Waits for the reader when there is nothing else to do.
  void wait_for_reader() const {
    pollfd waiting{reader_->fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, -1), 1);
    reader_->clear();
  }

  /// Populates to the end, or until something has been filled.
  void populate(bool to_the_end) {
    while (true) {
      const Session::Populated populated = session_->populate(1);
      if (populated == Session::Populated::kDone) return;
      if (populated == Session::Populated::kWaits) wait_for_reader();
      const VmCounters& counters = state_->counters();
      if (!to_the_end && counters.data_bytes.get() + counters.zero_bytes.get() > 0) return;
    }
  }

  /// Waits for an event of the VM, but not for long.
  [[nodiscard]] bool faults_come(int timeout_ms) const {
    pollfd waiting{userfaultfd_.get(), POLLIN, 0};
    return ::poll(&waiting, 1, timeout_ms) == 1 && (waiting.revents & POLLIN) != 0;
  }

  /// Runs `guest` to its end while it is served, with populating in between and something that
  /// reads ahead; returns its exit code.
  int run_guest(const GuestLayout& layout, const std::function<int(std::span<GuestRegion>)>& guest,
                bool populate) {
    const std::string path = (root_ / "socket").string();
    const os::Fd listener(tests::listen_at(path));
    opened_.push_back(store::open_snapshot(snapshot_));
    const auto& snapshot = opened_.back();
    if (!snapshot) {
      ADD_FAILURE() << snapshot.error().message;
      return -1;
    }
    session_.reset();
    reader_.reset();  // no other thread at the fork
    const pid_t process = tests::start_guest(path, layout, guest);
    if (populate) start_reader();
    if (layout.huge_pages) {
      // Where the machine has no huge pages the guest ends before it connects.
      int status = 0;
      if (::waitpid(process, &status, WNOHANG) == process) return WEXITSTATUS(status);
    }
    populates_ = populate;
    accept_guest(listener.get(), snapshot->chain);
    if (!session_) return -1;
    bool more = populate;
    std::mt19937 random(1);
    while (session_->step(more ? 0 : 1000) == SessionState::kServing) {
      if (more) more = session_->populate(32) != Session::Populated::kDone;
      // At times faults always wait, and what is around them is put off.
      for (auto rounds = random() % 64; rounds > 0 && faults_come(5); --rounds) {
        session_->handle_events();
      }
    }
    const int code = tests::wait_for(process);
    ::unlink(path.c_str());
    return code;
  }

  tests::ScratchDirectory scratch_;
  fs::path root_ = scratch_.path();
  std::string snapshot_;
  std::vector<std::byte> memory_;
  os::Fd socket_;
  pid_t process_ = -1;
  Handshake handshake_;
  os::Fd userfaultfd_;
  os::Fd pidfd_;
  bool populates_ = false;
  PopulatePlan plan_{{{100, 40}, {7, 3}, {120, 60}}, true};
  std::vector<std::byte> buffer_;
  std::vector<Result<store::OpenSnapshot>> opened_;  ///< the session reads from them
  std::unique_ptr<VmState> state_;
  std::unique_ptr<PlanReader> reader_;
  std::unique_ptr<Session> session_;
  ShortageLimits shortage_;
};

class SessionTest : public ServedSession, public testing::WithParamInterface<int> {};

TEST_P(SessionTest, EveryByteIsRightUnderReadsWritesRemovesAndPopulate) {
  const auto seed = static_cast<std::uint64_t>(GetParam());
  make_snapshot(1024 * kPage, 1 + GetParam() % 4, seed);
  ASSERT_FALSE(HasFatalFailure());
  const GuestLayout layout{{300 * kPage, 724 * kPage}, false};
  const int code = run_guest(
      layout,
      [&](std::span<GuestRegion> regions) {
        return tests::use_memory(regions, tests::truth_of(memory_),
                                 {.threads = 3, .operations = 4000, .seed = seed})
            .exit_code();
      },
      GetParam() % 2 == 0);
  EXPECT_EQ(code, 0);
  EXPECT_EQ(session_->state(), SessionState::kEnded) << session_->failure();
  EXPECT_GT(state_->counters().removes.get(), 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SessionTest, testing::Range(1, 9));

/// Lets a guest go on step by step.
class Pace {
 public:
  Pace() { EXPECT_EQ(::pipe2(go_on_.data(), O_CLOEXEC), 0); }
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;
  ~Pace() {
    for (const int fd : go_on_) ::close(fd);
  }

  void let_go_on() const { EXPECT_EQ(::write(go_on_[1], "x", 1), 1); }
  /// In the guest.
  void wait() const {
    char byte = 0;
    if (::read(go_on_[0], &byte, 1) != 1) ::_exit(99);
  }

 private:
  std::array<int, 2> go_on_{};
};

/// Reserves huge pages as far as the machine has the memory and this user the right. Other tests
/// that do so wait meanwhile.
class HugePages {
 public:
  explicit HugePages(int count) : lock_(::open(kPath, O_RDONLY | O_CLOEXEC)) {
    ::flock(lock_.get(), LOCK_EX);
    std::ifstream(kPath) >> before_;
    if (before_ < count) std::ofstream(kPath) << count;
  }
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;
  ~HugePages() { std::ofstream(kPath) << before_; }

  /// Changes how many there are; false where the machine does not have them. What is used stays.
  static bool set(int count) {
    std::ofstream(kPath) << count;
    int now = 0;
    std::ifstream(kPath) >> now;
    return now == count;
  }

 private:
  static constexpr const char* kPath = "/proc/sys/vm/nr_hugepages";
  os::Fd lock_;
  int before_ = 0;
};

class HugePagesTest : public SessionTest {};

TEST_P(HugePagesTest, AHugePageIsAssembledFromSeveralExtents) {
  const HugePages reserved(8);
  make_snapshot(4 * kHuge, 3, 5);
  ASSERT_FALSE(HasFatalFailure());
  const int code = run_guest(
      {{kHuge, 3 * kHuge}, true},
      [&](std::span<GuestRegion> regions) {
        for (const GuestRegion& region : regions) {
          if (std::memcmp(region.memory, &memory_[region.memory_offset], region.size_bytes) != 0) {
            return 1;
          }
        }
        ::madvise(regions[1].memory + kHuge, kHuge, MADV_DONTNEED);
        for (std::size_t i = 0; i < kHuge; ++i) {
          if (regions[1].memory[kHuge + i] != std::byte{0}) return 2;
        }
        return 0;
      },
      GetParam() == 1);
  if (code == 77) GTEST_SKIP() << "no huge pages on this machine";
  EXPECT_EQ(code, 0);
}

INSTANTIATE_TEST_SUITE_P(PopulatedOrNot, HugePagesTest, testing::Range(0, 2));

/// A VM of four huge pages on a host that has one.
class EmptyPoolTest : public ServedSession {
 protected:
  static constexpr std::size_t kPages = 4;

  void SetUp() override {
    ServedSession::SetUp();
    if (!HugePages::set(1)) GTEST_SKIP() << "no huge pages on this machine";
    shortage_.first_delay_ns = 1'000'000;
    shortage_.longest_delay_ns = 20'000'000;
    make_snapshot(kPages * kHuge, 3, 5);
  }

  /// Starts a guest that runs `guest`, and its session.
  void start_guest(const std::function<int(std::span<GuestRegion>)>& guest) {
    const std::string path = (root_ / "socket").string();
    const os::Fd listener(tests::listen_at(path));
    opened_.push_back(store::open_snapshot(snapshot_));
    ASSERT_TRUE(opened_.back()) << opened_.back().error().message;
    process_ = tests::start_guest(path, {{kPages * kHuge}, true, true}, guest);
    accept_guest(listener.get(), opened_.back()->chain);
    ASSERT_TRUE(session_);
  }

  void serve_until_a_page_is_lacking() {
    while (!session_->next_retry_ns()) {
      ASSERT_EQ(session_->step(1000), SessionState::kServing) << session_->failure();
    }
  }

  /// Serves for a number of retries, in which nothing can be filled.
  void serve_in_vain(int retries) {
    for (int i = 0; i < retries; ++i) {
      const auto before = session_->next_retry_ns();
      ASSERT_TRUE(before);
      while (session_->next_retry_ns() == before) {
        ASSERT_EQ(session_->step(1000), SessionState::kServing) << session_->failure();
      }
    }
  }

  [[nodiscard]] int compare(std::span<GuestRegion> regions) const {
    return std::memcmp(regions[0].memory, memory_.data(), memory_.size()) == 0 ? 0 : 1;
  }

  HugePages lock_{0};  ///< the pool is this test's
};

TEST_F(EmptyPoolTest, AFaultIsRetriedAfterDelaysUntilAPageIsFree) {
  start_guest([&](std::span<GuestRegion> regions) { return compare(regions); });
  ASSERT_FALSE(HasFatalFailure());
  serve_until_a_page_is_lacking();
  ASSERT_FALSE(HasFatalFailure());
  const std::string note = session_->take_note();
  EXPECT_NE(note.find("has no page of 2048 KiB"), std::string::npos) << note;
  EXPECT_NE(note.find("vm.nr_hugepages"), std::string::npos) << note;
  serve_in_vain(8);
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(session_->take_note(), "") << "it is said once";
  // The thread was not woken, so it did not fault again.
  EXPECT_FALSE(faults_come(0));
  EXPECT_EQ(state_->counters().present_faults.get(), 0);
  ASSERT_TRUE(HugePages::set(kPages));
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  EXPECT_EQ(session_->state(), SessionState::kEnded) << session_->failure();
  EXPECT_NE(session_->take_note().find("is available again"), std::string::npos);
  session_.reset();
}

TEST_F(EmptyPoolTest, TheVmIsKilledAfterTheTimeout) {
  shortage_.timeout_ns = 100'000'000;
  start_guest([&](std::span<GuestRegion> regions) { return compare(regions); });
  ASSERT_FALSE(HasFatalFailure());
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 128 + SIGKILL);
  EXPECT_EQ(session_->state(), SessionState::kKilled);
  EXPECT_NE(session_->failure().find("the pool of huge pages is empty"), std::string::npos)
      << session_->failure();
  session_.reset();
}

TEST_F(EmptyPoolTest, AVmIsNotDetachedBeforeItsMissingPagesAreFilled) {
  // A server that leaves its VM fills all of it first. Pages that the host lacks are not there,
  // and must not become zeros.
  Pace pace;
  populates_ = true;
  plan_ = {{}, true, true};
  start_guest([&](std::span<GuestRegion> regions) {
    pace.wait();
    return compare(regions);
  });
  ASSERT_FALSE(HasFatalFailure());
  while (!session_->next_retry_ns()) {
    ASSERT_NE(session_->populate(512), Session::Populated::kDone);
  }
  EXPECT_EQ(session_->populate(512), Session::Populated::kWaits);
  serve_in_vain(3);
  ASSERT_TRUE(HugePages::set(kPages));
  while (session_->populate(512) != Session::Populated::kDone) {
    ASSERT_EQ(session_->step(10), SessionState::kServing) << session_->failure();
  }
  while (!session_->detach()) session_->step(10);
  EXPECT_EQ(session_->state(), SessionState::kDetached) << session_->failure();
  pace.let_go_on();
  EXPECT_EQ(tests::wait_for(process_), 0);
  session_.reset();
}

TEST_F(EmptyPoolTest, ThreadsThatShareAPageAreServedByOneFill) {
  // Threads that wait for one page: the first fill is all that they need, whatever the pool has.
  constexpr int kThreads = 6;
  start_guest([&](std::span<GuestRegion> regions) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        if (std::memcmp(regions[0].memory, memory_.data(), kHuge) != 0) ++wrong;
      });
    }
    for (std::thread& thread : threads) thread.join();
    return wrong.load();
  });
  ASSERT_FALSE(HasFatalFailure());
  while (session_->step(1000) == SessionState::kServing) EXPECT_FALSE(session_->next_retry_ns());
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  EXPECT_EQ(session_->take_note(), "");
  session_.reset();
}

TEST_F(SessionTest, AVmThatEndsBeforeItIsDetachedCountsAsEnded) {
  make_snapshot(64 * kPage, 1, 3);
  ASSERT_FALSE(HasFatalFailure());
  start_unserved({64 * kPage}, [](std::span<GuestRegion>) {
    while (true) ::pause();
    return 0;
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  begin_session(snapshot->chain, std::move(handshake_));
  ASSERT_TRUE(session_);
  ::kill(process_, SIGKILL);
  EXPECT_EQ(tests::wait_for(process_), 128 + SIGKILL);
  EXPECT_TRUE(session_->detach());
  EXPECT_EQ(session_->state(), SessionState::kEnded) << session_->failure();
  session_.reset();
}

TEST_F(SessionTest, DetachingLeavesZeroPagesToTheKernel) {
  constexpr std::size_t kPages = 4096;
  memory_.assign(kPages * kPage, std::byte{0});
  for (const std::size_t page : {5U, 900U, 4095U}) memory_[page * kPage] = std::byte{7};
  make_snapshot_of_memory();
  ASSERT_FALSE(HasFatalFailure());
  const Pace pace;
  start_unserved({kPages * kPage}, [&](std::span<GuestRegion> regions) {
    pace.wait();
    return std::memcmp(regions[0].memory, memory_.data(), memory_.size()) == 0 ? 0 : 1;
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  populates_ = true;
  plan_ = {{}, true, true};
  begin_session(snapshot->chain, std::move(handshake_));
  ASSERT_TRUE(session_);
  while (session_->populate(512) != Session::Populated::kDone) {
  }
  while (!session_->detach()) {
  }
  EXPECT_EQ(session_->state(), SessionState::kDetached) << session_->failure();
  EXPECT_EQ(state_->counters().zero_bytes.get(), 0);
  pace.let_go_on();
  EXPECT_EQ(tests::wait_for(process_), 0);
  session_.reset();
}

TEST_F(SessionTest, ADamagedBlockKillsTheVmInsteadOfReachingIt) {
  make_snapshot(256 * kPage, 1, 11);
  ASSERT_FALSE(HasFatalFailure());
  damage_first_block();
  const int code = run_guest(
      {{256 * kPage}, false},
      [&](std::span<GuestRegion> regions) {
        for (std::size_t i = 0; i < 256; ++i) {
          if (std::memcmp(regions[0].memory + i * kPage, &memory_[i * kPage], kPage) != 0) return 3;
        }
        return 0;
      },
      false);
  EXPECT_EQ(code, 128 + SIGKILL);
  EXPECT_EQ(session_->state(), SessionState::kKilled);
  EXPECT_NE(session_->failure().find("does not match its checksum"), std::string::npos);
}

TEST_F(SessionTest, ThreadsThatWaitedForADeadServerAreServed) {
  make_snapshot(64 * kPage, 1, 3);
  ASSERT_FALSE(HasFatalFailure());
  start_unserved({64 * kPage}, [&](std::span<GuestRegion> regions) {
    return std::memcmp(regions[0].memory, memory_.data(), memory_.size()) == 0 ? 0 : 1;
  });
  ASSERT_FALSE(HasFatalFailure());
  // The predecessor: reads the first fault and dies with it.
  pollfd waiting{handshake_.userfaultfd.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&waiting, 1, -1), 1);
  std::array<uffd_msg, 1> lost{};
  ASSERT_EQ(*os::uffd_read(handshake_.userfaultfd.get(), lost), 1);

  EXPECT_EQ(serve_to_the_end(), 0);
}

/// Number of threads that wait for a page of this userfaultfd.
int waiting_threads(int userfaultfd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(userfaultfd));
  std::string word;
  int pending = 0;
  while (info >> word) {
    if (word == "pending:") info >> pending;
  }
  return pending;
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return text;
}

/// True when a thread of `process` is in a madvise(2) that waits until its event is read.
bool gives_memory_back(pid_t process) {
  const std::string madvise = std::to_string(SYS_madvise) + " ";
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    if (!first_line(task.path() / "syscall").starts_with(madvise)) continue;
    // It may wait for a lock yet, or run ("0").
    if (first_line(task.path() / "wchan").starts_with("userfaultfd")) return true;
  }
  return false;
}

TEST_F(SessionTest, ARemoveQueuedBehindManyFaultsIsAppliedBeforeTheyAreServed) {
  constexpr std::size_t kFaults = 20;  // more than the slots
  constexpr std::size_t kRemoved = 50;
  make_snapshot(256 * kPage, 1, 3);
  ASSERT_FALSE(HasFatalFailure());
  start_unserved({256 * kPage}, [&](std::span<GuestRegion> regions) {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kFaults; ++i) {
      threads.emplace_back([&, i] {
        if (std::memcmp(regions[0].memory + i * kPage, &memory_[i * kPage], kPage) != 0) {
          ++wrong;
        }
      });
    }
    threads.emplace_back([&] {
      std::byte* given = regions[0].memory + kFaults * kPage;
      ::madvise(given, kRemoved * kPage, MADV_DONTNEED);
      for (std::size_t i = 0; i < kRemoved * kPage; ++i) {
        if (given[i] != std::byte{0}) ++wrong;
      }
    });
    for (std::thread& thread : threads) thread.join();
    return wrong.load();
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto wait_for_all = [&] {
    while (waiting_threads(userfaultfd_.get()) < static_cast<int>(kFaults) ||
           !gives_memory_back(process_)) {
      ::sched_yield();
    }
  };
  EXPECT_EQ(serve_to_the_end(wait_for_all), 0);
  // The first batch was all faults; the kernel refused to fill until the REMOVE was read.
  EXPECT_GE(state_->counters().reread_events.get(), 1);
  EXPECT_EQ(state_->counters().removes.get(), 1);
}

/// In the guest: whether its memory is `truth`, with zeros in the pages [first, end).
bool has_all_but(const std::byte* memory, const std::vector<std::byte>& truth, std::size_t first,
                 std::size_t end) {
  const std::vector<std::byte> zeros(kPage);
  for (std::size_t i = 0; i < truth.size() / kPage; ++i) {
    const std::byte* want = i >= first && i < end ? zeros.data() : &truth[i * kPage];
    if (std::memcmp(memory + i * kPage, want, kPage) != 0) return false;
  }
  return true;
}

/// The blocks of one kind and of one piece with a block, in its window.
std::vector<bool> around(const std::vector<std::byte>& memory, std::size_t block) {
  const std::vector<std::byte> zeros(kPage);
  const auto is_zero = [&](std::size_t i) {
    return std::memcmp(&memory[i * kPage], zeros.data(), kPage) == 0;
  };
  const std::size_t pages = memory.size() / kPage;
  const FaultLimits limits;
  const std::size_t window = is_zero(block) ? limits.zero_blocks : limits.data_blocks;
  std::vector<bool> expected(pages);
  for (std::size_t i = block + 1; i-- > block / window * window;) {
    if (is_zero(i) != is_zero(block)) break;
    expected[i] = true;
  }
  for (std::size_t i = block; i < std::min(pages, (block / window + 1) * window); ++i) {
    if (is_zero(i) != is_zero(block)) break;
    expected[i] = true;
  }
  return expected;
}

/// In the guest: which pages are there.
std::vector<bool> present(const GuestRegion& region, std::size_t pages) {
  std::vector<unsigned char> there(pages);
  if (::mincore(region.memory, pages * kPage, there.data()) != 0) ::_exit(98);
  std::vector<bool> bits(pages);
  for (std::size_t i = 0; i < pages; ++i) bits[i] = (there[i] & 1U) != 0;
  return bits;
}

TEST_F(SessionTest, PagesAroundAFaultAreFilledOnceNoFaultIsPending) {
  constexpr std::size_t kPages = 1200;
  make_snapshot(kPages * kPage, 2, 5);
  ASSERT_FALSE(HasFatalFailure());
  const Pace pace;
  std::mt19937_64 random(6);
  std::vector<std::size_t> touched;
  std::vector<std::uint64_t> filled_pages;  // after each touch
  std::vector<bool> expected(kPages);
  for (int i = 0; i < 40; ++i) {
    touched.push_back(random() % kPages);
    const std::vector<bool> filled = around(memory_, touched.back());
    std::transform(filled.begin(), filled.end(), expected.begin(), expected.begin(),
                   std::logical_or<>());
    filled_pages.push_back(
        static_cast<std::uint64_t>(std::count(expected.begin(), expected.end(), true)));
  }
  start_unserved({kPages * kPage}, [&](std::span<GuestRegion> regions) {
    for (const std::size_t block : touched) {
      if (std::memcmp(regions[0].memory + block * kPage, &memory_[block * kPage], kPage) != 0) {
        return 1;
      }
      pace.wait();
    }
    if (present(regions[0], kPages) != expected) return 2;
    return std::memcmp(regions[0].memory, memory_.data(), kPages * kPage) == 0 ? 0 : 3;
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  begin_session(snapshot->chain, std::move(handshake_));
  ASSERT_TRUE(session_);
  const VmCounters& counters = state_->counters();
  std::uint64_t faults = 0;
  std::uint64_t pages_before = 0;
  for (const std::uint64_t pages : filled_pages) {
    if (pages > pages_before) ++faults;
    while (counters.data_faults.get() + counters.zero_faults.get() < faults ||
           session_->has_deferred()) {
      ASSERT_EQ(session_->step(1000), SessionState::kServing) << session_->failure();
    }
    ASSERT_EQ(counters.data_bytes.get() + counters.zero_bytes.get(), pages * kPage);
    pages_before = pages;
    pace.let_go_on();
  }
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  session_.reset();
}

TEST_F(SessionTest, DeferredPagesThatAreGivenBackReadAsZeros) {
  constexpr std::size_t kPages = 256;
  make_snapshot(kPages * kPage, 1, 8);
  ASSERT_FALSE(HasFatalFailure());
  // A block whose window has data on both sides of it.
  std::size_t block = 0;
  const auto is_between = [&](std::size_t i) {
    const auto filled = around(memory_, i);
    return std::count(filled.begin(), filled.end(), true) == FaultLimits{}.data_blocks &&
           i % FaultLimits{}.data_blocks == 8;
  };
  while (block < kPages && !is_between(block)) ++block;
  ASSERT_LT(block, kPages);
  const std::size_t first = block - 3;
  const std::size_t end = block + 5;
  const Pace pace;
  start_unserved({kPages * kPage}, [&](std::span<GuestRegion> regions) {
    std::byte* memory = regions[0].memory;
    if (std::memcmp(memory + block * kPage, &memory_[block * kPage], kPage) != 0) return 1;
    pace.wait();
    ::madvise(memory + first * kPage, (end - first) * kPage, MADV_DONTNEED);
    pace.wait();
    return has_all_but(memory, memory_, first, end) ? 0 : 2;
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  begin_session(snapshot->chain, std::move(handshake_));
  ASSERT_TRUE(session_);
  const auto handle_next = [&] {
    pollfd waiting{userfaultfd_.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, 20'000), 1);
    session_->handle_events();
  };
  while (state_->counters().data_faults.get() == 0 && !HasFatalFailure()) handle_next();
  EXPECT_TRUE(session_->has_deferred());
  pace.let_go_on();
  while (state_->counters().removes.get() == 0 && !HasFatalFailure()) handle_next();
  while (session_->has_deferred()) session_->fill_deferred();
  pace.let_go_on();
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  session_.reset();
}

/// Several faults in one window, all of them before anything that is put off is filled.
struct Deferred {
  const char* name;
  std::vector<std::size_t> region_pages;
  std::vector<bool> zeros;           ///< which pages of the memory are zeros
  std::vector<std::size_t> touches;  ///< in this order; all in one region
  std::size_t expected_first;        ///< what is there in the end
  std::size_t expected_end;
  std::size_t given_back_first = 0;  ///< before the touches
  std::size_t given_back_end = 0;
};

std::vector<bool> zeros_between(std::size_t pages, std::size_t first, std::size_t end) {
  std::vector<bool> zeros(pages);
  std::fill(zeros.begin() + static_cast<std::ptrdiff_t>(first),
            zeros.begin() + static_cast<std::ptrdiff_t>(end), true);
  return zeros;
}

std::ostream& operator<<(std::ostream& out, const Deferred& deferred) {
  return out << deferred.name;
}

/// In the guest: gives pages back, touches pages and lets the server fill what is around them. 0 if
/// each touched page was right, then exactly the expected pages are there, and at last all are
/// right.
int use_deferred(std::span<GuestRegion> regions, const std::vector<std::byte>& memory,
                 const Deferred& deferred, const Pace& pace) {
  std::vector<std::byte*> page_at;
  for (const GuestRegion& region : regions) {
    for (std::size_t i = 0; i < region.size_bytes / kPage; ++i) {
      page_at.push_back(region.memory + i * kPage);
    }
  }
  for (std::size_t i = deferred.given_back_first; i < deferred.given_back_end; ++i) {
    ::madvise(page_at[i], kPage, MADV_DONTNEED);
  }
  const auto is_right = [&](std::size_t page) {
    return std::memcmp(page_at[page], &memory[page * kPage], kPage) == 0;
  };
  for (const std::size_t page : deferred.touches) {
    if (!is_right(page)) return 1;
  }
  pace.wait();
  std::vector<bool> there;
  for (const GuestRegion& region : regions) {
    const std::vector<bool> pages_there = present(region, region.size_bytes / kPage);
    there.insert(there.end(), pages_there.begin(), pages_there.end());
  }
  if (there != zeros_between(deferred.zeros.size(), deferred.expected_first, deferred.expected_end))
    return 2;
  for (std::size_t page = 0; page < page_at.size(); ++page) {
    if (!is_right(page)) return 3;
  }
  return 0;
}

class DeferredFillTest : public ServedSession, public testing::WithParamInterface<Deferred> {};

TEST_P(DeferredFillTest, ADeferredWindowIsFilledInPartsToItsEnd) {
  const Deferred& deferred = GetParam();
  const std::size_t pages = deferred.zeros.size();
  memory_.resize(pages * kPage);
  for (std::size_t page = 0; page < pages; ++page) {
    if (deferred.zeros[page]) continue;
    std::fill_n(&memory_[page * kPage], kPage, static_cast<std::byte>(1 + page % 255));
  }
  make_snapshot_of_memory();
  ASSERT_FALSE(HasFatalFailure());
  std::fill(memory_.begin() + static_cast<std::ptrdiff_t>(deferred.given_back_first * kPage),
            memory_.begin() + static_cast<std::ptrdiff_t>(deferred.given_back_end * kPage),
            std::byte{0});
  std::vector<std::size_t> region_bytes;
  for (const std::size_t count : deferred.region_pages) region_bytes.push_back(count * kPage);
  const Pace pace;
  start_unserved(region_bytes, [&](std::span<GuestRegion> regions) {
    return use_deferred(regions, memory_, deferred, pace);
  });
  ASSERT_FALSE(HasFatalFailure());
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  begin_session(snapshot->chain, std::move(handshake_));
  ASSERT_TRUE(session_);
  const VmCounters& counters = state_->counters();
  while (counters.data_faults.get() + counters.zero_faults.get() < deferred.touches.size()) {
    pollfd waiting{userfaultfd_.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, 20'000), 1);
    session_->handle_events();
    ASSERT_EQ(session_->state(), SessionState::kServing) << session_->failure();
  }
  EXPECT_TRUE(session_->has_deferred());
  std::size_t parts = 0;
  while (session_->has_deferred()) {
    ASSERT_LE(++parts, deferred.touches.size() * (512 / kZeroPartBlocks + 2));
    ASSERT_EQ(session_->fill_deferred(), SessionState::kServing) << session_->failure();
  }
  pace.let_go_on();
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  session_.reset();
}

INSTANTIATE_TEST_SUITE_P(
    Cases, DeferredFillTest,
    testing::Values(
        Deferred{"zeros before data", {1024}, zeros_between(1024, 0, 300), {299, 298}, 0, 300},
        Deferred{"zeros after data", {1024}, zeros_between(1024, 300, 1024), {300, 301}, 300, 512},
        Deferred{"zeros, the window in the middle",
                 {1536},
                 zeros_between(1536, 0, 1536),
                 {800, 799, 801},
                 512,
                 1024},
        Deferred{"data beside what was given back",
                 {64},
                 zeros_between(64, 0, 0),
                 {15, 14},
                 0,
                 16,
                 16,
                 24},
        Deferred{"data from below", {64}, zeros_between(64, 0, 0), {16, 17}, 16, 32},
        Deferred{"data with what was given back in the middle",
                 {64},
                 zeros_between(64, 0, 0),
                 {26, 27},
                 24,
                 32,
                 20,
                 24},
        Deferred{
            "data at the memory's end", {1000}, zeros_between(1000, 0, 0), {999, 998}, 992, 1000},
        Deferred{
            "zeros at the memory's end", {612}, zeros_between(612, 0, 612), {611, 610}, 512, 612},
        Deferred{"a region's end", {100, 500}, zeros_between(600, 0, 600), {99, 98}, 0, 100},
        Deferred{"a region's start", {100, 500}, zeros_between(600, 0, 600), {100, 101}, 100, 512},
        Deferred{"data at a region's end", {24, 40}, zeros_between(64, 0, 0), {23, 22}, 16, 24}),
    [](const auto& info) {
      std::string name = info.param.name;
      std::erase_if(name, [](char c) { return std::isalpha(static_cast<unsigned char>(c)) == 0; });
      return name;
    });

TEST_F(SessionTest, PagesGivenBackAfterTheyWereReadAheadReadAsZeros) {
  constexpr std::size_t kPages = 700;
  constexpr std::size_t kFirst = 100;
  constexpr std::size_t kEnd = 500;
  make_snapshot(kPages * kPage, 3, 4);
  ASSERT_FALSE(HasFatalFailure());
  const Pace pace;
  const std::string path = (root_ / "socket").string();
  const os::Fd listener(tests::listen_at(path));
  process_ = tests::start_guest(
      path, {{kPages * kPage}, false, true}, [&](std::span<GuestRegion> regions) {
        std::byte* memory = regions[0].memory;
        pace.wait();
        ::madvise(memory + kFirst * kPage, (kEnd - kFirst) * kPage, MADV_DONTNEED);
        pace.wait();
        return has_all_but(memory, memory_, kFirst, kEnd) ? 0 : 1;
      });
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  start_reader();
  populates_ = true;
  plan_ = {{}, true};
  accept_guest(listener.get(), snapshot->chain);
  ASSERT_TRUE(session_);
  // The first block is filled, so all of the first portion has been read.
  populate(false);
  pace.let_go_on();
  while (state_->counters().removes.get() == 0) session_->step(1000);
  populate(true);
  EXPECT_EQ(state_->counters().populated_bytes.get(), kPages * kPage);
  EXPECT_LE(state_->counters().data_bytes.get(), (kPages - (kEnd - kFirst)) * kPage);
  pace.let_go_on();
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  session_.reset();
}

TEST_F(SessionTest, ADamagedBlockThatIsReadAheadKillsTheVm) {
  make_snapshot(256 * kPage, 1, 11);
  ASSERT_FALSE(HasFatalFailure());
  damage_first_block();
  const int code = run_guest(
      {{256 * kPage}, false},
      [](std::span<GuestRegion>) {
        while (true) ::pause();
        return 0;
      },
      true);
  EXPECT_EQ(code, 128 + SIGKILL);
  EXPECT_EQ(session_->state(), SessionState::kKilled);
  EXPECT_NE(session_->failure().find("does not match its checksum"), std::string::npos);
  EXPECT_EQ(state_->counters().read_retries.get(), 2);
}

TEST_F(SessionTest, PortionsAreReturnedWhenTheirVmEnds) {
  constexpr int kRounds = 40;
  make_snapshot(2000 * kPage, 2, 6);
  ASSERT_FALSE(HasFatalFailure());
  start_reader();
  populates_ = true;
  for (int round = 0; round < kRounds; ++round) {
    start_unserved({2000 * kPage}, [](std::span<GuestRegion>) {
      while (true) ::pause();
      return 0;
    });
    ASSERT_FALSE(HasFatalFailure());
    // What is read from lives no longer than its session.
    const auto snapshot = store::open_snapshot(snapshot_);
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    begin_session(snapshot->chain, std::move(handshake_));
    ASSERT_TRUE(session_);
    session_->populate(1);
    if (round % 2 == 0) wait_for_reader();
    ::kill(process_, SIGKILL);
    EXPECT_EQ(tests::wait_for(process_), 128 + SIGKILL);
    while (session_->step(1000) == SessionState::kServing) {
    }
    EXPECT_EQ(session_->populate(512), Session::Populated::kDone);
    session_.reset();
    fs::remove(root_ / "socket");
  }
  std::array<Portion*, PlanReader::kPortions> portions{};
  for (Portion*& portion : portions) {
    portion = reader_->take();
    EXPECT_NE(portion, nullptr);
  }
  for (Portion* portion : portions) reader_->give_back(*portion);
}

TEST_F(SessionTest, ASuccessorPopulatesWhatWasReadButNotFilled) {
  constexpr std::size_t kPages = 1500;
  make_snapshot(kPages * kPage, 3, 9);
  ASSERT_FALSE(HasFatalFailure());
  const Pace pace;
  const std::string path = (root_ / "socket").string();
  const os::Fd listener(tests::listen_at(path));
  process_ = tests::start_guest(
      path, {{kPages * kPage}, false, true}, [&](std::span<GuestRegion> regions) {
        pace.wait();
        return std::memcmp(regions[0].memory, memory_.data(), memory_.size()) == 0 ? 0 : 1;
      });
  const auto snapshot = store::open_snapshot(snapshot_);
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  start_reader();
  populates_ = true;
  plan_ = {{{900, 30}, {20, 3}, {10, 10}}, true};
  accept_guest(listener.get(), snapshot->chain);
  ASSERT_TRUE(session_);
  populate(false);
  // Only what is filled counts: another session begins where the first has filled to.
  session_.reset();
  SessionOptions options;
  options.plan = &plan_;
  options.reader = reader_.get();
  auto successor = Session::create(snapshot->chain, *state_, {userfaultfd_.get(), pidfd_.get()},
                                   buffer_, options);
  ASSERT_TRUE(successor) << successor.error().message;
  session_ = std::move(*successor);
  populate(true);
  const VmCounters& counters = state_->counters();
  EXPECT_EQ(counters.data_bytes.get() + counters.zero_bytes.get(), kPages * kPage);
  pace.let_go_on();
  while (session_->step(1000) == SessionState::kServing) {
  }
  EXPECT_EQ(tests::wait_for(process_), 0) << session_->failure();
  EXPECT_EQ(counters.data_faults.get() + counters.zero_faults.get(), 0);
  session_.reset();
}

TEST(Handshake, InvalidAndSilentPeersAreRefusedAfterTheTimeout) {
  const auto receive = [](const std::function<void(int)>& peer) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const os::Fd ours(ends[0]);
    os::Fd theirs(ends[1]);
    peer(theirs.get());
    auto handshake = receive_handshake(ours.get(), std::chrono::milliseconds(20));
    return handshake ? std::string("accepted") : handshake.error().message;
  };
  const auto send = [](const std::string& text) {
    return [text](int socket) {
      EXPECT_EQ(::send(socket, text.data(), text.size(), MSG_DONTWAIT),
                static_cast<ssize_t>(text.size()));
    };
  };
  EXPECT_NE(receive([](int) {}).find("did not complete the handshake"), std::string::npos);
  EXPECT_NE(receive(send("[{\"base")).find("did not complete the handshake"), std::string::npos);
  EXPECT_NE(receive([](int socket) { ::shutdown(socket, SHUT_WR); }).find("closed the socket"),
            std::string::npos);
  EXPECT_NE(receive(send("[]")).find("without a userfaultfd"), std::string::npos);
  EXPECT_NE(receive(send(std::string(70000, ' '))).find("more than 65536 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace lamina::pager
