#include "pager/pager_fixture.h"

#include <fcntl.h>

#include <algorithm>
#include <random>
#include <utility>

#include "base/block.h"
#include "engine/block_scan.h"
#include "engine/layer_writer.h"
#include "mapping/overlay.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::pager {
namespace {

std::vector<std::byte> some_block(std::uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(kBlockBytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

bool is_all_zeros(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

std::vector<bool> zeros_of(const std::string& kinds) {
  std::vector<bool> zeros;
  for (const char kind : kinds) zeros.push_back(kind == 'z');
  return zeros;
}

SnapshotFiles::SnapshotFiles()
    : directory_(*os::open_directory(AT_FDCWD, scratch_.path(), scratch_.path())) {}

engine::Layer SnapshotFiles::write_layer(const mapping::Mapping& state, const Uuid& id,
                                         const std::vector<BlockRun>& runs) {
  std::vector<mapping::StoredExtent> stored;
  std::vector<std::byte> data;
  std::vector<std::uint64_t> checksums;
  for (const BlockRun& run : runs) {
    stored.push_back({run.first, run.count});
    for (std::uint32_t block = run.first; block < run.end(); ++block) {
      data.insert(data.end(), blocks_[block].begin(), blocks_[block].end());
      checksums.push_back(engine::block_checksum(blocks_[block]));
    }
  }
  const std::string name = id.to_string();
  const os::Fd file = *os::open_at(directory_.get(), name, O_RDWR | O_CREAT | O_EXCL, name);
  EXPECT_TRUE(os::write_at(file.get(), data, 0, name));
  format::Trailer trailer = engine::describe_layer(
      state, id, std::move(stored), format::LayerLayout::kCompact, blocks_.size() * kBlockBytes);
  trailer.checksums = std::move(checksums);
  EXPECT_TRUE(engine::finish_layer(file.get(), trailer, name));
  return *engine::Layer::open(directory_.get(), name, name, id, true);
}

void SnapshotFiles::make(const std::vector<bool>& is_zero) {
  const auto count = static_cast<std::uint32_t>(is_zero.size());
  std::vector<BlockRun> first;
  std::vector<BlockRun> second;
  for (std::uint32_t block = 0; block < count; ++block) {
    blocks_.push_back(is_zero[block] ? std::vector<std::byte>(kBlockBytes) : some_block(block));
    if (is_zero[block]) continue;
    if (!first.empty() && first.back().end() == block) {
      ++first.back().count;
    } else {
      first.push_back({block, 1});
    }
    if (block % 5 == 2) second.push_back({block, 1});
  }
  mapping::Mapping state = mapping::Mapping::zeros(count);
  std::vector<engine::Layer> layers;
  for (const auto& runs : {first, second}) {
    if (runs.empty()) continue;
    std::vector<mapping::Extent> changes;
    std::uint32_t storage = 0;
    for (const BlockRun& run : runs) {
      changes.push_back({run.first, run.count, mapping::kNewLayer, storage});
      storage += run.count;
    }
    const Uuid id = Uuid::random();
    state = *mapping::overlay(state, id, changes);
    layers.push_back(write_layer(state, id, runs));
  }
  chain_ = *engine::Chain::create(std::move(state), std::move(layers));
}

void SnapshotFiles::damage(std::uint32_t block) {
  const mapping::Extent extent = chain_->mapping().resolve(block);
  const std::string name = chain_->layer(extent.layer).build_id().to_string();
  const os::Fd file = *os::open_at(directory_.get(), name, O_RDWR, name);
  const std::byte changed = ~blocks_[block][100];
  EXPECT_TRUE(os::write_at(file.get(), std::span(&changed, 1),
                           extent.storage_block * kBlockBytes + 100, name));
}

std::unique_ptr<VmState> SnapshotFiles::make_state(const std::vector<Region>& regions,
                                                   std::uint64_t record_until_ns,
                                                   bool record_faults_only) {
  VmRecord record;
  record.pid = 4711;
  record.memory_bytes = blocks_.size() * kBlockBytes;
  record.regions = regions;
  record.record_until_ns = record_until_ns;
  record.record_faults_only = record_faults_only;
  const std::string name = "state-" + std::to_string(states_++);
  auto state = VmState::create(directory_.get(), name, record, name);
  EXPECT_TRUE(state) << state.error().message;
  return std::make_unique<VmState>(std::move(*state));
}

void PagerTest::make_vm(const std::vector<bool>& is_zero, std::uint64_t page_bytes) {
  make_vm(is_zero, {{kTestAddress, is_zero.size() * kBlockBytes, 0, page_bytes}});
}

void PagerTest::make_vm(const std::vector<bool>& is_zero, std::vector<Region> regions) {
  snapshot_.make(is_zero);
  state_ = snapshot_.make_state(regions, record_until_ns_, record_faults_only_);
  vm_ = std::make_unique<SimulatedVm>(std::move(regions));
}

void PagerTest::serve(const PopulatePlan* plan, PlanReader* reader) {
  server_.reset();
  server_ = std::make_unique<Server>(snapshot_.chain(), *state_, *vm_, buffer_, limits_,
                                     record_until_ns_, plan, reader);
  server_->memory->finish_predecessor_events();
}

bool PagerTest::has_data(std::uint32_t block) {
  const std::uint64_t offset = address(block) % kHugePageBytes;
  const auto page = vm_->page(address(block));
  if (page.empty()) return false;
  const auto bytes = page.size() == kBlockBytes ? page : page.subspan(offset, kBlockBytes);
  const auto& wanted = snapshot_.blocks()[block];
  return std::equal(bytes.begin(), bytes.end(), wanted.begin(), wanted.end());
}

bool PagerTest::has_zeros(std::uint32_t block) {
  const std::uint64_t offset = address(block) % kHugePageBytes;
  const auto page = vm_->page(address(block));
  if (page.empty()) return false;
  return is_all_zeros(page.size() == kBlockBytes ? page : page.subspan(offset, kBlockBytes));
}

std::vector<std::uint32_t> PagerTest::filled() const {
  std::vector<std::uint32_t> blocks;
  for (const std::uint64_t page : vm_->filled()) {
    blocks.push_back(static_cast<std::uint32_t>((page - kTestAddress) / kBlockBytes));
  }
  return blocks;
}

void PagerTest::fill_all_deferred() {
  while (server_->faults.has_deferred()) server_->faults.fill_deferred();
}

}  // namespace lamina::pager
