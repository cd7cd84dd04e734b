#include "store/arrival.h"

#include <fcntl.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/areas.h"
#include "store/field_reader.h"

namespace lamina::store {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kArrivalVersion = 1;
constexpr std::uint64_t kMaxArrivalFactsBytes = std::uint64_t{4} << 20;
constexpr std::uint64_t kMaxMarkerBytes = 256;
constexpr std::uint64_t kLongestWaitS = std::uint64_t{1} << 32;

std::vector<std::string> texts(FieldReader& reader, const char* name) {
  const Json* list = reader.find(name);
  std::vector<std::string> found;
  if (list == nullptr || !list->is_array()) return reader.bad(name), found;
  found.reserve(list->size());
  for (const Json& one : *list) {
    if (!one.is_string()) return reader.bad(name), found;
    found.push_back(one.get<std::string>());
  }
  return found;
}

/// The store above a path that is in one of its areas; empty: it is in none. The last area counts:
/// a store may itself be below a directory of that name.
std::string store_above(const std::string& path) {
  std::optional<std::size_t> last;
  for (const char* area : {kVmsArea, kArrivingArea}) {
    const std::size_t at = path.rfind(fmt::format("/{}/", area));
    if (at != std::string::npos) last = std::max(last.value_or(0), at);
  }
  return last ? path.substr(0, *last) : std::string();
}

}  // namespace

std::string encode_arrival_facts(const ArrivalFacts& facts) {
  const Json json = {{"arrival", kArrivalVersion},
                     {"id", facts.id.to_string()},
                     {"belongs_to", to_json(facts.belongs_to)},
                     {"name", facts.name},
                     {"url", facts.url},
                     {"bucket", facts.bucket_name},
                     {"remote_name", facts.remote_name},
                     {"number", facts.number},
                     {"pause_id", facts.pause_id.to_string()},
                     {"push_id", facts.push_id.to_string()},
                     {"key_file", facts.key_file},
                     {"key_command", facts.key_command},
                     {"fetch_command", facts.fetch_command},
                     {"wait_limit_s", static_cast<std::uint64_t>(facts.wait_limit.count())},
                     {"layers", facts.layers}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<ArrivalFacts> decode_arrival_facts(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kCorrupt, "is not a JSON object");
  FieldReader reader(json);
  const std::uint64_t version = reader.number("arrival");
  if (reader.ok() && version != kArrivalVersion) {
    return fail(ErrorKind::kCorrupt, "is of version {}, this program knows version {}", version,
                kArrivalVersion);
  }
  ArrivalFacts facts;
  facts.belongs_to = read_owner(reader);
  facts.id = reader.uuid("id");
  facts.name = reader.text("name");
  facts.url = reader.text("url");
  facts.bucket_name = reader.text("bucket");
  facts.remote_name = reader.text("remote_name");
  facts.number = reader.number("number");
  facts.pause_id = reader.uuid("pause_id");
  facts.push_id = reader.uuid("push_id");
  facts.key_file = reader.text("key_file");
  facts.key_command = reader.text("key_command");
  facts.fetch_command = texts(reader, "fetch_command");
  facts.wait_limit = std::chrono::seconds(reader.number("wait_limit_s", kLongestWaitS));
  facts.layers = texts(reader, "layers");
  if (!reader.ok()) {
    return fail(ErrorKind::kCorrupt, "its field '{}' is missing or wrong", reader.bad_field());
  }
  return facts;
}

std::array<std::byte, kBlockRequestBytes> encode_block_request(const BlockRequest& request) {
  ByteWriter writer;
  writer.put(request.run.first);
  writer.put(request.run.count);
  writer.put(std::uint32_t{request.is_damaged});
  std::array<std::byte, kBlockRequestBytes> bytes{};
  std::ranges::copy(writer.view(), bytes.begin());
  return bytes;
}

BlockRequest decode_block_request(std::span<const std::byte, kBlockRequestBytes> bytes) {
  ByteReader reader(bytes);
  BlockRequest request;
  request.run.first = reader.get<std::uint32_t>();
  request.run.count = reader.get<std::uint32_t>();
  request.is_damaged = reader.get<std::uint32_t>() != 0;
  return request;
}

namespace {

Result<Arrival> read_arrival(const std::string& store, const std::string& path, os::Fd directory) {
  const std::string facts_path = path + "/" + kArrivalFactsName;
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile opened,
      os::open_regular(directory.get(), kArrivalFactsName, O_RDONLY, facts_path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(opened.fd.get(), kMaxArrivalFactsBytes, facts_path));
  auto facts = decode_arrival_facts(bytes);
  if (!facts) return std::unexpected(with_context(fmt::format("'{}'", facts_path), facts.error()));
  LAMINA_ASSIGN_OR_RETURN(const StoreIdentity here, identity_of_store(store));
  const std::string why = why_foreign(facts->belongs_to, here);
  if (!why.empty()) return fail(ErrorKind::kFailed, "'{}' is not acted upon: {}", path, why);
  LAMINA_ASSIGN_OR_RETURN(ArrivalMap map, ArrivalMap::open(directory.get(), path));
  return Arrival{store, path, std::move(directory), std::move(*facts), std::move(map)};
}

}  // namespace

Result<Arrival> open_arrival(const std::string& store, const Uuid& id) {
  const std::string path = fmt::format("{}/{}/{}", store, kArrivingArea, id.to_string());
  LAMINA_ASSIGN_OR_RETURN(os::Fd directory, open_in_store(path));
  const auto has_ended = [&] { return !os::name_exists(directory.get(), kArrivalSnapshotName); };
  const auto ended = [&] {
    return fail(ErrorKind::kNotFound, "'{}' has ended: its snapshot is whole", path);
  };
  if (has_ended()) return ended();
  LAMINA_ASSIGN_OR_RETURN(os::Fd own, os::duplicate(directory.get(), path));
  auto arrival = read_arrival(store, path, std::move(own));
  if (arrival || arrival.error().kind != ErrorKind::kNotFound) return arrival;
  // Its files are removed after it has ended. Without them nobody knows what is here.
  if (has_ended()) return ended();
  return std::unexpected(Error{ErrorKind::kCorrupt, arrival.error().message});
}

Result<std::vector<Uuid>> list_arrivals(const std::string& store) {
  const std::string area = fmt::format("{}/{}", store, kArrivingArea);
  const auto directory = open_in_store(area);
  std::vector<Uuid> ids;
  if (!directory) {
    if (directory.error().kind == ErrorKind::kNotFound) return ids;
    return std::unexpected(directory.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const auto names, os::list_directory(directory->get(), area));
  ids.reserve(names.size());
  for (const std::string& name : names) {
    if (const auto id = Uuid::parse(name)) ids.push_back(*id);
  }
  return ids;
}

Result<std::optional<Arrival>> find_arrival(const std::string& store, const std::string& name) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<Uuid> ids, list_arrivals(store));
  for (const Uuid& id : ids) {
    auto arrival = open_arrival(store, id);
    if (arrival && arrival->facts.name == name) return std::optional(std::move(*arrival));
  }
  return std::nullopt;
}

Result<std::optional<Uuid>> read_arrival_marker(int directory, const std::string& path) {
  const std::string marker = path + "/" + kArrivalMarkerName;
  LAMINA_ASSIGN_OR_RETURN(
      const auto bytes, os::read_if_exists(directory, kArrivalMarkerName, kMaxMarkerBytes, marker));
  if (!bytes) return std::nullopt;
  std::string text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  while (text.ends_with('\n')) text.pop_back();
  const auto id = Uuid::parse(text);
  if (!id) return fail(ErrorKind::kCorrupt, "'{}' does not name an arriving snapshot", marker);
  return id;
}

Result<std::optional<Arrival>> arrival_of(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<Uuid> id, read_arrival_marker(directory, path));
  if (!id) return std::nullopt;
  const std::string store = store_above(path);
  if (store.empty()) {
    return fail(ErrorKind::kFailed, "'{}/{}' is not in a store, so what has arrived is not known",
                path, kArrivalMarkerName);
  }
  auto arrival = open_arrival(store, *id);
  if (arrival) return std::optional(std::move(*arrival));
  if (arrival.error().kind == ErrorKind::kNotFound) return std::nullopt;
  return std::unexpected(arrival.error());
}

Status write_arrival_marker(int directory, const std::string& directory_path, const Uuid& id) {
  const std::string text = id.to_string() + "\n";
  return os::write_new_file(directory, kArrivalMarkerName, std::as_bytes(std::span(text)),
                            directory_path + "/" + kArrivalMarkerName);
}

Status link_arrival_marker(const OpenSnapshot& source, int directory,
                           const std::string& directory_path) {
  if (!os::name_exists(source.directory.get(), kArrivalMarkerName)) return {};
  const std::string path = source.path + "/" + kArrivalMarkerName;
  LAMINA_ASSIGN_OR_RETURN(
      const os::OpenedFile opened,
      os::open_regular(source.directory.get(), kArrivalMarkerName, O_RDONLY | O_NOFOLLOW, path));
  LAMINA_RETURN_IF_ERROR(link_or_copy({opened.fd.get(), opened.facts, path, source.directory.get()},
                                      kArrivalMarkerName, directory, directory_path));
  return {};
}

std::string describe_arrival(const Arrival& arrival) {
  return fmt::format("'{}' is arriving from '{}': {} of {} frames are here{}", arrival.facts.name,
                     arrival.facts.bucket_name, arrival.map.frames_here(),
                     arrival.map.frame_count(),
                     arrival.map.state() == ArrivalState::kLost
                         ? ", and the bucket does not have the others any more"
                         : "");
}

}  // namespace lamina::store
