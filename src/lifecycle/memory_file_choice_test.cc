#include "lifecycle/memory_file_choice.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace lamina::lifecycle {
namespace {

constexpr std::uint64_t kMemoryBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kFourGib = std::uint64_t{4} << 30;

struct Case {
  ExaminedVm vm;
  std::optional<store::PinFacts> facts;
  bool asked_for_full = false;
};

store::OpenSnapshot base_of(const Uuid& pause_id, std::uint64_t memory_bytes) {
  auto chain = engine::Chain::create(mapping::Mapping::zeros(1), {});
  store::OpenSnapshot base{.path = "/s/a",
                           .directory = {},
                           .directory_facts = {},
                           .header_file = {},
                           .vmstate_file = {},
                           .header = {},
                           .facts = {},
                           .layer_order_known = true,
                           .pause_id = pause_id,
                           .chain = std::move(*chain)};
  base.header.memory_bytes = memory_bytes;
  return base;
}

/// A VM of which a diff can be taken.
Case diffable() {
  const Uuid base = Uuid::random();
  Case one{{.instance = {},
            .machine = {},
            .hotplug_mib = 0,
            .memory_bytes = kMemoryBytes,
            .last_create = LastCreate(1, mark_of(base)),
            .base = base_of(base, kMemoryBytes),
            .base_error = {}},
           store::PinFacts{}};
  one.vm.instance.version = "1.17.0";
  one.vm.machine.track_dirty_pages = true;
  return one;
}

std::string why_full_of(const Case& one) { return why_full(one.vm, one.facts, one.asked_for_full); }

void grow(Case& one, std::uint64_t memory_bytes) {
  one.vm.memory_bytes = memory_bytes;
  one.vm.base->header.memory_bytes = memory_bytes;
}

TEST(MemoryFileChoice, VmWhoseChangesCountFromItsBaseMayGiveADiff) {
  EXPECT_EQ(why_full_of(diffable()), "");
}

TEST(MemoryFileChoice, EachDoubtMakesTheMemoryFileFull) {
  const std::vector<std::pair<std::function<void(Case&)>, std::string>> doubts{
      {[](Case& one) { one.asked_for_full = true; }, "asked for"},
      {[](Case& one) { one.vm.base_error = "it is damaged"; }, "it is damaged"},
      {[](Case& one) { one.vm.base.reset(); }, "first pause"},
      {[](Case& one) { one.facts.reset(); }, "first pause"},
      {[](Case& one) { one.facts->needs_full = true; }, "not acknowledged"},
      {[](Case& one) { one.vm.last_create = LastCreate(1, std::nullopt); }, "not on record"},
      {[](Case& one) { one.vm.last_create = LastCreate(1, mark_of(Uuid::random())); },
       "was another than its base"},
      {[](Case& one) { one.vm.machine.track_dirty_pages = false; }, "track_dirty_pages"},
      {[](Case& one) { one.vm.memory_bytes *= 2; }, "bytes of memory now"},
      {[](Case& one) {
         grow(one, kFourGib);
         one.vm.instance.version = "1.13.0";
       },
       "more than 3 GiB"},
      {[](Case& one) {
         one.vm.hotplug_mib = 1;
         one.vm.instance.version = "1.13.0";
       },
       "hotpluggable"}};
  for (const auto& [raise, why] : doubts) {
    Case one = diffable();
    raise(one);
    EXPECT_NE(why_full_of(one).find(why), std::string::npos) << why << ": " << why_full_of(one);
  }
}

TEST(MemoryFileChoice, LargeMemoryMayGiveADiffSinceFirecrackerWritesItRight) {
  Case one = diffable();
  grow(one, kFourGib);
  EXPECT_EQ(why_full_of(one), "");
}

}  // namespace
}  // namespace lamina::lifecycle
