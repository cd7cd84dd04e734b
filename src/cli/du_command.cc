#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/escape.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "lamina/listing.h"
#include "schema/report_json.h"

namespace lamina::cli {
namespace {

constexpr const char* kDuFooter =
    "OWN: what removing only this snapshot would free. SHARED: files that have other\n"
    "names too. DEAD: what its layers store and it does not use ('lamina merge' drops\n"
    "it). The total counts each file once. Storage that files share by reflinks is\n"
    "counted in each of them. On a terminal, bars show OWN and SHARED.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, or not a store.";

struct DuArguments {
  std::string store;
  std::vector<std::string> names;
  bool json = false;
};

/// Indices of the snapshots to show: the named ones, each once, or all.
Result<std::vector<std::size_t>> choose(const StoreListing& listing,
                                        const std::vector<std::string>& names) {
  std::vector<std::size_t> chosen;
  if (names.empty()) {
    for (std::size_t i = 0; i < listing.snapshots.size(); ++i) chosen.push_back(i);
  }
  for (const std::string& name : names) {
    const auto found =
        std::find_if(listing.snapshots.begin(), listing.snapshots.end(),
                     [&](const SnapshotListing& snapshot) { return snapshot.name == name; });
    if (found == listing.snapshots.end()) {
      Error error{ErrorKind::kNotFound,
                  fmt::format("there is no snapshot '{}' in store '{}'", name, listing.path)};
      return std::unexpected(std::move(error));
    }
    const auto index = static_cast<std::size_t>(found - listing.snapshots.begin());
    if (std::find(chosen.begin(), chosen.end(), index) == chosen.end()) chosen.push_back(index);
  }
  return chosen;
}

void print_as_json(const StoreListing& listing, const std::vector<std::size_t>& chosen) {
  auto list = nlohmann::ordered_json::array();
  for (const std::size_t index : chosen) {
    const SnapshotListing& snapshot = listing.snapshots[index];
    nlohmann::ordered_json json = {{"name", snapshot.name},
                                   {"error", nullptr},
                                   {"own_bytes", snapshot.own_bytes},
                                   {"shared_bytes", snapshot.shared_bytes},
                                   {"dead_bytes", nullptr},
                                   {"freed_by_rm_bytes", freed_by_removing(listing, {index})}};
    if (snapshot.error) json["error"] = error_json(*snapshot.error);
    if (snapshot.dead_bytes) json["dead_bytes"] = *snapshot.dead_bytes;
    list.push_back(std::move(json));
  }
  print_json({{"message_type", "du"},
              {"store", listing.path},
              {"snapshots", list},
              {"freed_by_rm_of_all_bytes", freed_by_removing(listing, chosen)},
              {"totals", schema::to_json(listing.totals)},
              {"notes", listing.notes}});
}

void print_totals(const StoreTotals& totals) {
  print_text("total {}: snapshots {}", human_bytes(totals.sum()),
             human_bytes(totals.snapshot_bytes));
  const auto part = [](const char* what, std::uint64_t bytes) {
    if (bytes > 0) print_text(", {} {}", what, human_bytes(bytes));
  };
  part("kept only for running VMs", totals.pin_bytes);
  part("on the way in", totals.pending_bytes);
  part("being built, or left by a crash", totals.temporary_bytes);
  part("mapped files", totals.map_bytes);
  print_text("\n");
}

/// What the snapshot has alone, then what it shares.
std::string space_bar(const SnapshotListing& snapshot, std::uint64_t most,
                      const Terminal& terminal) {
  constexpr int kCells = 24;
  const auto whole = static_cast<double>(most);
  std::string bar =
      bar_of(static_cast<double>(snapshot.own_bytes), whole, kCells, terminal.has_unicode);
  const auto shared = static_cast<int>(kCells * static_cast<double>(snapshot.shared_bytes) / whole);
  for (int i = 0; i < shared; ++i) bar += terminal.has_unicode ? "░" : ".";
  return bar;
}

void print_table(const StoreListing& listing, const std::vector<std::size_t>& chosen, bool by_name,
                 const Terminal& terminal) {
  using Align = Table::Align;
  Table table({{"NAME", Align::kLeft},
               {"OWN", Align::kRight},
               {"SHARED", Align::kRight},
               {"DEAD", Align::kRight},
               {terminal.is_terminal ? "OWN, AND SHARED" : "", Align::kLeft}});
  std::uint64_t most = 0;
  for (const std::size_t index : chosen) {
    const SnapshotListing& snapshot = listing.snapshots[index];
    most = std::max(most, snapshot.own_bytes + snapshot.shared_bytes);
  }
  for (const std::size_t index : chosen) {
    const SnapshotListing& snapshot = listing.snapshots[index];
    table.add({snapshot.name, human_bytes(snapshot.own_bytes), human_bytes(snapshot.shared_bytes),
               snapshot.dead_bytes ? human_bytes(*snapshot.dead_bytes) : "-",
               terminal.is_terminal ? space_bar(snapshot, most, terminal) : ""});
  }
  if (!chosen.empty()) fmt::print("{}", table.text());
  for (const std::size_t index : chosen) {
    const SnapshotListing& snapshot = listing.snapshots[index];
    if (snapshot.error) print_text("{}: {}\n", snapshot.name, escaped_line(shown(*snapshot.error)));
  }
  if (by_name) {
    print_text("removing {} would free {}\n", chosen.size() == 1 ? "it" : "these together",
               human_bytes(freed_by_removing(listing, chosen)));
  }
  print_totals(listing.totals);
}

int run(const DuArguments& arguments) {
  ListOptions options;
  options.dead_bytes = true;
  const auto listing = list_store(arguments.store, options);
  if (!listing) return report_error(listing.error(), arguments.json);
  const auto chosen = choose(*listing, arguments.names);
  if (!chosen) return report_error(chosen.error(), arguments.json);
  print_notes(listing->notes);
  if (arguments.json) {
    print_as_json(*listing, *chosen);
  } else {
    print_table(*listing, *chosen, !arguments.names.empty(), terminal_of(STDOUT_FILENO));
  }
  return kExitDone;
}

}  // namespace

Action add_du(CLI::App& app) {
  auto arguments = std::make_shared<DuArguments>();
  CLI::App* verb = add_verb(app, "du", "show what the snapshots of a store allocate", kDuFooter);
  add_text(verb, "STORE", arguments->store, "the directory that holds the snapshots")->required();
  add_texts(verb, "NAME", arguments->names, "snapshots of the store (default: all)");
  verb->add_flag("--json", arguments->json, "print as JSON");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
