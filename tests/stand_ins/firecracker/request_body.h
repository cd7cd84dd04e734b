// Bodies of requests, decoded as Firecracker's serde does: unknown fields are refused (where the
// struct does), and a refusal says why in serde's words, with line and column.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lamina/result.h"

namespace lamina::tests {

enum class FieldKind : std::uint8_t { kString, kPath, kBool, kVariant, kObject, kObjects };

struct Schema;

struct Field {
  std::string name;
  FieldKind kind = FieldKind::kString;
  bool required = false;
  std::vector<std::string> variants = {};  ///< of a kVariant
  const Schema* schema = nullptr;          ///< of a kObject, or of each of kObjects
};

/// A struct of Firecracker's.
struct Schema {
  std::string name;
  std::vector<Field> fields;
  bool is_open = false;  ///< fields that it does not know are ignored
};

/// The body as an object that fits the schema. Fields that are null or missing are not in it.
Result<nlohmann::json> decode_body(const std::string& body, const Schema& schema);

}  // namespace lamina::tests
