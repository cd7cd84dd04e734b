#include "vmm/cloud_hypervisor/json_text.h"

#include <cstddef>

#include "base/error.h"

namespace lamina::vmm {
namespace {

/// Real configurations have some ten levels.
constexpr std::size_t kMaxDepth = 100;

bool is_shallow(std::string_view text) {
  std::size_t depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth) return false;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace

Result<OrderedJson> parse_json_object(std::string_view text, std::string_view what) {
  if (!is_shallow(text)) return fail(ErrorKind::kCorrupt, "{} is nested too deeply", what);
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kCorrupt, "{} is not a JSON object", what);
  return json;
}

const OrderedJson& member(const OrderedJson& object, const char* name) {
  static const OrderedJson null_value;
  if (!object.is_object()) return null_value;
  const auto found = object.find(name);
  return found == object.end() ? null_value : *found;
}

std::optional<std::uint64_t> number_of(const OrderedJson& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

std::string text_of(const OrderedJson& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool is_true(const OrderedJson& value) { return value.is_boolean() && value.get<bool>(); }

std::string dump_json(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string printable(std::string_view text) {
  constexpr std::size_t kMaxBytes = 4096;
  constexpr unsigned char kFirstPrintable = 0x20;
  constexpr unsigned char kDelete = 0x7f;
  std::string clean(text.substr(0, kMaxBytes));
  for (char& c : clean) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < kFirstPrintable || byte >= kDelete) c = '?';
  }
  return clean;
}

}  // namespace lamina::vmm
