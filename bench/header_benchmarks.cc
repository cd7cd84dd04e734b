// A header of 100,000 extents as bytes: its compact form, as columns, and in E2B's version 5
// (lamina's own writer of it: varints in an LZ4 frame with checksums).
//
// The mapping is that of a chain: a base that is adopted, diffs that are compact and of which
// younger ones have replaced parts, zeros between.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "format/header_codec.h"
#include "format/header_native.h"
#ifdef LAMINA_HAVE_PACKED
#include "e2b/header.h"
#endif

namespace lamina::bench {
namespace {

constexpr std::uint32_t kHeaderExtents = 100'000;
constexpr std::uint32_t kHeaderLayers = 12;
constexpr unsigned kHeaderRepeats = 20;
constexpr double kMaxHeaderMegabytes = 0.35;

Result<format::Header> draw_header() {
  std::mt19937_64 random(20);
  std::vector<Uuid> layers(kHeaderLayers);
  std::ranges::generate(layers, Uuid::random);
  std::vector<std::uint32_t> ends(kHeaderLayers + 1, 0);
  std::vector<mapping::Extent> extents;
  extents.reserve(kHeaderExtents);
  std::uint32_t end = 0;
  for (std::uint32_t i = 0; i < kHeaderExtents; ++i) {
    // Every second extent is of the base; the others are of a diff, or zeros.
    const auto layer =
        static_cast<mapping::LayerIndex>(i % 2 == 0 ? 1 : (2 + random() % kHeaderLayers) % 13);
    const auto count = static_cast<std::uint32_t>(1 + random() % (random() % 50 == 0 ? 600 : 16));
    std::uint32_t storage = 0;
    if (layer == 1) storage = end;
    if (layer > 1)
      storage = ends[layer] + static_cast<std::uint32_t>(random() % 3 * (random() % 9));
    extents.push_back({end, count, layer, storage});
    ends[layer] = storage + count;
    end += count;
  }
  format::Header header;
  header.memory_bytes = end * kBlockBytes;
  header.pause_id = Uuid::random();
  header.base_build_id = layers.front();
  header.build_id = layers.back();
  header.generation = kHeaderLayers - 1;
  header.layers.assign(kHeaderLayers, {end, true});
  LAMINA_ASSIGN_OR_RETURN(header.mapping,
                          mapping::Mapping::create(end, std::move(layers), extents));
  return header;
}

#ifdef LAMINA_HAVE_PACKED
constexpr double kV5OverOurs = 8;

e2b::Header as_v5(const format::Header& header) {
  e2b::Header v5;
  v5.memory_bytes = header.memory_bytes;
  v5.generation = header.generation;
  v5.build_id = header.build_id;
  v5.base_build_id = header.base_build_id;
  v5.builds.assign(header.mapping.layers().begin(), header.mapping.layers().end());
  v5.mappings.reserve(header.mapping.extent_count());
  for (std::size_t i = 0; i < header.mapping.extent_count(); ++i) {
    const mapping::Extent extent = header.mapping.extent(i);
    const std::uint32_t build = extent.layer == mapping::kZeros ? e2b::kNoBuild : extent.layer - 1U;
    v5.mappings.push_back({extent.guest_block, extent.block_count, build, extent.storage_block});
  }
  return v5;
}
#endif

/// Encodes `kHeaderRepeats` times: once is too short to be timed.
template <typename Encode>
Contender encoder(const char* name, std::vector<std::byte>& made, Encode encode) {
  return {name,
          {},
          [&made, encode]() -> Status {
            for (unsigned i = 0; i < kHeaderRepeats; ++i) {
              made.clear();
              made.shrink_to_fit();
              LAMINA_ASSIGN_OR_RETURN(made, encode());
            }
            return {};
          },
          {},
          {}};
}

Status compare_encoders(Bench& bench, const format::Header& header) {
  Comparison comparison;
  comparison.name = "header/encode";
  if (!bench.wants(comparison.name)) return {};
  using Bytes = Result<std::vector<std::byte>>;
  const auto compact = format::encode_native_header(header);
  const auto columns = format::encode_native_header(header, format::ExtentForm::kColumns);
  std::vector<std::byte> made;
  comparison.what =
      fmt::format("the bytes of a header of {} extents, {} times", kHeaderExtents, kHeaderRepeats);
  comparison.floor_is = "one copy of the bytes into fresh memory";
  comparison.contenders = {
      encoder("ours", made, [&]() -> Bytes { return format::encode_native_header(header); }),
      encoder("floor", made, [&]() -> Bytes { return compact; }),
      encoder("columns", made, [&]() -> Bytes {
        return format::encode_native_header(header, format::ExtentForm::kColumns);
      })};
  std::string sizes = fmt::format("bytes: compact {:.3f} MB (goal {}), columns {:.3f} MB",
                                  static_cast<double>(compact.size()) / 1e6, kMaxHeaderMegabytes,
                                  static_cast<double>(columns.size()) / 1e6);
#ifdef LAMINA_HAVE_PACKED
  const e2b::Header v5 = as_v5(header);
  LAMINA_ASSIGN_OR_RETURN(const auto v5_bytes, e2b::encode_header(v5));
  comparison.contenders.push_back(encoder("v5", made, [&] { return e2b::encode_header(v5); }));
  sizes += fmt::format(", V5 {:.3f} MB", static_cast<double>(v5_bytes.size()) / 1e6);
#endif
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
#ifdef LAMINA_HAVE_PACKED
  const auto& measured = bench.measurements().back();
  const auto ours = measured.median_ms("ours");
  const auto theirs = measured.median_ms("v5");
  if (ours && theirs) {
    sizes += fmt::format("; V5 takes {:.1f} times as long (goal {})", *theirs / *ours, kV5OverOurs);
  }
#endif
  bench.note(sizes);
  return {};
}

Status compare_decoders(Bench& bench, const format::Header& header) {
  Comparison comparison;
  comparison.name = "header/decode";
  if (!bench.wants(comparison.name)) return {};
  const auto compact = format::encode_native_header(header);
  const auto columns = format::encode_native_header(header, format::ExtentForm::kColumns);
  format::Header decoded;
  const auto decoder = [&decoded, &header](const char* name, const std::vector<std::byte>& bytes) {
    return Contender{name,
                     {},
                     [&decoded, &bytes]() -> Status {
                       LAMINA_ASSIGN_OR_RETURN(decoded, format::decode_header(bytes));
                       return {};
                     },
                     [&decoded, &header]() -> Status {
                       if (decoded == header) return {};
                       return fail(ErrorKind::kCorrupt, "the header was read wrongly");
                     },
                     {}};
  };
  std::vector<std::byte> made;
  comparison.what = fmt::format("a header of {} extents checked and read", kHeaderExtents);
  comparison.floor_is = "one copy of the bytes into fresh memory";
  comparison.contenders = {decoder("ours", compact),
                           {"floor",
                            {},
                            [&]() -> Status {
                              made = std::vector<std::byte>(compact);
                              return {};
                            },
                            {},
                            {}},
                           decoder("columns", columns)};
  return bench.run(comparison);
}

}  // namespace

Status run_headers(Bench& bench) {
  if (!bench.wants("header/encode") && !bench.wants("header/decode")) return {};
  LAMINA_ASSIGN_OR_RETURN(const format::Header header, draw_header());
  LAMINA_RETURN_IF_ERROR(compare_encoders(bench, header));
  return compare_decoders(bench, header);
}

}  // namespace lamina::bench
