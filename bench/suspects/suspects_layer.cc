#include "suspects_layer.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "base/block.h"
#include "base/error.h"
#include "format/checksum.h"
#include "os/file.h"
#include "os/userfaultfd.h"
#include "touching_guest.h"

namespace lamina::bench {

Result<std::unique_ptr<BareLayer>> BareLayer::create(const std::string& path,
                                                     std::uint32_t blocks) {
  constexpr std::uint64_t kSeed = 17;
  auto layer = std::make_unique<BareLayer>();
  layer->path_ = path;
  LAMINA_ASSIGN_OR_RETURN(layer->bytes_, os::AnonymousMapping::map(blocks * kBlockBytes, path));
  const std::span<std::byte> bytes = layer->bytes_.bytes();
  std::mt19937_64 random(kSeed);
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[i], &word, sizeof(word));
  }
  for (std::uint32_t block = 0; block < blocks; ++block) {
    layer->checksums_.push_back(
        format::checksum64(bytes.subspan(block * kBlockBytes, kBlockBytes)));
  }
  LAMINA_ASSIGN_OR_RETURN(layer->fd_, os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path));
  LAMINA_RETURN_IF_ERROR(os::write_at(layer->fd_.get(), bytes, 0, path));
  LAMINA_RETURN_IF_ERROR(os::sync(layer->fd_.get(), path));
  return layer;
}

bool BareLayer::matches(std::uint32_t block, std::span<const std::byte> data) const {
  for (std::size_t i = 0; i < data.size(); i += kBlockBytes, ++block) {
    if (format::checksum64(data.subspan(i, kBlockBytes)) != checksums_[block]) return false;
  }
  return true;
}

Status BareLayer::read(std::uint32_t block, std::span<std::byte> data) const {
  LAMINA_RETURN_IF_ERROR(os::read_exactly_at(fd_.get(), data, block * kBlockBytes, path_));
  if (matches(block, data)) return {};
  return fail(ErrorKind::kCorrupt, "'{}' has other bytes than were written", path_);
}

std::uint64_t BareLayer::expected_sum(std::span<const std::uint32_t> touches) const {
  std::uint64_t sum = 0;
  for (const std::uint32_t block : touches) {
    std::uint64_t word = 0;
    std::memcpy(&word, &bytes()[block * kBlockBytes + touched_offset(block)], sizeof(word));
    sum += word;
  }
  return sum;
}

Status BareLayer::compare_guest(const BareGuest& guest,
                                std::span<const std::uint32_t> blocks) const {
  LAMINA_RETURN_IF_ERROR(
      os::uffd_unregister(guest.userfaultfd(), guest.address(), guest.memory_bytes()));
  std::vector<std::byte> theirs(kBlockBytes);
  for (const std::uint32_t block : blocks) {
    LAMINA_RETURN_IF_ERROR(
        read_process(guest.pid(), guest.address() + block * kBlockBytes, theirs));
    if (!std::ranges::equal(theirs, bytes().subspan(block * kBlockBytes, kBlockBytes))) {
      return fail(ErrorKind::kCorrupt, "block {} of the guest is not the layer's", block);
    }
  }
  return {};
}

Status read_process(pid_t pid, std::uint64_t address, std::span<std::byte> data) {
  const iovec ours{data.data(), data.size()};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address of the other process
  const iovec theirs{reinterpret_cast<void*>(address), data.size()};
  if (::process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == static_cast<ssize_t>(data.size())) {
    return {};
  }
  return system_failure("process_vm_readv", "guest", errno);
}

}  // namespace lamina::bench
