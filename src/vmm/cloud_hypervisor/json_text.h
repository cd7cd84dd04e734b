// Parsing JSON of a process that is not trusted.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::vmm {

using OrderedJson = nlohmann::ordered_json;

/// An object. kCorrupt, naming `what`, for anything else, and for one that is nested so deeply that
/// writing it would overflow the stack.
Result<OrderedJson> parse_json_object(std::string_view text, std::string_view what);

/// The member `name` of an object; null if it is missing or `object` is not one.
const OrderedJson& member(const OrderedJson& object, const char* name);

/// A number of at most 64 bits without a sign.
std::optional<std::uint64_t> number_of(const OrderedJson& value);

/// The text, or empty.
std::string text_of(const OrderedJson& value);

bool is_true(const OrderedJson& value);

std::string dump_json(const OrderedJson& json);

/// Without control characters and what is not ASCII, at most 4 KiB.
std::string printable(std::string_view text);

}  // namespace lamina::vmm
