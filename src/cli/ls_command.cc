#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/escape.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/table.h"
#include "lamina/listing.h"
#include "schema/report_json.h"

namespace lamina::cli {
namespace {

constexpr const char* kLsFooter =
    "OWN: what 'lamina rm' would free. SHARED: files with other names too\n"
    "(snapshots, VMs). RESUMED: how often the pause was resumed. RUNNING: VMs of\n"
    "this pause that run. Headers are checked, layers are not opened ('lamina\n"
    "verify' checks them). Records that came with a copy of another store are listed\n"
    "and left alone: see 'lamina recover'.\n\n"
    "Exit codes: 0 listed (damaged snapshots with what is wrong), 1 failed, 2 usage,\n"
    "3 not found, or not a store.";

constexpr const char* kNotKnown = "-";
/// Rows deeper than this are not indented further.
constexpr std::size_t kMaxDrawnDepth = 16;

struct LsArguments {
  std::string store;
  bool tree = false;
  bool json = false;
};

Table::Column left(const char* title) { return {title, Table::Align::kLeft}; }
Table::Column right(const char* title) { return {title, Table::Align::kRight}; }

std::string text_or_dash(const std::string& text) {
  return text.empty() ? kNotKnown : printable_text(text);
}

std::vector<std::string> cells_of(const SnapshotListing& snapshot, const std::string& name,
                                  const std::string& parent) {
  const bool known = snapshot.memory_bytes > 0;
  return {name,
          text_or_dash(snapshot.created),
          known ? std::to_string(snapshot.generation) : kNotKnown,
          known ? std::to_string(snapshot.layers) : kNotKnown,
          known ? human_bytes(snapshot.memory_bytes) : kNotKnown,
          human_bytes(snapshot.own_bytes),
          human_bytes(snapshot.shared_bytes),
          std::to_string(snapshot.resumes),
          std::to_string(snapshot.running),
          parent};
}

std::string name_of(const SnapshotListing& snapshot) {
  return snapshot.error ? snapshot.name + " (damaged)" : snapshot.name;
}

/// The lines that join each row to its parent and siblings. Goes from the last row up, to know
/// whether another sibling follows.
std::vector<std::string> branches_of(const std::vector<LineageRow>& rows) {
  std::vector<std::string> branches(rows.size());
  std::vector<bool> follows;
  for (std::size_t i = rows.size(); i-- > 0;) {
    const std::size_t depth = rows[i].depth;
    follows.resize(depth + 1, false);
    if (depth > kMaxDrawnDepth) {
      branches[i] = fmt::format("{:>{}} ", fmt::format("[{}]", depth), 3 * kMaxDrawnDepth - 1);
    } else {
      for (std::size_t at = 1; at < depth; ++at) branches[i] += follows[at] ? "│  " : "   ";
      if (depth > 0) branches[i] += follows[depth] ? "├─ " : "└─ ";
    }
    follows[depth] = true;
  }
  return branches;
}

void add_tree(const StoreListing& listing, Table& table) {
  const std::vector<LineageRow> rows = lineage_of(listing.snapshots);
  const std::vector<std::string> branches = branches_of(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const LineageRow& row = rows[i];
    if (!row.snapshot) {
      const std::string name =
          row.missing_name.empty() ? row.missing->to_string() : printable_text(row.missing_name);
      table.add({branches[i] + name + " (not here)", kNotKnown, kNotKnown, kNotKnown, kNotKnown,
                 kNotKnown, kNotKnown, kNotKnown, kNotKnown, kNotKnown});
      continue;
    }
    const SnapshotListing& snapshot = listing.snapshots[*row.snapshot];
    std::string parent = text_or_dash(snapshot.parent);
    if (row.missing) parent += " (not here)";
    if (row.in_cycle) parent += " (descends from itself)";
    table.add(cells_of(snapshot, branches[i] + name_of(snapshot), parent));
  }
}

void print_snapshots(const StoreListing& listing, bool as_tree) {
  if (listing.snapshots.empty()) return;
  Table table({left("NAME"), left("CREATED"), right("GEN"), right("LAYERS"), right("MEMORY"),
               right("OWN"), right("SHARED"), right("RESUMED"), right("RUNNING"), left("PARENT")});
  if (as_tree) {
    add_tree(listing, table);
  } else {
    for (const SnapshotListing& snapshot : listing.snapshots) {
      table.add(cells_of(snapshot, name_of(snapshot), text_or_dash(snapshot.parent)));
    }
  }
  fmt::print("{}", table.text());
  for (const SnapshotListing& snapshot : listing.snapshots) {
    if (snapshot.error) print_text("{}: {}\n", snapshot.name, escaped_line(shown(*snapshot.error)));
  }
}

void print_rest(const StoreListing& listing) {
  for (const PendingListing& pending : listing.pending) {
    constexpr const char* kQueued = "is acknowledged and waits to become a snapshot";
    constexpr const char* kComing = "is on its way in";
    print_text("{} {} {} ({}, since {})\n",
               pending.kind == PendingKind::kPause ? "pause" : "ingest", pending.id.to_string(),
               pending.kind == PendingKind::kPause ? kQueued : kComing,
               human_bytes(pending.allocated_bytes), pending.since);
    if (!pending.foreign.empty()) print_text("  is not acted upon: {}\n", pending.foreign);
  }
  for (const PinListing& pin : listing.pins) {
    if (pin.error) print_text("VM {}: {}\n", pin.name, escaped_line(shown(*pin.error)));
    if (!pin.foreign.empty()) {
      print_text("VM {}: its pin is not acted upon: {}\n", pin.name, pin.foreign);
    }
  }
  const auto running = static_cast<std::uint64_t>(std::count_if(
      listing.pins.begin(), listing.pins.end(), [](const PinListing& pin) { return pin.running; }));
  print_text("{}, {} running, {}\n", count_of(listing.snapshots.size(), "snapshot"),
             count_of(running, "VM"), human_bytes(listing.totals.sum()));
}

int run(const LsArguments& arguments) {
  const auto listing = list_store(arguments.store);
  if (!listing) return report_error(listing.error(), arguments.json);
  print_notes(listing->notes);
  if (arguments.json) {
    print_json(schema::to_json(schema::answer_of(*listing, arguments.tree)));
    return kExitDone;
  }
  print_snapshots(*listing, arguments.tree);
  print_rest(*listing);
  return kExitDone;
}

}  // namespace

Action add_ls(CLI::App& app) {
  auto arguments = std::make_shared<LsArguments>();
  CLI::App* verb = add_verb(app, "ls", "list the snapshots of a store", kLsFooter);
  add_text(verb, "STORE", arguments->store, "the directory that holds the snapshots")->required();
  verb->add_flag("--tree", arguments->tree, "show the snapshots as trees of descent");
  verb->add_flag("--json", arguments->json, "print as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
