#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "lamina/listing.h"
#include "ui/daemon_client.h"
#include "ui/live_state.h"

namespace lamina::cli {
namespace {

constexpr const char* kTopFooter =
    "Shows what the store and its VMs do, again every few seconds, until ^C. With\n"
    "--store the store's daemon is asked too, if one runs. When standard output is\n"
    "not a terminal, it is shown once.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found.";

constexpr std::uint64_t kMaxIntervalSeconds = 3600;

struct TopArguments {
  std::string store;
  std::string socket;
  std::uint64_t interval_s = 2;
  bool once = false;
};

/// One metric of Prometheus' text, summed over its labels.
double metric_of(const std::string& text, std::string_view name) {
  double sum = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view view = line;
    const std::size_t space = view.rfind(' ');
    if (!view.starts_with(name) || space == std::string_view::npos) continue;
    if (view[name.size()] == ' ' || view[name.size()] == '{') {
      sum += std::strtod(line.c_str() + space, nullptr);
    }
  }
  return sum;
}

/// The figures of one VM that is served by page faults.
struct VmFigures {
  double memory_bytes = 0;
  double filled_bytes = 0;
  double populated_bytes = 0;
  double slow_faults = 0;
  double fault_seconds = 0;
  double faults = 0;
  double p99_s = 0;
  double network_waits = 0;  ///< faults whose block came from a bucket
  double network_wait_seconds = 0;
  double network_waiting = 0;
};
using VmFiguresByName = std::map<std::string, VmFigures, std::less<>>;

/// Takes a line 'lamina_vm_NAME{vm="PID-START",…} VALUE'; ignores others.
void add_vm_line(std::string_view line, VmFiguresByName& vms) {
  constexpr std::string_view kPrefix = "lamina_vm_";
  constexpr std::string_view kLabel = "{vm=\"";
  const std::size_t brace = line.find(kLabel);
  const std::size_t space = line.rfind(' ');
  if (!line.starts_with(kPrefix) || brace == std::string_view::npos) return;
  const std::size_t begin = brace + kLabel.size();
  const std::size_t end = line.find('"', begin);
  if (end == std::string_view::npos || space < end) return;
  const std::string_view name = line.substr(kPrefix.size(), brace - kPrefix.size());
  VmFigures& vm = vms[std::string(line.substr(begin, end - begin))];
  const double value = std::strtod(std::string(line.substr(space)).c_str(), nullptr);
  const bool is_p99 = line.find("quantile=\"0.99\"", end) != std::string_view::npos;
  if (name == "memory_bytes") vm.memory_bytes = value;
  if (name == "filled_bytes_total") vm.filled_bytes = value;
  if (name == "populated_bytes_total") vm.populated_bytes = value;
  if (name == "slow_faults_total") vm.slow_faults = value;
  if (name == "fault_seconds_sum") vm.fault_seconds = value;
  if (name == "fault_seconds_count") vm.faults = value;
  if (name == "fault_seconds" && is_p99) vm.p99_s = value;
  if (name == "network_wait_seconds_count") vm.network_waits = value;
  if (name == "network_wait_seconds_sum") vm.network_wait_seconds = value;
  if (name == "network_waiting_faults") vm.network_waiting = value;
}

VmFiguresByName vms_of(const std::string& text) {
  VmFiguresByName vms;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) add_vm_line(line, vms);
  return vms;
}

/// The figures of the page server and the daemon at one time.
struct Figures {
  std::chrono::steady_clock::time_point time;
  bool has_metrics = false;
  bool has_daemon = false;
  double served = 0;
  double faults = 0;
  double fault_seconds = 0;
  double filled_bytes = 0;
  double populated_bytes = 0;
  double waiting_pushes = 0;
  double oldest_push_s = 0;
  VmFiguresByName vms;  ///< by PID-START
  std::vector<std::string> errors;
};

Figures figures_of(const schema::Json& state) {
  Figures figures;
  figures.time = std::chrono::steady_clock::now();
  figures.has_daemon = state["daemon"].get<bool>();
  for (const auto& error : state["errors"]) figures.errors.push_back(error.get<std::string>());
  if (!state["metrics"].is_string()) return figures;
  const auto text = state["metrics"].get<std::string>();
  figures.has_metrics = true;
  figures.served = metric_of(text, "lamina_sessions");
  figures.faults = metric_of(text, "lamina_fault_seconds_count");
  figures.fault_seconds = metric_of(text, "lamina_fault_seconds_sum");
  figures.filled_bytes = metric_of(text, "lamina_filled_bytes_total");
  figures.populated_bytes = metric_of(text, "lamina_populated_bytes_total");
  figures.waiting_pushes = metric_of(text, "laminad_push_queue");
  figures.oldest_push_s = metric_of(text, "laminad_push_oldest_seconds");
  figures.vms = vms_of(text);
  return figures;
}

std::string vms_line(const StoreListing& listing, const Figures& now,
                     const std::optional<Figures>& before) {
  constexpr double kMicroseconds = 1e6;
  constexpr double kPercent = 100;
  const auto running = static_cast<std::uint64_t>(std::count_if(
      listing.pins.begin(), listing.pins.end(), [](const PinListing& pin) { return pin.running; }));
  std::string line = fmt::format("VMs      {} running", running);
  if (!now.has_metrics) return line + "; no page server";
  line += fmt::format(", {:.0f} served by page faults", now.served);
  if (before) {
    const double seconds = std::chrono::duration<double>(now.time - before->time).count();
    line += fmt::format("; {:.0f} faults/s", std::max(0.0, now.faults - before->faults) / seconds);
  }
  if (now.faults > 0) {
    line += fmt::format("; {:.1f} us each", kMicroseconds * now.fault_seconds / now.faults);
  }
  const double bytes = now.filled_bytes + now.populated_bytes;
  if (bytes > 0) {
    line += fmt::format("; {:.0f} % without a fault", kPercent * now.populated_bytes / bytes);
  }
  return line;
}

/// The faults per second of a VM since `before`; nullopt if it was not served then.
std::optional<double> rate_of(const std::string& name, const Figures& now,
                              const std::optional<Figures>& before) {
  if (!before) return std::nullopt;
  const auto known = before->vms.find(name);
  if (known == before->vms.end()) return std::nullopt;
  const double seconds = std::chrono::duration<double>(now.time - before->time).count();
  return std::max(0.0, now.vms.at(name).faults - known->second.faults) / seconds;
}

/// How many faults waited for the network, and those that wait now.
std::string network_waits_of(const VmFigures& vm) {
  const std::string ended = fmt::format("{:.0f}", vm.network_waits);
  return vm.network_waiting > 0 ? fmt::format("{}, {:.0f} now", ended, vm.network_waiting) : ended;
}

/// The VMs that are served by page faults, the busiest first.
std::string vms_table(const StoreListing& listing, const Figures& now,
                      const std::optional<Figures>& before, std::size_t most) {
  constexpr double kMicroseconds = 1e6;
  constexpr double kMilliseconds = 1e3;
  constexpr double kPercent = 100;
  using Align = Table::Align;
  struct Row {
    const PinListing* pin = nullptr;
    const VmFigures* vm = nullptr;
    std::optional<double> rate{};
  };
  std::vector<Row> rows;
  for (const PinListing& pin : listing.pins) {
    const auto found = now.vms.find(pin.name);
    if (pin.running && found != now.vms.end()) {
      rows.push_back({&pin, &found->second, rate_of(pin.name, now, before)});
    }
  }
  if (rows.empty()) return {};
  std::ranges::sort(rows, [](const Row& a, const Row& b) {
    return std::pair(b.rate.value_or(0), b.vm->faults) <
           std::pair(a.rate.value_or(0), a.vm->faults);
  });
  rows.resize(std::min(rows.size(), most));
  Table table({{"VM", Align::kRight},
               {"SNAPSHOT", Align::kLeft},
               {"FAULTS/s", Align::kRight},
               {"MEAN us", Align::kRight},
               {"99% us", Align::kRight},
               {"SLOW", Align::kRight},
               {"NET WAITS", Align::kRight},
               {"EACH ms", Align::kRight},
               {"FILLED", Align::kRight},
               {"POPULATED", Align::kRight}});
  for (const auto& [pin, vm, rate] : rows) {
    const auto share = [memory = vm->memory_bytes](double bytes) {
      if (memory <= 0) return std::string("-");
      return fmt::format("{:.1f} %", kPercent * std::min(bytes, memory) / memory);
    };
    const bool had_faults = vm->faults > 0;
    table.add(
        {std::to_string(pin->pid), pin->snapshot.empty() ? "-" : pin->snapshot,
         rate ? fmt::format("{:.0f}", *rate) : "-",
         had_faults ? fmt::format("{:.1f}", kMicroseconds * vm->fault_seconds / vm->faults) : "-",
         had_faults ? fmt::format("{:.0f}", kMicroseconds * vm->p99_s) : "-",
         fmt::format("{:.0f}", vm->slow_faults), network_waits_of(*vm),
         vm->network_waits > 0
             ? fmt::format("{:.1f}", kMilliseconds * vm->network_wait_seconds / vm->network_waits)
             : "-",
         share(vm->filled_bytes), share(vm->populated_bytes)});
  }
  return table.text() + "\n";
}

std::string snapshots_table(const StoreListing& listing, const Terminal& terminal,
                            std::size_t most) {
  constexpr int kBarCells = 16;
  using Align = Table::Align;
  std::vector<const SnapshotListing*> order;
  order.reserve(listing.snapshots.size());
  for (const SnapshotListing& snapshot : listing.snapshots) order.push_back(&snapshot);
  std::ranges::sort(order, [](const auto* a, const auto* b) {
    return std::pair(b->own_bytes, a) < std::pair(a->own_bytes, b);
  });
  if (order.empty()) return {};
  const auto largest = static_cast<double>(order.front()->own_bytes);
  order.resize(std::min(order.size(), most));
  Table table({{"NAME", Align::kLeft},
               {"OWN", Align::kRight},
               {"SHARED", Align::kRight},
               {"DEAD", Align::kRight},
               {"LAYERS", Align::kRight},
               {"RUNNING", Align::kRight},
               {"", Align::kLeft}});
  for (const SnapshotListing* one : order) {
    table.add(
        {one->error ? one->name + " (damaged)" : one->name, human_bytes(one->own_bytes),
         human_bytes(one->shared_bytes), one->dead_bytes ? human_bytes(*one->dead_bytes) : "-",
         std::to_string(one->layers), std::to_string(one->running),
         bar_of(static_cast<double>(one->own_bytes), largest, kBarCells, terminal.has_unicode)});
  }
  return table.text();
}

/// `text` cut to the terminal's lines and columns, so that nothing scrolls. Counts characters.
std::string fitted(const std::string& text, const Terminal& terminal) {
  constexpr unsigned char kContinuationMask = 0xc0;
  constexpr unsigned char kContinuation = 0x80;
  std::string made;
  int row = 0;
  int column = 0;
  for (const char c : text) {
    if (c == '\n') {
      if (++row >= terminal.rows - 1) break;
      column = 0;
      made += "\x1b[K\n";
      continue;
    }
    const bool continues = (static_cast<unsigned char>(c) & kContinuationMask) == kContinuation;
    if (!continues) ++column;
    if (column <= terminal.columns) made += c;
  }
  return made;
}

std::string frame(const StoreListing& listing, const Figures& now,
                  const std::optional<Figures>& before, const Terminal& terminal) {
  constexpr std::size_t kOtherLines = 9;
  constexpr std::size_t kLeastRows = 3;
  std::uint64_t own = 0;
  std::uint64_t dead = 0;
  for (const SnapshotListing& one : listing.snapshots) {
    own += one.own_bytes;
    dead += one.dead_bytes.value_or(0);
  }
  const auto clock = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  std::string text = fmt::format("store    {}  {:%H:%M:%S} UTC\n", escaped_line(listing.path),
                                 fmt::gmtime(std::chrono::system_clock::to_time_t(clock)));
  text += fmt::format("space    {} in all, {} in {}; {} of their own, {} dead\n",
                      human_bytes(listing.totals.sum()), human_bytes(listing.totals.snapshot_bytes),
                      count_of(listing.snapshots.size(), "snapshot"), human_bytes(own),
                      human_bytes(dead));
  text += vms_line(listing, now, before) + "\n";
  if (now.has_daemon) {
    text += fmt::format("pushes   {:.0f} wait; the oldest for {:.0f} s\n", now.waiting_pushes,
                        now.oldest_push_s);
  }
  for (const std::string& error : now.errors) text += escaped_line(error) + "\n";
  const auto rows = static_cast<std::size_t>(std::max(terminal.rows, 0));
  const std::size_t shown = rows > kOtherLines + kLeastRows ? rows - kOtherLines : kLeastRows;
  // The VMs take at most half of it.
  const std::string vms = vms_table(listing, now, before, std::max(shown / 2, kLeastRows));
  const auto taken = static_cast<std::size_t>(std::ranges::count(vms, '\n'));
  return text + "\n" + vms +
         snapshots_table(listing, terminal,
                         shown > taken + kLeastRows ? shown - taken : kLeastRows);
}

int run(const TopArguments& arguments) {
  constexpr int kMillisecondsPerSecond = 1000;
  const auto source = ui::find_source(arguments.store, arguments.socket);
  if (!source) return report_error(source.error(), false);
  ListOptions options;
  options.dead_bytes = true;
  std::optional<Figures> before;
  while (true) {
    const auto listing = list_store(source->store, options);
    if (!listing) return report_error(listing.error(), false);
    const Figures now = figures_of(ui::live_json(*source));
    const Terminal terminal = terminal_of(STDOUT_FILENO);
    const std::string text = frame(*listing, now, before, terminal);
    if (arguments.once || !terminal.is_terminal) {
      fmt::print("{}", text);
      return kExitDone;
    }
    fmt::print("\x1b[H{}\x1b[J", fitted(text, terminal));
    std::fflush(stdout);
    before = now;
    ::poll(nullptr, 0, static_cast<int>(arguments.interval_s) * kMillisecondsPerSecond);
  }
}

}  // namespace

Action add_top(CLI::App& app) {
  auto arguments = std::make_shared<TopArguments>();
  CLI::App* verb = add_verb(app, "top", "show a store and its VMs, again and again", kTopFooter);
  add_text(verb, "--store", arguments->store, "directory of the store", "DIR");
  add_text(verb, "--socket", arguments->socket, "socket of a daemon, instead of --store", "PATH");
  verb->add_option("--interval", arguments->interval_s, "time between two looks (default 2)")
      ->check(CLI::Range(std::uint64_t{1}, kMaxIntervalSeconds))
      ->type_name("")
      ->option_text("SECONDS");
  verb->add_flag("--once", arguments->once, "show it once");
  return [arguments] { return run(*arguments); };
}

}  // namespace lamina::cli
