// Lookup and overlay at a million extents, in memory, on one thread.
//
// The budgets are absolute: five million lookups a second, five milliseconds for an overlay. The
// floors tell how far the machine is from them: for a lookup one read at a random place of each
// column, for an overlay one copy of the columns.
#include <algorithm>
#include <cstring>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "mapping/overlay.h"
#include "plain_mapping.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kExtents = 1'000'000;
constexpr std::uint32_t kChanges = 1'000;
constexpr std::uint32_t kLookups = 5'000'000;
constexpr double kLookupsPerMs = 5'000;
constexpr std::size_t kLayers = 8;
constexpr std::uint64_t kSeed = 3;

struct MappingInputs {
  mapping::Mapping ours = mapping::Mapping::zeros(1);
  PlainHeader plain;
  std::vector<std::uint32_t> blocks;  ///< to look up
  std::vector<mapping::Change> changes;
  PlainMapping plain_changes;
  Uuid new_layer = Uuid::random();
};

Result<MappingInputs> draw_inputs() {
  std::mt19937_64 random(kSeed);
  MappingInputs inputs;
  std::vector<Uuid> layers(kLayers);
  std::generate(layers.begin(), layers.end(), Uuid::random);
  std::vector<mapping::Extent> extents;
  std::uint32_t end = 0;
  for (std::uint32_t i = 0; i < kExtents; ++i) {
    // A length of 1 to 16, and never the layer of the extent before: nothing joins.
    const auto count = static_cast<std::uint32_t>(1 + random() % 16);
    const auto layer = static_cast<mapping::LayerIndex>(i % 2 == 0 ? 1 + random() % kLayers : 0);
    extents.push_back({end, count, layer, layer == mapping::kZeros ? 0 : end});
    const Uuid build = layer == mapping::kZeros ? Uuid{} : layers[layer - 1U];
    inputs.plain.mapping.push_back({end * kBlockBytes, count * kBlockBytes, build,
                                    layer == mapping::kZeros ? 0 : end * kBlockBytes});
    end += count;
  }
  LAMINA_ASSIGN_OR_RETURN(inputs.ours, mapping::Mapping::create(end, layers, extents));
  inputs.plain.memory_bytes = end * kBlockBytes;
  inputs.plain.index();

  inputs.blocks.resize(kLookups);
  for (std::uint32_t& block : inputs.blocks) block = static_cast<std::uint32_t>(random() % end);

  const std::uint32_t stride = end / kChanges;
  std::uint32_t storage = 0;
  for (std::uint32_t i = 0; i < kChanges; ++i) {
    const auto start = static_cast<std::uint32_t>(i * stride + random() % (stride / 2));
    const auto count = static_cast<std::uint32_t>(1 + random() % 64);
    inputs.changes.push_back({start, count, false, storage});
    inputs.plain_changes.push_back(
        {start * kBlockBytes, count * kBlockBytes, inputs.new_layer, storage * kBlockBytes});
    storage += count;
  }
  return inputs;
}

/// The place of each block in turn, added up: what the timed loops compute must be used.
std::uint64_t sum_ours(const MappingInputs& inputs) {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : inputs.blocks) sum += inputs.ours.resolve(block).storage_block;
  return sum;
}

std::uint64_t sum_plain(const MappingInputs& inputs) {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : inputs.blocks) {
    const auto place = inputs.plain.find(block * kBlockBytes);
    if (place && !place->build.is_nil()) sum += place->storage_offset / kBlockBytes;
  }
  return sum;
}

Status compare_lookups(Bench& bench, const MappingInputs& inputs) {
  const std::string name = "mapping/lookup";
  if (!bench.wants(name)) return {};
  std::uint64_t ours = 0;
  std::uint64_t plain = 0;
  std::uint64_t sink = 0;
  Comparison comparison;
  comparison.name = name;
  comparison.what = "5 million random lookups in 1 million extents";
  comparison.floor_is = "one random read of each column per lookup";
  comparison.budget.ours_ms = kLookups / kLookupsPerMs;
  comparison.contenders = {
      {"plain",
       {},
       [&]() -> Status {
         plain = sum_plain(inputs);
         return {};
       },
       {},
       {}},
      {"ours",
       {},
       [&]() -> Status {
         ours = sum_ours(inputs);
         return {};
       },
       [&]() -> Status {
         if (ours == plain) return {};
         return fail(ErrorKind::kCorrupt, "lookups differ from the plain ones");
       },
       {}},
      {"floor",
       {},
       [&]() -> Status {
         for (const std::uint32_t block : inputs.blocks) {
           const std::size_t index = block % inputs.ours.extent_count();
           sink += inputs.ours.starts()[index] + inputs.ours.storage()[index] +
                   inputs.ours.layer_column()[index];
         }
         return {};
       },
       {},
       {}},
  };
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  if (sink == 0) bench.note("the floor read only zeros");
  const auto ms = bench.measurements().back().median_ms("ours");
  bench.note(fmt::format("{:.1f} M lookups/s", kLookups / ms.value_or(1) / 1000));
  return {};
}

Status compare_overlays(Bench& bench, const MappingInputs& inputs) {
  const std::string name = "mapping/overlay";
  if (!bench.wants(name)) return {};
  std::vector<std::byte> copy;
  mapping::Mapping result = mapping::Mapping::zeros(1);
  PlainMapping plain;
  Comparison comparison;
  comparison.name = name;
  comparison.what = "1,000 extents laid over 1 million";
  comparison.floor_is = "one copy of the columns into fresh memory";
  comparison.budget.ours_ms = 5;
  comparison.contenders = {
      {"plain",
       [&]() -> Status {
         plain = {};
         return {};
       },
       [&]() -> Status {
         plain = normalize_mappings(merge_mappings(inputs.plain.mapping, inputs.plain_changes));
         return {};
       },
       {},
       {}},
      {"ours",
       [&]() -> Status {
         result = mapping::Mapping::zeros(1);
         return {};
       },
       [&]() -> Status {
         LAMINA_ASSIGN_OR_RETURN(result,
                                 mapping::overlay(inputs.ours, inputs.new_layer, inputs.changes));
         return {};
       },
       [&]() -> Status {
         for (const PlainRecord& record : plain) {
           const auto block = static_cast<std::uint32_t>(record.offset / kBlockBytes);
           const mapping::Extent run = result.resolve(block);
           const Uuid build = run.layer == mapping::kZeros ? Uuid{} : result.layer_id(run.layer);
           if (build != record.build || run.storage_block * kBlockBytes != record.storage_offset) {
             return fail(ErrorKind::kCorrupt, "block {} is mapped elsewhere", block);
           }
         }
         return {};
       },
       {}},
      {"floor",
       [&]() -> Status {
         copy = {};
         return {};
       },
       [&]() -> Status {
         const auto append = [&](auto column) {
           const auto bytes = std::as_bytes(column);
           copy.insert(copy.end(), bytes.begin(), bytes.end());
         };
         copy.reserve(inputs.ours.extent_count() * 10);
         append(inputs.ours.starts());
         append(inputs.ours.storage());
         append(inputs.ours.layer_column());
         return {};
       },
       {},
       {}},
  };
  return bench.run(comparison);
}

}  // namespace

Status run_mapping(Bench& bench) {
  if (!bench.wants("mapping/lookup") && !bench.wants("mapping/overlay")) return {};
  LAMINA_ASSIGN_OR_RETURN(const MappingInputs inputs, draw_inputs());
  LAMINA_RETURN_IF_ERROR(compare_lookups(bench, inputs));
  return compare_overlays(bench, inputs);
}

}  // namespace lamina::bench
