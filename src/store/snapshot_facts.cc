#include "store/snapshot_facts.h"

#include <fmt/chrono.h>

#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "store/field_reader.h"

namespace lamina::store {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kFactsVersion = 1;

bool parse_hex(std::string_view hex, format::Digest128& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  if (hex.size() != 2 * digest.size()) return false;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const std::size_t high = kDigits.find(hex[2 * i]);
    const std::size_t low = kDigits.find(hex[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return false;
    digest[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

format::FileDigest read_digest(FieldReader& reader, const char* name) {
  const Json* value = reader.find(name);
  if (value == nullptr || !value->is_object()) return reader.bad(name), format::FileDigest{};
  FieldReader inner(*value);
  format::FileDigest digest;
  digest.size_bytes = inner.number("bytes");
  const std::string hex = inner.text("xxh3_128");
  if (!inner.ok() || !parse_hex(hex, digest.digest)) reader.bad(name);
  return digest;
}

Json digest_json(const format::FileDigest& digest) {
  return {{"bytes", digest.size_bytes},
          {"xxh3_128", fmt::format("{:02x}", fmt::join(digest.digest, ""))}};
}

void read_layers(FieldReader& reader, SnapshotFacts& facts) {
  const Json* layers = reader.find("layers");
  if (layers == nullptr || !layers->is_array()) return reader.bad("layers");
  for (const Json& layer : *layers) {
    if (!layer.is_object()) return reader.bad("layers");
    FieldReader fields(layer);
    facts.layers.push_back({fields.uuid("build_id"), fields.flag("checksums")});
    if (!fields.ok()) return reader.bad("layers");
  }
}

void read_origin(FieldReader& reader, Origin& origin) {
  const Json* json = reader.find("origin");
  if (json == nullptr) return;
  if (!json->is_object()) return reader.bad("origin");
  FieldReader fields(*json);
  if (fields.find("vmm_version") != nullptr) origin.vmm_version = fields.text("vmm_version");
  if (fields.find("cpu") != nullptr) origin.cpu = fields.text("cpu");
  if (fields.find("kernel") != nullptr) origin.kernel = fields.text("kernel");
  if (fields.find("huge_pages") != nullptr) origin.huge_pages = fields.text("huge_pages");
  if (!fields.ok()) reader.bad("origin");
}

Json origin_json(const Origin& origin) {
  Json json = Json::object();
  if (!origin.vmm_version.empty()) json["vmm_version"] = origin.vmm_version;
  if (!origin.cpu.empty()) json["cpu"] = origin.cpu;
  if (!origin.kernel.empty()) json["kernel"] = origin.kernel;
  if (!origin.huge_pages.empty()) json["huge_pages"] = origin.huge_pages;
  return json;
}

struct PhaseField {
  const char* name;
  double RecordedPhases::* value;
};
constexpr std::array kPhaseFields = {PhaseField{"prepare_ms", &RecordedPhases::prepare_ms},
                                     PhaseField{"pause_ms", &RecordedPhases::pause_ms},
                                     PhaseField{"create_ms", &RecordedPhases::create_ms},
                                     PhaseField{"journal_ms", &RecordedPhases::journal_ms},
                                     PhaseField{"hook_ms", &RecordedPhases::hook_ms},
                                     PhaseField{"resume_ms", &RecordedPhases::resume_ms},
                                     PhaseField{"frozen_ms", &RecordedPhases::frozen_ms}};

/// At most kMaxReasonBytes of a text, cut between characters of UTF-8.
std::string shortened(const std::string& text) {
  constexpr unsigned kContinuationMask = 0xC0;
  constexpr unsigned kContinuation = 0x80;
  if (text.size() <= kMaxReasonBytes) return text;
  std::size_t end = kMaxReasonBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & kContinuationMask) == kContinuation) {
    --end;
  }
  return text.substr(0, end);
}

/// Empty if a phase is not a time.
std::optional<RecordedPhases> read_phases(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  RecordedPhases phases;
  for (const PhaseField& field : kPhaseFields) {
    const auto found = json.find(field.name);
    if (found == json.end()) continue;
    if (!found->is_number()) return std::nullopt;
    const double value = found->get<double>();
    if (!std::isfinite(value) || value < 0) return std::nullopt;
    phases.*field.value = value;
  }
  return phases;
}

/// Nothing depends on the record: one that is not as expected is left out.
std::optional<PauseRecord> read_pause(const FieldReader& reader) {
  const Json* json = reader.find("pause");
  if (json == nullptr || !json->is_object()) return std::nullopt;
  FieldReader fields(*json);
  const std::string kind = fields.text("kind");
  PauseRecord pause{
      .is_diff = kind == "diff", .reason = fields.text("reason"), .phases = std::nullopt};
  if (!fields.ok() || (kind != "diff" && kind != "full")) return std::nullopt;
  pause.reason = shortened(pause.reason);
  if (const Json* phases = fields.find("phases")) pause.phases = read_phases(*phases);
  return pause;
}

nlohmann::ordered_json pause_json(const PauseRecord& pause) {
  constexpr double kPerMillisecond = 1000;
  auto json = nlohmann::ordered_json::object();
  json["kind"] = pause.is_diff ? "diff" : "full";
  json["reason"] = shortened(pause.reason);
  if (!pause.phases) return json;
  auto phases = nlohmann::ordered_json::object();
  for (const PhaseField& field : kPhaseFields) {
    phases[field.name] = std::round(*pause.phases.*field.value * kPerMillisecond) / kPerMillisecond;
  }
  json["phases"] = std::move(phases);
  return json;
}

}  // namespace

Result<SnapshotFacts> decode_facts(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kCorrupt, "it is not a JSON object");
  FieldReader reader(json);
  const std::uint64_t version = reader.number("version");
  if (reader.ok() && version != kFactsVersion) {
    return fail(ErrorKind::kCorrupt, "it has version {}; this build reads version {}", version,
                kFactsVersion);
  }
  SnapshotFacts facts;
  facts.pause_id = reader.uuid("pause_id");
  facts.build_id = reader.uuid("build_id");
  facts.created = reader.text("created");
  facts.generation = reader.number("generation");
  facts.memory_bytes = reader.number("memory_bytes");
  facts.header = read_digest(reader, "header");
  const auto format = value_of<HeaderFormat>(reader.text("header_format"));
  if (!format) reader.bad("header_format");
  facts.header_format = format.value_or(HeaderFormat::kNative);
  if (reader.find("parent_pause_id") != nullptr) {
    facts.parent_pause_id = reader.uuid("parent_pause_id");
  }
  facts.ancestors = reader.optional_uuids("ancestors");
  if (reader.find("parent") != nullptr) facts.parent = reader.text("parent");
  if (reader.find("vmstate") != nullptr) facts.vmstate = read_digest(reader, "vmstate");
  if (reader.find("once") != nullptr) facts.once = reader.flag("once");
  read_layers(reader, facts);
  read_origin(reader, facts.origin);
  facts.pause = read_pause(reader);
  if (!reader.ok()) {
    return fail(ErrorKind::kCorrupt, "its field '{}' is missing or wrong", reader.bad_field());
  }
  return facts;
}

std::string encode_facts(const SnapshotFacts& facts) {
  Json layers = Json::array();
  for (const LayerFact& layer : facts.layers) {
    layers.push_back(
        {{"build_id", layer.build_id.to_string()}, {"checksums", layer.has_checksums}});
  }
  // Start with an object: nlohmann's library cannot destroy a null value that ran out of memory
  // while it became an object.
  auto json = nlohmann::ordered_json::object();
  json["version"] = kFactsVersion;
  json["pause_id"] = facts.pause_id.to_string();
  json["build_id"] = facts.build_id.to_string();
  if (facts.parent_pause_id) json["parent_pause_id"] = facts.parent_pause_id->to_string();
  if (!facts.ancestors.empty()) json["ancestors"] = texts_of(facts.ancestors);
  if (!facts.parent.empty()) json["parent"] = facts.parent;
  json["created"] = facts.created;
  json["generation"] = facts.generation;
  json["memory_bytes"] = facts.memory_bytes;
  json["header_format"] = word_of(facts.header_format);
  json["header"] = digest_json(facts.header);
  if (facts.vmstate) json["vmstate"] = digest_json(*facts.vmstate);
  json["layers"] = layers;
  if (facts.once) json["once"] = true;
  if (facts.origin != Origin{}) json["origin"] = origin_json(facts.origin);
  if (facts.pause) json["pause"] = pause_json(*facts.pause);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string timestamp_now() {
  return timestamp_of(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()));
}

std::string timestamp_of(std::int64_t seconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

}  // namespace lamina::store
