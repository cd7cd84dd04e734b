#include "stand_ins/firecracker/page_model.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace lamina::tests {
namespace {

std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320 : 0);
    table[i] = value;
  }
  return table;
}

bool holds(std::span<const std::byte> have, std::size_t page, std::uint64_t seed) {
  std::array<std::byte, kGuestPageBytes> want{};
  fill_page(want, page, seed);
  return std::memcmp(have.data(), want.data(), want.size()) == 0;
}

}  // namespace

std::uint64_t next_random(std::uint64_t& state) {
  state += kRandomStep;
  std::uint64_t value = state;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void fill_page(std::span<std::byte> bytes, std::uint64_t page, std::uint64_t seed) {
  std::memset(bytes.data(), 0, bytes.size());
  if (seed == 0) return;
  std::uint64_t state = seed;
  state = next_random(state) ^ (page * kRandomStep);
  constexpr std::uint64_t kSparseOneIn = 8;
  if (next_random(state) % kSparseOneIn == 0) {
    const std::size_t at = next_random(state) % bytes.size();
    bytes[at] = static_cast<std::byte>(1 + next_random(state) % 255);
    return;
  }
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = next_random(state);
    std::memcpy(&bytes[i], &word, sizeof(word));
  }
}

std::uint32_t crc32(std::span<const std::byte> bytes, std::uint32_t crc) {
  static const std::array<std::uint32_t, 256> table = make_crc_table();
  crc = ~crc;
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^ table[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  }
  return ~crc;
}

PageModel PageModel::without_record(std::size_t pages) {
  PageModel model(0);
  model.size_ = pages;
  return model;
}

void PageModel::write(std::size_t page, std::uint64_t seed) {
  if (pages_.empty()) return;
  pages_[page].seed = seed;
  pages_[page].discarded = false;
}

bool PageModel::is_discarded(std::size_t page) const {
  return !pages_.empty() && pages_[page].discarded;
}

void PageModel::discard(std::size_t page) {
  if (pages_.empty()) return;
  pages_[page].seed = 0;
  pages_[page].discarded = true;
}

bool PageModel::is_right(std::size_t page, std::span<const std::byte> have) const {
  if (pages_.empty()) {
    // It is read, so that it faults.
    static_cast<void>(*static_cast<const volatile std::byte*>(have.data()));
    return true;
  }
  const Page& model = pages_[page];
  if (holds(have, page, model.seed)) return true;
  if (!model.discarded) return false;
  return std::any_of(model.remembered.begin(), model.remembered.end(),
                     [&](std::uint64_t seed) { return holds(have, page, seed); });
}

void PageModel::fill(std::size_t page, std::span<std::byte> bytes) const {
  fill_page(bytes, page, pages_.empty() ? 0 : pages_[page].seed);
}

void PageModel::remember(std::size_t page) {
  if (pages_.empty()) return;
  Page& model = pages_[page];
  if (model.seed == 0) return;
  auto& seeds = model.remembered;
  if (std::find(seeds.begin(), seeds.end(), model.seed) == seeds.end()) seeds.push_back(model.seed);
}

void PageModel::encode(ByteWriter& writer) const {
  writer.put(static_cast<std::uint8_t>(pages_.empty() ? 0 : 1));
  for (const Page& page : pages_) {
    writer.put(page.seed);
    writer.put(static_cast<std::uint8_t>(page.discarded ? 1 : 0));
    writer.put(static_cast<std::uint32_t>(page.remembered.size()));
    writer.put_column(std::span<const std::uint64_t>(page.remembered));
  }
}

Result<PageModel> PageModel::decode(ByteReader& reader, std::size_t pages) {
  if (reader.get<std::uint8_t>() == 0 && reader.ok()) return without_record(pages);
  PageModel model(0);
  model.size_ = pages;
  for (std::size_t i = 0; i < pages && reader.ok(); ++i) {
    Page page;
    page.seed = reader.get<std::uint64_t>();
    page.discarded = reader.get<std::uint8_t>() != 0;
    const auto count = reader.get<std::uint32_t>();
    page.remembered = reader.get_column<std::uint64_t>(count);
    model.pages_.push_back(std::move(page));
  }
  if (!reader.ok()) return fail(ErrorKind::kCorrupt, "the state ends within its pages");
  return model;
}

}  // namespace lamina::tests
