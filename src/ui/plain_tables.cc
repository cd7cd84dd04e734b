#include "ui/plain_tables.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/block.h"
#include "ui/page.h"

namespace lamina::ui {
namespace {

using schema::Json;

/// A name in a query, percent-encoded.
std::string encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string made;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      made += c;
    } else {
      made += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return made;
}

/// A table whose cells are HTML.
class HtmlTable {
 public:
  HtmlTable(std::string_view caption, const std::vector<std::string_view>& titles) {
    html_ = fmt::format("<table>\n<caption>{}</caption>\n<thead><tr>", html_text(caption));
    for (const std::string_view title : titles) {
      html_ += fmt::format("<th scope=\"col\">{}</th>", html_text(title));
    }
    html_ += "</tr></thead>\n<tbody>\n";
  }

  /// The first cell is the title of the row.
  void add(const std::vector<std::string>& cells) {
    html_ += "<tr>";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      html_ += i == 0 ? fmt::format("<th scope=\"row\"><bdi>{}</bdi></th>", cells[i])
                      : fmt::format("<td>{}</td>", cells[i]);
    }
    html_ += "</tr>\n";
  }

  [[nodiscard]] std::string take() { return std::move(html_) + "</tbody>\n</table>\n"; }

 private:
  std::string html_;
};

std::string text_at(const Json& document, const char* name) {
  const auto found = document.find(name);
  return found != document.end() && found->is_string() ? found->get<std::string>() : "";
}

std::uint64_t number_at(const Json& document, const char* name) {
  const auto found = document.find(name);
  return found != document.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string blocks_text(const Json& document, const char* name) {
  return bytes_text(number_at(document, name) * kBlockBytes);
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  constexpr double kStep = 1024;
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= kStep && unit + 1 < kUnits.size()) {
    value /= kStep;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string store_tables(const StoreListing& listing, Links links) {
  HtmlTable table(fmt::format("{} snapshots, {} allocated", listing.snapshots.size(),
                              bytes_text(listing.totals.sum())),
                  {"Name", "Created", "Parent", "Layers", "Memory", "Own", "Shared", "Dead",
                   "Running", "Problem"});
  for (const SnapshotListing& one : listing.snapshots) {
    std::string name = html_text(one.name);
    if (links == Links::kYes) {
      name = fmt::format("<a href=\"plain/snapshot?name={}\">{}</a>", encoded(one.name), name);
    }
    table.add({std::move(name), html_text(one.created), html_text(one.parent),
               std::to_string(one.layers), bytes_text(one.memory_bytes), bytes_text(one.own_bytes),
               bytes_text(one.shared_bytes), one.dead_bytes ? bytes_text(*one.dead_bytes) : "",
               std::to_string(one.running), one.error ? html_text(one.error->message) : ""});
  }
  return fmt::format("<h1>Store <bdi>{}</bdi></h1>\n", html_text(listing.path)) + table.take();
}

std::string snapshot_tables(const Json& snapshot) {
  const Json& info = snapshot["info"];
  HtmlTable facts("Facts", {"What", "Value"});
  facts.add({"Memory", bytes_text(number_at(info, "memory_bytes"))});
  facts.add({"Zeros", blocks_text(info, "zero_blocks")});
  facts.add({"Created", html_text(text_at(info, "created"))});
  facts.add({"Pause", html_text(text_at(info, "pause_id"))});
  if (snapshot["pause"].is_object()) {
    facts.add({"Kind of memory file", html_text(text_at(snapshot["pause"], "kind"))});
    facts.add({"Because", html_text(text_at(snapshot["pause"], "reason"))});
    for (const auto& [name, phase] : snapshot["pause"]["phases"].items()) {
      const std::string label = name.substr(0, name.rfind("_ms"));
      facts.add({"Phase: " + html_text(label),
                 phase.is_number() ? fmt::format("{:.1f} ms", phase.get<double>()) : ""});
    }
  }
  HtmlTable layers("Layers, oldest first",
                   {"Build", "Live", "Dead", "Allocated", "Links", "Checksums"});
  for (const Json& layer : info["layers"]) {
    const bool has_checksums = layer["checksums"].is_boolean() && layer["checksums"].get<bool>();
    layers.add({html_text(text_at(layer, "build_id")), blocks_text(layer, "live_blocks"),
                blocks_text(layer, "dead_blocks"), bytes_text(number_at(layer, "allocated_bytes")),
                std::to_string(number_at(layer, "link_count")),
                has_checksums ? "yes" : "no: served unchecked"});
  }
  HtmlTable line("Pauses of this line that are in the store",
                 {"Snapshot", "Created", "Kind", "Because"});
  for (const Json& one : snapshot["line"]) {
    const Json& pause = one["pause"];
    line.add({html_text(text_at(one, "name")), html_text(text_at(one, "created")),
              pause.is_object() ? html_text(text_at(pause, "kind")) : "not recorded",
              pause.is_object() ? html_text(text_at(pause, "reason")) : ""});
  }
  return fmt::format("<h1>Snapshot <bdi>{}</bdi></h1>\n", html_text(text_at(snapshot, "name"))) +
         facts.take() + layers.take() + line.take();
}

}  // namespace lamina::ui
