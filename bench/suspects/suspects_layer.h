// What the suspects of page faults serve: one file without zeros, its bytes and its checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/anonymous_mapping.h"
#include "os/fd.h"
#include "suspects_guest.h"

namespace lamina::bench {

class BareLayer {
 public:
  /// Writes the new file `path`, synced and in the page cache.
  static Result<std::unique_ptr<BareLayer>> create(const std::string& path, std::uint32_t blocks);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint32_t block_count() const {
    return static_cast<std::uint32_t>(checksums_.size());
  }
  /// What is in the file. A copy: a mapping of the file would keep it in the page cache.
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_.bytes(); }

  /// True when `data` are the blocks from `block` on, as their checksums tell.
  [[nodiscard]] bool matches(std::uint32_t block, std::span<const std::byte> data) const;
  /// Reads blocks into `data` and checks them, as a page server does.
  Status read(std::uint32_t block, std::span<std::byte> data) const;

  /// What a guest that reads these blocks must have read in all.
  [[nodiscard]] std::uint64_t expected_sum(std::span<const std::uint32_t> touches) const;
  /// True where a guest has this layer's bytes in the blocks. Takes its memory out of the
  /// userfaultfd: what is missing would make the reader wait.
  Status compare_guest(const BareGuest& guest, std::span<const std::uint32_t> blocks) const;

 private:
  std::string path_;
  os::Fd fd_;
  os::AnonymousMapping bytes_;
  std::vector<std::uint64_t> checksums_;
};

/// Reads `data.size()` bytes of another process' memory.
Status read_process(pid_t pid, std::uint64_t address, std::span<std::byte> data);

}  // namespace lamina::bench
