#include "stand_ins/firecracker/guest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace lamina::tests {

Guest::Guest(GuestMapping mapping, PageModel model, DirtyTracking tracking)
    : mapping_(std::move(mapping)),
      model_(std::move(model)),
      tracking_(tracking),
      dirty_(std::make_unique<std::atomic<bool>[]>(model_.size())) {}

void Guest::write(std::size_t page, std::uint64_t seed) {
  std::array<std::byte, kGuestPageBytes> bytes{};
  fill_page(bytes, page, seed);
  const std::lock_guard lock(lock_of(page));
  mark_dirty(page);
  std::memcpy(mapping_.page(page).data(), bytes.data(), bytes.size());
  model_.write(page, seed);
}

bool Guest::read(std::size_t page) {
  const std::lock_guard lock(lock_of(page));
  if (tracking_.reads_are_dirty) mark_dirty(page);
  return compare(page);
}

void Guest::balloon(std::size_t first, std::size_t count) {
  while (count > 0) {
    const std::size_t here = std::min(count, kPagesPerLock - first % kPagesPerLock);
    const std::lock_guard lock(lock_of(first));
    mapping_.discard(first, here);
    for (std::size_t page = first; page < first + here; ++page) model_.discard(page);
    first += here;
    count -= here;
  }
}

void Guest::store_again(std::size_t page) {
  std::array<std::byte, kGuestPageBytes> bytes{};
  const std::lock_guard lock(lock_of(page));
  if (model_.is_discarded(page)) return;
  constexpr std::size_t kStoredBytes = 16;
  model_.fill(page, bytes);
  mark_dirty(page);
  std::memcpy(mapping_.page(page).data(), bytes.data(), kStoredBytes);
}

std::vector<bool> Guest::dirty() const {
  if (!tracking_.tracked) {
    std::vector<bool> resident = mapping_.resident();
    resident.resize(pages());
    return resident;
  }
  std::vector<bool> dirty(pages());
  for (std::size_t page = 0; page < dirty.size(); ++page) dirty[page] = dirty_[page].load();
  return dirty;
}

void Guest::clear_dirty() {
  for (std::size_t page = 0; page < pages(); ++page)
    dirty_[page].store(false, std::memory_order_relaxed);
}

void Guest::remember_pages() {
  for (std::size_t page = 0; page < pages(); ++page) {
    const std::lock_guard lock(lock_of(page));
    model_.remember(page);
  }
}

std::optional<std::string> Guest::check() {
  for (std::size_t page = 0; page < pages(); ++page) {
    const std::lock_guard lock(lock_of(page));
    if (!compare(page)) break;
  }
  return first_wrong();
}

std::optional<std::string> Guest::first_wrong() const {
  const std::lock_guard lock(wrong_mutex_);
  return first_wrong_;
}

std::uint32_t Guest::digest() {
  std::uint32_t crc = 0;
  std::array<std::byte, kGuestPageBytes> bytes{};
  for (std::size_t page = 0; page < pages(); ++page) {
    const std::lock_guard lock(lock_of(page));
    model_.fill(page, bytes);
    crc = crc32(bytes, crc);
  }
  return crc;
}

bool Guest::compare(std::size_t page) {
  const std::span<const std::byte> have = mapping_.page(page);
  if (model_.is_right(page, have)) return true;
  std::array<std::byte, kGuestPageBytes> want{};
  model_.fill(page, want);
  const auto at = static_cast<std::size_t>(
      std::mismatch(want.begin(), want.end(), have.begin()).first - want.begin());
  const std::lock_guard lock(wrong_mutex_);
  if (!first_wrong_) {
    first_wrong_ = fmt::format("page={} byte={} have={:#04x} want={:#04x}{}", page, at,
                               at < have.size() ? std::to_integer<unsigned>(have[at]) : 0,
                               at < want.size() ? std::to_integer<unsigned>(want[at]) : 0,
                               model_.is_discarded(page) ? " discarded" : "");
    std::fprintf(stderr, "wrong %s\n", first_wrong_->c_str());
  }
  return false;
}

}  // namespace lamina::tests
