#include "store/arrival_map.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <string_view>

#include "base/bitmap.h"
#include "base/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/process.h"

namespace lamina::store {
namespace {

constexpr std::string_view kMapMagic = "LAMINAHM";
constexpr std::uint32_t kMapVersion = 1;
constexpr std::size_t kMapHeaderBytes = 4096;
// Offsets of fields that change.
constexpr std::size_t kStateOffset = 64;
constexpr std::size_t kBootOffset = 128;
constexpr std::size_t kBootBytes = 64;
constexpr std::uint32_t kMaxFrames = std::uint32_t{1} << 30;

std::size_t words_for(std::uint32_t bits) {
  return (std::size_t{bits} + kBitsPerWord - 1) / kBitsPerWord;
}

std::size_t bytes_for(std::uint32_t blocks, std::uint32_t frames) {
  return kMapHeaderBytes + (words_for(blocks) + words_for(frames)) * sizeof(std::uint64_t);
}

bool has_bits(std::span<std::uint64_t> words, std::size_t first, std::size_t end) {
  while (first < end) {
    const std::size_t in_word = first % kBitsPerWord;
    const std::size_t count = std::min(kBitsPerWord - in_word, end - first);
    const std::uint64_t mask = (~std::uint64_t{0} >> (kBitsPerWord - count)) << in_word;
    const std::uint64_t word =
        std::atomic_ref(words[first / kBitsPerWord]).load(std::memory_order_acquire);
    if ((word & mask) != mask) return false;
    first += count;
  }
  return true;
}

void set_bits(std::span<std::uint64_t> words, std::size_t first, std::size_t end, bool value) {
  while (first < end) {
    const std::size_t in_word = first % kBitsPerWord;
    const std::size_t count = std::min(kBitsPerWord - in_word, end - first);
    const std::uint64_t mask = (~std::uint64_t{0} >> (kBitsPerWord - count)) << in_word;
    const std::atomic_ref word(words[first / kBitsPerWord]);
    if (value) {
      word.fetch_or(mask, std::memory_order_release);
    } else {
      word.fetch_and(~mask, std::memory_order_release);
    }
    first += count;
  }
}

}  // namespace

Result<ArrivalMap> ArrivalMap::map(os::Fd file, const std::string& path, std::uint32_t blocks,
                                   std::uint32_t frames) {
  ArrivalMap map;
  LAMINA_ASSIGN_OR_RETURN(map.mapping_,
                          os::SharedMapping::map(file.get(), bytes_for(blocks, frames), path));
  map.file_ = std::move(file);
  map.path_ = path;
  map.blocks_ = blocks;
  map.frames_ = frames;
  return map;
}

Result<ArrivalMap> ArrivalMap::make(int directory, const std::string& directory_path,
                                    std::uint32_t blocks, std::uint32_t frames) {
  const std::string path = directory_path + "/" + kArrivalMapName;
  LAMINA_ASSIGN_OR_RETURN(os::Fd file,
                          os::open_at(directory, kArrivalMapName, O_RDWR | O_CREAT | O_EXCL, path));
  // Storage for all of it: a mapped hole for which the disk has no room would kill its writer.
  LAMINA_RETURN_IF_ERROR(os::reserve(file.get(), {0, bytes_for(blocks, frames)}, path));
  ByteWriter header;
  header.put_bytes(std::as_bytes(std::span(kMapMagic)));
  header.put(kMapVersion);
  header.put(blocks);
  header.put(frames);
  LAMINA_RETURN_IF_ERROR(os::write_at(file.get(), header.view(), 0, path));
  LAMINA_ASSIGN_OR_RETURN(ArrivalMap made, map(std::move(file), path, blocks, frames));
  LAMINA_RETURN_IF_ERROR(made.set_this_boot());
  return made;
}

Result<ArrivalMap> ArrivalMap::open(int directory, const std::string& directory_path) {
  const std::string path = directory_path + "/" + kArrivalMapName;
  LAMINA_ASSIGN_OR_RETURN(os::OpenedFile opened,
                          os::open_regular(directory, kArrivalMapName, O_RDWR, path));
  std::array<std::byte, kStateOffset> bytes{};
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(opened.fd.get(), bytes, 0, path));
  ByteReader header(bytes);
  const auto magic = header.get_bytes(kMapMagic.size());
  const auto version = header.get<std::uint32_t>();
  if (!std::ranges::equal(magic, std::as_bytes(std::span(kMapMagic))) || version != kMapVersion) {
    return fail(ErrorKind::kCorrupt, "'{}' is not a map of what has arrived, of version {}", path,
                kMapVersion);
  }
  const auto blocks = header.get<std::uint32_t>();
  const auto frames = header.get<std::uint32_t>();
  if (blocks == 0 || blocks > kMaxBlocks || frames > kMaxFrames ||
      opened.facts.size_bytes != bytes_for(blocks, frames)) {
    return fail(ErrorKind::kCorrupt,
                "'{}' has {} bytes, which is wrong for {} blocks and {} frames", path,
                opened.facts.size_bytes, blocks, frames);
  }
  return map(std::move(opened.fd), path, blocks, frames);
}

std::span<std::uint64_t> ArrivalMap::block_words() const {
  return {reinterpret_cast<std::uint64_t*>(mapping_.bytes().data() + kMapHeaderBytes),
          words_for(blocks_)};
}

std::span<std::uint64_t> ArrivalMap::frame_words() const {
  return {block_words().data() + words_for(blocks_), words_for(frames_)};
}

bool ArrivalMap::has_blocks(const BlockRun& run) const {
  const std::uint64_t end = std::uint64_t{run.first} + run.count;
  return has_bits(block_words(), run.first, std::min<std::uint64_t>(end, blocks_));
}

void ArrivalMap::set_blocks(const BlockRun& run, bool is_here) {
  set_bits(block_words(), run.first, run.end(), is_here);
}

bool ArrivalMap::has_frame(std::uint32_t frame) const {
  return has_bits(frame_words(), frame, std::size_t{frame} + 1);
}

void ArrivalMap::set_frame(std::uint32_t frame, bool is_here) {
  set_bits(frame_words(), frame, std::size_t{frame} + 1, is_here);
}

std::uint32_t ArrivalMap::frames_here() const {
  std::uint32_t count = 0;
  for (std::uint64_t& word : frame_words()) {
    count += static_cast<std::uint32_t>(
        std::popcount(std::atomic_ref(word).load(std::memory_order_relaxed)));
  }
  return count;
}

ArrivalState ArrivalMap::state() const {
  auto* field = reinterpret_cast<std::uint32_t*>(mapping_.bytes().data() + kStateOffset);
  return static_cast<ArrivalState>(std::atomic_ref(*field).load(std::memory_order_acquire));
}

void ArrivalMap::set_state(ArrivalState state) {
  auto* field = reinterpret_cast<std::uint32_t*>(mapping_.bytes().data() + kStateOffset);
  std::atomic_ref(*field).store(static_cast<std::uint32_t>(state), std::memory_order_release);
}

Result<bool> ArrivalMap::is_of_this_boot() const {
  LAMINA_ASSIGN_OR_RETURN(const std::string boot, os::boot_id());
  const auto field = mapping_.bytes().subspan(kBootOffset, kBootBytes);
  const std::string_view noted(reinterpret_cast<const char*>(field.data()), field.size());
  return noted.substr(0, noted.find('\0')) == boot;
}

Status ArrivalMap::set_this_boot() {
  LAMINA_ASSIGN_OR_RETURN(const std::string boot, os::boot_id());
  const auto field = mapping_.bytes().subspan(kBootOffset, kBootBytes);
  std::ranges::fill(field, std::byte{0});
  std::memcpy(field.data(), boot.data(), std::min(boot.size(), kBootBytes - 1));
  return {};
}

Status ArrivalMap::sync() const { return os::sync(file_.get(), path_); }

}  // namespace lamina::store
