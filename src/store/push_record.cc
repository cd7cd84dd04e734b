#include "store/push_record.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <span>
#include <string_view>

#include "base/error.h"
#include "format/checksum.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/owner.h"
#include "store/areas.h"

namespace lamina::store {
namespace {

constexpr std::string_view kFirstLine = "lamina push record 1\n";
constexpr std::uint64_t kMaxPushRecordBytes = 16384;
constexpr std::string_view kMarkSuffix = ".began";

std::string pushed_area_path(const Store& store) {
  return fmt::format("{}/{}", store.path(), kPushedArea);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string push_record_name(const Uuid& pause_id, std::string_view remote, std::string_view name) {
  const std::string place = fmt::format("{}\n{}", remote, name);
  return fmt::format("{}@{:016x}", pause_id.to_string(), format::checksum64(bytes_of(place)));
}

std::string encode_push_record(const PushRecord& record) {
  std::string text =
      fmt::format("{}{}\n{}\n{}\n", kFirstLine, record.remote, record.name, record.number);
  if (record.bucket_id) text += record.bucket_id->to_string() + "\n";
  return text;
}

/// Takes a line from the beginning of `text`; nullopt: it has no whole line.
std::optional<std::string> take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string line(text.substr(0, end));
  text.remove_prefix(end + 1);
  return line;
}

std::optional<PushRecord> decode_push_record(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kFirstLine)) return std::nullopt;
  text.remove_prefix(kFirstLine.size());
  const auto remote = take_line(text);
  const auto name = take_line(text);
  const auto digits = take_line(text);
  if (!remote || !name || !digits) return std::nullopt;
  PushRecord record{*remote, *name};
  const char* const end_of_digits = digits->data() + digits->size();
  const auto [end, error] = std::from_chars(digits->data(), end_of_digits, record.number);
  if (error != std::errc{} || end != end_of_digits || record.number == 0) return std::nullopt;
  if (text.empty()) return record;  // of an earlier version
  const auto line = take_line(text);
  const auto id = line ? Uuid::parse(*line) : Result<Uuid>(std::unexpected(Error{}));
  if (!id || !text.empty()) return std::nullopt;
  record.bucket_id = *id;
  return record;
}

/// The record in the file `file` of the area; nullopt: there is none.
std::optional<PushRecord> read_push_record(int area, const std::string& file,
                                           const std::string& path) {
  const auto bytes = os::read_if_exists(area, file, kMaxPushRecordBytes, path);
  if (!bytes || !*bytes) return std::nullopt;
  return decode_push_record(**bytes);
}

std::unexpected<Error> cannot_be_recorded(const std::string& remote, const std::string& name) {
  return fail(ErrorKind::kUsage, "'{}' in '{}' cannot be recorded", name, remote);
}

Result<os::Fd> make_pushed_area(const Store& store) {
  const std::string path = pushed_area_path(store);
  LAMINA_ASSIGN_OR_RETURN(const bool is_new, os::make_directory(store.fd(), kPushedArea, path));
  if (is_new) LAMINA_RETURN_IF_ERROR(os::sync(store.fd(), store.path()));
  LAMINA_ASSIGN_OR_RETURN(os::Fd area, os::open_directory(store.fd(), kPushedArea, path));
  LAMINA_RETURN_IF_ERROR(os::check_owner(area.get(), path));
  return area;
}

bool is_one_line(std::string_view text) {
  return !text.empty() && text.find('\n') == std::string_view::npos;
}

/// The names among `names` that a state of `lineages` needs.
std::set<std::string> needed_records(const std::vector<std::string>& names,
                                     std::span<const std::vector<Uuid>> lineages) {
  std::map<Uuid, std::vector<std::string>> places;  // digests, as in the names
  for (const std::string& name : names) {
    const std::size_t sign = name.find('@');
    const auto pause_id = Uuid::parse(name.substr(0, sign));
    if (pause_id && sign != std::string::npos) places[*pause_id].push_back(name.substr(sign + 1));
  }
  std::set<std::string> needed;
  for (const std::vector<Uuid>& lineage : lineages) {
    std::set<std::string> found;
    for (const Uuid& pause_id : lineage) {
      const auto its = places.find(pause_id);
      if (its == places.end()) continue;
      for (const std::string& place : its->second) {
        const bool is_mark = place.ends_with(kMarkSuffix);
        if (is_mark || found.insert(place).second)
          needed.insert(pause_id.to_string() + "@" + place);
      }
    }
  }
  return needed;
}

}  // namespace

Status mark_push(const Store& store, const Uuid& pause_id, const std::string& remote,
                 const std::string& name) {
  if (!is_one_line(remote) || !is_one_line(name)) return cannot_be_recorded(remote, name);
  const std::string path = pushed_area_path(store);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, make_pushed_area(store));
  const std::string mark = push_record_name(pause_id, remote, name).append(kMarkSuffix);
  const auto made = os::open_regular(area.get(), mark, O_WRONLY | O_CREAT, path + "/" + mark);
  if (!made) return std::unexpected(made.error());
  return os::sync(area.get(), path);
}

Status write_push_record(const Store& store, const Uuid& pause_id, const PushRecord& record) {
  if (!is_one_line(record.remote) || !is_one_line(record.name) || record.number == 0) {
    return cannot_be_recorded(record.remote, record.name);
  }
  const std::string path = pushed_area_path(store);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, make_pushed_area(store));
  const std::string name = push_record_name(pause_id, record.remote, record.name);
  // The fresh file's name is this writer's alone: two pushes of one pause may write at once.
  const std::string fresh = fmt::format(".{}", Uuid::random().to_string());
  const Status written =
      os::replace_file(area.get(), fresh, name, bytes_of(encode_push_record(record)), path);
  if (!written) {
    static_cast<void>(os::remove_file(area.get(), fresh, path));
    return written;
  }
  LAMINA_RETURN_IF_ERROR(os::sync(area.get(), path));
  // A mark that stays does no harm.
  const std::string mark = name + std::string(kMarkSuffix);
  static_cast<void>(os::remove_file(area.get(), mark, path + "/" + mark));
  return {};
}

std::optional<PushRecord> find_push_record(const std::string& store_path, const Uuid& pause_id,
                                           const std::string& remote, const std::string& name) {
  const std::string path = fmt::format("{}/{}", store_path, kPushedArea);
  const auto area = open_in_store(path);
  if (!area) return std::nullopt;
  auto record = read_push_record(area->get(), push_record_name(pause_id, remote, name), path);
  // The file's name is a digest.
  if (!record || record->remote != remote || record->name != name) return std::nullopt;
  return record;
}

std::int64_t push_record_ns(const std::string& store_path, const Uuid& pause_id,
                            const std::string& remote, const std::string& name) {
  const std::string path = fmt::format("{}/{}", store_path, kPushedArea);
  const auto area = open_in_store(path);
  if (!area) return 0;
  const auto facts = os::facts_of_name(area->get(), push_record_name(pause_id, remote, name), path);
  return facts ? facts->modified_ns : 0;
}

std::vector<PushRecord> push_records_of(const std::string& store_path,
                                        std::span<const Uuid> pause_ids) {
  std::vector<PushRecord> records;
  const std::string path = fmt::format("{}/{}", store_path, kPushedArea);
  const auto area = open_in_store(path);
  if (!area) return records;
  const auto names = os::list_directory(area->get(), path);
  if (!names) return records;
  for (const Uuid& pause_id : pause_ids) {
    const std::string prefix = pause_id.to_string() + "@";
    for (const std::string& name : *names) {
      if (!name.starts_with(prefix) || name.ends_with(kMarkSuffix)) continue;
      auto record = read_push_record(area->get(), name, path);
      if (record) records.push_back(std::move(*record));
    }
  }
  return records;
}

bool was_pushed(const std::string& store_path, const Uuid& pause_id) {
  const std::string path = fmt::format("{}/{}", store_path, kPushedArea);
  const auto area = open_in_store(path);
  if (!area) return false;
  const auto names = os::list_directory(area->get(), path);
  const std::string prefix = pause_id.to_string() + "@";
  return names && std::any_of(names->begin(), names->end(),
                              [&](const std::string& name) { return name.starts_with(prefix); });
}

Result<std::vector<std::string>> list_push_records(const Store& store) {
  const std::string path = pushed_area_path(store);
  const auto area = os::open_directory(store.fd(), kPushedArea, path);
  if (area) return os::list_directory(area->get(), path);
  if (area.error().kind == ErrorKind::kNotFound) return std::vector<std::string>();
  return std::unexpected(area.error());
}

std::vector<std::string> unneeded_push_records(const std::vector<std::string>& records,
                                               std::span<const std::vector<Uuid>> lineages) {
  const std::set<std::string> needed = needed_records(records, lineages);
  std::vector<std::string> unneeded;
  for (const std::string& name : records) {
    const bool is_record = Uuid::parse(name.substr(0, name.find('@'))).has_value();
    if (is_record && !needed.contains(name)) unneeded.push_back(name);
  }
  return unneeded;
}

Status remove_push_records(const Store& store, const std::vector<std::string>& records) {
  if (records.empty()) return {};
  const std::string path = pushed_area_path(store);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd area, os::open_directory(store.fd(), kPushedArea, path));
  for (const std::string& name : records) {
    LAMINA_RETURN_IF_ERROR(os::remove_file(area.get(), name, path + "/" + name));
  }
  return {};
}

}  // namespace lamina::store
