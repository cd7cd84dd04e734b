// The memory of the guest as it is mapped in this process: one or two regions, one after the other
// in the memory file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lamina/result.h"
#include "os/fd.h"
#include "stand_ins/guest_region.h"
#include "stand_ins/page_server_connection.h"

namespace lamina::tests {

/// Mapped until the process ends. Errors are in Firecracker's words.
class GuestMapping {
 public:
  /// Anonymous memory, zeros; with `huge_pages` on 2 MiB pages, which must be free.
  static Result<GuestMapping> fresh(std::span<const std::uint64_t> region_bytes, bool huge_pages);

  /// MAP_PRIVATE of a memory file, which must be as long as the regions together.
  static Result<GuestMapping> from_file(const std::string& path,
                                        std::span<const std::uint64_t> region_bytes);

  /// Anonymous memory whose pages come from the page server that listens at `path`. Keeps the
  /// userfaultfd and the connection. `userfaultfd` may be one that was opened before.
  static Result<GuestMapping> from_page_server(const std::string& path,
                                               std::span<const std::uint64_t> region_bytes,
                                               bool huge_pages, os::Fd userfaultfd);

  [[nodiscard]] std::size_t pages() const { return pages_; }
  [[nodiscard]] std::span<const GuestRegion> regions() const { return regions_; }
  [[nodiscard]] bool has_page_server() const { return server_.socket.valid(); }

  /// The bytes of a page.
  [[nodiscard]] std::span<std::byte> page(std::size_t number) const;

  /// Gives [first, first + count) back to the kernel, as Firecracker's balloon does: REMOVE events
  /// where there is a userfaultfd, and never the old contents, not even those of a file.
  void discard(std::size_t first, std::size_t count) const;

  /// Which pages are resident, by mincore(2).
  [[nodiscard]] std::vector<bool> resident() const;

 private:
  void add(std::byte* memory, std::uint64_t bytes);

  std::vector<GuestRegion> regions_;
  std::size_t pages_ = 0;
  bool is_file_ = false;
  PageServerConnection server_;
};

}  // namespace lamina::tests
