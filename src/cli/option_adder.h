// Adds the options of a request to a verb. A visitor of the request's description
// (schema/requests.h).
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "lamina/words.h"
#include "schema/field.h"

namespace lamina::cli {

class OptionAdder {
 public:
  /// `store_option`: "--store", or "STORE" for a verb whose only argument is the store.
  explicit OptionAdder(CLI::App* verb, std::string store_option = "--store")
      : verb_(verb), store_option_(std::move(store_option)) {}

  void store(std::string& value) {
    const bool is_option = store_option_.starts_with('-');
    add_text(verb_, store_option_, value, "directory of the store", is_option ? "DIR" : "")
        ->required();
  }
  void text(const schema::Field& field, std::string& value) {
    add_text(verb_, name_of(field), value, std::string(field.help), std::string(field.value))
        ->required(field.required);
  }
  void path(const schema::Field& field, std::string& value) { text(field, value); }
  void snapshot(const schema::Field& field, std::string& value) { text(field, value); }
  void snapshots(const schema::Field& field, std::vector<std::string>& values) {
    add_texts(verb_, name_of(field), values, std::string(field.help))->required(field.required);
  }
  void paths(const schema::Field& field, std::vector<std::string>& values) {
    verb_->add_option(name_of(field), values, std::string(field.help))
        ->allow_extra_args(false)
        ->type_name("")
        ->option_text(std::string(field.value));
  }
  void flag(const schema::Field& field, bool& value) {
    verb_->add_flag(name_of(field), value, std::string(field.help));
  }
  void number(const schema::Field& field, std::uint64_t& value, schema::Range range) {
    add_number(field, std::string(field.help), std::string(field.value), range,
               [&value](std::uint64_t given) { value = given; });
  }
  void seconds(const schema::Field& field, std::chrono::milliseconds& value, schema::Range range) {
    const auto default_seconds = std::chrono::duration_cast<std::chrono::seconds>(value).count();
    add_number(field, fmt::format("{} (default {})", field.help, default_seconds), "SECONDS", range,
               [&value](std::uint64_t given) { value = std::chrono::seconds(given); });
  }
  template <typename E>
  void choice(const schema::Field& field, E& value) {
    add_choice(verb_, name_of(field), value,
               fmt::format("{} (default {})", field.help, word_of(value)));
  }
  template <typename T>
  void item(const schema::Field& field, std::optional<T>& value,
            const schema::TextFormat<T>& format) {
    const std::string name = name_of(field);
    const auto choose = [&value, format, name](const std::string& given) {
      value = parsed(name, given, format);
    };
    verb_->add_option_function<std::string>(name, choose, std::string(field.help))
        ->type_name("")
        ->option_text(std::string(field.value));
  }
  template <typename T>
  void items(const schema::Field& field, std::vector<T>& values,
             const schema::TextFormat<T>& format) {
    const std::string name = name_of(field);
    const auto choose = [&values, format, name](const std::vector<std::string>& given) {
      for (const std::string& text : given) values.push_back(parsed(name, text, format));
    };
    verb_->add_option_function<std::vector<std::string>>(name, choose, std::string(field.help))
        ->allow_extra_args(false)
        ->type_name("")
        ->option_text(std::string(field.value));
  }

 private:
  static std::string name_of(const schema::Field& field) {
    if (!field.option.empty()) return std::string(field.option);
    std::string name = "--" + std::string(field.name);
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
  }

  template <typename T>
  static T parsed(const std::string& name, const std::string& text,
                  const schema::TextFormat<T>& format) {
    auto value = format.parse(text);
    if (!value) {
      throw CLI::ValidationError(name, fmt::format("'{}' is not a {}", text, format.name));
    }
    return std::move(*value);
  }

  template <typename Take>
  void add_number(const schema::Field& field, const std::string& help, const std::string& value,
                  schema::Range range, Take take) {
    verb_->add_option_function<std::uint64_t>(name_of(field), take, help)
        ->check(CLI::Range(range.least, range.most))
        ->type_name("")
        ->option_text(value);
  }

  CLI::App* verb_;
  std::string store_option_;
};

}  // namespace lamina::cli
