// The guest's memory as Cloud Hypervisor maps it, and a guest that knows what each page must hold.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "stand_ins/firecracker/page_model.h"

namespace lamina::cloud_hypervisor_stand_in {

/// A range of guest memory (`guest_ram_mappings`).
struct Range {
  std::uint32_t slot = 0;
  std::uint64_t gpa = 0;
  std::uint64_t size = 0;
  std::uint64_t file_offset = 0;
  std::string zone;
};

enum class Backing : std::uint8_t { kAnonymous, kMemfd, kPrivateFile, kSharedFile };

/// A range with its mapping. As Cloud Hypervisor does, a VM that is refused is unmapped.
struct MappedRange {
  struct Unmap {
    std::size_t bytes = 0;
    void operator()(std::byte* memory) const;
  };

  Range range;
  Backing backing = Backing::kAnonymous;
  os::Fd file;  ///< a memfd, or the zone's file
  std::unique_ptr<std::byte, Unmap> memory;
};

/// Maps `size` bytes of a file, or anonymous memory. The message is Cloud Hypervisor's.
Result<MappedRange> map_range(const Range& range, Backing backing, os::Fd file);

class Guest {
 public:
  Guest(std::vector<MappedRange> ranges, tests::PageModel model);

  [[nodiscard]] std::size_t pages() const { return model_.size(); }
  [[nodiscard]] const std::vector<MappedRange>& ranges() const { return ranges_; }

  void write(std::size_t page, std::uint64_t seed);
  bool read(std::size_t page);
  /// Gives pages back: private pages become the file's again, those of a memfd zeros.
  void discard(std::size_t first, std::size_t count);
  /// One random operation. `discards`: it may give pages back.
  void operate(std::uint64_t& random, bool discards);
  /// Compares all pages; what is wrong first, or was before.
  std::optional<std::string> check();
  /// Writes the memory to a file, in the order of guest addresses.
  Status dump(const std::string& path);

  /// To be called for each state that is handed over.
  void remember_pages();
  [[nodiscard]] std::string encode_model();
  static Result<tests::PageModel> decode_model(const std::string& text, std::size_t pages);

 private:
  [[nodiscard]] std::byte* address_of(std::size_t page) const;
  bool compare(std::size_t page);

  std::vector<MappedRange> ranges_;
  tests::PageModel model_;
  std::mutex mutex_;
  std::optional<std::string> first_wrong_;
};

}  // namespace lamina::cloud_hypervisor_stand_in
