// The page server as a class, in one process with its threads: what thread sanitizer looks at.
#include "lamina/page_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/process.h"
#include "scratch_directory.h"
#include "stand_ins/guest_process.h"
#include "stand_ins/known_snapshot.h"
#include "stand_ins/memory_user.h"
#include "store/open_store.h"
#include "store/pin.h"
#include "store/snapshot_directory.h"
#include "store/store.h"

namespace lamina {
namespace {

namespace fs = std::filesystem;
using tests::GuestRegion;

constexpr std::size_t kPage = 4096;

class PageServerTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(root_ / "store"); }

  ServeOptions options_for(const tests::MadeSnapshot& snapshot) {
    ServeOptions options;
    options.endpoints = {{snapshot.path, socket()}};
    options.threads = 2;
    options.state_dir = (root_ / "states").string();
    return options;
  }

  [[nodiscard]] std::string socket() const { return (root_ / "socket").string(); }

  /// Starts a guest that connects when gate_ is open. To be called before a server is started.
  pid_t start_guest(std::vector<std::size_t> region_bytes,
                    const std::function<int(std::span<GuestRegion>)>& guest,
                    bool keeps_descriptors = false) {
    return tests::start_guest(socket(),
                              {.region_bytes = std::move(region_bytes),
                               .keeps_descriptors = keeps_descriptors,
                               .gate = &gate_},
                              guest);
  }

  [[nodiscard]] bool has_states() const {
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "states")) {
      if (entry.is_directory() && !entry.path().filename().string().starts_with("store-")) {
        return true;
      }
    }
    return false;
  }

  // On tmpfs, because the state of VMs must be.
  tests::ScratchDirectory scratch_{"/dev/shm"};
  fs::path root_ = scratch_.path();
  tests::Gate gate_;
};

/// What a resume does for the process of a VM before it loads.
Status pin_process(pid_t pid, const std::string& store_path, const std::string& snapshot_path) {
  std::vector<std::string> notes;
  LAMINA_ASSIGN_OR_RETURN(const store::Store store, store::open_store(store_path, notes));
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot, store::open_snapshot(snapshot_path));
  store::PinFacts facts;
  facts.pid = pid;
  facts.uid = ::geteuid();
  facts.snapshot = fs::path(snapshot_path).filename();
  LAMINA_ASSIGN_OR_RETURN(facts.start_time, os::start_time_of(pid));
  LAMINA_ASSIGN_OR_RETURN(facts.boot_id, os::boot_id());
  LAMINA_ASSIGN_OR_RETURN(store::Pin pin, store::Pin::claim(store, pid, facts.start_time));
  LAMINA_RETURN_IF_ERROR(pin.set_base(snapshot));
  return pin.write_facts(facts);
}

/// In a guest: two threads use its memory. 0 if every page was right.
int use_memory(std::span<const GuestRegion> regions, const std::vector<std::byte>& truth,
               std::uint64_t operations, std::uint64_t seed) {
  return tests::use_memory(regions, tests::truth_of(truth),
                           {.threads = 2, .operations = operations, .seed = seed})
      .exit_code();
}

tests::MadeSnapshot snapshot_in(const fs::path& store, std::size_t pages) {
  auto made = tests::make_snapshot(store, pages * kPage, 3, 17);
  EXPECT_TRUE(made) << made.error().message;
  return std::move(*made);
}

TEST_F(PageServerTest, SeveralVmsAreServedWhileTheyArePopulated) {
  const auto snapshot = snapshot_in(root_ / "store", 600);
  ServeOptions options = options_for(snapshot);
  options.populate = Populate::kAll;
  std::vector<pid_t> guests;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    guests.push_back(start_guest({200 * kPage, 400 * kPage}, [&](std::span<GuestRegion> regions) {
      return use_memory(regions, snapshot.memory, 2000, seed);
    }));
  }
  auto server = PageServer::start(options);
  ASSERT_TRUE(server) << server.error().message;
  gate_.open();
  for (const pid_t guest : guests) EXPECT_EQ(tests::wait_for(guest), 0);
  (*server)->detach();
  EXPECT_FALSE(has_states());
  EXPECT_NE((*server)->metrics().find("lamina_sessions_started_total 6"), std::string::npos);
  EXPECT_FALSE(fs::exists(socket()));
}

TEST_F(PageServerTest, DetachedVmsRunWithoutAServer) {
  const auto snapshot = snapshot_in(root_ / "store", 600);
  // The guest is told by a byte when the server has gone.
  std::array<int, 2> begun{};
  std::array<int, 2> gone{};
  ASSERT_EQ(::pipe(begun.data()), 0);
  ASSERT_EQ(::pipe(gone.data()), 0);
  const pid_t guest = start_guest(
      {600 * kPage},
      [&](std::span<GuestRegion> regions) {
        // A region need not be one mapping: runs must not be lost at the border of two.
        ::madvise(regions[0].memory + 101 * kPage, 200 * kPage, MADV_DONTDUMP);
        volatile std::byte first = regions[0].memory[0];
        static_cast<void>(first);
        ::close(gone[1]);
        char byte = 1;
        if (::write(begun[1], &byte, 1) != 1 || ::read(gone[0], &byte, 1) != 1) return 2;
        return use_memory(regions, snapshot.memory, 2000, 5);
      },
      true);
  auto server = PageServer::start(options_for(snapshot));
  ASSERT_TRUE(server) << server.error().message;
  gate_.open();
  char byte = 1;
  ASSERT_EQ(::read(begun[0], &byte, 1), 1);
  (*server)->detach();
  server->reset();
  ASSERT_EQ(::write(gone[1], &byte, 1), 1);
  EXPECT_EQ(tests::wait_for(guest), 0);
  for (const int fd : {begun[0], begun[1], gone[0], gone[1]}) ::close(fd);
}

/// A page of data with another one behind it in the same window.
std::size_t page_before_another(const tests::MadeSnapshot& snapshot) {
  const auto is_data = [&](std::size_t page) {
    const auto* first = &snapshot.memory[page * kPage];
    return std::any_of(first, first + kPage, [](std::byte byte) { return byte != std::byte{0}; });
  };
  for (std::size_t page = 4; (page + 2) * kPage <= snapshot.memory.size(); page += 16) {
    if (is_data(page) && is_data(page + 1)) return page;
  }
  ADD_FAILURE() << "the snapshot has no such page";
  return 0;
}

/// In a guest: waits until a page is there that it has not touched.
bool comes_by_itself(std::byte* page) {
  constexpr std::chrono::seconds kTimeout{20};
  const auto end = std::chrono::steady_clock::now() + kTimeout;
  while (std::chrono::steady_clock::now() < end) {
    unsigned char there = 0;
    if (::mincore(page, kPage, &there) != 0) return false;
    if ((there & 1U) != 0) return true;
    ::sched_yield();
  }
  return false;
}

TEST_F(PageServerTest, APeerThatMakesItsDescriptorBlockDoesNotDelayOthers) {
  const auto snapshot = snapshot_in(root_ / "store", 600);
  ServeOptions options = options_for(snapshot);
  options.threads = 1;
  const std::size_t touched = page_before_another(snapshot);
  const tests::Gate second;
  const pid_t guest =
      tests::start_guest(socket(), {.region_bytes = {600 * kPage}, .gate = &second},
                         [&](std::span<GuestRegion> regions) {
                           volatile std::byte first = regions[0].memory[touched * kPage];
                           static_cast<void>(first);
                           if (!comes_by_itself(regions[0].memory + (touched + 1) * kPage))
                             return 7;
                           return use_memory(regions, snapshot.memory, 2000, 5);
                         });
  std::array<int, 2> served{};
  ASSERT_EQ(::pipe(served.data()), 0);
  const pid_t hostile = start_guest(
      {600 * kPage},
      [&](std::span<GuestRegion> regions) {
        // The session makes it non-blocking when it begins.
        volatile std::byte first = regions[0].memory[0];
        static_cast<void>(first);
        const auto fds = os::userfaultfds_of(::getpid());
        for (const int fd : *fds) ::fcntl(fd, F_SETFL, 0);
        const int code = use_memory(regions, snapshot.memory, 2000, 5);
        if (code != 0 || ::write(served[1], "x", 1) != 1) return 1;
        while (true) ::pause();
      },
      true);
  ::close(served[1]);
  auto server = PageServer::start(options);
  ASSERT_TRUE(server) << server.error().message;
  gate_.open();
  // Served where the kernel can read without waiting (Linux 6.10), killed elsewhere.
  char byte = 0;
  const bool lives = ::read(served[0], &byte, 1) == 1;
  ::close(served[0]);
  second.open();
  EXPECT_EQ(tests::wait_for(guest), 0);
  EXPECT_TRUE(!lives || ::waitpid(hostile, nullptr, WNOHANG) == 0) << "it has ended";
  ::kill(hostile, SIGKILL);
  EXPECT_EQ(tests::wait_for(hostile), 128 + SIGKILL);
}

TEST_F(PageServerTest, ANewServerTakesOverTheVmsOfTheLast) {
  const auto snapshot = snapshot_in(root_ / "store", 2000);
  std::vector<pid_t> guests;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    guests.push_back(start_guest({2000 * kPage}, [&](std::span<GuestRegion> regions) {
      return use_memory(regions, snapshot.memory, 20000, seed);
    }));
  }
  {
    auto server = PageServer::start(options_for(snapshot));
    ASSERT_TRUE(server) << server.error().message;
    gate_.open();
    // All have connected when each has a state.
    const auto count = [&] {
      int states = 0;
      for (const auto& entry : fs::directory_iterator(root_ / "states")) {
        states += fs::exists(entry.path() / "state") ? 1 : 0;
      }
      return states;
    };
    while (count() < 3) ::sched_yield();
  }
  for (int i = 0; i < 5; ++i) {
    auto server = PageServer::start(options_for(snapshot));
    ASSERT_TRUE(server) << server.error().message;
    if (i < 4) continue;
    for (const pid_t guest : guests) EXPECT_EQ(tests::wait_for(guest), 0);
    (*server)->detach();
  }
  EXPECT_FALSE(has_states());
}

TEST_F(PageServerTest, VmsOfAStoreAreServedFromTheirPins) {
  const auto first = snapshot_in(root_ / "store", 600);
  fs::create_directory(root_ / "other");
  auto second = tests::make_snapshot(root_ / "other", 500 * kPage, 2, 23);
  ASSERT_TRUE(second) << second.error().message;
  fs::rename(second->path, root_ / "store" / "second");
  const std::string store = (root_ / "store").string();
  ServeOptions options;
  options.store = store;
  options.populate = Populate::kAll;
  options.record = true;
  options.threads = 2;
  options.state_dir = (root_ / "states").string();
  const std::string socket = store + "/.vms/page-server.sock";
  const tests::GuestLayout layout{.region_bytes = {600 * kPage}, .gate = &gate_};
  std::vector<pid_t> guests;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const std::string path = seed % 2 == 0 ? first.path : (root_ / "store" / "second").string();
    const std::vector<std::byte>& memory = seed % 2 == 0 ? first.memory : second->memory;
    tests::GuestLayout its_layout = layout;
    its_layout.region_bytes = {memory.size()};
    guests.push_back(tests::start_guest(socket, its_layout, [&](std::span<GuestRegion> regions) {
      return use_memory(regions, memory, 2000, seed);
    }));
    const Status pinned = pin_process(guests.back(), store, path);
    ASSERT_TRUE(pinned) << pinned.error().message;
  }
  // Nobody has resumed this one.
  const pid_t stranger = tests::start_guest(socket, layout, [&](std::span<GuestRegion> regions) {
    return use_memory(regions, first.memory, 2000, 5);
  });
  EXPECT_EQ(find_store_server(store), StoreServer::kNone);
  auto server = PageServer::start(options);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(find_store_server(store), StoreServer::kServes);
  gate_.open();
  for (const pid_t guest : guests) EXPECT_EQ(tests::wait_for(guest), 0);
  EXPECT_EQ(tests::wait_for(stranger), 128 + SIGKILL);
  (*server)->detach();
  EXPECT_NE((*server)->metrics().find("lamina_peers_refused_total 1"), std::string::npos);
  EXPECT_FALSE(has_states());
  EXPECT_FALSE(fs::exists(socket));
  EXPECT_TRUE(fs::exists(root_ / "store" / "second" / "working-set"));
  EXPECT_EQ(PageServer::start(options).error().kind, ErrorKind::kBusy);
  server->reset();
  EXPECT_EQ(find_store_server(store), StoreServer::kNone);
}

TEST_F(PageServerTest, ANewServerKillsAVmWhoseSnapshotIsGone) {
  const auto snapshot = snapshot_in(root_ / "store", 2000);
  const pid_t guest = start_guest({2000 * kPage}, [&](std::span<GuestRegion> regions) {
    while (true) {
      if (use_memory(regions, snapshot.memory, 20000, 1) != 0) return 1;
    }
  });
  {
    auto server = PageServer::start(options_for(snapshot));
    ASSERT_TRUE(server) << server.error().message;
    gate_.open();
    while ((*server)->metrics().find("lamina_sessions 1") == std::string::npos) ::sched_yield();
  }
  fs::create_directory(root_ / "store2");
  const auto another = tests::make_snapshot(root_ / "store2", 10 * kPage, 1, 1);
  ASSERT_TRUE(another);
  fs::remove_all(root_ / "store");
  auto server = PageServer::start(options_for(*another));
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(tests::wait_for(guest), 128 + SIGKILL);
  // The state goes last, by the server's own thread.
  while (has_states()) ::sched_yield();
  EXPECT_NE((*server)->metrics().find("lamina_vms_killed_total 1"), std::string::npos);
}

}  // namespace
}  // namespace lamina
