// Packs of working sets: what they have, and that nothing depends on them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "format/working_set.h"
#include "packed/keys.h"
#include "remote/manifest.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/removal.h"
#include "remote/sandboxes.h"
#include "remote/troubled_store.h"
#include "remote/working_set_pack.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPackedBlock = 4096;
constexpr std::uint32_t kMemoryBlocks = 64;

class RemotePacks : public testing::Test {
 protected:
  Result<PushReport> push(const LocalSandbox& snapshot) { return push_to(*bucket_, snapshot); }
  Result<PushReport> push_to(object_store::ObjectStore& bucket, const LocalSandbox& snapshot) {
    PushOptions options;
    options.snapshot = snapshot.path;
    options.name = "web";
    return remote::push(bucket, options, tenant_.get());
  }
  Result<PullReport> pull() {
    PullOptions options;
    options.name = "web";
    options.store = sandboxes_.store("there");
    options.as = sandboxes_.fresh_name();
    return remote::pull(*bucket_, options, tenant_.get());
  }
  Result<RemoteVerifyReport> verify() {
    RemoteVerifyOptions options;
    options.data = true;
    return remote::verify(*bucket_, options, tenant_.get());
  }

  /// Runs that overlap, in random order.
  std::vector<BlockRun> random_runs() {
    std::vector<BlockRun> runs;
    for (int i = 0; i < 12; ++i) {
      const auto first = static_cast<std::uint32_t>(sandboxes_.random()() % kMemoryBlocks);
      const auto most = std::min<std::uint32_t>(kMemoryBlocks - first, 9);
      runs.push_back({first, 1 + static_cast<std::uint32_t>(sandboxes_.random()() % most)});
    }
    return runs;
  }
  static std::string record(const LocalSandbox& snapshot, const std::vector<BlockRun>& runs) {
    const auto bytes = format::encode_working_set({kMemoryBlocks * kPackedBlock, runs});
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::ofstream(snapshot.path + "/working-set", std::ios::binary) << text;
    return text;
  }
  remote::Manifest manifest(std::uint64_t number) {
    const remote::RecordPlace place{"web", number};
    const fs::path path = fs::path(sandboxes_.bucket_directory()) / remote::record_key(place);
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto decoded = remote::decode_manifest(std::as_bytes(std::span(text)), place, tenant_.get());
    EXPECT_TRUE(decoded) << decoded.error().message;
    return std::move(*decoded);
  }
  [[nodiscard]] fs::path path_of_pack(const remote::Manifest& manifest) const {
    return fs::path(sandboxes_.bucket_directory()) /
           manifest.reference_of(manifest.pack->object).key;
  }

  /// Fetches the pack, and compares every block with the memory. Their order.
  std::vector<std::uint32_t> fetched_blocks(const remote::Manifest& manifest,
                                            const std::string& memory) {
    std::vector<std::uint32_t> order;
    const auto fetched = remote::fetch_pack(
        *bucket_, manifest,
        [&](BlockRun run, std::span<const std::byte> blocks,
            std::span<const std::uint64_t> checksums) -> Status {
          EXPECT_EQ(blocks.size(), run.count * kPackedBlock);
          EXPECT_EQ(checksums.size(), run.count);
          const auto expected = std::as_bytes(std::span(memory))
                                    .subspan(run.first * kPackedBlock, run.count * kPackedBlock);
          EXPECT_TRUE(std::ranges::equal(blocks, expected)) << run.first;
          for (std::uint32_t i = 0; i < run.count; ++i) order.push_back(run.first + i);
          return {};
        },
        nullptr);
    EXPECT_TRUE(fetched) << fetched.error().message;
    return order;
  }

  static void expect_first_touches(const std::vector<std::uint32_t>& order,
                                   const std::vector<BlockRun>& runs, const std::string& memory) {
    std::vector<std::uint32_t> expected;
    std::set<std::uint32_t> seen;
    for (const BlockRun& run : runs) {
      for (std::uint32_t block = run.first; block < run.end(); ++block) {
        const std::string_view bytes =
            std::string_view(memory).substr(block * kPackedBlock, kPackedBlock);
        const bool is_zero = bytes.find_first_not_of('\0') == std::string_view::npos;
        if (seen.insert(block).second && !is_zero) expected.push_back(block);
      }
    }
    EXPECT_EQ(order, expected);
  }

  Sandboxes sandboxes_{23};
  std::string here_ = sandboxes_.store("here");
  std::unique_ptr<object_store::ObjectStore> bucket_ = sandboxes_.open_bucket();
  std::unique_ptr<packed::KeyWrapper> tenant_;
};

TEST_F(RemotePacks, HaveTheWorkingSetInTheOrderOfItsFirstTouch) {
  LocalSandbox last = sandboxes_.pause(here_, nullptr);
  for (std::uint64_t number = 1; number < 12; ++number) {
    if (number > 1) last = sandboxes_.pause(here_, &last);
    const std::vector<BlockRun> runs = random_runs();
    const std::string recorded = record(last, runs);
    const auto pushed = push(last);
    ASSERT_TRUE(pushed) << pushed.error().message;
    EXPECT_TRUE(pushed->notes.empty());
    const remote::Manifest newest = manifest(number);
    ASSERT_TRUE(newest.pack);
    expect_first_touches(fetched_blocks(newest, last.state.memory), runs, last.state.memory);
    const auto pulled = pull();
    ASSERT_TRUE(pulled) << pulled.error().message;
    sandboxes_.expect_state(pulled->snapshot, last.state);
    std::ifstream file(pulled->snapshot + "/working-set", std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), recorded);
  }
  const auto verified = verify();
  ASSERT_TRUE(verified) << verified.error().message;
  for (const std::string& problem : verified->problems) ADD_FAILURE() << problem;
}

TEST_F(RemotePacks, AreEncryptedWithTheRest) {
  const std::string path = (sandboxes_.root() / "key").string();
  std::ofstream(path) << std::string(64, 'a');
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  auto key = packed::read_key_file(path);
  ASSERT_TRUE(key) << key.error().message;
  tenant_ = std::move(*key);
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  record(first, {{0, kMemoryBlocks}});
  ASSERT_TRUE(push(first));
  remote::Manifest pushed = manifest(1);
  ASSERT_TRUE(pushed.pack);
  expect_first_touches(fetched_blocks(pushed, first.state.memory), {{0, kMemoryBlocks}},
                       first.state.memory);
  pushed.keys.clear();
  const auto refused =
      remote::fetch_pack(*bucket_, pushed, [](auto, auto, auto) -> Status { return {}; }, nullptr);
  EXPECT_FALSE(refused);
}

TEST_F(RemotePacks, BlocksThatNoLayerHasAreRefused) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  record(first, {{0, kMemoryBlocks}});
  ASSERT_TRUE(push(first));
  remote::Manifest pushed = manifest(1);
  ASSERT_TRUE(pushed.pack);
  pushed.pack->contents.checksums.back() ^= 1;
  std::size_t passed = 0;
  const auto refused = remote::fetch_pack(
      *bucket_, pushed,
      [&](BlockRun run, auto, auto) -> Status {
        passed += run.count;
        return {};
      },
      nullptr);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kCorrupt);
  EXPECT_LT(passed, pushed.pack->contents.blocks());  // the frames before
}

TEST_F(RemotePacks, NothingDependsOnThem) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  record(first, {{0, kMemoryBlocks}});
  ASSERT_TRUE(push(first));
  const remote::Manifest pushed = manifest(1);
  ASSERT_TRUE(pushed.pack);
  const fs::path pack = path_of_pack(pushed);
  fs::permissions(pack, fs::perms::owner_write, fs::perm_options::add);
  std::fstream(pack, std::ios::binary | std::ios::in | std::ios::out).seekp(50) << "damage";
  const auto ignore = [](auto, auto, auto) -> Status { return {}; };
  const auto damaged = remote::fetch_pack(*bucket_, pushed, ignore, nullptr);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(verify()->is_intact());
  fs::remove(pack);
  const auto missing = remote::fetch_pack(*bucket_, pushed, ignore, nullptr);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
  const auto pulled = pull();
  ASSERT_TRUE(pulled) << pulled.error().message;
  sandboxes_.expect_state(pulled->snapshot, first.state);
}

TEST_F(RemotePacks, OneThatCannotBeSentIsANote) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  record(first, {{0, kMemoryBlocks}});
  TroubledStore store(sandboxes_.open_bucket(), [](std::uint64_t,
                                                   const object_store::Request& request) {
    return request.key.starts_with(remote::kPacksPrefix) ? Trouble::kLostAnswer : Trouble::kNone;
  });
  const auto pushed = push_to(store, first);
  ASSERT_TRUE(pushed) << pushed.error().message;
  ASSERT_EQ(pushed->notes.size(), 1U);
  EXPECT_NE(pushed->notes.front().find("pack"), std::string::npos) << pushed->notes.front();
  EXPECT_FALSE(manifest(1).pack);
  sandboxes_.expect_nothing_left_over();
  // Likewise if the working set is damaged.
  const LocalSandbox second = sandboxes_.pause(here_, &first);
  std::ofstream(second.path + "/working-set") << "not a working set";
  const auto without = push(second);
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_EQ(without->notes.size(), 1U);
  EXPECT_FALSE(manifest(2).pack);
}

TEST_F(RemotePacks, WorkingSetThatIsRecordedLaterIsPushedLater) {
  const LocalSandbox first = sandboxes_.pause(here_, nullptr);
  ASSERT_TRUE(push(first));
  EXPECT_FALSE(manifest(1).pack);
  record(first, {{0, kMemoryBlocks}});
  const auto again = push(first);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->is_already_there);
  EXPECT_EQ(again->number, 2U);
  EXPECT_EQ(again->uploaded_objects, 1U);
  ASSERT_TRUE(manifest(2).pack);
  const auto third = push(first);
  ASSERT_TRUE(third);
  EXPECT_TRUE(third->is_already_there);
  // It stays as long as its manifest.
  sandboxes_.expect_nothing_left_over(1);
  fetched_blocks(manifest(2), first.state.memory);
  const fs::path pack = path_of_pack(manifest(2));
  EXPECT_TRUE(fs::exists(pack));
  RemoteRemoveOptions options;
  options.name = "web";
  ASSERT_TRUE(remote::remove_name(*bucket_, options));
  sandboxes_.expect_nothing_left_over(1);
  EXPECT_FALSE(fs::exists(pack));
}

}  // namespace
}  // namespace lamina::tests
