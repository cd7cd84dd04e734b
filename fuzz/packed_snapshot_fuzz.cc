// Packed snapshots: footer, contents and keyring. The digests are put right first. Whatever is
// accepted has names that stay in a directory, and objects inside the file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "format/checksum.h"
#include "packed/keyring.h"
#include "packed/snapshot_reader.h"

namespace {

using lamina::fuzz::check;
using namespace lamina::packed;

constexpr std::uint64_t kMostObjectBytes = 1 << 20;

void check_contents(const SnapshotContents& contents, std::uint64_t objects_bytes) {
  std::set<std::string> names;
  std::uint64_t offset = 0;
  for (const SnapshotEntry& entry : contents.entries) {
    check(entry.name != "." && entry.name != ".." && !entry.name.empty());
    check(entry.name.find('/') == std::string::npos);
    check(names.insert(entry.name).second);
    check(entry.offset == offset);
    offset += entry.object_bytes;
    if (entry.kind != EntryKind::kLink) continue;
    check(contents.entries[entry.target].kind == EntryKind::kFile);
  }
  check(offset == objects_bytes);
}

/// Opens each entry, and unpacks none.
void open_entries(const PackedSnapshot& snapshot, const Source& source) {
  for (const SnapshotEntry& entry : snapshot.contents().entries) {
    if (entry.kind == EntryKind::kLink) continue;
    static_cast<void>(snapshot.open_entry(source, entry));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const auto input = std::as_bytes(std::span(data, size));
  static_cast<void>(keyring_facts(input));
  std::uint32_t objects_bytes = 0;
  std::memcpy(&objects_bytes, data, sizeof(objects_bytes));
  objects_bytes %= kMostObjectBytes;
  const auto contents = input.subspan(sizeof(objects_bytes));
  const auto decoded = decode_contents(contents, objects_bytes);
  if (decoded) {
    check_contents(*decoded, objects_bytes);
    const auto encoded = encode_contents(*decoded);
    check(encoded.has_value() && std::ranges::equal(*encoded, contents));
  }
  // The same as a file whose objects are zeros.
  SnapshotFooter footer;
  footer.objects_bytes = objects_bytes;
  footer.contents_bytes = contents.size();
  footer.contents_digest = lamina::format::checksum64(contents);
  footer.entry_count = decoded ? static_cast<std::uint32_t>(decoded->entries.size()) : 0;
  const auto footer_bytes = encode_snapshot_footer(footer);
  const std::uint64_t file_bytes = objects_bytes + contents.size() + footer_bytes.size();
  std::vector<std::byte> file(file_bytes);
  std::ranges::copy(contents, file.begin() + objects_bytes);
  std::ranges::copy(footer_bytes, file.end() - static_cast<std::ptrdiff_t>(footer_bytes.size()));
  const Source source = [&](std::uint64_t offset, std::span<std::byte> into) -> lamina::Status {
    check(offset <= file.size() && into.size() <= file.size() - offset);
    std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  };
  const auto snapshot = PackedSnapshot::open(source, file_bytes, nullptr);
  check(snapshot.has_value() == decoded.has_value());
  if (snapshot) open_entries(*snapshot, source);
  return 0;
}
