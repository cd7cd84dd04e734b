// Tables for people: columns as wide as what is in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"

namespace lamina::cli {

class Table {
 public:
  enum class Align : unsigned char { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kRight;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Cells are shown as escaped_line() does. REQUIRES: as many cells as there are columns.
  void add(std::vector<std::string> cells) {
    for (std::string& cell : cells) cell = escaped_line(cell);
    rows_.push_back(std::move(cells));
  }

  /// The titles and the rows, one line each, without blanks at the ends of lines.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Text from a file, safe for a terminal: what is no printable ASCII character is written as \xNN,
/// and what is long is cut.
std::string shown_text(std::string_view text);

}  // namespace lamina::cli
