#include "os/process_memory.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "os/file.h"
#include "os/kernel_definitions.h"
#include "os/proc_file.h"

namespace lamina::os {
namespace {

constexpr std::uint64_t kTablePageBytes = 4096;
/// Bits of an entry of pagemap.
constexpr std::uint64_t kEntryIsFile = std::uint64_t{1} << 61;
constexpr unsigned kEntryIsThereShift = 62;

/// Takes a hexadecimal number and the character `separator` after it.
std::optional<std::uint64_t> take_hex(std::string_view& text, char separator) {
  constexpr int kHexadecimal = 16;
  std::uint64_t value = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto read = std::from_chars(begin, end, value, kHexadecimal);
  if (read.ec != std::errc{} || read.ptr == end || *read.ptr != separator) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(read.ptr - begin) + 1);
  return value;
}

/// "begin-end perms offset major:minor inode path"; nullopt also for a mapping without a file.
std::optional<FileMapping> parse_mapping(std::string_view line) {
  constexpr std::size_t kPermissions = 4;
  FileMapping mapping;
  const auto begin = take_hex(line, '-');
  if (!begin) return std::nullopt;
  const auto end = take_hex(line, ' ');
  if (!end || line.size() <= kPermissions || line[kPermissions] != ' ') return std::nullopt;
  mapping.is_private = line[kPermissions - 1] == 'p';
  line.remove_prefix(kPermissions + 1);
  const auto offset = take_hex(line, ' ');
  if (!offset) return std::nullopt;
  const auto major = take_hex(line, ':');
  if (!major) return std::nullopt;
  const auto minor = take_hex(line, ' ');
  const auto inode = minor ? take_number(line) : std::nullopt;
  if (!inode || *inode <= 0 || *end <= *begin) return std::nullopt;
  mapping.begin = *begin;
  mapping.end = *end;
  mapping.file_offset = *offset;
  mapping.device = makedev(static_cast<unsigned>(*major), static_cast<unsigned>(*minor));
  mapping.inode = static_cast<std::uint64_t>(*inode);
  return mapping;
}

void append_run(std::vector<ByteRange>& ranges, std::uint64_t begin, std::uint64_t end) {
  if (!ranges.empty() && ranges.back().end() == begin) {
    ranges.back().length += end - begin;
  } else {
    ranges.push_back({begin, end - begin});
  }
}

Result<Fd> open_of(pid_t pid, const char* name) {
  const std::string path = fmt::format("/proc/{}/{}", pid, name);
  auto fd = open_at(AT_FDCWD, path, O_RDONLY, path);
  if (fd || fd.error().kind != ErrorKind::kPermission) return fd;
  return with_remedy(std::unexpected(std::move(fd.error())),
                     "run lamina as the VM's user, or with CAP_SYS_PTRACE (with the kernel's "
                     "yama.ptrace_scope above 0, only the latter)");
}

}  // namespace

std::vector<FileMapping> parse_mappings(std::string_view text) {
  std::vector<FileMapping> mappings;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (const auto mapping = parse_mapping(text.substr(0, end))) mappings.push_back(*mapping);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mappings;
}

Result<std::vector<FileMapping>> file_mappings_of(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/maps", pid);
  errno = 0;
  const auto text = read_proc_file(path);
  if (!text) return system_failure("open", path, errno == 0 ? EIO : errno);
  return parse_mappings(*text);
}

Result<FileFacts> facts_as_mapped(const OpenedFile& file, const std::string& path) {
  // A mapping of this process shows it.
  void* const address = ::mmap(nullptr, kTablePageBytes, PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (address == MAP_FAILED) return system_failure("mmap", path, errno);
  const auto mappings = file_mappings_of(::getpid());
  ::munmap(address, kTablePageBytes);
  if (!mappings) return std::unexpected(mappings.error());
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (const FileMapping& mapping : *mappings) {
    if (mapping.begin > at || mapping.end <= at) continue;
    FileFacts facts = file.facts;
    facts.device = mapping.device;
    facts.inode = mapping.inode;
    return facts;
  }
  return fail(ErrorKind::kFailed, "/proc/self/maps does not show the mapping of '{}'", path);
}

Result<ProcessMemory> ProcessMemory::open(pid_t pid) {
  LAMINA_ASSIGN_OR_RETURN(Fd memory, open_of(pid, "mem"));
  LAMINA_ASSIGN_OR_RETURN(Fd pagemap, open_of(pid, "pagemap"));
  return ProcessMemory(pid, std::move(memory), std::move(pagemap));
}

Result<std::vector<ByteRange>> ProcessMemory::written_pages(std::uint64_t begin, std::uint64_t end,
                                                            PageScan scan) const {
  if (scan == PageScan::kAuto) {
    auto scanned = scan_table(begin, end);
    const int error = scanned ? 0 : scanned.error().error_number;
    if (error != ENOTTY && error != EINVAL) return scanned;
  }
  return scan_entries(begin, end);
}

Result<std::vector<ByteRange>> ProcessMemory::scan_table(std::uint64_t begin,
                                                         std::uint64_t end) const {
  constexpr std::size_t kRegions = 512;
  std::array<PageRegion, kRegions> found{};
  std::vector<ByteRange> ranges;
  while (begin < end) {
    PagemapScanArgument argument{};
    argument.size = sizeof(argument);
    argument.start = begin;
    argument.end = end;
    argument.vector = reinterpret_cast<std::uintptr_t>(found.data());
    argument.vector_length = found.size();
    argument.category_inverted = kPageIsFile;
    argument.category_mask = kPageIsFile;
    argument.category_anyof_mask = kPageIsPresent | kPageIsSwapped;
    argument.return_mask = kPageIsPresent | kPageIsSwapped;
    const int count = ::ioctl(pagemap_.get(), kPagemapScan, &argument);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return system_failure("ioctl PAGEMAP_SCAN", fmt::format("/proc/{}/pagemap", pid_), errno);
    }
    for (int i = 0; i < count; ++i) {
      const PageRegion& region = found.at(static_cast<std::size_t>(i));
      append_run(ranges, region.start, region.end);
    }
    if (argument.walk_end <= begin) {
      return fail(ErrorKind::kFailed, "PAGEMAP_SCAN of process {} stopped at {:#x}", pid_, begin);
    }
    begin = argument.walk_end;
  }
  return ranges;
}

Result<std::vector<ByteRange>> ProcessMemory::scan_entries(std::uint64_t begin,
                                                           std::uint64_t end) const {
  constexpr std::size_t kEntries = 8192;
  const std::string path = fmt::format("/proc/{}/pagemap", pid_);
  std::vector<std::uint64_t> entries(kEntries);
  std::vector<ByteRange> ranges;
  while (begin < end) {
    const std::size_t count = std::min<std::uint64_t>(kEntries, (end - begin) / kTablePageBytes);
    const std::span<std::uint64_t> some = std::span(entries).first(count);
    LAMINA_RETURN_IF_ERROR(read_exactly_at(pagemap_.get(), std::as_writable_bytes(some),
                                           begin / kTablePageBytes * sizeof(std::uint64_t), path));
    for (const std::uint64_t entry : some) {
      const bool is_there = (entry >> kEntryIsThereShift) != 0;
      if (is_there && (entry & kEntryIsFile) == 0)
        append_run(ranges, begin, begin + kTablePageBytes);
      begin += kTablePageBytes;
    }
  }
  return ranges;
}

Status ProcessMemory::read(std::span<std::byte> buffer, std::uint64_t address) const {
  return read_exactly_at(memory_.get(), buffer, address, fmt::format("/proc/{}/mem", pid_));
}

}  // namespace lamina::os
