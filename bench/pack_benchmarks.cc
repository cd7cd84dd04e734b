// Packing and unpacking of a layer, beside what the compression library alone takes for the same
// frames.
//
// The layer is that of a full memory file: of a real guest (--guest), else of contents that
// compress as well as a real guest's. Packing writes to nowhere, and unpacking to a file in memory,
// so that no disk is measured. The floor has its input in memory and does no checks.
#include <fmt/format.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "lamina/ingest.h"
#include "os/file.h"
#include "packed/object_io.h"
#include "recorded_guest.h"
#include "snapshot_chain.h"
#include "store/snapshot_directory.h"

namespace lamina::bench {
namespace {

using packed::Method;

constexpr double kPackBudget = 1.3;
constexpr double kUnpackBudget = 1 / 0.7;
constexpr int kZstdLevel = 1;

/// Words as a guest has them: zeros, small numbers, pointers into a few areas, and noise. zstd
/// makes it 2.7 times smaller, as the memory of a Linux guest.
void draw_guest_block(std::uint32_t index, std::uint32_t version, std::span<std::byte> block) {
  std::uint64_t state = (std::uint64_t{index} << 32 | version) * 0x9e37'79b9'7f4a'7c15;
  for (std::size_t at = 0; at < block.size(); at += sizeof(state)) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const std::uint64_t draw = state >> 33;
    std::uint64_t word = 0;
    if (draw % 16 >= 9) word = draw % 256;
    if (draw % 16 >= 12) word = 0xffff'8880'0000'0000 | (draw & 0xfff'ffc0);
    if (draw % 16 == 15) word = state;
    std::memcpy(&block[at], &word, sizeof(word));
  }
}

Result<GuestMemory> memory_to_pack(const Bench& bench) {
  if (!bench.options().guest.empty()) {
    LAMINA_ASSIGN_OR_RETURN(RecordedGuest guest, open_recorded_guest(bench.options().guest));
    return std::move(guest.first);
  }
  // Three quarters of a guest's memory are zeros.
  std::vector<std::uint32_t> versions(bench.memory_blocks());
  for (std::uint32_t i = 0; i < versions.size(); ++i) versions[i] = i / 64 % 4 == 0 ? 1 : 0;
  return GuestMemory(std::move(versions), draw_guest_block);
}

/// The layer, and its stored blocks in memory.
struct PackInput {
  std::optional<store::OpenSnapshot> snapshot;
  std::vector<std::byte> blocks;
};

Result<PackInput> make_input(Bench& bench) {
  LAMINA_ASSIGN_OR_RETURN(const GuestMemory memory, memory_to_pack(bench));
  const std::string directory = bench.directory() + "/pack";
  LAMINA_RETURN_IF_ERROR(make_store(directory + "/store"));
  IngestOptions options;
  options.memory_file = directory + "/memory";
  options.snapshot = directory + "/store/vm";
  LAMINA_RETURN_IF_ERROR(memory.write_full_file(options.memory_file));
  LAMINA_RETURN_IF_ERROR(ingest(options));
  PackInput input;
  LAMINA_ASSIGN_OR_RETURN(input.snapshot, store::open_snapshot(options.snapshot));
  const engine::Layer& layer = input.snapshot->chain.layer(1);
  input.blocks.resize(layer.stored_blocks() * kBlockBytes);
  for (const mapping::StoredExtent& extent : layer.trailer()->extents) {
    LAMINA_RETURN_IF_ERROR(layer.read_checked(
        {extent.guest_block, extent.block_count, 1, extent.storage_block},
        std::span(input.blocks)
            .subspan(extent.checksum_index * kBlockBytes, extent.block_count * kBlockBytes)));
  }
  return input;
}

packed::PackSettings settings_of(Method method, bool sealed) {
  packed::PackSettings settings;
  settings.method = method;
  settings.name = "layer";
  if (sealed) settings.key = packed::DataKey::random().value();
  return settings;
}

constexpr std::size_t kFrameBytes = packed::kDefaultFrameBlocks * kBlockBytes;

/// The frames of `blocks`, one behind the other.
template <typename Compress>
std::vector<std::vector<std::byte>> compress_all(std::span<const std::byte> blocks,
                                                 Compress compress) {
  std::vector<std::vector<std::byte>> frames;
  std::vector<std::byte> room(2 * kFrameBytes);
  for (std::size_t at = 0; at < blocks.size(); at += kFrameBytes) {
    const auto frame = blocks.subspan(at, std::min(kFrameBytes, blocks.size() - at));
    const std::size_t length = compress(frame, std::span(room));
    frames.emplace_back(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(length));
  }
  return frames;
}

/// Compresses as the library does by itself.
class PlainCompressor {
 public:
  explicit PlainCompressor(Method method) : method_(method), zstd_(::ZSTD_createCCtx()) {
    ::ZSTD_CCtx_setParameter(zstd_, ZSTD_c_compressionLevel, kZstdLevel);
  }
  PlainCompressor(const PlainCompressor&) = delete;
  PlainCompressor& operator=(const PlainCompressor&) = delete;
  PlainCompressor(PlainCompressor&&) = delete;
  PlainCompressor& operator=(PlainCompressor&&) = delete;
  ~PlainCompressor() { ::ZSTD_freeCCtx(zstd_); }

  std::size_t operator()(std::span<const std::byte> frame, std::span<std::byte> room) const {
    if (method_ == Method::kZstd) {
      return ::ZSTD_compress2(zstd_, room.data(), room.size(), frame.data(), frame.size());
    }
    return static_cast<std::size_t>(::LZ4_compress_default(
        reinterpret_cast<const char*>(frame.data()), reinterpret_cast<char*>(room.data()),
        static_cast<int>(frame.size()), static_cast<int>(room.size())));
  }

 private:
  Method method_;
  ZSTD_CCtx* zstd_;
};

const char* name_of(Method method) { return method == Method::kZstd ? "zstd" : "lz4"; }

Status pack_benchmark(Bench& bench, const PackInput& input, Method method, bool sealed) {
  const std::string name = fmt::format("pack/{}{}", name_of(method), sealed ? "/encrypted" : "");
  if (!bench.wants(name)) return {};
  const PlainCompressor plain(method);
  std::uint64_t packed_bytes = 0;
  Comparison comparison;
  comparison.name = name;
  comparison.what = "a layer packed, every block checked, written to nowhere";
  comparison.floor_is = fmt::format("{} alone, frame by frame, from memory", name_of(method));
  if (!sealed && method == Method::kZstd) comparison.budget.ours_over_floor = kPackBudget;
  comparison.bytes = input.blocks.size();
  comparison.contenders = {
      {"ours",
       {},
       [&]() -> Status {
         packed_bytes = 0;
         LAMINA_RETURN_IF_ERROR(packed::pack_layer(
             input.snapshot->chain, 1, settings_of(method, sealed),
             [&](auto bytes) -> Status {
               packed_bytes += bytes.size();
               return {};
             },
             nullptr));
         return {};
       },
       {},
       {}},
      {"floor",
       {},
       [&]() -> Status {
         std::vector<std::byte> room(2 * kFrameBytes);
         const std::span<const std::byte> blocks = input.blocks;
         for (std::size_t at = 0; at < blocks.size(); at += kFrameBytes) {
           plain(blocks.subspan(at, std::min(kFrameBytes, blocks.size() - at)), room);
         }
         return {};
       },
       {},
       {}},
  };
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{:.2f} times smaller", static_cast<double>(input.blocks.size()) /
                                                     static_cast<double>(packed_bytes)));
  return {};
}

std::size_t decompress(Method method, ZSTD_DCtx* zstd, std::span<const std::byte> frame,
                       std::span<std::byte> room) {
  if (method == Method::kZstd) {
    return ::ZSTD_decompressDCtx(zstd, room.data(), room.size(), frame.data(), frame.size());
  }
  return static_cast<std::size_t>(::LZ4_decompress_safe(
      reinterpret_cast<const char*>(frame.data()), reinterpret_cast<char*>(room.data()),
      static_cast<int>(frame.size()), static_cast<int>(room.size())));
}

Status unpack_once(const std::vector<std::byte>& object, const packed::PackSettings& settings) {
  const packed::Source source = [&](std::uint64_t offset, std::span<std::byte> into) -> Status {
    std::copy_n(object.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  };
  LAMINA_ASSIGN_OR_RETURN(
      const packed::PackReader reader,
      packed::open_object(source, object.size(), {settings.name, settings.key}));
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file, os::make_memory_file("lamina-bench"));
  return packed::unpack_object(reader, source, file.get(), "memory file", nullptr);
}

Status unpack_benchmark(Bench& bench, const PackInput& input, Method method, bool sealed) {
  const std::string name = fmt::format("unpack/{}{}", name_of(method), sealed ? "/encrypted" : "");
  if (!bench.wants(name)) return {};
  const packed::PackSettings settings = settings_of(method, sealed);
  std::vector<std::byte> object;
  LAMINA_RETURN_IF_ERROR(packed::pack_layer(
      input.snapshot->chain, 1, settings,
      [&](auto bytes) -> Status {
        object.insert(object.end(), bytes.begin(), bytes.end());
        return {};
      },
      nullptr));
  const auto frames = compress_all(input.blocks, PlainCompressor(method));
  ZSTD_DCtx* zstd = ::ZSTD_createDCtx();
  Comparison comparison;
  comparison.name = name;
  comparison.what = "a layer decoded, every block checked, written to a file in memory";
  comparison.floor_is = fmt::format("{}'s decoding alone, into one buffer", name_of(method));
  if (!sealed && method == Method::kZstd) comparison.budget.ours_over_floor = kUnpackBudget;
  comparison.bytes = input.blocks.size();
  comparison.ballast_bytes = input.blocks.size() + input.blocks.size() / 4;
  comparison.contenders = {
      {"ours", {}, [&] { return unpack_once(object, settings); }, {}, {}},
      {"floor",
       {},
       [&]() -> Status {
         std::vector<std::byte> room(kFrameBytes);
         for (const auto& frame : frames) decompress(method, zstd, frame, room);
         return {};
       },
       {},
       {}},
  };
  const Status ran = bench.run(comparison);
  ::ZSTD_freeDCtx(zstd);
  return ran;
}

}  // namespace

Status run_pack(Bench& bench) {
  constexpr std::array kMethods = {Method::kZstd, Method::kLz4};
  bool wanted = false;
  for (const Method method : kMethods) {
    for (const char* group : {"pack", "unpack"}) {
      const std::string name = fmt::format("{}/{}", group, name_of(method));
      wanted = wanted || bench.wants(name) || bench.wants(name + "/encrypted");
    }
  }
  if (!wanted) return {};
  LAMINA_ASSIGN_OR_RETURN(const PackInput input, make_input(bench));
  for (const Method method : kMethods) {
    for (const bool sealed : {false, true}) {
      LAMINA_RETURN_IF_ERROR(pack_benchmark(bench, input, method, sealed));
      LAMINA_RETURN_IF_ERROR(unpack_benchmark(bench, input, method, sealed));
    }
  }
  return remove_all(bench.directory() + "/pack");
}

}  // namespace lamina::bench
