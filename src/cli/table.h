// Text tables. Each column is as wide as its widest cell.
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

  /// Adds a row. Cells are escaped with escaped_line(). REQUIRES: as many cells as there are
  /// columns.
  void add(std::vector<std::string> cells) {
    for (std::string& cell : cells) cell = escaped_line(cell);
    rows_.push_back(std::move(cells));
  }

  /// The titles and the rows, one line each, without trailing blanks.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Untrusted text for a table: bytes that are not printable ASCII are written as \xNN, and a long
/// text is cut after 200 bytes.
std::string printable_text(std::string_view text);

}  // namespace lamina::cli
