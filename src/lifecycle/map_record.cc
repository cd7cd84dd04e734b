#include "lifecycle/map_record.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"

namespace lamina::lifecycle {
namespace {

constexpr const char* kMapRecordName = "counts-from-map";
constexpr const char* kNewMapRecordName = "counts-from-map.new";
constexpr std::string_view kNoPause = "none";
constexpr std::uint64_t kMaxRecordBytes = 64;

}  // namespace

Result<std::optional<MapRecord>> read_map_record(const store::Pin& pin) {
  const std::string path = pin.path() + "/" + kMapRecordName;
  LAMINA_ASSIGN_OR_RETURN(
      const auto bytes, os::read_if_exists(pin.directory(), kMapRecordName, kMaxRecordBytes, path));
  if (!bytes) return std::nullopt;
  const std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  if (text == kNoPause) return std::optional(MapRecord{});
  const auto id = Uuid::parse(text);
  if (!id) return fail(ErrorKind::kCorrupt, "'{}' does not name a pause", path);
  return std::optional(MapRecord{*id});
}

Status write_map_record(const store::Pin& pin, const MapRecord& record) {
  const std::string text =
      record.last_pause ? record.last_pause->to_string() : std::string(kNoPause);
  return os::replace_file(pin.directory(), kNewMapRecordName, kMapRecordName,
                          std::as_bytes(std::span(text)), pin.path());
}

}  // namespace lamina::lifecycle
