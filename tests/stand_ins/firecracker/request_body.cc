#include "stand_ins/firecracker/request_body.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "base/error.h"

namespace lamina::tests {
namespace {

using nlohmann::json;

/// Counts the bytes that the parser has taken: errors tell where they are.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* taken) : at_(at), taken_(taken) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*taken_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  std::size_t* taken_;
};

/// "`a` or `b`", "one of `a`, `b`, `c`".
std::string one_of(const std::vector<std::string>& names) {
  std::string text = names.size() > 2 ? "one of " : "";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += names.size() == 2 ? " or " : ", ";
    text += "`" + names[i] + "`";
  }
  return text;
}

std::string expected_by(const Field& field) {
  switch (field.kind) {
    case FieldKind::kString:
      return "a string";
    case FieldKind::kPath:
      return "path string";
    case FieldKind::kBool:
      return "a boolean";
    case FieldKind::kVariant:
      return "string or map";
    case FieldKind::kObject:
      return "struct " + field.schema->name;
    case FieldKind::kObjects:
      return "a sequence";
  }
  return "";
}

/// Builds the object while the text is parsed, so that the first thing wrong is what is reported.
/// The names of the functions are those that nlohmann's parser calls.
class Decoder {
 public:
  Decoder(const std::string& body, const std::size_t& taken, const Schema& schema)
      : body_(body), taken_(taken), root_{"", FieldKind::kObject, true, {}, &schema} {}

  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] json take() { return std::move(done_); }

  bool null() {
    if (skips()) return true;
    if (!frames_.empty() && !frames_.back().in_array) return true;
    return wrong_type("null");
  }
  bool boolean(bool value) {
    if (skips()) return true;
    if (wants(FieldKind::kBool)) return put(value);
    return wrong_type(value ? "boolean `true`" : "boolean `false`");
  }
  bool number_integer(std::int64_t value) {
    return wrong_number(fmt::format("integer `{}`", value));
  }
  bool number_unsigned(std::uint64_t value) {
    return wrong_number(fmt::format("integer `{}`", value));
  }
  bool number_float(double value, const std::string& /*text*/) {
    return wrong_number(fmt::format("floating point `{}`", value));
  }
  bool string(const std::string& value) {
    if (skips()) return true;
    if (wants(FieldKind::kString) || wants(FieldKind::kPath)) return put(value);
    if (!wants(FieldKind::kVariant)) return wrong_type(fmt::format("string \"{}\"", value));
    const auto& variants = expected().variants;
    if (std::find(variants.begin(), variants.end(), value) != variants.end()) return put(value);
    return refuse(fmt::format("unknown variant `{}`, expected {}", value, one_of(variants)));
  }
  bool binary(json::binary_t& /*value*/) { return refuse("binary"); }

  bool start_object(std::size_t /*elements*/) {
    if (enters()) return true;
    if (!wants(FieldKind::kObject) && !in_array()) return wrong_type("map");
    frames_.push_back({expected().schema, json::object(), nullptr, false});
    return true;
  }
  bool key(const std::string& name) {
    if (skipped_depth_ > 0) return true;
    Frame& frame = frames_.back();
    std::vector<std::string> names;
    for (const Field& field : frame.schema->fields) {
      names.push_back(field.name);
      if (field.name == name) frame.field = &field;
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      skips_next_ = frame.schema->is_open;
      if (skips_next_) return true;
      return refuse(fmt::format("unknown field `{}`, expected {}", name, one_of(names)));
    }
    if (frame.value.contains(name)) return refuse(fmt::format("duplicate field `{}`", name));
    return true;
  }
  bool end_object() {
    if (leaves()) return true;
    for (const Field& field : frames_.back().schema->fields) {
      if (field.required && !frames_.back().value.contains(field.name)) {
        return refuse(fmt::format("missing field `{}`", field.name));
      }
    }
    return pop();
  }
  bool start_array(std::size_t /*elements*/) {
    if (enters()) return true;
    if (in_array() || !wants(FieldKind::kObjects)) return wrong_type("sequence");
    frames_.push_back({frames_.back().field->schema, json::array(), frames_.back().field, true});
    return true;
  }
  bool end_array() { return leaves() || pop(); }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const json::exception& /*error*/) {
    if (taken_ < body_.size()) return refuse("expected value");
    return refuse(frames_.empty() ? "EOF while parsing a value" : "EOF while parsing an object");
  }

 private:
  struct Frame {
    const Schema* schema;
    json value;
    const Field* field;  ///< whose value comes
    bool in_array;
  };

  [[nodiscard]] bool in_array() const { return !frames_.empty() && frames_.back().in_array; }
  [[nodiscard]] const Field& expected() const {
    return frames_.empty() ? root_ : *frames_.back().field;
  }
  [[nodiscard]] bool wants(FieldKind kind) const { return !in_array() && expected().kind == kind; }

  bool put(json value) {
    if (frames_.empty()) {
      done_ = std::move(value);
    } else if (in_array()) {
      frames_.back().value.push_back(std::move(value));
    } else {
      frames_.back().value[frames_.back().field->name] = std::move(value);
    }
    return true;
  }
  bool pop() {
    json value = std::move(frames_.back().value);
    frames_.pop_back();
    return put(std::move(value));
  }
  bool wrong_type(const std::string& what, std::size_t ahead = 0) {
    const std::string wanted =
        in_array() ? "struct " + frames_.back().schema->name : expected_by(expected());
    return refuse(fmt::format("invalid type: {}, expected {}", what, wanted), ahead);
  }
  /// The parser has looked at the byte behind a number.
  bool wrong_number(const std::string& what) { return skips() || wrong_type(what, 1); }

  /// The value of a field that is ignored, or a part of it.
  bool skips() { return std::exchange(skips_next_, false) || skipped_depth_ > 0; }
  bool enters() {
    if (!skips()) return false;
    ++skipped_depth_;
    return true;
  }
  bool leaves() {
    if (skipped_depth_ == 0) return false;
    --skipped_depth_;
    return true;
  }

  bool refuse(const std::string& why, std::size_t ahead = 0) {
    const std::string before = body_.substr(0, taken_ - std::min(ahead, taken_));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t newline = before.rfind('\n');
    const std::size_t column =
        newline == std::string::npos ? before.size() : before.size() - newline - 1;
    error_ = fmt::format("{} at line {} column {}", why, line, column);
    return false;
  }

  const std::string& body_;
  const std::size_t& taken_;
  const Field root_;
  std::vector<Frame> frames_;
  bool skips_next_ = false;
  unsigned skipped_depth_ = 0;
  json done_;
  std::string error_;
};

}  // namespace

Result<json> decode_body(const std::string& body, const Schema& schema) {
  std::size_t taken = 0;
  Decoder decoder(body, taken, schema);
  const char* begin = body.data();
  const bool parsed = json::sax_parse(CountingIterator(begin, &taken),
                                      CountingIterator(begin + body.size(), &taken), &decoder);
  if (parsed) return decoder.take();
  return fail(ErrorKind::kFailed,
              "An error occurred when deserializing the json body of a request: {}.",
              decoder.error());
}

}  // namespace lamina::tests
